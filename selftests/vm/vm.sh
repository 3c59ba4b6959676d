#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs one command in a virtual machine with one of Debian's stock kernels.
#
#   selftests/vm/vm.sh [OPTION...] -- COMMAND [ARG...]
#   selftests/vm/vm.sh -- uname -r                        the command sees this machine's files
#   selftests/vm/vm.sh --smp 4 --mem 2G -- sh -c 'insmod build/module/6.1/quarry.ko && dmesg | tail'
#   selftests/vm/vm.sh --icount -- build/vm/tests/x       exact instruction counts (static program)
#   selftests/vm/vm.sh --shell                            a shell in the guest (make vm-shell)
#
# --kernel K          6.1 (default), 6.12 or newest, from tools/kernels/get.sh
# --mem M, --smp N    1G, 2 processors
# --timeout S         seconds for the whole run, boot included (300); --boot-timeout S (150)
# --append WORD       more kernel command line; may be given often
# --env NAME=VALUE    environment of the command; may be given often
# --share DIR         a folder of the host, writable in the guest as /run/share
# --initramfs-only    no host files: COMMAND[0] and each --file HOST[:GUEST] are packed instead
# --icount            one guest nanosecond is one guest instruction; one processor; implies the above
# --counted           the same clock, with the host's files
# --monitor SOCKET    QEMU's monitor, on a Unix socket there
# --panic-on-warn     stop at the first kernel warning
# --shell, --tty      a terminal in the guest; no time limit but by --timeout
# --keep DIR          keep console.log, dmesg.log and report.log there
#
# The guest: the host's root by 9p, read-only, with fresh /tmp, /var/tmp and /run; proc, sysfs,
# devtmpfs, debugfs, tracefs, cgroup2 and bpf; lo is up; the command is root in the caller's folder,
# without input; its output is streamed. There is no udev. An unprivileged user: setpriv
# --reuid 1000 --regid 1000 --clear-groups COMMAND.
#
# Exit status: the command's own, if the kernel had nothing to complain about. Otherwise, with a
# line `vm: ...` on stderr: 200 setup, 201 no boot, 202 timeout, 203 panic, 204 a complaint in the
# kernel log (kernel-log.sh), 205 the guest ended without a report. QEMU runs under TCG, never KVM,
# in a process group of its own that ends with this script, whatever ends it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=selftests/vm/kernel-log.sh
. "$here/kernel-log.sh"

readonly E_SETUP=200 E_BOOT=201 E_TIMEOUT=202 E_PANIC=203 E_LOG=204 E_REPORT=205
kernel=6.1 mem=1G smp=2 time_limit='' boot_limit=150 mode=9p icount=no tty=no share="" keep="" monitor=""
append=() env=() files=() command=()
qemu_pid='' watchdog_pid='' cat_pid='' run='' tty_state=''

say() { echo "vm: $*" >&2; }
die() {
	local status=$1
	shift
	say "$*"
	exit "$status"
}

# For busybox sh: single quotes only.
quote() {
	local word
	for word; do
		printf "'%s' " "${word//\'/\'\\\'\'}"
	done
}

parse() {
	while (($#)); do
		case $1 in
		--kernel) kernel=$2 && shift ;;
		--mem) mem=$2 && shift ;;
		--smp) smp=$2 && shift ;;
		--timeout) time_limit=$2 && shift ;;
		--boot-timeout) boot_limit=$2 && shift ;;
		--append) append+=("$2") && shift ;;
		--env) env+=("$2") && shift ;;
		--file) files+=("$2") && shift ;;
		--share) share=$(realpath -e "$2") && shift ;;
		--keep) keep=$2 && shift ;;
		--initramfs-only) mode=initramfs ;;
		--icount) icount=yes mode=initramfs smp=1 ;;
		--counted) icount=yes smp=1 ;;
		--monitor) monitor=$2 && shift ;;
		--panic-on-warn) append+=(panic_on_warn=1) ;;
		--tty) tty=yes ;;
		--shell) tty=yes command=(/bin/bash -i) ;;
		--help | -h)
			sed -n '3,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
			exit 0
			;;
		--)
			shift
			command=("$@")
			break
			;;
		*) die $E_SETUP "unknown option $1 (see --help)" ;;
		esac
		shift
	done
	((${#command[@]})) || die $E_SETUP "no command (see --help)"
	[[ $share == '' || $mode == 9p ]] || die $E_SETUP "--share needs the 9p mode"
}

# Everything that holds still between runs: busybox, init, the modules of one kernel, in load order.
base_archive() {
	local image=$1 release=$2 out=$3 stage name file
	stage=$(mktemp -d "$root/build/vm/stage.XXXXXX")
	mkdir -p "$stage"/{bin,modules,proc,sys,dev,root,tmp,run}
	cp "$(command -v busybox)" "$stage/bin/busybox"
	cp "$here/init" "$stage/init"
	: >"$stage/modules/order"
	while read -r _ file _; do
		name=$(basename "$file")
		name=${name%.xz}
		case $file in
		*.xz) xz -dc "$file" >"$stage/modules/$name" ;;
		*) cp "$file" "$stage/modules/$name" ;;
		esac
		echo "$name" >>"$stage/modules/order"
	done < <(for name in virtio_pci 9pnet_virtio 9p; do
		modprobe -d "$image/modules" -S "$release" --show-depends "$name"
	done | awk '$1 == "insmod" && !seen[$2]++')
	[[ -s $stage/modules/order ]] || die $E_SETUP "no 9p modules in $image"
	(cd "$stage" && find . | cpio -o -H newc --quiet -R 0:0) >"$out.$$"
	mv "$out.$$" "$out"
	rm -rf "$stage"
}

