# SPDX-License-Identifier: Apache-2.0
"""Counts the tests that meson ran: tests/count.py [--broken N] [--seconds N] NAME=testlog.json ...

A meson test is one executable; what counts is the tests in it. cmocka and Python's unittest say how many there were; any other
executable is one test. Ends with a line "N passed, N failed"; the exit status is 1 when something failed or nothing ran.
"""

import argparse
import json
import re
import sys

CMOCKA_PASSED = re.compile(r"^\[  PASSED  \] (\d+) test\(s\)", re.M)
CMOCKA_FAILED = re.compile(r"^\[  FAILED  \] (\d+) test\(s\)", re.M)
CMOCKA_SKIPPED = re.compile(r"^\[  SKIPPED \] (\d+) test\(s\)", re.M)
UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in", re.M)
UNITTEST_FAILED = re.compile(r"^FAILED \((.*)\)$", re.M)
UNITTEST_SKIPPED = re.compile(r"^(?:OK|FAILED) \(.*?skipped=(\d+)", re.M)


def total(pattern, text):
    return sum(int(number) for number in pattern.findall(text))


def count(entry):
    """(passed, failed, skipped) of one executable."""
    text = entry.get("stdout", "") + "\n" + entry.get("stderr", "")
    ended_well = entry["result"] in ("OK", "EXPECTEDFAIL")
    if entry["result"] == "SKIP":
        return 0, 0, 1
    ran = total(UNITTEST_RAN, text)
    if ran:
        failed = sum(int(n) for line in UNITTEST_FAILED.findall(text) for n in re.findall(r"(?:failures|errors)=(\d+)", line))
        skipped = total(UNITTEST_SKIPPED, text)
        passed = ran - failed - skipped
    else:
        passed, failed, skipped = (total(p, text) for p in (CMOCKA_PASSED, CMOCKA_FAILED, CMOCKA_SKIPPED))
    if not passed and not failed and ended_well:
        passed = 1
    if not ended_well and not failed:
        failed = 1  # it crashed, or a sanitizer spoke after the last test
    return passed, failed, skipped


def main():
    parser = argparse.ArgumentParser(description="Counts the tests that meson ran.")
    parser.add_argument("--broken", type=int, default=0, help="builds that failed; each counts as one failed test")
    parser.add_argument("--seconds", type=int)
    parser.add_argument("logs", nargs="*", metavar="NAME=FILE")
    arguments = parser.parse_args()
    all_passed, all_failed, all_skipped, failures = 0, arguments.broken, 0, []
    for argument in arguments.logs:
        name, _, path = argument.partition("=")
        passed = failed = skipped = 0
        try:
            with open(path) as log:
                entries = [json.loads(line) for line in log if line.strip()]
        except OSError as error:
            print("%s: no test ran: %s" % (name, error))
            all_failed += 1
            continue
        for entry in entries:
            one_passed, one_failed, one_skipped = count(entry)
            passed, failed, skipped = passed + one_passed, failed + one_failed, skipped + one_skipped
            if one_failed:
                failures.append("%s: %s (%s, %d failed)" % (name, entry["name"], entry["result"], one_failed))
        print("%s: %d passed, %d failed, %d skipped, in %d executables" % (name, passed, failed, skipped, len(entries)))
        all_passed, all_failed, all_skipped = all_passed + passed, all_failed + failed, all_skipped + skipped
    for failure in failures:
        print("FAILED  " + failure)
    if arguments.seconds is not None:
        print("%d min %02d s%s" % (*divmod(arguments.seconds, 60), ", %d skipped" % all_skipped if all_skipped else ""))
    print("%d passed, %d failed" % (all_passed, all_failed))
    return 1 if all_failed or not all_passed else 0


if __name__ == "__main__":
    sys.exit(main())
