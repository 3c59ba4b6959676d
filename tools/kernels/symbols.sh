#!/bin/bash
# SPDX-License-Identifier: MIT
# Looks at what the module's build made: tools/kernels/symbols.sh KERNEL | --self-test [KERNEL]
#
# KERNEL is one of module.sh's. Fails unless
#   - all that quarry.ko leaves undefined is in that kernel's Module.symvers;
#   - all that the core's object leaves undefined is a hook of the seam header or in compiler-symbols.txt;
#   - the core's object has no static initialisers (nothing would run them), and no floating point or SSE;
#   - objtool has validated it (stock kernels).
# --self-test plants each of these faults in a module of a few lines and sees it found.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
# shellcheck source=tools/kernels/lib.sh
. "$here/lib.sh"
bad=0

fault() {
	say "$*"
	bad=1
}

kdir_of() {
	case $1 in
	uml-*) "$here/uml.sh" "${1#uml-}" ;;
	*) "$here/get.sh" headers "$1" ;;
	esac
}

undefined() {
	nm --undefined-only --format=posix "$1" | cut -d' ' -f1 | sort -u
}

# The hooks that the seam header declares, without its comments.
hooks() {
	tr '\n' ' ' <"$1" | sed 's:/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/::g' |
		grep -oE '\bquarry_os_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u
}

check_module() {
	local kernel=$1 module=$2 symvers=$3 name
	while read -r name; do
		fault "$kernel: quarry.ko wants $name, which this kernel does not export"
	done < <(comm -23 <(undefined "$module") <(cut -f2 "$symvers" | sort -u))
}

check_core() {
	local kernel=$1 core=$2 seam=$3 build=stock name pattern patterns sections found
	[[ $kernel != uml-* ]] || build=uml
	patterns=$(awk -v build=$build '!/^#/ && NF && ($2 == "all" || $2 == build) { print $1 }' \
		"$here/compiler-symbols.txt")
	while read -r name; do
		found=no
		while read -r pattern; do
			[[ ! $name =~ ^$pattern$ ]] || found=yes
		done <<<"$patterns"
		[[ $found == yes ]] || fault "$kernel: the core wants $name: no hook of the seam, no compiler symbol"
	done < <(comm -23 <(undefined "$core") <(hooks "$seam"))
	sections=$(objdump -h "$core" | awk '$2 ~ /^\.(init_array|ctors|fini_array|dtors|tbss|tdata)/ { print $2 }')
	[[ -z $sections ]] || fault "$kernel: the core has static initialisers: ${sections//$'\n'/ }"
	found=$(objdump -d --no-show-raw-insn "$core" | grep -E '%([xyz]mm|mm[0-7]|st\b)' | head -n 3) || true
	[[ -z $found ]] || fault "$kernel: the core uses floating point or SSE: $found"
}

# objtool leaves its unwind tables in what it has seen: in the core's object, or with IBT in the whole module.
check_objtool() {
	local kernel=$1 folder=$2 object
	for object in quarry.o module/core/core.o; do
		if grep -q 'objtool/objtool' "$folder/$(dirname $object)/.$(basename $object).cmd" &&
			[[ $(objdump -h "$folder/$object") == *' .orc_unwind '* ]]; then
			return
		fi
	done
	fault "$kernel: objtool did not see the core"
}

check() {
	local kernel=$1 sources=${QUARRY_SOURCES:-$root} folder kdir core
	kdir=$(kdir_of "$kernel")
	folder=$("$here/module.sh" "$kernel")
	core=$folder/module/core/core.o
	# An empty object would pass everything below.
	[[ $(nm --defined-only "$core") == *' T quarry_core_'* ]] || die "$core holds no entry of the seam"
	check_module "$kernel" "$folder/quarry.ko" "$kdir/Module.symvers"
	check_core "$kernel" "$core" "$sources/module/include/quarry_seam.h"
	[[ $kernel == uml-* ]] || check_objtool "$kernel" "$folder"
	[[ $bad -eq 0 ]] || exit 1
	echo "$kernel: $(undefined "$folder/quarry.ko" | wc -l) symbols of the kernel," \
		"$(undefined "$core" | wc -l) of the core, all known"
}

