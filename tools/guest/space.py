"""One process's address space, read from its page table in a guest's memory: tables, slots, regions.

What an entry means is mm/mark.h's; where fields lie says the kernel itself (init/layout.c)."""

from memory import DIRECT_MAP, GuestError

PRESENT, WRITE, USER, LARGE, NOEXEC = 1, 2, 4, 1 << 7, 1 << 63
ADDR = 0x000FFFFFFFFFF000
PAGE = 4096
FRAME_TABLE = 0xFFFFE00000000000  # arch/x86/machine/memlayout.h

# What a slot is, for texts and pictures.
EMPTY, TABLE, MARK, LEAF, HELD = "empty", "table", "mark", "leaf", "held"


class Layout:
    def __init__(self, memory, kernel):
        self.values, at = {}, kernel["inspect_layout"]
        while True:
            name = memory.text(at, 40)
            if not name:
                break
            self.values[name] = memory.u64(at + 40)
            at += 48

    def __getitem__(self, name):
        if name not in self.values:
            raise GuestError("the kernel's layout has no %s: another version?" % name)
        return self.values[name]


class Guest:
    """The kernel's structures in a memory."""

    def __init__(self, memory, kernel):
        self.memory, self.kernel = memory, kernel
        self.layout = Layout(memory, kernel)
        self.root = None

    def field(self, base, name, fmt="Q"):
        return self.memory.unpack(fmt, base + self.layout[name])[0]

    def pfn(self, frame):
        return (frame - FRAME_TABLE) // self.layout["frame.size"]

    def frame(self, pfn, name, fmt):
        """A field of a struct frame: they lie behind the kernel's page table."""
        va = FRAME_TABLE + pfn * self.layout["frame.size"] + self.layout[name]
        table = self.root
        for level in (4, 3, 2, 1):
            entry = self.entry(table, va >> (3 + 9 * level) & 511)
            if not entry & PRESENT:
                raise GuestError("no struct frame for frame %#x" % pfn)
            if level == 1 or entry & LARGE:
                span = 1 << (3 + 9 * level)
                pa = (entry & ADDR & -span) + va % span
                return self.memory.unpack(fmt, DIRECT_MAP + pa)[0]
            table = entry & ADDR
        return 0

    def entry(self, table, index):
        return self.memory.u64(DIRECT_MAP + table + 8 * index)

    def threads(self):
        """Each CPU has a list of those that it made."""
        offset, cpus = self.layout["thread.all"], self.memory.unpack("I", self.kernel["nr_cpus"])[0]
        for cpu in range(cpus):
            head = self.memory.u64(self.kernel["percpu_base"] + 8 * cpu) + self.kernel["thread_lists"]
            node = self.memory.u64(head)
            while node != head:
                yield node - offset
                node = self.memory.u64(node)

    def processes(self):
        """{pid: (process, space, name)} of those that have memory."""
        out = {}
        for t in self.threads():
            proc, space = self.field(t, "thread.proc"), self.field(t, "thread.as")
            if proc and space:
                pid = self.field(proc, "process.nr", "I")
                tid = self.field(t, "thread.tid", "I")
                name = self.memory.text(t + self.layout["thread.name"], 16)
                if pid not in out or pid == tid:
                    out[pid] = (proc, space, name)
        return out

    def object_name(self, obj):
        if self.field(obj, "vm_object.ops") == self.kernel["anon_ops"]:
            return "/dev/zero (deleted)"
        dentry = self.field(obj - self.layout["inode.object"], "inode.alias")
        parts = []
        while dentry and len(parts) < 64:
            parent = self.field(dentry, "dentry.parent")
            if parent:
                parts.append(self.memory.text(self.field(dentry, "dentry.name"), 256))
            dentry = parent
        return "/" + "/".join(reversed(parts)) if parts else ""


class Slot:
    """An entry of a table: kind, and what its range says. index, va and size tell where."""

    __slots__ = ("index", "va", "size", "level", "entry", "kind", "mark", "child", "pfn", "zero")

    def __init__(self, index, va, size, level, entry):
        self.index, self.va, self.size, self.level, self.entry = index, va, size, level, entry
        self.kind, self.mark, self.child, self.pfn, self.zero = EMPTY, 0, None, None, False


class Table:
    def __init__(self, level, va, pa):
        self.level, self.va, self.pa = level, va, pa
        self.slots, self.owners, self.side, self.shared = [], 1, 0, False

    def used(self):
        return [s for s in self.slots if s.kind != EMPTY]


class Region:
    def __init__(self, slot, mapping):
        self.start, self.end = slot.va, slot.va + slot.size
        self.mark, self.mapping = slot.mark, mapping
        self.name, self.offset = "", 0
        self.pages = {"4K": 0, "2M": 0, "zero": 0, "held": 0}


