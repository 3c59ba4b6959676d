#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The module comes and goes: it does not leave while a pool lives, it leaves nothing
# behind, twenty times over. (README: "The module unloads whenever no pool lives")
set -euo pipefail

module=build/module/${KERNEL:-6.1}/quarry.ko
failed=0
cases=0
report() { # 0 or else, what
	cases=$((cases + 1))
	if [ "$1" = 0 ]; then echo "ok $cases $2"; else echo "not ok $cases $2" && failed=1; fi
}

echo 'TAP version 13'
echo '1..4'

# A process with an open control descriptor keeps it.
exec 9<>/dev/quarry
status=0
rmmod quarry 2>/dev/null || status=$?
report $((status == 0)) 'it does not unload while its device is open'
exec 9>&-

status=0
for _ in $(seq 20); do
	rmmod quarry || status=1
	[ ! -e /dev/quarry ] || status=1
	insmod "$module" || status=1
	[ -c /dev/quarry ] || status=1
done
report $status 'it loads and unloads twenty times'

status=0
[ -d /sys/kernel/debug/quarry ] && [ -d /sys/kernel/tracing/events/quarry ] || status=1
rmmod quarry || status=1
[ ! -d /sys/kernel/debug/quarry ] && [ ! -d /sys/kernel/tracing/events/quarry ] || status=1
! grep -q quarry /proc/slabinfo || status=1
report $status 'it leaves no folder, no tracepoint and no cache behind'
insmod "$module"

status=0
build/vm/tests/clients >/dev/null || status=$?
report $status 'it works after all that'
exit $failed
