#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Inside the virtual machine: loads the module, runs the two programs that kill, counts what they
# report, unloads the module. The last line is `N passed, N failed`.
#
#   kill-guest.sh KILLS [SEED]
#
# With fewer than 10,000 kills the stops are those of the fast paths alone.
set -euo pipefail

module=build/module/${KERNEL:-6.1}/quarry.ko
programs=build/vm/stress
kills=$1
passed=0 failed=0

# run_program CASES PROGRAM ARGUMENT...: its TAP must have so many results, all good.
run_program() {
	local wanted=$1 name=${2##*/} log=/tmp/kill.log good bad plan status=0
	shift
	"$@" | tee "$log" || status=$?
	good=$(grep -c '^ok ' "$log" || true)
	bad=$(grep -c '^not ok ' "$log" || true)
	plan=$(sed -n 's/^1\.\.//p' "$log")
	if [ "$plan" != "$wanted" ] || [ $((good + bad)) != "$wanted" ]; then
		echo "$name: $((good + bad)) results of $wanted reported, plan ${plan:-none}"
		bad=$((bad + 1))
	fi
	if [ "$status" != 0 ] && [ "$bad" = 0 ]; then
		echo "$name: ended with status $status"
		bad=1
	fi
	passed=$((passed + good))
	failed=$((failed + bad))
}

# Sequences that end before they commit: a signal there makes an object be given twice.
planted_is_seen() {
	local log=/tmp/planted.log
	! "$programs/each_instruction_planted" "$programs/each_instruction_planted.list" fast signal >"$log" &&
		grep -q '^not ok .* a signal whose handler uses the pool at each instruction: the client ended' "$log"
}

[ -e "$module" ] || { echo "kill: $module is missing: make module" && exit 1; }
insmod "$module"
# From 500 kills on there is a result for the places that they landed in, too.
run_program $(((kills + 49) / 50 + (kills >= 500))) "$programs/kill" "$@"
which=fast
[ "$kills" -lt 10000 ] || which=all
run_program 6 "$programs/each_instruction" "$programs/each_instruction.list" "$which"
if planted_is_seen; then
	passed=$((passed + 1))
else
	echo "each_instruction: sequences that end too early are not seen"
	failed=$((failed + 1))
fi
if ! rmmod quarry; then
	echo "kill: the module does not unload"
	failed=$((failed + 1))
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
