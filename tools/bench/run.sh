#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs the benchmarks, interleaved and pinned, and writes build/bench/NAME.json and the growth
# curves. NAME is host, of the core, or with QUARRY_BENCH=user user: of user space, where peers that
# are no mallocs are programs of their own, NAME_bench_PEER (tools/bench/user/peers.sh).
#
#   run.sh [CASES] [LAUNCHES]    CASES: names of cases and curves, or patterns with *; all when
#                                empty; LAUNCHES: 5 when empty
#
# Each launch is a process of its own, on one CPU or, for a case of several threads, on as
# many; one round launches every allocator of every case once, so that whatever else the
# machine does meets them all alike. A figure is the median over the launches. The cases
# that others are measured by come along. Exit status: report.py's.
#
# What it leaves in build/bench/NAME.tsv, split by tabs:
#   fact KEY TEXT                  selection (all, some), load
#   version PEER TEXT              a peer that is there
#   absent PEER REASON             one that is not
#   case NAME ALLOCATORS           to be launched on these
#   launch NAME ALLOCATOR FIGURE
#   point NAME ALLOCATOR LIVE FIGURE
#   failed NAME ALLOCATOR REASON
set -euo pipefail

here=$(dirname "${BASH_SOURCE[0]}")
build=build/bench
suite=${QUARRY_BENCH:-host}
bench=$build/${suite}_bench
results=$build/$suite.tsv
launches=${2:-5}
read -r -a asked <<<"${1:-}"
seconds=${BENCH_SECONDS:-120} # one launch's limit

# Peers by name: the library that is preloaded, and the package that says its version.
peers=(glibc mimalloc jemalloc tcmalloc)
declare -A library=([glibc]=libc.so.6 [mimalloc]=libmimalloc.so.2 [jemalloc]=libjemalloc.so.2
	[tcmalloc]=libtcmalloc_minimal.so.4)
declare -A package=([glibc]=libc6 [mimalloc]=libmimalloc2.0 [jemalloc]=libjemalloc2
	[tcmalloc]=libtcmalloc-minimal4)
declare -A preload=()
declare -A allocators_of=() threads_of=() points_of=()
cases=()
curves=()

die() {
	echo "bench: $*" >&2
	exit 2
}
note() { # WORD...
	local IFS=$'\t'
	printf '%s\n' "$*" >>"$results"
}

find_peers() {
	local peer path
	for peer in "${peers[@]}"; do
		path=$(ldconfig -p | awk -v name="${library[$peer]}" '$1 == name && /x86-64/ && !n++ {print $NF}')
		if [[ -z $path ]]; then
			note absent "$peer" "${library[$peer]} is not installed"
			continue
		fi
		preload[$peer]=$path
		note version "$peer" "$(dpkg-query -W -f='${Version}' "${package[$peer]}" || echo unknown)"
	done
	if [[ -e $build/${suite}_peers.tsv ]]; then cat "$build/${suite}_peers.tsv" >>"$results"; fi
}

