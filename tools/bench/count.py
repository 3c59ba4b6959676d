# SPDX-License-Identifier: MIT
"""What a pair of allocation and free is made of: instructions, reads, writes, cache misses and
wrong branches, counted by callgrind in a case's timed part. Where time is noisy, these are not.

    count.py [CASE...]      on Quarry and each malloc that is installed

Cases of one thread that measure() runs (case.hpp); the default is those of the heap. Misses
are those of a model: 32 KiB of 8 ways, and behind it 512 KiB of 8; wrong branches too. Locked
instructions are in no model.
"""
import os
import re
import subprocess
import sys

BENCH = "build/bench/host_bench"
PLACE = "build/bench/count"
LIBRARIES = {"mimalloc": "libmimalloc.so.2", "jemalloc": "libjemalloc.so.2",
             "tcmalloc": "libtcmalloc_minimal.so.4"}
CASES = ["hot-64", "lifo-64", "random-64", "lifo-1024", "random-1024", "mixed-1k", "mixed-10k"]
COLUMNS = {"instr": ["Ir"], "reads": ["Dr"], "writes": ["Dw"], "L1 miss": ["D1mr", "D1mw"],
           "L2 miss": ["DLmr", "DLmw"], "branches": ["Bc", "Bi"], "wrong": ["Bcm", "Bim"]}


def self_costs(path):
    """(names of the events, {function: its own costs}) of one callgrind dump."""
    events, costs, names, function, called = [], {}, {}, None, False
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("events:"):
                events = line.split()[1:]
            elif line.startswith(("fn=", "cfn=")):
                number, name = re.match(r"c?fn=(\(\d+\))(?: (.*))?", line).groups()
                if name:
                    names[number] = name
                if line.startswith("fn="):
                    function = number
            elif line.startswith("calls="):
                called = True  # the next line is the callee's
            elif re.match(r"[0-9+*-]", line):
                if called:
                    called = False
                    continue
                sums = costs.setdefault(function, [0] * len(events))
                for i, word in enumerate(line.split()[1:]):
                    sums[i] += int(word)
    return events, {names.get(f, f): c for f, c in costs.items()}


def count(case, allocator):
    """(pairs, events, self costs), or why not."""
    out = f"{PLACE}/{case}.{allocator}"
    env = dict(os.environ, QUARRY_BENCH_PAIRS="1")
    if allocator in LIBRARIES:
        env["LD_PRELOAD"] = LIBRARIES[allocator]
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--cache-sim=yes",
         "--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64",
         "--branch-sim=yes", "--zero-before=bench::timed_begin()",
         "--dump-before=bench::timed_end(unsigned long)", BENCH, case,
         "quarry" if allocator == "quarry" else "malloc"],
        env=env, capture_output=True, text=True, timeout=300, check=False)
    pairs = re.search(r"^pairs (\d+)", done.stderr, re.M)
    if done.returncode or not pairs:
        return f"exit {done.returncode}, {'nothing' if not pairs else 'pairs'} counted"
    return int(pairs.group(1)), *self_costs(out + ".1")


def short(name):
    """A function without its types; what stands in the benchmark itself is "case"."""
    if "(anonymous namespace)" in name and "quarry::" not in name.split("(anonymous")[0]:
        return "case"
    depth, plain = 0, ""
    for sign in name:
        depth -= sign == ">"
        if depth == 0 and sign != ">":
            plain += sign if sign != "<" else ""
        depth += sign == "<"
    return plain.split("(")[0].split(" ")[-1].replace("quarry_core_heap_", "").split("::", 1)[-1]


def show(case, allocator):
    found = count(case, allocator)
    if isinstance(found, str):
        print(f"{case:<15}{allocator:<10}{found}")
        return False
    pairs, events, costs = found
    row = f"{case:<15}{allocator:<10}"
    for title, wanted in COLUMNS.items():
        total = sum(c[events.index(e)] for c in costs.values() for e in wanted)
        row += f"{total / pairs:>{len(title) + 3}.2f}"
    largest = sorted(costs.items(), key=lambda c: -c[1][0])[:5]
    row += "   " + ", ".join(f"{short(n)} {c[0] / pairs:.1f}" for n, c in largest)
    print(row, flush=True)
    return True


def main():
    os.makedirs(PLACE, exist_ok=True)
    print(f"{'per pair':<25}" + "".join(f"{t:>{len(t) + 3}}" for t in COLUMNS)
          + "   instructions by function")
    whole = True
    for case in sys.argv[1:] or CASES:
        for allocator in ["quarry", "glibc", *LIBRARIES]:
            whole = show(case, allocator) and whole
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
