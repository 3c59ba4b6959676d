#!/bin/bash
# SPDX-License-Identifier: MIT
# Prints a folder that holds the kernel's kselftest.h and kselftest_harness.h, which the test
# programs include. They come from Debian's source package of the 6.1 kernel, whose 140 MB are
# unpacked for these two files alone, once; the files lie in the kernel cache from then on.
set -euo pipefail
root=$(realpath "$(dirname "$0")/../..")
# shellcheck source=tools/kernels/lib.sh
. "$root/tools/kernels/lib.sh"

make_headers() {
	local temp=$1 version=$3 archive name source
	source=$CACHE/kernels/source/${RELEASE}_$version
	if [[ -d $source ]]; then
		cp "$source"/tools/testing/selftests/kselftest{,_harness}.h "$temp/"
		return
	fi
	fetch 6.1 "$temp/package" "linux-source-6.1=$version"
	archive=$(find "$temp/package" -name 'linux-source-*.tar.xz' -print -quit)
	[[ -n $archive ]] || die "no tar in linux-source-6.1=$version"
	name=$(basename "$archive" .tar.xz)
	tar -xJf "$archive" -C "$temp" --strip-components=4 \
		"$name"/tools/testing/selftests/kselftest{,_harness}.h
	rm -rf "$temp/package"
}

resolve 6.1
cached "kselftest/$VERSION" make_headers "$VERSION"
