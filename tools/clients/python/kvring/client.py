# SPDX-License-Identifier: Apache-2.0
"""Client: puts, gets, deletes and batches on a kvring cluster.

A call goes to one node of the list. The next one is asked when a node cannot be reached or answers UNAVAILABLE, and also when
it says nothing for its share of the time: then both may answer, and the first answer counts. A repeated write carries the same
operation id, so that it cannot apply twice.

Threads: a Client serves one thread at a time; give each thread its own.
"""

import os
import time
from dataclasses import dataclass, field
from numbers import Real
from typing import Iterable, List, NamedTuple, Optional, Tuple, Union

from .failover import Failover, GaveUp
from .schema import messages
from .sp import RequestSocket

PROTOCOL_VERSION = 1
VALUE_MAX = 8 * 1024 * 1024  # bytes: the limit that kv.proto states
REQUEST_MAX = 16 * 1024 * 1024  # bytes: what a node reads as one request
OPERATION_ID_SIZE = 16
TIMEOUT_MIN, TIMEOUT_MAX = 0.001, 7 * 86400  # seconds: a node counts in whole ms
ANSWER_MAX = 0.1  # seconds of the time that is left, for the answer to come back
Text = Union[str, bytes, bytearray, memoryview]
Replicas = Union[int, str]  # a number, or the name of a level

# A write that was refused with one of these would be refused by every node: none has executed it.
REFUSED_BY_ALL = (messages.INVALID_ARGUMENT, messages.PERMISSION_DENIED, messages.UNAUTHENTICATED, messages.UNIMPLEMENTED)
# A node that answers with one of these may have executed the write.
DOUBTFUL = (messages.DEADLINE_EXCEEDED, messages.UNKNOWN, messages.CANCELLED, messages.INTERNAL)


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
    """A write that may or may not have taken effect. Repeat it with `operation_id` and `context`: it cannot apply twice."""

    def __init__(self, text, code, operation_id, context=b""):
        super().__init__(text, code)
        self.operation_id = operation_id
        self.context = context


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
    """One operation of a batch: its result, or the error that a single call would have raised. Both None: a delete of a key that
    had no value."""

    result: Optional[Union[PutResult, GetResult]]
    error: Optional[KvringError]


def new_operation_id() -> bytes:
    """A UUID version 7 (RFC 9562): 48 bits of Unix ms, then random bits. The cluster refuses any other kind."""
    identifier = bytearray(int(time.time() * 1000).to_bytes(6, "big") + os.urandom(10))
    identifier[6] = 0x70 | identifier[6] & 0x0F
    identifier[8] = 0x80 | identifier[8] & 0x3F
    return bytes(identifier)


