#!/bin/bash
# SPDX-License-Identifier: MIT
# Prints the ELF kernel inside a vmlinuz: tools/kernels/extract-vmlinux.sh VMLINUZ > vmlinux
#
# 6.1's headers come without the vmlinux whose types (BTF) a module's own types build on; the packed image
# holds it, with its .BTF section. Debian packs with xz (6.1) or zstd; both magics are searched for.
set -euo pipefail
[[ $# -eq 1 ]] || {
	echo "usage: $0 VMLINUZ" >&2
	exit 2
}
out=$(mktemp)
trap 'rm -f "$out"' EXIT

try() {
	local magic=$1 offset
	shift
	while IFS=: read -r offset _; do
		tail -c +"$((offset + 1))" "$image" | "$@" >"$out" 2>/dev/null || true
		if [[ $(head -c 4 "$out" | od -An -tx1 | tr -d ' ') == 7f454c46 ]]; then
			cat "$out"
			exit 0
		fi
	done < <(LC_ALL=C grep -obUaP "$magic" "$image")
}

image=$1
try '\xFD7zXZ\x00' xz -dc
try '\x28\xB5\x2F\xFD' zstd -dcq
try '\x1F\x8B\x08' gzip -dc
echo "$0: no kernel found in $image" >&2
exit 1
