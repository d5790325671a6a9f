# SPDX-License-Identifier: Apache-2.0
"""Checks that the C client library defines only names that programs which link it do not use themselves.

    tests/test_symbols.py ARCHIVE

A static archive has no private part: each global function of it is one that the program cannot define.
"""
import re
import subprocess
import sys

OURS = re.compile(r"(rpc|kv|kvring)_")


def defined(archive):
    listed = subprocess.run(["nm", "-g", "-P", "--defined-only", archive], check=True, capture_output=True, text=True).stdout
    fields = (line.split() for line in listed.splitlines())
    # The sanitizers add symbols of their own, with two underscores or a dot.
    return sorted({words[0] for words in fields if len(words) > 1 and not re.match(r"__|.*\.", words[0])})


def main():
    symbols = defined(sys.argv[1])
    wrong = [name for name in symbols if not OURS.match(name)]
    for name in wrong:
        print("%s has no prefix of ours: call it rpc_... (rpc/) or kv_... (tools/client/), or make it static" % name)
    print("%d symbols, %d without a prefix of ours" % (len(symbols), len(wrong)))
    return 1 if wrong or not symbols else 0


if __name__ == "__main__":
    sys.exit(main())