# Cases and curves that are there, with their allocators' names.
describe() {
	local kind name allocators more
	while IFS=$'\t' read -r kind name allocators more; do
		allocators_of[$name]=${allocators/malloc/${peers[*]}}
		if [[ $kind == case ]]; then
			threads_of[$name]=$more
			cases+=("$name")
		else
			points_of[$name]=$more
			curves+=("$name")
		fi
	done < <("$bench" --describe)
	[[ ${#cases[@]} -gt 0 ]] || die "$bench has no cases"
}

# Those that were asked for, and what they are measured by.
select_asked() {
	local word name pattern found wanted_cases=() wanted_curves=()
	for word in "${asked[@]}"; do
		pattern=$word
		found=no
		for name in "${cases[@]}"; do
			# shellcheck disable=SC2053 # the word may be a pattern
			if [[ $name == $pattern ]]; then wanted_cases+=("$name") && found=yes; fi
		done
		for name in "${curves[@]}"; do
			# shellcheck disable=SC2053
			if [[ $name == $pattern ]]; then wanted_curves+=("$name") && found=yes; fi
		done
		[[ $found == yes ]] || die "no case is named '$word' ($bench --describe)"
	done
	mapfile -t cases < <(python3 -B "$here/report.py" --cases ${wanted_cases[@]+"${wanted_cases[@]}"} |
		awk 'NF && !seen[$0]++')
	curves=(${wanted_curves[@]+"${wanted_curves[@]}"})
}

# Figure of one launch in `figure`, or why there is none in `reason`.
launch() { # ALLOCATOR CPUS ARGUMENT...: those of host_bench, without the allocator
	local allocator=$1 cpus=$2 name=$3 status=0 errors=$build/launch.err
	shift 3
	figure=''
	reason=''
	local side=malloc before=() program=$bench
	[[ $allocator == quarry ]] && side=quarry
	case $allocator in
	quarry | glibc) ;;
	*)
		if [[ -n ${preload[$allocator]:-} ]]; then
			before=(env "LD_PRELOAD=${preload[$allocator]}")
		else
			program=${bench}_$allocator
		fi
		;;
	esac
	figure=$(timeout "$seconds" taskset -c "$cpus" ${before[@]+"${before[@]}"} \
		"$program" "$name" "$side" "$@" 2>"$errors") || status=$?
	if [[ $status -ne 0 ]]; then
		reason="exit $status: $(tr '\n\t' '  ' <"$errors" | tail -c 200)"
		[[ $status -ne 124 ]] || reason="not done within $seconds s"
	elif [[ ! $figure =~ ^[0-9.e+-]+$ ]]; then
		reason="no figure: ${figure:0:80}"
	fi
	[[ -z $reason ]]
}

# Of the CPUs that this process may use the last one for one thread; the last so many for more.
cpus_for() { # THREADS
	local all=() range ranges
	IFS=, read -r -a ranges < <(awk '/^Cpus_allowed_list/ {print $2}' /proc/self/status)
	for range in "${ranges[@]}"; do
		mapfile -t -O ${#all[@]} all < <(seq "${range%-*}" "${range#*-}")
	done
	[[ $1 -le ${#all[@]} ]] || return 1
	local IFS=,
	echo "${all[*]: -$1}"
}

# Allocators of a case that can be launched, from another one on in each round.
order_of() { # NAME ROUND
	local there=() allocator i
	for allocator in ${allocators_of[$1]}; do
		if [[ $allocator == quarry || -n ${preload[$allocator]:-} || -x ${bench}_$allocator ]]; then
			there+=("$allocator")
		fi
	done
	for ((i = 0; i < ${#there[@]}; i++)); do echo "${there[(i + $2) % ${#there[@]}]}"; done
}

run_case() { # NAME ROUND
	local cpus allocator
	cpus=$(cpus_for "${threads_of[$1]}") || cpus=
	for allocator in $(order_of "$1" "$2"); do
		if [[ -z $cpus ]]; then
			note failed "$1" "$allocator" "it wants ${threads_of[$1]} CPUs, there are $(nproc)"
		elif launch "$allocator" "$cpus" "$1"; then
			note launch "$1" "$allocator" "$figure"
		else
			note failed "$1" "$allocator" "$reason"
		fi
	done
}

run_curve() { # NAME ROUND
	local live allocator
	for live in ${points_of[$1]}; do
		for allocator in $(order_of "$1" "$2"); do
			if launch "$allocator" "$(cpus_for 1)" "$1" "$live"; then
				note point "$1" "$allocator" "$live" "$figure"
			else
				note failed "$1" "$allocator" "with $live live: $reason"
			fi
		done
	done
}

load_now() { cut -d ' ' -f 1-3 /proc/loadavg; }

main() {
	[[ $launches =~ ^[1-9][0-9]*$ ]] || die "LAUNCHES is a number, not '$launches'"
	[[ -x $bench ]] || die "$bench is not built"
	: >"$results"
	local before name round
	before=$(load_now)
	find_peers
	describe
	if [[ ${#asked[@]} -gt 0 ]]; then
		select_asked
		note fact selection some
	else
		note fact selection all
	fi
	for name in ${cases[@]+"${cases[@]}"}; do
		if [[ -n ${allocators_of[$name]:-} ]]; then note case "$name" "${allocators_of[$name]}"; fi
	done
	for ((round = 1; round <= launches; round++)); do
		printf 'bench: round %d of %d, %d cases, %d curves, load %s\n' "$round" "$launches" \
			"${#cases[@]}" "${#curves[@]}" "$(load_now)" >&2
		for name in ${cases[@]+"${cases[@]}"}; do
			if [[ -n ${allocators_of[$name]:-} ]]; then run_case "$name" "$round"; fi
		done
		for name in ${curves[@]+"${curves[@]}"}; do run_curve "$name" "$round"; done
	done
	note fact load "$before; $(load_now)"
	python3 -B "$here/report.py" "$results" "$build/$suite.json"
}

main
