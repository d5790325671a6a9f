# SPDX-License-Identifier: Apache-2.0
"""Real nodes: a write takes effect at most once, however often and late it is attempted, and what was deleted stays deleted."""

import os
import time
import unittest

import kvring
from cluster import Cluster, wait_for
from kvring.schema import messages as m


class OnceTest(unittest.TestCase):
    def begin(self, node_count):
        self.cluster = Cluster(node_count)
        self.addCleanup(self.cluster.close)

    def owners(self, key):
        """In order of preference."""
        with kvring.Client(self.cluster.endpoints(), timeout=20) as client:
            call = kvring.client._Call("kvring.v1.Admin/Ring", m.RingRequest(key=key.encode()), m.RingResponse())
            preference = client._call(call)[0].preference
            names = {member.node_id: member.name for member in client.status().members}
        return [next(node for node in self.cluster.nodes if node.name == names[owner]) for owner in preference]

    def assert_stays_deleted(self, key, seconds):
        """At every node, all owners asked, again and again: what comes late has had its time."""
        clients = [self.cluster.client(node) for node in self.cluster.nodes]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for client in clients:
                self.assertEqual(client.get(key, r=3).values, [], "deleted, and yet it is back")

    def test_a_late_attempt_after_a_delete(self):
        self.begin(3)
        clients = [self.cluster.client(node) for node in self.cluster.nodes]
        for i in range(12):
            key, operation = "late-%d" % i, kvring.new_operation_id()
            clients[i % 3].put(key, b"X", operation_id=operation)
            found = clients[(i + 1) % 3].get(key)
            self.assertEqual(found.values, [b"X"])
            clients[(i + 2) % 3].delete(key, context=found.context)
            done = clients[(i + i // 3) % 3].put(key, b"X", operation_id=operation)  # done already, says the owner
            self.assertEqual(clients[i % 3].get(key, r=3).values, [], "deleted, and yet it is back")
            # Whoever goes on from what that attempt answered supersedes nothing else.
            clients[i % 3].put(key, b"Y", context=done.context)
            self.assertEqual(clients[(i + 1) % 3].get(key, r=3).values, [b"Y"])

    def attempt_at_a_node_that_is_cut_off(self, key):
        """Puts X: the first attempt stays in doubt at n1, which is down afterwards; the second is done at n2 or n3."""
        one, two, three = self.cluster.nodes
        self.cluster.client(one).get("warm-up")  # links are there
        with two.paused(), three.paused():
            with self.assertRaises(kvring.InDoubt) as caught:  # it has not noticed yet that it is alone
                self.cluster.client(one, timeout=1).put(key, b"X")
            one.kill()
        client = self.cluster.client(two, three)
        wait_for(lambda: self.done(client, key, b"X", caught.exception.operation_id), "no quorum of two")
        return client

    def test_an_attempt_at_a_node_that_was_cut_off(self):
        self.begin(3)
        client = self.attempt_at_a_node_that_is_cut_off("cut")
        client.delete("cut", context=client.get("cut").context)
        self.cluster.nodes[0].start()
        self.cluster.wait_up()
        self.assert_stays_deleted("cut", 1)

    def test_many_newer_writes_do_not_make_it_come_back(self):
        self.begin(3)
        client = self.attempt_at_a_node_that_is_cut_off("hot")
        for i in range(100):
            client.put("hot", b"%d" % i, context=client.get("hot").context)
        self.cluster.nodes[0].start()
        self.cluster.wait_up()
        for node in self.cluster.nodes * 2:
            values = self.cluster.client(node).get("hot", r=3).values
            self.assertEqual(values, [b"99"], "overwritten 100 times, and yet X is back")

    @staticmethod
    def done(client, key, value, operation):
        try:
            return client.put(key, value, operation_id=operation)
        except kvring.KvringError:
            return None

    def test_an_owner_that_is_stopped_and_goes_on(self):
        self.begin(5)
        keys = []
        for i in range(200):
            owners = self.owners("stop-%d" % i)
            if owners[0] is self.cluster.nodes[0]:
                keys.append(("stop-%d" % i, owners))
        for key, owners in keys[:4]:
            outsider = next(node for node in self.cluster.nodes if node not in owners)
            client, second = self.cluster.client(outsider, timeout=3.3), self.cluster.client(owners[1])
            client.get("warm-up")  # links and connections are there
            with owners[0].paused():
                done = client.put(key, b"X")  # a third of the deadline for each owner
                second.delete(key, context=done.context)
            self.assert_stays_deleted(key, 1)
            self.cluster.wait_up()

    def test_a_write_that_can_reach_no_quorum_is_refused(self):
        self.begin(3)
        one, two, three = self.cluster.nodes
        two.kill()
        three.kill()
        client = self.cluster.client(one, timeout=2)
        wait_for(lambda: "unreachable" in self.states(one), "n1 does not notice that it is alone")
        wait_for(lambda: self.states(one).count("unreachable") == 2, "n1 does not notice that it is alone")
        with self.assertRaises(kvring.KvringError) as caught:
            client.put("alone", b"X")
        self.assertNotIsInstance(caught.exception, kvring.InDoubt)
        self.assertIn("nothing was written", str(caught.exception))
        self.assertEqual(client.get("alone", r=1).values, [])

    def test_a_write_that_needs_a_node_just_killed_is_refused(self):
        self.begin(3)
        one, _, three = self.cluster.nodes
        client = self.cluster.client(one, timeout=5)
        for i in range(5):
            client.put("all-%d" % i, b"X", w=3)
            three.kill()
            wait_for(lambda: self.links(one).count(False) == 1, "n1 does not notice that a link is closed", 1)
            with self.assertRaises(kvring.KvringError) as caught:
                client.put("all-%d" % i, b"Y", w=3)
            self.assertNotIsInstance(caught.exception, kvring.InDoubt)
            self.assertIn("nothing was written", str(caught.exception))
            self.assertEqual(client.get("all-%d" % i, r=2).values, [b"X"])
            three.start()
            self.cluster.wait_up()

    def links(self, node):
        with kvring.Client(node.address, timeout=20) as client:
            return [member.linked for member in client.status().members]

    def states(self, node):
        with kvring.Client(node.address, timeout=20) as client:
            return [member.state for member in client.status().members]

    def test_an_operation_id_must_have_a_time_and_a_recent_one(self):
        self.begin(3)
        client = self.cluster.client()
        with self.assertRaisesRegex(kvring.Refused, "UUID version 7"):
            client.put("id", b"X", operation_id=os.urandom(6) + b"\x40" + os.urandom(9))
        for minutes, text in ((-11, "too old to repeat"), (11, "from the future")):
            old = int(time.time() * 1000 + minutes * 60000).to_bytes(6, "big") + kvring.new_operation_id()[6:]
            with self.assertRaisesRegex(kvring.Refused, text):
                client.put("id", b"X", operation_id=old)
        self.assertEqual(client.get("id", r=3).values, [])


if __name__ == "__main__":
    unittest.main()
