# SPDX-License-Identifier: MIT
"""The longest sections with interrupts or preemption off, of each call, in instructions.

    sections.py SCRATCH MODULE DRIVER PROGRAM RESULT.json [LIVE]

Boots stock 6.1 (vm.sh --counted), has section_calls make its calls, and those of DRIVER, at LIVE (10^6) live
objects, and has QEMU log each instruction of each call. A section is what lies between a lock and its unlock, an
exclusive hold and its end, a pin and its end, the instructions of both included; a fast half that the shim calls
pinned, and what the core does in the place of a CPU. One that an interrupt came into is left out, there are
others. The bar is 2,000 instructions.
"""
import bisect
import json
import os
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, "selftests/vm")
from monitor import Monitor, wait  # noqa: E402

BAR = 2000
BEGIN = {"quarry_os_lock": "quarry_os_unlock",
         "quarry_os_exclusive_enter": "quarry_os_exclusive_leave",
         "quarry_os_pin": "quarry_os_unpin"}
# The shim's own, when the module itself takes them.
LOCKS = {"_raw_spin_lock_irqsave": "_raw_spin_unlock_irqrestore", "_raw_spin_lock": "_raw_spin_unlock",
         "_raw_spin_lock_irq": "_raw_spin_unlock_irq", "_raw_spin_lock_bh": "_raw_spin_unlock_bh"}
# Called with preemption off, by a caller that turns it off inline.
PINNED = re.compile(r"^quarry_core_heap_(try|fast)_")
# Who is called so unpins, before anything else.
UNPINS = ("quarry_os_heap_take", "quarry_os_heap_alloc", "quarry_os_heap_free")
VISITORS = ("quarry_visit_work", "quarry_visit_here")
INTERRUPT = re.compile(r"^(asm_)?(sysvec|common_interrupt|exc_|asm_exc|irqentry|error_entry)")
LINE = re.compile(r"/([0-9a-f]{16})/")


class Symbols:
    def __init__(self, path):
        entries, self.ours = [], set()
        with open(path, encoding="ascii") as f:
            for line in f:
                address, kind, name, *module = line.split()
                if kind in "tTwW":
                    entries.append((int(address, 16), name))
                    if module == ["[quarry]"]:
                        self.ours.add(name)
        entries.sort()
        self.addresses = [address for address, _ in entries]
        self.names = [name for _, name in entries]

    def of(self, address):
        if address < 1 << 63:
            return "user"
        at = bisect.bisect(self.addresses, address) - 1
        return self.names[at] if at >= 0 else "?"

    def opened(self, before, name):
        """What ends the section that begins where `before` goes on in `name`: (a function, whether its
        instructions belong to it); None: it begins none."""
        if name in BEGIN:
            return BEGIN[name], True
        if before == name or before not in self.ours:
            return None
        if name in LOCKS:
            return LOCKS[name], True
        if PINNED.match(name) or (before in VISITORS and name.startswith("_Z")):
            return before, False
        return None


def plain(name):
    out = subprocess.run(["c++filt", "-p", name], capture_output=True, text=True, check=False)
    text = out.stdout.strip() or name
    text = re.sub(r"quarry::|KernelPlatform|<[^<>]*>", "", text)
    return re.sub(r"<[^<>]*>", "", text)


def longest(trace, symbols):
    """(instructions, site) of the longest section, how many whole sections and how many instructions."""
    best, sections, total = (0, "none"), 0, 0
    section, open_since, site, ending, spoiled = None, 0, None, False, False
    cache, before = {}, "?"
    with open(trace, encoding="ascii", errors="replace") as f:
        for line in f:
            match = LINE.search(line)
            if not match:
                continue
            total += 1
            address = int(match.group(1), 16)
            name = cache.get(address)
            if name is None:
                name = cache[address] = symbols.of(address)
            if section:
                spoiled = spoiled or bool(INTERRUPT.match(name))
                end, included = section
                if name == end and included:
                    ending = True
                elif name == end or name in UNPINS or (ending and not inside(name)):
                    if not spoiled:  # only what was measured whole counts as seen
                        sections += 1
                        best = max(best, (total - open_since, site), key=lambda found: found[0])
                    section = None
            if not section:
                section = symbols.opened(before, name)
                open_since, site, ending, spoiled = total, before, False, False
            before = name
    return best, sections, total


def inside(name):
    """What unlock and its like call themselves."""
    return name.startswith(("_raw_spin_unlock", "__raw_spin", "preempt_", "__rcu_read", "native_"))


def main(scratch, module, driver, program, result, live="1000000"):
    shutil.rmtree(scratch, ignore_errors=True)
    shared = os.path.join(scratch, "shared")
    os.makedirs(shared)
    monitor_path = os.path.join(scratch, "monitor")
    command = (f"insmod {module} && insmod {driver} live={live} && cat /proc/kallsyms >/run/share/symbols && "
               f"{program} /run/share {live}; rmmod section_driver quarry")
    with open(os.path.join(scratch, "vm.log"), "w", encoding="ascii") as log:
        vm = subprocess.Popen(["selftests/vm/vm.sh", "--counted", "--timeout", "1500", "--share", shared,
                               "--monitor", monitor_path, "--", "sh", "-c", command],
                              stdout=log, stderr=log, start_new_session=True)
    try:
        return measure(vm, scratch, shared, monitor_path, result, live)
    finally:
        # Whatever happened: its emulator goes with it.
        if vm.poll() is None:
            os.killpg(vm.pid, signal.SIGTERM)
            vm.wait()


def measure(vm, scratch, shared, monitor_path, result, live):
    calls, monitor, symbols = [], None, None
    names = [line.split('"')[1] for line in open("tools/bench/vm/section_calls.c", encoding="ascii")
             if re.match(r'\s+(CALL|DRIVE|reap)\("', line)]
    for name in names:
        if not wait(os.path.join(shared, name + ".ready"), vm):
            print(f"sections: {name}: the guest did not come to it; see {scratch}/vm.log")
            return 1
        if monitor is None:
            monitor, symbols = Monitor(monitor_path), Symbols(os.path.join(shared, "symbols"))
        trace = os.path.join(scratch, "trace")
        for word in (f"logfile {trace}", "stop", "singlestep on", "log exec,nochain", "cont"):
            monitor(word)
        open(os.path.join(shared, name + ".go"), "w", encoding="ascii").close()
        done = wait(os.path.join(shared, name + ".done"), vm)
        for word in ("log none", "singlestep off", "logfile /dev/null"):
            monitor(word)
        if not done:
            print(f"sections: {name}: the call did not end; see {scratch}/vm.log")
            return 1
        (length, site), sections, total = longest(trace, symbols)
        os.remove(trace)
        calls.append({"name": name, "unit": "instructions", "quarry": length, "site": plain(site),
                      "sections": sections, "bar": BAR, "met": length <= BAR and sections > 0})
        print(f"{name:<16}{length:>7}  of {sections:>7} sections, {total:>10} instructions  {plain(site)}")
    vm.wait()
    with open(result, "w", encoding="ascii") as f:
        json.dump({"name": "vm-longest-section", "live": int(live), "cases": calls}, f, indent=1)
        f.write("\n")
    worst = max(calls, key=lambda call: call["quarry"])
    print(f"vm-longest-section: {worst['quarry']} (at most {BAR}): {worst['name']}, in {worst['site']}")
    return vm.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
