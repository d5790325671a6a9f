# SPDX-License-Identifier: Apache-2.0
"""Client: puts, gets, deletes and batches on a kvring cluster.

A call goes to one node of the list; when that node cannot be reached or answers UNAVAILABLE, the next one is asked until
the time is over. A repeated write carries the same operation id, so that it cannot apply twice.

Threads: a Client serves one thread at a time; give each thread its own.
"""

import os
import time
from dataclasses import dataclass, field
from typing import Iterable, List, NamedTuple, Optional, Tuple, Union

from .schema import messages
from .sp import ConnectionLost, RequestSocket, TimedOut

PROTOCOL_VERSION = 1
Text = Union[str, bytes]


class KvringError(Exception):
    """Base of all errors. `code` is the canonical status code's name, such as "UNAVAILABLE"."""

    def __init__(self, text, code="UNKNOWN"):
        super().__init__(text)
        self.code = code


class Unreachable(KvringError):
    """No node answered; nothing was done."""


class Refused(KvringError):
    """The cluster did not do it, and says why."""


class InDoubt(KvringError):
    """A write that may or may not have taken effect. Repeat it with `operation_id`: it cannot apply twice."""

    def __init__(self, text, code, operation_id):
        super().__init__(text, code)
        self.operation_id = operation_id


class SiblingsFound(KvringError):
    """`GetResult.value` was asked for, but there are several."""


@dataclass
class PutResult:
    context: bytes  # of the version just written
    synced: int  # nodes that have it on stable storage
    needed: int
    operation_id: bytes


@dataclass
class GetResult:
    values: List[bytes]  # empty: not found; several: concurrent writes
    context: bytes  # to replace what was read, also when it was nothing
    replies: int = 0
    needed: int = 0

    @property
    def found(self):
        return bool(self.values)

    @property
    def value(self) -> Optional[bytes]:
        """The only value; None when there is none."""
        if len(self.values) > 1:
            raise SiblingsFound(
                "%d values were written concurrently: merge `values`, put the result with `context`" % len(self.values),
                "ABORTED",
            )
        return self.values[0] if self.values else None


class BatchResult(NamedTuple):
    """One operation of a batch: its result, or the error that a single call would have raised."""

    result: Optional[Union[PutResult, GetResult]]
    error: Optional[KvringError]


@dataclass
class _Call:
    method: str
    body: object
    answer: object
    writes: bool = False
    operation_id: bytes = field(default_factory=lambda: os.urandom(16))


def _bytes(text: Text) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


def _parse_endpoints(endpoints) -> List[Tuple[str, int]]:
    parsed = []
    for endpoint in endpoints.split(",") if isinstance(endpoints, str) else endpoints:
        host, colon, port = endpoint.strip().rpartition(":")
        if not colon or not port.isdigit() or not host:
            raise ValueError("an endpoint is HOST:PORT, not '%s'" % endpoint)
        parsed.append((host.strip("[]"), int(port)))
    if not parsed:
        raise ValueError("give at least one endpoint: HOST:PORT")
    return parsed