class Space:
    def __init__(self, guest, pid):
        self.guest, self.pid = guest, pid
        processes = guest.processes()
        if pid not in processes:
            raise GuestError("the guest has no process %d with memory; there %s" % (
                pid, "are: " + ", ".join("%d (%s)" % (p, v[2]) for p, v in sorted(processes.items()))
                if processes else "is none at all"))
        self.process, self.address, self.name = processes[pid]
        root_frame = guest.field(self.address, "aspace.root_frame")
        guest.root = guest.pfn(root_frame) * PAGE
        zero = guest.memory.u64(guest.kernel["zero_frame"])
        self.zero_pfn = guest.pfn(zero)
        self.id = guest.field(self.address, "aspace.id")
        self.mappings = {}
        self.tables = {4: [], 3: [], 2: [], 1: []}
        self.root = self.read_table(4, 0, guest.root)
        self.regions = []
        self.merge()

    def read_table(self, level, va, pa):
        guest, layout = self.guest, self.guest.layout
        table = Table(level, va, pa)
        self.tables[level].append(table)
        table.owners = guest.frame(pa // PAGE, "frame.refs", "I")
        table.side = guest.frame(pa // PAGE, "frame.side", "Q")
        data = guest.memory.unpack("512Q", DIRECT_MAP + pa)
        side = guest.memory.unpack("512Q", table.side) if table.side and level < 4 else None
        size = 1 << (3 + 9 * level)
        for i in range(layout["PT_USER_ROOT_SLOTS"] if level == 4 else 512):
            slot = Slot(i, va + i * size, size, level, data[i])
            table.slots.append(slot)
            if data[i]:
                self.read_slot(slot, side)
        return table

    def read_slot(self, slot, side):
        layout, e = self.guest.layout, slot.entry
        if e & PRESENT and slot.level > 1 and not e & LARGE:
            slot.kind = TABLE
            slot.child = self.read_table(slot.level - 1, slot.va, e & ADDR)
            slot.child.shared = not e & WRITE
            return
        kind = e & layout["MARK_KINDS"]
        if e & PRESENT:
            slot.kind, slot.pfn = LEAF, (e & ADDR) // PAGE
            slot.zero = slot.pfn == self.zero_pfn
        elif kind == layout["MARK_HELD"]:
            slot.kind, slot.pfn = HELD, (~e & ADDR) // PAGE
        else:
            slot.kind, slot.mark = MARK, e
            if slot.level > 1 and kind == layout["MARK_ANON"]:
                # A partial mark: units of the next lower level are left out at both ends.
                unit = slot.size // 512
                before, behind = ~e >> 12 & 511, ~e >> 21 & 511
                slot.va += before * unit
                slot.size -= (before + behind) * unit
            return
        if e & layout["VM_SIDE"] and side:
            slot.mark = side[slot.index] | (e & layout["VM_BITS"])
        else:
            slot.mark = (e & layout["VM_BITS"]) | layout["MARK_ANON"] | ADDR

    def mapping(self, mark):
        """(object, va, offset, nowrite) that a mark names, or None."""
        layout = self.guest.layout
        if mark & layout["MARK_KINDS"] not in (layout["MARK_PRIVATE"], layout["MARK_SHARED"]):
            return None
        at = DIRECT_MAP + (((~mark & ADDR) >> 12) << 6)
        if at not in self.mappings:
            f = self.guest.field
            self.mappings[at] = (f(at, "vm_mapping.obj"), f(at, "vm_mapping.va"),
                                 f(at, "vm_mapping.offset"), f(at, "vm_mapping.nowrite", "B"))
        return self.mappings[at]

    # ---- regions: what /proc/pid/maps says ----

    def slots(self, table):
        for slot in table.slots:
            if slot.child:
                yield from self.slots(slot.child)
            else:
                yield slot

    def continues(self, region, slot, mapping):
        same = self.guest.layout["VM_BITS"] | self.guest.layout["MARK_KINDS"]
        if slot.va != region.end or (region.mark ^ slot.mark) & same:
            return False
        a = region.mapping
        return a is None or (a[0] == mapping[0] and a[3] == mapping[3]
                             and (a[2] - a[1] - mapping[2] + mapping[1]) % (1 << 64) == 0)

    def merge(self):
        region = None
        for slot in self.slots(self.root):
            if slot.kind == EMPTY:
                region = None
                continue
            mapping = self.mapping(slot.mark)
            if region and self.continues(region, slot, mapping):
                region.end = slot.va + slot.size
            else:
                region = Region(slot, mapping)
                self.regions.append(region)
            if slot.kind == HELD:
                region.pages["held"] += slot.size // PAGE
            elif slot.kind == LEAF:
                region.pages["zero" if slot.zero else "4K" if slot.level == 1 else "2M"] += 1
        f = self.guest.field
        brk_start, brk = f(self.address, "aspace.brk_start"), f(self.address, "aspace.brk")
        stack_top = f(self.process, "process.stack_top")
        for r in self.regions:
            if r.mapping:
                r.name = self.guest.object_name(r.mapping[0])
                r.offset = (r.mapping[2] + r.start - r.mapping[1]) % (1 << 64)
            elif r.start < brk and r.end > brk_start:
                r.name = "[heap]"
            elif r.end == stack_top:
                r.name = "[stack]"

    def prot(self, mark):
        layout = self.guest.layout
        return (("r" if mark & layout["VM_READ"] else "-") + ("w" if mark & layout["VM_WRITE"] else "-")
                + ("-" if mark & NOEXEC else "x"))

    def is_shared(self, mark):
        return mark & self.guest.layout["MARK_KINDS"] == self.guest.layout["MARK_SHARED"]

    def flags(self, mark):
        names = ("GROWSDOWN", "NORESERVE", "LOCKED", "DONTFORK", "WIPE", "HUGE", "NOHUGE")
        return [n.lower() for n in names if mark & self.guest.layout["VM_" + n]]

    def maps_line(self, r):
        return "%08x-%08x %s%s %08x %s" % (r.start, r.end, self.prot(r.mark),
                                           "s" if self.is_shared(r.mark) else "p", r.offset, r.name)
