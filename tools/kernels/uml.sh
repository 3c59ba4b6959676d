#!/bin/bash
# SPDX-License-Identifier: MIT
# A User Mode Linux kernel: tools/kernels/uml.sh 6.1|newest [FRAGMENT...]
#
# Prints its object folder on stdout: it holds `linux` (the program that boots) and is a KDIR to build
# modules against with ARCH=um. A FRAGMENT is a file, or a name: kasan means uml-kasan.config of this folder.
# Cached by version, configuration and compiler; about 2 minutes on two cores when it is not there.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=tools/kernels/lib.sh
. "$here/lib.sh"

# Kconfig drops what it cannot give and says nothing; a test kernel that lacks its checks proves nothing.
check_config() {
	local fragment=$1 config=$2 line bad=0
	while read -r line; do
		grep -qxF "$line" "$config" || {
			say "$line was asked for and did not take"
			bad=1
		}
	done < <(grep '^CONFIG_' "$fragment")
	[[ $bad -eq 0 ]] || die "the configuration is not the one that was asked for"
}

# Options that newer kernels call otherwise: where it stands, the old name, the new one, and since when.
#   7.3 sysctl: one option where there were two
renamed=(fs/proc/Kconfig PROC_SYSCTL SYSCTL)

# The fragment in the words of this source.
translate() {
	local source=$1 fragment=$2 i
	for ((i = 0; i < ${#renamed[@]}; i += 3)); do
		grep -qx "config ${renamed[i + 1]}" "$source/${renamed[i]}" ||
			sed -i "s/^CONFIG_${renamed[i + 1]}=/CONFIG_${renamed[i + 2]}=/" "$fragment"
	done
}

make_uml() {
	local temp=$1 final=$2 source=$3 fragment=$4
	cp "$fragment" "$temp/fragment"
	translate "$source" "$temp/fragment"
	# 6.1 has 2696 bytes for a process's registers (the newest asks the host): on a CPU with AMX, which has
	# 11008, every process of the guest dies. They lie on the kernel's stack, hence its order in uml.config.
	sed -i 's/HOST_FP_SIZE, 2696)/HOST_FP_SIZE, 12288)/' "$source/arch/x86/um/user-offsets.c"
	make -s -C "$source" ARCH=um O="$temp" KCONFIG_ALLCONFIG="$temp/fragment" allnoconfig
	check_config "$temp/fragment" "$temp/.config"
	say "building a User Mode Linux kernel of $VERSION"
	make -s -C "$source" ARCH=um O="$temp" -j"$(nproc)" >"$temp/build.log" 2>&1 || {
		tail -n 40 "$temp/build.log" >&2
		die "the User Mode Linux kernel of $VERSION does not build"
	}
	[[ -x $temp/linux && -e $temp/Module.symvers ]] || die "no linux or no Module.symvers was built"
	# The folder moves to its place after this; its makefile names the old one on some versions.
	sed -i "s|$temp|$final|g" "$temp/Makefile"
	echo "$VERSION" >"$temp/version"
}

main() {
	[[ $# -ge 1 ]] || die "usage: tools/kernels/uml.sh 6.1|newest [FRAGMENT...]"
	local label=$1 source key fragment all
	shift
	[[ $label == 6.1 || $label == newest ]] || die "User Mode Linux is built for 6.1 and newest"
	resolve "$label"
	source=$("$here/get.sh" source "$label")
	all=$(mktemp)
	# shellcheck disable=SC2064 # the name is fixed now
	trap "rm -f '$all'" EXIT
	cat "$here/uml.config" >"$all"
	[[ $label != newest ]] || cat "$here/uml-newest.config" >>"$all"
	for fragment in "$@"; do
		[[ -e $fragment ]] || fragment=$here/uml-$fragment.config
		[[ -e $fragment ]] || die "no fragment $fragment"
		cat "$fragment" >>"$all"
	done
	key=$({
		grep '^CONFIG_' "$all" | sort
		gcc -dumpfullversion
	} | sha256sum | cut -c1-12)
	cached "kernels/uml/${VERSION}_$key" make_uml "$source" "$all"
}

main "$@"
