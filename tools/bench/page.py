# SPDX-License-Identifier: MIT
"""One page of all figures, and a summary of them for the README.

    page.py FOLDER      reads host.json, user.json, vm.json, latency.json, sections.json, kernel.json and
                        curve-*.svg there, as far as they are there; writes report.html and summary.md

The page is one file without anything from elsewhere: it reads at a telephone's width, in the dark and
in print. A figure is shown as a bar: how much of its allowance (the case's bar) it uses; what lies
beyond the line is a miss, and is marked in words, too.
"""
import html
import json
import math
import os
import re
import sys

PARTS = [
    ("host", "The core against the mallocs, on a host"),
    ("user", "Programs: libquarry against the mallocs and shared-memory pools"),
    ("vm", "Instructions of calls, on stock 6.1"),
    ("latency", "Single calls of drivers, from the shortest to the longest, on stock 6.1"),
    ("sections", "The longest sections with interrupts or preemption off, on stock 6.1"),
    ("kernel", "Drivers: Quarry against the kernel's own, in User Mode Linux"),
]
STYLE = """
:root { color-scheme: light dark; --ink: #1c1b1a; --paper: #fffdf9; --faint: #8a8680; --met: #2d6a4f;
  --missed: #b3261e; --track: #e6e1d8; }
@media (prefers-color-scheme: dark) { :root { --ink: #ece8e1; --paper: #191817; --faint: #9a958d;
  --met: #6fbf95; --missed: #ff8a80; --track: #35322e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0 .75rem; } .faint { color: var(--faint); font-size: .875rem; }
.case { display: grid; grid-template-columns: 11rem 1fr 9rem; gap: .5rem; align-items: center;
  padding: .2rem 0; border-top: 1px solid var(--track); break-inside: avoid; }
.case b { font-weight: 600; overflow-wrap: anywhere; } .figures { text-align: right; font-size: .875rem; }
.missed { color: var(--missed); font-weight: 600; }
.calls { padding: .5rem 0; border-top: 1px solid var(--track); break-inside: avoid; } .calls p { margin: 0; }
svg.calls-curve { width: 100%; max-width: 34rem; height: auto; display: block; font-size: 11px; }
svg.bar { width: 100%; height: 1.1rem; display: block; } svg.curve { width: 100%; max-width: 28rem; height: auto; }
details { grid-column: 1 / -1; font-size: .875rem; color: var(--faint); }
@media (max-width: 34rem) { .case { grid-template-columns: 1fr auto; } .case span:empty { display: none; } .case svg { grid-column: 1 / -1; grid-row: 2; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } details { display: none; } }
"""


def number(value):
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:.1f}"


def share(case):
    """What a case uses of its allowance, 1 where it uses all of it; None without a bar."""
    bar = case.get("bar")
    value = case.get("ratio")
    if value is None or case.get("yardstick") == "1":
        value = case.get("quarry")
    if not bar or value is None:
        return None
    return bar / value if case.get("sense") == "at least" and value else value / bar


def bar_svg(used):
    """Two thirds of the width is the allowance."""
    line, width = 66.7, min(used, 1.5) * 66.7
    colour = "var(--met)" if used <= 1 else "var(--missed)"
    return (f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
            f'aria-label="{used:.0%} of the allowance"><rect width="100" height="10" fill="var(--track)"/>'
            f'<rect y="2" width="{width:.1f}" height="6" fill="{colour}"/>'
            f'<rect x="{line - .4:.1f}" width=".8" height="10" fill="var(--ink)"/></svg>')


def case_html(case):
    used = share(case)
    peers = "".join(f", {html.escape(peer)} {number(value)}" for peer, value in case.get("peers", {}).items()
                    if value is not None)
    unit = case.get("unit", "")
    of = f" of {number(case['bar'])}" if case.get("bar") else ""
    own = case.get("ratio") is None or unit == "ratio" or (of and case.get("yardstick") == "1")
    ratio = (number(case.get("quarry")) if own else f"{case['ratio']:.2f}") + of
    verdict = ' <span class="missed">missed</span>' if case.get("met") is False else ""
    detail = f"{number(case.get('quarry'))} {html.escape(unit)}{peers}"
    if case.get("site"):
        detail += f"; in {html.escape(case['site'])}"
    if case.get("bound"):
        detail += f". {html.escape(case['bound'])}"
    return (f'<div class="case"><b>{html.escape(case["name"])}</b>'
            f'{bar_svg(used) if used is not None else "<span></span>"}'
            f'<span class="figures">{ratio}{verdict}</span>'
            f'<details><summary>figures</summary>{detail}</details></div>')


def share_above(pairs):
    """Of (length, calls): (length, the share of calls that are as long, or longer)."""
    total = left = sum(calls for _, calls in pairs)
    points = []
    for length, calls in pairs:
        points.append((max(length, 1), left / total))
        left -= calls
    return points


