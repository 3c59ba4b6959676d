#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the test programs against the module, inside the guest (vm.sh).
#
#   selftests/vm/run-tests.sh [--module KO] [--parameters P] [--list FILE] [--programs DIR] [--sources DIR] [NAME...]
#
# Loads the module, runs each program of the list (or the named ones), unloads the module. A program
# speaks TAP; it passes only if all of this holds:
#   it is there; it ends by itself, with status 0, within its time; it prints one plan, and plan,
#   results and the list's number of cases agree; each result is `ok`, in order; there is no skip;
#   the kernel log has no complaint (kernel-log.sh); no process of it lives on; nothing holds the
#   module.
# Before and after: no source without an entry in the list, the module unloads, and then has left no
# device, slab cache, debugfs folder, vmalloc area or (beyond LEAK_KIB, the noise) memory behind.
# Anything else is a failure with its name on a line `FAIL name: why`. The last line is
# `N passed, N failed`: passed counts cases, failed counts cases and whatever else went wrong.
# shellcheck disable=SC2317,SC2329 # the conditions are called by settle
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=selftests/vm/kernel-log.sh
. "$here/kernel-log.sh"

# What a run without a leak may leave allocated in the kernel's own caches: 400 to 4300 KiB were seen.
readonly LEAK_KIB=6144

list=$here/tests.list programs=$root/build/vm/tests sources=$root/selftests/tests
module=$root/build/module/${KERNEL:-6.1}/quarry.ko
only=() parameters=() passed=0 failed=0 mark=0
work=$(mktemp -d)

fail() {
	echo "FAIL $1: $2"
	failed=$((failed + 1))
}

indent() { sed 's/^/    /' "$@"; }

# Each mark is a line of its own in the kernel log: what follows it belongs to what is tested now.
mark_log() {
	mark=$((mark + 1))
	echo "quarry-test $$.$mark: $1" >/dev/kmsg
}

check_log() {
	local complaints
	if ! dmesg | grep -qF "quarry-test $$.$mark: "; then
		fail "$1" "the kernel log has lost its mark"
	elif complaints=$(dmesg | sed "1,/quarry-test $$\\.$mark: /d" | kernel_log_complaints); then
		indent <<<"$complaints"
		fail "$1" "the kernel complained (above)"
	fi
}

# The programs of user space, by their ids; kernel threads have no command line.
user_processes() {
	local folder first
	for folder in /proc/[0-9]*; do
		first=''
		IFS= read -r -d '' first 2>/dev/null <"$folder/cmdline" || true
		[[ -z $first ]] || echo "${folder#/proc/}"
	done
}

# Waits up to two seconds for a condition: a command that succeeds.
settle() {
	local try
	for ((try = 0; try < 20; try++)); do
		! "$@" || return 0
		sleep 0.1
	done
	return 1
}

