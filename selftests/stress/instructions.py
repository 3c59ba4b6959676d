# SPDX-License-Identifier: MIT
"""The instructions of the user's side, as they were compiled: instructions.py PROGRAM OBJECT...

Prints `address function` for each instruction of PROGRAM that belongs to a function of one of the
OBJECTs, or to one whose name begins with step_; sequences' abort handlers are left out: they are one
jump, taken whenever a sequence is aborted.
"""
import re
import subprocess
import sys


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    program, *objects = sys.argv[1:]
    names = {line.split()[2] for o in objects for line in output("nm", "--defined-only", o).splitlines()
             if line.split()[1] in "tT"}
    function = None
    found = 0
    for line in output("objdump", "-d", "--no-show-raw-insn", "--section=.text", program).splitlines():
        head = re.match(r"[0-9a-f]+ <(.+)>:$", line)
        if head:
            name = head.group(1)
            function = name if name in names or name.startswith("step_") else None
        instruction = re.match(r"\s*([0-9a-f]+):\s+(\S+)(.*)", line)
        # What only fills up to the next function is never run.
        if instruction and function and not re.search(r"nop|xchg +%ax,%ax|int3", instruction.group(2) + instruction.group(3)):
            print(instruction.group(1), function)
            found += 1
    if not found:
        sys.exit(f"{program}: none of these functions")


main()
