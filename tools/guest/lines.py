"""bench --lines: the cache lines of the kernel's that several CPUs shared, by what lies in them and by
who touched them. Reads what tools/plugin/lines.c wrote, and the guest's memory for names."""

import argparse
import sys

from memory import DIRECT_MAP, DIRECT_MAP_END, KERNEL_BASE, GuestError, Kernel, Memory
from space import FRAME_TABLE, PAGE, Guest

FRAME_TYPES = ("reserved", "free", "cached", "kernel", "slab", "table", "anon", "file")

# Why a line must be shared: what lies in it, the functions that may write it, the reason. A line counts as
# explained only if nobody else wrote it.
SHOOTDOWN = ("flush", "flush_page", "flush_range", "flush_pages", "tlb_gather_flush",
             "tlb_gather_overflow", "tlb_flush_page", "tlb_flush_pages", "tlb_flush_range")
REASONS = (
    ("aspace+0x0", SHOOTDOWN, "shootdown: the space's generation, which every CPU of it must see"),
    ("cpu.asked", ("ask", "serve"), "shootdown: who asks this CPU"),
    ("cpu.request", ("ask", "ipi_call_mask", "serve", "wait_for_answers", "halt_for_answers"),
     "shootdown: answers to come"),
    ("cpu.tlb_request", ("flush_others", "flush", "flush_range"), "shootdown: what to forget"),
    ("rcu_period", ("rcu_poll",), "grace periods: their number"),
    ("cpu.rcu_cpu", ("rcu_poll", "rcu_quiescent", "rcu_quiescent_irq", "call_rcu", "tick", "sched_ipi"),
     "grace periods: what this CPU has seen"),
)


class Names:
    def __init__(self, kernel, memory):
        self.kernel, self.memory = kernel, memory
        self.guest = Guest(memory, kernel)
        self.guest.root = memory.u64(kernel["kernel_root_pa"])
        start, end = kernel["__percpu_start"], kernel["__percpu_end"]
        self.size = end - start
        data = sorted((at, name) for name, at in kernel.address.items()
                      if (at >= KERNEL_BASE or start <= at < end) and not name.startswith("__"))
        self.percpu = [d for d in data if d[0] < end]
        self.image = [d for d in data if d[0] >= KERNEL_BASE]
        base = kernel["percpu_base"]
        self.lapic = memory.u64(kernel["lapic_base"]) // PAGE
        self.areas = [memory.u64(base + 8 * i) for i in range(256)]

    @staticmethod
    def pick(symbols, at):
        """The symbols that begin in the line, or the one that it is in the middle of."""
        inside = [n for a, n in symbols if at <= a < at + 64]
        before = [(a, n) for a, n in symbols if a < at]
        if before and not any(a == at for a, n in symbols):
            inside.insert(0, before[-1][1])
        return inside

    def slab(self, pfn, at):
        cache = self.guest.frame(pfn, "frame.slab", "Q")
        head = pfn
        if not self.guest.frame(pfn, "frame.refs", "I"):
            head = self.guest.pfn(self.guest.frame(pfn, "frame.slab_free", "Q"))
        name, _, stride = self.memory.unpack("QII", cache)
        return "%s+%#x" % (self.memory.text(name, 40), (at - DIRECT_MAP - head * PAGE) % stride)

    def direct(self, at):
        pfn = (at - DIRECT_MAP) // PAGE
        kind = FRAME_TYPES[self.guest.frame(pfn, "frame.type", "B") % len(FRAME_TYPES)]
        return self.slab(pfn, at) if kind == "slab" else "a page (%s)" % kind

    def name(self, at):
        for base in self.areas:
            if base and base <= at < base + self.size:
                return "cpu." + "/".join(self.pick(self.percpu, at - base))
        if at >= KERNEL_BASE:
            return "/".join(self.pick(self.image, at))
        if at >= FRAME_TABLE:
            return "struct frame"
        if DIRECT_MAP <= at < DIRECT_MAP_END:
            try:
                return self.direct(at)
            except GuestError:
                return "memory"
        return "a stack"


class Line:
    def __init__(self, words):
        self.at = int(words[0], 16)
        self.writers, self.readers = int(words[1], 16), int(words[2], 16)
        self.writes, self.reads = int(words[3]), int(words[4])
        self.sites = []  # (function, store, cpus)

    def functions(self, store):
        return sorted({f for f, s, _ in self.sites if s == store})


def read(path, kernel):
    lines, about = [], {}
    with open(path, encoding="ascii") as f:
        for text in f:
            words = text.split()
            if words[0] == "line":
                lines.append(Line(words[1:]))
            elif text.startswith(" "):
                lines[-1].sites.append((kernel.name(int(words[0], 16)), words[1] == "W", int(words[2], 16)))
            else:
                about[words[0]] = words[1]
    return lines, about


def reason_for(name, line):
    for what, functions, why in REASONS:
        if name == what and set(line.functions(True)) <= set(functions):
            return why
    if name == "cpu.runqueue" and bin(line.writers).count("1") == 1:
        return "balancing: how many threads wait there"
    return None


def report(lines, names, out):
    """Rows by name and reason. Returns how many lines nothing explains."""
    rows = {}
    for line in lines:
        if line.at // PAGE == names.lapic:
            continue  # at one address for all CPUs, but each has its own
        name = names.name(line.at)
        why = reason_for(name, line)
        row = rows.setdefault((why or "", name), [0, 0, 0, line])
        row[0] += 1
        row[1] += line.writes
        row[2] += line.reads
    bad = 0
    for (why, name), (n, writes, reads, line) in sorted(rows.items(), key=lambda r: (r[0][0] != "", -r[1][1])):
        out.write("  %5d %9d %9d  %s%s\n" % (n, writes, reads, name, ": " + why if why else ""))
        if not why:
            bad += n
            out.write("        written by %s; read by %s (%#x)\n" % (
                ", ".join(line.functions(True)[:6]), ", ".join(line.functions(False)[:6]) or "nobody", line.at))
    return bad


def main():
    parser = argparse.ArgumentParser()
    for option in ("--counts", "--ram", "--kernel", "--title"):
        parser.add_argument(option, required=True)
    arguments = parser.parse_args()
    try:
        kernel = Kernel(arguments.kernel)
        lines, about = read(arguments.counts, kernel)
        names = Names(kernel, Memory(arguments.ram))
        cpus = bin(int(about.get("cpus", "0"), 16)).count("1")
        if cpus < 2:
            raise GuestError("only %d CPU ran between the marks" % cpus)
        print("%s: %d CPUs touched %s lines of 64 bytes" % (arguments.title, cpus, about["lines"]))
        print("  lines    writes     reads  written by one CPU and touched by another")
        bad = report(lines, names, sys.stdout)
        if not lines:
            print("  none")
        print("shared without need\t%d" % bad)
    except (GuestError, OSError) as error:
        sys.exit("jiffy: %s" % error)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