no_strangers() {
	strangers=()
	local pid
	for pid in $(user_processes); do
		[[ ${known[$pid]:-} || $pid == "$$" || ! -e /proc/$pid ]] || strangers+=("$pid")
	done
	# The subshell that looked has gone by now; only what is still there counts.
	for pid in "${!strangers[@]}"; do
		[[ -e /proc/${strangers[pid]} ]] || unset "strangers[pid]"
	done
	((${#strangers[@]} == 0))
}

module_idle() {
	[[ $(<"/sys/module/$name_of_module/refcnt") == 0 ]]
}

# Reads TAP from a file; prints `ok-count not-ok-count` and, on lines `why ...`, what is wrong with it.
judge_tap() {
	awk -v expected="$2" '
		/^1\.\.[0-9]+/ { plans++; split($0, part, /\.\./); plan = part[2] + 0; next }
		/^Bail out!/ { print "why it bailed out"; next }
		/^(not )?ok( |$)/ {
			bad = ($1 == "not")
			number = bad ? $3 : $2
			seen++
			if (number + 0 != seen) disorder = 1
			if (toupper($0) ~ /# *SKIP/) { skipped++; skips = skips " [" $0 "]" }
			else if (toupper($0) ~ /# *(TODO|XFAIL)/) { todo++ }
			else if (bad) { wrong++; print "case " $0 }
			else right++
		}
		END {
			if (!plans) print "why it printed no plan"
			if (plans > 1) print "why it printed " plans " plans"
			if (plans && plan != seen) print "why its plan says " plan " cases, it reported " seen + 0
			if (seen != expected) print "why the list expects " expected " cases, it reported " seen + 0
			if (disorder) print "why its results are out of order"
			if (skipped) print "why it skipped" skips
			if (todo) print "why it excuses " todo " cases (TODO or XFAIL)"
			print "count " right + 0 " " wrong + 0
		}' "$1"
}

run_program() {
	local name=$1 cases=$2 limit=$3 guarantee=$4 program status=0 kind rest before=$failed began good=0
	program=$programs/$name
	[[ $name != *.sh ]] || program=$sources/$name
	if [[ ! -x $program ]]; then
		fail "$name" "there is no such program ($program)"
		return
	fi
	mark_log "$name"
	local -A known=()
	local strangers=() pid
	for pid in $(user_processes); do
		known[$pid]=yes
	done
	began=$EPOCHSECONDS
	timeout -k 5 "$limit" "$program" >"$work/tap" 2>"$work/err" </dev/null || status=$?
	while read -r kind rest; do
		case $kind in
		why) fail "$name" "$rest" ;;
		case) fail "$name" "$rest" ;;
		count) good=${rest% *} ;;
		esac
	done < <(judge_tap "$work/tap" "$cases")
	passed=$((passed + good))
	if ((status == 124 || status == 137)) && ((EPOCHSECONDS - began >= limit)); then
		fail "$name" "it did not end within $limit s"
	elif ((status > 128)); then
		fail "$name" "it was killed by signal $((status - 128))"
	elif ((status)); then
		fail "$name" "it ended with status $status"
	fi
	if ! settle no_strangers; then
		fail "$name" "it left processes behind: ${strangers[*]}"
		kill -KILL "${strangers[@]}" 2>/dev/null || true
		settle no_strangers || true
	fi
	settle module_idle || fail "$name" "the module is still in use after it"
	check_log "$name"
	if ((failed > before)); then
		indent "$work/tap" "$work/err"
	else
		echo "ok   $name ($good cases, $((EPOCHSECONDS - began)) s): $guarantee"
	fi
}

# What is free or can be dropped. Pages on the processors' own free lists are free too, though
# MemFree leaves them out: they alone come and go by 20 MiB between two runs.
free_kib() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 0.2
	awk '$1 ~ /^(MemFree|Buffers|Cached|SReclaimable):$/ { sum += $2 }
		$1 == "count:" { sum += $2 * 4 }
		END { print sum }' /proc/meminfo /proc/zoneinfo
}

# vmalloc areas whose maker is no symbol of the kernel or of a loaded module.
orphan_areas() {
	awk '$3 ~ /^0x/ { print }' /proc/vmallocinfo
}

unload() {
	local name=$name_of_module path left delta
	mark_log "rmmod $name"
	if ! timeout 30 rmmod "$name"; then
		fail rmmod "the module does not unload"
		return
	fi
	for path in "/sys/module/$name" "/dev/$name" "/sys/kernel/debug/$name"; do
		[[ ! -e $path ]] || fail rmmod "$path is still there"
	done
	left=$(find /sys/kernel/slab -maxdepth 1 -name "*$name*" -printf '%f ')
	[[ -z $left ]] || fail rmmod "slab caches are still there: $left"
	left=$(orphan_areas)
	if [[ -n $left ]]; then
		indent <<<"$left"
		fail rmmod "vmalloc areas of the module are still there (above)"
	fi
	delta=$((memory_before - $(free_kib)))
	echo "# memory: $delta KiB less free than before the module was loaded"
	((delta <= LEAK_KIB)) || fail rmmod "$delta KiB are gone (allowed: $LEAK_KIB)"
	check_log rmmod
}

# Fills the arrays names, cases, limits and guarantees.
read_list() {
	local name count limit guarantee
	while read -r name count limit guarantee; do
		[[ -n $name && $name != '#'* ]] || continue
		if [[ ! $count =~ ^[1-9][0-9]*$ || ! $limit =~ ^[1-9][0-9]*$ || -z $guarantee ]]; then
			fail "$name" "its line in the list is not: name cases seconds guarantee"
			continue
		fi
		if ((${#only[@]})) && [[ " ${only[*]} " != *" $name "* ]]; then
			continue
		fi
		names+=("$name") cases+=("$count") limits+=("$limit") guarantees+=("$guarantee")
	done <"$list"
	for name in "${only[@]}"; do
		[[ " ${names[*]} " == *" $name "* ]] || fail "$name" "it is not in the list"
	done
	((${#names[@]} || failed)) || fail list "it names no program"
}

check_sources() {
	local file name
	for file in "$sources"/*.c "$sources"/*.sh; do
		[[ -e $file ]] || continue
		name=$(basename "$file")
		grep -qE "^${name%.c}[[:space:]]" "$list" || fail "$name" "the list does not name it"
	done
}

finish() {
	rm -rf "$work"
	echo "$passed passed, $failed failed"
	((failed == 0 && passed > 0))
	exit
}

main() {
	local i
	local -a names=() cases=() limits=() guarantees=()
	while (($#)); do
		case $1 in
		--module) module=$2 && shift ;;
		--parameters) parameters+=("$2") && shift ;;
		--list) list=$2 && shift ;;
		--programs) programs=$2 && shift ;;
		--sources) sources=$2 && shift ;;
		-*) echo "run-tests: unknown option $1" >&2 && exit 2 ;;
		*) only+=("$1") ;;
		esac
		shift
	done
	name_of_module=$(basename "$module" .ko)
	ulimit -c 0
	read_list
	((${#only[@]})) || check_sources
	memory_before=$(free_kib)
	mark_log "insmod $name_of_module"
	if [[ ! -f $module ]]; then
		fail insmod "there is no module $module"
	elif ! insmod "$module" "${parameters[@]}"; then
		fail insmod "the module does not load"
	elif [[ ! -d /sys/module/$name_of_module ]]; then
		fail insmod "the module is not there after it was loaded"
	fi
	check_log insmod
	if [[ ! -d /sys/module/$name_of_module ]]; then
		for i in "${names[@]}"; do
			fail "$i" "not run: no module"
		done
		finish
	fi
	for i in "${!names[@]}"; do
		run_program "${names[i]}" "${cases[i]}" "${limits[i]}" "${guarantees[i]}"
	done
	unload
	finish
}

main "$@"
