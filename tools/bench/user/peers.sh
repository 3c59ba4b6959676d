#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Builds the peers of the user-space benchmarks that are no mallocs, each as a program of its own:
# build/bench/user_bench_NAME. Their Debian packages are unpacked beside the kernels' cache and not
# installed. What each is, or why it is not there, goes to build/bench/user_peers.tsv:
#   version NAME TEXT | absent NAME REASON
set -euo pipefail

here=$(dirname "${BASH_SOURCE[0]}")
build=build/bench
cache=${QUARRY_CACHE:-$HOME/.cache/quarry}/peers
results=$build/user_peers.tsv
# shellcheck disable=SC2054 # the linker's comma
flags=(-Wl,--disable-new-dtags -std=c++20 -O2 -fno-builtin-malloc -fno-builtin-free -pthread)
reason=

note() { # WORD...
	local IFS=$'\t'
	printf '%s\n' "$*" >>"$results"
}

# Unpacks PACKAGE... to the folder of NAME, unless it is there; why not in `reason`.
unpack() { # NAME PACKAGE...
	local root=$cache/$1 temporary package
	shift
	[[ ! -e $root/complete ]] || return 0
	temporary=$(mktemp -d "$cache/new.XXXXXX")
	for package in "$@"; do
		if ! (cd "$temporary" && apt-get -qq download "$package") >/dev/null 2>&1; then
			reason="apt-get cannot download $package"
			rm -rf "$temporary"
			return 1
		fi
	done
	for package in "$temporary"/*.deb; do
		dpkg -x "$package" "$temporary/root"
		dpkg-deb -f "$package" Version >"$temporary/root/complete"
		rm "$package"
	done
	rm -rf "$root"
	mv "$temporary/root" "$root"
	rm -rf "$temporary"
}

# Compiles SOURCE to the program of NAME; the version is that of the packages' folder.
compile() { # NAME FOLDER SOURCE FLAG...
	local name=$1 folder=$2 source=$3 errors=$build/user_peer_$1.err
	shift 3
	if g++ "${flags[@]}" "$here/$source" "$here/../host_bench.cpp" -o "$build/user_bench_$name" "$@" 2>"$errors"; then
		note version "$name" "$(cat "$cache/$folder/complete")"
	else
		note absent "$name" "it does not compile: $(grep -m 1 -E 'error|cannot' "$errors" | tr '\t' ' ' | cut -c 1-160)"
		rm -f "$build/user_bench_$name"
	fi
}

dpdk() {
	local root=$cache/dpdk/usr
	if ! unpack dpdk libdpdk-dev librte-eal23 librte-kvargs23 librte-telemetry23 librte-ring23 \
		librte-mempool23 librte-mempool-ring23 libnuma1 libbsd0 libbsd-dev libmd0 libfdt1; then
		note absent dpdk "$reason"
		return
	fi
	compile dpdk dpdk dpdk_peer.cpp -march=corei7 -include rte_config.h -isystem "$root/include/dpdk" \
		-isystem "$root/include/x86_64-linux-gnu/dpdk" -isystem "$root/include" -L "$root/lib/x86_64-linux-gnu" \
		-Wl,-rpath,"$root/lib/x86_64-linux-gnu" -Wl,-rpath-link,"$root/lib/x86_64-linux-gnu" -Wl,--no-as-needed \
		-lrte_eal -lrte_mempool -lrte_mempool_ring -lrte_ring -lrte_kvargs -lrte_telemetry
}

boost() {
	if ! unpack boost libboost1.74-dev; then
		note absent boost "$reason"
		note absent boost-cached "$reason"
		return
	fi
	compile boost boost boost_peer.cpp -isystem "$cache/boost/usr/include" -lrt
	compile boost-cached boost boost_peer.cpp -DBOOST_CACHED -isystem "$cache/boost/usr/include" -lrt
}

iceoryx() {
	local root=$cache/iceoryx/usr
	if ! unpack iceoryx libiceoryx-posh-dev libiceoryx-hoofs-dev libiceoryx-posh2 libiceoryx-hoofs2 \
		libiceoryx-platform2 libacl1; then
		note absent iceoryx "$reason"
		return
	fi
	compile iceoryx iceoryx iceoryx_peer.cpp -isystem "$root/include" -isystem "$root/include/iceoryx/v2.0.3" \
		-L "$root/lib/x86_64-linux-gnu" -Wl,-rpath,"$root/lib/x86_64-linux-gnu" \
		-Wl,-rpath-link,"$root/lib/x86_64-linux-gnu" -liceoryx_posh -liceoryx_hoofs -liceoryx_platform
}

mkdir -p "$build" "$cache"
: >"$results"
dpdk
boost
iceoryx
