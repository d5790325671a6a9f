# SPDX-License-Identifier: Apache-2.0
"""Checks that every test with a second thread is in the meson suite `threaded`, which the thread sanitizer runs.

    tests/test_threaded.py BUILD

A program that can start a thread imports pthread_create or NNG; a test in Python that runs one of our programs depends on
it.
"""
import json
import re
import subprocess
import sys

STARTS_THREADS = re.compile(r" (pthread_create|nng_\w+)\b")
PROGRAMS = ("kvnode@exe", "kvctl@exe", "kvbench@exe")
# `install` asks the installed programs for their version only; `cluster upgrade` needs the version before, which only tools/test builds;
# `cluster cuts` says within what time something has to happen, and `cluster black_hole` takes the same ways.
EXEMPT = {"install", "cluster upgrade", "cluster cuts"}


def starts_threads(test, build):
    program = test["cmd"][0]
    if not program.startswith(build):  # Python
        return any(target.endswith(PROGRAMS) for target in test["depends"])
    symbols = subprocess.run(["nm", "-D", "--undefined-only", program], capture_output=True, text=True, check=True)
    return STARTS_THREADS.search(symbols.stdout) is not None


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    introspection = subprocess.run(["meson", "introspect", "--tests", sys.argv[1]], capture_output=True, text=True, check=True)
    tests = json.loads(introspection.stdout)
    missing, found = [], 0
    for test in tests:
        if any(suite.split(":")[-1] == "threaded" for suite in test["suite"]):
            found += 1
        elif "kvring:house" not in test["suite"] and test["name"] not in EXEMPT and starts_threads(test, sys.argv[1]):
            missing.append(test["name"])
    for name in missing:
        print("'%s' can start a thread: add it to `threaded` in tests/meson.build" % name)
    print("%d tests in the suite `threaded`, %d missing" % (found, len(missing)))
    return 1 if missing or not found else 0


if __name__ == "__main__":
    sys.exit(main())
