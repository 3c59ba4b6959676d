#!/bin/bash
# SPDX-License-Identifier: MIT
# The part of `make run` inside the virtual machine: module, pool, programs, kill, attack, audit.
#
#   selftests/vm/run/guest.sh        by run.sh, through vm.sh; /run/share takes the results
#
# It starts itself again in stages, each the command of the one before, so that both bpftraces are
# attached before the pool is made and print after it has ended:
#   (none) insmod, bpftrace account.bt -> latency: bpftrace latency.bt -> pool: quarryctl create ->
#   programs: the replays, the kill and the attack, under the pool
# What went wrong is a line in /run/share/failures; what was counted, files beside it. RUN_FAULT
# plants a fault (run.sh --help).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
ctl=$root/build/tools/quarryctl
out=/run/share
names=(cc1plus perl sqlite3 git)
victim=git
fault=${RUN_FAULT:-none}

say() { printf '  [%5.1f s] %s\n' "$(uptime_since)" "$*" >&3; }
uptime_since() { awk -v began="$RUN_BEGAN" '{ print $1 - began }' /proc/uptime; }
fail() { echo "$*" >>"$out/failures"; }

# Waits up to $1 seconds until the other words succeed as a command.
within() {
	local try limit=$1
	shift
	for ((try = 0; try < limit * 5; try++)); do
		! "$@" || return 0
		sleep 0.2
	done
	return 1
}

# shellcheck disable=SC2317,SC2329 # called by within
is_stopped() { [[ $(sed 's/.*) //; s/ .*//' "/proc/$1/stat") == T ]]; }

stop() {
	local pid
	kill -STOP "$@"
	for pid; do
		within 10 is_stopped "$pid" || fail "process $pid does not stop"
	done
}

replay() { # NAME OPTION...
	local name=$1 peer
	local -a hand=()
	shift
	for peer in "${names[@]}"; do [[ $peer == "$name" ]] || hand+=(--hand-to "$peer"); done
	# One object a call, as the programs did: each from a magazine, if it is of a size that they hold.
	exec "$ctl" replay --pattern --batch 1 --events "$RUN_EVENTS" --mesh /tmp/mesh --name "$name" \
		"${hand[@]}" --hand-each 32 --report "$out/$name.json" "$@" \
		"$root/build/traces/$name.qtrace"
}

# The victim stops in the middle of its work, and the others, so that nobody hands it an object
# between the count of what it owns and its death; the attacker goes on.
kill_victim() {
	local pid=${pids[$victim]} status=0 name playing=0
	local -a others=()
	# Its first line wakes this shell at once; its end, too.
	if ! IFS= read -r -t 60 _ <&4; then
		fail "$victim never came to the middle of its trace: $(tail -n 1 "$out/$victim.err")"
		return
	fi
	for name in "${names[@]}"; do [[ $name == "$victim" ]] || others+=("${pids[$name]}"); done
	stop "$pid" "${others[@]}"
	for name in "${names[@]}"; do [[ -e /tmp/mesh/$name.done ]] || playing=$((playing + 1)); done
	((playing > 1)) || fail "the others had already played their traces when $victim was killed"
	kill -0 "$attacker" 2>/dev/null || fail "the attacker had ended before the kill"
	"$ctl" stat run --clients --json >"$out/census.json"
	kill -KILL "$pid"
	wait "$pid" || status=$?
	# The first thing after waitpid: by then everything has to be back.
	"$ctl" stat run --clients --json >"$out/dead.json"
	kill -CONT "${others[@]}"
	((status == 137)) || fail "$victim ended with status $status, not by SIGKILL"
	say "$victim killed in the middle of its trace; $((playing - 1)) of 3 others still in theirs"
}

