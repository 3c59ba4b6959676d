#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs make targets one after the other and adds up their closing lines.
#
#   tally.sh TARGET... [+ TARGET...]
#
# What stands behind a + runs beside what stands before it; the two lanes share no files that
# they build without a lock. The first lane yields to the second, whose virtual machines keep time; its output is
# shown as it comes, the second's when a target ends.
#
# Each target must end with a line `N passed, N failed`, which a word may begin; one that exits
# non-zero without a failed test, or says nothing, or has run no test, counts as one more
# failure. The last line is the sum, the one before it what was skipped, if anything was; exit 0
# only when nothing failed.
set -euo pipefail

logs=build/test
mkdir -p "$logs"

yielding=()

# Leaves build/test/TARGET.log, and `status seconds` in TARGET.end.
run_target() { # TARGET
	local start=$SECONDS status=0
	rm -f "$logs/$1.end"
	"${yielding[@]}" make --no-print-directory "$1" 2>&1 || status=$?
	echo "$status $((SECONDS - start))" >"$logs/$1.end"
}

second_lane() {
	local target
	for target in "$@"; do
		run_target "$target" >"$logs/$target.log"
		echo "== make $target (beside)"
		cat "$logs/$target.log"
	done
}

count() { # TARGET: adds what its log and its end say
	local line status seconds good=0 bad=0
	line=$(sed -nE 's/^([a-z]+: )?([0-9]+ passed, [0-9]+ failed)$/\2/p' "$logs/$1.log" | tail -n 1)
	read -r status seconds <"$logs/$1.end"
	if [ -n "$line" ]; then
		read -r good _ bad _ <<<"$line"
	fi
	if [ "$bad" = 0 ] && { [ "$status" != 0 ] || [ "$good" = 0 ]; }; then
		bad=1
		echo "$1: exit $status without a test that says why: $logs/$1.log"
	fi
	passed=$((passed + good))
	failed=$((failed + bad))
	line=$(sed -nE 's/^([0-9]+) skipped$/\1/p' "$logs/$1.log" | tail -n 1)
	skipped=$((skipped + ${line:-0}))
	summary+=("$(printf '%-20s %6d passed %4d failed %5d s' "$1" "$good" "$bad" "$seconds")")
}

first=()
second=()
lane=first
for target in "$@"; do
	if [ "$target" = + ]; then
		lane=second
	elif [ "$lane" = first ]; then
		first+=("$target")
	else
		second+=("$target")
	fi
done

passed=0
failed=0
skipped=0
summary=()
beside=
if [ "${#second[@]}" -gt 0 ]; then
	second_lane "${second[@]}" &
	beside=$!
	yielding=(nice -n 5)
fi
for target in "${first[@]}"; do
	echo "== make $target"
	run_target "$target" | tee "$logs/$target.log"
done
[ -z "$beside" ] || wait "$beside"
for target in "${first[@]}" "${second[@]}"; do count "$target"; done

echo "== all"
printf '%s\n' "${summary[@]}"
[ "$skipped" = 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
