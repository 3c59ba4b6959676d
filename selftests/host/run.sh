#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Builds and runs the host tests and counts them: run.sh [VARIANT] [FILTER]; run.sh --list.
#
#   VARIANT  plain, asan or tsan; empty for all three
#   FILTER   runs the tests whose name contains it (or a GoogleTest pattern with * or ?)
#
# Every name in expected.list must have run and passed in each variant (with a filter: every
# name that it selects), and no test may run that the list does not name. So a test, or a
# whole program, that vanishes or dies is a failure. The last line is `N passed, N failed`.
set -euo pipefail

here=$(dirname "${BASH_SOURCE[0]}")
build=build/host
seconds=900 # for one program

names_of() { # PROGRAM: the full name of each test in it
	"$1" --gtest_list_tests | awk '/^[^ ]/ {suite = $1} /^  / {print suite $1}'
}

programs() { # VARIANT
	local source
	for source in "$here"/*_test.cpp; do
		echo "$build/$1/$(basename "$source" .cpp)"
	done
}

list() {
	local program
	for program in $(programs plain); do names_of "$program"; done | LC_ALL=C sort
}

# One line `result name` for each test in a GoogleTest XML file.
results_of() { # FILE
	awk '
		function attribute(name,   s) {
			if (!match($0, " " name "=\"[^\"]*\"")) return ""
			s = substr($0, RSTART, RLENGTH)
			sub("^ " name "=\"", "", s)
			return substr(s, 1, length(s) - 1)
		}
		function flush() { if (test != "") print result, test; test = "" }
		/<testcase / {
			flush()
			test = attribute("classname") "." attribute("name")
			result = attribute("result") == "completed" ? "passed" : "skipped"
			if (attribute("status") != "run") test = ""
		}
		/<failure/ { result = "failed" }
		END { flush() }' "$1"
}

# Leaves the results in $build/VARIANT/results, and in `broken` how many programs failed
# although each of their tests passed.
run_variant() { # VARIANT FILTER
	local variant=$1 filter=$2 program
	broken=0
	local results=$build/$variant/results
	: >"$results"
	if ! make --no-print-directory -k -j2 "host-$variant" >"$build/$variant.log" 2>&1; then
		echo "host: $variant does not build ($build/$variant.log):"
		grep -m 10 -E 'error|Error' "$build/$variant.log" || tail -n 10 "$build/$variant.log"
	fi
	# As many programs at a time as there are CPUs; what each has to say is said in order.
	local running=0
	for program in $(programs "$variant"); do
		rm -f "$program.xml" "$program.said" "$program.status"
		[[ -x $program ]] || continue
		[[ $filter == '*' ]] || names_of "$program" | grep -qE "$regex" || continue
		if ((running == $(nproc))); then
			wait -n || true
			running=$((running - 1))
		fi
		run_program "$program" "$filter" &
		running=$((running + 1))
	done
	wait
	for program in $(programs "$variant"); do
		[[ -e $program.status ]] || continue
		cat "$program.said"
		: >"$program.results"
		if [[ -f $program.xml ]]; then results_of "$program.xml" >"$program.results"; fi
		cat "$program.results" >>"$results"
		# A sanitizer's report or a crash after the last test: no test says it, so the program does.
		if [[ $(<"$program.status") -ne 0 ]] && ! grep -q '^failed ' "$program.results"; then
			broken=$((broken + 1))
		fi
	done
}

run_program() { # PROGRAM FILTER: leaves PROGRAM.xml, .log, .status and what to say in .said
	local program=$1 status=0
	timeout "$seconds" "$program" --gtest_brief=1 --gtest_filter="$2" \
		--gtest_output="xml:$program.xml" >"$program.log" 2>&1 || status=$?
	if [[ $status -ne 0 ]]; then
		echo "host: $program: exit $status ($program.log)"
		grep -E '^(\[  FAILED|.*(Failure|ERROR|WARNING|host platform))' "$program.log" |
			head -n 20 || true
		tail -n 15 "$program.log" | sed 's/^/    /'
	fi >"$program.said"
	echo "$status" >"$program.status"
}

# Sees this runner fail on a program that reports something after its last test, as a
# sanitizer does: with QUARRY_HOST_PLANT set, a program exits with 66 when its tests have passed.
sees_a_late_report() {
	local out
	if out=$(QUARRY_HOST_PLANT=1 "${BASH_SOURCE[0]}" plain HostPlatform); then return 1; fi
	grep -qE '^[1-9][0-9]* passed, 1 failed$' <<<"$out"
}

# A short run of a fuzzer from nothing finds no fault, and in a second one a planted one.
fuzzes() { # NAME
	local program=$build/fuzz_$1 log=$build/fuzz_$1.log
	make --no-print-directory "$program" >"$log" 2>&1 || return 1
	(cd "$build" && "./fuzz_$1" -max_total_time=6 -max_len=512 -len_control=0 -print_final_stats=1) >>"$log" 2>&1 || return 1
	grep -qE '^stat::number_of_executed_units: [1-9][0-9]{2}' "$log" || return 1
	if (cd "$build" && QUARRY_FUZZ_PLANT=1 "./fuzz_$1" -max_total_time=60 -max_len=512 -len_control=0) >"$log.planted" 2>&1; then
		return 1
	fi
	grep -q 'a planted fault' "$log.planted" && rm -f "$build"/crash-*
}

# What a filter selects, as an extended regular expression over full names.
to_regex() { # PATTERN
	local p=${1//./\\.}
	p=${p//\*/.*}
	echo "^${p//\?/.}\$"
}

