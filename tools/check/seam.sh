#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The seam is two lists (module/include/quarry_seam.h): what the core object defines
# must be exactly the quarry_core_* entries declared there, and what it leaves
# undefined the quarry_os_* hooks, plus a few symbols of the compiler that
# tools/kernels/symbols.sh checks by kernel. Every hook must be defined by the shim.
#
#   seam.sh [--object CORE.o]    default: compiles the core for the host
set -euo pipefail

header=module/include/quarry_seam.h
object=
if [ "${1:-}" = --object ]; then object=$2; fi
if [ -z "$object" ]; then
	mkdir -p build/check
	object=build/check/core.o
	g++ -std=gnu++20 -O2 -ffreestanding -fno-exceptions -fno-rtti -fno-threadsafe-statics \
		-fno-asynchronous-unwind-tables -fno-stack-protector -Wall -Wextra -Werror -c module/core/core.cpp -o "$object"
fi

declared() { # what the header declares with this prefix
	sed 's://.*$::' "$header" | tr '\n' ' ' | sed 's:/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/::g' |
		grep -oE "\\b$1[a-z0-9_]+ *\\(" | tr -d ' (' | sort -u
}

bad=0
compare() { # title, file of the wanted, file of the found
	local missing extra
	missing=$(comm -23 "$2" "$3")
	extra=$(comm -13 "$2" "$3")
	if [ -n "$missing" ]; then echo "$1: declared, not found: ${missing//$'\n'/ }" && bad=1; fi
	if [ -n "$extra" ]; then echo "$1: found, not declared: ${extra//$'\n'/ }" && bad=1; fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
declared quarry_core_ >"$work/up"
declared quarry_os_ >"$work/down"
if [ ! -s "$work/up" ] || [ ! -s "$work/down" ]; then echo "$header: no lists found" && exit 1; fi

nm -g --defined-only "$object" | awk '$2 ~ /[TDRBV]/ {print $3}' | grep -v '^_Z' | sort -u >"$work/defined"
nm -g --undefined-only "$object" | awk '{print $2}' | sort -u >"$work/undefined"
grep '^quarry_' "$work/undefined" >"$work/hooks" || true
compare "entries (core object)" "$work/up" "$work/defined"
# A hook that the core does not call is dead: it does not belong in the list.
compare "hooks (core object)" "$work/down" "$work/hooks"

# The shim defines each hook, once.
cat module/*.c | grep -oE '\bquarry_os_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u >"$work/shim"
missing=$(comm -23 "$work/down" "$work/shim")
if [ -n "$missing" ]; then echo "hooks (shim): not defined: ${missing//$'\n'/ }" && bad=1; fi

[ "$bad" = 0 ] || exit 1
echo "$(wc -l <"$work/up") entries, $(wc -l <"$work/down") hooks: the seam holds"
