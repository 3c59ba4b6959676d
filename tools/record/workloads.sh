#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Records real programs at real work: tools/record/workloads.sh OUTDIR [NAME...]
#
# Leaves OUTDIR/NAME.qtrace for each of
#   cc1plus   the C++ compiler on the core (module/core/core.cpp), without optimising
#   perl      word frequencies and sorting over this tree's sources
#   git       a history of this tree's sources: log -p, blame, a gc that packs with two threads
#   sqlite3   a shop: 50,000 orders, indices, joins, updates, vacuum
#   threads   perl again, counting words in three threads at once
# and OUTDIR/summary.json, what `quarry-trace info` says of them. The inputs depend on this tree
# alone. A trace is replaced only by a whole one; a program that fails fails the recording.
#
# Environment: RECORD_BUILD, where the recorder was built (default build/tools/record).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=$(cd "${RECORD_BUILD:-$root/build/tools/record}" && pwd)
max_total_bytes=$((40 * 1024 * 1024))
seconds_each=60

die() {
	echo "workloads: $*" >&2
	exit 1
}

[[ $# -ge 1 ]] || die "usage: tools/record/workloads.sh OUTDIR [NAME...]"
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
all=(cc1plus perl git sqlite3 threads)
wanted=("${@:-${all[@]}}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# One locale, one time zone, no settings of the user's: the same work on every machine.
export LC_ALL=C TZ=UTC HOME=$scratch PERL_HASH_SEED=0 PERL_PERTURB_KEYS=0
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat GIT_TERMINAL_PROMPT=0
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE QUARRY_TRACE_MAX_BYTES

# The sources of this tree, at most 700 kB of them, in a fixed order.
sources() {
	local bytes=0 size file
	while IFS= read -r file; do
		size=$(stat -c %s "$file")
		((bytes += size)) || true
		[[ $bytes -le 700000 ]] || return 0
		printf '%s\n' "$file"
	done < <(cd "$root" && find "$root"/{module,uapi,tools,selftests,kunit} -type f \
		\( -name '*.c' -o -name '*.h' -o -name '*.cpp' -o -name '*.hpp' -o -name '*.sh' \) \
		-size -200k 2>/dev/null | sort)
}

# Runs a command, with the processes of one executable recorded into $scratch/raw/NAME.
record() { # NAME EXECUTABLE COMMAND...
	local name=$1 executable=$2 folder=$scratch/raw/$1
	shift 2
	mkdir -p "$folder"
	env QUARRY_TRACE_DIR="$folder" QUARRY_TRACE_ONLY="$executable" \
		LD_PRELOAD="$tools/libquarry-record.so" \
		timeout "$seconds_each" "$@" >>"$scratch/$name.log" 2>&1 || {
		tail -n 20 "$scratch/$name.log" >&2
		die "$name failed, or took longer than $seconds_each s"
	}
}

work_cc1plus() {
	record cc1plus cc1plus g++ -std=gnu++20 -O0 -ffreestanding -fno-exceptions -fno-rtti \
		-I"$root/module/include" -I"$root/module/core" -I"$root/uapi" \
		-c "$root/module/core/core.cpp" -o "$scratch/core.o"
}

work_perl() {
	local -a files
	mapfile -t files < <(sources)
	record perl perl perl "$here/workloads/words.pl" "${files[@]}"
}

# The sources arrive in 40 commits; each also edits what came before.
make_history() {
	local repository=$1 commit=0 file count=0
	local -a files
	mapfile -t files < <(sources)
	git init -q -b main "$repository"
	git -C "$repository" config user.name Recorder
	git -C "$repository" config user.email recorder@example.invalid
	git -C "$repository" config gc.auto 0
	for file in "${files[@]}"; do
		cp "$file" "$repository/$(printf '%03d' "$count")-${file##*/}"
		count=$((count + 1))
		if ((count % (1 + ${#files[@]} / 40) == 0 || count == ${#files[@]})); then
			commit=$((commit + 1))
			find "$repository" -maxdepth 1 -type f -name '0[0-2]*' -exec \
				sed -i "$((commit * 3))s/\$/ \/\/ edited in $commit/" {} +
			git -C "$repository" add -A
			GIT_AUTHOR_DATE="@$((1700000000 + commit * 600)) +0000" \
				GIT_COMMITTER_DATE="@$((1700000000 + commit * 600)) +0000" \
				git -C "$repository" commit -q -m "change $commit"
		fi
	done
}

work_git() {
	local repository=$scratch/repository
	make_history "$repository"
	record git git git -C "$repository" log -p --stat
	record git git git -C "$repository" blame -w "$(git -C "$repository" ls-files | head -n 1)"
	record git git git -C "$repository" -c pack.threads=2 -c pack.window=20 gc --quiet --prune=now
	record git git git -C "$repository" fsck --full
}

work_sqlite3() {
	record sqlite3 sqlite3 sqlite3 -batch -bail -init /dev/null "$scratch/shop.db" \
		".read $here/workloads/shop.sql"
	grep -qx ok "$scratch/sqlite3.log" || die "sqlite3: the shop's integrity check does not say ok"
}

work_threads() {
	local -a files
	mapfile -t files < <(sources)
	record threads perl perl "$here/workloads/threads.pl" "${files[@]}"
}

# The traces of one program become OUTDIR/NAME.qtrace.
collect() {
	local name=$1
	local -a raw
	mapfile -t raw < <(find "$scratch/raw/$name" -name '*.qtrace' | sort -V)
	[[ ${#raw[@]} -gt 0 ]] || die "$name was not recorded: is it statically linked?"
	if [[ ${#raw[@]} -eq 1 ]]; then
		"$tools/quarry-trace" info "${raw[0]}" >/dev/null || die "$name: its trace is not whole"
		cp "${raw[0]}" "$out/$name.qtrace.part"
		mv "$out/$name.qtrace.part" "$out/$name.qtrace"
	else
		"$tools/quarry-trace" merge --name "$name" -o "$out/$name.qtrace" "${raw[@]}" ||
			die "$name: its traces are not whole"
	fi
	rm -rf "$scratch/raw/$name"
}

total=0
for name in "${wanted[@]}"; do
	[[ " ${all[*]} " == *" $name "* ]] || die "no workload '$name'; there are: ${all[*]}"
	start=$SECONDS
	"work_$name"
	collect "$name"
	bytes=$(stat -c %s "$out/$name.qtrace")
	total=$((total + bytes))
	echo "recorded $name: $bytes bytes in $((SECONDS - start)) s" >&2
done
[[ $total -le $max_total_bytes ]] || die "the traces take $total bytes, more than $max_total_bytes"
"$tools/quarry-trace" info --json "$out"/*.qtrace >"$out/summary.json.part"
mv "$out/summary.json.part" "$out/summary.json"
