#!/bin/bash
# SPDX-License-Identifier: MIT
# In the guest: plants each fault that run-tests.sh must report, and sees it reported, by its name
# and for the right reason; first of all a run without a fault, which must pass. Prints a line for
# each; ends with status 0 only if all were seen. $1: the folder with quarry_fault.ko.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
module=$1/quarry_fault.ko
work=$(mktemp -d)
seen=0 unseen=0 status=0

mkdir "$work/programs" "$work/sources"
for name in good miscounted failing skipping short planless silent disordered status crash hang \
	stray logged warn refcount held; do
	ln -s "$here/faults/tap.sh" "$work/programs/$name"
done

# run LIST [OPTION...]: one run with that list; sets status, and $work/out.
run() {
	local list=$1
	shift
	status=0
	printf '%s\n' "$list" >"$work/list"
	"$here/run-tests.sh" --module "$module" --programs "$work/programs" \
		--sources "$work/sources" --list "$work/list" "$@" >"$work/out" 2>&1 || status=$?
}

# expect WHAT STATUS LINE: what the last run must have ended with, and said.
expect() {
	if [[ $status == "$2" ]] && grep -qE -- "$3" "$work/out" &&
		{ [[ $status == 0 ]] || grep -qE '^[0-9]+ passed, [1-9][0-9]* failed$' "$work/out"; }; then
		echo "seen: $1"
		seen=$((seen + 1))
	else
		echo "NOT SEEN: $1 (status $status, wanted $2 and a line like: $3)"
		sed 's/^/    /' "$work/out"
		unseen=$((unseen + 1))
	fi
}

# try WHAT STATUS LINE LIST [OPTION...]: both.
try() {
	local what=$1 wanted=$2 line=$3
	shift 3
	run "$@"
	expect "$what" "$wanted" "$line"
}

try 'a run without a fault' 0 '^2 passed, 0 failed$' 'good 2 9 it passes'

# What a program may do wrong, all in one run: each is found, and hides nothing that comes after it.
run 'failing 2 9 x
skipping 2 9 x
miscounted 3 9 x
short 2 9 x
planless 2 9 x
silent 1 9 x
disordered 2 9 x
status 2 9 x
crash 2 9 x
hang 2 1 x
stray 2 9 x
logged 2 9 x
warn 2 9 x
refcount 2 9 x
absent 2 9 x
good 2 9 and it still passes'
expect 'a failing case' 1 '^FAIL failing: not ok 2'
expect 'a skipped case' 1 '^FAIL skipping: it skipped'
expect 'fewer cases than the list expects' 1 '^FAIL miscounted: the list expects 3'
expect 'fewer cases than the plan says' 1 '^FAIL short: its plan says 2 cases, it reported 1'
expect 'no plan' 1 '^FAIL planless: it printed no plan'
expect 'no output' 1 '^FAIL silent: it printed no plan'
expect 'results out of order' 1 '^FAIL disordered: its results are out of order'
expect 'a bad exit status' 1 '^FAIL status: it ended with status 3'
expect 'a crash' 1 '^FAIL crash: it was killed by signal 11'
expect 'a hang' 1 '^FAIL hang: it did not end within 1 s'
expect 'a process left behind' 1 '^FAIL stray: it left processes behind'
expect 'a warning line in the kernel log' 1 '^FAIL logged: the kernel complained'
expect 'a real kernel warning' 1 '^FAIL warn: the kernel complained'
expect 'a bad reference count' 1 '^FAIL refcount: the kernel complained'
expect 'a missing program' 1 '^FAIL absent: there is no such program'
expect 'a program without a fault among them' 1 '^ok   good \(2 cases'

try 'a list without programs' 1 '^FAIL list: it names no program' '# empty'
try 'a broken line in the list' 1 '^FAIL good: its line in the list' 'good two 9 x'
try 'a name that is not in the list' 1 '^FAIL other: it is not in the list' 'good 2 9 x' other
touch "$work/sources/unlisted.c"
try 'a source that is not in the list' 1 '^FAIL unlisted.c: the list does not name it' 'good 2 9 x'
rm "$work/sources/unlisted.c"
try 'a missing module' 1 '^FAIL insmod: there is no module' 'good 2 9 x' --module "$work/none.ko"
expect 'tests that did not run' 1 '^FAIL good: not run: no module'
echo junk >"$work/junk.ko"
try 'a module that does not load' 1 '^FAIL insmod: the module does not load' 'good 2 9 x' \
	--module "$work/junk.ko"
try 'a vmalloc leak' 1 '^FAIL rmmod: vmalloc areas' 'good 2 9 x' --parameters at_exit=vmalloc
try 'a page leak' 1 '^FAIL rmmod: [0-9]+ KiB are gone' 'good 2 9 x' --parameters at_exit=pages
try 'a module that something holds' 1 '^FAIL held: the module is still in use' 'held 2 9 x' \
	--parameters at_exit=hold
expect 'a module that does not unload' 1 '^FAIL rmmod: the module does not unload'
rm -rf "$work"
echo "$seen seen, $unseen not seen"
((unseen == 0 && seen == 28))
