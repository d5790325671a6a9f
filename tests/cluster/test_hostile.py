# SPDX-License-Identifier: Apache-2.0
"""What arrives on a node's peer port and should not, and what operators do to nodes by mistake: a clear line, and nothing lost."""

import multiprocessing
import os
import re
import shutil
import socket
import struct
import sys
import threading
import time
import unittest
from unittest import mock

import kvring
import peer_pb2 as p
from cluster import Cluster, ClusterTest, wait_for
from kvring import sp
from kvring.schema import messages as m


def ask(port, method, body=b"", **envelope):
    request = sp.RequestSocket("127.0.0.1", port)
    try:
        body = body if isinstance(body, bytes) else body.SerializeToString()
        envelope = m.Request(protocol_version=1, method="kvring.v1." + method, body=body, **envelope)
        return m.Response.FromString(request.request(envelope.SerializeToString(), 20))
    finally:
        request.close()


def engine_key(partition, key, bucket=b"default", space=0):
    """node/object/key.h"""
    return struct.pack(">HBH", partition, space, len(bucket)) + bucket + key


class PeerPortTest(ClusterTest):
    def setUp(self):
        self.node = self.cluster.nodes[0]
        self.client = self.cluster.client()
        self.status = m.StatusResponse.FromString(ask(self.node.base, "Admin/Status").body)
        self.partition = self.partition_of(b"kept")

    def tearDown(self):
        for node in self.cluster.nodes:
            self.assertTrue(node.running)
        self.client.close()

    def partition_of(self, key):
        return m.RingResponse.FromString(ask(self.node.base, "Admin/Ring", m.RingRequest(key=key)).body).partition

    def peer(self, method, body, **envelope):
        envelope.setdefault("ring_epoch", self.status.epoch)
        return ask(self.node.base + 1, "Peer/" + method, body, **envelope)

    def store(self, *operations, **envelope):
        body = p.StoreRequest(operations=[p.StoreOperation(key=key, object=value) for key, value in operations])
        response = self.peer("Store", body, **envelope)
        self.assertEqual(response.code, m.OK, response.message)
        return [p.ReplicaCode.Name(code) for code in p.StoreResponse.FromString(response.body).codes]

    def fetch(self, key):
        response = self.peer("Fetch", p.FetchRequest(operations=[p.FetchOperation(key=key)]))
        return p.FetchResponse.FromString(response.body).results[0]

    def kept_object(self):
        found = self.client.get("kept")
        self.client.put("kept", b"v", context=found.context, w=3)
        return self.fetch(engine_key(self.partition, b"kept")).object

    # ---- stores --------------------------------------------------------------------------------------------------

    def test_keys_that_are_none_of_this_node(self):
        good = self.kept_object()
        other = self.partition ^ 1
        self.assertEqual(self.store((engine_key(self.partition, b"kept"), good)), ["REPLICA_OK"])
        wrong = {
            "of another partition": engine_key(other, b"kept"),
            "past the last partition": engine_key(65535, b"kept"),
            "of another key space": engine_key(self.partition, b"kept", space=7),
            "too long": engine_key(self.partition, b"k" * 4097),
            "of no bucket": engine_key(self.partition, b"kept", bucket=b""),
            "cut short": b"xx",
        }
        for what, key in wrong.items():
            self.assertIn(self.store((key, good))[0], ("REPLICA_ERROR", "REPLICA_NOT_OWNER"), what)
        self.assertEqual(self.fetch(engine_key(other, b"kept")).code, p.REPLICA_ERROR)

    def test_objects_that_do_not_decode(self):
        good = self.kept_object()
        key = engine_key(self.partition, b"kept")
        broken = [good[:size] for size in range(len(good))] + [good + b"x", os.urandom(100)]
        self.assertEqual(set(self.store(*((key, value) for value in broken))), {"REPLICA_ERROR"})
        self.assertEqual(self.client.get("kept", r=3).values, [b"v"])

    def test_an_older_ring(self):
        good = self.kept_object()
        self.assertEqual(self.store((engine_key(self.partition, b"kept"), good), ring_epoch=0), ["REPLICA_STALE_RING"])

    def test_bodies_that_make_no_sense(self):
        for method in ("Store", "Fetch", "Forward"):
            response = self.peer(method, b"")
            self.assertEqual(response.code, m.INVALID_ARGUMENT)
            self.assertIn("no operations", response.message)
            self.assertEqual(self.peer(method, b"\xff" * 20).code, m.INVALID_ARGUMENT)
        self.assertEqual(self.peer("Gossip", b"\xff" * 20).code, m.INVALID_ARGUMENT)
        response = self.peer("Forward", p.ForwardRequest(operations=[m.PutRequest(key=b"k")]))
        self.assertIn("operation id", response.message)

    # ---- gossip --------------------------------------------------------------------------------------------------

    def gossip(self, *rows):
        """Tells the rows and asks for those of all members in full."""
        head = {"from": 12345, "cluster_id": self.status.cluster_id, "epoch": self.status.epoch, "brief": True,
                "wanted": [member.node_id for member in self.status.members]}
        response = self.peer("Gossip", p.GossipRequest(rows=rows, **head))
        self.assertEqual(response.code, m.OK, response.message)
        return p.GossipResponse.FromString(response.body)

    def row_of(self, name, **other):
        row = next(row for row in self.gossip().rows if row.name == name)
        row.MergeFrom(p.MemberRow(**other))
        return row

    def test_a_false_row_is_not_the_last_word_on_a_member(self):
        row = self.row_of("n2", incarnation=(1 << 62) - 1, heartbeat=(1 << 62) - 1, peer_address="127.0.0.1:1")
        self.gossip(row)
        address = self.cluster.nodes[1].peer_address
        wait_for(lambda: self.row_of("n2").peer_address == address, "n2 did not answer back")
        self.cluster.wait_up()
        wait_for(lambda: self.cluster.run_kvctl("put", "--blind", "--w", "3", "told", "v").returncode == 0, "n2 is not dialled again")
        wait_for(lambda: "goes by the id of this one" in self.cluster.nodes[1].log(), "n2 does not tell")

    def test_strangers_cost_no_files(self):
        files = "/proc/%d/fd" % self.node.process.pid
        before = len(os.listdir(files))
        base = self.row_of("n2")
        for turn in range(3):
            rows = []
            for i in range(500):
                row = p.MemberRow()
                row.CopyFrom(base)
                row.MergeFrom(p.MemberRow(node_id=1000 + i, name="s%d" % i, incarnation=turn + 1, peer_address="127.0.0.1:%d" % (turn + 1)))
                rows.append(row)
            self.gossip(*rows)
        self.assertEqual(self.client.put("counted", b"v", w=3).synced, 3)
        self.assertLess(len(os.listdir(files)), before + 100)