def latency_svg(distributions, longest):
    """How many calls take so long or longer, down to the one that is the longest: both axes by powers of ten."""
    curves = {who: share_above(pairs) + [(max(longest[who], 1), 1 / sum(calls for _, calls in pairs))]
              for who, pairs in distributions.items()}
    left, right, top, bottom = 44, 330, 8, 150
    most = max(length for points in curves.values() for length, _ in points)
    decades = max(1, math.ceil(math.log10(most)))
    least = min(part for points in curves.values() for _, part in points)
    depth = max(1, math.ceil(-math.log10(least) - 1e-9))

    def at(length, part):
        return (left + (right - left) * math.log10(length) / decades,
                top + (bottom - top) * -math.log10(part) / depth)

    parts = [f'<svg class="calls-curve" viewBox="0 0 {right + 70} {bottom + 24}" role="img" '
             f'aria-label="share of calls by their length">']
    for power in range(decades + 1):
        x, _ = at(10 ** power, 1)
        parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="var(--track)"/>'
                     f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" fill="var(--faint)">{10 ** power:,}</text>')
    for power in range(0, depth + 1, 2 if depth > 4 else 1):
        _, y = at(1, 10 ** -power)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="var(--track)"/>'
                     f'<text x="{left - 4}" y="{y + 4:.1f}" text-anchor="end" fill="var(--faint)">'
                     f'{"all" if power == 0 else f"10^-{power}"}</text>')
    ends = []
    for who, points in curves.items():
        ours = who == "quarry"
        line, before = [], None
        for length, part in points:
            x, y = at(length, part)
            # What takes longer than one length takes the next one at least.
            line += [f"{before:.1f},{y:.1f}"] if before is not None else []
            line.append(f"{x:.1f},{y:.1f}")
            before = x
        parts.append(f'<polyline points="{" ".join(line)}" fill="none" stroke="{"var(--met)" if ours else "var(--faint)"}" '
                     f'stroke-width="{2 if ours else 1.5}"/>')
        x, y = at(*points[-1])
        while any(abs(y - other) < 12 and abs(x - at_x) < 60 for at_x, other in ends):
            y -= 12
        ends.append((x, y))
        parts.append(f'<text x="{x + 4:.1f}" y="{y + 4:.1f}" fill="{"var(--met)" if ours else "var(--ink)"}">'
                     f"{html.escape(who)}</text>")
    return "".join(parts) + "</svg>"


def latency_html(case):
    longest = {who: told["longest"] for who, told in case["quantiles"].items()}
    told = "; ".join(f"{html.escape(who)}: " + ", ".join(f"{name} {value:,}" for name, value in q.items())
                     for who, q in case["quantiles"].items())
    return (f'<div class="calls"><p><b>{html.escape(case["name"])}</b> <span class="faint">{html.escape(case["unit"])}, '
            f'share of {case["calls"]:,} calls that take so long or longer</span></p>'
            f'{latency_svg(case["distribution"], longest)}<p class="faint">{told}</p></div>')


def curve(path):
    """An SVG of its own, as a part of the page."""
    with open(path, encoding="utf-8") as f:
        text = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>", "", f.read(), flags=re.S)
    return text.replace("<svg ", '<svg class="curve" ', 1)


def counts(cases):
    barred = [case for case in cases if case.get("bar") is not None]
    return sum(case.get("met") is True for case in barred), len(barred)


def summary(parts):
    """Markdown: a line a part, and what is missed."""
    lines = ["| figures | cases that meet their bar | missed |", "|---|---|---|"]
    for name, title, cases in parts:
        met, of = counts(cases)
        missed = ", ".join(f"{case['name']} ({share(case):.2f} of its bar)" for case in cases
                           if case.get("met") is False and share(case) is not None)
        lines.append(f"| {title} (`{name}.json`) | {f'{met} of {of}' if of else '-'} | {missed or 'none'} |")
    return "\n".join(lines) + "\n"


def page(parts, machine, curves):
    body = ["<h1>Quarry: figures</h1>", f'<p class="faint">{html.escape(machine)}</p>',
            "<p>Each bar is what a case uses of its allowance, the line; a case beyond it has missed.</p>"]
    for name, title, cases in parts:
        met, of = counts(cases)
        body.append(f'<h2 id="{name}">{html.escape(title)}</h2>')
        if of:
            body.append(f'<p class="faint">{met} of {of} cases with a bar meet it.</p>')
        body += [case_html(case) for case in cases if case.get("bar") is not None]
        body += [latency_html(case) for case in cases if case.get("distribution")]
        others = [case for case in cases if case.get("bar") is None and not case.get("distribution")]
        if others:
            body.append('<p class="faint">Without a bar:</p>')
            body += [case_html(case) for case in others]
        if name == "host":
            body += curves
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
            f"<title>Quarry: figures</title><style>{STYLE}</style></head><body>"
            + "\n".join(body) + "</body></html>\n")


def main(folder):
    parts, machine = [], ""
    for name, title in PARTS:
        path = os.path.join(folder, name + ".json")
        if not os.path.exists(path):
            continue
        with open(path, encoding="utf-8") as f:
            data = json.load(f)
        parts.append((name, title, data["cases"]))
        if isinstance(data.get("machine"), dict):
            machine = machine or ", ".join(str(value) for value in data["machine"].values())
        else:
            machine = machine or str(data.get("machine") or "")
    if not parts:
        print(f"page: no figures in {folder}: make bench-host bench-user bench-vm bench-sections bench-kernel")
        return 1
    curves = [curve(os.path.join(folder, name)) for name in sorted(os.listdir(folder))
              if re.fullmatch(r"curve-.*\.svg", name)]
    for name, text in (("report.html", page(parts, machine, curves)), ("summary.md", summary(parts))):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(text)
    print(f"written: {folder}/report.html {folder}/summary.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
