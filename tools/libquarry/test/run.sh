#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs libquarry's unit tests, plain and sanitized, checks the libraries, and counts.
#   tools/libquarry/test/run.sh TEST_FOLDER LIBRARY_FOLDER FILTER
set -euo pipefail

tests=$1
library=$2
filter=$3
passed=0
failed=0

expect() { # NAME COMMAND...
	local name=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $name"
	fi
}

# How many tests the filter selects: a program that runs fewer than it lists has failed.
expected() {
	"$tests/plain/libquarry-test" --gtest_list_tests --gtest_filter="$filter" | grep -c '^  ' || true
}

run_variant() {
	local variant=$1 wanted=$2 log=$tests/$1/log ok bad status=0
	timeout 300 "$tests/$variant/libquarry-test" --gtest_filter="$filter" --gtest_color=no \
		>"$log" 2>&1 || status=$?
	ok=$(grep -c '^\[       OK \]' "$log" || true)
	bad=$((wanted - ok))
	passed=$((passed + ok))
	failed=$((failed + bad))
	echo "libquarry, $variant: $ok of $wanted tests passed"
	if [[ $bad -ne 0 || $status -ne 0 ]]; then
		[[ $bad -ne 0 ]] || failed=$((failed + 1))
		tail -n 60 "$log"
	fi
}

# The shared library exports what its version script lists, and asks for nothing but the C library.
exports_match() {
	local exported listed
	exported=$(nm -D --defined-only "$library/libquarry.so.1" |
		sed -n 's/.* T \(.*\)@@QUARRY_1$/\1/p' | sort)
	listed=$(sed -n 's/^\t\(quarry_[a-z_]*\);$/\1/p' tools/libquarry/libquarry.map | sort)
	[[ -n $listed && $exported == "$listed" ]]
}

needs_only_libc() {
	[[ $(readelf -d "$library/libquarry.so.1" | grep NEEDED) =~ ^[^[]*\[libc\.so\.6\]$ ]]
}

compiles() { # HEADER COMPILER FLAGS...
	local header=$1
	shift
	echo "#include <quarry/$header>" | "$@" -Iuapi -Itools/libquarry/include -Wall -Wextra \
		-Wpedantic -Werror -fsyntax-only -
}

check_library() {
	local std
	expect "the exports are those of libquarry.map" exports_match
	expect "the shared library needs libc alone" needs_only_libc
	for std in gnu99 c11 gnu17; do
		expect "quarry.h in $std" compiles quarry.h gcc -x c "-std=$std"
	done
	expect "quarry.hpp in C++20" compiles quarry.hpp g++ -x c++ -std=c++20 -fno-exceptions -fno-rtti
}

wanted=$(expected)
[[ $wanted -gt 0 ]] || {
	echo "no test matches '$filter'"
	exit 1
}
run_variant plain "$wanted"
run_variant asan "$wanted"
if [[ $filter == '*' ]]; then
	check_library
fi
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