def get_request(key, number=1):
    """A frame."""
    body = m.Request(protocol_version=1, method="kvring.v1.Kv/Get", body=m.GetRequest(key=key).SerializeToString()).SerializeToString()
    return struct.pack(">QI", len(body) + 4, 0x80000000 | number) + body


class GreedyClientTest(ClusterTest):
    def test_a_client_that_asks_and_does_not_read_keeps_nobody_out_and_fills_no_memory(self):
        node = self.cluster.nodes[0]
        client = self.cluster.client(node)
        client.put("large", bytes(1 << 20))
        body = m.Request(protocol_version=1, method="kvring.v1.Kv/Get", body=m.GetRequest(key=b"large").SerializeToString())
        body = body.SerializeToString()
        with socket.create_connection(("127.0.0.1", node.base), timeout=5) as greedy:
            greedy.sendall(sp.handshake_bytes(sp.REQ))
            greedy.recv(8)
            try:
                greedy.sendall(b"".join(struct.pack(">QI", len(body) + 4, 0x80000000 | i) + body for i in range(3000)))
            except OSError:  # nothing more is read from it: as good
                pass
            for _ in range(20):  # while its requests are worked on
                self.assertEqual(len(client.get("large").value), 1 << 20)
            with open("/proc/%d/status" % node.process.pid) as status:
                resident_kb = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
            with open("/proc/%d/maps" % node.process.pid) as maps:
                if "libtsan" not in maps.read():  # whose shadow of a byte is four bytes
                    self.assertLess(resident_kb, 1200 * 1024)


