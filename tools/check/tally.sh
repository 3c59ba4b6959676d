#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs make targets and adds up their closing lines.
#
#   tally.sh TARGET... [+ TARGET...]
#
# What stands behind a + runs beside what stands before it. A lane that has come to its end takes what
# the other has not begun, from that one's end. The first lane yields to the second, whose virtual
# machines keep time. The first lane's output is shown as it comes, the second's when a target ends.
#
# Each target must end with a line `N passed, N failed`, which a word may begin; one that exits
# non-zero without a failed test, or says nothing, or has run no test, counts as one more
# failure. The last line is the sum, the one before it what was skipped, if anything was; exit 0
# only when nothing failed.
set -euo pipefail

logs=build/test
mkdir -p "$logs"

first=()
second=()
beside=

# A target is run by the lane that makes its folder.
claim() { # TARGET
	mkdir "$logs/$1.begun" 2>/dev/null
}

# Leaves build/test/TARGET.log, and `status seconds` in TARGET.end.
run_target() { # TARGET COMMAND-PREFIX...
	local target=$1 start=$SECONDS status=0
	shift
	"$@" make --no-print-directory "$target" 2>&1 || status=$?
	echo "$status $((SECONDS - start))" >"$logs/$target.end"
}

# Its own targets from the first on, then the other's from the last on.
first_lane() {
	local target
	local -a yielding=()
	[[ -z $beside ]] || yielding=(nice -n 5)
	for target in "$@"; do
		claim "$target" || continue
		echo "== make $target"
		run_target "$target" "${yielding[@]}" | tee "$logs/$target.log"
	done
}

second_lane() {
	local target
	for target in "$@"; do
		claim "$target" || continue
		run_target "$target" env >"$logs/$target.log"
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

backwards() {
	local i
	for ((i = $#; i > 0; i--)); do echo "${!i}"; done
}

lane=first
for target in "$@"; do
	if [ "$target" = + ]; then
		lane=second
	elif [ "$lane" = first ]; then
		first+=("$target")
	else
		second+=("$target")
	fi
	[ "$target" = + ] || rm -rf "$logs/$target.begun" "$logs/$target.end" "$logs/$target.log"
done

passed=0
failed=0
skipped=0
summary=()
if [ "${#second[@]}" -gt 0 ]; then
	# shellcheck disable=SC2046 # names without spaces
	second_lane "${second[@]}" $(backwards "${first[@]}") &
	beside=$!
fi
# shellcheck disable=SC2046
first_lane "${first[@]}" $(backwards "${second[@]}")
[ -z "$beside" ] || wait "$beside"
for target in "${first[@]}" "${second[@]}"; do count "$target"; done

echo "== all"
printf '%s\n' "${summary[@]}"
[ "$skipped" = 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
