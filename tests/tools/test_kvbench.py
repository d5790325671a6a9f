# SPDX-License-Identifier: Apache-2.0
"""kvbench against a fake cluster: what it stores, what it counts, what it notices."""

import json
import os
import re
import subprocess
import unittest

from kvring.schema import messages as m
from tool_test import ToolTest


class BenchTest(ToolTest):
    variable = "KVBENCH"

    def load(self, *arguments, keys=200):
        return self.run_json("load", "--keys", str(keys), *arguments)

    def objects(self):
        return {key: stored.siblings for (bucket, key), stored in self.cluster.objects.items() if bucket == b"kvbench"}

    def test_load_stores_every_key_once(self):
        result = self.load("--value-size", "200")
        self.assertEqual((result["operations"], result["requests"], result["failed"]), (200, 200, 0))
        objects = self.objects()
        self.assertEqual(sorted(objects), [b"user%012d" % i for i in range(200)])
        self.assertTrue(all(len(siblings) == 1 and len(siblings[0][2]) == 200 for siblings in objects.values()))
        self.assertEqual(len({siblings[0][2] for siblings in objects.values()}), 200)

    def test_load_in_batches_replaces_an_earlier_one(self):
        self.load()
        result = self.load("--batch", "32")
        self.assertEqual((result["operations"], result["requests"]), (200, 7))
        self.assertTrue(all(len(siblings) == 1 for siblings in self.objects().values()))

    def test_load_repeats_what_is_in_doubt(self):
        seen = []

        def doubt(node, method, body):
            if not method.endswith("/Put") or len(seen) >= 5:
                return None
            put = m.PutRequest.FromString(body)
            seen.append(put.operation_id)
            self.cluster.put(put, put.operation_id, False)
            answer = m.PutResponse(outcome=m.IN_DOUBT, needed=2, acks_owners=1)
            return m.Response(code=m.OK, body=answer.SerializeToString())

        self.cluster.hook = doubt
        result = self.load()
        self.assertEqual((result["operations"], result["failed"], result["repeated"]), (200, 0, 5))
        self.assertEqual(len(set(self.cluster.applied)), 200)
        self.assertTrue(all(len(siblings) == 1 for siblings in self.objects().values()))

    def run_workload(self, name, *arguments, **options):
        self.cluster.requests.clear()
        return self.run_json("run", "--keys", "200", "--seconds", "0.4", "-w", name, "-n", "8", *arguments, **options)

    def methods_after_preparing(self):
        return [method for method in self.methods() if method != "BatchGet"]

    def test_workloads_have_their_mix(self):
        self.load()
        for name, share in (("A", 0.5), ("B", 0.95), ("C", 1.0), ("U", 0.0)):
            result = self.run_workload(name)
            methods = self.methods_after_preparing()
            self.assertEqual(result["requests"], len(methods))
            self.assertGreater(len(methods), 100)
            self.assertAlmostEqual(methods.count("Get") / len(methods), share, delta=0.1)
            self.assertEqual((result["failed"], result["corrupt"], result["absent"]), (0, 0, 0))
            self.assertAlmostEqual(result["operations_per_second"], result["operations"] / result["seconds"], delta=1)

    def test_f_reads_then_writes_what_it_read(self):
        self.load()
        result = self.run_workload("F", "-n", "1")
        methods = self.methods_after_preparing()
        puts = methods.count("Put")
        self.assertGreater(puts, 20)
        self.assertEqual(result["latency"]["read-modify-write"]["requests"], puts)
        self.assertEqual(result["requests"], len(methods) - puts)
        for before, after in zip(methods, methods[1:]):
            if after == "Put":
                self.assertEqual(before, "Get")

    def test_one_writer_leaves_no_siblings(self):
        self.load()
        result = self.run_workload("A", "-n", "1", "-d", "zipfian")
        self.assertEqual(result["siblings"], 0)
        self.assertTrue(all(len(siblings) == 1 for siblings in self.objects().values()))

    def test_many_updates_under_way_leave_no_siblings(self):
        self.load(keys=2000)
        result = self.run_json("run", "--keys", "2000", "--seconds", "0.4", "-w", "A", "-n", "64", "-d", "zipfian")
        self.assertEqual((result["siblings"], result["refused"]), (0, 0))

    def test_more_updates_than_keys_still_run(self):
        self.load(keys=10)
        result = self.run_json("run", "--keys", "10", "--seconds", "0.4", "-w", "U", "-n", "32")
        self.assertGreater(result["operations"], 100)

    def test_batches_hold_distinct_keys(self):
        self.load()
        batches = []

        def note(node, method, body):
            if method.endswith("/BatchPut"):
                batches.append([put.key for put in m.BatchPutRequest.FromString(body).puts])

        self.cluster.hook = note
        result = self.run_workload("A", "--batch", "32", "-d", "zipfian")
        self.assertEqual(result["operations"], 32 * result["requests"])
        self.assertGreater(len(batches), 5)
        self.assertTrue(all(len(set(keys)) == 32 for keys in batches))

    def test_a_value_that_nobody_wrote_is_noticed(self):
        self.load()
        stored = self.cluster.objects[(b"kvbench", b"user000000000007")]
        number, operation_id, value = stored.siblings[0]
        stored.siblings[0] = (number, operation_id, value[:-1] + bytes([value[-1] ^ 1]))
        result = self.run_workload("C", "-d", "uniform", expect=1)
        self.assertGreater(result["corrupt"], 0)
        self.assertIn("user000000000007: its checksum does not match", result["first_error"])

    def test_missing_keys_are_told_before_anything_is_measured(self):
        self.load(keys=150)
        _, err = self.run_tool("run", "--keys", "200", expect=1)
        self.assertIn("50 of 200 keys are not there", err)

    def test_refusals_are_counted(self):
        self.load()
        answer = m.PutResponse(outcome=m.REFUSED, code=m.RESOURCE_EXHAUSTED, message="overloaded")
        self.cluster.hook = lambda node, method, body: (
            m.Response(code=m.OK, body=answer.SerializeToString()) if method.endswith("/Put") else None
        )
        result = self.run_workload("U")
        self.assertEqual(result["refused"], result["operations"])
        self.assertEqual(result["first_error"], "overloaded")

    def test_a_node_lost_on_the_way_does_not_end_the_run(self):
        self.load()

        def close_first_node(node, method, body):
            if len(self.cluster.requests) == 100:
                self.cluster.nodes[0].close()

        self.cluster.hook = close_first_node
        result = self.run_workload("A")
        self.assertTrue(self.cluster.nodes[0].closed)
        after = [index for index, _ in self.cluster.requests[200:]]
        self.assertGreater(len(after), 50)
        self.assertNotIn(0, after)
        self.assertEqual(result["corrupt"], 0)

    def test_all_nodes_take_part(self):
        self.load()
        self.run_workload("C")
        indexes = [index for index, _ in self.cluster.requests]
        for index in range(3):
            self.assertGreater(indexes.count(index), len(indexes) / 10)

    def test_text_report(self):
        out, _ = self.run_tool("load", "--keys", "100")
        self.assertRegex(out.decode(), r"\A64 in flight \(1 client x 64\), 1 per request: load: [\d]+ operations/s \(100 in [\d.]+ s\)\n")
        self.assertRegex(out.decode(), r"update +100 requests   mean [\d.]+ ms  p50 [\d.]+  p95 [\d.]+  p99 [\d.]+  p99.9 [\d.]+  max")

    def requests_before_an_answer(self, *arguments):
        """How many requests the nodes get while none is answered: as many as are in flight."""
        self.cluster.requests.clear()
        self.cluster.hook = lambda node, method, body: "drop" if method.endswith("/Put") else None
        out, _ = self.run_tool("run", "--keys", "200", "--seconds", "0.2", "--timeout", "1", "-w", "U", *arguments)
        self.cluster.hook = None
        return self.methods().count("Put"), out.decode()

    def test_the_number_in_flight_is_told_first(self):
        self.load()
        count, text = self.requests_before_an_answer("-c", "2", "-n", "5")
        self.assertEqual(count, 10)
        self.assertTrue(text.startswith("10 in flight (2 clients x 5), 1 per request: U"), text)
        count, text = self.requests_before_an_answer("-c", "3", "--in-flight", "7")
        self.assertEqual(count, 7)
        self.assertTrue(text.startswith("7 in flight (3 clients), 1 per request: U"), text)
        result = self.run_workload("C", "-c", "3", "-n", "4")
        self.assertEqual((list(result)[:2], result["in_flight"], result["clients"]), (["phase", "in_flight"], 12, 3))
        out, _ = self.run_tool("echo", "--seconds", "0.1", "-c", "2", "-n", "3")
        self.assertTrue(out.decode().startswith("6 in flight (2 clients x 3): echo: "), out)

    def test_more_than_256_clients(self):
        result = self.run_json("load", "--keys", "2000", "-c", "300", "--in-flight", "300", endpoints=self.cluster.nodes[0].address)
        self.assertEqual((result["clients"], result["in_flight"], result["failed"]), (300, 300, 0))
        self.assertEqual(len(self.objects()), 2000)

    def test_echo(self):
        result = self.run_json("echo", "--seconds", "0.4", "--in-flight", "16", "-s", "256")
        self.assertGreater(result["messages_per_second"], 1000)
        self.assertEqual(result["failed"], 0)
        self.assertEqual(result["latency"]["requests"], result["messages"])
        self.assertEqual(result["message_size"], 256)

    def test_suite(self):
        out, _ = self.run_tool("suite", "--keys", "5000", "--seconds", "0.4")
        rows = [line.split() for line in out.decode().splitlines() if re.match(r"[AC] ", line)]
        self.assertEqual([(r[0], r[1], r[2]) for r in rows], [
            (workload, outstanding, batch)
            for outstanding, batch in (("1", "1"), ("16", "1"), ("64", "1"), ("256", "1"), ("16", "32"), ("64", "32"))
            for workload in ("A", "C")
        ])
        for row in rows:
            rate, ceiling, share = float(row[3]), float(row[4]), float(row[5])
            self.assertAlmostEqual(share, 100 * rate / ceiling, delta=0.1 + share / 50)
            self.assertEqual(row[-1], "0")

    def test_usage(self):
        for arguments, text in (
            ((), "load, run, echo or suite?"),
            (("walk",), "the command is"),
            (("run", "-w", "E"), "no workload 'E'"),
            (("run", "-d", "zipf"), "uniform, zipfian or latest"),
            (("run", "--value-size", "8"), "from 16 to"),
            (("load", "--batch", "4096", "-s", "100000"), "16 MiB"),
            (("load", "extra"), "one argument too many"),
            (("run", "-n", "4", "--in-flight", "4"), "not both"),
            (("run", "-c", "8", "--in-flight", "4"), "without a request"),
            (("run", "-c", "4096", "-n", "65536"), "requests in flight there can be"),
            (("run", "-c", "5000"), "from 1 to 4096"),
        ):
            self.assertIn(text, self.run_tool(*arguments, expect=2)[1])

    def test_no_endpoint(self):
        self.assertIn("KVRING_ENDPOINTS", self.run_tool("load", endpoints="", expect=2)[1])
        self.assertIn("no port", self.run_tool("load", endpoints="localhost", expect=2)[1])

    def test_a_result_that_nobody_gets_is_an_error(self):
        environment = dict(os.environ, KVRING_ENDPOINTS=self.cluster.endpoints)
        command = [os.environ["KVBENCH"], "load", "--keys", "10"]
        with open("/dev/full", "wb") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=60)
        self.assertEqual(done.returncode, 6)
        self.assertIn(b"could not be written to stdout", done.stderr)
        done = subprocess.run(command, stderr=subprocess.PIPE, env=environment, timeout=60, preexec_fn=lambda: os.close(1))
        self.assertEqual(done.returncode, 6)
        self.assertEqual(len(self.objects()), 10)

    def test_a_load_gives_up_when_nothing_is_settled(self):
        self.cluster.hook = lambda node, method, body: "drop"
        _, err = self.run_tool("load", "--keys", "10", "--timeout", "1", expect=5)
        self.assertIn("gave up: no key could be read for 10 s", err)
        self.assertIn("no answer in time", err)

    def test_a_load_gives_up_when_all_nodes_are_gone(self):
        def gone(node, method, body):
            for one in self.cluster.nodes:
                one.close()

        self.cluster.hook = gone
        _, err = self.run_tool("load", "--keys", "10000", "--timeout", "1", expect=5)
        self.assertIn("gave up: no key could be", err)

    def test_nobody_there(self):
        for node in self.cluster.nodes:
            node.close()
        _, err = self.run_tool("load", "--keys", "10", expect=5)
        self.assertRegex(err, r"no connection within 5000 ms to 127.0.0.1:\d+: not connected; is the node running there")


if __name__ == "__main__":
    unittest.main()
