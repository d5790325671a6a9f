# SPDX-License-Identifier: Apache-2.0
"""The Python client against a fake cluster: what it sends, how it goes on, which error it raises."""

import os
import socket
import threading
import time
import unittest
from fractions import Fraction

import kvring
from fake_node import FakeCluster
from kvring.schema import messages as m

DOUBT = "1 of 2 acknowledged (n2: no answer in time); safe to retry with the same operation id"


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
            answer = m.PutResponse(outcome=m.IN_DOUBT, code=m.DEADLINE_EXCEEDED, acks_owners=1, needed=2, message=DOUBT)
            return m.Response(code=m.OK, body=answer.SerializeToString())

        self.cluster.hook = doubt
        with self.assertRaises(kvring.InDoubt) as caught:
            self.client.put("k", b"v")
        self.assertIn("1 of 2", str(caught.exception))
        self.cluster.hook = None
        self.client.put("k", b"v", operation_id=caught.exception.operation_id)
        self.assertEqual(self.cluster.applied, [caught.exception.operation_id])

    def test_what_is_no_text_and_no_bytes_is_refused_by_type(self):
        for key, value in (("a", 5), ("a", None), ("a", 1.5), ("a", ["x"]), (5, b"v"), (None, b"v")):
            with self.assertRaises(TypeError):
                self.client.put(key, value)
        with self.assertRaises(TypeError):
            self.client.batch_put([("a", 5)])
        with self.assertRaises(TypeError):
            self.client.batch_put(["ab"])
        for call in (self.client.get, self.client.delete, self.client.batch_get):
            with self.assertRaises(TypeError):
                call(5)
        with self.assertRaises(TypeError):
            self.client.batch_get("a key, not a list of them")
        with self.assertRaises(TypeError):
            kvring.Client(self.cluster.endpoints, bucket=5)
        self.assertEqual(self.cluster.requests, [])

    def test_what_is_no_context_no_quorum_and_no_operation_id_is_told(self):
        found = self.client.get("k")
        self.cluster.requests.clear()
        for options in ({"context": found}, {"context": "text"}, {"w": 2.0}, {"w": True}):
            with self.assertRaises(TypeError):
                self.client.put("k", b"v", **options)
        for options in ({"operation_id": b"short"}, {"w": -1}, {"w": "2"}):
            with self.assertRaises(ValueError):
                self.client.put("k", b"v", **options)
        self.assertEqual(self.cluster.requests, [])

    def test_levels_are_names(self):
        seen = []
        self.cluster.hook = lambda node, method, body: seen.append(body)
        self.client.put("k", b"v", w="LOCAL_QUORUM")
        self.client.get("k", r="each-quorum")
        put, get = m.PutRequest.FromString(seen[0]), m.GetRequest.FromString(seen[1])
        self.assertEqual((put.w, put.level, get.r, get.level), (0, m.LEVEL_LOCAL_QUORUM, 0, m.LEVEL_EACH_QUORUM))
        self.client.batch_put([("k", b"v")], w="ONE")
        self.assertEqual(m.BatchPutRequest.FromString(seen[-1]).puts[0].level, m.LEVEL_ONE)
        with self.assertRaisesRegex(ValueError, "or one of ONE, TWO"):
            self.client.get("k", r="most")

    def test_bytes_of_any_kind_are_values(self):
        for value in (b"v", bytearray(b"v"), memoryview(b"v"), "v"):
            self.client.put("k", value, context=self.client.get("k").context)
            self.assertEqual(self.client.get("k").value, b"v")

    def silence(self, *indexes):
        """These nodes take requests and never answer, as a stopped process does."""
        self.cluster.hook = lambda node, method, body: "drop" if node.index in indexes else None

    def test_a_node_that_hangs_does_not_use_up_the_time(self):
        self.silence(0)
        began = time.monotonic()
        self.client.put("k", b"v")
        self.assertLess(time.monotonic() - began, 1.5)  # of 2 s; its share is 1 s
        began = time.monotonic()
        self.assertEqual(self.client.get("k").value, b"v")
        self.assertLess(time.monotonic() - began, 0.5)  # it is not asked first again
        self.assertEqual(len(self.cluster.applied), 1)

    def test_a_node_that_hangs_before_its_handshake_does_not_either(self):
        with socket.socket() as stopped:  # connections are taken by the kernel, and nobody answers
            stopped.bind(("127.0.0.1", 0))
            stopped.listen(8)
            endpoints = "127.0.0.1:%d,%s" % (stopped.getsockname()[1], self.cluster.endpoints)
            with kvring.Client(endpoints, timeout=1.5) as client:
                client.put("k", b"v")
                self.assertEqual(client.get("k").value, b"v")

    def test_a_slow_node_may_still_answer_first(self):
        answered = threading.Event()

        def slow(node, method, body):
            if node.index == 0:
                answered.wait(1.2)
                return None
            answered.set()  # the other one is asked now, and says nothing
            return "drop"

        self.cluster.hook = slow
        self.client.put("k", b"v")
        self.assertEqual(len(self.cluster.applied), 1)

    def test_a_refusal_after_a_node_was_lost_in_the_middle_is_in_doubt(self):
        def full(node, method, body):
            if node.index == 0:
                return "drop"
            answer = m.PutResponse(outcome=m.REFUSED, code=m.RESOURCE_EXHAUSTED, needed=2, message="the disk is full")
            return m.Response(code=m.OK, body=answer.SerializeToString())

        self.cluster.hook = full
        with self.assertRaises(kvring.InDoubt) as caught:
            self.client.put("k", b"v", context=b"")
        self.assertIn("the disk is full", str(caught.exception))

    def test_a_value_over_the_limit_is_refused_at_once(self):
        for size in ((8 << 20) + 1, 20 << 20):
            began = time.monotonic()
            with self.assertRaises(kvring.Refused) as caught:
                self.client.put("k", bytes(size))
            self.assertIn("%d bytes, the limit is 8388608" % size, str(caught.exception))
            self.assertLess(time.monotonic() - began, 1)
        results = self.client.batch_put([("a", b"1"), ("b", bytes(20 << 20)), ("c", b"3")])
        self.assertEqual([type(r.error) for r in results], [type(None), kvring.Refused, type(None)])
        with self.assertRaises(kvring.Refused) as caught:
            self.client.batch_put([("k%d" % i, bytes(7 << 20)) for i in range(3)])
        self.assertIn("send fewer operations at once", str(caught.exception))
        self.assertEqual(len(self.cluster.applied), 2)

    def test_delete_without_a_context_deletes_what_is_there(self):
        self.client.put("k", b"one")
        self.client.put("k", b"two")
        self.assertEqual(self.client.delete("k").synced, 2)
        self.assertFalse(self.client.get("k").found)
        self.assertIsNone(self.client.delete("k"))
        self.assertIsNone(self.client.delete("never there"))
        self.assertIsNone(self.client.delete("never there", context=self.client.get("never there").context))

    def test_a_delete_in_doubt_is_repeated_exactly(self):
        self.client.put("k", b"old")
        doubt = m.PutResponse(outcome=m.IN_DOUBT, code=m.DEADLINE_EXCEEDED, needed=2, message=DOUBT)
        self.cluster.hook = lambda node, method, body: (
            m.Response(code=m.OK, body=doubt.SerializeToString()) if method.endswith("/Delete") else None
        )
        with self.assertRaises(kvring.InDoubt) as caught:
            self.client.delete("k")
        self.cluster.hook = None
        self.client.put("k", b"new")  # by somebody else, meanwhile
        self.client.delete("k", context=caught.exception.context, operation_id=caught.exception.operation_id)
        self.assertEqual(self.client.get("k").values, [b"new"])

    def test_a_batch_in_doubt_tells_how_to_repeat_each_item(self):
        def lose(node, method, body):
            if method.endswith("/BatchPut"):
                node._call(m.Request(method=method, body=body))  # it did apply
                return "drop"
            return None

        with kvring.Client(self.cluster.nodes[0].address, timeout=0.3) as client:
            context = client.put("a", b"0").context
            self.cluster.hook = lose
            results = client.batch_put([("a", b"1", context), ("b", b"2")])
            self.cluster.hook = None
            for key, value, (_, error) in zip("ab", (b"1", b"2"), results):
                self.assertIsInstance(error, kvring.InDoubt)
                client.put(key, value, context=error.context, operation_id=error.operation_id)
            self.assertEqual([client.get(key).values for key in "ab"], [[b"1"], [b"2"]])

    def test_a_batch_deletes_what_is_there(self):
        self.client.put("a", b"1")
        results = self.client.batch_put([("a", None), ("b", b"2"), ("never there", None)])
        self.assertEqual(results[0].result.synced, 2)
        self.assertEqual(tuple(results[2]), (None, None))
        self.assertEqual([r.result.value for r in self.client.batch_get(["a", "b"])], [None, b"2"])

    def test_a_closed_client_does_nothing(self):
        self.client.put("k", b"v")
        self.client.close()
        self.client.close()
        for call in (lambda: self.client.get("k"), lambda: self.client.put("k", b"w"), lambda: self.client.delete("k"),
                     lambda: self.client.batch_get(["k"]), self.client.status):
            with self.assertRaises(RuntimeError):
                call()
        self.assertEqual(self.cluster.applied[1:], [])

    def test_a_connection_closed_while_idle_is_made_again(self):
        self.client.put("k", b"v")
        for connection in list(self.cluster.nodes[0].connections):
            connection.shutdown(socket.SHUT_RDWR)
        self.client.put("k", b"w", context=self.client.get("k").context)
        self.assertEqual([index for index, _ in self.cluster.requests], [0, 0, 0])

    def test_a_host_that_does_not_resolve_is_told(self):
        with kvring.Client("no-such-host.invalid:7100", timeout=0.3) as client:
            with self.assertRaises(kvring.Unreachable) as caught:
                client.get("k")
        self.assertIn("does not resolve", str(caught.exception))

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
                    connection.close()
            except OSError:
                pass

        threading.Thread(target=answer_like_ssh, daemon=True).start()
        with kvring.Client("127.0.0.1:%d" % listener.getsockname()[1], timeout=0.3) as client:
            with self.assertRaises(kvring.Unreachable) as caught:
                client.get("k")
        self.assertIn("does not speak SP", str(caught.exception))

    def test_endpoints_are_checked(self):
        for wrong in ("", "localhost", ":", ":7000", "a:1,", "a b:1", "http://a:1", "::1:7000", "[::1:7000", []):
            with self.assertRaisesRegex(ValueError, "HOST:PORT"):
                kvring.Client(wrong)
        for wrong in ("host:port", "a:0", "a:70000", "a:65536", "a:-1", "a:", "a:1.0", "a:\u0663", "a:" + "9" * 5000):
            with self.assertRaisesRegex(ValueError, "a number from 1 to 65535"):
                kvring.Client(wrong)
        for wrong in (None, 7000, b"a:1", [("a", 1)], [None]):
            with self.assertRaisesRegex(TypeError, "HOST:PORT"):
                kvring.Client(wrong)
        for right in (" a:1 , b:65535", "[::1]:7000", ["a:1"], ("a:1", "b:2"), iter(["a:1"])):
            kvring.Client(right).close()

    def test_timeouts_are_checked(self):
        for wrong in (0, -1, 1e-9, float("nan"), float("inf"), float("-inf"), 1e9, 10**400):
            with self.assertRaisesRegex(ValueError, "seconds from 0.001 to 604800"):
                kvring.Client(self.cluster.endpoints, timeout=wrong)
            with self.assertRaisesRegex(ValueError, "seconds from 0.001 to 604800"):
                self.client.timeout = wrong
        for wrong in (None, "5", True, [5]):
            with self.assertRaisesRegex(TypeError, "a number of seconds"):
                kvring.Client(self.cluster.endpoints, timeout=wrong)
        for right in (7 * 86400, 1, Fraction(5, 2)):
            self.client.timeout = right
            self.client.put("k", b"v")

    def test_status_lists_the_members(self):
        self.assertEqual([member.name for member in self.client.status().members], ["n1", "n2"])


if __name__ == "__main__":
    unittest.main()
