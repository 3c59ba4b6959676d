# SPDX-License-Identifier: MIT
"""A growth curve as an SVG: cost of an operation by live objects, both logarithmic.

svg(name, {allocator: {live: ns}}) answers the text of the file. One curve for each
allocator, Quarry's thick; the legend at the right end of the curves, moved apart where they
would cover each other. It is drawn for a width of 360 points, so a telephone shows it whole.
"""
import math
from html import escape

WIDTH, HEIGHT = 360, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 84, 34, 44
COLOURS = {"quarry": "#b3261e", "glibc": "#3b6fb6", "mimalloc": "#2e8b57",
           "jemalloc": "#8a5a00", "tcmalloc": "#6b4fa0"}
TITLES = {"curve-hot": "A 64-byte pair while so many live",
          "curve-random": "A random one of so many 64-byte objects replaced"}


def text(x, y, words, anchor="middle", size=12, fill="#222", more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
            f'fill="{fill}"{more}>{escape(words)}</text>')


def count(n):
    """1000000 as 1M."""
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if n >= size and n % size == 0:
            return f"{n // size}{unit}"
    return str(n)


def ticks(low, high):
    """1, 2, 5, 10, ... from low to high; every power of ten alone over a wide span."""
    steps = (1, 2, 5) if high / low < 200 else (1,)
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    return [s * 10.0**e for e in exponents for s in steps if low <= s * 10.0**e <= high * 1.0001]


def apart(ends, gap, top, bottom):
    """Moves labels [(y, name)] down, then up, until `gap` lies between any two."""
    placed = []
    for y, name in sorted(ends):
        placed.append([max(y, placed[-1][0] + gap if placed else top), name])
    limit = bottom
    for label in reversed(placed):
        label[0] = min(label[0], limit)
        limit = label[0] - gap
    return placed


def svg(name, by_allocator):
    xs = sorted({live for points in by_allocator.values() for live in points})
    ys = [ns for points in by_allocator.values() for ns in points.values()]
    low, high = min(ys) / 1.25, max(ys) * 1.25
    span_x = math.log(max(xs) / min(xs)) or 1.0
    span_y = math.log(high / low)

    def at(live, ns):
        return (LEFT + math.log(live / min(xs)) / span_x * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - math.log(ns / low) / span_y * (HEIGHT - TOP - BOTTOM))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           f'width="100%" style="max-width:{2 * WIDTH}px" font-family="sans-serif">',
           f'<title>{escape(TITLES.get(name, name))}</title>',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
           text(8, 18, TITLES.get(name, name), "start", 13)]
    for ns in ticks(low, high):
        y = at(xs[0], ns)[1]
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(text(LEFT - 5, y + 4, f"{ns:g}", "end"))
    for live in xs:
        x = at(live, low)[0]
        out.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#eee"/>')
        if abs(math.log10(live) - round(math.log10(live))) < 1e-9:
            out.append(text(x, HEIGHT - BOTTOM + 16, count(live)))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "live objects"))
    out.append(text(13, (TOP + HEIGHT - BOTTOM) / 2, "ns", "middle"))
    ends = []
    for allocator, points in sorted(by_allocator.items(), key=lambda a: a[0] == "quarry"):
        colour = COLOURS.get(allocator, "#555")
        places = [at(live, points[live]) for live in sorted(points)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        width = 3 if allocator == "quarry" else 1.6
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" '
                   f'stroke-width="{width}" stroke-linejoin="round"/>')
        ends.append((places[-1][1], allocator))
    for y, allocator in apart(ends, 15, TOP + 5, HEIGHT - BOTTOM):
        weight = ' font-weight="bold"' if allocator == "quarry" else ""
        out.append(text(WIDTH - RIGHT + 6, y + 4, allocator, "start", 13,
                        COLOURS.get(allocator, "#555"), weight))
    out.append("</svg>")
    return "\n".join(out) + "\n"
