# SPDX-License-Identifier: Apache-2.0
"""kvengine from outside: what a person types and reads."""

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


if __name__ == "__main__":
    unittest.main()