def peak_mb(node):
    with open("/proc/%d/status" % node.process.pid) as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024


def is_instrumented(node):
    """Sanitizers keep what is freed, and shadows of it."""
    with open("/proc/%d/maps" % node.process.pid) as maps:
        return re.search("lib[at]san", maps.read()) is not None


class MemoryTest(unittest.TestCase):
    """What strangers send and do not finish, or ask and do not read, takes bounded memory, and others are served beside it."""

    REQUEST_MB = 128
    BASE_MB = 128  # of a node at rest, buffers of its connections, engine, and an answer or two that are being made

    def setUp(self):
        self.cluster = Cluster(3, arguments=["--request-mb", str(self.REQUEST_MB)])
        self.addCleanup(self.cluster.close)
        self.node = self.cluster.nodes[0]
        self.held = []
        self.addCleanup(lambda: [held.close() for held in self.held])

    def connect(self, port):
        held = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.held.append(held)
        held.settimeout(0.3)
        held.sendall(sp.handshake_bytes(sp.REQ))
        return held

    def say(self, port, data):
        held = self.connect(port)
        try:
            held.sendall(data)
        except OSError:  # it is not read on
            pass

    def puts_are_answered(self, count):
        """Done, refused or in doubt, but within the deadline: returns how many were done."""
        client = self.cluster.client(self.node, timeout=5)
        done = 0
        for i in range(count):
            start = time.monotonic()
            try:
                client.put("beside%d" % i, b"v")
                done += 1
            except kvring.KvringError:
                pass
            self.assertLess(time.monotonic() - start, 5 + 2)
        return done

    def memory_is_bounded(self):
        peak = peak_mb(self.node)
        if not is_instrumented(self.node):
            self.assertLess(peak, self.REQUEST_MB + self.BASE_MB)

    def test_half_sent_messages(self):
        for port, size in ((self.node.base + 1, 60 << 20), (self.node.base, 16 << 20)):
            for _ in range(12):
                self.say(port, struct.pack(">QI", size + 4, 0x80000001) + bytes(size * 3 // 4))
        self.assertGreater(self.puts_are_answered(20), 0)
        self.memory_is_bounded()
        # A large message has its turn although those before it never end: they make no haste while it waits.
        self.assertEqual(self.cluster.client(self.node, timeout=60).put("large", bytes(1 << 20), w=3).synced, 3)

    def test_unread_answers_and_a_stop(self):
        self.cluster.client(self.node).put("large", bytes(8 << 20))
        body = m.Request(protocol_version=1, method="kvring.v1.Kv/Get", body=m.GetRequest(key=b"large").SerializeToString())
        body = body.SerializeToString()
        for _ in range(20):
            self.say(self.node.base, b"".join(struct.pack(">QI", len(body) + 4, 0x80000000 | i) + body for i in range(200)))
        self.puts_are_answered(5)
        self.memory_is_bounded()
        wait_for(lambda: self.puts_are_answered(1) == 1, "puts are not done any more")
        for _ in range(100):  # half a head
            self.say(self.node.base, b"\0\0\0")
        self.node.process.terminate()
        self.assertEqual(self.node.process.wait(60), 0, self.node.log())


def read_greedily(port, request, connections):
    """Asks for 200 large values at once on each connection, and for another one when one has come, until it is killed."""

    def one():
        framed = struct.pack(">QI", len(request) + 4, 0x80000001) + request
        buffer = bytearray(1 << 20)
        with socket.create_connection(("127.0.0.1", port)) as greedy:
            greedy.sendall(sp.handshake_bytes(sp.REQ))
            greedy.recv(8, socket.MSG_WAITALL)
            greedy.sendall(framed * 200)
            while head := greedy.recv(8, socket.MSG_WAITALL):
                rest = struct.unpack(">Q", head)[0]
                while rest:
                    rest -= greedy.recv_into(buffer, min(rest, len(buffer)))
                greedy.sendall(framed)

    threads = [threading.Thread(target=one) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class GreedyReadersTest(unittest.TestCase):
    PUTS = 21

    def test_a_client_with_little_to_ask_does_not_wait_for_all_that_others_ask(self):
        with Cluster(3, arguments=["--request-mb", "128"]) as cluster:
            node = cluster.nodes[0]
            client = cluster.client(node)
            client.put("large", bytes(8 << 20))
            request = m.Request(protocol_version=1, method="kvring.v1.Kv/Get", body=m.GetRequest(key=b"large").SerializeToString())
            greedy = multiprocessing.get_context("fork").Process(target=read_greedily, args=(node.base, request.SerializeToString(), 20))
            greedy.start()
            try:
                served = m.StatusResponse.FromString(ask(node.base, "Admin/Status").body)  # by a connection that comes anew
                self.assertTrue(served.answered_by)
                seconds = []
                for i in range(self.PUTS):
                    start = time.monotonic()
                    client.put("small%d" % i, b"v")
                    seconds.append(time.monotonic() - start)
                self.assertTrue(greedy.is_alive())
            finally:
                greedy.kill()
                greedy.join()
            seconds.sort()
            print("puts beside 20 greedy readers: half of them within %.0f ms, all within %.0f ms" % (
                1000 * seconds[self.PUTS // 2], 1000 * seconds[-1]), file=sys.stderr)
            self.assertLess(seconds[self.PUTS // 2], 5 if is_instrumented(node) else 1)


def read_answer(connection):
    """The code of the next answer, whose body is passed over."""
    rest = struct.unpack(">QI", connection.recv(12, socket.MSG_WAITALL))[0] - 4
    head = connection.recv(min(rest, 4), socket.MSG_WAITALL)  # the protocol version and the code, which is left out when it is 0
    rest -= len(head)
    buffer = bytearray(1 << 20)
    while rest:
        rest -= connection.recv_into(buffer, min(rest, len(buffer)))
    return head[3] if head[2] == 0x10 else 0


LARGE_KEYS, LARGE_GETS = 12, 60


def ask_for_much_after_little(port):
    """One connection: three small answers, then many large ones asked for at once. The codes of all answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sp.handshake_bytes(sp.REQ))
        connection.recv(8, socket.MSG_WAITALL)
        for _ in range(3):
            connection.sendall(get_request(b"small"))
            assert read_answer(connection) == m.OK
        connection.sendall(b"".join(get_request(b"large%d" % (i % LARGE_KEYS)) for i in range(LARGE_GETS)))
        return [read_answer(connection) for _ in range(LARGE_GETS)]


class LightClientsTest(unittest.TestCase):
    """Clients whose answers were small ask for large values at once: nothing tells beforehand, so all of it is begun."""

    REQUEST_MB, CONNECTIONS = 128, 12

    @staticmethod
    def persist(call, what):
        """What call() returns once nothing refuses it: a node may be short of room for a while, or behind with its disk."""

        def result():
            try:
                return call()
            except kvring.KvringError:
                return None

        return wait_for(result, what)

    def put(self, client, key, value):
        """At all owners. Repeated as the same operation, so that no sibling comes of it."""
        operation_id = kvring.new_operation_id()
        self.persist(lambda: client.put(key, value, w=3, operation_id=operation_id), "%s is not written" % key)

    def test_values_that_were_read_fill_no_memory(self):
        # Large pieces go back at once when they are freed: the peak is what the node holds, not what malloc keeps for later.
        arguments = ["--request-mb", str(self.REQUEST_MB), "--cache-mb", "16"]
        with mock.patch.dict(os.environ, MALLOC_MMAP_THRESHOLD_=str(1 << 20)), Cluster(4, arguments=arguments) as cluster:
            client, node = cluster.client(), cluster.nodes[0]
            size = (1 if is_instrumented(node) else 8) << 20  # enough to fill the budget, and written in seconds under a sanitizer
            self.put(client, "small", b"v")
            for i in range(LARGE_KEYS):
                self.put(client, "large%d" % i, os.urandom(size))
            with multiprocessing.get_context("fork").Pool(self.CONNECTIONS) as askers:
                answers = sum(askers.map(ask_for_much_after_little, [node.base] * self.CONNECTIONS, chunksize=1), [])
            print("gets of %d MiB: %d of %d answered with the value, peak %d MiB" % (
                size >> 20, answers.count(m.OK), len(answers), peak_mb(node)), file=sys.stderr)
            self.assertLessEqual(set(answers), {m.OK, m.RESOURCE_EXHAUSTED, m.UNAVAILABLE})
            self.assertGreater(answers.count(m.OK), LARGE_KEYS)
            self.assertEqual(self.persist(lambda: client.get("small"), "a small value is not served").value, b"v")
            if not is_instrumented(node):  # the budgets of both ports and of values
                self.assertLess(peak_mb(node), 2.5 * self.REQUEST_MB + MemoryTest.BASE_MB)


class OperatorTest(unittest.TestCase):
    def test_a_lost_data_directory(self):
        with Cluster(3) as cluster:
            lost = cluster.nodes[2]
            client = cluster.client(*cluster.nodes[:2])
            client.put("k", b"v", w=3)
            lost.kill()
            shutil.rmtree(lost.data)
            lost.start()
            wait_for(lambda: "data directory lost" in cluster.nodes[0].log() + cluster.nodes[1].log(), "nobody says what happened")

            def refused():  # as soon as it has heard of the cluster
                init = m.InitRequest(members=[m.NodeStatus.FromString(ask(lost.base, "Admin/Describe").body)], partition_count=3)
                return "data directory" in ask(lost.base, "Admin/InitCluster", init).message

            wait_for(refused, "a second cluster can be made in the place of a member")
            _, err = cluster.kvctl("cluster", "init", lost.address, expect=3)
            self.assertIn("was its data directory lost?", err)
            self.assertEqual(client.get("k").value, b"v")
            health = m.HealthResponse.FromString(ask(lost.base, "Health/Check").body)
            self.assertFalse(health.serving)

    def test_init_twice_at_the_same_time_ends_in_one_cluster_or_says_that_there_are_two(self):
        with Cluster(2, form=False) as cluster:
            addresses = [node.address for node in cluster.nodes]
            results = []

            def init(order):
                results.append(cluster.run_kvctl("cluster", "init", "--timeout", "60s", *order, endpoints=""))

            threads = [threading.Thread(target=init, args=(order,)) for order in (addresses, addresses[::-1])]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            codes = sorted(result.returncode for result in results)
            self.assertIn(codes, ([0, 3], [3, 3]), results)
            for result in results:
                if result.returncode:
                    self.assertRegex(result.stderr.decode(), "already|another cluster")

    def test_a_damaged_ring_file_is_named_and_comes_back_from_the_others(self):
        with Cluster(3) as cluster:
            node = cluster.nodes[1]
            node.kill()
            path = os.path.join(node.data, "ring")
            with open(path, "r+b") as file:
                file.seek(100)
                file.write(b"\xff")
            with self.assertRaises(AssertionError):
                node.start()
            self.assertIn(path, node.log())
            os.unlink(path)  # as the message says
            node.start()
            cluster.wait_up(3, through=node)
            self.assertEqual(cluster.client(node).put("k", b"v", w=3).synced, 3)


if __name__ == "__main__":
    unittest.main()
