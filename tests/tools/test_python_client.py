# SPDX-License-Identifier: Apache-2.0
"""The Python client against a fake cluster: what it sends, how it goes on, which error it raises."""

import os
import socket
import threading
import unittest

import kvring
from fake_node import FakeCluster
from kvring.schema import messages as m


class ClientTest(unittest.TestCase):
    def setUp(self):
        self.cluster = FakeCluster(node_count=2)
        self.addCleanup(self.cluster.close)
        self.client = kvring.Client(self.cluster.endpoints, timeout=2)
        self.addCleanup(self.client.close)

    def test_put_then_get_returns_the_bytes(self):
        value = bytes(range(256)) * 5
        done = self.client.put("k", value)
        self.assertEqual((done.synced, done.needed), (2, 2))
        self.assertEqual(self.client.get("k").value, value)

    def test_a_key_that_is_not_there_is_a_result(self):
        found = self.client.get("nothing")
        self.assertFalse(found.found)
        self.assertIsNone(found.value)

    def test_keys_are_bytes(self):
        self.client.put(b"\x00\xff", b"v")
        self.assertEqual(self.client.get(b"\x00\xff").value, b"v")

    def test_buckets_are_apart(self):
        with kvring.Client(self.cluster.endpoints, bucket="other") as other:
            other.put("k", b"elsewhere")
            self.assertFalse(self.client.get("k").found)
            self.assertEqual(other.get("k").value, b"elsewhere")

    def test_blind_puts_become_siblings_and_a_context_resolves_them(self):
        self.client.put("cart", b"milk")
        self.client.put("cart", b"eggs")
        found = self.client.get("cart")
        self.assertEqual(sorted(found.values), [b"eggs", b"milk"])
        with self.assertRaises(kvring.SiblingsFound):
            _ = found.value
        self.client.put("cart", b"eggs, milk", context=found.context)
        self.assertEqual(self.client.get("cart").value, b"eggs, milk")

    def test_delete_covers_what_was_read(self):
        self.client.put("k", b"v")
        self.client.delete("k", context=self.client.get("k").context)
        gone = self.client.get("k")
        self.assertFalse(gone.found)
        self.assertTrue(gone.context)

    def test_a_batch_has_a_result_per_operation(self):
        results = self.client.batch_put([("a", b"1"), ("", b"no key"), ("b", b"2")])
        self.assertIsNone(results[0].error)
        self.assertIsInstance(results[1].error, kvring.Refused)
        self.assertIn("key has 0 bytes", str(results[1].error))
        got = self.client.batch_get(["b", "missing", "a"])
        self.assertEqual([r.result.value for r in got], [b"2", None, b"1"])

    def test_a_batch_deletes_with_none(self):
        context = self.client.put("a", b"1").context
        self.client.batch_put([("a", None, context)])
        self.assertFalse(self.client.get("a").found)

    def test_refused_says_why(self):
        with self.assertRaises(kvring.Refused) as caught:
            self.client.put("k" * 5000, b"v")
        self.assertIn("5000 bytes", str(caught.exception))
        self.assertEqual(caught.exception.code, "INVALID_ARGUMENT")

    def test_a_tampered_context_is_refused(self):
        context = bytearray(self.client.put("k", b"v").context)
        context[0] ^= 1
        with self.assertRaises(kvring.Refused):
            self.client.put("k", b"w", context=bytes(context))
        self.assertEqual(self.client.get("k").value, b"v")

    def test_the_next_node_is_asked_when_one_is_gone(self):
        self.client.put("k", b"v")
        self.cluster.nodes[0].close()
        self.assertEqual(self.client.get("k").value, b"v")
        self.assertEqual(self.cluster.requests[-1][0], 1)

    def test_a_put_lost_with_its_node_is_repeated_under_the_same_id(self):
        seen = []

        def lose_the_first(node, method, body):
            if method.endswith("/Put"):
                seen.append(node.index)
                if len(seen) == 1:
                    node._call(m.Request(method=method, body=body, operation_id=self.first_id))  # it did apply
                    return "close"
            return None

        self.first_id = os.urandom(16)
        self.cluster.hook = lose_the_first
        self.client.put("k", b"once", operation_id=self.first_id)
        self.assertEqual(seen, [0, 1])
        self.assertEqual(self.client.get("k").values, [b"once"])

    def test_unavailable_is_asked_elsewhere(self):
        def first_is_starting(node, method, body):
            return m.Response(code=m.UNAVAILABLE, message="starting") if node.index == 0 else None

        self.cluster.hook = first_is_starting
        self.client.put("k", b"v")
        self.assertEqual([index for index, _ in self.cluster.requests], [0, 1])

    def test_no_answer_leaves_a_put_in_doubt(self):
        self.cluster.hook = lambda node, method, body: "drop"
        with kvring.Client(self.cluster.endpoints, timeout=0.2) as client:
            with self.assertRaises(kvring.InDoubt) as caught:
                client.put("k", b"v")
        self.assertEqual(len(caught.exception.operation_id), 16)

    def test_no_answer_to_a_get_is_unreachable(self):
        self.cluster.hook = lambda node, method, body: "drop"
        with kvring.Client(self.cluster.endpoints, timeout=0.2) as client:
            with self.assertRaises(kvring.Unreachable):
                client.get("k")

    def test_an_outcome_in_doubt_carries_the_id_to_repeat_with(self):
        def doubt(node, method, body):
            answer = m.PutResponse(outcome=m.IN_DOUBT, code=m.DEADLINE_EXCEEDED, acks_owners=1, needed=2, message="n2 is silent")
            return m.Response(code=m.OK, body=answer.SerializeToString())

        self.cluster.hook = doubt
        with self.assertRaises(kvring.InDoubt) as caught:
            self.client.put("k", b"v")
        self.assertIn("1 of 2", str(caught.exception))
        self.cluster.hook = None
        self.client.put("k", b"v", operation_id=caught.exception.operation_id)
        self.assertEqual(self.cluster.applied, [caught.exception.operation_id])

    def test_nobody_listening_is_unreachable(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with kvring.Client("127.0.0.1:%d" % port, timeout=0.3) as client:
            with self.assertRaises(kvring.Unreachable):
                client.put("k", b"v")

    def test_another_protocol_is_told(self):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(4)
        self.addCleanup(listener.close)

        def answer_like_ssh():
            try:
                while True:
                    connection, _ = listener.accept()
                    connection.sendall(b"SSH-2.0-x\r\n")
            except OSError:
                pass

        threading.Thread(target=answer_like_ssh, daemon=True).start()
        with kvring.Client("127.0.0.1:%d" % listener.getsockname()[1], timeout=0.3) as client:
            with self.assertRaises(kvring.Unreachable) as caught:
                client.get("k")
        self.assertIn("does not speak SP", str(caught.exception))

    def test_endpoints_are_checked(self):
        for wrong in ("", "localhost", "host:port", ":"):
            with self.assertRaises(ValueError):
                kvring.Client(wrong)

    def test_status_lists_the_members(self):
        self.assertEqual([member.name for member in self.client.status().members], ["n1", "n2"])


if __name__ == "__main__":
    unittest.main()
