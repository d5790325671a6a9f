# SPDX-License-Identifier: Apache-2.0
"""A node is cut off so that packets vanish and nobody says so, and is back soon after the cut is healed.

Each node has a network namespace of its own; a router between them drops what goes to or comes from the one that is cut off. Needs root
and the right to make namespaces, else the test is skipped and says why.
"""

import json
import os
import subprocess
import threading
import time
import unittest

from cluster import Cluster, Node, wait_for

CUT = float(os.environ.get("KVRING_TEST_CUT", "14"))  # seconds
SERVED = 2.0  # seconds from the heal to the first answer
ROUTER = "kvr%dr" % os.getpid()


def ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True)


def must(*arguments):
    done = ip(*arguments)
    if done.returncode:
        raise unittest.SkipTest("ip %s: %s" % (" ".join(arguments), done.stderr.strip()))


class Net:
    """Node i (from 1) is 10.77.i.2 behind the router's 10.77.i.1."""

    def __init__(self, count):
        self.spaces = ["kvr%dn%d" % (os.getpid(), i + 1) for i in range(count)]
        must("netns", "add", ROUTER)
        for i, space in enumerate(self.spaces, 1):
            must("netns", "add", space)
            must("link", "add", "v%d" % i, "netns", ROUTER, "type", "veth", "peer", "name", "v0", "netns", space)
            must("-n", ROUTER, "addr", "add", "10.77.%d.1/24" % i, "dev", "v%d" % i)
            must("-n", ROUTER, "link", "set", "v%d" % i, "up")
            must("-n", space, "addr", "add", "10.77.%d.2/24" % i, "dev", "v0")
            must("-n", space, "link", "set", "v0", "up")
            must("-n", space, "link", "set", "lo", "up")
            must("-n", space, "route", "add", "default", "via", "10.77.%d.1" % i)
        if ip("netns", "exec", ROUTER, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward").returncode:
            raise unittest.SkipTest("packets cannot be forwarded between namespaces here")

    def cut(self, i):
        for direction in ("from", "to"):
            must("-n", ROUTER, "rule", "add", direction, "10.77.%d.2" % i, "blackhole")

    def heal(self, i):
        for direction in ("from", "to"):
            must("-n", ROUTER, "rule", "del", direction, "10.77.%d.2" % i, "blackhole")

    def close(self):
        for space in (ROUTER, *self.spaces):
            ip("netns", "del", space)


class SpacedNode(Node):
    """As Node, in namespace number i."""

    def __init__(self, net, i, directory, name):
        super().__init__(directory, name)
        self.space, self.host = net.spaces[i - 1], "10.77.%d.2" % i

    @property
    def address(self):
        return "%s:7000" % self.host

    @property
    def peer_address(self):
        return "%s:7001" % self.host

    def enter(self, *command):
        return ["ip", "netns", "exec", self.space, *command]

    def command(self):
        return self.enter(*super().command())

    def kvctl(self, *arguments):
        command = self.enter(os.environ["KVCTL"], *arguments)
        return subprocess.run(command, env=dict(os.environ, KVRING_ENDPOINTS=self.address), capture_output=True, text=True)

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self.process.poll() is not None or self.kvctl("status").returncode in (0, 3, 4) or "cluster" in self.log(),
                 "%s does not start" % self.name)


def states(node):
    members = json.loads(node.kvctl("members", "-o", "json").stdout)["members"]
    return {member["name"]: member["state"] for member in members}


class BlackHoleTest(unittest.TestCase):
    def test_a_node_that_was_cut_off_serves_soon_after_the_heal(self):
        net = None
        cluster = Cluster.__new__(Cluster)
        cluster.clients, cluster.nodes = [], []
        try:
            net = Net(3)
        except unittest.SkipTest:
            for space in (ROUTER, *("kvr%dn%d" % (os.getpid(), i) for i in (1, 2, 3))):
                ip("netns", "del", space)
            raise
        try:
            self.run_cut(net, cluster)
        finally:
            cluster.close()
            net.close()

    def run_cut(self, net, cluster):
        import tempfile
        cluster.directory = tempfile.mkdtemp(prefix="kvring-test-")
        cluster.nodes = [SpacedNode(net, i, cluster.directory, "n%d" % i) for i in (1, 2, 3)]
        for node in cluster.nodes:
            node.seeds = [other.peer_address for other in cluster.nodes if other is not node]
            node.start()
        first, _, last = cluster.nodes
        done = first.kvctl("cluster", "init", "-n", "3", "--timeout", "60s", *(n.address for n in cluster.nodes))
        self.assertEqual(done.returncode, 0, done.stderr)
        for node in cluster.nodes:
            wait_for(lambda node=node: node.kvctl("put", "--blind", "--w", "3", "before", "v").returncode == 0, "no quorum at " + node.name)
        self.assertEqual(last.kvctl("put", "--blind", "k", "v").returncode, 0)
        net.cut(3)
        cut_at = time.monotonic()
        stop = threading.Event()

        def ask():  # questions are out all the time, so that TCP backs off
            while not stop.is_set():
                last.kvctl("put", "--blind", "--timeout", "500ms", "during", "v")
                first.kvctl("put", "--blind", "--timeout", "500ms", "during", "v")

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            stop.wait(CUT - (time.monotonic() - cut_at))
            # Both sides hear nothing of each other. Two agree on that, and one alone confirms nothing.
            self.assertEqual(states(first), {"n1": "up", "n2": "up", "n3": "down"})
            self.assertEqual(states(last), {"n1": "unreachable", "n2": "unreachable", "n3": "up"})
            self.assertNotEqual(last.kvctl("put", "--blind", "--timeout", "300ms", "k", "v").returncode, 0, "it was not cut off")
        finally:
            stop.set()
            asking.join()
            net.heal(3)
        healed_at = time.monotonic()
        for node in (last, first):
            wait_for(lambda node=node: node.kvctl("put", "--blind", "--w", "3", "--timeout", "300ms", "after", "v").returncode == 0,
                     "%s is deaf" % node.name)
            print("%s: all three acknowledge again %.2f s after the heal of a cut of %.0f s" % (
                node.name, time.monotonic() - healed_at, CUT))
        self.assertLess(time.monotonic() - healed_at, SERVED + 1)  # one more for the ends of two processes and a busy machine


if __name__ == "__main__":
    unittest.main()
