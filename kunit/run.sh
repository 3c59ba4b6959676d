#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
# Runs the KUnit suites on User Mode Linux and judges what came of it.
#
#   kunit/run.sh [--kernel 6.1|newest|all] [--filter SUITE.CASE] [--debug] [--plant KIND] [--judge-again]
#   kunit/run.sh --selftest [--kernel ...]     sees every planted fault make the runner fail
#   kunit/run.sh --full [--kernel ...]         the selftest and, beside it, the suites
#   kunit/run.sh --build [--kernel ...]        the kernels and modules alone
#
# A pass means: both modules loaded and unloaded, exactly the cases of expected.list ran, each of
# them passed by the kernel's own parser, and the kernel log is clean from the first insmod to the
# last rmmod. The guest's exit status means nothing, so verdict.py reads its log. The newest kernel
# boots with two CPUs, each pinned to one of the host's.
#
# --filter   one case, or a whole suite (SUITE or SUITE.*); all others must be seen to be skipped
# --debug    kernels with KASAN, lockdep, kmemleak and fault injection
# --plant    KIND of fault to plant; see plants() below
# --judge-again   no boot: the log of the last one is judged once more
# --aside         a guest of the selftest, beside others of the same kernel
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
here=$root/kunit
kernels=(6.1 newest) filter='' debug=no plant='' parts=suites again=no place=''
total_passed=0 total_failed=0 total_skipped=0
guest=''

# Each fault, and what the verdict must say when it is there. Those marked = are planted by the
# runner in what the guest gets, or (==) in what it compares the guest's log with; the others by the
# module, told by its parameter.
plants() {
	cat <<-'LIST'
		fail      quarry_plant.planted: FAIL
		skip      quarry_plant.planted: skipped, and not listed
		warn      kernel log: WARNING:
		oops      the guest did not reach its end
		hang      timed out
		pin       unload-kunit: rc=1
		refuse    load-quarry: rc=1
		=load     load-kunit: rc=1
		==missing quarry_plant: 1 cases ran, 2 expected
		==extra   quarry_plant: ran, and is not listed
		==suite   quarry_ghost: did not run
	LIST
}

die() {
	echo "kunit: $*" >&2
	exit 2
}

end_guest() {
	[[ -z $guest ]] || kill -KILL -- "-$guest" 2>/dev/null || true
	guest=''
}
# Neither a guest nor the selftest beside it outlives this script.
end_all() {
	local job
	end_guest
	for job in $(jobs -p); do kill "$job" 2>/dev/null || true; done
}
trap end_all EXIT
trap 'exit 130' INT TERM

pack_initramfs() {
	local links=$1 tree=$2 parameters=$3
	rm -rf "$tree"
	mkdir -p "$tree/bin" "$tree/dev"
	cp "$(command -v busybox)" "$tree/bin/busybox"
	install -m 755 "$here/guest-init" "$tree/init"
	cp "$links/quarry.ko" "$links/quarry_kunit.ko" "$tree/"
	[[ $plant != =load ]] || truncate -s 4096 "$tree/quarry_kunit.ko"
	echo "$parameters" >"$tree/parameters"
	(cd "$tree" && find . | cpio -o -H newc --quiet --owner=0:0) | gzip -1 >"$tree.gz"
}

# One host thread is one virtual CPU; unpinned they share a core and nothing runs side by side.
pin_cpus() {
	local pid=$1 cpu=0 task
	for task in "/proc/$pid/task"/*; do
		taskset -cp "$cpu" "${task##*/}" >/dev/null 2>&1 || true
		cpu=$((cpu + 1))
		[[ $cpu -lt 2 ]] || break
	done
}

boot() {
	local objects=$1 tree=$2 log=$3 limit=$4 started=$SECONDS pinned=no
	shift 4
	HOME=$tree.home TMPDIR=$tree.home setsid "$objects/linux" mem=1024M "initrd=$tree.gz" con0=fd:0,fd:1 \
		con=null ssl=null rdinit=/init panic=-1 loglevel=8 printk.devkmsg=on rcupdate.rcu_expedited=1 \
		"$@" </dev/null >"$log" 2>&1 {running}>&- &
	guest=$!
	# Or the shell reports each guest that it had to kill.
	disown "$guest"
	while kill -0 "$guest" 2>/dev/null; do
		if [[ $pinned == no && " $* " == *" ncpus=2 "* ]] && grep -q 'begin load-quarry' "$log"; then
			pin_cpus "$guest"
			pinned=yes
		fi
		if ((SECONDS - started >= limit)); then
			echo "quarry-kunit: timed out after $limit s" >>"$log"
			break
		fi
		sleep 0.1
	done
	# The parts of a guest outlive its first process.
	end_guest
}

# The expected list as it is, or with a fault planted in it.
expected_list() {
	case $plant in
	==missing) sed 's/^quarry_plant 1$/quarry_plant 2/' "$here/expected.list" ;;
	==extra) sed '/^quarry_plant /d' "$here/expected.list" ;;
	==suite) cat "$here/expected.list" && echo 'quarry_ghost 1' ;;
	*) cat "$here/expected.list" ;;
	esac
}

