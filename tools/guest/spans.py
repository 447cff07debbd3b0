"""From events to spans: who ran when, and what each call, fault and interrupt took. One pass over
the merged events; what began before the trace, or does not end in it, is cut at its edges."""

import ring


class Run:
    """A thread on a CPU, from switch to switch. why: index of ring.WHY, or None at the edge."""

    __slots__ = ("cpu", "tid", "start", "end", "why", "state", "caller", "by_timer",
                 "next")

    def __init__(self, cpu, tid, start):
        self.cpu, self.tid, self.start, self.end = cpu, tid, start, start
        self.why = self.state = self.caller = self.next = None
        self.by_timer = False  # an interrupt came, and nothing else happened before the switch


class Span:
    """kind: irq, fault, trap, syscall. number: vector, access or number of the call."""

    __slots__ = ("kind", "cpu", "tid", "start", "end", "number", "value", "result", "detail", "off")

    def __init__(self, kind, cpu, tid, start, number, value):
        self.kind, self.cpu, self.tid, self.start, self.number = kind, cpu, tid, start, number
        self.value, self.end, self.result, self.detail, self.off = value, None, None, [], 0


class Spans:
    def __init__(self, trace):
        self.trace = trace
        self.runs, self.spans, self.wakes, self.flushes, self.loads = [], [], [], [], []
        self.samples = []  # [time, cpu, tid, user, [pc, caller ...], top of the stack]
        self.running = {}  # cpu: Run
        self.open = {}  # (kind, tid or cpu): [Span]
        self.last_irq = {}  # cpu: vector of the interrupt that ended as the last event
        self.left_at = {}  # tid: when it left the CPU
        self.wake_to_run = []  # (ticks, tid)
        self.woken = {}
        for cpu, events in trace.events.items():
            if events:
                self.running[cpu] = Run(cpu, events[0][3], events[0][0])
        handler = {
            ring.SWITCH: self.switch, ring.WAKE: self.wake, ring.SAMPLE: self.sample,
            ring.STACK: self.stack, ring.STACK_TOP: self.stack_top,
        }
        for event in trace.merged():
            if event[4] != self.running[event[1]].tid:
                self.rename(event[0], event[1], event[4])
            handler.get(event[2], self.other)(*event)
        for run in self.running.values():
            run.end = trace.last
            self.runs.append(run)
        for stack in self.open.values():
            for span in stack:
                span.end = None  # not finished
                self.spans.append(span)

    def rename(self, time, cpu, tid):
        """The running thread has another number: it became a program's first."""
        run = self.running[cpu]
        run.end = time
        self.runs.append(run)
        self.running[cpu] = Run(cpu, tid, time)

    def switch(self, time, cpu, kind, a, tid, following, caller):
        run = self.running[cpu]
        run.end, run.why, run.state, run.caller, run.next = time, a & 15, a >> 4, caller, following
        run.by_timer = cpu in self.last_irq
        self.runs.append(run)
        self.running[cpu] = Run(cpu, following, time)
        self.last_irq.pop(cpu, None)
        self.left_at[tid] = time
        for what in ("syscall", "fault"):
            for span in self.open.get((what, following), ()):
                span.off += time - max(self.left_at.get(following, span.start), span.start)
        if following in self.woken:
            self.wake_to_run.append((time - self.woken.pop(following), following))

    def wake(self, time, cpu, kind, a, tid, woken, c):
        self.wakes.append((time, cpu, tid, woken))
        self.woken.setdefault(woken, time)

    def sample(self, time, cpu, kind, a, tid, pc, c):
        self.samples.append([time, cpu, tid, a, [pc], 0])

    def last_sample(self, cpu):
        return next((s for s in reversed(self.samples[-ring.NR_CPUS:]) if s[1] == cpu), None)

    def stack(self, time, cpu, kind, a, tid, b, c):
        sample = self.last_sample(cpu)
        if sample:
            sample[4].extend((b, c)[:a])

    def stack_top(self, time, cpu, kind, a, tid, b, c):
        sample = self.last_sample(cpu)
        if sample:
            sample[5] = b

    def begin(self, kind, key, *args):
        self.open.setdefault((kind, key), []).append(Span(kind, *args))

    def end(self, kind, key, time, result):
        stack = self.open.get((kind, key))
        if stack:
            span = stack.pop()
            span.end, span.result = time, result
            self.spans.append(span)

    def other(self, time, cpu, kind, a, tid, b, c):
        if kind == ring.IRQ_EXIT:
            self.end("irq", cpu, time, None)
            self.last_irq[cpu] = b
            return
        if kind == ring.CR3:  # part of a switch
            self.loads.append((time, cpu, tid, b >> 63, b & ((1 << 63) - 1)))
            return
        self.last_irq.pop(cpu, None)
        if kind == ring.IRQ_ENTER:
            self.begin("irq", cpu, cpu, tid, time, b, c)
        elif kind == ring.SYSCALL_ENTER:
            self.begin("syscall", tid, cpu, tid, time, b, c)
        elif kind == ring.SYSCALL_EXIT:
            self.end("syscall", tid, time, c - (1 << 64) if c >> 63 else c)
        elif kind == ring.FAULT_ENTER:
            self.begin("fault", tid, cpu, tid, time, a, b)
        elif kind in (ring.FAULT_KIND, ring.FAULT_FAILED):
            stack = self.open.get(("fault", tid))
            if stack and kind == ring.FAULT_KIND:
                stack[-1].detail.append(ring.FAULT_KINDS[a] if a < len(ring.FAULT_KINDS) else "?")
            elif stack:
                stack[-1].result = c
        elif kind == ring.FAULT_EXIT:
            stack = self.open.get(("fault", tid))
            if stack:
                self.end("fault", tid, time, stack[-1].result)
        elif kind == ring.TRAP_ENTER:
            self.begin("trap", tid, cpu, tid, time, b, c)
        elif kind == ring.TRAP_EXIT:
            self.end("trap", tid, time, None)
        elif kind == ring.FLUSH:
            self.flushes.append((time, cpu, tid, a, b, c))


def fault_name(span):
    """What kind of fault it was, in words."""
    if span.result:
        return "not served"
    if span.detail:
        return ", ".join(span.detail)
    return "anonymous" if span.number & 2 else "mapped"


class Names:
    """Vectors and calls, from the kernel's sources."""

    def __init__(self, root):
        self.syscalls, self.vectors = {}, {}
        with open(root + "/syscall/table.tbl", encoding="ascii") as f:
            for line in f:
                words = line.split(None, 2)
                if words and words[0].isdigit():
                    self.syscalls[int(words[0])] = words[1]
        with open(root + "/arch/x86/vectors.h", encoding="ascii") as f:
            for line in f:
                words = line.split()
                if len(words) > 2 and words[0] == "#define" and words[2].startswith("0x"):
                    self.vectors[words[1]] = int(words[2], 16)

    def syscall(self, nr):
        return self.syscalls.get(nr, "call %d" % nr)

    def vector(self, nr):
        for name, value in self.vectors.items():
            if value == nr and not name.endswith("_END") and name not in ("VEC_IOAPIC", "VEC_LEGACY"):
                return name[4:].lower().replace("_", " ")
        if self.vectors["VEC_IOAPIC"] <= nr < self.vectors["VEC_IOAPIC_END"]:
            return "IOAPIC pin %d" % (nr - self.vectors["VEC_IOAPIC"])
        return "8259 line %d" % (nr - self.vectors["VEC_LEGACY"])
