#!/bin/bash
# SPDX-License-Identifier: MIT
# quarryctl's command line without a device: exit statuses, texts, and the debugfs reader on a
# folder of this test's own. Prints a line a failure, and last "cli: N passed, N failed".
#   tools/quarryctl/test/cli.sh QUARRYCTL
set -euo pipefail

ctl=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
unset QUARRY_POOL_FD

# expect STATUS PATTERN ARGUMENT...: the status, and a line of output (either stream) that matches.
expect() {
	local wanted=$1 pattern=$2 status=0 output
	shift 2
	output=$("$ctl" "$@" 2>&1) || status=$?
	if [[ $status -eq $wanted ]] && grep -qE -- "$pattern" <<<"$output"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: quarryctl $*: status $status (not $wanted), or no line like '$pattern' in:"
		echo "$output"
	fi
}

# The files of module/debugfs.c.
pool() { # ID NAME FAULTS FIRST
	mkdir -p "$work/$1"
	printf 'pool_id: %s\nname: %s\nkind: heap\nclients: 2\nbytes: 1048576\nused_bytes: 4096\nmax_bytes: 2097152\nobjects: 64\nclass_64: slabs=1 live=64 free=64\n' \
		"$1" "$2" >"$work/$1/stat"
	printf 'verify: x\nfaults: %s\nfirst: %s\nobjects: 64\n' "$3" "${4:-none}" >"$work/$1/verify"
	printf 'client_3: pid=12 state=connected creator=1 objects=64 bytes=4096\n' >"$work/$1/clients"
	: >"$work/$1/map"
}

expect 0 '^  create ' --help
expect 2 'Usage:'
expect 2 "no subcommand 'nonsense'" nonsense
for subcommand in info create list stat verify replay attack; do
	expect 0 '^Examples:' "$subcommand" --help
	expect 0 'Exit status:' "$subcommand" --help
	expect 2 'unrecognized option' "$subcommand" --nonsense
done

expect 2 'which command' create
expect 2 'no size' create --bytes 12Q -- true
expect 2 'no size' create --bytes 99999999999G -- true
expect 2 'heap, fixed or range' create --kind round -- true
expect 2 'takes --object-size' create --kind fixed -- true
expect 2 'of --kind fixed' create --object-size 64 -- true
expect 2 'of --kind heap' create --kind fixed --object-size 8 --count 8 --bytes 1M -- true
expect 2 'no NUMA node' create --node 99999999999 -- true
expect 4 'QUARRY_POOL_FD is not set' attack
expect 2 'no number' attack --seconds x
expect 2 'takes no arguments' attack x
expect 2 'which TRACE' replay
expect 2 'takes --mesh' replay --hand-to b x
expect 2 'a fraction' replay --kill-me-at 2 x
expect 2 '1 to 4096' replay --batch 5000 x
expect 5 'nonexistent' replay /nonexistent/trace

if [[ ! -e /dev/quarry ]]; then
	expect 3 'load the module' info
	expect 125 'load the module' create -- true
fi

export QUARRY_DEBUGFS=$work
expect 0 '^ID +NAME ' list
expect 0 '^\[\]$' list --json
expect 4 'there is no pool' stat
expect 0 'ok \(0 pools\)' verify
pool 7 cache 0
expect 0 '^used_bytes: 4096$' stat
expect 0 '^used_bytes: 4096$' stat cache
expect 0 '"used_bytes": 4096' stat --json 7
expect 0 '"live": 64' stat --json 7
expect 0 '^    objects: 64$' stat 7 --clients --map
expect 0 '"region_list": \{\}' stat 7 --map --json
expect 4 "no pool 'other'" stat other
expect 0 '^7 +cache +heap .* 1.0 MiB .* 4.0 KiB ' list
expect 0 'verify: ok \(1 pool\)' verify
pool 11 cache 3 'a slot is nobody'
expect 4 '2 pools are alive' stat
expect 4 '2 pools go by that name' stat cache
expect 0 '^pool_id: 11$' stat 11
expect 1 '^11: 3 faults$' verify
expect 4 'alive: say which one of 7 11' stat
expect 1 'a slot is nobody' verify --json
expect 0 'ok \(1 pool\)' verify 7
echo garbage >"$work/7/verify"
expect 5 'nothing could be read' verify 7
rm "$work/7/stat"
expect 4 'ended meanwhile' stat 7
export QUARRY_DEBUGFS=$work/nowhere
expect 3 'load the module' list
export QUARRY_POOL_FD=0
expect 5 'no Quarry device' stat
export QUARRY_POOL_FD=zero
expect 5 'not a descriptor' stat

echo "cli: $passed passed, $failed failed"
[[ $failed -eq 0 ]]
