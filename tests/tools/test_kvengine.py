# SPDX-License-Identifier: Apache-2.0
"""kvengine from outside: what a person types and reads, wrong arguments and results that nobody gets included."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

KVENGINE = sys.argv.pop(1)


class CheckpointTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="kvring-test-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.store = os.path.join(self.directory, "bench", "store")
        self.copy = os.path.join(self.directory, "copy")
        self.kvengine("bench", os.path.join(self.directory, "bench"), "-w", "fillseq", "--num", "2000", "--shards", "2")

    def kvengine(self, *arguments, expect=0):
        done = subprocess.run([KVENGINE, *arguments], capture_output=True, text=True)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_the_copy_is_a_store_with_the_same_keys(self):
        self.assertEqual(self.kvengine("checkpoint", self.store, self.copy), "")
        before = self.kvengine("verify", self.copy)
        self.assertIn("(2000 batches)", before)
        shutil.rmtree(self.store)  # what the copy shares with it stays
        self.assertEqual(self.kvengine("verify", self.copy), before)

    def test_the_copy_needs_a_new_directory(self):
        os.mkdir(self.copy)
        self.assertIn("a checkpoint needs a new directory", self.kvengine("checkpoint", self.store, self.copy, expect=2))
        self.assertEqual(os.listdir(self.copy), [])

    def test_what_is_missing_is_asked_for(self):
        self.assertIn("name a new directory for the copy", self.kvengine("checkpoint", self.store, expect=2))
        self.assertIn("there is no store", self.kvengine("checkpoint", self.directory, self.copy, expect=2))
        self.assertFalse(os.path.exists(self.copy))


class KvengineTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="kvring-test-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def run_tool(self, *arguments, expect=0, stdout=subprocess.PIPE, **options):
        command = [KVENGINE, *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, timeout=100, **options)
        self.assertEqual(done.returncode, expect, (arguments, done.stdout, done.stderr))
        return (done.stdout or b"").decode(), done.stderr.decode()

    def make_store(self):
        self.run_tool("bench", "-w", "fillseq", "--num", "100", self.path("bench"))
        return self.path("bench", "store")

    def test_help_and_version(self):
        for word in ("--help", "help", "-?"):
            out, _ = self.run_tool(word)
            self.assertIn("Exit status:", out)
        self.assertIn("kvengine", self.run_tool("--version")[0])
        self.assertIn("Exit status:", self.run_tool(expect=2)[1])
        self.assertIn("there is no command 'verfy'", self.run_tool("verfy", self.path("x"), expect=2)[1])

    def test_what_is_no_store(self):
        for command in ("dump", "verify", "stats", "release"):
            self.run_tool(command, expect=2)
            for place in (self.path("nothing"), self.directory, "/dev/null"):
                self.assertIn(place, self.run_tool(command, place, expect=2)[1])
        self.assertEqual(os.listdir(self.directory), [])

    def test_a_result_that_nobody_gets_is_an_error(self):
        store = self.make_store()
        commands = [("verify", store), ("dump", store), ("stats", store), ("release", store), ("--version",),
                    ("bench", "-w", "fillseq", "--num", "100", self.path("bench"))]
        for command in commands:
            with open("/dev/full", "wb") as full:
                self.assertIn("could not be written to stdout", self.run_tool(*command, expect=2, stdout=full)[1])
            _, err = self.run_tool(*command, expect=2, stdout=None, preexec_fn=lambda: os.close(1))
            self.assertIn("could not be written to stdout", err)
        self.assertIn("0 damaged", self.run_tool("verify", store)[0])

    def test_numbers_have_limits(self):
        for option, wrong in (("--num", "-1"), ("--num", "0"), ("--num", "9" * 30), ("--num", "many"), ("--reads", "0"), ("--key-bytes", "1"),
                              ("--value-bytes", "9999999999"), ("--shards", "0"), ("--shards", "257"), ("--threads", "0"),
                              ("--threads", "100000"), ("--job-threads", "0"), ("--cache-mb", "99999999999999"), ("--memtable-mb", "0"),
                              ("--block-bytes", "0"), ("--filter-bits", "33"), ("--duration", "-1"), ("--seed", "x")):
            _, err = self.run_tool("bench", option, wrong, self.path("bench"), expect=2)
            self.assertIn("%s is a number from" % option, err)
        self.assertEqual(os.listdir(self.directory), [])

    def test_bench_empties_nothing_of_others(self):
        with open(self.path("precious"), "w"):
            pass
        _, err = self.run_tool("bench", "-w", "fillseq", "--num", "10", self.directory, expect=1)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertIn("holds something else", err)
        self.assertEqual(os.listdir(self.directory), ["precious"])
        self.assertIn("name a new or empty directory", self.run_tool("bench", "--num", "10", self.path("precious"), expect=1)[1])


if __name__ == "__main__":
    unittest.main()
