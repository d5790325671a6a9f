# SPDX-License-Identifier: Apache-2.0
"""The Python client as a package: a source distribution is made from a checkout, and installed where there is no protoc."""

import glob
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

SOURCE_ROOT = os.environ["SOURCE_ROOT"]
USE_IT = """
import sys
import kvring
from fake_node import FakeCluster
cluster = FakeCluster()
with kvring.Client(cluster.endpoints) as client:
    client.put("k", b"v")
    assert client.get("k").value == b"v"
cluster.close()
print(kvring.__version__, kvring.__file__, kvring.schema.messages.__file__)
"""


class PackageTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="kvring-test-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def run_program(self, *command, **options):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
        self.assertEqual(done.returncode, 0, "%s\n%s" % (" ".join(command), done.stdout[-4000:]))
        return done.stdout

    def make_sdist(self):
        """In a copy: the tools write beside the sources."""
        checkout = os.path.join(self.directory, "checkout")
        client = os.path.join(checkout, "tools/clients/python")
        left_out = shutil.ignore_patterns("kv_pb2.py", "__pycache__", "build", "*.egg-info", "dist")
        shutil.copytree(os.path.join(SOURCE_ROOT, "tools/clients/python"), client, ignore=left_out)
        shutil.copytree(os.path.join(SOURCE_ROOT, "proto"), os.path.join(checkout, "proto"))
        shutil.copy(os.path.join(SOURCE_ROOT, "LICENSE"), checkout)
        make = "import sys, setuptools.build_meta as backend; backend.build_sdist(sys.argv[1])"
        self.run_program(sys.executable, "-c", make, self.directory, cwd=client)
        (path,) = glob.glob(os.path.join(self.directory, "kvring-*.tar.gz"))
        return path

    def test_a_source_distribution_installs_without_protoc(self):
        path = self.make_sdist()
        with tarfile.open(path) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        self.assertLessEqual({"kvring/kv_pb2.py", "kvring/client.py", "README.md", "LICENSE", "pyproject.toml"}, names)
        shutil.rmtree(os.path.join(self.directory, "checkout"))
        place = os.path.join(self.directory, "venv")
        self.run_program(sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", place)
        python = os.path.join(place, "bin/python")
        nothing = os.path.join(self.directory, "empty")
        os.mkdir(nothing)
        environment = {"PATH": nothing, "HOME": self.directory}
        install = ("-m", "pip", "install", "--no-index", "--no-build-isolation", "--disable-pip-version-check", path)
        self.run_program(python, *install, env=environment, cwd=self.directory)
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]  # for the fake node, which imports the installed package
        version, package, schema = self.run_program(python, "-c", USE_IT, env=environment, cwd=self.directory).split()
        self.assertEqual(version, os.environ["KVRING_VERSION"])
        for module in (package, schema):
            self.assertTrue(module.startswith(place), module)


if __name__ == "__main__":
    unittest.main()
