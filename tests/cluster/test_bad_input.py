# SPDX-License-Identifier: Apache-2.0
"""What arrives on a node's client port and is no request: each gets an error or a closed connection, and the node stays up."""

import os
import socket
import struct
import unittest

import kvring
from cluster import ClusterTest
from kvring import sp
from kvring.schema import messages as m


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def nested(depth, tag=15):
    """A length-delimited field inside itself, `depth` times."""
    data = b""
    for _ in range(depth):
        data = varint(tag << 3 | 2) + varint(len(data)) + data
    return data


class BadInputTest(ClusterTest):
    node_count = 1

    @classmethod
    def setUpClass(cls):
        from cluster import Cluster

        cls.cluster = Cluster(1, replicas=1)
        cls.client = cls.cluster.client()
        cls.client.put("kept", b"v", w=1)

    def setUp(self):
        self.node = self.cluster.nodes[0]
        self.pid = self.node.process.pid

    def tearDown(self):
        """Whatever came: the same process still answers, and has lost nothing."""
        self.assertTrue(self.node.running)
        self.assertEqual(self.client.get("kept", r=1).value, b"v")

    def ask(self, message):
        request = kvring.RequestSocket("127.0.0.1", self.node.base)
        self.addCleanup(request.close)
        return m.Response.FromString(request.request(message, 20))

    def call(self, method, body=b"", **envelope):
        return self.ask(m.Request(protocol_version=1, method=method, body=body, **envelope).SerializeToString())

    def raw(self):
        one = socket.create_connection(("127.0.0.1", self.node.base), timeout=20)
        self.addCleanup(one.close)
        return one

    def shaken(self):
        one = self.raw()
        one.sendall(sp.handshake_bytes(sp.REQ))
        self.assertEqual(one.recv(8), sp.handshake_bytes(sp.REP))
        return one

    # ---- envelopes -----------------------------------------------------------------------------------------------

    def test_an_unknown_method(self):
        response = self.call("kvring.v1.Kv/Frobnicate")
        self.assertEqual(response.code, m.UNIMPLEMENTED)
        self.assertIn("Kv/Frobnicate", response.message)
        self.assertIn(self.call("").code, (m.UNIMPLEMENTED, m.INVALID_ARGUMENT))
        response = self.call("kvring.v1.Peer/Store")
        self.assertIn(response.code, (m.UNIMPLEMENTED, m.PERMISSION_DENIED))
        self.assertIn("peer port", response.message)
        self.assertEqual(self.call("x" * 100000).code, m.UNIMPLEMENTED)

    def test_a_broken_envelope(self):
        good = m.Request(protocol_version=1, method="kvring.v1.Kv/Get", body=b"x" * 50).SerializeToString()
        broken = [b"", b"\x00", b"\xff" * 40, good[:-1], good[:10], b"\x12\xff\xff\xff\xff\x0f", b"\x0b" * 30]
        for message in broken:
            response = self.ask(message)
            self.assertNotEqual(response.code, m.OK, message)
            self.assertTrue(response.message, message)

    def test_another_protocol_version(self):
        response = self.ask(m.Request(protocol_version=99, method="kvring.v1.Kv/Get").SerializeToString())
        self.assertNotEqual(response.code, m.OK)
        self.assertIn("99", response.message)

    def test_an_operation_id_of_another_size(self):
        body = m.PutRequest(key=b"id", value=b"v").SerializeToString()
        for size in (1, 15, 17, 1000):
            response = self.call("kvring.v1.Kv/Put", body, operation_id=bytes(size))
            self.assertNotEqual(response.code, m.OK)
            self.assertIn("operation", response.message)

    # ---- bodies --------------------------------------------------------------------------------------------------

    def test_bodies_that_do_not_decode(self):
        methods = ["Kv/Put", "Kv/Get", "Kv/Delete", "Kv/BatchPut", "Kv/BatchGet", "Admin/InitCluster", "Admin/Ring"]
        for method in methods:
            for body in (b"\xff" * 20, b"\x0a\x05ab", b"\x0a\xff\xff\xff\xff\x0f"):
                response = self.call("kvring.v1." + method, body)
                self.assertEqual(response.code, m.INVALID_ARGUMENT, (method, body, response))
                self.assertTrue(response.message)

    def test_deep_nesting(self):
        for tag in (1, 2, 15):
            for depth in (100, 20000):
                self.call("kvring.v1.Kv/BatchPut", nested(depth, tag))
                self.call("kvring.v1.Admin/InitCluster", nested(depth, tag))
                self.ask(nested(depth, tag))

    def test_amplification(self):
        # 2 bytes on the wire are a struct of over 100 in memory: a batch of empty operations
        response = self.call("kvring.v1.Kv/BatchPut", b"\x0a\x00" * 4_000_000)
        self.assertNotEqual(response.code, m.OK)
        response = self.call("kvring.v1.Admin/InitCluster", b"\x0a\x00" * 1_000_000)
        self.assertNotEqual(response.code, m.OK)

    def test_init_of_a_node_in_a_cluster(self):
        response = self.call("kvring.v1.Admin/InitCluster", m.InitRequest(members=[m.NodeStatus(node_id=1, name="x")]).SerializeToString())
        self.assertNotEqual(response.code, m.OK)
        self.assertTrue(response.message)

    # ---- below the envelope --------------------------------------------------------------------------------------

    def test_no_sp(self):
        for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00" + bytes(200), os.urandom(64)):
            one = self.raw()
            one.sendall(data)
            while True:  # the handshake of the other side, then the end
                try:
                    if not one.recv(4096):
                        break
                except ConnectionResetError:
                    break

    def test_the_wrong_sp_protocol(self):
        one = self.raw()
        one.sendall(sp.handshake_bytes(16))  # PAIR
        one.recv(8)
        try:
            self.assertEqual(one.recv(8), b"")
        except ConnectionResetError:
            pass

    def test_an_oversized_message(self):
        for size in (18 << 20, 16 << 30, (1 << 64) - 1):
            one = self.shaken()
            one.sendall(struct.pack(">Q", size) + b"x" * 1000)
            try:
                self.assertEqual(one.recv(8), b"")
            except ConnectionResetError:
                pass

    def test_a_message_without_a_request_id(self):
        one = self.shaken()
        for body in (b"", b"abc", bytes(4) * 100):
            try:
                one.sendall(struct.pack(">Q", len(body)) + body)
            except (BrokenPipeError, ConnectionResetError):
                break

    def test_connections_that_stop_in_the_middle(self):
        for part in (b"", sp.handshake_bytes(sp.REQ)[:5], sp.handshake_bytes(sp.REQ), sp.handshake_bytes(sp.REQ) + struct.pack(">Q", 1000) + b"x"):
            for _ in range(20):
                one = self.raw()
                one.sendall(part)
                one.close()


if __name__ == "__main__":
    unittest.main()
