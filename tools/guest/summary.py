"""What a trace says, in tables for a terminal."""

import ring
from spans import fault_name


def duration(us):
    if us >= 1e6:
        return "%.2f s" % (us / 1e6)
    return "%.2f ms" % (us / 1e3) if us >= 1000 else "%.1f us" % us


class Tables:
    def __init__(self, spans, names, out):
        self.spans, self.names, self.out = spans, names, out
        self.trace = spans.trace

    def print(self, text=""):
        self.out.write(text + "\n")

    def table(self, title, head, rows, most=14):
        """rows: lists of strings; the first column to the left, the others to the right."""
        if not rows:
            return
        self.print()
        widths = [max(len(r[i]) for r in [head] + rows[:most]) for i in range(len(head))]
        widths[0] = max(widths[0], 28)
        self.print(title)
        for row in [head] + rows[:most]:
            self.print("  " + row[0].ljust(widths[0]) + "".join(
                "  " + cell.rjust(w) for cell, w in zip(row[1:], widths[1:])))
        if len(rows) > most:
            self.print("  and %d more" % (len(rows) - most))

    def head(self):
        trace = self.trace
        n = sum(len(e) for e in trace.events.values())
        lost = sum(trace.lost.values())
        self.print("%s on %d CPU%s, %d events, %d lost%s" % (
            duration(trace.us(trace.last)), len(trace.events), "s" * (len(trace.events) > 1), n,
            lost, " (a larger --buffer keeps more)" if lost else ""))
        if not trace.calibrated:
            self.print("no samples: times are time-stamp ticks as if they were nanoseconds")

    def switches(self):
        counts, timer = {}, 0
        for run in self.spans.runs:
            if run.why is not None:
                counts[run.why] = counts.get(run.why, 0) + 1
                timer += run.why == 2 and run.by_timer
        rows = [[ring.WHY[why], str(n)] for why, n in sorted(counts.items())]
        for row in rows:
            if row[0] == "preempt":
                row[0] = "preempt, %d behind an interrupt" % timer
        self.table("switches", ["reason", "count"], rows)

    def threads(self):
        total = self.trace.last - self.trace.first
        time_of, runs_of, forced = {}, {}, {}
        for run in self.spans.runs:
            time_of[run.tid] = time_of.get(run.tid, 0) + run.end - run.start
            runs_of[run.tid] = runs_of.get(run.tid, 0) + 1
            forced[run.tid] = forced.get(run.tid, 0) + (run.why == 2)
        order = sorted(time_of, key=lambda t: -time_of[t])
        self.table("threads", ["name (tid)", "time", "%", "runs", "preempted"], [
            [self.trace.label(t), duration(self.trace.span_us(time_of[t])),
             "%.1f" % (100.0 * time_of[t] / total), str(runs_of[t]), str(forced[t])]
            for t in order])

    def timed(self, title, kind, name, waits=False):
        groups = {}
        for span in self.spans.spans:
            if span.kind == kind and span.end is not None:
                groups.setdefault(name(span), []).append(span)
        rows = []
        for key, part in sorted(groups.items(), key=lambda g: -sum(s.end - s.start for s in g[1])):
            spent = [s.end - s.start - s.off for s in part]
            row = [key, str(len(part)), duration(self.trace.span_us(sum(spent))),
                   duration(self.trace.span_us(sum(spent) / len(part))),
                   duration(self.trace.span_us(max(spent)))]
            if waits:
                row.append(duration(self.trace.span_us(sum(s.off for s in part))))
            rows.append(row)
        self.table(title, [kind, "count", "time", "mean", "longest"] + ["asleep"] * waits, rows)

    def tlb(self):
        rows = {}
        for flush in self.spans.flushes:
            what = "flush of " + ring.FLUSHES[flush[3]]
            rows[what] = rows.get(what, 0) + 1
        for load in self.spans.loads:
            what = "CR3 load, translations kept" if load[3] else "CR3 load"
            rows[what] = rows.get(what, 0) + 1
        self.table("TLB", ["what", "count"], [[k, str(n)] for k, n in sorted(rows.items())])

    def functions(self, folded, idle):
        total = sum(folded.values())
        own = {}
        for stack, n in folded.items():
            leaf = stack[-1]
            where = stack[0] if not leaf.endswith("_[k]") else "kernel"
            key = (leaf[:-4] if where == "kernel" else leaf, where)
            own[key] = own.get(key, 0) + n
        rows = [[name, where, str(n), "%.1f" % (100.0 * n / total)]
                for (name, where), n in sorted(own.items(), key=lambda i: -i[1])]
        self.table("functions by samples (%d, and %d idle)" % (total, idle),
                   ["function", "in", "samples", "%"], rows)

    def all(self, folded, idle):
        self.head()
        self.threads()
        self.switches()
        self.timed("interrupts", "irq", lambda s: self.names.vector(s.number))
        self.timed("system calls", "syscall", lambda s: self.names.syscall(s.number), True)
        self.timed("page faults", "fault", fault_name, True)
        self.tlb()
        self.functions(folded, idle)
