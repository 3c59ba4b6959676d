#!/bin/bash
# SPDX-License-Identifier: MIT
# quarryctl, libquarry's device tests, the example and the bpftrace scripts on the real device. As
# root, with the module loaded. Prints a line a failure, and last "device: N passed, N failed".
#   tools/quarryctl/test/device.sh BUILD_TOOLS TRACE...
# BUILD_TOOLS: where `make tools` put its programs. Without bpftrace its part fails, not skips.
# PARTS="together scripts" runs these alone.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bpf=$here/../../bpf
tools=$(cd "$1" && pwd)
shift
traces=("$@")
[[ ${#traces[@]} -gt 0 ]] || {
	echo "device: no traces given"
	exit 1
}
ctl=$tools/quarryctl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

ok() {
	passed=$((passed + 1))
}

bad() { # WHAT [FILE]
	failed=$((failed + 1))
	echo "FAILED: $1"
	[[ $# -lt 2 ]] || sed 's/^/    /' "$2"
}

# expect STATUS PATTERN COMMAND...; no PATTERN: any output
expect() {
	local wanted=$1 pattern=$2 status=0
	shift 2
	"$@" >"$work/out" 2>&1 || status=$?
	if [[ $status -eq $wanted ]] && { [[ -z $pattern ]] || grep -qE -- "$pattern" "$work/out"; }; then
		ok
	else
		bad "$*: status $status (not $wanted), or no line like '$pattern'" "$work/out"
	fi
}

check() { # WHAT TEST_ARGUMENT...
	local what=$1
	shift
	if test "$@"; then ok; else bad "$what"; fi
}

field() { # KEY FILE: the number in a JSON report
	sed -n "s/^ *\"$1\": \([0-9.]*\),\{0,1\}$/\1/p" "$2" | head -n 1
}

device_test() { # VARIABLE=VALUE...
	local status=0 wanted seen
	wanted=$("$tools/test/device-test" --gtest_list_tests | grep -c '^  ')
	env "$@" "$tools/test/device-test" >"$work/out" 2>&1 || status=$?
	seen=$(grep -c '^\[       OK \]' "$work/out" || true)
	passed=$((passed + seen))
	if [[ $status -ne 0 || $seen -ne $wanted ]]; then
		failed=$((failed + wanted - seen + (seen == wanted)))
		tail -n 60 "$work/out"
	fi
}

# With magazines in user space, and by calls alone.
libquarry() {
	device_test
	device_test GLIBC_TUNABLES=glibc.pthread.rseq=0
	expect 0 'freed twice: the object is free already' "$tools/ten_lines"
}

# Two subscribers read all that a third one shares until it is killed; nothing is left of any.
publish_and_subscribe() {
	local socket=$work/socket publisher victim subscriber status=0
	local -a subscribers=()
	"$tools/publish" "$socket" 3 400 >"$work/published" 2>&1 &
	publisher=$!
	for subscriber in 1 2; do
		"$tools/subscribe" "$socket" 400 >"$work/subscriber$subscriber" 2>&1 &
		subscribers+=($!)
	done
	"$tools/subscribe" "$socket" 100000 >"$work/victim" 2>&1 &
	victim=$!
	for ((i = 0; i < 200; i++)); do
		! grep -q "^message 1 of" "$work/victim" || break
		sleep 0.05
	done
	kill -KILL "$victim"
	for subscriber in 1 2; do
		wait "${subscribers[subscriber - 1]}" || status=$?
		expect 0 '^read 400$' cat "$work/subscriber$subscriber"
	done
	wait "$publisher" || status=$?
	check "publisher and subscribers end well" "$status" = 0
	expect 0 '^published 400, .*subscribers left 0, objects left 0, shares 0$' cat "$work/published"
	wait "$victim" 2>/dev/null || true
	expect 2 '^usage: publish' "$tools/publish"
	expect 2 '^usage: subscribe' "$tools/subscribe"
}

command_line() {
	expect 0 '^max_batch: 4096$' "$ctl" info
	expect 0 '"abi_version": 1' "$ctl" info --json
	expect 7 '' "$ctl" create -- sh -c 'exit 7'
	expect 143 '' "$ctl" create -- sh -c 'kill -TERM $$; sleep 5'
	expect 127 'cannot run' "$ctl" create -- /nonexistent/command
	expect 126 'cannot run' "$ctl" create -- /etc/passwd
	expect 125 'error|larger|ask for less|memory' "$ctl" create --bytes 64G -- true
	expect 0 '^name: cache$' "$ctl" create --name cache --bytes 1M --max 2M -- "$ctl" stat
	expect 0 '^clients: 1$' "$ctl" create -- "$ctl" stat
	expect 0 '^kind: fixed$' "$ctl" create --kind fixed --object-size 64 --count 100 -- "$ctl" stat
	expect 0 ' cache +heap +1 ' "$ctl" create --name cache -- "$ctl" list
	expect 0 'verify: ok \(1 pool\)' "$ctl" create --name cache -- "$ctl" verify cache
	expect 0 '^region_list:$' "$ctl" create --name cache -- "$ctl" stat cache --clients --map
	expect 125 'has this name' "$ctl" create --name a -- "$ctl" create --name a -- true
	# A signal to quarryctl reaches the command, and the pool ends with it.
	"$ctl" create --name long -- sleep 60 &
	local long=$! status=0
	sleep 1
	expect 0 '^clients: 1$' "$ctl" stat long
	kill -TERM "$long"
	wait "$long" || status=$?
	check "a signal is passed on" "$status" = 143
	expect 4 'there is no pool' "$ctl" stat
}

attacks() {
	expect 0 '^refused: [1-9]' "$ctl" create --bytes 8M -- "$ctl" attack --seconds 3
	expect 0 '^refused: [1-9]' "$ctl" create --kind fixed --object-size 128 --count 500 -- \
		"$ctl" attack --count 5000 --seed 7
}

replays() {
	local trace
	for trace in "${traces[@]}"; do
		expect 0 '^mismatches: 0$' "$ctl" create --bytes 4M --max 512M -- \
			"$ctl" replay --pattern "$trace"
		echo "$(basename "$trace"): $(grep -E '^(objects|calls_per_object|seconds):' "$work/out" |
			tr '\n' ' ')"
	done
	expect 0 '^mismatches: 0$' "$ctl" create --bytes 4M --max 512M -- \
		"$ctl" replay --pattern --threads "${traces[0]}"
}

# Four processes, one of them killed in the middle, one attacker.
together() {
	expect 0 'verify: ok' "$ctl" create --bytes 8M --max 768M --name together -- \
		"$here/together.sh" "$ctl" "$work" "${traces[@]}"
	local name handed=0 received=0
	for name in a b c; do
		[[ -s $work/$name.json ]] || {
			bad "no report of $name" "$work/$name.out"
			continue
		}
		if [[ $(field mismatches "$work/$name.json") == 0 ]]; then
			ok
		else
			bad "mismatches in $name" <(head -n 12 "$work/$name.out")
		fi
		handed=$((handed + $(field handed "$work/$name.json")))
		received=$((received + $(field received "$work/$name.json")))
	done
	check "nothing was handed over" "$received" -gt 0
	check "the reaper took nothing" "$(field reaped_objects "$work/stat.json")" -gt 0
	check "bytes are left" "$(field used_bytes "$work/stat.json")" = 0
	echo "together: $handed handed, $received received, $(field reaped_objects "$work/stat.json") reaped"
}

scripts() {
	expect 0 '^@alloc_ns:' bpftrace "$bpf/latency.bt" -c "$ctl create -- $ctl replay ${traces[0]}"
	expect 0 'free, EALREADY, 114' bpftrace "$bpf/refused.bt" \
		-c "$ctl create -- $ctl attack --count 500"
	expect 0 '@reap_ns:' bpftrace "$bpf/reaps.bt" -c "$ctl create -- $ctl attack --count 500"
}

# shellcheck disable=SC2086 # words
for part in ${PARTS:-libquarry publish_and_subscribe command_line attacks replays together scripts}; do
	"$part"
done
echo "device: $passed passed, $failed failed"
[[ $failed -eq 0 ]]
