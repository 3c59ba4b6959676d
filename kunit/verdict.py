#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Judges the kernel log of one guest that ran the KUnit suites; see run.sh.

Trusts nothing that says "ok" by itself: every step of the guest must have ended with status 0, the
kernel's own parser must pass each case, the cases must be exactly those listed, and the log must
hold no complaint of the kernel. Prints each failure on a line, then "counts PASSED FAILED SKIPPED".
"""
import argparse
import fnmatch
import json
import os
import re
import subprocess
import sys

STEPS = ("load-quarry", "load-kunit", "unload-kunit", "unload-quarry")

COMPLAINTS = re.compile(
    r"WARNING:|\bBUG\b[: ]|Kernel panic|\bOops\b|Call Trace:|KASAN:|UBSAN:|ODEBUG:|"
    r"possible (recursive|circular|irq lock inversion|interrupt unsafe)|inconsistent lock state|"
    r"suspicious RCU|held lock freed|lock held when returning|scheduling while atomic|"
    r"sleeping function called|blocked for more than|soft lockup|rcu_sched|rcu: INFO|"
    r"refcount_t:|unreferenced object|general protection|Segfault with no mm|"
    r"page_owner|Bad page state|bad page|list_(add|del) corruption|slab .* still|"
    r"Objects remaining|Unknown symbol|disagrees about version|Invalid module format"
)

# Taints that a fault leaves: bad page, died, warned, soft lockup.
BAD_TAINTS = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14


def read_expected(path, kernel):
    """The list: "SUITE CASES", and "skip SUITE.CASE KERNEL why" for what may be skipped there."""
    suites, skips = {}, {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            words = line.split("#")[0].split()
            if not words:
                continue
            if words[0] == "skip" and len(words) > 3:
                if words[2] in (kernel, "all"):
                    skips[words[1]] = " ".join(words[3:])
            elif len(words) == 2 and words[1].isdigit() and int(words[1]) > 0:
                suites[words[0]] = int(words[1])
            else:
                sys.exit(f"verdict: cannot read the line: {line.strip()}")
    if not suites:
        sys.exit("verdict: the list of suites is empty")
    return suites, skips


def cut_ktap(log):
    """What the suites printed while their module was loading."""
    start = end = None
    for number, line in enumerate(log):
        if line.strip() == "quarry-kunit: begin load-kunit":
            start = number + 1
        elif line.startswith("quarry-kunit: end load-kunit"):
            end = number
    if start is None:
        return []
    return log[start:end]


def parse(ktap, options):
    """Has the kernel's parser read the section; returns its status and {suite: {case: status}}."""
    # 6.1 prints no head of its own for suites in a module.
    if not any(re.match(r"(KTAP|TAP) version", line) for line in ktap):
        ktap = ["KTAP version 1", *ktap]
    section = os.path.join(options.work, "ktap.log")
    report = os.path.join(options.work, "ktap.json")
    with open(section, "w", encoding="utf-8") as out:
        out.write("\n".join(ktap) + "\n")
    if os.path.exists(report):
        os.remove(report)
    result = subprocess.run([sys.executable, "-B", options.parser, "parse", f"--json={report}", section],
                            capture_output=True, text=True, check=False)
    with open(os.path.join(options.work, "parse.log"), "w", encoding="utf-8") as out:
        out.write(result.stdout + result.stderr)
    if not os.path.exists(report):
        return result.returncode or 1, {}
    with open(report, encoding="utf-8") as text:
        groups = json.load(text).get("sub_groups", [])
    return result.returncode, {
        group["name"]: {case["name"]: case["status"] for case in group["test_cases"]}
        for group in groups}


