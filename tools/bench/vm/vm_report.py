# SPDX-License-Identifier: MIT
"""Turns the lines of vm_bench into vm.json, in the form of host.json, and a table.

    vm_report.py LINES VM.json

A line: name, median, least, most, bar, peer, the peer's median, separated by tabs. All figures are
instructions, by the object or pair. A case that names a bar below 1 is held to it as a ratio to its
peer, any other by its own figure (yardstick "1"). Exit status 1 when there is no line.
"""
import json
import sys
import textwrap


# What a missed case is bound by, and what was tried: by QEMU's log of single instructions.
BOUNDS = {
    "vm-refill-32": "of 2,590 instructions of a call 700 are the kernel's entry, descriptor and security hooks (22 an "
                    "object), 510 the shim's checks and counts (16), 1,380 the core (43): two changes of owner words, the "
                    "merge of what came home, 32 entries written twice. tried: structures copied by words (80 an "
                    "object to 75), loops unrolled (to 73)",
    "vm-cache-pair": "of 89 the two calls of the shim are 21: preemption off and on, the CPU's number, the caller; 58 are "
                     "the core's: the local flag, the pop or push, the look-up of the page's word, the live byte tested and "
                     "written; 10 the loop around them. tried: a page's word instead of its descriptor (171 to 114), the "
                     "class's place instead of the size (to 106), no tracing of the fast halves (to 102), what they cannot do "
                     "handed on by themselves, so that the shim keeps nothing (to 89)",
    "vm-drain-32": "of 3,320 instructions of a call 690 are the kernel's entry, descriptor and security hooks (21 an "
                   "object), 620 the shim's checks and counts (19), 2,010 the core (61): entries read and moved, three "
                   "changes of owner words. tried: neighbours found without a division (142 an object to 114), "
                   "runs of them, loops unrolled (to 102)",
}


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
    if case["met"] is False and name in BOUNDS:
        case["bound"] = BOUNDS[name]
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
    for case in cases:
        if "bound" in case:
            print(textwrap.fill(f"{case['name']}: {case['bound']}", 100, subsequent_indent="  "))
    barred = [case for case in cases if case["bar"] is not None]
    print(f"{sum(case['met'] for case in barred)} of {len(barred)} cases with a bar meet it")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
