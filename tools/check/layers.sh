#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The core's layers: each folder of module/core may include only what stands left of it
# (and itself), and of the C++ library only the freestanding headers below.
#
#   layers.sh [--core DIR]     exit 0: the rule holds; else each breach on a line
set -euo pipefail

core=module/core
if [ "${1:-}" = --core ]; then core=$2; fi

# folder: the folders it may include. range, slots and object stand on platform.
declare -A may=(
	[base]="base"
	[platform]="base platform"
	[pages]="base platform pages"
	[slabs]="base platform pages slabs"
	[cache]="base platform pages slabs cache"
	[range]="base platform range"
	[slots]="base platform slots"
	[object]="base platform object"
	[pool]="base platform pages slabs cache range slots object pool"
	[seam]="base platform pages slabs cache range slots object pool seam"
)
library=" array atomic bit concepts cstddef cstdint limits new optional span type_traits utility "

breaches=0
breach() {
	echo "$1"
	breaches=$((breaches + 1))
}

files=0
while IFS= read -r file; do
	files=$((files + 1))
	rel=${file#"$core"/}
	layer=${rel%%/*}
	if [ "$layer" = "$rel" ]; then
		[ "$rel" = core.cpp ] || breach "$file: stands in no layer"
		layer=seam
	fi
	if [ -z "${may[$layer]:-}" ]; then
		breach "$file: '$layer' is no layer of the core"
		continue
	fi
	while IFS=: read -r line include; do
		case $include in
		*'<'*)
			name=${include#*<}
			name=${name%%>*}
			case $library in
			*" $name "*) ;;
			*) breach "$file:$line: <$name> is not on the list of library headers" ;;
			esac
			;;
		*'"'*)
			name=${include#*\"}
			name=${name%%\"*}
			target=$(realpath -m --relative-to="$core" "$(dirname "$file")/$name")
			if [ "$target" = ../include/quarry_seam.h ]; then continue; fi
			case " ${may[$layer]} " in
			*" ${target%%/*} "*) ;;
			*) breach "$file:$line: $layer may not include $target" ;;
			esac
			;;
		*) breach "$file:$line: an include that cannot be read: $include" ;;
		esac
	done < <(grep -nE '^[[:space:]]*#[[:space:]]*include' "$file" | sed 's/^\([0-9]*\):/\1:/')
done < <(find "$core" -name '*.hpp' -o -name '*.cpp' -o -name '*.h' | sort)

if [ "$files" -lt 10 ]; then breach "only $files files found in $core: is this the checkout's root?"; fi
if [ "$breaches" -gt 0 ]; then exit 1; fi
echo "$files files keep to their layers"