programs() {
	local name status
	local -A pids=()
	mkdir /tmp/mesh  # 9p holds no sockets
	mkfifo /tmp/mark
	"$ctl" stat --json >"$out/before.json"
	"$ctl" attack --seconds 200 --json >"$out/attack.json" 2>"$out/attack.out" &
	attacker=$!
	for name in "${names[@]}"; do
		local -a more=()
		[[ $name != "$victim" ]] || more=(--kill-me-at 0.2)
		[[ $name/$fault != perl/pattern ]] || more=(--spoil 100)
		if [[ $name == "$victim" ]]; then
			(replay "$name" "${more[@]}" >/tmp/mark 2>"$out/$name.err") &
		else
			(replay "$name" "${more[@]}" >"$out/$name.out" 2>&1) &
		fi
		pids[$name]=$!
	done
	exec 4</tmp/mark
	say "four programs replay their traces in one pool, a fifth attacks"
	kill_victim
	for name in "${names[@]}"; do
		[[ $name != "$victim" ]] || continue
		status=0
		wait "${pids[$name]}" || status=$?
		((status == 0)) || fail "$name ended with status $status: $(head -n 3 "$out/$name.out")"
	done
	say "cc1plus, perl and sqlite3 are done"
	kill -TERM "$attacker"
	status=0
	wait "$attacker" || status=$?
	((status == 0)) || fail "the attacker ended with status $status: $(head -n 3 "$out/attack.out")"
	if [[ $fault == leak || $fault == count ]]; then
		"$ctl" replay --events 500 --kill-me-at 0.5 "$root/build/traces/perl.qtrace" \
			>"$out/extra.out" 2>&1 &
		within 20 grep -q '^at ' "$out/extra.out"
		stop $!
		if [[ $fault == count ]]; then
			kill -KILL $!
			wait $! || true
		fi
	fi
	"$ctl" stat --json >"$out/end.json"
	"$ctl" verify >"$out/verify" 2>&1 || fail "verify: $(head -n 5 "$out/verify")"
	[[ $fault != leak ]] || kill -KILL $!
	say "$(<"$out/verify")"
}

stage_pool() {
	local status=0
	"$ctl" create --name run --bytes 8M --max 128M -- "$0" programs || status=$?
	((status == 0)) || fail "the pool's command ended with status $status"
	echo "$status" >"$out/pool.status"
}

unload() {
	local left
	rmmod quarry || fail "the module does not unload"
	for left in /sys/module/quarry /dev/quarry /sys/kernel/debug/quarry; do
		[[ ! -e $left ]] || fail "$left is still there without the module"
	done
	left=$(find /sys/kernel/slab -maxdepth 1 -name '*quarry*' -printf '%f ')
	[[ -z $left ]] || fail "slab caches are still there without the module: $left"
	# Areas whose maker is an address and no symbol were made by the module that has gone.
	left=$(awk '$3 ~ /^0x/' /proc/vmallocinfo)
	[[ -z $left ]] || fail "vmalloc areas are still there without the module: $left"
}

main() {
	local uptime
	exec 3>&1
	read -r uptime _ </proc/uptime
	export RUN_BEGAN=$uptime
	: >"$out/failures"
	insmod "$root/build/module/6.1/quarry.ko"
	say "Linux $(uname -r) is up, quarry.ko loaded"
	bpftrace -f json -o "$out/account.json" "$here/account.bt" -c "/bin/bash $0 latency" >"$out/bpf.out" 2>&1 ||
		fail "bpftrace account.bt: $(tail -n 3 "$out/bpf.out")"
	[[ -s $out/pool.status ]] || fail "no pool was made: $(tail -n 3 "$out/bpf.out")"
	[[ $fault != log ]] || echo '<4>WARNING: a planted one' >/dev/kmsg
	unload
	[[ -s $out/failures ]] || say "module unloaded, nothing of it is left"
}

cd "$root"
case ${1:-main} in
main) main ;;
latency)
	script=$root/tools/bpf/latency.bt
	if [[ $fault == bpftrace ]]; then
		exec /bin/bash "$0" pool
	fi
	exec bpftrace -o "$out/latency" "$script" -c "/bin/bash $0 pool"
	;;
pool) stage_pool ;;
programs) programs ;;
esac
