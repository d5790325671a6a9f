# SPDX-License-Identifier: Apache-2.0
"""Five hosts, of which one is cut off, one-way or both ways, while all are written to: nothing that was acknowledged is lost, the members
stay what they were, and after the heal every node serves again within two seconds. Then two datacenters, whose link is cut.

Needs root and the right to make network namespaces (spaces.py), else the test is skipped and says why.
"""

import json
import threading
import time
import unittest

from cluster import wait_for
from spaces import spaced_cluster, states

CUT_OFF = 5   # the host
SERVED = 2.0  # seconds from the heal to the first answer
EXTRA = 1.0   # for the ends of processes and a busy machine


class Writer(threading.Thread):
    """Puts through one node, one after the other; notes which were acknowledged."""

    def __init__(self, node):
        super().__init__()
        self.node, self.acknowledged, self.stopping = node, [], threading.Event()
        self.start()

    def run(self):
        number = 0
        while not self.stopping.is_set():
            key, number = "%s-%d" % (self.node.name, number), number + 1
            if self.node.kvctl("put", "--blind", "--timeout", "1s", key, "of " + key).returncode == 0:
                self.acknowledged.append(key)


def key_of(node):
    """One that this node owns."""
    for number in range(1000):
        key = "own-%d" % number
        ring = json.loads(node.kvctl("ring", key, "-o", "json").stdout)
        if node.name in ring["preference"]:
            return key
    raise AssertionError("%s owns none of a thousand keys: %s" % (node.name, ring))


class CutTest(unittest.TestCase):
    def cut_and_heal(self, cluster, net, directions):
        lonely, others = cluster.nodes[CUT_OFF - 1], cluster.nodes[:CUT_OFF - 1]
        key = key_of(lonely)
        before = lonely.kvctl("ring", "-o", "json").stdout
        writers = [Writer(node) for node in cluster.nodes]
        try:
            net.cut(CUT_OFF, directions)
            try:
                wait_for(lambda: all(states(node)[lonely.name] == "down" for node in others), "the others confirm that it is away")
                wait_for(lambda: all(states(lonely)[node.name] != "up" for node in others), "it hears nobody")
                self.assertNotIn("down", states(lonely).values(), "one node alone confirms nothing")
                counts = [len(writer.acknowledged) for writer in writers[:-1]]
                wait_for(lambda: all(len(w.acknowledged) > c for w, c in zip(writers, counts)), "writes go on at all the others")
                self.assertNotEqual(lonely.kvctl("put", "--blind", "--w", "3", "--timeout", "300ms", key, "v").returncode, 0, "it was not cut off")
            finally:
                net.heal(CUT_OFF, directions)
            healed = time.monotonic()
            for node in (lonely, others[0]):
                wait_for(lambda node=node: node.kvctl("put", "--blind", "--w", "3", "--timeout", "300ms", key, "v").returncode == 0,
                         "%s is deaf" % node.name)
                print("%s cut: %s has all three owners again %.2f s after the heal" % (" and ".join(directions), node.name, time.monotonic() - healed))
            self.assertLess(time.monotonic() - healed, SERVED + EXTRA)
        finally:
            for writer in writers:
                writer.stopping.set()
            for writer in writers:
                writer.join()
        wait_for(lambda: all(set(states(node).values()) == {"up"} for node in cluster.nodes), "all are up again")
        self.assertEqual(lonely.kvctl("ring", "-o", "json").stdout, before, "the ring changed by itself")
        for writer in writers:
            self.assertTrue(writer.acknowledged)
            for written in writer.acknowledged:
                read = others[0].kvctl("get", "--r", "3", written)
                self.assertEqual((read.returncode, read.stdout.strip()), (0, "of " + written), read.stderr)

    def test_nobody_hears_it(self):
        with spaced_cluster(5) as (cluster, net):
            self.cut_and_heal(cluster, net, ["from"])

    def test_it_hears_nobody(self):
        with spaced_cluster(5) as (cluster, net):
            self.cut_and_heal(cluster, net, ["to"])

    def test_neither_way(self):
        with spaced_cluster(5) as (cluster, net):
            self.cut_and_heal(cluster, net, ["from", "to"])

    def test_two_datacenters(self):
        """Without the link each goes on at LOCAL_QUORUM, and says what EACH_QUORUM lacks; after the heal both are equal."""
        with spaced_cluster(6, ["dc1"] * 3 + ["dc2"] * 3) as (cluster, net):
            sides = cluster.nodes[:3], cluster.nodes[3:]
            for node in cluster.nodes:
                wait_for(lambda node=node: node.kvctl("put", "--blind", "--w", "each-quorum", "before", "v").returncode == 0, "both are reached")
            net.split([1, 2, 3], [4, 5, 6])
            for near, far in (sides, sides[::-1]):
                wait_for(lambda: all(states(near[0])[node.name] == "down" for node in far), "the other datacenter is away")
                for node in near:
                    done = node.kvctl("put", "--blind", "--w", "local-quorum", "of-" + node.name, node.name)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    done = node.kvctl("get", "--r", "local-quorum", "of-" + node.name)
                    self.assertEqual((done.returncode, done.stdout.strip()), (0, node.name), done.stderr)
            for node, missing in ((sides[0][0], "dc2"), (sides[1][0], "dc1")):
                done = node.kvctl("put", "--blind", "--w", "each-quorum", "--timeout", "1s", "of-both", "v")
                self.assertEqual(done.returncode, 3)
                self.assertIn("0 of the key's 3 owners in %s can be reached from this node" % missing, done.stderr)
            net.join([1, 2, 3], [4, 5, 6])
            healed = time.monotonic()
            for node in cluster.nodes:
                wait_for(lambda node=node: node.kvctl("put", "--blind", "--w", "all", "--timeout", "300ms", "after", "v").returncode == 0,
                         "%s is deaf" % node.name)
            print("two datacenters: all six acknowledge again, at each of them, %.2f s after the heal" % (time.monotonic() - healed))
            for node in cluster.nodes:
                for other in cluster.nodes:
                    done = other.kvctl("get", "--r", "all", "of-" + node.name)  # and mends who lacks it
                    self.assertEqual((done.returncode, done.stdout.strip()), (0, node.name), done.stderr)
            for node in cluster.nodes:
                for other in cluster.nodes:
                    self.assertEqual(other.kvctl("get", "--r", "local-one", "of-" + node.name).stdout.strip(), node.name)


if __name__ == "__main__":
    unittest.main()
