#!/bin/bash
# SPDX-License-Identifier: MIT
# Programs that run-tests.sh must see through, for selftest-guest.sh: what it does wrong is the name
# under which it is called (each name is a link to this file).
plan() { printf 'TAP version 13\n1..%s\n' "$1"; }
two() { plan 2 && printf 'ok 1 one\nok 2 two\n'; }
case $(basename "$0") in
good | miscounted | held) two ;;
failing) plan 2 && printf 'ok 1 one\nnot ok 2 two\n' && exit 1 ;;
skipping) plan 2 && printf 'ok 1 one\nok 2 # SKIP two\n' ;;
short) plan 2 && echo 'ok 1 one' ;;
planless) printf 'ok 1 one\nok 2 two\n' ;;
silent) ;;
disordered) plan 2 && printf 'ok 2 two\nok 1 one\n' ;;
status) two && exit 3 ;;
crash) plan 2 && echo 'ok 1 one' && kill -SEGV $$ ;;
hang) two && sleep 60 ;;
stray) two && setsid sleep 60 >/dev/null 2>&1 & ;;
logged) two && echo 'WARNING: CPU: 0 PID: 1 at planted' >/dev/kmsg ;;
warn | refcount) two && basename "$0" >/sys/module/quarry_fault/parameters/now ;;
*) exit 99 ;;
esac
