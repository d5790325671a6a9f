# SPDX-License-Identifier: Apache-2.0
"""Three real nodes: what clients can ask of any of them, and what each refuses."""

import json
import os
import threading
import unittest

import kvring
from cluster import ClusterTest, wait_for
from kvring.schema import messages as m


def put_surely(client, key, value):
    """A put that is repeated while in doubt: a large value can take longer than a slow machine's peers are waited for."""
    operation_id = kvring.new_operation_id()
    for _ in range(10):
        try:
            return client.put(key, value, operation_id=operation_id)
        except kvring.InDoubt as doubt:
            last = doubt
    raise last


class KeysTest(ClusterTest):
    def test_any_node_answers_for_any_key(self):
        clients = [self.cluster.client(node) for node in self.cluster.nodes]
        for i in range(60):
            clients[i % 3].put("any-%d" % i, b"value %d" % i)
        for i in range(60):
            for client in clients:
                self.assertEqual(client.get("any-%d" % i).value, b"value %d" % i)

    def test_done_says_how_many_have_it_on_stable_storage(self):
        client = self.cluster.client()
        for w in (1, 2, 3):
            done = client.put("synced-%d" % w, b"v", w=w)
            self.assertEqual(done.needed, w)
            self.assertGreaterEqual(done.synced, w)

    def test_writes_that_did_not_see_each_other_stand_side_by_side(self):
        one, two = self.cluster.client(self.cluster.nodes[0]), self.cluster.client(self.cluster.nodes[1])
        one.put("cart", b"milk")
        seen = two.get("cart").context
        one.put("cart", b"milk, eggs", context=seen)
        two.put("cart", b"milk, tea", context=seen)
        found = one.get("cart", r=3)
        self.assertEqual(sorted(found.values), [b"milk, eggs", b"milk, tea"])
        one.put("cart", b"milk, eggs, tea", context=found.context)
        self.assertEqual(two.get("cart", r=3).values, [b"milk, eggs, tea"])

    def test_the_same_operation_id_is_one_write(self):
        operation_id = kvring.new_operation_id()
        for node in self.cluster.nodes:
            self.cluster.client(node).put("once", b"v", operation_id=operation_id)
        self.assertEqual(self.cluster.client().get("once", r=3).values, [b"v"])

    def test_concurrent_blind_writers_lose_nothing(self):
        def write(index):
            self.cluster.client(self.cluster.nodes[index % 3]).put("many", b"%d" % index)

        threads = [threading.Thread(target=write, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = self.cluster.client().get("many", r=3)
        self.assertEqual(sorted(int(v) for v in found.values), list(range(12)))

    def test_deletes_stay_deleted(self):
        client = self.cluster.client()
        client.put("gone", b"v")
        client.delete("gone", context=client.get("gone").context)
        for node in self.cluster.nodes:
            found = self.cluster.client(node).get("gone", r=3)
            self.assertEqual(found.values, [])
            self.assertTrue(found.context)

    def test_a_delete_spares_what_it_did_not_see(self):
        client = self.cluster.client()
        old = client.put("spared", b"old").context
        client.put("spared", b"new")
        client.delete("spared", context=old)
        self.assertEqual(client.get("spared", r=3).values, [b"new"])

    def test_buckets_are_apart(self):
        client = self.cluster.client()
        other = kvring.Client(self.cluster.endpoints(), bucket="other")
        self.addCleanup(other.close)
        client.put("same", b"here")
        other.put("same", b"there")
        self.assertEqual((client.get("same").value, other.get("same").value), (b"here", b"there"))

    def test_binary_keys_and_large_values(self):
        client = self.cluster.client(timeout=60)
        for size in (0, 1, 4096, 1 << 20, 8 << 20):
            key, value = os.urandom(32) + b"\x00", os.urandom(size)
            client.put(key, value)
            self.assertEqual(client.get(key, r=3).value, value)
        longest = os.urandom(4096)
        client.put(longest, b"v")
        self.assertEqual(client.get(longest).value, b"v")

    def test_batches_have_a_result_per_operation(self):
        client = self.cluster.client()
        items = [("batch-%d" % i, b"value %d" % i) for i in range(1000)]
        items[500] = ("", b"no key")
        results = client.batch_put(items)
        self.assertEqual(len(results), 1000)
        self.assertIsInstance(results[500].error, kvring.Refused)
        self.assertTrue(all(r.error is None for i, r in enumerate(results) if i != 500))
        got = client.batch_get([key or "absent" for key, _ in items])
        self.assertEqual([r.result.value for r in got], [v if k else None for k, v in items])

    def test_values_end(self):
        client = self.cluster.client()
        self.cluster.kvctl("put", "--ttl", "100ms", "short", "lived")
        wait_for(lambda: not client.get("short", r=3).found, "a value with a time to live goes on living")


class CountTest(ClusterTest):
    def test_keys_are_counted_and_not_their_versions(self):
        """Each key is written five times: a node that holds 300 keys shows 300."""
        client = self.cluster.client()
        contexts = [None] * 300
        for version in range(5):
            items = [("counted-%d" % i, b"version %d" % version, contexts[i]) for i in range(300)]
            contexts = [item.result.context for item in client.batch_put(items, w=3)]

        def shown():
            return [member["keys"] for member in json.loads(self.cluster.kvctl("-o", "json", "status")[0])["members"]]

        wait_for(lambda: all(298 <= keys <= 302 for keys in shown()), "every node shows about 300 keys")


class RefusalsTest(ClusterTest):
    def refused(self, text, call, *arguments, code="INVALID_ARGUMENT", **options):
        with self.assertRaises(kvring.Refused) as caught:
            call(*arguments, **options)
        self.assertIn(text, str(caught.exception))
        if code:
            self.assertEqual(caught.exception.code, code)

    def test_keys_and_values_over_their_limit(self):
        client = self.cluster.client()
        self.refused("4096", client.put, "k" * 4097, b"v")
        self.refused("key", client.put, "", b"v")
        self.refused("8388608", client.put, "k", bytes((8 << 20) + 1))
        self.refused("4096", client.get, "k" * 4097)
        self.assertFalse(client.get("k").found)

    def test_more_replicas_than_there_are(self):
        client = self.cluster.client()
        self.refused("3", client.get, "k", r=4)
        self.refused("3", client.put, "k", b"v", w=4)

    def test_a_context_of_another_key(self):
        client = self.cluster.client()
        context = client.put("mine", b"v").context
        client.put("yours", b"v")
        self.refused("context belongs to another key", client.put, "yours", b"w", context=context)
        client.put("mine", b"w", context=context)

    def test_a_tampered_context(self):
        client = self.cluster.client()
        context = client.put("guarded", b"v").context
        for at in range(len(context)):
            broken = bytearray(context)
            broken[at] ^= 0x20
            self.refused("context", client.put, "guarded", b"w", context=bytes(broken))
        self.refused("context", client.put, "guarded", b"w", context=context[:-1])
        self.refused("context", client.put, "guarded", b"w", context=bytes(10000))
        self.assertEqual(client.get("guarded", r=3).values, [b"v"])

    def test_too_many_operations_in_a_batch(self):
        client = self.cluster.client()
        self.refused("4096", client.batch_get, ["k"] * 4097, code=None)
        self.assertEqual(len(client.batch_get(["k"] * 4096)), 4096)

    def test_too_many_siblings(self):
        client = self.cluster.client()
        for i in range(100):
            client.put("crowd", b"%d" % i)
        self.refused("100", client.put, "crowd", b"one more", code=None)
        found = client.get("crowd", r=3)
        self.assertEqual(len(found.values), 100)
        client.put("crowd", b"resolved", context=found.context)
        self.assertEqual(client.get("crowd", r=3).values, [b"resolved"])

    def test_an_answer_over_the_limit_is_told(self):
        client = self.cluster.client(timeout=60)
        for i in range(3):
            put_surely(client, "big-%d" % i, bytes(8 << 20))
        results = client.batch_get(["big-%d" % i for i in range(3)] + ["small"])
        self.assertEqual([len(r.result.value) if r.result and r.result.found else None for r in results], [8 << 20, 8 << 20, None, None])
        self.assertEqual(results[2].error.code, "RESOURCE_EXHAUSTED")
        self.assertIn("fewer keys", str(results[2].error))
        self.assertIsNone(results[3].error)
        self.assertEqual(len(client.get("big-2").value), 8 << 20)

    def test_siblings_over_the_limit_of_an_answer_are_told(self):
        client = self.cluster.client(timeout=60)
        for i in range(3):
            put_surely(client, "heavy", bytes([i]) * (8 << 20))
        self.refused("fewer keys", client.get, "heavy", code="RESOURCE_EXHAUSTED")

    def test_a_second_init(self):
        addresses = [node.address for node in self.cluster.nodes]
        _, err = self.cluster.kvctl("cluster", "init", *addresses, expect=3)
        self.assertIn("already", err)


class OperatorTest(ClusterTest):
    def test_status_and_ring(self):
        status = json.loads(self.cluster.kvctl("-o", "json", "status")[0])
        self.assertEqual(sorted((member["name"], member["state"]) for member in status["members"]),
                         [("n1", "up"), ("n2", "up"), ("n3", "up")])
        self.assertEqual((status["partition_count"], status["replica_count"], status["epoch"]), (1024, 3, 1))
        ring = json.loads(self.cluster.kvctl("-o", "json", "ring", "--all")[0])
        self.assertEqual([member["replicas"] for member in ring["members"]], [1024] * 3)
        self.assertEqual(sum(member["primaries"] for member in ring["members"]), 1024)
        self.assertTrue(all(abs(member["primaries"] - 1024 / 3) < 2 for member in ring["members"]))
        self.assertTrue(all(sorted(owners) == ["n1", "n2", "n3"] for owners in ring["owners"]))
        key = json.loads(self.cluster.kvctl("-o", "json", "ring", "greeting")[0])
        self.assertEqual(ring["owners"][key["partition"]], key["preference"])

    def test_kvctl_exit_statuses(self):
        self.cluster.kvctl("put", "k", "v")
        self.cluster.kvctl("get", "nothing", expect=1)
        self.cluster.kvctl("put", "k", expect=2)
        self.cluster.kvctl("get", "--r", "4", "k", expect=2)
        self.cluster.kvctl("--timeout", "300ms", "get", "k", endpoints="127.0.0.1:1", expect=5)

    def test_import_compare_and_export(self):
        stanzas = b"".join(b"Package: p%d\nVersion: %d\nDescription: %s\n\n" % (i, i, b"x" * (i % 700)) for i in range(3000))
        path = os.path.join(self.cluster.directory, "input")
        with open(path, "wb") as file:
            file.write(stanzas)
        self.cluster.kvctl("import", "-f", "debian", path)
        out, _ = self.cluster.kvctl("compare", "-f", "debian", "--r", "3", path)
        self.assertIn(b"3,000 of 3,000 records are equal", out)
        self.cluster.kvctl("import", "-f", "debian", path)
        self.assertIn(b"3,000 of 3,000", self.cluster.kvctl("compare", "-f", "debian", path)[0])
        out, _ = self.cluster.kvctl("export", "-f", "debian", "--as", "debian", path)
        self.assertEqual(out, stanzas)

    def test_health(self):
        for node in self.cluster.nodes:
            socket = kvring.RequestSocket("127.0.0.1", node.base)
            self.addCleanup(socket.close)
            request = m.Request(protocol_version=1, method="kvring.v1.Health/Check")
            response = m.Response.FromString(socket.request(request.SerializeToString(), 20))
            self.assertTrue(m.HealthResponse.FromString(response.body).serving)


if __name__ == "__main__":
    unittest.main()
