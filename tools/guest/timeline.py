"""timeline.svg: which thread ran when, where it was preempted, and the interrupts. Above the whole
trace, below a part of it at a scale at which single slices can be seen.

Slices of less than a pixel are not drawn one by one (their number would be a lie of ink): a column
of pixels is as dark as the thread ran in its time."""

import ring
from svg import INK, LINE, MUTED, PALETTE, Svg, steps

LEFT, RIGHT, ROW, BAR = 170, 24, 26, 18
MOST_THREADS = 18
RED = "#cf2f2f"


class Panel:
    """One scale of time: [start, end) in ticks over the width of the sheet."""

    def __init__(self, svg, spans, names, threads, colors, start, end):
        self.svg, self.spans, self.names = svg, spans, names
        self.threads, self.colors = threads, colors
        self.start, self.end = start, max(end, start + 1)
        self.width = svg.width - LEFT - RIGHT

    def x(self, time):
        return LEFT + self.width * (time - self.start) / (self.end - self.start)

    def axis(self, top, bottom):
        trace = self.spans.trace
        first, last = trace.us(self.start), trace.us(self.end)
        step = steps(last - first, 10)
        unit, scale = (("s", 1e6) if step >= 1e6 else ("ms", 1e3) if step >= 1e3 else ("us", 1))
        n = int(first / step) + (first > 0)
        while n * step <= last:
            x = LEFT + self.width * (n * step - first) / max(last - first, 1e-9)
            self.svg.line(x, top, x, bottom)
            self.svg.text(x, bottom + 15, "%g %s" % (round(n * step / scale, 6), unit), 11, MUTED,
                          "middle")
            n += 1

    def row_label(self, y, label):
        self.svg.text(LEFT - 10, y + BAR - 5, label, 12, INK, "end", room=LEFT - 16)

    def run_row(self, y, tid):
        color = self.colors[tid]
        columns = [0.0] * (self.width + 1)
        pixel = (self.end - self.start) / self.width
        preempted = {}
        for run in self.spans.runs:
            if run.tid != tid or run.end <= self.start or run.start >= self.end:
                continue
            a, b = max(run.start, self.start), min(run.end, self.end)
            if b - a >= 2 * pixel:
                self.slice(y, run, a, b, color)
            else:
                columns[int((a - self.start) / pixel)] += (b - a) / pixel
            if run.why == 2 and run.end < self.end:
                column = int((run.end - self.start) / pixel)
                preempted[column] = preempted.get(column, 0) + 1
        self.shades(y, columns, color)
        for column, n in preempted.items():
            x = LEFT + column + 0.5
            self.svg.polygon([(x - 2.6, y - 1), (x + 2.6, y - 1), (x, y + 4)], RED,
                             "preempted" if n == 1 else "%d preemptions" % n)

    def slice(self, y, run, a, b, color):
        trace = self.spans.trace
        left = "" if run.why is None else "; left by %s" % ring.WHY[run.why]
        self.svg.rect(self.x(a), y, self.x(b) - self.x(a), BAR, color,
                      "%s on CPU %d, from %.3f ms for %.1f us%s" % (
                          trace.label(run.tid), run.cpu, trace.us(run.start) / 1000,
                          trace.span_us(run.end - run.start), left), radius=1)

    def shades(self, y, columns, color):
        at = 0
        while at < len(columns):
            level = min(10, int(columns[at] * 10 + 0.999))
            end = at + 1
            while end < len(columns) and min(10, int(columns[end] * 10 + 0.999)) == level:
                end += 1
            if level:
                self.svg.rect(LEFT + at, y, end - at, BAR, color, opacity=0.15 + 0.085 * level)
            at = end

    def irq_row(self, y, cpu):
        seen = {}
        for span in self.spans.spans:
            if span.kind == "irq" and span.cpu == cpu and self.start <= span.start < self.end:
                column = int(self.x(span.start))
                seen.setdefault(column, {}).setdefault(span.number, 0)
                seen[column][span.number] += 1
        for column, numbers in seen.items():
            text = ", ".join("%s%s" % (self.names.vector(v), " x%d" % n if n > 1 else "")
                             for v, n in numbers.items())
            timer = all("timer" in self.names.vector(v) for v in numbers)
            self.svg.rect(column, y + 3, 1.1, BAR - 6, "#8a94a0" if timer else RED, text)

    def draw(self, y):
        rows = len(self.threads) + len(self.spans.trace.events)
        self.axis(y, y + rows * ROW)
        for tid in self.threads:
            self.row_label(y + 4, self.spans.trace.label(tid))
            self.run_row(y + 4, tid)
            y += ROW
        for cpu in sorted(self.spans.trace.events):
            self.row_label(y + 4, "interrupts, CPU %d" % cpu)
            self.irq_row(y + 4, cpu)
            y += ROW
        return y + 34


def busiest(spans, start, end):
    """The eighth of the trace in which most switches happen, of the most different threads."""
    runs = [r for r in spans.runs if start <= r.start < end and r.tid not in spans.trace.idle]
    length = (end - start) // 8
    if len(runs) < 12:
        return start, end
    if len(runs) > 800:  # about a hundred slices are what a sheet can show
        length = (end - start) * 100 // len(runs)
    best, window, last = -1, (start, end), 0
    for i, run in enumerate(runs):
        while last < len(runs) and runs[last].start < run.start + length:
            last += 1
        part = runs[i:last]
        score = min(len(part), 120) + sum(r.why == 2 for r in part[:120]) + 4 * len({r.tid for r in part})
        if score > best and run.start + length <= end:
            best, window = score, (run.start, run.start + length)
    return window


def draw(path, spans, names, title, window=None):
    trace = spans.trace
    time_of = {}
    for run in spans.runs:
        if run.tid not in spans.trace.idle:
            time_of[run.tid] = time_of.get(run.tid, 0) + run.end - run.start
    threads = sorted(time_of, key=lambda t: -time_of[t])[:MOST_THREADS]
    threads.sort()
    colors = {tid: PALETTE[i % len(PALETTE)] for i, tid in enumerate(threads)}
    svg = Svg(1280)
    svg.text(24, 32, title, 18, weight="600")
    more = len(time_of) - len(threads)
    svg.text(24, 51, "A bar: the thread has the CPU. Red mark: it was preempted there (it did not "
             "give way by itself). Grey strokes: timer interrupts; red strokes: others."
             + (" %d threads that ran least are left out." % more if more else ""), 12, MUTED)
    start, end = trace.first, trace.last
    svg.text(24, 84, "The whole trace: %.1f ms, %d switches" % (
        trace.us(end) / 1000, sum(r.why is not None for r in spans.runs)), 13, weight="600")
    y = Panel(svg, spans, names, threads, colors, start, end).draw(94)
    if window is None:
        window = busiest(spans, start, end)
    if window != (start, end):
        y += 10
        svg.line(24, y - 14, svg.width - 24, y - 14, LINE)
        svg.text(24, y + 8, "Close up: from %.2f ms to %.2f ms" % (
            trace.us(window[0]) / 1000, trace.us(window[1]) / 1000), 13, weight="600")
        there = {r.tid for r in spans.runs if r.end > window[0] and r.start < window[1]}
        y = Panel(svg, spans, names, [t for t in threads if t in there], colors, *window).draw(y + 18)
    svg.height = int(y + 6)
    svg.write(path)
