#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the explorations and counts them: run.sh PROGRAM [FILTER]
#
# Each test of expected.list (that FILTER is a part of) must be seen to pass, and none may run that the
# list does not name. The last line is `N passed, N failed`.
set -euo pipefail

here=$(dirname "${BASH_SOURCE[0]}")
program=$1
filter=${2:-}
passed=0
failed=0

status=0
timeout 1800 "$program" --gtest_color=no --gtest_filter="*${filter}*" >"$program.log" 2>&1 || status=$?
grep -E '^\[ +(OK|FAILED) +\] .* \(' "$program.log" || true
while read -r name; do
	[[ $name == *"$filter"* ]] || continue
	if grep -qF "[       OK ] $name (" "$program.log"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "interleave: $name did not pass"
	fi
done <"$here/expected.list"
ran=$(grep -c '^\[ RUN      \]' "$program.log" || true)
if [[ $ran -ne $((passed + failed)) || ($status -ne 0 && $failed -eq 0) ]]; then
	echo "interleave: $ran tests ran, exit status $status"
	failed=$((failed + 1))
fi
[[ $failed -eq 0 ]] || tail -n 60 "$program.log"
echo "$passed passed, $failed failed"
[[ $failed -eq 0 && $passed -gt 0 ]]
