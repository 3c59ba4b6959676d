#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Inside the virtual machine: loads the module, runs the kill program, counts its batches,
# unloads the module. The last line is `N passed, N failed`.
#
#   kill-guest.sh KILLS [SEED]
set -euo pipefail

module=build/module/${KERNEL:-6.1}/quarry.ko
program=build/vm/stress/kill
log=/tmp/kill.log
kills=$1

[ -e "$module" ] || { echo "kill: $module is missing: make module" && exit 1; }
insmod "$module"
status=0
"$program" "$@" | tee "$log" || status=$?
passed=$(grep -c '^ok ' "$log" || true)
failed=$(grep -c '^not ok ' "$log" || true)
plan=$(sed -n 's/^1\.\.//p' "$log")
wanted=$(((kills + 49) / 50))
if [ "$plan" != "$wanted" ] || [ $((passed + failed)) != "$wanted" ]; then
	echo "kill: $((passed + failed)) batches of $wanted reported, plan ${plan:-none}"
	failed=$((failed + 1))
fi
if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
	echo "kill: ended with status $status"
	failed=1
fi
if ! rmmod quarry; then
	echo "kill: the module does not unload"
	failed=$((failed + 1))
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
