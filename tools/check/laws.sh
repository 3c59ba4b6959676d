#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The laws that text can show: licences, file sizes, no kernel header and no runtime
# support in the core, no BUG in the module, the fixed top level, nothing unfinished.
#
#   laws.sh     from the checkout's root; exit 0: they hold; else each breach on a line
set -euo pipefail

breaches=0
breach() {
	echo "$1"
	breaches=$((breaches + 1))
}

# Every source says its licence in its first two lines, and the right one for its place.
licence_of() {
	case $1 in
	module/* | kunit/* | Kbuild | selftests/vm/faults/quarry_fault.c | tools/bench/vm/cache_cost/cache_cost.c) echo 'GPL-2.0 OR MIT' ;;
	uapi/*) echo 'GPL-2.0 WITH Linux-syscall-note' ;;
	*) echo 'MIT' ;;
	esac
}
sources=0
while IFS= read -r file; do
	case $file in
	*.c | *.h | *.hpp | *.cpp | *.sh | *.py | *.mk | *.bt | *.config | *Kconfig | Kbuild | Makefile | .ci/run) ;;
	*) continue ;;
	esac
	sources=$((sources + 1))
	wanted=$(licence_of "$file")
	head -n 2 "$file" | grep -qE "SPDX-License-Identifier: $wanted( \*/|\$)" ||
		breach "$file: its first lines do not say SPDX-License-Identifier: $wanted"
	lines=$(wc -l <"$file")
	# The ABI is one file with its manual at its head.
	[ "$lines" -le 600 ] || [ "$file" = uapi/linux/quarry.h ] || breach "$file: $lines lines; a file ends at 600"
done < <(git ls-files)
[ "$sources" -ge 20 ] || breach "only $sources sources are tracked: is this the checkout's root?"

while IFS= read -r hit; do breach "$hit (a kernel header in the core)"; done < <(
	grep -rnE '#[[:space:]]*include[[:space:]]*<(linux|asm|uapi)/' module/core || true)
while IFS= read -r hit; do breach "$hit (the core knows no exceptions, RTTI, virtual calls)"; done < <(
	grep -rnE '\b(throw|dynamic_cast|typeid|virtual)\b' module/core --include='*.hpp' --include='*.cpp' |
		grep -vE ':[0-9]+:[[:space:]]*//' || true)
while IFS= read -r hit; do breach "$hit (no BUG on anything)"; done < <(
	grep -rnE '\b(BUG|BUG_ON)\(' module kunit --include='*.c' --include='*.h' --include='*.hpp' --include='*.cpp' || true)
while IFS= read -r hit; do breach "$hit (unfinished, by its own words)"; done < <(
	git grep -nE '\b(TODO|FIXME|XXX|HACK)\b' -- ':!*.md' ':!.ci' ':!tools/check/laws.sh' |
		grep -v 'TODO.*XFAIL' || true)
while IFS= read -r hit; do breach "$hit (version differences live in module/compat.h alone)"; done < <(
	grep -nE 'LINUX_VERSION_CODE|KERNEL_VERSION' module/*.c module/*.h kunit/*.c 2>/dev/null |
		grep -v '^module/compat.h:' || true)
while IFS= read -r name; do
	case $name in
	.* | module | kunit | uapi | tools | selftests | Kbuild | Makefile | README.md | LICENSE) ;;
	*) breach "$name: the top level is fixed" ;;
	esac
done < <(git ls-files | cut -d/ -f1 | sort -u)

if [ "$breaches" -gt 0 ]; then exit 1; fi
echo "$sources sources keep the laws"
