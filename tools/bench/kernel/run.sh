#!/bin/bash
# SPDX-License-Identifier: MIT
# Measures drivers' allocations in Quarry and in the kernel: tools/bench/kernel/run.sh BOOTS KERNEL.json
#
# On the newest User Mode Linux, with two virtual CPUs, each pinned to one of the host's: its code is the
# kernel's, at the host's speed. All cases run in one boot, allocators in turn; medians over the boots.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
boots=$1 result=$2 work=$root/build/bench/kernel guest=''

end_guest() {
	[[ -z $guest ]] || kill -KILL -- "-$guest" 2>/dev/null || true
	guest=''
}
trap end_guest EXIT

build() {
	local objects=$1 source=$2 links
	local -a compiler=()
	! command -v ccache >/dev/null || compiler=(CC="ccache gcc")
	links=$(QUARRY_OUT=$work/module "$root/tools/kernels/module.sh" uml-newest)
	mkdir -p "$work/bench" "$work/guest/bin" "$work/guest/dev" "$work/home"
	cp -u "$here"/Kbuild "$here"/*.c "$here"/*.h "$work/bench/"
	if ! make -C "$objects" ARCH=um M="$work/bench" QUARRY_ROOT="$root" KERNEL_SOURCE="$source" \
		KBUILD_EXTRA_SYMBOLS="$links/Module.symvers" "${compiler[@]}" modules >"$work/build.log" 2>&1; then
		cat "$work/build.log" >&2
		exit 1
	fi
	install -m 755 "$here/guest-init" "$work/guest/init"
	cp "$(command -v busybox)" "$work/guest/bin/"
	cp "$links/quarry.ko" "$work/bench/kernel_bench.ko" "$work/guest/"
	(cd "$work/guest" && find . | cpio -o -H newc --quiet --owner=0:0) | gzip -1 >"$work/guest.gz"
}

# One host thread is one virtual CPU.
pin_cpus() {
	local cpu=0 task
	for task in "/proc/$guest/task"/*; do
		taskset -cp "$cpu" "${task##*/}" >/dev/null 2>&1 || true
		cpu=$((cpu + 1))
		[[ $cpu -lt 2 ]] || break
	done
}

boot() {
	local objects=$1 log=$2 started=$SECONDS pinned=no
	HOME=$work/home TMPDIR=$work/home setsid "$objects/linux" mem=1024M "initrd=$work/guest.gz" con0=fd:0,fd:1 \
		con=null ssl=null rdinit=/init panic=-1 loglevel=8 printk.devkmsg=on ncpus=2 seccomp=on \
		</dev/null >"$log" 2>&1 &
	guest=$!
	disown "$guest"
	while kill -0 "$guest" 2>/dev/null; do
		if [[ $pinned == no ]] && grep -q 'Run /init' "$log"; then
			pin_cpus
			pinned=yes
		fi
		if ((SECONDS - started > 200)); then
			echo "kernel-bench: timed out" >>"$log"
			break
		fi
		sleep 0.2
	done
	end_guest
	if ! grep -q 'kernel-bench: end 0' "$log"; then
		tail -n 40 "$log" >&2
		exit 1
	fi
}

objects=$("$root/tools/kernels/uml.sh" newest)
source=$("$root/tools/kernels/get.sh" source newest)
# Figures are of this run alone.
rm -f "$work"/boot-*.log
build "$objects" "$source"
for ((i = 1; i <= boots; i++)); do
	echo "kernel-bench: boot $i of $boots, load $(cut -d' ' -f1-3 /proc/loadavg)"
	boot "$objects" "$work/boot-$i.log"
done
python3 -B "$here/kernel_report.py" "$result" "$work"/boot-*.log
