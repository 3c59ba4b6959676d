#!/bin/bash
# SPDX-License-Identifier: MIT
# Debian's kernels for Quarry: tools/kernels/get.sh headers|image|source|release 6.1|6.12|newest
#
# Prints one absolute folder on stdout (`release`: the release as uname -r says it), progress on stderr.
#   headers  a folder to build modules against (make -C), with Module.symvers and a vmlinux with BTF
#   image    a folder with vmlinuz, modules/lib/modules/RELEASE (depmod done) and release (text)
#   source   the unpacked source tree that the image was made from
# Everything is unpacked into the cache (see lib.sh); nothing is installed. 6.1 and 6.12 come from bookworm
# and bookworm-security, `newest` is the highest version that trixie-backports offers as an image.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=tools/kernels/lib.sh
. "$here/lib.sh"

make_image() {
	local temp=$1 label=$3 package
	local -a packages=("linux-image-$RELEASE=$VERSION")
	# In newer kernels the image package is a shell around these; base holds the lists that depmod reads.
	for package in "linux-base-$RELEASE" "linux-binary-$RELEASE" "linux-modules-$RELEASE"; do
		[[ $(candidate "$label" "$package") != "$VERSION" ]] || packages+=("$package=$VERSION")
	done
	fetch "$label" "$temp/unpacked" "${packages[@]}"
	local vmlinuz
	vmlinuz=$(find "$temp/unpacked" -name "vmlinuz*" -type f -print -quit)
	[[ -n $vmlinuz ]] || die "$label: no vmlinuz in ${packages[*]}"
	cp "$vmlinuz" "$temp/vmlinuz"
	local modules
	modules=$(find "$temp/unpacked" -type d -path "*/lib/modules/$RELEASE" -print -quit)
	[[ -n $modules ]] || die "$label: no modules in ${packages[*]}"
	mkdir -p "$temp/modules/lib/modules"
	mv "$modules" "$temp/modules/lib/modules/$RELEASE"
	local config
	config=$(find "$temp/unpacked" -name "config*" -type f -path '*boot*' -print -quit)
	[[ -z $config ]] || cp "$config" "$temp/config"
	rm -rf "$temp/unpacked"
	PATH=$PATH:/sbin:/usr/sbin depmod -b "$temp/modules" "$RELEASE"
	echo "$RELEASE" >"$temp/release"
	echo "$VERSION" >"$temp/version"
}

make_headers() {
	local temp=$1 final=$2 label=$3 common=${RELEASE%-amd64}-common kbuild image
	local -a packages=("linux-headers-$RELEASE=$VERSION" "linux-headers-$common=$VERSION")
	# The tools are built once a release, or (6.1) once a series.
	kbuild=linux-kbuild-${RELEASE%-amd64}
	[[ -n $(candidate "$label" "$kbuild") ]] || kbuild=linux-kbuild-$(cut -d. -f1,2 <<<"$RELEASE")
	packages+=("$kbuild")
	fetch "$label" "$temp" "${packages[@]}"
	local build=$temp/usr/src/linux-headers-$RELEASE
	[[ -e $build/Makefile ]] || die "$label: no Makefile in linux-headers-$RELEASE"
	# The package believes that it lies in /usr/src.
	sed -i "s|/usr/src/|$final/usr/src/|g" "$build/Makefile"
	grep -q "$final/usr/src/linux-headers-$common/Makefile" "$build/Makefile" ||
		die "$label: linux-headers-$RELEASE has a Makefile of another form"
	[[ -e $build/Module.symvers ]] || die "$label: no Module.symvers in linux-headers-$RELEASE"
	if [[ ! -e $build/vmlinux ]]; then
		image=$(cached "kernels/image/${RELEASE}_$VERSION" make_image "$label")
		"$here/extract-vmlinux.sh" "$image/vmlinuz" >"$build/vmlinux"
	fi
	echo "$RELEASE" >"$temp/release"
	echo "$VERSION" >"$temp/version"
}

make_source() {
	local temp=$1 label=$3 series version tarball
	series=$(cut -d. -f1,2 <<<"$RELEASE")
	version=$VERSION
	if ! private_apt "$label" apt-cache show "linux-source-$series=$version" >/dev/null 2>&1; then
		version=$(candidate "$label" "linux-source-$series")
		[[ -n $version ]] || die "$label: no linux-source-$series in $(kernel_suites "$label")"
		say "linux-source-$series is not offered at $VERSION, taking $version"
	fi
	fetch "$label" "$temp/unpacked" "linux-source-$series=$version"
	tarball=$(find "$temp/unpacked/usr/src" -name 'linux-source-*.tar.xz' -print -quit)
	[[ -n $tarball ]] || die "$label: no tarball in linux-source-$series"
	tar -xf "$tarball" -C "$temp" --strip-components=1
	rm -rf "$temp/unpacked"
	[[ -e $temp/Kbuild ]] || die "$label: linux-source-$series holds no kernel tree"
}

main() {
	[[ $# -eq 2 ]] || die "usage: tools/kernels/get.sh headers|image|source|release 6.1|6.12|newest"
	local what=$1 label=$2 folder
	resolve "$label"
	say "$label is $RELEASE ($VERSION)"
	case $what in
	release) echo "$RELEASE" ;;
	image | source) cached "kernels/$what/${RELEASE}_$VERSION" "make_$what" "$label" ;;
	headers)
		folder=$(cached "kernels/$what/${RELEASE}_$VERSION" "make_$what" "$label")
		echo "$folder/usr/src/linux-headers-$RELEASE"
		;;
	*) die "no artefact '$what': headers, image, source or release" ;;
	esac
}

main "$@"
