#!/bin/bash
# SPDX-License-Identifier: MIT
# Sees `make run` fail: each fault is planted in a short run, which has to end with another status
# than 0 and name it. Last line: N passed, N failed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
out=$root/build/vm/run-faults
passed=0 failed=0
mkdir -p "$out"

# plant FAULT REASON: the run fails with a line that matches
plant() {
	local status=0
	"$here/run.sh" --fault "$1" --events 12000 --out "$out/$1" \
		>"$out/$1.log" 2>&1 || status=$?
	if [[ $2 == - ]]; then
		if ((status == 0)) && ! grep -q '^FAIL: ' "$out/$1.log"; then
			echo "ok   no fault: the run ends with 0"
			passed=$((passed + 1))
			return
		fi
	elif ((status)) && grep -qE "^FAIL: .*$2" "$out/$1.log"; then
		echo "ok   $1: $(grep -m1 -E "^FAIL: .*$2" "$out/$1.log")"
		passed=$((passed + 1))
		return
	fi
	echo "FAIL $1: status $status, and no line 'FAIL: ...$2' (build/vm/run-faults/$1.log)"
	tail -n 20 "$out/$1.log" | sed 's/^/    /'
	failed=$((failed + 1))
}

plant none -
plant pattern 'perl: [0-9]+ mismatches: .*pattern is gone'
plant log 'the kernel log has complaints'
plant leak 'leak: at the end the pool counts [1-9][0-9]* objects'
plant count 'objects granted: by the programs [0-9]+, by STAT'
plant bpftrace 'latency.bt printed no histogram'
echo "$passed passed, $failed failed"
((failed == 0))
