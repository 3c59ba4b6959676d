# SPDX-License-Identifier: MIT
"""Why a case that misses its bar misses it, and what was tried: shown with each miss.

What is counted here, by callgrind, `make bench-count CASES=...` counts again: instructions,
reads, writes and misses of a pair are the same on every machine; what they cost is not.
A locked operation is about 20 cycles on some machines and 8 on others.
"""

_PAIR = ("a pair is 77 instructions, and 20 that stand for preempt_disable and _enable on a host, where"
         " the best malloc, which checks no free, has 60 to 82 in all; 18 writes to 9 or 11")
_TRIED = ("tried: the fast halves without a frame or a call (102 to 88 instructions), a page's class and"
          " live byte by one load, entries with the live byte's address (one dependent load less a"
          " pair), the address's low byte as the mark (6 instructions less)")
_LOCKED = "two locked operations a pair, and a malloc's thread cache has none"

BOUNDS = {
    **{name: f"{_PAIR}. {_TRIED}" for name in ("hot-64", "lifo-64", "random-64", "lifo-1024",
                                               "random-1024", "threads-own")},
    **{name: f"{_PAIR}; 0.6 to 1.4 more lines of the first cache, live bytes and entries of 16 bytes."
             f" {_TRIED}; entries half as large, which cost a look-up of the live byte each"
       for name in ("mixed-1k", "mixed-10k")},
    "growth-random": "a free that is checked reads the object's live byte, 1 MiB of them at 10^6 live: 3.2"
                     " lines of the second cache a pair where mallocs that check nothing have 2.1."
                     f" {_TRIED}; a header before the object would be no line more, but memory that a"
                     " user writes decides nothing here",
    "object-box": f"the lock is taken by {_LOCKED}; object-box-nolock is the same pair without",
    "bitmap-hot": f"a slot is taken and given by {_LOCKED}",
    "pages-hot": "131 instructions a pair, where a magazine of pages has a descriptor to change as well."
                 " tried: the largest region looked at first, no call in the fast halves (177 to 131)",
    "pages-threads": "each thread makes the pair of pages-hot, 131 instructions, on a magazine of its own; by the"
                     " least of the launches two cost 3 % more than one: with both processors taken, what else"
                     " runs on the machine runs on one of them",
    "pages-random": "267 instructions a pair: a split and a merge in the buddy. tried: no division, no"
                    " look-up of the region by its number (424 to 267)",
}
