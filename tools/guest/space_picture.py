"""The picture of a space: its regions, and the tree of its tables. Each table is a strip of 512 cells,
eight rows of 64, coloured by what the slot says."""

from space import EMPTY, HELD, LEAF, MARK, PAGE, TABLE
from svg import INK, LINE, MUTED, Svg

CELL, COLUMNS = 3, 64
BOX_W, BOX_H = CELL * COLUMNS, CELL * 8
MOST_BELOW = 24  # tables of one parent that are drawn
COLORS = {
    "table": "#39424e", "anon": "#3b7dd8", "file": "#3a9d6e", "shared": "#c7772e", "zero": "#c3b26a",
    "held": "#c4524a", "large": "#7a63c7", "anon mark": "#c3daf7", "file mark": "#bfe3d0",
    "shared mark": "#f3d9bd",
}
LEGEND = (("table", "a table below"), ("anon", "page, anonymous"), ("file", "page of a private file mapping"),
          ("shared", "page, shared"), ("zero", "the zero page"), ("large", "2 MiB page"),
          ("held", "held frame (PROT_NONE)"), ("anon mark", "mark: anonymous, untouched"),
          ("file mark", "mark: private file mapping"), ("shared mark", "mark: shared mapping"))


def slot_class(space, slot):
    if slot.kind == TABLE:
        return "table"
    if slot.kind == HELD:
        return "held"
    if slot.zero:
        return "zero"
    kind = "shared" if space.is_shared(slot.mark) else "file" if space.mapping(slot.mark) else "anon"
    if slot.kind == LEAF:
        return "large" if slot.level > 1 else kind
    return kind + " mark"


def size_text(n):
    for unit, scale in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= scale:
            return "%g %s" % (round(n / scale, 1), unit)
    return "%d B" % n


