# SPDX-License-Identifier: Apache-2.0
"""The Python client as a package: what the README says of a checkout, a source distribution and a wheel, in clean environments."""

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

    def make_checkout(self):
        """A copy: the tools write beside the sources. Returns the directory of the client in it."""
        checkout = os.path.join(self.directory, "checkout")
        client = os.path.join(checkout, "tools/clients/python")
        left_out = shutil.ignore_patterns("kv_pb2.py", "__pycache__", "build", "*.egg-info", "dist")
        shutil.copytree(os.path.join(SOURCE_ROOT, "tools/clients/python"), client, ignore=left_out)
        shutil.copytree(os.path.join(SOURCE_ROOT, "proto"), os.path.join(checkout, "proto"))
        shutil.copy(os.path.join(SOURCE_ROOT, "LICENSE"), checkout)
        return client

    def make_venv(self, name):
        """Returns its interpreter. Debian's pip and protobuf are seen from inside; there is no package index."""
        place = os.path.join(self.directory, name)
        self.run_program(sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", place)
        return os.path.join(place, "bin/python")

    def pip(self, python, *arguments, **options):
        offline = ("--no-index", "--no-build-isolation", "--disable-pip-version-check")
        return self.run_program(python, "-m", "pip", arguments[0], *offline, *arguments[1:], cwd=self.directory, **options)

    def use(self, python, **environment):
        """A put and a get with what was installed, and nothing else."""
        environment = {"HOME": self.directory, "PYTHONPATH": os.environ["PYTHONPATH"], **environment}  # for the fake node
        version, *modules = self.run_program(python, "-c", USE_IT, env=environment, cwd=self.directory).split()
        self.assertEqual(version, os.environ["KVRING_VERSION"])
        for module in modules:
            self.assertTrue(module.startswith(os.path.dirname(os.path.dirname(python))), module)

    def test_a_source_distribution_installs_without_protoc(self):
        """Made by the command of the README."""
        client = self.make_checkout()
        self.run_program(sys.executable, "setup.py", "sdist", cwd=client)
        (made,) = glob.glob(os.path.join(client, "dist/kvring-*.tar.gz"))
        path = shutil.copy(made, self.directory)
        with tarfile.open(path) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        self.assertLessEqual({"kvring/kv_pb2.py", "kvring/client.py", "README.md", "LICENSE", "pyproject.toml"}, names)
        shutil.rmtree(os.path.join(self.directory, "checkout"))
        nothing = os.path.join(self.directory, "empty")
        os.mkdir(nothing)
        python = self.make_venv("venv")
        self.pip(python, "install", path, env={"PATH": nothing, "HOME": self.directory})
        self.use(python, PATH=nothing)

    def test_a_checkout_installs(self):
        client = self.make_checkout()
        python = self.make_venv("venv")
        self.pip(python, "install", client)
        shutil.rmtree(os.path.join(self.directory, "checkout"))
        self.use(python)

    def test_a_wheel_installs_elsewhere(self):
        client = self.make_checkout()
        self.pip(self.make_venv("builds"), "wheel", "--no-deps", "--wheel-dir", self.directory, client)
        shutil.rmtree(os.path.join(self.directory, "checkout"))
        (wheel,) = glob.glob(os.path.join(self.directory, "kvring-*-py3-none-any.whl"))
        python = self.make_venv("venv")
        self.pip(python, "install", wheel)
        self.use(python)


if __name__ == "__main__":
    unittest.main()
