# SPDX-License-Identifier: MIT
"""What each case of the host benchmarks is measured against, and the most it may be.

A case has one bar or several; each is a yardstick and a bound on the ratio to it. The
yardstick is a figure of the same run, so a bar says the same on every machine:

    best()              the fastest malloc at the same case
    second()            the second fastest
    best("hot-64")      the fastest malloc at another case, by its own figure there
    peer("glibc", CASE) one malloc's figure at a case
    own(CASE)           Quarry's figure at another case
    best_of(A, B, ..)   the fastest of these, which are no mallocs, at the same case
    PURE                1: the case's number is a ratio by itself

QUARRY_BENCH=user in the environment: the cases of user space (tools/bench/user).

`at_most(1.2, best())` holds when quarry / yardstick <= 1.2. A case that stands in no table
is measured only.
"""
import os
from dataclasses import dataclass

CLASSES = [8 * i for i in range(1, 9)] + [
    (64 << octave) + step * (8 << octave) for octave in range(5) for step in range(1, 9)]


@dataclass(frozen=True)
class Yardstick:
    """kind: best, second, peer, best_of, own, pure; case "" is the case itself."""
    kind: str
    case: str = ""
    name: str = ""

    def __str__(self):
        at = f" at {self.case}" if self.case else ""
        return {"best_of": f"best of {self.name}", "best": f"best malloc{at}", "second": f"second best malloc{at}",
                "peer": f"{self.name}{at}", "own": f"quarry{at}", "pure": "1"}[self.kind]


@dataclass(frozen=True)
class Bar:
    sense: str  # "at most" or "at least"
    bound: float
    yardstick: Yardstick

    def holds(self, ratio):
        return ratio <= self.bound if self.sense == "at most" else ratio >= self.bound


def best(case=""):
    return Yardstick("best", case)


def second():
    return Yardstick("second")


def peer(name, case=""):
    return Yardstick("peer", case, name)


def best_of(*names):
    return Yardstick("best_of", "", " ".join(names))


def own(case):
    return Yardstick("own", case)


PURE = Yardstick("pure")


def at_most(bound, yardstick=PURE):
    return Bar("at most", bound, yardstick)


def at_least(bound, yardstick=PURE):
    return Bar("at least", bound, yardstick)


def metadata_bound(size):
    """Most metadata per byte of a slab of such slots."""
    return 0.032 if size >= 64 else 0.125 if size >= 16 else 0.17


def times_glibc(bound):
    return at_most(bound, peer("glibc", "hot-64"))


# Case: its bars. The first one is the case's `ratio` and `bar`; all must hold.
HOST_BARS = {
    # 64-byte pairs by the heap, checks on
    "hot-64": [at_most(1.0, best())],
    "lifo-64": [at_most(1.0, best())],
    "random-64": [at_most(1.0, best())],
    "lifo-1024": [at_most(1.0, best())],
    "random-1024": [at_most(1.0, best())],
    "mixed-1k": [at_most(1.2, best()), at_most(1.0, second())],
    "mixed-10k": [at_most(1.2, best()), at_most(1.0, second())],
    "threads-own": [at_most(1.0, best())],
    "threads-handoff": [at_most(0.5, best())],
    # cost by what is live
    "growth-hot": [at_most(1.1)],
    "growth-random": [at_most(1.0, best())],
    # pages
    "pages-hot": [at_most(1.5, best("hot-64"))],
    "pages-random": [at_most(5.0, best("hot-64"))],
    "pages-threads": [at_most(1.3, own("pages-hot"))],
    # typed pools
    "bitmap-hot": [at_most(1.0, best())],
    "bitmap-full": [at_most(1.5, own("bitmap-hot"))],
    "object-box": [at_most(1.0, best())],
    "fixed-hot": [at_most(0.5, best())],
    "fixed-full": [at_most(1.3, own("fixed-hot"))],
    # ranges
    "range-1k": [times_glibc(12)],
    "range-10k": [times_glibc(12)],
    "range-100k": [times_glibc(12), at_most(2.0, own("range-1k"))],
    "range-handle-1k": [times_glibc(8)],
    "range-handle-10k": [times_glibc(8)],
    "range-handle-100k": [times_glibc(8), at_most(1.5, own("range-handle-1k"))],
    "range-fill": [at_least(0.99)],
    "range-churn": [at_least(0.995)],
    "range-aligned": [at_least(0.98)],
    # memory
    "waste": [at_most(0.125)],
    "tail": [at_most(0.04)],
    "metadata-pages": [at_most(0.02)],
    **{f"metadata-client-{size}": [at_most(metadata_bound(size))] for size in CLASSES},
    **{f"metadata-cache-{size}": [at_most(metadata_bound(size))] for size in CLASSES},
}

USER_BARS = {
    "user-hot-64": [at_most(0.6, best()), at_most(0.4, peer("dpdk"))],
    "user-lifo-64": [at_most(0.8, best()), at_most(1.0, peer("dpdk"))],
    "user-lifo-1024": [at_most(0.8, best()), at_most(1.0, peer("dpdk"))],
    "user-random-1024": [at_most(0.8, best())],
    "user-mixed-1k": [at_most(1.0, best())],
    "user-bulk-64": [at_most(1.0, peer("dpdk"))],
    "user-bulk-64-checked": [at_most(3.0, peer("dpdk"))],
    "user-threads": [at_most(0.7, best())],
    "user-handoff": [at_most(0.5, best())],
    "shm-pair": [at_most(0.25, best_of("boost", "boost-cached", "iceoryx"))],
    "checks": [at_most(1.35)],
    "user-growth": [at_most(1.0, best())],
}

BARS = USER_BARS if os.environ.get("QUARRY_BENCH") == "user" else HOST_BARS


def is_pure(name):
    """The case's number is a ratio by itself, not nanoseconds."""
    return any(bar.yardstick == PURE for bar in BARS.get(name, []))


def with_yardsticks(names):
    """The names, and behind them the cases that their bars are measured by."""
    wanted = list(names)
    for name in wanted:  # grows while it is walked
        for bar in BARS.get(name, []):
            if bar.yardstick.case and bar.yardstick.case not in wanted:
                wanted.append(bar.yardstick.case)
    return wanted