# The command, its environment and, without 9p, its files.
run_archive() {
	local image=$1 stage=$run/stage file from to word
	mkdir -p "$stage"
	{
		printf 'VM_NONCE=%s VM_MODE=%s VM_TTY=%s VM_KERNEL=%s\n' "$nonce" "$mode" "$tty" "$kernel"
		printf 'VM_ROOT=%s VM_IMAGE=%s VM_CWD=%s\n' "$(quote "$root")" "$(quote "$image")" \
			"$(quote "$PWD")"
		printf "VM_SHARE=%s VM_SIZE='%s'\n" "${share:+yes}" "$size"
	} >"$stage/vm.env"
	if [[ $mode == initramfs && -f ${command[0]} ]]; then
		files+=("${command[0]}:/pack/$(basename "${command[0]}")")
		command[0]=/pack/$(basename "${command[0]}")
	fi
	if [[ $mode == initramfs ]]; then
		for file in "${files[@]}"; do
			from=${file%%:*} to=/$(basename "$from")
			[[ $file != *:* ]] || to=${file#*:}
			[[ -f $from ]] || die $E_SETUP "no file $from"
			mkdir -p "$stage$(dirname "$to")"
			cp "$from" "$stage$to"
		done
	fi
	for word in TERM="${TERM:-dumb}" KERNEL="$kernel" "${env[@]}"; do
		printf 'export %s\n' "$(quote "$word")"
	done >"$stage/vm.cmd"
	quote "${command[@]}" >>"$stage/vm.cmd"
	echo >>"$stage/vm.cmd"
	(cd "$stage" && find . | cpio -o -H newc --quiet -R 0:0)
}

# shellcheck disable=SC2317,SC2329 # called by the trap
clean_up() {
	local status=$? pid
	trap - EXIT
	for pid in $qemu_pid $watchdog_pid; do
		kill -KILL -- "-$pid" 2>/dev/null || true
	done
	[[ -z $cat_pid ]] || kill "$cat_pid" 2>/dev/null || true
	[[ -z $tty_state ]] || stty "$tty_state" <&3 || true
	if [[ -n $keep && -n $run ]]; then
		mkdir -p "$keep"
		for name in console dmesg report; do
			cp "$run/$name.log" "$keep/" 2>/dev/null || true
		done
	fi
	[[ -z $run ]] || rm -rf "$run"
	exit "$status"
}

# In a group of its own: ends QEMU's group when the boot or the whole run takes too long.
watch_time() {
	# shellcheck disable=SC2016 # for the inner shell
	setsid setpriv --pdeathsig KILL bash -c '
		sleep "$1"
		grep -aqs "^booted " "$4/report.log" || { echo boot >"$4/late"; kill -KILL -- "-$3"; exit; }
		sleep "$(($2 > $1 ? $2 - $1 : 0))"
		echo run >"$4/late"
		kill -KILL -- "-$3"' watchdog "$boot_limit" "$time_limit" "$qemu_pid" "$run" \
		</dev/null >/dev/null 2>&1 3>&- &
	watchdog_pid=$!
	disown "$watchdog_pid"
}

# shellcheck disable=SC2054 # the commas are QEMU's
start_qemu() {
	local image=$1 line
	local -a accel=(-accel tcg,thread=multi -smp "$smp") out=(-chardev "file,id=out,path=$run/out")
	[[ $icount == no ]] || accel=(-accel tcg,thread=single -icount shift=0,sleep=off -smp 1)
	[[ $tty == no ]] || out=(-chardev stdio,id=out,signal=off)
	# An emulated CPU on a busy host may stand still for long: only minutes of it are a lockup or a stall.
	line="console=ttyS0 loglevel=5 log_buf_len=4M panic=-1 oops=panic watchdog_thresh=60 rdinit=/init"
	line+=" rcupdate.rcu_cpu_stall_timeout=120"
	line+=" printk.devkmsg=on random.trust_cpu=on no_timer_check cryptomgr.notests"
	line+=" ${append[*]}"
	local -a qemu=(qemu-system-x86_64 "${accel[@]}" -M pc,usb=off -cpu max -m "$mem"
		-nodefaults -no-user-config -display none -no-reboot
		-kernel "$image/vmlinuz" -initrd "$run/initrd" -append "$line"
		-chardev "file,id=console,path=$run/console.log" -serial chardev:console
		"${out[@]}" -serial chardev:out
		-chardev "file,id=report,path=$run/report.log" -serial chardev:report)
	[[ -z $monitor ]] || qemu+=(-monitor "unix:$monitor,server=on,wait=off")
	if [[ $mode == 9p ]]; then
		qemu+=(-virtfs "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap")
		[[ -z $share ]] ||
			qemu+=(-virtfs "local,path=$share,mount_tag=share,security_model=none,multidevs=remap")
	fi
	if [[ $tty == yes ]]; then
		setsid setpriv --pdeathsig KILL "${qemu[@]}" <&3 2>"$run/qemu.err" &
	else
		setsid setpriv --pdeathsig KILL "${qemu[@]}" </dev/null >/dev/null 2>"$run/qemu.err" 3>&- &
	fi
	qemu_pid=$!
}

# Judges what the run left behind; prints why it failed, or nothing. Ends the script.
judge() {
	local qemu_status=$1 late='' status complaints
	touch "$run/console.log" "$run/report.log"
	[[ ! -e $run/late ]] || late=$(<"$run/late")
	sed -n "/^dmesg $nonce begin/,/^dmesg $nonce end/p" "$run/report.log" | sed '1d;$d' >"$run/dmesg.log"
	if grep -aq 'Kernel panic' "$run/console.log"; then
		tail -n 60 "$run/console.log" >&2
		die $E_PANIC "kernel panic: $(grep -a -m1 'Kernel panic' "$run/console.log")"
	fi
	if ! grep -aq "^booted $nonce " "$run/report.log"; then
		tail -n 30 "$run/console.log" >&2
		cat "$run/qemu.err" >&2
		if grep -a "^setup $nonce " "$run/report.log" >&2; then
			die $E_BOOT "the guest could not be set up (above)"
		fi
		[[ $late == '' ]] || die $E_BOOT "boot timeout: no sign of the guest after $boot_limit s"
		die $E_BOOT "boot failure: QEMU ended (status $qemu_status) before the guest was up"
	fi
	complaints=$(cat "$run/console.log" "$run/dmesg.log" | kernel_log_complaints | head -n 20) || true
	[[ -z $complaints ]] || printf '%s\n' "$complaints" >&2
	if [[ $late == run ]]; then
		die $E_TIMEOUT "timeout: the command did not end within $time_limit s"
	fi
	status=$(awk -v nonce="$nonce" '$1 == "exit" && $2 == nonce { print $3 }' "$run/report.log")
	[[ $status =~ ^[0-9]+$ ]] ||
		die $E_REPORT "no report: the guest ended without the command's status (QEMU $qemu_status)"
	grep -aq "^dmesg $nonce end" "$run/report.log" || die $E_REPORT "no report: the kernel log is cut off"
	if ! grep -aq 'Linux version' "$run/dmesg.log"; then
		die $E_REPORT "no report: the start of the kernel log is lost"
	fi
	[[ -z $complaints ]] ||
		die $E_LOG "the kernel complained (above); the command itself ended with status $status"
	exit "$status"
}

main() {
	local image release base size='' qemu_status=0 key
	parse "$@"
	image=$("$root/tools/kernels/get.sh" image "$kernel") || die $E_SETUP "no image of kernel $kernel"
	release=$(<"$image/release")
	mkdir -p "$root/build/vm"
	key=$(cat "$here/init" "$(command -v busybox)" | sha256sum | cut -c1-16)
	base=$root/build/vm/base-$release-$key.cpio
	[[ -s $base ]] || base_archive "$image" "$release" "$base"
	nonce=$(tr -d - </proc/sys/kernel/random/uuid)
	run=$(mktemp -d "$root/build/vm/run.XXXXXX")
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	exec 3<&0
	if [[ $tty == yes ]]; then
		time_limit=${time_limit:-1000000000}
		if [[ -t 0 ]]; then
			tty_state=$(stty -g)
			size=$(stty size | awk '{ print "rows", $1, "cols", $2 }')
		fi
	fi
	time_limit=${time_limit:-300}
	run_archive "$image" >"$run/extra.cpio"
	cat "$base" "$run/extra.cpio" >"$run/initrd"
	if [[ $tty == no ]]; then
		mkfifo "$run/out"
		cat "$run/out" &
		cat_pid=$!
	fi
	start_qemu "$image"
	watch_time
	wait "$qemu_pid" || qemu_status=$?
	# The FIFO may never have been opened, so do not wait for its reader in that case.
	if [[ -n $cat_pid ]] && grep -aqs "^booted " "$run/report.log"; then
		wait "$cat_pid" || true
	fi
	qemu_pid=''
	judge "$qemu_status"
}

main "$@"
