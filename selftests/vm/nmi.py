# SPDX-License-Identifier: MIT
"""Allocation and free in NMIs (selftests/nmi_driver), which come from outside while both CPUs do the same.

    nmi.py KERNEL QUARRY.ko NMI_DRIVER.ko SCRATCH

Boots a stock kernel (vm.sh), loads the driver and sends NMIs by QEMU's monitor until it has had
enough. Then once more, with a planted loss that it has to see. The last line is `N passed, N failed`.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from monitor import Monitor, wait  # noqa: E402

NMIS = 2000
PLANTED = 50
LINE = re.compile(r"nmi_driver: (\d+) nmis, (\d+) inside quarry, (\d+) taken, (\d+) none, (\d+) freed, "
                  r"(\d+) loops, (\d+) wrong")


def boot(kernel, module, driver, scratch):
    shutil.rmtree(scratch, ignore_errors=True)
    shared = os.path.join(scratch, "shared")
    os.makedirs(shared)
    monitor = os.path.join(scratch, "monitor")
    load = f"insmod {driver} seconds=100 nmis="
    command = (f"set -e; insmod {module}; touch /run/share/first; {load}{NMIS}; rmmod nmi_driver; "
               f"touch /run/share/second; {load}{PLANTED} plant=1; "
               "dmesg | grep 'nmi_driver: .* wrong' >/run/share/lines; touch /run/share/end")
    with open(os.path.join(scratch, "vm.log"), "w", encoding="utf-8") as log:
        vm = subprocess.Popen(["selftests/vm/vm.sh", "--kernel", kernel, "--timeout", "300", "--share", shared,
                               "--monitor", monitor, "--", "sh", "-c", command],
                              stdout=log, stderr=log, start_new_session=True)
    try:
        if wait(os.path.join(shared, "first"), vm):
            send = Monitor(monitor)
            end = time.time() + 250
            while vm.poll() is None and not os.path.exists(os.path.join(shared, "end")) and time.time() < end:
                send("nmi")
                time.sleep(0.002)
        status = vm.wait(timeout=120)
    finally:
        # Whatever happened: its emulator goes with it.
        if vm.poll() is None:
            os.killpg(vm.pid, signal.SIGTERM)
            vm.wait()
    path = os.path.join(shared, "lines")
    text = open(path, encoding="utf-8").read() if os.path.exists(path) else ""
    return status, [tuple(map(int, found)) for found in LINE.findall(text)]


def main(kernel, module, driver, scratch):
    status, lines = boot(kernel, module, driver, scratch)
    passed = failed = 0

    def case(good, name):
        nonlocal passed, failed
        print(("ok   " if good else "FAIL ") + name)
        passed, failed = passed + bool(good), failed + (not good)

    case(status == 0 and len(lines) == 2,
         f"the driver ran twice, and the kernel log is clean (status {status}, {scratch}/vm.log)")
    nmis, inside, taken, none, freed, loops, wrong = lines[0] if lines else (0,) * 7
    print(f"# {nmis} NMIs, {inside} of them inside Quarry's code; {taken} objects taken in NMIs, {none} times none, "
          f"{freed} freed, {loops} rounds of the tasks beside them")
    case(nmis >= NMIS, f"{NMIS} NMIs came")
    case(inside >= NMIS // 100, "one in a hundred at least came between two instructions of Quarry's")
    case(taken > NMIS, "an NMI allocates from its CPU's cache")
    case(freed > NMIS, "an NMI frees")
    case(loops > 10, "tasks went on beside them")
    case(lines and wrong == 0, "every object was its owner's alone, none was lost, every wrong call was refused")
    case(len(lines) == 2 and lines[1][-1] > 0, "a planted loss is seen")
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
