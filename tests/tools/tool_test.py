# SPDX-License-Identifier: Apache-2.0
"""What tests of the programs share: running one against a fake cluster."""

import json
import os
import subprocess
import tempfile
import unittest

from fake_node import FakeCluster


class ToolTest(unittest.TestCase):
    """self.cluster: a fake one of three nodes; self.run_tool runs the program named by the environment variable `variable`."""

    variable = "KVCTL"
    node_count = 3
    formed = True

    def setUp(self):
        self.cluster = FakeCluster(self.node_count, self.formed)
        self.addCleanup(self.cluster.close)
        directory = tempfile.TemporaryDirectory(prefix="kvring-test-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name, content=None):
        path = os.path.join(self.directory, name)
        if content is not None:
            with open(path, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
        return path

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def start_tool(self, *arguments, endpoints=None, **options):
        environment = dict(os.environ, KVRING_ENDPOINTS=self.cluster.endpoints if endpoints is None else endpoints,
                           XDG_STATE_HOME=self.path("state"))
        return subprocess.Popen(
            [os.environ[self.variable], *arguments],
            env=environment,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def run_tool(self, *arguments, expect=0, stdin=b"", endpoints=None):
        """Runs to the end; the exit status must be `expect`. Returns stdout and stderr."""
        process = self.start_tool(*arguments, endpoints=endpoints, stdin=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=100)
        self.assertEqual(process.returncode, expect, "%s\nstdout: %s\nstderr: %s" % (arguments, out[-2000:], err[-2000:]))
        return out, err.decode()

    def run_json(self, *arguments, **options):
        out, _ = self.run_tool("-o", "json", *arguments, **options)
        return json.loads(out)

    def methods(self):
        return [method.split("/")[1] for _, method in self.cluster.requests]
