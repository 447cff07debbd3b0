"""gdb's view of Jiffy: threads, stacks, page tables, the run queue, the log.

Loaded by ./jiffy debug. Layouts of structs come from the kernel's debug information, by name; what
C has as macros is repeated here and named with its source. Physical memory is read through QEMU's
monitor, so a page walk works before paging is up and with any address space.
"""

import re

import gdb

# arch/x86/machine/pte.h
PTE_BITS = [
    (1 << 0, "present"), (1 << 1, "write"), (1 << 2, "user"), (1 << 3, "PWT"), (1 << 4, "PCD"),
    (1 << 5, "accessed"), (1 << 6, "dirty"), (1 << 8, "global"), (1 << 63, "no-execute"),
]
PTE_PRESENT, PTE_WRITE, PTE_USER, PTE_LARGE, PTE_NOEXEC = 1, 2, 4, 1 << 7, 1 << 63
PTE_ADDR = 0x000FFFFFFFFFF000
DIRECT_MAP = 0xFFFF800000000000  # arch/x86/machine/memlayout.h
USER_TOP = 0x00007FFFFFFFF000


def pte_soft(n):
    return 1 << (9 + n if n < 3 else 49 + n)


# mm/mark.h
VM_BITS = [(pte_soft(0), "r"), (pte_soft(1), "w")]
VM_SIDE = pte_soft(2)
VM_FLAGS = [(pte_soft(3), "grows down"), (pte_soft(4), "no reserve"), (pte_soft(5), "locked")]
MARK_KINDS = {1: "anonymous, private", 2: "private mapping", 3: "shared mapping", 4: "held frame"}


def unsigned(value):
    return int(value) & 0xFFFFFFFFFFFFFFFF


def evaluate(text):
    return unsigned(gdb.parse_and_eval(text))


def read_u64(address):
    return int.from_bytes(bytes(gdb.selected_inferior().read_memory(address, 8)), "little")


def read_phys(address):
    """One 64-bit word of physical memory."""
    text = gdb.execute("monitor xp /1gx 0x%x" % address, to_string=True)
    match = re.search(r":\s*0x([0-9a-fA-F]+)", text)
    if not match:
        raise gdb.GdbError("cannot read physical address 0x%x: %s" % (address, text.strip()))
    return int(match.group(1), 16)


def static_variable(name, path):
    """A file's own variable, as a value."""
    symbol = gdb.lookup_static_symbol(name) or gdb.lookup_global_symbol(name)
    if symbol is None:
        raise gdb.GdbError("no symbol %s (%s)" % (name, path))
    return symbol.value()


def symbol_at(pc):
    text = gdb.execute("info symbol 0x%x" % pc, to_string=True)
    match = re.match(r"(\S+(?: \+ \d+)?) in section", text)
    return match.group(1).replace(" ", "") if match else "0x%x" % pc


