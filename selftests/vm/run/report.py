#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints what `make run` counted and says whether it agrees: report.py FOLDER VM_STATUS.

Three independent counts are compared: the programs' own, STAT of the pool, and account.bt's on the
tracepoints. A program takes objects from its magazines, which the kernel fills and drains: of its own
count of objects allocated, freed, handed and received, what is left over must be what the kernel says
that it owned in the end; what the kernel gave and took must agree between STAT and tracepoints. Each
disagreement is a line `FAIL: why`, and the exit status 1.
"""
import errno
import json
import pathlib
import re
import sys

folder, vm_status = pathlib.Path(sys.argv[1]), int(sys.argv[2])
ROOT = pathlib.Path(__file__).resolve().parents[3]
SURVIVORS, VICTIM = ("cc1plus", "perl", "sqlite3"), "git"
CALLS = ("info", "create", "join", "alloc", "free", "transfer", "region-add", "region-remove",
         "drain", "stat", "verify", "resize", "refill", "flush")
# The compiler's replay: so many allocations and frees of objects that magazines hold to a system call.
FREE_OF_CALLS, CALLS_PROGRAM = 50, "cc1plus"
failures = []


def fail(text):
    failures.append(text)


def text_of(name):
    try:
        return (folder / name).read_text()
    except OSError:
        return ""


def read(name):
    try:
        return json.loads(text_of(name))
    except ValueError:
        fail(f"{name}: nothing was written, or no JSON")
        return None


def same(what, *values):
    """All (name, value) pairs have one value."""
    if len({value for _, value in values}) != 1:
        fail(f"{what}: " + ", ".join(f"{name} {value}" for name, value in values))


def maps():
    """account.bt's maps, keys as text."""
    found = {}
    for line in text_of("account.json").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("type") in ("map", "stats"):
            found.update(entry["data"])
    if not found:
        fail("bpftrace: account.bt printed no counts")
    return found


def client_line(stat, client):
    return stat["client_list"].get(f"client_{client}")


def human(number):
    for unit in ("B", "KiB", "MiB"):
        if number < 10240:
            break
        number /= 1024
    else:
        unit = "GiB"
    return f"{number:.0f} {unit}"


def check_programs(programs, bpf):
    untold_by_the_dead = 0
    for name, program in programs.items():
        client = str(program["client"])
        if name == VICTIM:
            continue
        untold = program["left_objects"] - (program["objects"] + program["received"]
                                            - program["freed"] - program["handed"])
        if untold < 0:
            fail(f"{name}: {-untold} objects fewer than it counts are its own in the end")
        untold_by_the_dead += max(untold, 0)
        if name == CALLS_PROGRAM and program["small"] < FREE_OF_CALLS * program["small_system_calls"]:
            fail(f"{name}: {program['small_system_calls']} system calls for {program['small']} "
                 f"allocations and frees of up to 2048 bytes: more than one in {FREE_OF_CALLS}")
        if program["mismatches"]:
            fail(f"{name}: {program['mismatches']} mismatches: " + text_of(f"{name}.out").split("\n")[0])
        if program["refusals"]:
            fail(f"{name}: was refused {program['refusals']}")
        if not program["patterns_checked"] or not program["handed"] or not program["received"]:
            fail(f"{name}: checked, handed or received nothing")
        same(f"objects left by {name} and reaped", ("left", program["left_objects"]),
             ("reaped", bpf.get("@reaped_objects", {}).get(client, 0)))
    # Killed between the call that hands an object over and the message that tells the new owner.
    if untold_by_the_dead > 1:
        fail(f"{untold_by_the_dead} objects are owned in the end that nobody counts")


