# SPDX-License-Identifier: Apache-2.0
"""tools/demo ring, with few keys: it comes to its end, and nothing is lost on the way."""

import os
import subprocess
import unittest

from cluster import PATIENCE


class DemoTest(unittest.TestCase):
    def test_ring(self):
        command = [os.path.join(os.environ["SOURCE_ROOT"], "tools/demo"), "ring", "--no-build", "--build", os.environ["BUILD_ROOT"], "--keys", "800",
                   "--rate", "100", "--seconds", "1"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=5 * PATIENCE, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        for line in ("800 keys read back, 0 lost", "n5 is replaced by n7", "n1 leaves, n2 leaves", "shrinking 800, after 800; 0 lost"):
            self.assertIn(line, done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
