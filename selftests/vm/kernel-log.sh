#!/bin/bash
# SPDX-License-Identifier: MIT
# What in a kernel log means that the kernel found something wrong: one list, sourced by vm.sh (on
# the host, over the whole log) and by run-tests.sh (in the guest, after each program).
#
# Guarantees: kernel_log_complaints prints each offending line of its stdin and returns 0 if there
# was one, 1 if there was none. Lines that user space wrote count as well: a marker that a test
# writes to /dev/kmsg must therefore not look like a complaint.

# Extended regular expressions, one a line. Kernel forms only: "general protection fault" is
# followed by a comma or a colon when the kernel itself took it, not when a program did.
KERNEL_LOG_BAD='WARNING:
BUG[: ]
kernel BUG at
Oops[: ]
Kernel panic
general protection fault[,:]
unable to handle
invalid opcode:
stack-protector:
KASAN
KCSAN
KFENCE
KMSAN
UBSAN
kmemleak
refcount_t
(list_add|list_del) corruption
INFO: possible
possible (circular|recursive) locking
possible irq lock inversion
inconsistent lock state
suspicious RCU usage
bad unlock balance
held lock freed
still held when returning to user space
sleeping function called from
scheduling while atomic
blocked for more than
soft lockup
hard LOCKUP
rcu.*detected (expedited )?stalls
rcu.*self-detected stall
workqueue lockup
[Bb]ad page
Bad rss-counter
Objects remaining in
Slab cache still has objects
Freepointer corrupt|Redzone overwritten|Poison overwritten|Object already free
DEBUG_LOCKS_WARN_ON
ODEBUG
invoked oom-killer
Out of memory:
page allocation failure
Call Trace:'

kernel_log_complaints() {
	grep -aE -e "$KERNEL_LOG_BAD"
}