class Client:
    def __init__(self, endpoints: Union[str, Iterable[str]], timeout: float = 5.0, bucket: Text = b""):
        """endpoints: "HOST:PORT,HOST:PORT" or a list. timeout: seconds for a whole call, repetitions included."""
        self._sockets = [RequestSocket(host, port) for host, port in _parse_endpoints(endpoints)]
        self._current = 0
        self.timeout = timeout
        self.bucket = _bytes(bucket)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for one in self._sockets:
            one.close()

    # ---- single keys ---------------------------------------------------------------------------------------------

    def put(self, key: Text, value: Text, context: bytes = b"", w: int = 0, operation_id: Optional[bytes] = None) -> PutResult:
        """Stores a value. context: what it replaces, from a get; without one it stands beside what is there."""
        request = self._put_request(key, context, w)
        request.value = _bytes(value)
        return self._write("Put", request, operation_id)

    def delete(self, key: Text, context: bytes = b"", w: int = 0, operation_id: Optional[bytes] = None) -> PutResult:
        """Deletes what the context covers."""
        return self._write("Delete", self._put_request(key, context, w), operation_id)

    def get(self, key: Text, r: int = 0) -> GetResult:
        call = _Call("kvring.v1.Kv/Get", self._get_request(key, r), messages.GetResponse())
        return self._get_result(self._call(call))

    # ---- batches -------------------------------------------------------------------------------------------------

    def batch_put(self, items: Iterable[Tuple], w: int = 0) -> List[BatchResult]:
        """items: (key, value) or (key, value, context); value None deletes. One result per item, in order."""
        request = messages.BatchPutRequest()
        for item in items:
            key, value, context = (*item, b"")[:3]
            put = self._put_request(key, context, w)
            put.operation_id = os.urandom(16)
            put.tombstone = value is None
            put.value = b"" if value is None else _bytes(value)
            request.puts.append(put)
        call = _Call("kvring.v1.Kv/BatchPut", request, messages.BatchPutResponse(), writes=True)
        results = self._call(call).results
        return [self._batch_result(self._put_result, result, put.operation_id) for result, put in zip(results, request.puts)]

    def batch_get(self, keys: Iterable[Text], r: int = 0) -> List[BatchResult]:
        request = messages.BatchGetRequest(gets=[self._get_request(key, r) for key in keys])
        answer = self._call(_Call("kvring.v1.Kv/BatchGet", request, messages.BatchGetResponse()))
        return [self._batch_result(self._get_result, result) for result in answer.results]

    # ---- cluster -------------------------------------------------------------------------------------------------

    def status(self):
        """StatusResponse of proto/kv.proto: every member as the node that answers knows it."""
        return self._call(_Call("kvring.v1.Admin/Status", messages.StatusRequest(), messages.StatusResponse()))

    # ---- how -----------------------------------------------------------------------------------------------------

    def _put_request(self, key, context, w):
        return messages.PutRequest(bucket=self.bucket, key=_bytes(key), context=context, w=w)

    def _get_request(self, key, r):
        return messages.GetRequest(bucket=self.bucket, key=_bytes(key), r=r)

    def _write(self, name, request, operation_id):
        call = _Call("kvring.v1.Kv/" + name, request, messages.PutResponse(), writes=True)
        if operation_id is not None:
            call.operation_id = operation_id
        return self._put_result(self._call(call), call.operation_id)

    @staticmethod
    def _batch_result(convert, *arguments):
        try:
            return BatchResult(convert(*arguments), None)
        except KvringError as error:
            return BatchResult(None, error)

    @staticmethod
    def _put_result(answer, operation_id):
        if answer.outcome == messages.DONE:
            return PutResult(answer.context, answer.synced, answer.needed, operation_id)
        code = messages.Code.Name(answer.code)
        if answer.outcome == messages.IN_DOUBT:
            text = "in doubt: %d of %d acknowledgements: %s" % (
                answer.acks_owners + answer.acks_fallbacks,
                answer.needed,
                answer.message,
            )
            raise InDoubt(text, code, operation_id)
        raise Refused(answer.message or code, code)

    @staticmethod
    def _get_result(answer):
        if answer.outcome == messages.DONE:
            return GetResult([s.value for s in answer.siblings], answer.context, answer.replies, answer.needed)
        if answer.outcome == messages.ABSENT:
            return GetResult([], answer.context, answer.replies, answer.needed)
        code = messages.Code.Name(answer.code)
        raise Refused(answer.message or "%d of %d replicas answered" % (answer.replies, answer.needed), code)

    def _call(self, call):
        """Asks node after node until one answers or the time is over. Returns the parsed body."""
        deadline = time.monotonic() + self.timeout
        last, sent = "", False
        attempt = 0
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._gave_up(call, last or "no answer within %.3g s" % self.timeout, sent)
            try:
                envelope = self._envelope(call, left)
                answer = self._sockets[self._current].request(envelope.SerializeToString(), left)
            except TimedOut as error:
                raise self._gave_up(call, str(error), True) from error
            except ConnectionLost as error:
                last, sent = str(error), sent or error.sent
            else:
                response = messages.Response.FromString(answer)
                if response.code != messages.UNAVAILABLE:
                    return self._body(call, response)
                last = response.message
            self._current = (self._current + 1) % len(self._sockets)
            attempt += 1
            if attempt % len(self._sockets) == 0:
                time.sleep(min(0.02 * attempt, 0.2, max(0.0, deadline - time.monotonic())))

    @staticmethod
    def _envelope(call, left):
        return messages.Request(
            protocol_version=PROTOCOL_VERSION,
            method=call.method,
            operation_id=call.operation_id,
            deadline_ms=max(1, int(left * 1000)),
            body=call.body.SerializeToString(),
        )

    @staticmethod
    def _gave_up(call, text, sent):
        if call.writes and sent:
            return InDoubt("in doubt: " + text, "DEADLINE_EXCEEDED", call.operation_id)
        return Unreachable(text, "UNAVAILABLE")

    @staticmethod
    def _body(call, response):
        code = messages.Code.Name(response.code)
        if response.code == messages.OK:
            call.answer.ParseFromString(response.body)
            return call.answer
        if call.writes and response.code in (messages.DEADLINE_EXCEEDED, messages.UNKNOWN, messages.CANCELLED, messages.INTERNAL):
            raise InDoubt(response.message or code, code, call.operation_id)
        raise Refused(response.message or code, code)
