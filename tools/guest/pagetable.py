"""inspect: one process's address space and page tables, as text and as a picture (docs/tracing.md).
Called by ./jiffy inspect."""

import argparse
import contextlib
import os
import signal
import sys

import space_picture
from memory import GuestError, Kernel, Memory
from space import HELD, LEAF, MARK, TABLE, Guest, Space


def size_text(n):
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= scale and n % (scale // 1024 if scale > 1024 else 1) == 0:
            return "%g %s" % (round(n / scale, 2), unit)
    return "%d B" % n


class Text:
    def __init__(self, space, out):
        self.space, self.out = space, out

    def line(self, text=""):
        self.out.write(text + "\n")

    def regions(self):
        self.line("regions, as in /proc/%d/maps, and what of them is in memory" % self.space.pid)
        for r in self.space.regions:
            pages = []
            for what, unit in (("4K", "pages"), ("2M", "large pages"), ("zero", "zero pages"),
                               ("held", "held")):
                if r.pages[what]:
                    pages.append("%d %s" % (r.pages[what], unit))
            self.line("  %-66s %10s  %s" % (self.space.maps_line(r), size_text(r.end - r.start),
                                            ", ".join(pages + self.space.flags(r.mark))))

    def counts(self):
        tables = self.space.tables
        self.line("tables")
        for level in (4, 3, 2, 1):
            shared = sum(t.shared for t in tables[level])
            side = sum(bool(t.side) for t in tables[level] if level < 4)
            self.line("  level %d: %d%s%s" % (
                level, len(tables[level]), ", %d shared with other spaces" % shared if shared else "",
                ", %d with a side array" % side if side else ""))
        marks = {}
        for slot in self.space.slots(self.space.root):
            if slot.kind == MARK:
                marks[slot.level] = marks.get(slot.level, 0) + 1
        for level, n in sorted(marks.items(), reverse=True):
            self.line("  marks at level %d: %d, each for %s" % (level, n, size_text(1 << (3 + 9 * level))))

    def describe(self, slot):
        space = self.space
        mapping = space.mapping(slot.mark)
        what = space.guest.object_name(mapping[0]) or "file" if mapping else "anonymous"
        text = "%s%s %s" % (space.prot(slot.mark), "s" if space.is_shared(slot.mark) else "p", what)
        if slot.kind == LEAF:
            text = ("zero page " if slot.zero else "") + text
            text += "" if slot.entry & 2 else ", not writable now" if "w" in space.prot(slot.mark) else ""
        return text

    def table(self, table, indent):
        """Its slots, equal neighbours on one line."""
        runs = []
        for slot in table.used():
            key = (slot.kind, self.describe(slot) if slot.kind != TABLE else slot.index)
            last = runs[-1] if runs else None
            if last and last[0] == key and last[2].index + 1 == slot.index:
                last[2] = slot
            else:
                runs.append([key, slot, slot])
        for (kind, what), first, last in runs:
            name = {LEAF: "leaf" if table.level == 1 else "large leaf", HELD: "held frame",
                    MARK: "mark"}.get(kind)
            where = "[%03d]" % first.index if first is last else "[%03d-%03d]" % (first.index, last.index)
            end = last.va + last.size
            if kind == TABLE:
                child = first.child
                self.line("%s%-9s %012x table of level %d at %#x%s, %d entries" % (
                    indent, where, first.va, child.level, child.pa,
                    ", shared by %d" % child.owners if child.shared else "", len(child.used())))
                self.table(child, indent + "  ")
            else:
                self.line("%s%-9s %012x-%012x %s, %s" % (indent, where, first.va, end, name, what))

    def all(self):
        space = self.space
        self.line("process %d (%s), address space %d, root at %#x" % (
            space.pid, space.name, space.id, space.root.pa))
        self.line()
        self.regions()
        self.line()
        self.counts()
        self.line()
        self.line("page table: the slots that say something")
        self.table(space.root, "  ")


@contextlib.contextmanager
def standing_still(ram):
    """A guest that runs is stopped for as long as it is read: its QEMU, whose id is beside the file."""
    pid = None
    try:
        with open(ram + ".pid", encoding="ascii") as f:
            where = f.read().strip()
        with open(where, encoding="ascii") as f:
            candidate = int(f.read())
        with open("/proc/%d/comm" % candidate, encoding="ascii") as f:
            if "qemu" in f.read():
                pid = candidate
                os.kill(pid, signal.SIGSTOP)
    except (OSError, ValueError):
        pass
    try:
        yield pid is not None
    finally:
        if pid is not None:
            os.kill(pid, signal.SIGCONT)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--ram", required=True)
    p.add_argument("--kernel", required=True)
    p.add_argument("--machine", default="q35")
    p.add_argument("--pid", type=int)
    p.add_argument("--list", action="store_true")
    p.add_argument("--maps", action="store_true", help="the lines of /proc/pid/maps, and no more")
    p.add_argument("--out")
    args = p.parse_args()
    kernel = Kernel(args.kernel)
    with standing_still(args.ram):
        guest = Guest(Memory(args.ram, args.machine), kernel)
        processes = guest.processes()
        if args.list:
            for pid, (_, _, name) in sorted(processes.items()):
                print("%6d %s" % (pid, name))
            return
        space = Space(guest, args.pid if args.pid is not None else min(processes, default=1))
        if args.maps:
            for r in space.regions:
                print(space.maps_line(r))
            return
        text = Text(space, sys.stdout)
        text.all()
        if args.out:
            os.makedirs(args.out, exist_ok=True)
            base = "%s/space-%d" % (args.out, space.pid)
            space_picture.draw(base + ".svg", space)
            with open(base + ".txt", "w", encoding="utf-8") as f:
                Text(space, f).all()


if __name__ == "__main__":
    try:
        main()
    except GuestError as e:
        sys.exit("jiffy: %s" % e)
    except BrokenPipeError:
        sys.exit(0)
