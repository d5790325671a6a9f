# SPDX-License-Identifier: Apache-2.0
"""A node on a small file system of its own: filled, killed, started while full, and given room again; and a data directory removed
under a running node. Needs root, to mount; skipped otherwise."""

import itertools
import os
import shutil
import subprocess
import unittest

import kvring
from cluster import Cluster, wait_for

SIZE = "24m"
VALUE = os.urandom(20_000)


def mount(directory):
    os.makedirs(directory, exist_ok=True)
    return os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + SIZE, "none", directory], stderr=subprocess.DEVNULL).returncode == 0


class FullDiskTest(unittest.TestCase):
    puts_while_full = 0

    def setUp(self):
        self.cluster = Cluster(1, form=False, arguments=["--memtable-mb", "1"])
        self.node = self.cluster.nodes[0]
        self.node.stop()
        shutil.rmtree(self.node.data)
        self.addCleanup(self.cluster.close)
        if not mount(self.node.data):
            self.skipTest("needs root to mount a tmpfs")
        self.addCleanup(subprocess.run, ["umount", "-l", self.node.data])
        self.node.start()
        self.cluster.kvctl("cluster", "init", "-n", "1", "--timeout", "60s", self.node.address, endpoints="")
        self.cluster.wait_up()

    def take_the_rest(self):
        """Every byte that is left goes to a file of somebody else."""
        try:
            with open(os.path.join(self.node.data, "filler"), "ab", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            pass

    def fill(self):
        """Puts until the disk is full and stays so: jobs under way give some room back when they end."""
        client = self.cluster.client(timeout=20)
        written, numbers = [], itertools.count()

        def is_full():
            key = "k%d" % next(numbers)
            try:
                client.put(key, VALUE)
                written.append(key)
                self.refusals = 0
            except kvring.InDoubt:  # the room ended while the log was written
                self.take_the_rest()
            except kvring.Refused:
                self.take_the_rest()
                self.refusals += 1
            return self.refusals >= 100 and shutil.disk_usage(self.node.data).free == 0

        self.refusals = 0
        wait_for(is_full, "the disk does not fill up")
        return written

    def check_reads_only(self, written):
        client = self.cluster.client(timeout=20)
        for key in written[:: len(written) // 20]:
            self.assertEqual(client.get(key).value, VALUE)

        def refusal():
            self.take_the_rest()  # a start gives back what a cut-off merge had taken
            try:
                self.puts_while_full += 1
                client.put("while-full-%d" % self.puts_while_full, b"v")
                return None
            except kvring.Refused as refused:
                return str(refused)

        self.assertIn("full", wait_for(refusal, "a put is refused for want of room"))

    def test_a_node_starts_on_a_full_disk(self):
        written = self.fill()
        self.assertGreater(len(written), 100)
        self.check_reads_only(written)
        for _ in range(2):
            self.node.kill()
            self.node.start()
            self.cluster.wait_up()
            self.check_reads_only(written)
        subprocess.run(["mount", "-o", "remount,size=200m", self.node.data], check=True)
        client = self.cluster.client(timeout=20)

        def put_succeeds():
            try:
                client.put("more", b"v")
                return True
            except kvring.Refused:
                return False

        wait_for(put_succeeds, "no put succeeds although the disk has room again")
        self.node.kill()
        self.node.start()
        self.cluster.wait_up()
        client = self.cluster.client(timeout=20)
        self.assertEqual(client.get("more").value, b"v")
        for key in written:
            self.assertEqual(client.get(key).value, VALUE)


class RemovedDirectoryTest(unittest.TestCase):
    def test_a_removed_data_directory_ends_acknowledgements(self):
        with Cluster(1, replicas=1) as cluster:
            client = cluster.client(timeout=5)
            client.put("before", b"v")
            shutil.rmtree(cluster.nodes[0].data)
            with self.assertRaises((kvring.Refused, kvring.InDoubt)):
                for index in range(100):  # every shard meets one
                    client.put("after%d" % index, b"v")
            wait_for(lambda: "removed or replaced" in cluster.nodes[0].log(), "the log does not say why")


if __name__ == "__main__":
    unittest.main()
