#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# `make check`: everything that can be known without running Quarry. Each check is a
# line `ok NAME` or `not ok NAME` with what it said; the last line counts them.
#
#   check.sh [NAME...]     all checks, or those named
#   check.sh --run COMMAND [ARGUMENT...]
#                          one of the functions below or a command, alone: how each is run, for
#                          bash forgets `set -e` in what an `if` calls
set -euo pipefail

log=build/check
mkdir -p "$log"
passed=0
failed=0
wanted=("$@")
this=$(realpath "${BASH_SOURCE[0]}")

# Root checks a checkout of another user (a CI container): git would list no file of it.
count=${GIT_CONFIG_COUNT:-0}
export "GIT_CONFIG_KEY_$count=safe.directory" "GIT_CONFIG_VALUE_$count=$PWD" GIT_CONFIG_COUNT=$((count + 1))

# As many at a time as there are CPUs; what each has to say is said in order.
names=()
running=0
check() { # name, command...
	local name=$1
	shift
	if [ "${#wanted[@]}" -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return; fi
	names+=("$name")
	rm -f "$log/$name.end"
	if [ "$running" -ge "$(nproc)" ]; then
		wait -n || true
		running=$((running - 1))
	fi
	{
		start=$SECONDS status=0
		bash "$this" --run "$@" >"$log/$name.log" 2>&1 || status=$?
		echo "$status $((SECONDS - start))" >"$log/$name.end"
	} &
	running=$((running + 1))
}

report() {
	local name status seconds
	wait
	for name in "${names[@]}"; do
		status='' seconds=0
		read -r status seconds <"$log/$name.end" || true
		if [ "$status" = 0 ]; then
			passed=$((passed + 1))
			printf 'ok %s (%d s): %s\n' "$name" "$seconds" "$(tail -n 1 "$log/$name.log")"
		else
			failed=$((failed + 1))
			printf 'not ok %s (%d s)\n' "$name" "$seconds"
			sed 's/^/    /' "$log/$name.log" | tail -n 60
		fi
	done
}

shell_scripts() {
	local scripts
	mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
	[ "${#scripts[@]}" -ge 5 ] || { echo "only ${#scripts[@]} scripts are tracked" && return 1; }
	shellcheck "${scripts[@]}"
	echo "${#scripts[@]} scripts"
}

# The kernel's own style checker, on everything that is kernel C.
checkpatch() {
	local source shim suites
	source=$(tools/kernels/get.sh source 6.1)
	mapfile -t shim < <(git ls-files 'module/*.c' 'module/*.h' 'module/include/*.h' 'uapi/*.h')
	mapfile -t suites < <(git ls-files 'kunit/*.c' 'kunit/*.h')
	[ "${#shim[@]}" -ge 5 ] || { echo "only ${#shim[@]} files of kernel C" && return 1; }
	# Not ours: patch metadata; symbols of this tree that the checker cannot know;
	# tracepoint macros, which it cannot read; C++ and user space share headers, and have no BIT.
	local command=(perl "$source/scripts/checkpatch.pl" --no-tree --strict --terse --show-types --no-summary -q
		--ignore "FILE_PATH_CHANGES,CAMELCASE,SPDX_LICENSE_TAG,PREFER_KERNEL_TYPES"
		--ignore "TRACE_EVENT,COMPLEX_MACRO,OPEN_ENDED_LINE,SPACING,LINUX_VERSION_CODE,CONSTANT_COMPARISON,CONST_STRUCT"
		--ignore "MACRO_ARG_REUSE,MACRO_ARG_PRECEDENCE,EMBEDDED_FILENAME,BIT_MACRO")
	"${command[@]}" --max-line-length=100 -f "${shim[@]}"
	# The suites: one file lists all exports, one wraps hooks that no header declares; threads yield.
	"${command[@]}" --max-line-length=110 --ignore EXPORT_SYMBOL,AVOID_EXTERNS,YIELD,VSPRINTF_SPECIFIER_PX \
		--ignore MULTIPLE_ASSIGNMENTS,TRAILING_SEMICOLON -f "${suites[@]}"
	echo "${#shim[@]} and ${#suites[@]} files"
}

# The core is headers: they are what is looked at. (cppcheck does not parse C++20.)
core_analysis() { tools/check/tidy.sh; }

# Both compilers, warnings fatal; the kernel's flags are tried by the module's own build.
core_compiles() {
	local flags=(-std=c++20 -O2 -ffreestanding -fno-exceptions -fno-rtti -fno-threadsafe-statics
		-Wall -Wextra -Werror -c module/core/core.cpp)
	# (By -Wshadow g++ also means a hook that is called as a struct of C is.)
	g++ "${flags[@]}" -Wshadow=local -o "$log/core-g++.o"
	clang++ "${flags[@]}" -Wshadow -o "$log/core-clang++.o"
	# Every header stands alone.
	local header count=0
	while IFS= read -r header; do
		printf '#include "%s"\n' "$header" | g++ -std=c++20 -ffreestanding -fno-exceptions -fno-rtti \
			-Wall -Wextra -Werror -fsyntax-only -I. -x c++ -
		count=$((count + 1))
	done < <(git ls-files 'module/core/*.hpp' 'module/include/quarry_seam.h')
	echo "g++ and clang++; $count headers, each alone"
}

abi() { # the layout of every structure is the same for 64 and 32 bits, and padding is explicit
	local program=$log/abi.c
	{
		echo '#include <linux/quarry.h>'
		echo '#include <stddef.h>'
		grep -oE '^struct quarry_[a-z_]+' uapi/linux/quarry.h | sort -u | while read -r _ name; do
			echo "unsigned long size_of_$name = sizeof(struct $name);"
		done
	} >"$program"
	gcc -std=c11 -Iuapi -Wall -Wextra -Wpadded -Werror -S -o "$log/abi-64.s" "$program"
	gcc -m32 -std=c11 -Iuapi -Wall -Wextra -Wpadded -Werror -S -o "$log/abi-32.s" "$program"
	local sizes='s/^(size_of_[a-z_]+):|[[:space:]]\.(quad|long)[[:space:]]+([0-9]+)/\1\3/p'
	diff <(sed -nE "$sizes" "$log/abi-64.s" | grep -v '^$' | sort) <(sed -nE "$sizes" "$log/abi-32.s" | grep -v '^$' | sort)
	g++ -std=c++20 -Iuapi -Wall -Wextra -Werror -fsyntax-only -x c++ uapi/linux/quarry.h
	echo "$(grep -c size_of_ "$program") structures"
}

spelling() {
	local files
	mapfile -t files < <(git ls-files | grep -vE '\.(list|json|trace)$')
	[ "${#files[@]}" -ge 20 ] || { echo "only ${#files[@]} files are tracked" && return 1; }
	codespell --quiet-level=3 --ignore-words-list=iput,inout,ket,alloced,hist,fo,te,ans,crate,statics,ser,ro,nd,mis "${files[@]}"
	echo "${#files[@]} files"
}

if [ "${1:-}" = --run ]; then
	shift
	"$@"
	exit
fi

# The longest first.
check detectors tools/check/selftest.sh
check laws tools/check/laws.sh
check spelling spelling
check layers tools/check/layers.sh
check core-compiles core_compiles
check seam tools/check/seam.sh
check abi abi
check shellcheck shell_scripts
check checkpatch checkpatch
check core-analysis core_analysis
for kernel in 6.1 6.12 newest; do check "symbols-$kernel" tools/kernels/symbols.sh "$kernel"; done
report
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
