# SPDX-License-Identifier: MIT
"""Turns the lines of latency.ko into latency.json, in the form of host.json, and a table.

    latency_report.py LINES LATENCY.json

A case is a call; its figure is the longest of all, beside the peer's, in instructions; the median and two
quantiles stand beside it, and the whole distribution as pairs of a length and of how many calls took it, or up to
an eighth more. Exit status 1 when a line is missing, or was cut short.
"""
import json
import re
import sys

LINE = re.compile(r"latency: (\w+) (alloc|free) (\w+) (\d+) (\d+) (\d+) (\d+) (\d+)")
PART = re.compile(r"latency-part: (\w+) (alloc|free) (\w+)((?: \d+:\d+)+)")
# The kernel's drm_mm is beside RangeAllocator in the kernel bench.
PEERS = {"object_64": ["kmem_cache"], "any_size": ["kmalloc"], "pages_0_3": ["alloc_pages"], "range": []}
CALLS = [(case, call) for case in PEERS for call in ("alloc", "free")]
QUANTILES = ("median", "p99.9", "p99.999", "longest")


def parse(text):
    found = {}
    for case, call, who, calls, *figures in LINE.findall(text):
        found.setdefault((case, call), {})[who] = {
            "calls": int(calls), **dict(zip(QUANTILES, map(int, figures))), "distribution": []}
    for case, call, who, pairs in PART.findall(text):
        if who in found.get((case, call), {}):
            found[case, call][who]["distribution"] += [[int(n) for n in pair.split(":")] for pair in pairs.split()]
    return found


def case_of(call, whose):
    ours = whose["quarry"]
    peers = {who: told for who, told in whose.items() if who != "quarry"}
    best = min((told["longest"] for told in peers.values()), default=None)
    return {"name": "latency-" + "-".join(call).replace("_", "-"), "unit": "instructions", "quarry": ours["longest"],
            "peers": {who: told["longest"] for who, told in peers.items()},
            "ratio": ours["longest"] / best if best else None, "bar": None, "met": None, "calls": ours["calls"],
            "quantiles": {who: {name: told[name] for name in QUANTILES} for who, told in whose.items()},
            "distribution": {who: told["distribution"] for who, told in whose.items()}}


def main(lines, target):
    with open(lines, encoding="utf-8") as f:
        found = parse(f.read())
    missing = [f"{case} {call} of {who}" for case, call in CALLS for who in ["quarry", *PEERS[case]]
               if who not in found.get((case, call), {})]
    if missing:
        print(f"latency: the guest did not measure {', '.join(missing)}")
        return 1
    cut = [f"{' '.join(call)} of {who}" for call in CALLS for who, told in found[call].items()
           if sum(calls for _, calls in told["distribution"]) != told["calls"]]
    if cut:
        print(f"latency: calls are missing in the distribution of {', '.join(cut)}: a line was lost or cut short")
        return 1
    cases = [case_of(call, found[call]) for call in CALLS]
    with open(target, "w", encoding="ascii") as f:
        json.dump({"unit": "instructions", "cases": cases}, f, indent=1)
        f.write("\n")
    print(f"{'call':<26}{'':<13}" + "".join(f"{name:>10}" for name in QUANTILES) + f"   of {cases[0]['calls']:,} calls")
    for case in cases:
        for who, told in case["quantiles"].items():
            name = case["name"] if who == "quarry" else ""
            print(f"{name:<26}{who:<13}" + "".join(f"{told[name]:>10,}" for name in QUANTILES))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