def check_totals(attack, creator, end, bpf):
    same("objects granted", ("by STAT", end["allocs"]),
         ("by tracepoints", sum(bpf.get("@granted", {}).values()) + bpf.get("@refilled", 0)))
    same("objects freed", ("by STAT", end["frees"]),
         ("by tracepoints", sum(bpf.get("@freed", {}).values()) + bpf.get("@drained", 0)))
    # The creator is reaped only after STAT was asked.
    same("objects reaped", ("by STAT", end["reaped_objects"]),
         ("by tracepoints", sum(value for key, value in bpf.get("@reaped_objects", {}).items()
                                if key != str(creator))))
    same("granted, and freed or reaped or owned", ("granted", end["allocs"]),
         ("accounted for", end["frees"] + end["reaped_objects"] + end["objects"]))
    same("refusals in the pool", ("by STAT", end["refused"]),
         ("by tracepoints", sum(value for key, value in bpf.get("@refused", {}).items()
                                if not key.startswith("0,"))))
    for key in ("objects", "used_bytes", "corruptions"):
        if end[key]:
            fail(f"leak: at the end the pool counts {end[key]} {key}" if key != "corruptions"
                 else f"{end[key]} corruptions")
    if attack["succeeded"] or attack["wrong_errno"] or attack["honest_failures"]:
        fail(f"the attacker got through: {attack['succeeded']} {attack['wrong_errno']}")
    if not attack["refused"] or attack["refused"] != attack["attacks"]:
        fail(f"{attack['refused']} of {attack['attacks']} attacks were refused")


def check_reap(client, owned, census, dead, bpf):
    key = str(client)
    # The attacker has left nothing by then, so all that was reaped in between was the victim's.
    same("objects of the dead client", ("it owned", owned["objects"]),
         ("STAT reaped", dead["reaped_objects"] - census["reaped_objects"]),
         ("tracepoint", bpf.get("@reaped_objects", {}).get(key, 0)))
    same("bytes of the dead client", ("it owned", owned["bytes"]),
         ("STAT reaped", dead["reaped_bytes"] - census["reaped_bytes"]),
         ("tracepoint", bpf.get("@reaped_bytes", {}).get(key, 0)))
    if not owned["objects"]:
        fail("the dead client owned nothing: it was not killed in the middle")
    if bpf.get("@reaped_late", {}).get(key, 0) or dead["late_reaps"]:
        fail("the dead client's objects were back only after its parent knew")


def print_programs(programs, before, census, end, bpf):
    print("\nprogram    events of trace   objects     bytes patterns handed taken  system calls   without")
    for name, p in programs.items():
        share = 100 * p["trace_events"] / p["trace_records"] if p.get("trace_records") else 0
        row = f"{name:<10} {p['trace_events']:>6} {share:>7.1f}% "
        if name == VICTIM:
            print(row + f"{p['objects']:>9}  given to it by the kernel; killed in the middle")
        else:
            print(row + f"{p['objects']:>9} {human(p['bytes']):>9} {p['patterns_checked']:>8} "
                  f"{p['handed']:>6} {p['received']:>5} {p['small_system_calls']:>13} "
                  f"{100 * p['without_system_call']:>8.1f}%")
    print("without: allocations and frees of up to 2048 bytes that made no system call. Apart from them,")
    print("larger objects and those taken from peers: " + ", ".join(
        f"{name} {p['large']} in {p['large_system_calls']} calls"
        for name, p in programs.items() if name != VICTIM))
    print(f"the kernel gave {end['allocs']} objects and took back {end['frees']} "
          f"({bpf.get('@refilled', 0)} by {bpf.get('@refill_calls', 0)} refills, "
          f"{bpf.get('@drained', 0)} by {bpf.get('@drain_calls', 0)} drains), by STAT and by tracepoints")
    print("\noccupancy        objects      bytes   clients")
    for when, stat in (("before", before), ("at the kill", census), ("after", end)):
        print(f"{when:<12} {stat['objects']:>11} {human(stat['used_bytes']):>10} {stat['clients']:>9}")


