#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs the Debian packages that a group of targets needs: tools/deps.sh GROUP...
#
# A bare Debian 12 with `make` and `git` is enough to start from; each make target calls this with
# the group it needs. Quick when everything is there already (no apt run at all), idempotent, and
# safe to run from two shells at once. Needs root or sudo only when something is missing.
#
#   tools/deps.sh GROUP...          install what is missing
#   tools/deps.sh --list GROUP...   print the packages, one a line, and install nothing
# shellcheck disable=SC2034 # the arrays are read by name in main()
set -euo pipefail

# One array a group, each package where it is first needed; a package may stand in several.
# What every compile on this machine needs.
build=(make gcc g++ libc6-dev binutils ccache git perl util-linux ca-certificates)
# Module builds for the three stock kernels, UML builds, and the caches behind both.
kernels=("${build[@]}" bc bison flex cpio kmod mount xz-utils zstd libelf-dev dwarves
	debian-archive-keyring clang)
# KUnit suites on a UML kernel.
kunit=("${kernels[@]}" busybox-static python3)
# Test programs in a virtual machine; gcc-multilib builds the -m32 callers.
vm=("${build[@]}" qemu-system-x86 busybox-static cpio xz-utils zstd kmod gcc-multilib liburing-dev
	libcap2-bin python3)
# The core on the host: unit tests, sanitizers, fuzzers; the benchmarks' peers.
host=("${build[@]}" libgtest-dev libgmock-dev libbenchmark-dev clang libclang-rt-dev llvm libjemalloc-dev
	libgoogle-perftools-dev libmimalloc-dev)
# Interleavings of the core, explored.
interleave=("${build[@]}" libgtest-dev relacy-dev)
# Benchmarks of the core against the mallocs; instruction counts by callgrind.
bench=("${host[@]}" python3 valgrind)
# libquarry, quarryctl, the recorder and the libbpf tools.
tools=("${build[@]}" libbpf-dev libelf-dev zlib1g-dev clang libclang-rt-dev llvm bpftool pkg-config
	nlohmann-json3-dev libgtest-dev libboost-dev sqlite3)
# Static checks.
check=("${build[@]}" shellcheck clang clang-tidy python3 perl codespell)
# `make run`: the virtual machine, bpftrace in it, and the programs that are recorded.
run=("${vm[@]}" bpftrace bpftool sqlite3 perl git g++)
# The page of figures in a browser.
browser=(chromium chromium-driver fonts-dejavu-core python3)

groups=(build kernels kunit vm host interleave bench tools check run browser)

die() {
	echo "deps: $*" >&2
	exit 1
}

as_root() {
	if [[ $(id -u) -eq 0 ]]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "root is needed to install packages, and there is no sudo: run as root: $*"
	fi
}

installed() {
	local status
	status=$(dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null) || return 1
	grep -qx installed <<<"$status"
}

# Another apt may hold the lists or the package database: wait for it, do not fail.
apt() {
	as_root env DEBIAN_FRONTEND=noninteractive flock /var/lib/dpkg \
		apt-get -q -o DPkg::Lock::Timeout=900 "$@" >&2
}

update_lists() {
	local try
	for try in 1 2 3 4 5 6; do
		apt update && return 0
		echo "deps: apt-get update failed (try $try of 6)" >&2
		sleep 5
	done
	die "apt-get update failed"
}

main() {
	local list_only=no group package
	local -a wanted=() missing=()
	if [[ ${1:-} == --list ]]; then
		list_only=yes
		shift
	fi
	[[ $# -gt 0 ]] || die "usage: tools/deps.sh [--list] GROUP...   groups: ${groups[*]}"
	for group in "$@"; do
		[[ " ${groups[*]} " == *" $group "* ]] || die "no group '$group'; groups: ${groups[*]}"
		local -n packages=$group
		wanted+=("${packages[@]}")
	done
	mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u)
	if [[ $list_only == yes ]]; then
		printf '%s\n' "${wanted[@]}"
		return
	fi
	for package in "${wanted[@]}"; do
		installed "$package" || missing+=("$package")
	done
	[[ ${#missing[@]} -gt 0 ]] || return 0
	echo "deps: installing ${missing[*]}" >&2
	# Old lists name package versions that the mirror no longer has: refresh once, then install.
	update_lists
	apt install -y --no-install-recommends "${missing[@]}" ||
		die "could not install: ${missing[*]}"
	for package in "${missing[@]}"; do
		installed "$package" || die "$package is still not installed"
	done
}

main "$@"