def check_steps(log):
    for step in STEPS:
        ends = [line for line in log if line.startswith(f"quarry-kunit: end {step} ")]
        if not ends:
            yield f"{step}: did not end"
        elif len(ends) > 1:
            yield f"{step}: ended more than once"
        elif not ends[0].endswith(" rc=0"):
            yield f"{step}: {ends[0].split()[-1]}"
    for line in log:
        if line.startswith("quarry-kunit: timed out"):
            yield line.removeprefix("quarry-kunit: ")
        if line.startswith("quarry-kunit: tainted "):
            taint = int(line.split()[-1])
            if taint & BAD_TAINTS:
                yield f"the kernel is tainted: {taint & BAD_TAINTS:#x}"
    if "quarry-kunit: done" not in log:
        yield "the guest did not reach its end; its last line: " + (log[-1] if log else "none")


# kmemleak of 6.1 with KASAN does not know where User Mode Linux puts modules, and says so with a
# trace for each section of any module. Only the trace that follows within these lines is passed over.
OWN_NOISE = re.compile(r"kmemleak: (Trying to color|Adding scan area to) unknown object")
OWN_NOISE_LINES = 12


def check_noise(log):
    begun, quiet_until = False, -1
    for number, line in enumerate(log):
        begun = begun or line.startswith("quarry-kunit: begin load-quarry")
        if OWN_NOISE.match(line):
            quiet_until = number + OWN_NOISE_LINES
        if line == "Call Trace:" and number <= quiet_until:
            quiet_until = -1
        elif begun and COMPLAINTS.search(line):
            yield f"kernel log: {line.strip()}"


def wanted(filter_, suite, case):
    if not filter_:
        return True
    want_suite, _, want_case = filter_.partition(".")
    return fnmatch.fnmatch(suite, want_suite) and fnmatch.fnmatch(case, want_case or "*")


def check_cases(results, suites, skips, filter_, tally):
    for suite, count in suites.items():
        if suite not in results:
            yield f"{suite}: did not run"
        elif len(results[suite]) != count:
            yield f"{suite}: {len(results[suite])} cases ran, {count} expected"
    for suite, cases in results.items():
        if suite not in suites:
            yield f"{suite}: ran, and is not listed"
        for case, status in cases.items():
            name = f"{suite}.{case}"
            if not wanted(filter_, suite, case):
                if status != "SKIP":
                    yield f"{name}: ran, although the filter leaves it out"
            elif status == "PASS":
                tally["passed"] += 1
                if name in skips:
                    yield f"{name}: listed as skipped, and ran"
            elif status == "SKIP" and name in skips:
                tally["skipped"] += 1
                print(f"skipped {name}: {skips[name]}")
            elif status == "SKIP":
                yield f"{name}: skipped, and not listed"
            else:
                yield f"{name}: {status}"
    if tally["passed"] == 0:
        yield "no case passed"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("log", "expected", "kernel", "filter", "parser", "work"):
        arguments.add_argument(f"--{name}", required=True)
    options = arguments.parse_args()

    suites, skips = read_expected(options.expected, options.kernel)
    with open(options.log, encoding="utf-8", errors="replace") as text:
        log = [line.rstrip("\r\n") for line in text]
    ktap = cut_ktap(log)
    status, results = parse(ktap, options)

    tally = {"passed": 0, "skipped": 0}
    problems = list(check_cases(results, suites, skips, options.filter, tally))
    problems += check_steps(log)
    problems += check_noise(log)
    # The parser may lose lines that it does not understand: count them without it.
    results_printed = sum(1 for line in ktap if re.match(r"    (not )?ok \d+ ", line))
    cases_parsed = sum(len(cases) for cases in results.values())
    if results_printed != cases_parsed:
        problems.append(f"{results_printed} results were printed, {cases_parsed} parsed")
    if status != 0 and not problems:
        problems.append(f"the kernel's parser ends with status {status}; see parse.log")

    for line in ktap:
        found = re.match(r"\s+# (\S+): (measured: .*)", line)
        if found:
            print(f"{found.group(1)}: {found.group(2)}")
    for problem in problems:
        print(f"FAILED {problem}")
    print(f"counts {tally['passed']} {len(problems)} {tally['skipped']}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
