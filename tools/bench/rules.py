# SPDX-License-Identifier: MIT
"""From launches to figures, and from figures to what holds.

A figure is the median over a case's launches. A case whose launch failed, whose peer is
missing, or whose yardstick was not run is not judged as if it were whole: `met` is then
None (False if even the rest of the mallocs is faster than allowed), and `missing` says why.
"""
import statistics
from dataclasses import dataclass, field

from bars import BARS, is_pure

QUARRY = "quarry"
# Peers that are no mallocs: none of them is "the best malloc".
NATIVES = ("dpdk", "boost", "boost-cached", "iceoryx")


@dataclass
class Run:
    """What one run of the benchmarks has left."""
    versions: dict = field(default_factory=dict)   # peer: version
    absent: dict = field(default_factory=dict)     # peer: why it is not there
    wanted: list = field(default_factory=list)     # cases, in order
    allocators: dict = field(default_factory=dict)  # case: those it is launched on
    values: dict = field(default_factory=dict)     # (case, allocator): figures
    failures: dict = field(default_factory=dict)   # (case, allocator): reasons
    curves: dict = field(default_factory=dict)     # curve: allocator: live: figures
    facts: dict = field(default_factory=dict)      # key: text, as it came

    def value(self, case, allocator, figure=statistics.median):
        values = self.values.get((case, allocator))
        return figure(values) if values else None

    def peers(self, case, figure=statistics.median, names=None):
        """Those (of `names`) that have a figure at the case, Quarry left out."""
        found = {p: self.value(case, p, figure)
                 for p in self.allocators.get(case, []) if p != QUARRY and (not names or p in names)}
        return {p: v for p, v in found.items() if v is not None}


def read(lines):
    """Lines of tab-separated words; see run.sh."""
    run = Run()
    for line in lines:
        kind, *words = line.rstrip("\n").split("\t")
        if kind == "version":
            run.versions[words[0]] = words[1]
        elif kind == "absent":
            run.absent[words[0]] = words[1]
        elif kind == "fact":
            run.facts[words[0]] = words[1]
        elif kind == "case":
            run.wanted.append(words[0])
            run.allocators[words[0]] = words[1].split()
        elif kind == "launch":
            run.values.setdefault((words[0], words[1]), []).append(float(words[2]))
        elif kind == "failed":
            run.failures.setdefault((words[0], words[1]), []).append(words[2])
        elif kind == "point":
            live = run.curves.setdefault(words[0], {}).setdefault(words[1], {})
            live.setdefault(int(words[2]), []).append(float(words[3]))
        else:
            raise ValueError(f"no such line: {line!r}")
    return run


def yardstick(run, name, stick, figure=statistics.median):
    """(value, why there is none, {peer: value} that it was chosen from)."""
    case = stick.case or name
    if stick.kind == "pure":
        return 1.0, None, {}
    if stick.kind == "own":
        value = run.value(case, QUARRY, figure)
        return value, None if value else f"quarry has no figure at {case}", {}
    if stick.kind == "peer":
        value = run.value(case, stick.name, figure)
        if value is None:
            return None, f"{stick.name} has no figure at {case}", {}
        return value, None, {stick.name: value}
    peers = run.peers(case, figure, candidates(run, stick))
    place = 1 if stick.kind == "second" else 0
    if len(peers) <= place:
        return None, f"too few peers have a figure at {case}", peers
    return sorted(peers.values())[place], None, peers


def candidates(run, stick):
    """The peers that the best, or the second, is one of."""
    if stick.kind == "best_of":
        return stick.name.split()
    known = [*run.versions, *run.absent]
    return [peer for peer in known if peer not in NATIVES] or None


def missing(run, name):
    """{allocator: why its figure is not there, or not whole} of a case."""
    why = {}
    if name not in run.allocators:
        return {QUARRY: "host_bench has no such case"}
    for allocator in run.allocators[name]:
        failed = run.failures.get((name, allocator))
        if failed:
            times = len(failed) + len(run.values.get((name, allocator), []))
            why[allocator] = f"{len(failed)} of {times} launches failed: {failed[0]}"
        elif allocator in run.absent:
            why[allocator] = run.absent[allocator]
        elif run.value(name, allocator) is None:
            why[allocator] = "not launched"
    return why


def judge(run, name, bar):
    """One bar of a case, as it stands in the JSON."""
    value = run.value(name, QUARRY)
    base, why, peers = yardstick(run, name, bar.yardstick)
    ratio = value / base if value is not None and base else None
    met = None if ratio is None else bar.holds(ratio)
    case = bar.yardstick.case or name
    if met and bar.yardstick.kind in ("best", "second", "best_of"):
        among = candidates(run, bar.yardstick)
        lacking = {a: w for a, w in missing(run, case).items() if not among or a in (QUARRY, *among)}
        if lacking:
            met, why = None, "; ".join(f"{a}: {w}" for a, w in lacking.items())
    least, least_base = run.value(name, QUARRY, min), yardstick(run, name, bar.yardstick, min)[0]
    out = {"yardstick": str(bar.yardstick), "value": base, "ratio": ratio, "sense": bar.sense,
           "bar": bar.bound, "met": met,
           "ratio_of_minima": least / least_base if least is not None and least_base else None}
    if why:
        out["why"] = why
    return out, peers


def case_of(run, name):
    """The case as it stands in the JSON."""
    own_peers = run.peers(name)
    judged = [judge(run, name, bar) for bar in BARS.get(name, [])]
    bars = [out for out, _ in judged]
    if not bars and own_peers:  # measured only
        base = min(own_peers.values())
        value = run.value(name, QUARRY)
        bars = [{"yardstick": "best malloc", "value": base,
                 "ratio": value / base if value is not None else None,
                 "sense": "at most", "bar": None, "met": None}]
    first = bars[0] if bars else {"yardstick": None, "ratio": None, "bar": None, "sense": None}
    met = [b["met"] for b in bars]
    values = {a: run.values[name, a] for a in [QUARRY, *own_peers] if (name, a) in run.values}
    case = {
        "name": name,
        "unit": "ratio" if is_pure(name) else "ns",
        "quarry": run.value(name, QUARRY),
        "peers": own_peers or (judged[0][1] if judged else {}),
        "yardstick": first["yardstick"],
        "ratio": first["ratio"],
        "ratio_of_minima": first.get("ratio_of_minima"),
        "sense": first["sense"],
        "bar": first["bar"],
        "met": False if False in met else None if None in met or not met else True,
        "min": {a: min(v) for a, v in values.items()},
        "max": {a: max(v) for a, v in values.items()},
        "launches": len(run.values.get((name, QUARRY), [])),
    }
    if len(bars) > 1:
        case["bars"] = bars
    why = missing(run, name)
    if why:
        case["missing"] = why
    elif bars and bars[0].get("why"):
        case["missing"] = {"yardstick": bars[0]["why"]}
    return case, bars
