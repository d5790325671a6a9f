# SPDX-License-Identifier: Apache-2.0
"""The request side of the SP request/reply protocol over TCP, as NNG and nanomsg speak it.

    handshake   each side sends 8 bytes: 00 'S' 'P' 00, protocol number (u16, big endian), 00 00
                48 is REQ, 49 is REP
    message     length (u64, big endian), then that many bytes
    request     request id (u32, big endian, highest bit set), then the body; the reply carries the same id

One request at a time per socket. Nothing here blocks but the look-up of a host name: `start` begins a request, `advance` goes
on as far as the connection allows, `wait` sleeps until one of several sockets can go on. A reply to an earlier request that was
given up is skipped by its id.
"""

import errno
import os
import random
import select
import socket
import struct
import time

REQ, REP = 48, 49
MESSAGE_MAX = 64 * 1024 * 1024  # bytes of an answer
HANDSHAKE_SIZE = 8
IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)


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


def wait(sockets, timeout):
    """Sleeps until one of the sockets can go on, or for `timeout` seconds. Returns those that can."""
    poll = select.poll()
    by_number = {}
    for one in sockets:
        poll.register(one.fileno(), select.POLLIN | (select.POLLOUT if one.has_output else 0))
        by_number[one.fileno()] = one
    return [by_number[number] for number, _ in poll.poll(max(0.0, timeout) * 1000)]


class RequestSocket:
    """One connection to one node. Connects at the first request and again after it was lost."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self._socket = None
        self._next_id = random.getrandbits(31)
        self._reset()

    def _reset(self):
        self._addresses = []  # still to be tried
        self._connected = self._shaken = False  # shaken: the handshake came
        self._output, self._input = memoryview(b""), bytearray()
        self._request = None  # waits for the handshake
        self._request_id = None  # of the request under way

    def __str__(self):
        return "%s:%d" % (self.host, self.port)

    def fileno(self):
        return self._socket.fileno()

    @property
    def has_output(self):
        return not self._connected or bool(self._output)

    @property
    def sent(self):
        """A part of the request under way has left: the node may execute it."""
        return self._request_id is not None and self._request is None

    def close(self):
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._reset()

    def start(self, body):
        """Begins a request; `advance` sends it and returns its answer. Raises ConnectionLost."""
        if self._request_id is not None:
            self.give_up()
        self._next_id = (self._next_id + 1) & 0x7FFFFFFF
        self._request_id = self._next_id | 0x80000000
        self._request = struct.pack(">QI", len(body) + 4, self._request_id) + body
        try:
            if self._socket is not None and self._is_closed():
                self._drop_connection()
            if self._socket is None:
                self._look_up()
                self._connect("no address")
            elif self._shaken:
                self._send_request()
        except ConnectionLost as error:
            raise self._lost(str(error)) from error

    def give_up(self):
        """Nobody waits for the answer any more. A request that has not left whole takes its connection with it."""
        if self._output or self._request is not None:
            self.close()
        self._request_id = None

    def request(self, body, timeout):
        """Sends body, returns the body of the answer. Raises TimedOut or ConnectionLost. Blocks."""
        deadline = time.monotonic() + timeout
        self.start(body)
        while True:
            answer = self.advance()
            if answer is not None:
                return answer
            left = deadline - time.monotonic()
            if left <= 0:
                self.give_up()
                raise TimedOut("no answer from %s within %.3g s" % (self, timeout))
            wait([self], left)

    def advance(self):
        """Sends and receives what is possible at once. Returns the body of the answer, or None; raises ConnectionLost."""
        try:
            if not self._connected and not self._finish_connect():
                return None
            self._flush()
            return self._receive()
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from error
        except ConnectionLost as error:
            raise self._lost(str(error)) from error

    # ---- connecting ----------------------------------------------------------------------------------------------

    def _lost(self, why):
        sent = self.sent
        self.close()
        return ConnectionLost("%s: %s" % (self, why), sent)

    def _look_up(self):
        try:
            self._addresses = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConnectionLost("the host name does not resolve: %s" % (error.strerror or error), sent=False) from error

    def _connect(self, why):
        """Dials the next address of the host."""
        while self._addresses:
            family, kind, protocol, _, address = self._addresses.pop(0)
            if self._socket is not None:
                self._socket.close()
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = self._socket.connect_ex(address)
            if number == 0 or number in IN_PROGRESS:
                return
            why = os.strerror(number)
        raise ConnectionLost(why, sent=False)

    def _is_closed(self):
        """The node closed the connection while nothing was under way: nothing can have been executed over it."""
        try:
            return self._shaken and not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _drop_connection(self):
        request_id, request = self._request_id, self._request
        self.close()
        self._request_id, self._request = request_id, request

    def _finish_connect(self):
        """True when the connection stands."""
        if not wait([self], 0):
            return False
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._connect(os.strerror(number))
            return False
        self._connected = True
        self._output = memoryview(handshake_bytes(REQ))
        return True

    # ---- bytes ---------------------------------------------------------------------------------------------------

    def _send_request(self):
        self._output = memoryview(self._request)
        self._request = None

    def _flush(self):
        while self._output:
            try:
                self._output = self._output[self._socket.send(self._output) :]
            except BlockingIOError:
                return

    def _receive(self):
        while True:
            answer = self._take_answer()
            if answer is not None:
                return answer
            try:
                part = self._socket.recv(1 << 20)
            except BlockingIOError:
                return None
            if not part:
                raise ConnectionLost("the node closed the connection", sent=True)
            self._input += part

    def _take_answer(self):
        """The answer to the request under way, when all of it is there."""
        if not self._shaken:
            if len(self._input) < HANDSHAKE_SIZE:
                return None
            check_handshake(bytes(self._input[:HANDSHAKE_SIZE]), REP)
            del self._input[:HANDSHAKE_SIZE]
            self._shaken = True
            self._send_request()
            self._flush()
        while len(self._input) >= 8:
            (size,) = struct.unpack_from(">Q", self._input)
            if size > MESSAGE_MAX:
                raise ConnectionLost("an answer of %d bytes is over the limit" % size, sent=True)
            if len(self._input) < 8 + size:
                return None
            message = bytes(self._input[8 : 8 + size])
            del self._input[: 8 + size]
            if size >= 4 and struct.unpack_from(">I", message)[0] == self._request_id:
                self._request_id = None
                return message[4:]
        return None