run_kernel() {
	local kernel=$1 name=$1 fragments='' work objects source links parameters limit=360 counts rc=0
	local -a arguments=()
	if [[ $debug == yes ]]; then
		name=$1-debug
		fragments='kasan lockdep faults'
		arguments+=(kasan_multi_shot)
		limit=1800
	fi
	if [[ $kernel == newest ]]; then
		arguments+=(ncpus=2 seccomp=on)
	fi
	# shellcheck disable=SC2086 # a list
	objects=$("$root/tools/kernels/uml.sh" "$kernel" $fragments)
	source=$("$root/tools/kernels/get.sh" source "$kernel")
	# The selftest's guests have a place of their own: they run beside the suites.
	work=$root/build/kunit/$name$place
	mkdir -p "$work/guest.home"
	exec {running}>"$work/lock"
	flock "$running"
	[[ $plant != hang ]] || limit=10
	if [[ $again == no ]]; then
		parameters="kunit_plant=${plant#=}"
		[[ -z $filter ]] || parameters+=" kunit_only=$filter"

		links=$(QUARRY_UML=$fragments QUARRY_OUT=$root/build/kunit/$name/module \
			"$root/tools/kernels/module.sh" "uml-$kernel" QUARRY_KUNIT=1) || die "the modules do not build"
		pack_initramfs "$links" "$work/guest" "$parameters"
		boot "$objects" "$work/guest" "$work/boot.log" "$limit" "${arguments[@]}" 2>>"$work/host.log"
	elif [[ ! -e $work/boot.log ]]; then
		die "there is no log to judge again: $work/boot.log"
	fi
	expected_list >"$work/expected"
	"$here/verdict.py" --log "$work/boot.log" --expected "$work/expected" --kernel "$kernel" \
		--filter "$filter" --parser "$source/tools/testing/kunit/kunit.py" --work "$work" \
		>"$work/verdict" || rc=$?
	counts=$(sed -n 's/^counts //p' "$work/verdict")
	grep -v '^counts ' "$work/verdict" | sed "s/^/[$name] /" || true
	local passed=0 failed=1 skipped=0
	[[ -z $counts ]] || read -r passed failed skipped <<<"$counts"
	[[ $rc -eq 0 || $failed -gt 0 ]] || failed=1
	total_passed=$((total_passed + passed))
	total_failed=$((total_failed + failed))
	total_skipped=$((total_skipped + skipped))
	exec {running}>&-
}

# Each planted fault must make this script fail and say why. Only the plant's suite runs. Without a
# fault, the same way through passes; that guest's log serves what is planted in the comparison.
# Its last line is `PASSED FAILED`.
selftest_of() { # KERNEL
	local kernel=$1 kind words output rc passed=0 failed=0
	local -a how
	if output=$("$0" --kernel "$kernel" --aside --filter 'quarry_plant.*' </dev/null); then
		passed=$((passed + 1))
	else
		echo "[$kernel] nothing planted, and yet it fails:"
		echo "$output"
		failed=$((failed + 1))
	fi
	while read -r kind words; do
		rc=0 how=(--aside --plant "$kind")
		[[ $kind != ==* ]] || how+=(--judge-again)
		output=$("$0" --kernel "$kernel" "${how[@]}" --filter 'quarry_plant.*' </dev/null) || rc=$?
		if [[ $rc -eq 1 ]] && grep -qF -- "$words" <<<"$output"; then
			echo "[$kernel] planted fault '$kind' is seen: $words"
			passed=$((passed + 1))
		else
			echo "[$kernel] planted fault '$kind' is NOT seen (status $rc, wanted: $words):"
			echo "$output"
			failed=$((failed + 1))
		fi
	done < <(plants | LC_ALL=C sort)
	echo "$passed $failed"
}

# Most of it is waiting: the kernels side by side, and beside the suites.
begin_selftest() {
	local kernel
	mkdir -p "$root/build/kunit"
	for kernel in "${kernels[@]}"; do
		selftest_of "$kernel" >"$root/build/kunit/selftest-$kernel" &
	done
}

end_selftest() {
	local kernel said passed failed
	wait
	for kernel in "${kernels[@]}"; do
		said=$root/build/kunit/selftest-$kernel
		if [[ $(tail -n 1 "$said") =~ ^([0-9]+)\ ([0-9]+)$ ]]; then
			passed=${BASH_REMATCH[1]} failed=${BASH_REMATCH[2]}
		else
			echo "[$kernel] the selftest did not come to its end"
			passed=0 failed=1
		fi
		sed '$d' "$said"
		total_passed=$((total_passed + passed))
		total_failed=$((total_failed + failed))
	done
}

while [[ $# -gt 0 ]]; do
	case $1 in
	--kernel)
		case ${2:-} in
		6.1 | newest) kernels=("$2") ;;
		all) kernels=(6.1 newest) ;;
		*) die "--kernel takes 6.1, newest or all" ;;
		esac
		shift
		;;
	--filter) filter=${2:?--filter takes SUITE.CASE} && shift ;;
	--debug) debug=yes ;;
	--plant)
		plants | awk '{print $1}' | grep -qxF -- "${2:-}" || die "--plant takes one of: $(plants | awk '{print $1}' | xargs)"
		plant=$2 && shift
		;;
	--judge-again) again=yes ;;
	--aside) place=/selftest ;;
	--selftest) parts=selftest ;;
	--full) parts=selftest,suites ;;
	--build) parts=build ;;
	*) die "usage: $(sed -n 's/^#   //p' "$0")" ;;
	esac
	shift
done

if [[ $parts == build ]]; then
	for kernel in "${kernels[@]}"; do
		"$root/tools/kernels/uml.sh" "$kernel" >/dev/null
		QUARRY_OUT=$root/build/kunit/$kernel/module "$root/tools/kernels/module.sh" "uml-$kernel" QUARRY_KUNIT=1 >/dev/null
	done
	exit
fi
[[ $parts != selftest* ]] || begin_selftest
if [[ $parts == *suites ]]; then
	for kernel in "${kernels[@]}"; do
		run_kernel "$kernel"
	done
fi
[[ $parts != selftest* ]] || end_selftest
[[ $total_skipped -eq 0 ]] || echo "$total_skipped skipped"
echo "$total_passed passed, $total_failed failed"
[[ $total_failed -eq 0 && $total_passed -gt 0 ]]
