#!/bin/bash
# SPDX-License-Identifier: MIT
# pahole for a module with a C++ object: Kbuild calls it as PAHOLE. BTF cannot say C++, so units of that
# language are left out (gcc 12 calls C++20 c++14 in its debug information).
set -euo pipefail
cxx=c++,c++03,c++11,c++14
args=() seen=no
for arg in "$@"; do
	if [[ $arg == --lang_exclude=* ]]; then
		arg+=,$cxx
		seen=yes
	fi
	args+=("$arg")
done
[[ $seen == yes || ${1:-} != -* || ${1:-} == --version ]] || args=(--lang_exclude="$cxx" "${args[@]}")
exec pahole "${args[@]}"
