#!/bin/bash
# SPDX-License-Identifier: MIT
# In the guest: plants each fault that run-tests.sh must report, and sees it reported, by its name
# and for the right reason; first of all a run without a fault, which must pass. Prints a line for
# each; ends with status 0 only if all were seen. $1: the folder with quarry_fault.ko.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
module=$1/quarry_fault.ko
work=$(mktemp -d)
seen=0 unseen=0

mkdir "$work/programs" "$work/sources"
for name in good miscounted failing skipping short planless silent disordered status crash hang \
	stray logged warn refcount held; do
	ln -s "$here/faults/tap.sh" "$work/programs/$name"
done

# try WHAT STATUS LINE LIST-LINE [OPTION...]: one run with a list of one line.
try() {
	local what=$1 wanted=$2 line=$3 list=$4 status=0
	shift 4
	printf '%s\n' "$list" >"$work/list"
	"$here/run-tests.sh" --module "$module" --programs "$work/programs" \
		--sources "$work/sources" --list "$work/list" "$@" >"$work/out" 2>&1 || status=$?
	if [[ $status == "$wanted" ]] && grep -qE -- "$line" "$work/out" &&
		{ [[ $status == 0 ]] || grep -qE '^[0-9]+ passed, [1-9][0-9]* failed$' "$work/out"; }; then
		echo "seen: $what"
		seen=$((seen + 1))
	else
		echo "NOT SEEN: $what (status $status, wanted $wanted and a line like: $line)"
		sed 's/^/    /' "$work/out"
		unseen=$((unseen + 1))
	fi
}

try 'a run without a fault' 0 '^2 passed, 0 failed$' 'good 2 9 it passes'
try 'a failing case' 1 '^FAIL failing: not ok 2' 'failing 2 9 x'
try 'a skipped case' 1 '^FAIL skipping: it skipped' 'skipping 2 9 x'
try 'fewer cases than the list expects' 1 '^FAIL miscounted: the list expects 3' 'miscounted 3 9 x'
try 'fewer cases than the plan says' 1 '^FAIL short: its plan says 2 cases, it reported 1' 'short 2 9 x'
try 'no plan' 1 '^FAIL planless: it printed no plan' 'planless 2 9 x'
try 'no output' 1 '^FAIL silent: it printed no plan' 'silent 1 9 x'
try 'results out of order' 1 '^FAIL disordered: its results are out of order' 'disordered 2 9 x'
try 'a bad exit status' 1 '^FAIL status: it ended with status 3' 'status 2 9 x'
try 'a crash' 1 '^FAIL crash: it was killed by signal 11' 'crash 2 9 x'
try 'a hang' 1 '^FAIL hang: it did not end within 1 s' 'hang 2 1 x'
try 'a process left behind' 1 '^FAIL stray: it left processes behind' 'stray 2 9 x'
try 'a missing program' 1 '^FAIL absent: there is no such program' 'absent 2 9 x'
try 'a list without programs' 1 '^FAIL list: it names no program' '# empty'
try 'a broken line in the list' 1 '^FAIL good: its line in the list' 'good two 9 x'
try 'a name that is not in the list' 1 '^FAIL other: it is not in the list' 'good 2 9 x' other
touch "$work/sources/unlisted.c"
try 'a source that is not in the list' 1 '^FAIL unlisted.c: the list does not name it' 'good 2 9 x'
rm "$work/sources/unlisted.c"
try 'a missing module' 1 '^FAIL insmod: there is no module' 'good 2 9 x' --module "$work/none.ko"
echo junk >"$work/junk.ko"
try 'a module that does not load' 1 '^FAIL insmod: the module does not load' 'good 2 9 x' \
	--module "$work/junk.ko"
try 'tests that did not run' 1 '^FAIL good: not run: no module' 'good 2 9 x' --module "$work/none.ko"
try 'a warning line in the kernel log' 1 '^FAIL logged: the kernel complained' 'logged 2 9 x'
try 'a real kernel warning' 1 '^FAIL warn: the kernel complained' 'warn 2 9 x'
try 'a bad reference count' 1 '^FAIL refcount: the kernel complained' 'refcount 2 9 x'
try 'a vmalloc leak' 1 '^FAIL rmmod: vmalloc areas' 'good 2 9 x' --parameters at_exit=vmalloc
try 'a page leak' 1 '^FAIL rmmod: [0-9]+ KiB are gone' 'good 2 9 x' --parameters at_exit=pages
try 'a module that something holds' 1 '^FAIL held: the module is still in use' 'held 2 9 x' \
	--parameters at_exit=hold
rm -rf "$work"
echo "$seen seen, $unseen not seen"
((unseen == 0 && seen == 26))
