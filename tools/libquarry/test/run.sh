#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the unit tests of libquarry and quarryctl, plain and under sanitizers, checks the libraries and the
# command line, and counts.
#   tools/libquarry/test/run.sh TEST_FOLDER LIBRARY_FOLDER QUARRYCTL FILTER
set -euo pipefail

tests=$1
library=$2
ctl=$3
filter=$4
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

# Every test that PROGRAM lists under the filter must be seen to pass: one that did not run failed.
# MODE: `magazines`; `calls`, a kernel without them; `rseq=0`, a process without rseq. In the last two
# a test that is about magazines may say that it is skipped.
run_program() { # VARIANT PROGRAM MODE
	local name="$2, $1, $3" program=$tests/$1/$2 log=$tests/$1/$2.$3.log wanted ok skipped status=0
	local setting=QUARRY_TEST_MAGAZINES=1
	case $3 in
	calls) setting=QUARRY_TEST_MAGAZINES=0 ;;
	rseq=0) setting=GLIBC_TUNABLES=glibc.pthread.rseq=0 ;;
	esac
	wanted=$("$program" --gtest_list_tests --gtest_filter="$filter" | grep -c '^  ' || true)
	selected=$((selected + wanted))
	[[ $wanted -gt 0 ]] || return 0
	timeout 300 env "$setting" "$program" --gtest_filter="$filter" --gtest_color=no >"$log" 2>&1 || status=$?
	ok=$(grep -c '^\[       OK \]' "$log" || true)
	skipped=$(grep -c '^\[  SKIPPED \].* ms)$' "$log" || true)
	[[ $3 != magazines ]] || skipped=0
	passed=$((passed + ok))
	failed=$((failed + wanted - ok - skipped))
	echo "$name: $ok of $wanted tests passed, $skipped without a meaning here"
	if [[ $((ok + skipped)) -ne $wanted || $status -ne 0 ]]; then
		[[ $((ok + skipped)) -ne $wanted ]] || failed=$((failed + 1))
		# What a sanitizer says may stand far above the end.
		grep -a -A 60 -E 'WARNING: ThreadSanitizer|ERROR: AddressSanitizer|runtime error:' "$log" | head -n 120 || true
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

# Every sequence of the library and of a program is what the protocol allows, and as short as promised;
# one with a store too many is seen.
sequences_are_right() { # COMPILER
	local program=$tests/pair-$1 flags=(-O2 -Iuapi -Itools/libquarry/include)
	"$1" "${flags[@]}" -c tools/libquarry/test/pair.c -o "$program.o" &&
		gcc -static "$program.o" "$library/libquarry.a" -o "$program" || return 1
	if [[ $1 == gcc ]]; then
		python3 -B tools/libquarry/test/sequences.py "$program" "$program.o"
	else
		python3 -B tools/libquarry/test/sequences.py "$program"
	fi
}

a_planted_store_is_seen() {
	local program=$tests/pair-planted
	# shellcheck disable=SC2016 # the assembler's
	gcc -O2 '-DQUARRY_SEQUENCE_DELAY="movq $0, (%[pool])\n\t"' -Iuapi -Itools/libquarry/include \
		tools/libquarry/test/pair.c "$library/libquarry.a" -static -o "$program" || return 1
	! python3 -B tools/libquarry/test/sequences.py "$program" >/dev/null
}

# What the examples print, in this process.
containers_example() {
	[[ $("${ctl%/*}/containers" host: | tail -n 1) == 'another client adds them up: 500500' ]] &&
		[[ $("${ctl%/*}/shared_map" host:) == '12 squared is 144, also over there' ]]
}

check_library() {
	local std
	expect "the exports are those of libquarry.map" exports_match
	expect "the shared library needs libc alone" needs_only_libc
	for std in gnu99 c11 gnu17; do
		expect "quarry.h in $std" compiles quarry.h gcc -x c "-std=$std"
	done
	expect "the sequences of gcc" sequences_are_right gcc
	expect "the sequences of clang" sequences_are_right clang
	expect "a planted store" a_planted_store_is_seen
	expect "quarry.hpp in C++20" compiles quarry.hpp g++ -x c++ -std=c++20 -fno-exceptions -fno-rtti
	expect "memory.hpp in C++20" compiles memory.hpp g++ -x c++ -std=c++20 -fno-exceptions -fno-rtti
	expect "memory.hpp with clang" compiles memory.hpp clang++ -x c++ -std=c++20 -O2
	expect "the examples of containers" containers_example
}

# The command line's own script counts by itself; a closing line that is missing is a failure.
check_command_line() {
	local output
	output=$(tools/quarryctl/test/cli.sh "$ctl" 2>&1) || true
	echo "$output"
	if [[ $output =~ cli:\ ([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
		passed=$((passed + BASH_REMATCH[1]))
		failed=$((failed + BASH_REMATCH[2]))
	else
		failed=$((failed + 1))
	fi
}

selected=0
for variant in plain asan tsan; do
	for mode in magazines calls rseq=0; do
		run_program $variant libquarry-test $mode
	done
	# Its plants are in calls.
	run_program $variant replay-test calls
done
[[ $selected -gt 0 ]] || {
	echo "no test matches '$filter'"
	exit 1
}
if [[ $filter == '*' ]]; then
	check_library
	check_command_line
fi
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
