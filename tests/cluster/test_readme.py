# SPDX-License-Identifier: Apache-2.0
"""The commands of README.md: a cluster is made by them, as a reader would type them, and its client in Python runs."""

import os
import re
import signal
import subprocess
import tempfile
import unittest

from cluster import PATIENCE, free_base

README = os.path.join(os.environ["SOURCE_ROOT"], "README.md")


class ReadmeTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="kvring-test-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.ports = {"7100": free_base(), "7110": free_base(), "7120": free_base()}
        with open(README) as file:
            self.text = file.read()

    def place(self, text):
        """The same with this build's programs, free ports and a directory of its own."""
        for port, base in self.ports.items():
            text = text.replace("127.0.0.1:" + port, "127.0.0.1:%d" % base)
        text = text.replace("build/node/kvnode", os.environ["KVNODE"]).replace("build/tools/kvctl/kvctl", os.environ["KVCTL"])
        return text.replace("/var/tmp", self.directory)

    def test_the_cluster_and_the_client(self):
        (block,) = re.findall(r"\n((?:    build/.*\n)+)", self.text)
        (program,) = re.findall(r"```python\n(.*?)```", self.text, re.DOTALL)
        lines = self.place(block).split("\n")
        self.assertEqual(sum(line.split("#")[0].rstrip().endswith("&") for line in lines), 3)
        shell = subprocess.Popen(["bash", "-e"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 start_new_session=True, cwd=self.directory, text=True)
        script = "\n".join(lines) + "\necho\n/usr/bin/python3 - <<'END'\n" + self.place(program) + "END\nkill %1 %2 %3\nwait\n"
        try:
            out, _ = shell.communicate(script, timeout=4 * PATIENCE)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
        self.assertEqual(shell.returncode, 0, out)
        self.assertRegex(out, r"(?s)of 3 nodes, epoch 1\n.*done: on stable storage at 2 nodes.*\nhello\n\[b'milk'\]\n$")
        for name in ("n1", "n2", "n3"):
            with open(os.path.join(self.directory, name + ".log")) as log:
                self.assertIn("stop: flushed and synced", log.read())


if __name__ == "__main__":
    unittest.main()
