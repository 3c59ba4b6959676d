#!/bin/bash
# SPDX-License-Identifier: MIT
# The self-test of the virtual machine: selftests/vm/selftest.sh [KERNEL]. Each way in which a run
# may go wrong is brought about, and vm.sh must end with the status and the words that belong to
# it; one boot more does the same for run-tests.sh (selftest-guest.sh). The last line is
# `N passed, N failed`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
kernel=${1:-6.1}
faults=$root/build/vm/faults/$kernel
passed=0 failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# try WHAT STATUS LINE ARGUMENT-OF-VM...
try() {
	local what=$1 wanted=$2 line=$3 status=0
	shift 3
	"$here/vm.sh" --kernel "$kernel" "$@" >"$out" 2>&1 || status=$?
	if [[ $status == "$wanted" ]] && grep -qE -- "$line" "$out"; then
		echo "ok   $what"
		passed=$((passed + 1))
	else
		echo "FAIL $what: status $status, wanted $wanted and a line like: $line"
		sed 's/^/    /' "$out"
		failed=$((failed + 1))
	fi
}

# A terminal takes what is typed once the prompt is there, so type then.
try_shell() {
	local typed second
	typed=$(mktemp -d)
	mkfifo "$typed/in"
	(
		exec 4>"$typed/in"
		for ((second = 0; second < 60; second++)); do
			! grep -q 'root@quarry' "$out" || break
			sleep 1
		done
		# shellcheck disable=SC2016 # for the shell in the guest
		echo 'echo "a shell on $(uname -r)"; exit 3' >&4
	) &
	try 'a shell in the guest answers' 3 'a shell on [0-9]' --shell --timeout 90 <"$typed/in"
	wait
	rm -rf "$typed"
}

build_fault_module() {
	local headers
	local -a command=(make)
	headers=$("$root/tools/kernels/get.sh" headers "$kernel")
	[[ $kernel != newest ]] || command=("$root/tools/kernels/newest-toolchain.sh" make)
	mkdir -p "$faults"
	cp -u "$here"/faults/{Kbuild,quarry_fault.c} "$faults/"
	"${command[@]}" -C "$headers" M="$faults" CONFIG_DEBUG_INFO_BTF_MODULES= modules >"$faults/build.log" 2>&1 || {
		cat "$faults/build.log" >&2
		exit 1
	}
}

build_fault_module
gcc -O2 -Wall -Werror -static -o "$faults/getppid_cost" "$here/faults/getppid_cost.c"
try 'the status of the command comes back' 7 '^said$' -- sh -c 'echo said; exit 7'
try 'a guest that is never up is a boot failure' 201 '^vm: boot timeout' --boot-timeout 1 -- true
try 'a command that does not end is a timeout' 202 '^vm: timeout' --timeout 15 -- sleep 100
try 'a panic is a panic' 203 '^vm: kernel panic' -- sh -c 'echo c >/proc/sysrq-trigger'
try 'a warning is fatal when asked' 203 'panic_on_warn' --panic-on-warn \
	-- sh -c "insmod '$faults/quarry_fault.ko'; echo warn >/sys/module/quarry_fault/parameters/now"
try 'a guest that is switched off has no report' 205 '^vm: no report' -- sh -c 'echo o >/proc/sysrq-trigger; sleep 60'
try 'icount counts the instructions of a system call' 0 '^getppid (2[5-9]|3[0-9]|4[0-4])[0-9]\.' \
	--icount -- "$faults/getppid_cost"
try_shell
try 'bpftrace and kprobes work in the guest' 0 '^traced$' -- "$here/selftest-trace.sh"
# The runner's plants leave warnings behind: a clean end of the script, but a log with complaints.
try 'the runner sees every planted fault, and the log shows the warnings' 204 \
	'ended with status 0$' --timeout 400 -- "$here/selftest-guest.sh" "$faults"
sed 's/^/    /' "$out" | grep -E 'seen' || true
echo "$passed passed, $failed failed"
((failed == 0))
