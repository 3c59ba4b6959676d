#!/bin/bash
# SPDX-License-Identifier: MIT
# The compiler that the newest kernel's headers want (gcc-14 and the C library under it, from trixie), for a
# machine that runs Debian 12:
#
#   tools/kernels/newest-toolchain.sh                prints the folder that holds it, made when it is not there
#   tools/kernels/newest-toolchain.sh COMMAND ARG... runs a command with it
#
# The folder is a root file system of unpacked packages, nothing configured, about 600 MB. COMMAND runs in it by
# chroot inside a mount namespace of its own, where every other folder of this machine (checkout, cache, temporary
# files) lies at its usual place; the working folder stays. Root or user namespaces are needed.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=tools/kernels/lib.sh
. "$here/lib.sh"

# What Kbuild calls when it builds a module; apt adds what these depend on.
packages=(base-files bash dash coreutils sed grep mawk findutils diffutils util-linux perl-base
	gcc-14 g++-14 make kmod pahole libelf1t64)

make_root() {
	local temp=$1 label=toolchain deb
	# An empty status file: apt sees nothing installed and takes the whole closure.
	mkdir -p "$temp.debs/partial"
	(cd "$temp" && private_apt "$label" apt-get install -y --no-install-recommends --download-only \
		-o Dir::Cache::archives="$temp.debs" "${packages[@]}" >&2) || die "cannot download ${packages[*]}"
	# base-files first: it brings the links by which /bin is /usr/bin.
	mv "$temp.debs"/base-files_*.deb "$temp.debs/0-base-files.deb"
	for deb in "$temp.debs"/*.deb; do
		dpkg --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C "$temp"
	done
	rm -rf "$temp.debs"
	ln -sf mawk "$temp/usr/bin/awk"
	[[ -x $temp/usr/bin/x86_64-linux-gnu-g++-14 ]] || die "g++-14 is missing in the toolchain"
}

# Runs in the namespace: puts this machine's folders into the root, then enters it.
enter() {
	local root=$1 where=$2 place
	shift 2
	for place in /*; do
		case ${place#/} in
		bin | lib | lib32 | lib64 | libx32 | sbin | usr | etc | var | lost+found | boot) continue ;;
		esac
		[[ ! -L $place && -d $place ]] || continue
		mkdir -p "$root$place"
		mount --rbind "$place" "$root$place"
	done
	exec chroot "$root" /usr/bin/env -C "$where" PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

main() {
	local root key
	look toolchain
	key=$(candidate toolchain gcc-14)
	[[ -n $key ]] || die "trixie offers no gcc-14"
	root=$(cached "kernels/toolchain/$key" make_root)
	if [[ $# -eq 0 ]]; then
		echo "$root"
		return
	fi
	local -a namespace=(unshare --mount)
	[[ $(id -u) -eq 0 ]] || namespace+=(--map-root-user)
	exec "${namespace[@]}" "$here/newest-toolchain.sh" --enter "$root" "$PWD" "$@"
}

if [[ ${1:-} == --enter ]]; then
	shift
	enter "$@"
fi
main "$@"
