#!/bin/bash
# SPDX-License-Identifier: MIT
# The main job (`make run`, which has built everything before): recorded programs in a kernel pool.
#
#   selftests/vm/run/run.sh [--fault FAULT] [--events N] [--out DIR]
#
# Boots a virtual machine with Debian's 6.1 (vm.sh), lets guest.sh do the work there and report.py
# judge it. Status 0 only if all counts agree, the kernel log is clean and nothing is left.
# --events N    play the first N events of each trace (RUN_EVENTS, 100000): what an emulated machine
#               does in a minute; the output says how much of each trace that is
# --fault F     plant a fault, which must be found: pattern, log, leak, count, bpftrace
# --out DIR     where what was counted stays (build/vm/run-report)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
fault=none events=${RUN_EVENTS:-100000} out=$root/build/vm/run-report

while (($#)); do
	case $1 in
	--fault) fault=$2 && shift ;;
	--events) events=$2 && shift ;;
	--out) out=$2 && shift ;;
	--help | -h)
		sed -n '3,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
		exit 0
		;;
	*) echo "run: unknown option $1 (see --help)" >&2 && exit 2 ;;
	esac
	shift
done

# Two runs at once would delete each other's results: the second waits for the first.
mkdir -p "$(dirname "$out")"
exec 9>"$out.lock"
flock -n 9 || { echo "run: waiting for another run in ${out#"$root"/}" && flock 9; }
began=$SECONDS
rm -rf "$out"
mkdir -p "$out/share"
status=0
echo "In the virtual machine (QEMU without KVM):"
"$root/selftests/vm/vm.sh" --kernel 6.1 --mem 2G --timeout 240 --keep "$out" --share "$out/share" \
	--env RUN_FAULT="$fault" --env RUN_EVENTS="$events" -- "$here/guest.sh" 9>&- || status=$?
python3 "$here/report.py" "$out/share" "$status" || status=1
if ((status)); then
	echo "run: FAILED after $((SECONDS - began)) s; what was counted: ${out#"$root"/}" >&2
	exit 1
fi
echo "run: ok, $((SECONDS - began)) s in the virtual machine"
