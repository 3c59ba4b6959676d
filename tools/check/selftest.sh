#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Plants a fault for each detector in a copy of the tree, and wants it found.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$work"
cd "$work"
git init -q .
git add -A
here=$work
found=0

plant() { # what, file to change, line to append, command that must fail, text it must print
	local what=$1 file=$2 line=$3 command=$4 text=$5 out
	cp "$file" "$here/.saved"
	printf '%s\n' "$line" >>"$file"
	if out=$(eval "$command" 2>&1); then
		echo "not found: $what"
		exit 1
	fi
	if ! grep -qF -- "$text" <<<"$out"; then
		echo "$what: failed for another reason: $out"
		exit 1
	fi
	cp "$here/.saved" "$file"
	found=$((found + 1))
}

base=module/core/base/bits.hpp
plant 'a kernel header in the core' $base '#include <linux/slab.h>' tools/check/laws.sh 'a kernel header'
plant 'a kernel header in the core, by layer' $base '#include <linux/slab.h>' tools/check/layers.sh 'linux/slab.h'
plant 'a hosted header in the core' $base '#include <vector>' tools/check/layers.sh '<vector> is not'
plant 'an include to the right' $base '#include "../pool/pool.hpp"' tools/check/layers.sh 'base may not include'
plant 'BUG in the module' module/include/quarry_seam.h 'static void f(void) { BUG(); }' tools/check/laws.sh 'no BUG'
plant 'an unfinished place' $base "// $(printf 'TO%s' DO)" tools/check/laws.sh 'unfinished'
plant 'a virtual function' $base 'struct V { virtual void f(); };' tools/check/laws.sh 'virtual calls'
plant 'a long file' $base "$(yes '//' | head -n 700)" tools/check/laws.sh 'ends at 600'
plant 'an entry without a body' module/include/quarry_seam.h 'void quarry_core_planted(void);' \
	tools/check/seam.sh 'quarry_core_planted'
plant 'a hook that nobody calls' module/include/quarry_seam.h 'void quarry_os_planted(void);' \
	tools/check/seam.sh 'quarry_os_planted'
plant 'a mistake that clang-tidy knows' $base 'inline unsigned long planted() { return sizeof(sizeof(int)); }' \
	tools/check/tidy.sh 'bugprone-sizeof-expression'
# What a check says last is no proof: each of these goes on to its last line.
plant 'a shell script that shellcheck knows better' tools/deps.sh "cd \$1" \
	'tools/check/check.sh shellcheck' 'not ok shellcheck'
plant 'a word that is none' $base "// $(printf 'rec%s' ieve)" 'tools/check/check.sh spelling' 'not ok spelling'
plant 'a line too long for the kernel' module/main.c "/* $(printf '%0100d' 0) */" \
	'tools/check/check.sh checkpatch' 'not ok checkpatch'
touch planted.txt && git add planted.txt
plant 'a stranger at the top level' $base '' tools/check/laws.sh 'the top level is fixed'
git rm -q --cached planted.txt
sed -i 1,2d $base
plant 'a missing licence' module/core/base/list.hpp '' tools/check/laws.sh 'SPDX-License-Identifier'
echo "$found planted faults found"
