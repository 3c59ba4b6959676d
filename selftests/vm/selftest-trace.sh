#!/bin/bash
# SPDX-License-Identifier: MIT
# In the guest: sees bpftrace count a tracepoint and a kprobe, and a kprobe of tracefs alone fire,
# so that tests may lean on either. Prints `traced` and ends with status 0 if all did.
set -euo pipefail
calls=5
work=$(mktemp -d)
bpftrace -e 'BEGIN { printf("attached\n"); }
	tracepoint:syscalls:sys_enter_getppid /comm == "perl"/ { @point = count(); }
	kprobe:__x64_sys_getppid /comm == "perl"/ { @probe = count(); }' >"$work/out" 2>&1 &
tracer=$!
for ((try = 0; try < 300; try++)); do
	! grep -q attached "$work/out" || break
	sleep 0.1
done
perl -e "syscall(110) for 1..$calls"
kill -INT "$tracer"
wait "$tracer"
cat "$work/out"
grep -qx "@point: $calls" "$work/out"
grep -qx "@probe: $calls" "$work/out"

cd /sys/kernel/tracing
echo 'p:quarry_selftest __x64_sys_getppid' >kprobe_events
echo 1 >events/kprobes/quarry_selftest/enable
perl -e 'syscall(110)'
echo 0 >events/kprobes/quarry_selftest/enable
grep -m1 'perl.*quarry_selftest: (__' trace
echo >kprobe_events
rm -rf "$work"
echo traced