main() {
	if [[ ${1:-} == --list ]]; then
		list
		return
	fi
	local variants=${1:-plain asan tsan} filter=${2:-} variant
	[[ -n $filter ]] || filter='*'
	[[ $filter == *[*?]* ]] || filter="*$filter*"
	regex=$(to_regex "$filter")
	mkdir -p "$build"
	local expected=$build/expected passed=0 failed=0 skipped=0
	grep -E "$regex" "$here/expected.list" | LC_ALL=C sort >"$expected" || true
	if [[ ! -s $expected ]]; then
		echo "host: no test in expected.list matches '$filter'"
		echo "0 passed, 1 failed"
		return 1
	fi
	for variant in $variants; do
		case $variant in plain | asan | tsan) ;; *)
			echo "host: no variant '$variant'"
			echo "0 passed, 1 failed"
			return 1
			;;
		esac
		local start=$SECONDS good bad lost new
		mkdir -p "$build/$variant"
		run_variant "$variant" "$filter"
		local results=$build/$variant/results
		good=$(grep -c '^passed ' "$results" || true)
		bad=$(($(grep -c '^failed ' "$results" || true) + broken))
		skipped=$((skipped + $(grep -c '^skipped ' "$results" || true)))
		awk '{print $2}' "$results" | LC_ALL=C sort >"$results.names"
		lost=$(LC_ALL=C comm -23 "$expected" "$results.names")
		new=$(LC_ALL=C comm -13 "$expected" "$results.names")
		if [[ -n $lost ]]; then
			echo "host: $variant: expected, but did not run to its end:"
			# shellcheck disable=SC2086 # one name a word
			printf '    %s\n' $lost
			bad=$((bad + $(wc -l <<<"$lost")))
		fi
		if [[ -n $new ]]; then
			echo "host: $variant: not in expected.list (make host-expected):"
			# shellcheck disable=SC2086 # one name a word
			printf '    %s\n' $new
			bad=$((bad + $(wc -l <<<"$new")))
			good=$((good - $(awk '{print "passed", $1}' <<<"$new" | grep -cxFf - "$results" || true)))
		fi
		printf 'host: %-6s %5d passed %4d failed %5d s\n' "$variant" "$good" "$bad" $((SECONDS - start))
		passed=$((passed + good))
		failed=$((failed + bad))
	done
	if [[ $filter == '*' ]]; then
		if sees_a_late_report; then
			passed=$((passed + 1))
		else
			echo "host: a program that fails after its last test is not counted"
			failed=$((failed + 1))
		fi
		local name
		for name in buddy range; do
			if fuzzes "$name"; then
				passed=$((passed + 1))
			else
				echo "host: fuzz_$name finds a fault, or not the planted one ($build/fuzz_$name.log):"
				tail -n 20 "$build/fuzz_$name.log" | sed 's/^/    /'
				failed=$((failed + 1))
			fi
		done
	fi
	[[ $skipped -eq 0 ]] || echo "$skipped skipped"
	echo "$passed passed, $failed failed"
	[[ $failed -eq 0 && $passed -gt 0 ]]
}

main "$@"