def _sent_us() -> int:
    """Any clock that goes on while the machine sleeps: a node compares the requests of a connection by it."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000


@dataclass
class _Call:
    method: str
    body: object
    answer: object
    writes: bool = False
    operation_id: bytes = field(default_factory=new_operation_id)
    attempts: int = 0  # made so far, with this operation id


# ---- arguments -------------------------------------------------------------------------------------------------------


def _bytes(name: str, given: Text) -> bytes:
    if isinstance(given, str):
        return given.encode()
    if isinstance(given, (bytes, bytearray, memoryview)):
        return bytes(given)
    raise TypeError("%s must be str or bytes, not %s" % (name, type(given).__name__))


def _context(given) -> bytes:
    if isinstance(given, (GetResult, PutResult)):
        raise TypeError("context must be bytes: pass result.context, not the result")
    if isinstance(given, str):
        raise TypeError("context must be bytes, not str")
    return b"" if given is None else _bytes("context", given)


def _operation_id(given) -> bytes:
    operation_id = b"" if isinstance(given, str) else _bytes("operation_id", given)
    if len(operation_id) != OPERATION_ID_SIZE:
        raise ValueError("operation_id must be %d bytes, as an InDoubt error or a PutResult carries it" % OPERATION_ID_SIZE)
    return operation_id


LEVELS = ("ONE", "TWO", "QUORUM", "ALL", "LOCAL_ONE", "LOCAL_QUORUM", "EACH_QUORUM")


def _replicas(name: str, given) -> dict:
    """The fields of a request that say how many replicas: a number, or the name of a level."""
    if isinstance(given, str):
        level = given.upper().replace("-", "_")
        if level not in LEVELS:
            raise ValueError("%s is a number of replicas, or one of %s; not %r" % (name, ", ".join(LEVELS), given))
        return {"level": messages.Level.Value("LEVEL_" + level)}
    if not isinstance(given, int) or isinstance(given, bool):
        raise TypeError("%s must be an int or the name of a level, not %s" % (name, type(given).__name__))
    if not 0 <= given < 1 << 32:
        raise ValueError("%s is a number of replicas, or 0 for the cluster's default; not %d" % (name, given))
    return {name: given}


def _several(name: str, given) -> list:
    """A str is iterable, and a list of its letters is never what was meant."""
    if isinstance(given, (str, bytes, bytearray, memoryview)):
        raise TypeError("%s must be a list, not one %s" % (name, type(given).__name__))
    return list(given)


def _item(given) -> Tuple:
    if not isinstance(given, (tuple, list)) or not 2 <= len(given) <= 3:
        raise TypeError("an item of a batch is (key, value) or (key, value, context)")
    key, value, context = (*given, None)[:3]
    return _bytes("key", key), None if value is None else _bytes("value", value), context


def _seconds(given) -> float:
    if not isinstance(given, Real) or isinstance(given, bool):
        raise TypeError("timeout must be a number of seconds, not %s; there is no waiting for ever" % type(given).__name__)
    if not TIMEOUT_MIN <= given <= TIMEOUT_MAX:  # nan is in no range
        raise ValueError("timeout is a number of seconds from %g to %g, not %r" % (TIMEOUT_MIN, TIMEOUT_MAX, given))
    return float(given)


def _parse_endpoint(endpoint) -> Tuple[str, int]:
    if not isinstance(endpoint, str):
        raise TypeError("an endpoint must be a str, HOST:PORT, not %s" % type(endpoint).__name__)
    host, _, port = endpoint.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""  # an IPv6 address without brackets: nobody knows where it ends
    if not host or any(letter in host for letter in " \t/[]"):
        raise ValueError("an endpoint is HOST:PORT, such as db1.example.org:7000 or [::1]:7000, not %r" % endpoint)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError("the port of an endpoint is a number from 1 to 65535, not %r in %r" % (port, endpoint))
    return host, int(port)


def _parse_endpoints(endpoints) -> List[Tuple[str, int]]:
    if isinstance(endpoints, str):
        endpoints = endpoints.split(",")
    elif isinstance(endpoints, (bytes, bytearray, memoryview)) or not hasattr(endpoints, "__iter__"):
        raise TypeError("endpoints must be a str, HOST:PORT,HOST:PORT, or a list of them, not %s" % type(endpoints).__name__)
    parsed = [_parse_endpoint(endpoint) for endpoint in endpoints]
    if not parsed:
        raise ValueError("give at least one endpoint: HOST:PORT")
    return parsed


class Client:
    def __init__(self, endpoints: Union[str, Iterable[str]], timeout: float = 5.0, bucket: Text = b""):
        """endpoints: "HOST:PORT,HOST:PORT" or a list. timeout: seconds for a whole call, repetitions included."""
        self.timeout = timeout
        self.bucket = _bytes("bucket", bucket)
        self._failover = Failover([RequestSocket(host, port) for host, port in _parse_endpoints(endpoints)])
        self._closed = False

    @property
    def timeout(self) -> float:
        """Seconds for a whole call."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds):
        self._timeout = _seconds(seconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the connections. Every later call raises RuntimeError."""
        self._closed = True
        self._failover.close()

    # ---- single keys ---------------------------------------------------------------------------------------------

    def put(
        self, key: Text, value: Text, context: Optional[bytes] = None, w: Replicas = 0, operation_id: Optional[bytes] = None
    ) -> PutResult:
        """Stores a value. context: what it replaces, from a get; without one it stands beside what is there."""
        request = self._put_request(_bytes("key", key), _context(context), w)
        request.value = _bytes("value", value)
        self._check_value(request.value)
        return self._write("Put", request, operation_id)

    def delete(
        self, key: Text, context: Optional[bytes] = None, w: Replicas = 0, operation_id: Optional[bytes] = None, r: Replicas = 0
    ) -> Optional[PutResult]:
        """Deletes what the context covers; without a context, what a read just before returns (r: of so many replicas).

        None: there was nothing to delete, and nothing was written. A value that somebody writes at the same time stays.
        """
        key, covered = _bytes("key", key), _context(context)
        _replicas("r", r)
        if context is None:
            found = self.get(key, r)
            if not found.found:
                return None
            covered = found.context
        if not covered:
            return None
        return self._write("Delete", self._put_request(key, covered, w), operation_id)

    def get(self, key: Text, r: Replicas = 0) -> GetResult:
        call = _Call("kvring.v1.Kv/Get", self._get_request(_bytes("key", key), r), messages.GetResponse())
        return self._get_result(self._call(call)[0])

    # ---- batches -------------------------------------------------------------------------------------------------

    def batch_put(self, items: Iterable[Tuple], w: Replicas = 0) -> List[BatchResult]:
        """items: (key, value) or (key, value, context). One result per item, in order.

        value None deletes what the context covers, without one what a read just before returns.
        """
        items = [_item(item) for item in _several("items", items)]
        contexts, results = self._batch_contexts(items)
        request = messages.BatchPutRequest()
        places = []
        for place, (key, value, _) in enumerate(items):
            if results[place] is not None:
                continue
            put = self._put_request(key, contexts[place], w)
            put.operation_id = new_operation_id()
            put.attempt = 1
            put.tombstone = value is None
            put.value = value or b""
            try:
                self._check_value(put.value)
            except Refused as error:
                results[place] = BatchResult(None, error)
                continue
            places.append(place)
            request.puts.append(put)
        if places:
            call = _Call("kvring.v1.Kv/BatchPut", request, messages.BatchPutResponse(), writes=True)
            try:
                answer, doubt = self._call(call)
            except InDoubt as error:  # each item is repeated under an id of its own
                for place, put in zip(places, request.puts):
                    results[place] = BatchResult(None, InDoubt(str(error), error.code, put.operation_id, put.context))
                return results
            for place, result, put in zip(places, self._matching(answer.results, places), request.puts):
                results[place] = self._batch_result(self._put_result, result, put.operation_id, put.context, doubt)
        return results

    def batch_get(self, keys: Iterable[Text], r: Replicas = 0) -> List[BatchResult]:
        keys = [_bytes("key", key) for key in _several("keys", keys)]
        request = messages.BatchGetRequest(gets=[self._get_request(key, r) for key in keys])
        answer, _ = self._call(_Call("kvring.v1.Kv/BatchGet", request, messages.BatchGetResponse()))
        return [self._batch_result(self._get_result, result) for result in self._matching(answer.results, keys)]

    def _batch_contexts(self, items):
        """What each item replaces, and the results that are settled already: nothing to delete, or it could not be read."""
        contexts = [_context(context) for _, _, context in items]
        results: List[Optional[BatchResult]] = [None] * len(items)
        unread = [place for place, (_, value, context) in enumerate(items) if value is None and context is None]
        if unread:
            for place, (found, error) in zip(unread, self.batch_get([items[place][0] for place in unread])):
                contexts[place] = found.context if found and found.found else b""
                results[place] = BatchResult(None, error) if error else None
        for place, (_, value, _) in enumerate(items):
            if value is None and not contexts[place] and results[place] is None:
                results[place] = BatchResult(None, None)
        return contexts, results

    # ---- cluster -------------------------------------------------------------------------------------------------

    def status(self):
        """StatusResponse of proto/kv.proto: every member as the node that answers knows it."""
        return self._call(_Call("kvring.v1.Admin/Status", messages.StatusRequest(), messages.StatusResponse()))[0]

    # ---- how -----------------------------------------------------------------------------------------------------

    def _put_request(self, key, context, w):
        return messages.PutRequest(bucket=self.bucket, key=key, context=context, **_replicas("w", w))

    def _get_request(self, key, r):
        return messages.GetRequest(bucket=self.bucket, key=key, **_replicas("r", r))

    @staticmethod
    def _check_value(value):
        """A node would close the connection on a request that is much too large: say it before anything is sent."""
        if len(value) > VALUE_MAX:
            text = "the value has %d bytes, the limit is %d: split it over several keys" % (len(value), VALUE_MAX)
            raise Refused(text, "INVALID_ARGUMENT")

    def _write(self, name, request, operation_id):
        call = _Call("kvring.v1.Kv/" + name, request, messages.PutResponse(), writes=True)
        if operation_id is not None:
            call.operation_id = _operation_id(operation_id)
            call.attempts = 1  # at least: it is given to repeat an operation
        answer, doubt = self._call(call)
        return self._put_result(answer, call.operation_id, request.context, doubt)

    @staticmethod
    def _matching(results, asked):
        if len(results) != len(asked):
            raise KvringError("a node answered %d operations with %d results" % (len(asked), len(results)), "DATA_LOSS")
        return results

    @staticmethod
    def _batch_result(convert, *arguments):
        try:
            return BatchResult(convert(*arguments), None)
        except KvringError as error:
            return BatchResult(None, error)

    @staticmethod
    def _put_result(answer, operation_id, context, doubt):
        """doubt: another node may have executed the write too."""
        if answer.outcome == messages.DONE:
            return PutResult(answer.context, answer.synced, answer.needed, operation_id)
        code = messages.Code.Name(answer.code)
        if answer.outcome == messages.IN_DOUBT:
            text = answer.message or "%d of %d acknowledged" % (answer.acks_owners + answer.acks_fallbacks, answer.needed)
            raise InDoubt("in doubt: " + text, code, operation_id, context)
        if doubt and answer.code not in REFUSED_BY_ALL:
            text = "in doubt: a node that was asked before may have written it; the last one refused: "
            raise InDoubt(text + (answer.message or code), code, operation_id, context)
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
        """The parsed body of the first answer, and whether another node may have executed the call too."""
        if self._closed:
            raise RuntimeError("this client is closed")
        body = call.body.SerializeToString()
        if len(body) > REQUEST_MAX:
            text = "the request has %d bytes, the limit is %d: send fewer operations at once" % (len(body), REQUEST_MAX)
            raise Refused(text, "INVALID_ARGUMENT")

        def envelope(left):
            call.attempts += 1
            return messages.Request(
                protocol_version=PROTOCOL_VERSION,
                method=call.method,
                operation_id=call.operation_id,
                # a node that gives up says what became of a write, and its answer must come in time
                deadline_ms=max(1, int((left - min(ANSWER_MAX, left / 10)) * 1000)),
                attempt=call.attempts,
                sent_us=_sent_us(),
                body=body,
            ).SerializeToString()

        try:
            answer = self._failover.ask(envelope, self.timeout)
        except GaveUp as error:
            if call.writes and error.sent:
                raise self._doubt(call, str(error), "DEADLINE_EXCEEDED") from error
            raise Unreachable(str(error), "UNAVAILABLE") from error
        return self._body(call, answer.response, answer.executed_perhaps), answer.executed_perhaps

    @staticmethod
    def _doubt(call, text, code):
        return InDoubt("in doubt: " + text, code, call.operation_id, getattr(call.body, "context", b""))

    def _body(self, call, response, doubt):
        code = messages.Code.Name(response.code)
        if response.code == messages.OK:
            call.answer.ParseFromString(response.body)
            return call.answer
        if call.writes and (response.code in DOUBTFUL or (doubt and response.code not in REFUSED_BY_ALL)):
            raise self._doubt(call, response.message or code, code)
        raise Refused(response.message or code, code)
