# SPDX-License-Identifier: MIT
"""Turns the lines of vm_bench into vm.json, in the form of host.json, and a table.

    vm_report.py LINES VM.json

A line: name, median, least, most, bar, peer, the peer's median, separated by tabs. All figures are
instructions, by the object or pair. A case that names a bar below 1 is held to it as a ratio to its
peer, any other by its own figure (yardstick "1"). Exit status 1 when there is no line.
"""
import json
import sys


def case_of(line):
    name, *rest = line.rstrip("\n").split("\t")
    median, least, most, bar, peer, of_peer = rest
    bar = None if bar == "-" or float(bar) == 0 else float(bar)
    case = {"name": name, "unit": "instructions", "quarry": float(median), "peers": {},
            "ratio": None, "yardstick": "1", "bar": bar, "sense": "at most", "met": None,
            "min": {"quarry": float(least)}, "max": {"quarry": float(most)}}
    if peer != "-":
        case["peers"][peer] = float(of_peer)
        case["ratio"] = float(median) / float(of_peer)
    if bar is not None and bar < 1:
        case["yardstick"] = peer
        case["met"] = case["ratio"] <= bar
    elif bar is not None:
        case["met"] = case["quarry"] <= bar
    return case


def main(lines, target):
    with open(lines, encoding="ascii") as f:
        cases = [case_of(line) for line in f if line.count("\t") == 6]
    if not cases:
        print("vm_report: the guest measured nothing")
        return 1
    with open(target, "w", encoding="ascii") as f:
        json.dump({"unit": "instructions", "cases": cases}, f, indent=1)
        f.write("\n")
    print(f"{'case':<34}{'quarry':>10}{'peer':>10}{'ratio':>8}{'bar':>8}")
    for case in cases:
        peer = next(iter(case["peers"].values()), None)
        columns = [f"{case['name']:<34}", f"{case['quarry']:>10.1f}"]
        columns += ["" if value is None else form.format(value) for value, form in
                    ((peer, "{:>10.1f}"), (case["ratio"], "{:>8.3f}"), (case["bar"], "  <{:.3g}"))]
        widths = (34, 10, 10, 8, 8)
        line = "".join(f"{column:>{width}}" for column, width in zip(columns, widths))
        print(line + ("  MISSED" if case["met"] is False else ""))
    barred = [case for case in cases if case["bar"] is not None]
    print(f"{sum(case['met'] for case in barred)} of {len(barred)} cases with a bar meet it")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
