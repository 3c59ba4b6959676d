# SPDX-License-Identifier: MIT
"""Looks at every restartable sequence in a program, as it was compiled.

    sequences.py PROGRAM [PAIR_OBJECT]

PROGRAM is linked static, so that the descriptions in __rseq_cs hold addresses. Of each sequence:
the signature stands before its abort handler; no call, no system call, no jump back to before it; the
memory that it touches is the thread's struct rseq, the table of blocks, the block, and for batches the
caller's array; the one store to a magazine's top is its last instruction. Of PAIR_OBJECT (pair.c)
each function's instructions on the fast path are counted: 30 a pair without checks, 45 with.
"""
import re
import struct
import subprocess
import sys
import tempfile

SIGNATURE = 0x53053053
LIMITS = {"alloc64_unchecked free64_unchecked": 30, "alloc64 free64": 45}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def section(program, name):
    with tempfile.NamedTemporaryFile() as out:
        run("objcopy", "-O", "binary", f"--only-section={name}", program, out.name)
        with open(out.name, "rb") as data:
            return data.read()


def instructions(program, *where):
    """[(address, mnemonic, operands)]"""
    text = run("objdump", "-d", "--no-show-raw-insn", *where, program)
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*([0-9a-f]+):\s+(?:(?:data16|cs) )*(\S+)\s*([^#<]*)", line)
        if match:
            found.append((int(match.group(1), 16), match.group(2), match.group(3).strip()))
    return found


def memory(operands):
    """The memory operand, and whether it is written (the destination of a move or an addition)."""
    match = re.search(r"(%fs:)?-?(?:0x)?[0-9a-f]*\(([^)]*)\)", operands)
    return (match.group(0), operands.endswith(match.group(0))) if match else (None, False)


def check(program, number, version, flags, start, length, abort):
    wrong = []
    code = instructions(program, f"--start-address={start}", f"--stop-address={start + length}")
    if version or flags:
        wrong.append("version or flags are not 0")
    if not code or code[0][0] != start:
        return [*wrong, "no code there"], 0
    signature = instructions(program, f"--start-address={abort - 7}", f"--stop-address={abort}")
    if not signature or signature[0][1] != "ud1" or \
            f"{SIGNATURE:#x}" not in run("objdump", "-d", f"--start-address={abort - 7}",
                                         f"--stop-address={abort}", program).replace("53 30 05 53", f"{SIGNATURE:#x}"):
        wrong.append("no signature before the abort handler")
    stores = []
    for address, mnemonic, operands in code:
        where = f"{address:x} {mnemonic} {operands}"
        if re.match(r"call|ret|syscall|int|lock|xchg|rep", mnemonic):
            wrong.append(f"not allowed: {where}")
        if mnemonic.startswith("j"):
            target = int(operands.split()[0], 16)
            if target < start and target + 4096 > start and mnemonic == "jmp":
                wrong.append(f"jumps back: {where}")
            if start <= target < address and not any(s[1].startswith("movd") for s in code):
                wrong.append(f"a loop where nothing is copied: {where}")
        operand, written = memory(operands)
        if not operand or mnemonic == "lea":
            continue
        if "%rip" in operand:
            wrong.append(f"touches what is no magazine's: {where}")
        if operand.startswith("%fs:"):
            if written:
                wrong.append(f"writes struct rseq: {where}")
        elif written and mnemonic in ("mov", "movl", "movb", "movw", "movq"):
            stores.append((address, operands))
    if not stores or stores[-1][0] != code[-1][0]:
        wrong.append("its last instruction is not the store that commits")
    # Before it at most the entry's own: a store at block + index * 4.
    for address, operands in stores[:-1]:
        if not re.search(r",4\)$|,8\)$", operands):
            wrong.append(f"a store before the commit: {address:x} {operands}")
    if code[0][1] != "movslq" or "%fs:0x4" not in code[0][2]:
        wrong.append("it does not begin with cpu_id")
    return wrong, len(code)


def count(pair_object):
    """{function: instructions on the way of which every conditional jump is not taken}"""
    counts = {}
    text = run("objdump", "-d", "--no-show-raw-insn", pair_object)
    for body in re.split(r"\n\n", text):
        name = re.search(r"<(\w+)>:", body)
        code = re.findall(r"^\s+[0-9a-f]+:\s+(.*)$", body, re.M)
        if not name or not code:
            continue
        n = 0
        for line in code:
            n += not re.match(r"(data16 )?(cs )?nop|ret|push|pop|xor\s+%eax,%eax|(add|sub)\s+\$0x\w+,%rsp", line)
            if line.startswith("ret"):
                break
        counts[name.group(1)] = n
    return counts


def main():
    program = sys.argv[1]
    table = section(program, "__rseq_cs")
    bad = 0
    lengths = []
    for number in range(len(table) // 32):
        wrong, length = check(program, number, *struct.unpack_from("<IIQQQ", table, number * 32))
        lengths.append(length)
        bad += bool(wrong)
        for line in wrong:
            print(f"sequence {number}: {line}")
    if len(lengths) < 6:
        print(f"only {len(lengths)} sequences found")
        bad += 1
    print(f"{len(lengths)} sequences of {min(lengths)} to {max(lengths)} instructions")
    if len(sys.argv) > 2:
        counts = count(sys.argv[2])
        for names, limit in LIMITS.items():
            total = sum(counts[name] for name in names.split())
            print(f"{names}: {total} instructions, at most {limit}")
            bad += total > limit
    print(f"sequences: {'ok' if not bad else 'FAILED'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
