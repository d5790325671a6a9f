# SPDX-License-Identifier: Apache-2.0
"""Checks that every .c and .h file stands as clang-format 14 writes it, by .clang-format.

    tests/test_format.py [ROOT]      ROOT: of the tree (default: where this file stands)

Skipped (status 77) where there is no clang-format 14: other versions write some lines differently. To mend a file:
clang-format -i FILE.
"""
import os
import re
import subprocess
import sys

SOURCE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VERSION = 14
ROOMS = ("rpc", "ring", "engine", "node", "tools", "tests")


def find_formatter():
    for name in ("clang-format-%d" % VERSION, "clang-format"):
        try:
            text = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        if re.search(r"version %d\." % VERSION, text):
            return name
    return None


def sources(root):
    for room in ROOMS:
        for folder, _, names in os.walk(os.path.join(root, room)):
            for name in names:
                if name.endswith((".c", ".h")):
                    yield os.path.join(folder, name)


def main():
    formatter = find_formatter()
    if formatter is None:
        print("skipped: there is no clang-format %d here" % VERSION)
        return 77
    root = sys.argv[1] if len(sys.argv) > 1 else SOURCE_ROOT
    files = sorted(sources(root))
    run = subprocess.run([formatter, "--dry-run", "--Werror", "--style=file", *files], stderr=subprocess.PIPE, text=True)
    wrong = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error:", run.stderr, re.M)))
    for path in wrong:
        print("not formatted: %s; run: %s -i %s" % (os.path.relpath(path, root), formatter, path))
    if run.returncode != 0 and not wrong:
        print(run.stderr)
    print("%d files, %d not formatted" % (len(files), len(wrong)))
    return 1 if run.returncode != 0 or not files else 0


if __name__ == "__main__":
    sys.exit(main())
