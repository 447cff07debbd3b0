"""Folded stacks of the samples, and the flame graph of them: each box is a function, as wide as the
samples in which it, or what it called, was running; callers below, what they called above."""

import zlib

import ring
from svg import INK, MUTED, Svg

ENTRY = ("entry_syscall", "exception_common", "interrupt_common", "hooked_", "return_user")


def frames(spans, kernel, programs, sample):
    """From the root: the process, then its functions. Kernel frames carry the suffix _[k]."""
    time, _, tid, user, pcs, top = sample
    trace = spans.trace
    if tid >= ring.KERNEL_TID:
        root = "[%s]" % trace.name(tid)
    else:
        root = trace.name(tid)
    # A function without a frame of its own: its caller is not in the chain of frame pointers.
    if len(pcs) < 2 or top != pcs[1]:
        if (programs.is_return_from(tid, top, pcs[0], time) if user
                else kernel.functions.is_return_from(top, pcs[0])):
            pcs = [pcs[0], top] + pcs[1:]
    out = []
    for i, pc in enumerate(pcs):
        at = pc if i == 0 else pc - 1  # a return address: the call is before it
        if user:
            name = programs.name(tid, at, time)
            if i > 0 and name == "[unknown]":
                break
            out.append(name)
        else:
            name = kernel.name(at)
            if not name.startswith(ENTRY):
                out.append(name + "_[k]")
    return [root] + out[::-1]


def fold(spans, kernel, programs):
    """{stack: samples} of all but idle time, and how many samples were idle."""
    folded, idle = {}, 0
    for sample in spans.samples:
        if sample[2] in spans.trace.idle:
            idle += 1
            continue
        stack = tuple(frames(spans, kernel, programs, sample))
        folded[stack] = folded.get(stack, 0) + 1
    return folded, idle


def write_folded(path, folded):
    with open(path, "w", encoding="utf-8") as f:
        for stack, n in sorted(folded.items()):
            f.write(";".join(s.replace(";", ":") for s in stack) + " %d\n" % n)


class Node:
    def __init__(self):
        self.total, self.own, self.children = 0, 0, {}


def tree(folded):
    root = Node()
    for stack, n in folded.items():
        node = root
        node.total += n
        for name in stack:
            node = node.children.setdefault(name, Node())
            node.total += n
        node.own += n
    return root


def depth(node):
    return 1 + max((depth(c) for c in node.children.values()), default=0)


def color(name, level):
    spread = zlib.crc32(name.encode()) % 1000 / 1000
    if level == 1:
        return "#%02x%02x%02x" % tuple(int(v + 14 * spread) for v in (196, 203, 212))
    if name.endswith("_[k]"):  # the kernel: blue-green
        return "#%02x%02x%02x" % (int(96 + 50 * spread), int(170 + 30 * spread), int(196 + 30 * spread))
    return "#%02x%02x%02x" % (int(236 + 14 * spread), int(140 + 70 * spread), int(70 + 50 * spread))


def draw(path, folded, title, subtitle):
    width, left, row, top = 1200, 12, 18, 64
    svg = Svg(width)
    root = tree(folded)
    levels = depth(root)
    svg.height = top + levels * row + 40
    svg.text(left, 28, title, 18, weight="600")
    svg.text(left, 47, subtitle, 12, MUTED)
    base = top + levels * row
    scale = (width - 2 * left) / max(root.total, 1)

    def box(node, name, x, level):
        w = node.total * scale
        if w < 0.3:
            return
        y = base - (level + 1) * row
        shown = name[:-4] if name.endswith("_[k]") else name
        percent = 100.0 * node.total / root.total
        svg.rect(x, y, w - 0.4, row - 1, color(name, level) if level else "#e9edf1",
                 "%s%s: %d samples, %.1f %%, itself %d" % (
                     shown, " (kernel)" if shown != name else "", node.total, percent, node.own),
                 radius=1.5)
        svg.text(x + 3, y + 13, shown, 11, INK, room=w - 6)
        for child in sorted(node.children):
            box(node.children[child], child, x, level + 1)
            x += node.children[child].total * scale

    box(root, "all", left, 0)
    y = svg.height - 14
    for i, (fill, what) in enumerate((("#c9d0d8", "process"), ("#f3ae5f", "program"),
                                      ("#78b8d2", "kernel"))):
        svg.rect(left + i * 96, y - 9, 11, 11, fill, radius=1.5)
        svg.text(left + i * 96 + 16, y, what, 11, MUTED)
    svg.write(path)
