"""A little SVG: shapes on a white sheet, texts that are cut to their place, one palette for all."""

from html import escape

INK, MUTED, LINE, SHEET = "#1f2933", "#66727f", "#d9dee4", "#ffffff"
PALETTE = ("#3b7dd8", "#e0823d", "#3a9d6e", "#b0578d", "#7a63c7", "#c7a32e", "#2f9fb3", "#c4524a",
           "#6b8e23", "#8c6d4f")
FONT = "font-family:'DejaVu Sans','Segoe UI',Helvetica,Arial,sans-serif"
CHAR = 0.6  # a character's width, in font sizes


class Svg:
    def __init__(self, width):
        self.width, self.height, self.parts = width, 0, []

    def add(self, text):
        self.parts.append(text)

    def rect(self, x, y, w, h, fill, title="", opacity=1.0, stroke="", radius=0.0):
        extra = "" if opacity >= 0.995 else ' fill-opacity="%.2f"' % opacity
        extra += ' stroke="%s"' % stroke if stroke else ""
        extra += ' rx="%.1f"' % radius if radius else ""
        inside = "<title>%s</title>" % escape(title) if title else ""
        tail = ">%s</rect>" % inside if inside else "/>"
        self.add('<rect x="%.2f" y="%.1f" width="%.2f" height="%.1f" fill="%s"%s%s'
                 % (x, y, max(w, 0.05), h, fill, extra, tail))

    def line(self, x1, y1, x2, y2, color=LINE, width=1.0, dash=""):
        self.add('<line x1="%.2f" y1="%.1f" x2="%.2f" y2="%.1f" stroke="%s" stroke-width="%.2f"%s/>'
                 % (x1, y1, x2, y2, color, width, ' stroke-dasharray="%s"' % dash if dash else ""))

    def polygon(self, points, fill, title=""):
        inside = "<title>%s</title>" % escape(title) if title else ""
        self.add('<polygon points="%s" fill="%s">%s</polygon>'
                 % (" ".join("%.2f,%.1f" % p for p in points), fill, inside))

    def text(self, x, y, text, size=12, color=INK, anchor="start", weight="normal", room=None):
        if room is not None:
            most = int(room / (size * CHAR))
            if most < 3:
                return
            if len(text) > most:
                text = text[: most - 2] + ".."
        self.add('<text x="%.2f" y="%.1f" font-size="%g" fill="%s" text-anchor="%s"%s>%s</text>'
                 % (x, y, size, color, anchor,
                    ' font-weight="%s"' % weight if weight != "normal" else "", escape(text)))

    def write(self, path):
        with open(path, "w", encoding="utf-8") as f:
            f.write('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
                    'viewBox="0 0 %d %d" style="%s">\n' % (
                        self.width, self.height, self.width, self.height, escape(FONT)))
            f.write('<style>rect:hover{stroke:#111;stroke-width:0.8}</style>\n')
            f.write('<rect width="100%%" height="100%%" fill="%s"/>\n' % SHEET)
            f.write("\n".join(self.parts))
            f.write("\n</svg>\n")


def steps(span, most):
    """A round step of 1, 2 or 5 that divides span into at most `most` parts."""
    step = 1e-6
    while True:
        for factor in (1, 2, 5):
            if span / (step * factor) <= most:
                return step * factor
        step *= 10
