# SPDX-License-Identifier: Apache-2.0
"""The request side of the SP request/reply protocol over TCP, as NNG and nanomsg speak it.

    handshake   each side sends 8 bytes: 00 'S' 'P' 00, protocol number (u16, big endian), 00 00
                48 is REQ, 49 is REP
    message     length (u64, big endian), then that many bytes
    request     request id (u32, big endian, highest bit set), then the body; the reply carries the same id

One request at a time per socket. A reply to an earlier request that was given up is skipped by its id.
"""

import random
import socket
import struct
import time

REQ, REP = 48, 49
MESSAGE_MAX = 64 * 1024 * 1024


class TimedOut(Exception):
    """No answer in time."""


class ConnectionLost(Exception):
    """The connection could not be made, or went. `sent`: the request may have been executed."""

    def __init__(self, text, sent):
        super().__init__(text)
        self.sent = sent


def handshake_bytes(protocol):
    return struct.pack(">4sHH", b"\x00SP\x00", protocol, 0)


def check_handshake(data, protocol):
    magic, peer, reserved = struct.unpack(">4sHH", data)
    if magic != b"\x00SP\x00" or reserved != 0:
        raise ConnectionLost("the other side does not speak SP (is this a kvring client port?)", sent=False)
    if peer != protocol:
        raise ConnectionLost("the other side speaks SP protocol %d, not %d" % (peer, protocol), sent=False)


class RequestSocket:
    """One connection to one node. Connects at the first request and again after it was lost."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self._socket = None
        self._next_id = random.getrandbits(31)

    def close(self):
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def request(self, body, timeout):
        """Sends body, returns the body of the answer. Raises TimedOut or ConnectionLost."""
        deadline = time.monotonic() + timeout
        if self._socket is None:
            self._connect(deadline)
        self._next_id = (self._next_id + 1) & 0x7FFFFFFF
        request_id = self._next_id | 0x80000000
        try:
            self._send(struct.pack(">QI", len(body) + 4, request_id) + body, deadline)
            while True:
                answer = self._receive_message(deadline)
                if len(answer) >= 4 and struct.unpack_from(">I", answer)[0] == request_id:
                    return answer[4:]
        except OSError as error:
            self.close()
            if isinstance(error, socket.timeout):
                raise TimedOut("no answer from %s:%d within %.3g s" % (self.host, self.port, timeout)) from error
            raise ConnectionLost("%s:%d: %s" % (self.host, self.port, error), sent=True) from error
        except ConnectionLost:
            self.close()
            raise

    def _connect(self, deadline):
        try:
            self._socket = socket.create_connection((self.host, self.port), timeout=max(0.001, deadline - time.monotonic()))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._send(handshake_bytes(REQ), deadline)
            check_handshake(self._receive(8, deadline), REP)
        except (OSError, ConnectionLost) as error:
            self.close()
            raise ConnectionLost("%s:%d: %s" % (self.host, self.port, error), sent=False) from error

    def _send(self, data, deadline):
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        self._socket.sendall(data)

    def _receive_message(self, deadline):
        (size,) = struct.unpack(">Q", self._receive(8, deadline))
        if size > MESSAGE_MAX:
            raise ConnectionLost("an answer of %d bytes is over the limit" % size, sent=True)
        return self._receive(size, deadline)

    def _receive(self, size, deadline):
        data = bytearray()
        while len(data) < size:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            part = self._socket.recv(min(size - len(data), 1 << 20))
            if not part:
                raise ConnectionLost("%s:%d closed the connection" % (self.host, self.port), sent=True)
            data += part
        return bytes(data)
