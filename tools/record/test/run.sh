#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the recorder's tests and fuzzer and counts: tools/record/test/run.sh BUILD TRACES [FILTER]
set -euo pipefail

build=$(cd "$1" && pwd)
RECORD_TRACES=$(cd "$2" && pwd)
filter=${3:-*}
bin=$build/test
fuzz_seconds=${FUZZ_SECONDS:-10}
export RECORD_TRACES RECORD_BUILD=$build RECORD_TEST_BIN=$bin
passed=0
failed=0

verdict() { # NAME STATUS
	if [[ $2 -eq 0 ]]; then
		passed=$((passed + 1))
		echo "[       OK ] $1"
	else
		failed=$((failed + 1))
		echo "[  FAILED  ] $1"
	fi
}

# A variant that runs fewer tests than it lists has failed.
unit_tests() { # VARIANT FILTER
	local log=$bin/$1.log wanted ok status=0
	wanted=$("$bin/$1" --gtest_list_tests --gtest_filter="$2" | grep -c '^  ' || true)
	timeout 300 "$bin/$1" --gtest_filter="$2" --gtest_color=no >"$log" 2>&1 || status=$?
	ok=$(grep -c '^\[       OK \]' "$log" || true)
	passed=$((passed + ok))
	failed=$((failed + wanted - ok))
	echo "record, $1: $ok of $wanted tests passed"
	grep '^recorder:' "$log" || true
	if [[ $ok -ne $wanted || $status -ne 0 ]]; then
		[[ $ok -ne $wanted ]] || failed=$((failed + 1))
		tail -n 80 "$log"
	fi
}

# Seeds: the traces of small programs, and cut and damaged ones.
seeds() {
	local folder=$1 mode file
	mkdir -p "$folder"
	for mode in exact 'fork library' 'exec execl' 'end abort' successive; do
		# shellcheck disable=SC2086 # a mode and its argument
		(QUARRY_TRACE_DIR=$folder LD_PRELOAD=$build/libquarry-record.so "$bin/victim" $mode || true) \
			>/dev/null 2>&1
	done
	for file in "$folder"/*.qtrace; do
		head -c 400 "$file" >"$file.cut"
		[[ $(stat -c %s "$file") -lt 20000 ]] || rm "$file"
	done
}

fuzz() {
	local work status=0 log=$bin/fuzz.log
	work=$(mktemp -d)
	seeds "$work/seeds"
	mkdir "$work/corpus"
	(cd "$work" && "$bin/fuzz_reader" -max_total_time="$fuzz_seconds" -max_len=16384 -timeout=5 \
		-rss_limit_mb=1024 -print_final_stats=1 corpus seeds) >"$log" 2>&1 || status=$?
	if [[ $status -ne 0 ]]; then
		tail -n 40 "$log"
		cp "$work"/crash-* "$bin/" 2>/dev/null || true
	fi
	grep -E '^stat::number_of_executed_units|^stat::new_units_added' "$log" || status=1
	verdict "fuzz: $fuzz_seconds s of any bytes into the reader" "$status"
	# The fuzzer must be able to see a fault at all: the reader with one planted in it.
	status=0
	(cd "$work" && "$bin/fuzz_planted" -runs=200000 -max_total_time=60 -max_len=16384 -rss_limit_mb=1024 seeds) \
		>"$bin/planted.log" 2>&1 || status=$?
	[[ $status -ne 0 ]] && grep -q 'broken promise' "$bin/planted.log" && status=0 || status=1
	verdict 'fuzz: a planted fault is found' "$status"
	rm -rf "$work"
}

unit_tests record-test "$filter"
if [[ $filter == '*' ]]; then
	unit_tests record-test-asan 'Reader.*:Codec.*'
	fuzz
	status=0
	before=$(stat -c %y "$RECORD_TRACES"/*.qtrace)
	make --no-print-directory -s traces >/dev/null 2>&1 || status=1
	[[ $before == "$(stat -c %y "$RECORD_TRACES"/*.qtrace)" ]] || status=1
	verdict 'make traces: what is up to date is not recorded again' "$status"
fi
echo "$passed passed, $failed failed"
[[ $failed -eq 0 && $passed -gt 0 ]]
