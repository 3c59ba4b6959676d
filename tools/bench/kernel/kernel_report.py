# SPDX-License-Identifier: MIT
"""Turns the logs of the kernel benchmark's boots into kernel.json, in the form of host.json, and a table.

    kernel_report.py KERNEL.json BOOT.log...

Figures are nanoseconds an operation, medians over the boots; a bar is the most that the ratio to the
peer may be. k-growth and k-two-scaling are ratios of Quarry to itself. Exit status 1 when a case has no
figure. A miss is told with what bounds it and what was tried.
"""
import json
import re
import statistics
import sys
import textwrap

LINE = re.compile(r"kernel-bench: (k-\S+) (\S+) (\d+)\s*$")

# case: (peer, bar), or (case of the same figure, bar) where it is Quarry's own.
BARS = {
    "k-hot-64": ("kmem_cache", 0.5), "k-batch-64": ("kmem_cache", 0.5), "k-bulk-64": ("kmem_cache", 1.0),
    "k-mixed": ("kmalloc", 0.6), "k-cross": ("kmem_cache", 0.7), "k-two": ("kmem_cache", 0.5),
    "k-page-0": ("alloc_pages", 0.25), "k-page-mixed": ("alloc_pages", 0.5), "k-fixed": ("gen_pool", 0.15),
    "k-buddy": ("gpu_buddy", 0.5), "k-range-1k": ("drm_mm", 0.5), "k-range-100k": ("drm_mm", 0.5),
}
# Beside the growth of the pair: a random one of them is replaced, which is the memory's time.
UNBARRED = {"k-random-1k": "kmem_cache", "k-random-1m": "kmem_cache"}
# Why a case that misses its bar misses it, and what was tried.
BOUNDS = {
    "k-cross": "what an object that crosses takes along is lines of cache: its own, which whoever allocates writes, "
               "the one of its live byte twice, and a quarter of one for its entry of 16 bytes, where a sheaf of "
               "kmem_cache has an eighth and no mark. tried: arrays that change hands whole, so that no entry is copied; "
               "entries of 8 bytes, which cost each allocation a look-up of the page's word",
    "k-mixed": "a random one of 1,000 sizes and places: two mispredicted branches, and the random numbers, in either; of "
               "Quarry's own 24 ns the pair is 9. tried: class and live byte by one load, one look-up of the region",
    "k-two": "the pair of k-hot-64 on each CPU, and no line that both write",
    "k-two-scaling": "no line is written by both CPUs; what is above 1 is the host's: kmem_cache's own stands beside it",
}
OWN = {"k-two-scaling": ("k-two", "k-one", 1.15), "k-growth": ("k-growth-1m", "k-growth-1k", 1.3)}


def read(logs):
    figures = {}
    for log in logs:
        with open(log, encoding="ascii", errors="replace") as f:
            for line in f:
                match = LINE.search(line)
                if match:
                    case, who, picoseconds = match.groups()
                    figures.setdefault((case, who), []).append(int(picoseconds) / 1000)
    return figures


def case_of(name, figures, peer, bar):
    own, theirs = figures.get((name, "quarry")), figures.get((name, peer))
    if not own or not theirs:
        return {"name": name, "missing": peer if own else "quarry", "bar": bar, "met": None}
    quarry, other = statistics.median(own), statistics.median(theirs)
    return {"name": name, "unit": "ns", "quarry": quarry, "peers": {peer: other}, "ratio": quarry / other,
            "ratio_of_minima": min(own) / min(theirs), "bar": bar, "sense": "at most",
            "met": None if bar is None else quarry / other <= bar, "min": {"quarry": min(own), peer: min(theirs)},
            "max": {"quarry": max(own), peer: max(theirs)}}


def own_case(name, figures, above, below, bar):
    one, other = figures.get((above, "quarry")), figures.get((below, "quarry"))
    if not one or not other:
        return {"name": name, "missing": "quarry", "bar": bar, "met": None}
    ratio = statistics.median(one) / statistics.median(other)
    theirs = [figures.get((case, "kmem_cache")) for case in (above, below)]
    peers = {"kmem_cache": statistics.median(theirs[0]) / statistics.median(theirs[1])} if all(theirs) else {}
    return {"name": name, "unit": "ratio", "quarry": ratio, "peers": peers, "ratio": ratio, "yardstick": "1",
            "ratio_of_minima": min(one) / min(other), "bar": bar, "sense": "at most", "met": ratio <= bar}


def main(target, *logs):
    figures = read(logs)
    cases = [case_of(name, figures, *bar) for name, bar in BARS.items()]
    cases += [case_of(name, figures, peer, None) for name, peer in UNBARRED.items()]
    cases += [own_case(name, figures, *bar) for name, bar in OWN.items()]
    for case in cases:
        if case["met"] is False and case["name"] in BOUNDS:
            case["bound"] = BOUNDS[case["name"]]
    with open(target, "w", encoding="ascii") as f:
        json.dump({"boots": len(logs), "cases": cases}, f, indent=1)
        f.write("\n")
    print(f"{'case':<16}{'quarry':>9}{'peer':>10}  {'':<12}{'ratio':>7}{'bar':>7}")
    for case in cases:
        if "missing" in case:
            print(f"{case['name']:<16}  no figure of {case['missing']}")
            continue
        peer, other = next(iter(case["peers"].items()), ("", None))
        mark = f"  MISSED (by minima {case['ratio_of_minima']:.2f})" if case["met"] is False else ""
        bar = "-" if case["bar"] is None else f"<{case['bar']:g}"
        print(f"{case['name']:<16}{case['quarry']:>9.2f}{'' if other is None else f'{other:.2f}':>10}  "
              f"{peer:<12}{case['ratio']:>7.3f}{bar:>7}{mark}")
    for case in cases:
        if "bound" in case:
            print(textwrap.fill(f"{case['name']}: {case['bound']}", 100, subsequent_indent="  "))
    barred = [case for case in cases if case["bar"] is not None]
    print(f"{sum(bool(case['met']) for case in barred)} of {len(barred)} cases with a bar meet it")
    return 1 if any("missing" in case for case in cases) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
