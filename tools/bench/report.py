# SPDX-License-Identifier: MIT
"""Turns the launches of the host benchmarks into host.json and a table.

report.py LAUNCHES.tsv HOST.json

Lines of the input: `version PEER TEXT`, `launch CASE ALLOCATOR NS`. A value is the median
over the launches; `ratio` is Quarry over the best peer. Bars are ratios within one run;
a case without one is measured only.
"""
import json
import os
import platform
import statistics
import sys

# Most that quarry may be, as a ratio to the best peer; None: measured, no bar yet.
BARS = {}


def read(path):
    versions, launches = {}, {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            kind, *fields = line.rstrip("\n").split("\t")
            if kind == "version":
                versions[fields[0]] = fields[1]
            else:
                case, allocator, value = fields
                launches.setdefault(case, {}).setdefault(allocator, []).append(float(value))
    return versions, launches


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values),
            "launches": len(values)}


def case_of(name, by_allocator):
    quarry = summary(by_allocator["quarry"])
    peers = {peer: summary(values) for peer, values in by_allocator.items() if peer != "quarry"}
    best = min(peers, key=lambda peer: peers[peer]["median"])
    ratio = quarry["median"] / peers[best]["median"]
    bar = BARS.get(name)
    return {
        "name": name,
        "unit": "ns",
        "quarry": quarry["median"],
        "peers": {peer: s["median"] for peer, s in peers.items()},
        "best": best,
        "ratio": ratio,
        "bar": bar,
        "met": None if bar is None else ratio <= bar,
        "min": {"quarry": quarry["min"], **{p: s["min"] for p, s in peers.items()}},
        "max": {"quarry": quarry["max"], **{p: s["max"] for p, s in peers.items()}},
        "launches": quarry["launches"],
    }


def table(cases, peers):
    head = f"{'case':<13}{'quarry':>9}" + "".join(f"{p:>10}" for p in peers)
    print(head + f"{'ratio':>8}{'bar':>6}   quarry's min..max")
    for case in cases:
        row = f"{case['name']:<13}{case['quarry']:>9.2f}"
        row += "".join(f"{case['peers'][p]:>10.2f}" for p in peers)
        bar = "-" if case["bar"] is None else f"{case['bar']:.2f}"
        mark = "  MISSED" if case["met"] is False else ""
        low, high = case["min"]["quarry"], case["max"]["quarry"]
        print(row + f"{case['ratio']:>8.2f}{bar:>6}   {low:.2f}..{high:.2f}{mark}")


def main():
    versions, launches = read(sys.argv[1])
    cases = [case_of(name, by_allocator) for name, by_allocator in launches.items()]
    report = {"machine": platform.processor() or platform.machine(), "cpus": os.cpu_count(),
              "versions": versions, "cases": cases}
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        json.dump(report, out, indent=2)
        out.write("\n")
    print("ns of thread CPU time for one pair of allocation and free; medians;"
          " ratio to the best peer")
    table(cases, list(versions))
    print(f"written to {sys.argv[2]}")


main()
