#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds the module: tools/kernels/module.sh KERNEL [VARIABLE=VALUE...]
#
#   KERNEL   6.1, 6.12 or newest: Debian's stock kernel, into build/module/KERNEL
#            uml-6.1 or uml-newest: User Mode Linux, into build/uml/KERNEL
#
# Prints the folder that holds quarry.ko. VARIABLE=VALUE goes to make (QUARRY_KUNIT=1, V=1). The folder is one of
# links to the sources, so that each kernel's outputs stay apart. Any warning, of the compiler, of objtool, of
# modpost or of the linker, fails the build.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
# QUARRY_SOURCES: another tree to build, for the self-tests of this folder.
sources=${QUARRY_SOURCES:-$root}
# shellcheck source=tools/kernels/lib.sh
. "$here/lib.sh"

# Makes the folder's links those of the sources of today.
link_sources() {
	local folder=$1 file
	mkdir -p "$folder"
	find "$folder" -xtype l -delete
	while IFS= read -r -d '' file; do
		[[ $(readlink "$folder/$file") != "$sources/$file" ]] || continue
		mkdir -p "$folder/$(dirname "$file")"
		ln -sfn "$sources/$file" "$folder/$file"
	done < <(cd "$sources" && find Kbuild module uapi kunit -type f ! -name '.*' -print0)
}

main() {
	[[ $# -ge 1 ]] || die "usage: tools/kernels/module.sh 6.1|6.12|newest|uml-6.1|uml-newest [VARIABLE=VALUE...]"
	local kernel=$1 kdir folder log
	local -a command=(make) arguments=()
	shift
	case $kernel in
	uml-*)
		# QUARRY_UML: fragments of its configuration, for a kernel with checks.
		# shellcheck disable=SC2086 # a list
		kdir=$("$here/uml.sh" "${kernel#uml-}" ${QUARRY_UML:-})
		folder=${QUARRY_OUT:-$root/build/uml}/$kernel
		arguments=(ARCH=um)
		;;
	*)
		kdir=$("$here/get.sh" headers "$kernel")
		folder=${QUARRY_OUT:-$root/build/module}/$kernel
		arguments=(PAHOLE="$here/pahole.sh")
		# 6.1's headers come without the program that fills in the ids of kfuncs; Quarry has none.
		[[ -x $kdir/tools/bpf/resolve_btfids/resolve_btfids ]] || arguments+=(RESOLVE_BTFIDS=true)
		[[ $kernel != newest ]] || command=("$here/newest-toolchain.sh" make)
		;;
	esac
	# What was compiled once, from the same sources with the same flags, is not compiled again.
	if [[ ${command[*]} == make ]] && command -v ccache >/dev/null; then
		arguments+=(CC="ccache gcc")
	fi
	mkdir -p "$folder"
	exec {build_lock}>"$folder/.lock"
	flock "$build_lock"
	link_sources "$folder"
	log=$folder/build.log
	if ! "${command[@]}" -C "$kdir" M="$folder" -j"$(nproc)" "${arguments[@]}" "$@" modules >"$log" 2>&1; then
		cat "$log" >&2
		die "quarry.ko does not build for $kernel"
	fi
	if grep -iE 'warning[: ]' "$log" | grep -v 'the compiler differs from the one used to build the kernel' >&2; then
		# What warned must warn again the next time.
		rm -f "$folder/quarry.o" "$folder/quarry.ko"
		die "the build of quarry.ko for $kernel warns"
	fi
	[[ -e $folder/quarry.ko ]] || die "no quarry.ko for $kernel"
	say "$folder/quarry.ko for $(modinfo_of "$folder/quarry.ko")"
	echo "$folder"
}

modinfo_of() {
	PATH=$PATH:/sbin:/usr/sbin modinfo -F vermagic "$1"
}

main "$@"