def print_refusals(attack, bpf):
    print(f"\n{attack['attacks']} attacks, {attack['refused']} refused, 0 got through. By kind:")
    items = sorted(attack["by_kind"].items(), key=lambda item: -item[1])
    for i in range(0, len(items), 2):
        print("".join(f"  {count:>7} {kind:<30}" for kind, count in items[i:i + 2]).rstrip())
    print("what the kernel answered (tracepoint quarry:refused):")
    answers = {}
    for key, count in bpf.get("@refused", {}).items():
        _, call, number = (int(part) for part in key.split(","))
        name = f"{CALLS[call] if call < len(CALLS) else 'unknown'} " + errno.errorcode.get(number, str(number))
        answers[name] = answers.get(name, 0) + count
    items = sorted(answers.items(), key=lambda item: -item[1])
    for i in range(0, len(items), 3):
        print("".join(f"  {count:>6} {name:<18}" for name, count in items[i:i + 3]).rstrip())


def print_latency(bpf):
    latency = text_of("latency")
    counted_by_account = {
        "alloc": sum(bpf.get("@asked_calls", {}).values()), "refill": bpf.get("@refill_calls", 0),
        "free": sum(bpf.get("@freeing_calls", {}).values()), "drain": bpf.get("@drain_calls", 0)}
    for name, calls in counted_by_account.items():
        found = re.search(rf"^@{name}_ns: *\n((?:\[.*\n)+)", latency, re.M)
        if not found:
            fail(f"bpftrace: latency.bt printed no histogram of {name} calls")
            continue
        counted = re.search(rf"^@{name}_calls: (\d+)", latency, re.M)
        same(f"{name} calls", ("latency.bt", int(counted[1]) if counted else None), ("account.bt", calls))
        print(f"\n{name} calls by ns in the kernel (bpftrace on quarry:{name}, {calls} calls)")
        for line in found[1].splitlines():
            print(re.sub(r"\|(@*)( *)\|", lambda bar: "|" + "@" * ((len(bar[1]) + 1) // 2), line))
    print("An emulated machine's time is no measure of speed.")


def main():
    failures.extend(line for line in text_of("failures").splitlines() if line)
    names = ("before", "census", "dead", "end", "attack") + SURVIVORS
    loaded = {name: read(f"{name}.json") for name in names}
    bpf = maps()
    if all(value is not None for value in loaded.values()):
        before, census, dead, end, attack = (loaded[name] for name in names[:5])
        victim = creator = None
        known = {loaded[name]["client"] for name in SURVIVORS} | {attack["client"]}
        for key, entry in census["client_list"].items():
            number = int(key.removeprefix("client_"))
            if entry["creator"]:
                creator = number
            elif number not in known:
                victim = number
        programs = {name: loaded[name] for name in SURVIVORS}
        owned = client_line(census, victim)
        if owned is None:
            fail("the victim was no client when it was to be killed")
        else:
            if client_line(dead, victim) and client_line(dead, victim)["objects"]:
                fail("the dead client still owns objects")
            programs[VICTIM] = {"client": victim, "objects": owned["allocs"],
                                "trace_events": int(loaded["cc1plus"]["trace_events"]),
                                "trace_records": records_of(VICTIM)}
            check_programs(programs, bpf)
            check_totals(attack, creator, end, bpf)
            check_reap(victim, owned, census, dead, bpf)
            print_programs(programs, before, census, end, bpf)
            print_refusals(attack, bpf)
            print(f"\nreaped from the dead {VICTIM}: {owned['objects']} objects, "
                  f"{owned['bytes']} bytes,\n"
                  "all that it owned, and before waitpid returned")
    print_latency(bpf)
    verify = text_of("verify")
    if not verify.startswith("verify: ok"):
        fail("verify did not say ok")
    if vm_status == 204:
        fail("the kernel log has complaints (above)")
    elif vm_status:
        fail(f"the virtual machine's command ended with status {vm_status}")
    print()
    for failure in failures:
        print(f"FAIL: {failure}")
    if not failures:
        print("verify: ok; kernel log clean, nothing left, all counts agree")
    return 1 if failures else 0


def records_of(name):
    """How many events the whole trace of a workload holds."""
    traces = json.loads((ROOT / "build/traces/summary.json").read_text())
    for trace in traces:
        if pathlib.PurePath(trace["program"]).name.startswith(name):
            return trace["records"]
    return 0


sys.exit(main())
