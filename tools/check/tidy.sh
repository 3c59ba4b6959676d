#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# clang-tidy on the core, as its one unit, its headers included. Exit 0: nothing found.
set -euo pipefail

clang-tidy --quiet --warnings-as-errors='*' --header-filter='module/core/.*' \
	--checks='-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-implicit-widening-of-multiplication-result,-bugprone-suspicious-include,clang-analyzer-*,-clang-analyzer-optin.performance.Padding,performance-*,-performance-no-int-to-ptr,misc-unused-*,readability-misleading-indentation' \
	module/core/core.cpp -- -std=c++20 -ffreestanding -fno-exceptions -fno-rtti
echo "clang-tidy: nothing in $(git ls-files 'module/core/*' | wc -l) files"