class Node:
    """A table in the tree: y of its box, once placed."""

    def __init__(self, table):
        self.table = table
        below = [s for s in table.slots if s.child]
        self.left_out = max(0, len(below) - MOST_BELOW)
        if self.left_out:
            # First and last ones: both ends of the space are of interest.
            below = below[: MOST_BELOW // 2] + below[-MOST_BELOW // 2 :]
        self.children = [(s.index, Node(s.child)) for s in below]
        self.y = 0

    def place(self, y):
        """Puts the subtree below y; returns where it ends."""
        if not self.children:
            self.y = y
            return y + BOX_H + 34
        end = y
        for _, child in self.children:
            end = child.place(end)
        if self.left_out:
            end += 18
        first, last = self.children[0][1].y, self.children[-1][1].y
        self.y = (first + last) / 2
        return max(end, self.y + BOX_H + 34)


class Picture:
    TREE_X, STEP = 470, BOX_W + 86

    def __init__(self, space):
        self.space = space
        self.svg = Svg(self.TREE_X + 3 * self.STEP + BOX_W + 30)

    def region_rows(self, top):
        svg, space = self.svg, self.space
        svg.text(24, top, "Regions (/proc/%d/maps)" % space.pid, 13, weight="600")
        y = top + 16
        for r in space.regions:
            mapping, shared = r.mapping, space.is_shared(r.mark)
            color = COLORS["shared" if shared else "file" if mapping else "anon"]
            svg.rect(24, y, 5, 30, color)
            svg.text(36, y + 12, "%012x" % r.start, 11, INK)
            svg.text(140, y + 12, "%s%s" % (space.prot(r.mark), "s" if shared else "p"), 11, INK)
            svg.text(250, y + 12, size_text(r.end - r.start), 11, INK, "end")
            name = r.name.rsplit("/", 1)[-1] if mapping else r.name or "anonymous"
            svg.text(260, y + 12, name, 11, INK, room=170)
            self.resident(36, y + 18, r)
            y += 38
        return y

    def resident(self, x, y, r):
        """A bar: how much of the region is in memory, by kind."""
        width, total = 214, max(1, (r.end - r.start) // PAGE)
        kind = "shared" if self.space.is_shared(r.mark) else "file" if r.mapping else "anon"
        parts = (("4K", 1, COLORS[kind]),
                 ("2M", 512, COLORS["large"]), ("zero", 1, COLORS["zero"]), ("held", 1, COLORS["held"]))
        self.svg.rect(x, y, width, 6, "#eef1f4")
        at, words = x, []
        for what, pages, color in parts:
            n = r.pages[what]
            if n:
                w = max(1.5, width * n * pages / total)
                self.svg.rect(at, y, min(w, x + width - at), 6, color)
                at = min(at + w, x + width)
                words.append("%d x %s" % (n, what))
        note = ", ".join(words + self.space.flags(r.mark)) or "untouched"
        self.svg.text(260, y + 6, note, 10, MUTED, room=180)

    def cells(self, x, y, table):
        svg = self.svg
        svg.rect(x, y, BOX_W, BOX_H, "#f7f8fa", stroke="#a9b3bf" if not table.shared else "#cf2f2f")
        run = None  # [class, first, last] in one row
        for slot in table.slots + [None]:
            kind = slot_class(self.space, slot) if slot and slot.kind != EMPTY else None
            if run and (kind != run[0] or slot.index % COLUMNS == 0):
                row, column = divmod(run[1], COLUMNS)
                first, last = table.slots[run[1]], table.slots[run[2]]
                svg.rect(x + column * CELL, y + row * CELL, (run[2] - run[1] + 1) * CELL, CELL,
                         COLORS[run[0]], "[%d-%d] %x-%x: %s" % (
                             run[1], run[2], first.va, last.va + last.size, run[0]))
                run = None
            if kind and run:
                run[2] = slot.index
            elif kind:
                run = [kind, slot.index, slot.index]

    def node(self, node):
        svg, table = self.svg, node.table
        x, y = self.TREE_X + (4 - table.level) * self.STEP, node.y
        svg.text(x, y - 5, "%012x" % table.va, 10, MUTED)
        note = "%d used" % len(table.used())
        if table.shared:
            note = "shared by %d" % table.owners
        svg.text(x + BOX_W, y - 5, note, 10, "#cf2f2f" if table.shared else MUTED, "end")
        self.cells(x, y, table)
        for index, child in node.children:
            row = index // COLUMNS
            x1, y1 = x + BOX_W, y + row * CELL + CELL / 2
            x2, y2 = x + self.STEP, child.y + BOX_H / 2
            middle = (x1 + x2) / 2
            color = "#cf2f2f" if child.table.shared else "#9aa5b1"
            svg.add('<path d="M%.1f %.1f C%.1f %.1f %.1f %.1f %.1f %.1f" fill="none" stroke="%s" '
                    'stroke-width="1"/>' % (x1, y1, middle, y1, middle, y2, x2 - 1, y2, color))
            self.node(child)
        if node.left_out:
            last = node.children[MOST_BELOW // 2 - 1][1]
            svg.text(x + self.STEP, last.y + BOX_H + 13, "... %d more tables here" % node.left_out, 11,
                     MUTED)

    def legend(self, y):
        x, svg = 24, self.svg
        for name, text in LEGEND:
            w = 22 + len(text) * 6.4
            if x + w > svg.width - 20:
                x, y = 24, y + 20
            svg.rect(x, y - 9, 11, 11, COLORS[name], radius=1.5)
            svg.text(x + 16, y, text, 11, MUTED)
            x += w + 8
        return y + 16

    def draw(self, path):
        svg, space = self.svg, self.space
        svg.text(24, 32, "Address space of process %d (%s)" % (space.pid, space.name), 18, weight="600")
        counts = ", ".join("%d of level %d" % (len(space.tables[n]), n) for n in (4, 3, 2, 1))
        svg.text(24, 51, "Tables: %s. Each is drawn as its 512 slots, eight rows of 64; a red frame: shared "
                 "with other spaces, copied at the first change." % counts, 12, MUTED)
        y = self.legend(76)
        top = y + 22
        for level in (4, 3, 2, 1):
            span = size_text(1 << (3 + 9 * level))
            svg.text(self.TREE_X + (4 - level) * self.STEP, top,
                     "Level %d, a slot is %s" % (level, span), 13, weight="600")
        bottom = self.region_rows(top)
        root = Node(space.root)
        bottom = max(bottom, root.place(top + 30))
        svg.line(self.TREE_X - 22, top - 12, self.TREE_X - 22, bottom, LINE)
        self.node(root)
        svg.height = int(bottom + 16)
        svg.write(path)


def draw(path, space):
    Picture(space).draw(path)
