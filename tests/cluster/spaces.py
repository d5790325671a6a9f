# SPDX-License-Identifier: Apache-2.0
"""Nodes that have a network namespace each, and a router between them that drops packets without a word.

    with spaced_cluster(5) as (cluster, net):
        net.cut(5, ["from"])    # nobody hears n5 any more; n5 hears the others

Needs root and the right to make namespaces, else the test is skipped and says why.
"""

import contextlib
import json
import os
import subprocess
import tempfile
import unittest

from cluster import Cluster, Node, wait_for

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
        try:
            self._make()
        except unittest.SkipTest:
            self.close()
            raise

    def _make(self):
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

    def cut(self, i, directions=("from", "to")):
        for direction in directions:
            must("-n", ROUTER, "rule", "add", direction, "10.77.%d.2" % i, "blackhole")

    def heal(self, i, directions=("from", "to")):
        for direction in directions:
            must("-n", ROUTER, "rule", "del", direction, "10.77.%d.2" % i, "blackhole")

    def _between(self, verb, some, others):
        for a in some:
            for b in others:
                for one, other in ((a, b), (b, a)):
                    must("-n", ROUTER, "rule", verb, "from", "10.77.%d.2" % one, "to", "10.77.%d.2" % other, "blackhole")

    def split(self, some, others):
        """Nothing passes between these hosts and those."""
        self._between("add", some, others)

    def join(self, some, others):
        self._between("del", some, others)

    def close(self):
        for space in (ROUTER, *self.spaces):
            ip("netns", "del", space)


class SpacedNode(Node):
    """As Node, in namespace number i."""

    def __init__(self, net, i, directory, name, arguments):
        super().__init__(directory, name, arguments)
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


@contextlib.contextmanager
def spaced_cluster(count, datacenters=None):
    """Formed: N=3 in each datacenter, and every node reaches all others. datacenters: of each node."""
    net = Net(count)
    cluster = Cluster.__new__(Cluster)
    cluster.clients, cluster.directory = [], tempfile.mkdtemp(prefix="kvring-test-")
    cluster.nodes = [
        SpacedNode(net, i + 1, cluster.directory, "n%d" % (i + 1), ["--dc", datacenters[i]] if datacenters else [])
        for i in range(count)]
    try:
        with cluster:
            for node in cluster.nodes:
                node.seeds = [other.peer_address for other in cluster.nodes if other is not node]
                node.start()
            done = cluster.nodes[0].kvctl("cluster", "init", "-n", "3", "--timeout", "60s", *(n.address for n in cluster.nodes))
            if done.returncode:
                raise AssertionError(done.stderr)
            for node in cluster.nodes:
                wait_for(lambda node=node: node.kvctl("status", "--wait-up", str(count), "--timeout", "5s").returncode == 0,
                         "%s reaches all others" % node.name)
            yield cluster, net
    finally:
        net.close()
