# SPDX-License-Identifier: Apache-2.0
"""What `meson install` leaves: programs that start, a C library that programs can be built with, a Python package that imports."""

import glob
import os
import shlex
import subprocess
import sys
import tempfile
import unittest

from fake_node import FakeCluster

PREFIX = os.environ["PREFIX"]
PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <tools/client/client.h>

int main(int argc, char **argv)
{
	struct kv_client *client;
	struct kv_client_options options = {.endpoints = argc > 1 ? argv[1] : ""};
	struct rpc_error error;
	if (kv_client_open(&options, &client, &error) < 0)
		return fprintf(stderr, "%s\n", error.text), 1;
	Kvring__V1__PutRequest request = KVRING__V1__PUT_REQUEST__INIT;
	request.key.data = request.value.data = (uint8_t *)"k";
	request.key.len = request.value.len = 1;
	struct kv_client_reply reply;
	if (kv_client_put(client, &request, &reply) < 0)
		return fprintf(stderr, "%s\n", reply.text), 1;
	printf("%u\n", reply.put->synced);
	kv_client_reply_release(&reply);
	kv_client_close(&client);
	return 0;
}
"""


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="kvring-test-")
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.place = os.path.join(cls.temporary.name, "dest")
        command = [*shlex.split(os.environ["MESON"]), "install", "-C", os.environ["BUILD_ROOT"], "--no-rebuild", "--destdir", cls.place]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        cls.root = cls.place + PREFIX

    def run_program(self, *command, **options):
        done = subprocess.run(command, capture_output=True, text=True, **options)
        self.assertEqual(done.returncode, 0, "%s\n%s%s" % (command, done.stdout[-3000:], done.stderr[-3000:]))
        return done.stdout

    def test_every_program_starts(self):
        programs = sorted(os.path.basename(path) for path in glob.glob(self.root + "/bin/*"))
        self.assertEqual(programs, ["kvbench", "kvctl", "kvengine", "kvnode"])
        for name in programs:
            self.assertIn(name, self.run_program(os.path.join(self.root, "bin", name), "--help"))

    def test_every_program_tells_the_version_of_the_project(self):
        for path in sorted(glob.glob(self.root + "/bin/*")):
            self.assertEqual(self.run_program(path, "--version"), "%s %s\n" % (os.path.basename(path), os.environ["KVRING_VERSION"]))

    def test_the_schema_is_there(self):
        with open(self.root + "/share/kvring/proto/kv.proto") as schema:
            self.assertIn("package kvring.v1;", schema.read())

    def test_a_c_program_is_built_with_pkg_config(self):
        source, program = os.path.join(self.temporary.name, "use.c"), os.path.join(self.temporary.name, "use")
        with open(source, "w") as file:
            file.write(PROGRAM)
        (directory,) = {os.path.dirname(path) for path in glob.glob(self.root + "/**/kvring.pc", recursive=True)}
        environment = dict(os.environ, PKG_CONFIG_PATH=directory)
        flags = self.run_program("pkg-config", "--define-variable=prefix=" + self.root, "--cflags", "--libs", "kvring", env=environment)
        sanitize = os.environ["SANITIZE"]
        sanitizer = [] if sanitize == "none" else ["-fsanitize=" + sanitize]
        self.run_program(*shlex.split(os.environ["COMPILER"]), *sanitizer, source, "-o", program, *flags.split())
        cluster = FakeCluster()
        self.addCleanup(cluster.close)
        self.assertEqual(self.run_program(program, cluster.endpoints), "2\n")

    def test_python_finds_the_package(self):
        use = "import kvring, sys; print(kvring.__version__, kvring.__file__, kvring.schema.messages.__file__)"
        (package,) = {os.path.dirname(path) for path in glob.glob(self.root + "/**/kvring/sp.py", recursive=True)}
        folder = os.path.dirname(package)
        if PREFIX in ("/usr", "/usr/local"):
            self.assertIn(folder[len(self.place) :], sys.path)
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        _, *modules = self.run_program(sys.executable, "-c", use, env=environment).split()
        for module in modules:
            self.assertTrue(module.startswith(package), module)


if __name__ == "__main__":
    unittest.main()
