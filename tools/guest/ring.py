"""The rings of debug/trace.c, read out of a guest's memory."""

import struct

from memory import GuestError

VERSION = 1  # debug/trace.h: TRACE_VERSION
NR_CPUS = 256
CHUNK = 1 << 20
EVENT = struct.Struct("<QBBHIQQ")
PER_CHUNK = CHUNK // EVENT.size
RING = struct.Struct("<QQIIQ32x")
THREAD = struct.Struct("<IIII16s")
MAPPING = struct.Struct("<QQQQII88s")

# enum trace_kind
(NONE, SWITCH, WAKE, IRQ_ENTER, IRQ_EXIT, FAULT_ENTER, FAULT_KIND, FAULT_FAILED, FAULT_EXIT,
 TRAP_ENTER, TRAP_EXIT, SYSCALL_ENTER, SYSCALL_EXIT, FLUSH, CR3, SAMPLE, STACK, STACK_TOP) = range(18)

WHY = ("yield", "block", "preempt")  # enum switch_why
FAULT_KINDS = ("zero page", "copied on write", "write right given back", "spurious",
               "table copied", "table taken back")  # enum trace_fault_kind
FLUSHES = ("page", "range", "space", "all")
DEAD = 8  # enum thread_state
IDLE = 0  # the tid of the boot thread, which idles
KERNEL_TID = 1 << 22


class Trace:
    """events[cpu]: tuples (time, kind, a, tid, b, c) in order; time in ticks of the counter."""

    def __init__(self, memory, kernel):
        self.memory = memory
        head = memory.unpack("IIQQQQQQ", kernel["trace_state"])
        if head[0] == 0 or head[1] == 0:
            raise GuestError("this guest was not traced (option trace of the kernel)")
        if head[0] != VERSION:
            raise GuestError("trace of version %d, this tool reads %d" % (head[0], VERSION))
        _, self.classes, rings, threads, mappings, nr_threads, nr_mappings, self.start = head
        self.events, self.lost = {}, {}
        for cpu in range(NR_CPUS):
            self.read_ring(cpu, rings + cpu * RING.size)
        self.threads = {}
        self.read_threads(threads, nr_threads)
        self.mappings = {}
        self.read_mappings(mappings, nr_mappings)
        self.calibrate()

    def read_ring(self, cpu, at):
        head, slots, _, chunks, table = RING.unpack(self.memory.virt(at, RING.size))
        if not slots:
            return
        pointers = struct.unpack("<%dQ" % chunks, self.memory.virt(table, 8 * chunks))
        first = max(0, head - slots)
        data = [self.memory.virt(p, CHUNK) for p in pointers]
        events = []
        n = first
        while n < head:
            # Up to the end of a chunk at once.
            slot = n % slots
            chunk, index = slot // PER_CHUNK, slot % PER_CHUNK
            count = min(PER_CHUNK - index, head - n)
            lap = (n // slots + 1) & 0xFFFF
            part = data[chunk][index * EVENT.size : (index + count) * EVENT.size]
            for time, kind, a, seen, tid, b, c in EVENT.iter_unpack(part):
                if seen == lap:
                    events.append((time, kind, a, tid, b, c))
            n += count
        self.events[cpu] = events
        self.lost[cpu] = head - len(events)

    def read_threads(self, at, count):
        """tid: [tgid, parent, name]; later entries complete earlier ones."""
        size = CHUNK // THREAD.size
        for n in range(max(0, count - size), count):
            tid, tgid, parent, _, name = THREAD.unpack(
                self.memory.virt(at + n % size * THREAD.size, THREAD.size))
            entry = self.threads.setdefault(tid, [0, 0, ""])
            entry[0] = tgid or entry[0]
            entry[1] = parent or entry[1]
            entry[2] = name.split(b"\0")[0].decode("ascii", "replace")
        self.threads.setdefault(IDLE, [0, 0, "idle"])
        self.idle = {t for t, entry in self.threads.items()
                     if (t == IDLE or t >= KERNEL_TID) and entry[2].startswith("idle")}

    def read_mappings(self, at, count):
        """tgid: [(time, start, end, offset, path)], the newest last."""
        size = CHUNK // MAPPING.size
        for n in range(max(0, count - size), count):
            time, start, end, offset, tgid, _, path = MAPPING.unpack(
                self.memory.virt(at + n % size * MAPPING.size, MAPPING.size))
            path = path.split(b"\0")[0].decode("utf-8", "replace")
            self.mappings.setdefault(tgid, []).append((time, start, end, offset, path))

    def calibrate(self):
        """ns per tick, from the first and the last sample: they carry both clocks."""
        pairs = [(e[0], e[5]) for events in self.events.values() for e in events
                 if e[1] == SAMPLE]
        pairs.sort()
        self.ns_per_tick, self.calibrated = 1.0, False
        if len(pairs) > 1 and pairs[-1][0] > pairs[0][0]:
            self.ns_per_tick = (pairs[-1][1] - pairs[0][1]) / (pairs[-1][0] - pairs[0][0])
            self.calibrated = True
        starts = [events[0][0] for events in self.events.values() if events]
        ends = [events[-1][0] for events in self.events.values() if events]
        if not starts:
            raise GuestError("the trace has no events")
        self.first, self.last = min(starts), max(ends)

    def us(self, ticks):
        """Microseconds since the first event."""
        return (ticks - self.first) * self.ns_per_tick / 1000

    def span_us(self, ticks):
        return ticks * self.ns_per_tick / 1000

    def name(self, tid):
        return self.threads.get(tid, [0, 0, ""])[2] or "tid %d" % tid

    def label(self, tid):
        if tid in self.idle:
            return "idle"
        if tid >= KERNEL_TID:
            return "[%s]" % self.name(tid)
        return "%s (%d)" % (self.name(tid), tid)

    def tgid(self, tid):
        return self.threads.get(tid, [0, 0, ""])[0] or tid

    def merged(self):
        """All events of all CPUs in the order of time: (time, cpu, kind, a, tid, b, c)."""
        out = [(e[0], cpu) + e[1:] for cpu, events in self.events.items() for e in events]
        out.sort(key=lambda e: (e[0], e[1]))
        return out
