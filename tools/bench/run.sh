#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs the host benchmarks, interleaved and pinned, and writes build/bench/host.json.
#
#   run.sh [CASES] [LAUNCHES]    CASES: names, all when empty; LAUNCHES: 5 when empty
#
# Each launch is a process of its own on one CPU; one round launches every allocator of
# every case once, so that whatever else the machine does meets them all alike. A figure
# is the median over the launches.
set -euo pipefail

here=$(dirname "${BASH_SOURCE[0]}")
build=build/bench
bench=$build/host_bench
cases=${1:-}
launches=${2:-5}
[[ -n $cases ]] || cases=$("$bench" --list)

# Peers by name: the library that is preloaded, and the package that says its version.
peers=(glibc mimalloc jemalloc tcmalloc)
declare -A library=([glibc]=libc.so.6 [mimalloc]=libmimalloc.so.2 [jemalloc]=libjemalloc.so.2
	[tcmalloc]=libtcmalloc_minimal.so.4)
declare -A package=([glibc]=libc6 [mimalloc]=libmimalloc2.0 [jemalloc]=libjemalloc2
	[tcmalloc]=libtcmalloc-minimal4)

path_of() { # LIBRARY
	local path
	path=$(ldconfig -p | awk -v name="$1" '$1 == name && /x86-64/ {print $NF; exit}')
	[[ -n $path ]] || { echo "bench: $1 is not installed" >&2 && return 1; }
	echo "$path"
}

cpu=$(($(nproc) - 1))
results=$build/host.tsv
: >"$results"
for peer in "${peers[@]}"; do
	printf 'version\t%s\t%s\n' "$peer" \
		"$(dpkg-query -W -f='${Version}' "${package[$peer]}")" >>"$results"
done

launch() { # CASE ALLOCATOR
	local ns
	if [[ $2 == quarry ]]; then
		ns=$(taskset -c "$cpu" "$bench" "$1" quarry)
	elif [[ $2 == glibc ]]; then
		ns=$(taskset -c "$cpu" "$bench" "$1" malloc)
	else
		ns=$(LD_PRELOAD=${preload[$2]} taskset -c "$cpu" "$bench" "$1" malloc)
	fi
	printf 'launch\t%s\t%s\t%s\n' "$1" "$2" "$ns" >>"$results"
}

declare -A preload
for peer in "${peers[@]}"; do preload[$peer]=$(path_of "${library[$peer]}"); done
for ((round = 1; round <= launches; round++)); do
	printf 'round %d of %d\n' "$round" "$launches" >&2
	for case in $cases; do
		for allocator in quarry "${peers[@]}"; do launch "$case" "$allocator"; done
	done
done
python3 "$here/report.py" "$results" "$build/host.json"
