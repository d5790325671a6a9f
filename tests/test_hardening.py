# SPDX-License-Identifier: Apache-2.0
"""Checks that the programs are built with what makes an overflow harder to use.

    tests/test_hardening.py PROGRAM...
"""
import platform
import re
import subprocess
import sys

ENDBR64 = b"\xf3\x0f\x1e\xfa"
X86 = platform.machine() in ("x86_64", "i686")


def readelf(option, program):
    return subprocess.run(["readelf", "--wide", option, program], capture_output=True, text=True, check=True).stdout


def faults(program):
    if "(Position-Independent Executable" not in readelf("--file-header", program):
        yield "is not position independent (-pie)"
    if "GNU_RELRO" not in readelf("--program-headers", program):
        yield "has no segment that is read-only after relocation (-z relro)"
    if not re.search(r"\(FLAGS.*\bNOW\b", readelf("--dynamic", program)):
        yield "binds symbols late (-z now)"
    imported = readelf("--dyn-syms", program)
    if "__stack_chk_fail" not in imported:
        yield "has no stack protector (-fstack-protector-strong)"
    if not re.search(r"\b__\w+_chk\b", imported.replace("__stack_chk_fail", "")):
        yield "calls no checked function of libc (-D_FORTIFY_SOURCE=2)"
    # Debian's own start-up objects lack the property, so no program as a whole has it; its functions do.
    with open(program, "rb") as file:
        landings = file.read().count(ENDBR64)
    if X86 and landings < 100:
        yield "has no control flow protection (-fcf-protection)"


def main():
    count = 0
    for program in sys.argv[1:]:
        for fault in faults(program):
            print("%s %s" % (program, fault))
            count += 1
    print("%d programs, %d faults" % (len(sys.argv) - 1, count))
    return 1 if count or len(sys.argv) < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
