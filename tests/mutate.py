#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changes the sources a little, one place at a time, and prints the changes that no test notices.

    tests/mutate.py FOLDER... [--count 20] [--seed 1] [--suite node] [--suite sim] [--sanitize] [--only FILE:LINE]

Works in a copy of the tree (in --work, kept between runs, so that later builds are short); the checkout stays as it is. The
same seed and the same sources give the same mutants. Each mutant is built, and the tests of the named meson suites run until
one fails; --test NAME runs single tests instead of suites. A mutant ends as

    killed     a test failed, or ran too long (a loop that does not end)
    survived   every test passed: write a test, or see that the change makes no difference
    refused    the compiler found it

Last comes the list of survivors as differences, and the share that survived. Exit status: 0, or 1 when a mutant survived, or 2
when the tests fail without any change.
"""
import argparse
import json
import os
import random
import re
import subprocess
import sys

SOURCE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SWAPS = [
    (r"(?<![<>=!-])<=(?!=)", "<"), (r"(?<![<>=!-])>=(?!=)", ">"), (r" < ", " <= "), (r" > ", " >= "),
    (r" == ", " != "), (r" != ", " == "), (r" && ", " || "), (r" \|\| ", " && "),
    (r" \+ ", " - "), (r" - ", " + "), (r"\+\+", "--"), (r" \+= ", " -= "), (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
    (r"\b0\b(?![.xX])", "1"), (r"\b1\b(?![.xX])", "2"), (r"\bif \((?=[^()]*\)$)", "if (!"), (r"\bbreak;", ";"), (r"\bcontinue;", ";"),
]
STATEMENT = re.compile(r"^\t+[a-z_][\w\->.\[\]]*(\(.*\)|\s[-+|&^]?=\s.*);$")  # a call or an assignment on one line
SKIPPED = re.compile(r"^\s*(assert|#|/?\*|case |static_assert|enum\b|return -E)|^[^\t]")


def mutants_of(path, text):
    """(line index, new line) for every change of this file."""
    is_comment = False
    for index, line in enumerate(text):
        starts = "/*" in line
        if (is_comment or starts) and "*/" not in line:
            is_comment = True
            continue
        was_comment, is_comment = is_comment, False
        if was_comment or SKIPPED.match(line):
            continue
        code = line.split("/*")[0]
        parts = re.split(r'("(?:[^"\\]|\\.)*")', code)  # strings are words for people
        for number in range(0, len(parts), 2):
            for pattern, swap in SWAPS:
                for found in re.finditer(pattern, parts[number]):
                    changed = parts[number][:found.start()] + swap + parts[number][found.end():]
                    yield index, "".join(parts[:number] + [changed] + parts[number + 1:]) + line[len(code):]
        if STATEMENT.match(code.rstrip()):
            yield index, re.match(r"\t+", code).group() + "(void)0;"


class Copy:
    def __init__(self, arguments):
        self.root = os.path.abspath(arguments.work)
        self.build = os.path.join(self.root, "build-mutate" + ("-sanitize" if arguments.sanitize else ""))
        self.tests = arguments.test
        self.suites = [] if self.tests else arguments.suite or ["node"]
        self.timeout = arguments.timeout
        os.makedirs(self.root, exist_ok=True)
        self.sync()
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            options = ["-Dwarning_level=0", "-Dwerror=false", "-Dbuildtype=debugoptimized"]
            if arguments.sanitize:
                options.append("-Db_sanitize=address,undefined")
            subprocess.run(["meson", "setup", self.build, self.root] + options, check=True, stdout=subprocess.DEVNULL)
        self.targets = self.find_targets()

    def sync(self):
        """Writes only what differs, so that ninja builds only that, and builds it again after an interrupted run."""
        for folder, names, files in os.walk(SOURCE_ROOT):
            names[:] = [name for name in names if not name.startswith("build") and name not in (".git", "__pycache__")]
            place = os.path.join(self.root, os.path.relpath(folder, SOURCE_ROOT))
            os.makedirs(place, exist_ok=True)
            for name in files:
                source, target = os.path.join(folder, name), os.path.join(place, name)
                if not os.path.isfile(source):
                    continue
                with open(source, "rb") as file:
                    wanted = file.read()
                if os.path.exists(target):
                    with open(target, "rb") as file:
                        if file.read() == wanted:
                            continue
                with open(target, "wb") as file:
                    file.write(wanted)
                os.chmod(target, os.stat(source).st_mode)

    def find_targets(self):
        """What the tests need, and nothing more: building is most of the time."""
        listed = subprocess.run(["meson", "introspect", "--tests", self.build], capture_output=True, text=True, check=True)
        targets = set()
        for test in json.loads(listed.stdout):
            suites = {suite.split(":")[-1] for suite in test["suite"]}
            if test["name"] in self.tests or suites & set(self.suites):
                targets |= {target.partition("@@")[2].rpartition("@")[0] for target in test["depends"]}
                if test["cmd"][0].startswith(self.build):
                    targets.add(os.path.relpath(test["cmd"][0], self.build))
        if not targets:
            sys.exit("mutate: there is no test in %s" % (self.tests or self.suites))
        known = subprocess.run(["ninja", "-C", self.build, "-t", "targets", "all"], capture_output=True, text=True).stdout
        files = [line.split(": ")[0] for line in known.splitlines()]
        by_name = {os.path.basename(file): file for file in files}
        return sorted(target if target in files else by_name[target] for target in targets if target in files or target in by_name)

    def try_it(self):
        if subprocess.run(["ninja", "-C", self.build] + self.targets, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            return "refused"
        command = ["meson", "test", "-C", self.build, "--no-rebuild", "--maxfail", "1", "--timeout-multiplier", str(self.timeout)]
        for suite in self.suites:
            command += ["--suite", suite]
        done = subprocess.run(command + self.tests, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return "survived" if done.returncode == 0 else "killed"


def collect(folders, only):
    found = []
    for folder in folders:
        places = [folder] if folder.endswith(".c") else sorted(
            os.path.join(place, name) for place, _, names in os.walk(os.path.join(SOURCE_ROOT, folder)) for name in names
            if name.endswith(".c"))
        for place in places:
            path = os.path.relpath(os.path.join(SOURCE_ROOT, place), SOURCE_ROOT)
            with open(os.path.join(SOURCE_ROOT, path)) as file:
                text = file.read().split("\n")
            found += [(path, index, line) for index, line in mutants_of(path, text)
                      if only is None or only == "%s:%d" % (path, index + 1)]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="or a .c file, from the root of the tree")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--suite", action="append", help="meson suite; may be repeated (default: node)")
    parser.add_argument("--test", action="append", default=[], help="meson test; may be repeated")
    parser.add_argument("--sanitize", action="store_true", help="build with the address and undefined behaviour sanitizers")
    parser.add_argument("--only", metavar="FILE:LINE", help="only mutants of this line")
    parser.add_argument("--timeout", type=float, default=0.5, help="meson's timeout multiplier (default 0.5)")
    parser.add_argument("--work", default="/var/tmp/kvring-mutate", help="where the copy lives (default %(default)s)")
    arguments = parser.parse_args()

    mutants = collect(arguments.folders, arguments.only)
    chosen = random.Random(arguments.seed).sample(mutants, min(arguments.count, len(mutants)))
    copy = Copy(arguments)
    print("%d of %d mutants; without a change: " % (len(chosen), len(mutants)), end="", flush=True)
    if copy.try_it() != "survived":
        print("a test fails, or the build")
        return 2
    print("every test passes", flush=True)

    survivors, counts = [], {"killed": 0, "survived": 0, "refused": 0}
    for number, (path, index, line) in enumerate(chosen, 1):
        target = os.path.join(copy.root, path)
        with open(target) as file:
            original = file.read()
        text = original.split("\n")
        difference = "%s:%d\n-%s\n+%s" % (path, index + 1, text[index], line)
        text[index] = line
        try:
            with open(target, "w") as file:
                file.write("\n".join(text))
            outcome = copy.try_it()
        finally:
            with open(target, "w") as file:
                file.write(original)
        counts[outcome] += 1
        print("%3d %-8s %s:%d %s" % (number, outcome, path, index + 1, line.strip()), flush=True)
        if outcome == "survived":
            survivors.append(difference)
    print("\n".join([""] + survivors))
    tried = counts["killed"] + counts["survived"]
    print("%d killed, %d survived (%.0f %%), %d refused" % (
        counts["killed"], counts["survived"], 100 * counts["survived"] / max(tried, 1), counts["refused"]))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