def offset_of(struct, member):
    return next(f.bitpos // 8 for f in gdb.lookup_type(struct).fields() if f.name == member)


# ---- threads -------------------------------------------------------------------------------------

STATES = {0: "runnable", 1: "sleeping", 2: "waiting", 4: "stopped", 8: "dead", 16: "new"}


def all_threads():
    """Each CPU has a list of those that it made."""
    thread_type = gdb.lookup_type("struct thread")
    for cpu in cpus():
        head = per_cpu("thread_lists", cpu)
        node = unsigned(node_next(head))
        while node != head:
            yield gdb.Value(node - offset_of("struct thread", "all")).cast(thread_type.pointer())
            node = unsigned(node_next(node))


def node_next(address):
    node = gdb.Value(address).cast(gdb.lookup_type("struct list_node").pointer())
    return node["next"]


def per_cpu(name, cpu):
    """The address of one CPU's copy: variables are linked at offsets from the CPU's base."""
    base = unsigned(gdb.parse_and_eval("percpu_base[%d]" % cpu))
    return base + unsigned(gdb.parse_and_eval("&%s" % name))


def cpus():
    return range(int(gdb.parse_and_eval("nr_cpus")))


def currents():
    """CPU number by the address of the thread that runs there."""
    found = {}
    for cpu in cpus():
        found[read_u64(per_cpu("current_thread", cpu))] = cpu
    return found


def saved_stack(thread):
    """pc, sp, fp at which a switched-out thread goes on (arch/x86/machine/ctx.h)."""
    sp = unsigned(thread["arch"]["sp"])
    return read_u64(sp), sp + 16, read_u64(sp + 8)


def callers(thread, limit=12):
    """Functions on a switched-out thread's stack, innermost first, by its chain of frames."""
    pc, _, fp = saved_stack(thread)
    names = [symbol_at(pc)]
    top = unsigned(thread["stack_top"])
    while top - 0x10000 <= fp < top - 8 and len(names) < limit:
        pc, fp = read_u64(fp + 8), read_u64(fp)
        if pc == 0:
            break
        names.append(symbol_at(pc - 1))
    return names


SCHEDULER = re.compile(r"(__)?(schedule|sched_|waitq_|wait_|ctx_|switch_)")


def where(thread):
    """The function that made the thread wait, and its caller."""
    names = callers(thread)
    interesting = [n for n in names if not SCHEDULER.match(n)] or names
    return " < ".join(interesting[:2])


def thread_by_id(tid):
    for thread in all_threads():
        if int(thread["tid"]) == tid:
            return thread
    raise gdb.GdbError("there is no thread %d (jiffy threads lists them)" % tid)


class Jiffy(gdb.Command):
    """Commands for Jiffy, the kernel:

jiffy threads        every thread: its state, where it waits, its program
jiffy thread TID     look at that thread's stack; without TID: back to the CPU's own
jiffy walk ADDRESS   the page-table entries that translate an address (CR3's space)
jiffy pte VALUE      what an entry means, present or a mark
jiffy rq             the run queue, level by level
jiffy log [LINES]    the kernel's log"""

    def __init__(self):
        super().__init__("jiffy", gdb.COMMAND_USER, prefix=True)


class Threads(gdb.Command):
    """jiffy threads: every thread, its state, its switches, and where it waits."""

    def __init__(self):
        super().__init__("jiffy threads", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        running = currents()
        print("%8s %-15s %-9s %5s %3s %9s  %s" % ("tid", "name", "state", "level", "cpu", "switches", "where"))
        for t in all_threads():
            address = unsigned(t)
            if address in running:
                state, place = "RUNNING", "on cpu %d" % running[address]
            else:
                number = int(t["state"])
                state = STATES.get(number, "?%d" % number)
                place = "" if number in (8, 16) else where(t)
            print("%8d %-15s %-9s %5d %3d %9d  %s" % (
                int(t["tid"]), t["name"].string(errors="replace"), state, int(t["level"]), int(t["cpu"]),
                int(t["switches"]), place))


# The CPU's registers while another thread's are shown in their place.
saved_registers = None


def restore_registers():
    global saved_registers
    if saved_registers is None:
        return
    for name, value in saved_registers:
        gdb.execute("set $%s = 0x%x" % (name, value))
    saved_registers = None


class Thread(gdb.Command):
    """jiffy thread TID: look at that thread's stack (bt, up, info locals ...).

The CPU's registers are put back by "jiffy thread" without a number, and before the machine runs on."""

    def __init__(self):
        super().__init__("jiffy thread", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        global saved_registers
        restore_registers()
        if not argument:
            gdb.execute("frame")
            return
        thread = thread_by_id(int(argument, 0))
        if unsigned(thread) in currents():
            print("%s is running: these are the CPU's registers" % thread["name"].string())
            gdb.execute("frame")
            return
        if int(thread["state"]) in (8, 16):
            raise gdb.GdbError("this thread is dead, or has never run")
        pc, sp, fp = saved_stack(thread)
        saved_registers = [(n, evaluate("$" + n)) for n in ("rip", "rsp", "rbp")]
        for name, value in (("rsp", sp), ("rbp", fp), ("rip", pc)):
            gdb.execute("set $%s = 0x%x" % (name, value))
        gdb.execute("frame")


class Restore(gdb.Command):
    """The CPU's own registers again (used before the machine runs on)."""

    def __init__(self):
        super().__init__("jiffy restore", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        restore_registers()


# ---- page tables ---------------------------------------------------------------------------------

def describe_entry(value, level=1):
    """What a slot of a page table says, in words."""
    if value == 0:
        return "empty"
    if value & PTE_PRESENT:
        words = [name for bit, name in PTE_BITS if value & bit]
        leaf = level == 1 or value & PTE_LARGE
        address = value & PTE_ADDR
        if leaf and level > 1:
            address &= ~((1 << (12 + 9 * (level - 1))) - 1)
            words.append("2 MiB" if level == 2 else "1 GiB")
        kind = "frame" if leaf else "table"
        extra = soft_words(value) if leaf and value & PTE_USER else ""
        return "%s 0x%x: %s%s" % (kind, address, ", ".join(words), extra)
    kind = value >> 1 & 7
    if kind not in MARK_KINDS:
        return "not present, and not a mark: 0x%x" % value
    payload = ~value & PTE_ADDR
    if kind in (2, 3):
        detail = " 0x%x" % (DIRECT_MAP + (payload >> 12 << 6))
    elif kind == 4:
        detail = " 0x%x" % payload
    else:
        detail = ""
    return "mark: %s%s%s" % (MARK_KINDS[kind], detail, soft_words(value))


def soft_words(value):
    prot = "".join(name if value & bit else "-" for bit, name in VM_BITS)
    prot += "-" if value & PTE_NOEXEC else "x"
    words = [name for bit, name in VM_FLAGS if value & bit]
    if value & VM_SIDE:
        words.append("the rest in the side array")
    return "; mapping " + prot + "".join(", " + w for w in words)


class Pte(gdb.Command):
    """jiffy pte VALUE [LEVEL]: what a page-table entry means (level 1: 4 KiB, 2: 2 MiB, 3: 1 GiB)."""

    def __init__(self):
        super().__init__("jiffy pte", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if not words:
            raise gdb.GdbError("jiffy pte VALUE [LEVEL]")
        print(describe_entry(evaluate(words[0]), int(words[1]) if len(words) > 1 else 1))


class Walk(gdb.Command):
    """jiffy walk ADDRESS: the page walk of the CPU's present address space, entry by entry."""

    def __init__(self):
        super().__init__("jiffy walk", gdb.COMMAND_DATA, gdb.COMPLETE_SYMBOL)

    def invoke(self, argument, from_tty):
        if not argument:
            raise gdb.GdbError("jiffy walk ADDRESS")
        va = evaluate("(unsigned long)(%s)" % argument)
        if va >> 47 not in (0, 0x1FFFF):
            raise gdb.GdbError("0x%x is not canonical" % va)
        if not evaluate("$cr0") >> 31 & 1:
            raise gdb.GdbError("paging is not on yet")
        table = evaluate("$cr3") & PTE_ADDR
        print("0x%016x   root at 0x%x" % (va, table))
        for level in (4, 3, 2, 1):
            index = va >> (12 + 9 * (level - 1)) & 511
            entry = read_phys(table + 8 * index)
            print("  level %d [%3d]  0x%016x  %s" % (level, index, entry, describe_entry(entry, level)))
            if not entry & PTE_PRESENT:
                print("  not mapped")
                return
            if level == 1 or entry & PTE_LARGE:
                size = 1 << (12 + 9 * (level - 1))
                print("  physical 0x%x" % ((entry & PTE_ADDR & ~(size - 1)) + (va & (size - 1))))
                return
            table = entry & PTE_ADDR


# ---- scheduler, log ------------------------------------------------------------------------------

SLOT_FAIR = 109  # sched/rq.h


def title(thread):
    return "%s (%d)" % (thread["name"].string(errors="replace"), int(thread["tid"]))


def tree_nodes(node):
    """Addresses of a red-black tree's nodes, in order."""
    if unsigned(node):
        yield from tree_nodes(node["left"])
        yield unsigned(node)
        yield from tree_nodes(node["right"])


def fair_threads(queue):
    """Of the fair queue: who runs, then who waits, those whose turn it may be first (sched/fair.h)."""
    entities = [unsigned(queue["curr"])] if unsigned(queue["curr"]) else []
    for tree in (queue["ready"], queue["waiting"]):
        nodes = list(tree_nodes(tree["root"]["top"]))
        entities += [n - offset_of("struct fair_entity", "node") for n in nodes] or \
            ([unsigned(tree["first"])] if unsigned(tree["first"]) else [])
    for entity in entities:
        address = entity - offset_of("struct thread", "fair")
        yield gdb.Value(address).cast(gdb.lookup_type("struct thread").pointer())


class Rq(gdb.Command):
    """jiffy rq: the run queue of each CPU, level by level, the running thread first."""

    def __init__(self):
        super().__init__("jiffy rq", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        rq_type = gdb.lookup_type("struct rq").pointer()
        for cpu in cpus():
            rq = gdb.Value(per_cpu("runqueue", cpu)).cast(rq_type)
            current = gdb.Value(read_u64(per_cpu("current_thread", cpu))).cast(
                gdb.lookup_type("struct thread").pointer())
            print("cpu %d: %d runnable, current %s (%d), %d switches, %d of them forced, %d wake-ups, lock %s" % (
                cpu, int(rq["runnable"]), current["name"].string(errors="replace"), int(current["tid"]),
                int(rq["switches"]), int(rq["preemptions"]), int(rq["wakeups"]),
                "HELD" if int(rq["lock"]["word"]["locked"]) else "free"))
            self.levels(rq)

    def levels(self, rq):
        words = rq["bitmap"].type.range()[1] + 1
        for level in range(64 * words):
            if not int(rq["bitmap"][level // 64]) >> (level % 64) & 1:
                continue
            if level == SLOT_FAIR:
                print("  fair:      %s" % ", ".join(title(t) for t in fair_threads(rq["fair"])))
                continue
            first = rq["first"][level]
            names, thread = [], first
            while len(names) < 1000:
                names.append(title(thread))
                thread = thread["ring_next"]
                if unsigned(thread) == unsigned(first):
                    break
            print("  level %3d: %s" % (level, ", ".join(names)))


class Log(gdb.Command):
    """jiffy log [LINES]: the last lines (40) of the kernel's log."""

    def __init__(self):
        super().__init__("jiffy log", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        limit = int(argument, 0) if argument else 40
        ring = static_variable("ring", "debug/klog.c")
        head = unsigned(static_variable("ring_head", "debug/klog.c")["v"])
        slots = ring.type.range()[1] + 1
        lines, text, time = [], b"", 0
        for number in range(max(0, head - slots), head):
            slot = ring[number % slots]
            if unsigned(slot["stamp"]) != number + 1:
                continue
            if int(slot["index"]) == 0:
                text, time = b"", unsigned(slot["time"])
            text += bytes(gdb.selected_inferior().read_memory(slot["text"].address, int(slot["len"])))
            if int(slot["more"]) == 0:
                lines.append("[%5d.%06d] %s" % (time // 10**9, time // 1000 % 10**6,
                                               text.decode("ascii", "replace").rstrip("\n")))
        print("\n".join(lines[-limit:]))


for command in (Jiffy, Threads, Thread, Restore, Pte, Walk, Rq, Log):
    command()
# A thread's registers must not reach the machine when it runs.
for name in ("continue", "step", "next", "stepi", "nexti", "finish", "until", "advance", "detach", "jump", "call"):
    gdb.execute("define hook-%s\njiffy restore\nend" % name)
