#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds a driver on Quarry's API: tools/kernels/driver.sh KERNEL SOURCES FOLDER
#
#   KERNEL    6.1, 6.12 or newest, for which quarry.ko has been built
#   SOURCES   a folder with a Kbuild that knows QUARRY_ROOT
#   FOLDER    where it is built
set -euo pipefail
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
# shellcheck source=tools/kernels/lib.sh
. "$here/lib.sh"

main() {
	[[ $# == 3 ]] || die "usage: tools/kernels/driver.sh 6.1|6.12|newest SOURCES FOLDER"
	local kernel=$1 sources=$2 folder kdir exported
	local -a command=(make) arguments=()
	mkdir -p "$3"
	folder=$(realpath "$3")
	kdir=$("$here/get.sh" headers "$kernel")
	[[ $kernel != newest ]] || command=("$here/newest-toolchain.sh" make)
	[[ -x $kdir/tools/bpf/resolve_btfids/resolve_btfids ]] || arguments+=(RESOLVE_BTFIDS=true)
	cp -u "$sources"/Kbuild "$sources"/*.c "$folder/"
	# Versions of symbols are taken down when a module is linked, and 6.1's Kbuild does not look again.
	exported=$root/build/module/$kernel/Module.symvers
	if ! cmp -s "$exported" "$folder/exported"; then
		rm -f "$folder"/*.mod.c "$folder"/*.ko "$folder/Module.symvers"
		cp "$exported" "$folder/exported"
	fi
	if ! "${command[@]}" -C "$kdir" M="$folder" QUARRY_ROOT="$root" CONFIG_DEBUG_INFO_BTF_MODULES= \
		KBUILD_EXTRA_SYMBOLS="$exported" "${arguments[@]}" \
		modules >"$folder/build.log" 2>&1; then
		cat "$folder/build.log" >&2
		die "$sources does not build for $kernel"
	fi
}

main "$@"