# A module of a few lines, built by the real recipe, with CODE in its core and SHIM in its C.
plant() {
	local tree=$1 code=$2 shim=$3
	mkdir -p "$tree/module/core" "$tree/module/include" "$tree/uapi" "$tree/kunit"
	# The list of the shim's objects may run over several lines.
	perl -0pe 's/^quarry-shim :=(?:[^\n]*\\\n)*[^\n]*\n/quarry-shim := module\/main.o\n/m' "$root/Kbuild" >"$tree/Kbuild"
	cp "$root/module/include/quarry_seam.h" "$tree/module/include/"
	cat >"$tree/module/main.c" <<-END
		// SPDX-License-Identifier: GPL-2.0 OR MIT
		#include <linux/module.h>
		int quarry_core_planted(int argument);
		$shim
		static int __init planted_init(void)
		{
			return quarry_core_planted(1);
		}
		static void __exit planted_exit(void)
		{
		}
		module_init(planted_init);
		module_exit(planted_exit);
		MODULE_LICENSE("Dual MIT/GPL");
		MODULE_DESCRIPTION("A module to plant faults in");
	END
	cat >"$tree/module/core/core.cpp" <<-END
		// SPDX-License-Identifier: GPL-2.0 OR MIT
		#include <atomic>
		template <int N> struct Table { int values[N]; };
		constinit Table<4> table{{1, 2, 3, 4}};
		constinit std::atomic<int> counter{0};
		extern "C" int quarry_core_planted(int argument);
		$code
		int quarry_core_planted(int argument)
		{
		    return planted(argument) + table.values[counter.fetch_add(1) & 3];
		}
	END
}

self_test() {
	local kernel=$1 work passed=0 failed=0
	work=$(mktemp -d)
	# shellcheck disable=SC2064 # the name is fixed now
	trap "rm -rf '$work'" EXIT
	# expect NAME TEXT CODE [SHIM]: with CODE in the core the check fails and says TEXT; no TEXT: it passes.
	expect() {
		local name=$1 text=$2 rc=0
		plant "$work/$name" "$3" "${4:-}"
		QUARRY_SOURCES=$work/$name QUARRY_OUT=$work/out/$name "$here/symbols.sh" "$kernel" >"$work/log" 2>&1 || rc=$?
		if [[ (-z $text && $rc -eq 0) || (-n $text && $rc -ne 0 && $(<"$work/log") == *"$text"*) ]]; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
			say "self-test $name: exit status $rc, wanted '${text:-a pass}'"
			tail -n 20 "$work/log" >&2
		fi
	}
	expect clean '' 'static int planted(int a) { return a; }'
	expect kernel-symbol 'the core wants kfree' \
		'extern "C" void kfree(const void *); static int planted(int a) { kfree(nullptr); return a; }'
	expect unlisted-hook 'the core wants quarry_os_unlisted' \
		'extern "C" int quarry_os_unlisted(int); static int planted(int a) { return quarry_os_unlisted(a); }' \
		'int quarry_os_unlisted(int a); int quarry_os_unlisted(int a) { return a; }'
	expect missing-symbol '"quarry_nowhere" [' \
		'extern "C" int quarry_nowhere(int); static int planted(int a) { return quarry_nowhere(a); }'
	expect initialiser 'the core has static initialisers: .init_array' \
		'extern "C" int quarry_core_planted(int); static int late = quarry_core_planted(3); static int planted(int a) { return a + late; }'
	expect floating-point 'does not build' \
		'static volatile double ratio = 1.5; static int planted(int a) { return static_cast<int>(ratio * a); }'
	expect sse 'the core uses floating point or SSE' \
		'static int planted(int a) { asm volatile("pxor %%xmm0, %%xmm0" ::: "memory"); return a; }'
	expect warning 'does not build' 'static int planted(int a) { int unused; return a; }'
	if [[ $kernel != uml-* ]]; then
		expect naked-return 'objtool' 'static int planted(int a) { asm volatile("test %0, %0; jz 1f; ret; 1:" :: "r"(a)); return a; }'
	fi
	echo "$passed passed, $failed failed"
	[[ $failed -eq 0 ]] || exit 1
}

case ${1:-} in
--self-test) self_test "${2:-6.1}" ;;
'') die "usage: tools/kernels/symbols.sh KERNEL | --self-test [KERNEL]" ;;
*) check "$1" ;;
esac
