#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs make targets one after the other and adds up their closing lines.
#
#   tally.sh TARGET...
#
# Each target must end with a line `N passed, N failed`, which a word may begin; one that exits non-zero without
# a failed test, or says nothing, or has run no test, counts as one more failure. The
# last line is the sum; exit 0 only when nothing failed.
set -euo pipefail

logs=build/test
mkdir -p "$logs"
passed=0
failed=0
summary=()

for target in "$@"; do
	echo "== make $target"
	start=$SECONDS
	status=0
	make --no-print-directory "$target" 2>&1 | tee "$logs/$target.log" || status=$?
	line=$(sed -nE 's/^([a-z]+: )?([0-9]+ passed, [0-9]+ failed)$/\2/p' "$logs/$target.log" | tail -n 1)
	good=0
	bad=0
	if [ -n "$line" ]; then
		read -r good _ bad _ <<<"$line"
	fi
	if [ "$bad" = 0 ] && { [ "$status" != 0 ] || [ "$good" = 0 ]; }; then
		bad=1
		echo "$target: exit $status without a test that says why: $logs/$target.log"
	fi
	passed=$((passed + good))
	failed=$((failed + bad))
	summary+=("$(printf '%-20s %6d passed %4d failed %5d s' "$target" "$good" "$bad" $((SECONDS - start)))")
done

echo "== all"
printf '%s\n' "${summary[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
