# SPDX-License-Identifier: MIT
"""Turns the launches of the host benchmarks into host.json, curves and a table.

    report.py LAUNCHES.tsv HOST.json     the report; curves beside it as NAME.svg
    report.py --cases NAME...            the names, and the cases that they are measured by

host.json, user.json: `machine`, `versions` of the peers, `load`, and `cases`, each with

    name, unit      "ns" for one operation, or "ratio"
    quarry          median over the launches
    peers           {malloc: median}: at this case, or at the case of the yardstick
    ratio           quarry over the yardstick, which is the best peer unless `yardstick`
                    says another
    ratio_of_minima the same by the least of each, which other work on the machine raises less;
                    information
    bar, sense      the most ("at most") or the least that the ratio may be; null: none yet
    met             do all bars of the case hold; null when that is not known
    bars            where there are several: each with its yardstick, ratio, bar, met
    min, max        {allocator: figure} over the launches
    bound           where a bar is missed: what the case is bound by, and what was tried
    missing         {allocator: why it has no figure, or not all}, where any lacks

and `curves`, {name: {allocator: {live objects: median}}}. Exit status: 0; 1 when a case,
or a peer of it, did not run to its end. A missed bar is marked and listed, no error.
"""
import json
import os
import platform
import statistics
import sys
import textwrap

import curves
import rules
from bars import BARS, CLASSES, with_yardsticks
from bounds import BOUNDS


def number(value):
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"


def row(case, bars, peers):
    """The lines of one case: one for each of its bars."""
    own = case["min"]
    text = f"{case['name']:<20}{number(case['quarry']):>8}"
    text += "".join(f"{number(case['peers'][p]) if p in own else '':>10}" for p in peers)
    spread = ""
    if rules.QUARRY in own:
        spread = f"{number(own[rules.QUARRY])}..{number(case['max'][rules.QUARRY])}"
    lines = []
    for i, bar in enumerate(bars or [None]):
        if bar is None:
            lines.append(f"{text}{'-':>8}")
            continue
        bound = "-" if bar["bar"] is None else f"{'<' if bar['sense'] == 'at most' else '>'}{bar['bar']:g}"
        mark = "MISSED" if bar["met"] is False else "?" if bar["met"] is None and bar["bar"] else ""
        least = bar.get("ratio_of_minima")
        noisy = f"(by minima {number(least)})" if bar["met"] is False and least else ""
        to = "" if bar["yardstick"] in ("1", "best malloc") else f"to {bar['yardstick']}"
        lead = text if i == 0 else " " * len(text)
        tail = " ".join(word for word in (mark, noisy, spread if i == 0 else "", to) if word)
        lines.append(f"{lead}{number(bar['ratio']):>8}{bound:>7}  {tail}")
    return lines


def family(name):
    """Cases of one kind for each size class are one line on the screen."""
    for stem in ("metadata-client-", "metadata-cache-"):
        if name.startswith(stem):
            return stem + "*"
    return name


def named(cases):
    """Names of cases; a whole family by its own."""
    whole = {f for f in map(family, cases) if [family(c) for c in cases].count(f) == len(CLASSES)}
    return dict.fromkeys(family(c) if family(c) in whole else c for c in cases)


def share(case):
    """How much of its bar a case uses."""
    return case["ratio"] / case["bar"] if case["ratio"] is not None and case["bar"] else 0


def shown(judged):
    """Of each family whose cases all met their bars the one that is nearest to its own."""
    families = {}
    for case, bars in judged:
        if case["quarry"] is None:  # told behind the table, with its reason
            continue
        families.setdefault(family(case["name"]), []).append((case, bars))
    for name, members in families.items():
        odd = [m for m in members if m[0]["met"] is not True]
        if len(members) == 1 or odd:
            yield from odd or members
        else:
            case, bars = max(members, key=lambda m: share(m[0]))
            yield {**case, "name": f"{name[:-1]}{case['name'].rsplit('-', 1)[1]}"}, bars


def table(judged, run):
    peers = list(run.versions)
    print(f"{'case':<20}{'quarry':>8}" + "".join(f"{p:>10}" for p in peers)
          + f"{'ratio':>8}{'bar':>7}  quarry's min..max")
    for case, bars in shown(judged):
        print("\n".join(row(case, bars, peers)))


def closing(judged, run):
    """What was missed, and what did not run; answers whether all ran."""
    missed = [f"{case['name']} {number(bar['ratio'])} ({bar['sense']} {bar['bar']:g}"
              f" to {bar['yardstick']})"
              for case, bars in judged for bar in bars if bar["met"] is False]
    reasons = {}
    for case, _ in judged:
        for who, why in case.get("missing", {}).items():
            reasons.setdefault((who, why), []).append(case["name"])
    lacking = [f"{' '.join(named(cases))}: {who}: {why}" for (who, why), cases in reasons.items()]
    lacking += [f"curve {who[0]}: {who[1]}: {why[0]}" for who, why in run.failures.items()
                if who[0] not in run.wanted]
    barred = [case for case, _ in judged if case["bar"] is not None]
    met = sum(case["met"] is True for case in barred)
    print(f"{met} of {len(barred)} cases with a bar meet it")
    for title, entries in (("missed", missed), ("did not run, or not all of it", lacking)):
        if entries:
            print(f"{title}:")
            print("\n".join(f"  {entry}" for entry in entries))
    for case in (case for case, _ in judged if "bound" in case):
        print(textwrap.fill(f"{case['name']}: {case['bound']}", 100, subsequent_indent="  "))
    return not lacking


def report_of(run):
    """(the JSON, [(case, its bars)]) of a run. A full run has every case with a bar."""
    names = list(run.wanted)
    if run.facts.get("selection") == "all":
        names += [name for name in BARS if name not in names]
    judged = [rules.case_of(run, name) for name in names]
    for case, _ in judged:
        if case["met"] is False and case["name"] in BOUNDS:
            case["bound"] = BOUNDS[case["name"]]
    medians = {curve: {allocator: {live: statistics.median(v) for live, v in points.items()}
                       for allocator, points in by_allocator.items()}
               for curve, by_allocator in run.curves.items()}
    report = {"machine": machine(), "cpus": os.cpu_count(), "versions": run.versions,
              "absent": run.absent, "load": run.facts.get("load", ""),
              "cases": [case for case, _ in judged], "curves": medians}
    return report, judged


def machine():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--cases":
        print("\n".join(with_yardsticks(sys.argv[2:])))
        return 0
    if len(sys.argv) != 3:
        print("usage: report.py LAUNCHES.tsv HOST.json | --cases NAME...", file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding="utf-8") as lines:
        run = rules.read(lines)
    report, judged = report_of(run)
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        json.dump(report, out, indent=2)
        out.write("\n")
    written = [sys.argv[2]]
    for name, by_allocator in report["curves"].items():
        path = os.path.join(os.path.dirname(sys.argv[2]), f"{name}.svg")
        with open(path, "w", encoding="utf-8") as out:
            out.write(curves.svg(name, by_allocator))
        written.append(path)
    print("ns of thread CPU time for one pair of allocation and free, or a ratio; medians;"
          " ratio to the best malloc unless it says to what")
    table(judged, run)
    if report["load"]:
        print(f"load average before and behind: {report['load']}")
    whole = closing(judged, run)
    print(f"written: {' '.join(written)}")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
