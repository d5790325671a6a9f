# SPDX-License-Identifier: Apache-2.0
"""Failover: one request, several nodes, the first answer.

The nodes are asked in turn. The next one is asked at once when a node cannot be reached, loses the connection or answers
UNAVAILABLE, and after a share of the time that is left when it says nothing: a node that hangs must not use up the time of a
call that the others could answer. Who was asked before may still answer first.

Threads: one at a time.
"""

import time
from typing import NamedTuple

from .schema import messages
from .sp import ConnectionLost, wait

PATIENCE_MAX = 1.0  # seconds until another node is asked as well, however long the call may take
PAUSE_STEP, PAUSE_MAX = 0.02, 0.2  # seconds between two rounds through all nodes


class Answer(NamedTuple):
    response: object  # messages.Response
    executed_perhaps: bool  # another node was sent the request, and nobody knows what it did


class GaveUp(Exception):
    """No node answered in time. `sent`: at least one may have executed the request."""

    def __init__(self, text, sent):
        super().__init__(text)
        self.sent = sent


class Failover:
    def __init__(self, sockets):
        self._sockets = sockets
        self._first = 0  # index of the node that answered last

    def close(self):
        for one in self._sockets:
            one.close()

    def ask(self, make_envelope, timeout):
        """make_envelope(seconds left) makes the bytes of a request. Returns an Answer, or raises GaveUp."""
        question = _Question(self._sockets[self._first :] + self._sockets[: self._first], make_envelope, timeout)
        try:
            answer, by = question.run()
        finally:
            question.abandon()
        self._first = self._sockets.index(by)
        return answer


class _Question:
    def __init__(self, sockets, make_envelope, timeout):
        self._sockets, self._make_envelope, self._timeout = sockets, make_envelope, timeout
        self._deadline = time.monotonic() + timeout
        self._pending = []  # sockets asked, whose answer has not come
        self._tried, self._rounds = 0, 0  # nodes of this round; rounds finished
        self._ask_at = 0.0  # when the next node is asked
        self._sent = False  # somebody may have executed the request and then was lost
        self._last = ""  # why the last node did not answer

    def run(self):
        while True:
            now = time.monotonic()
            if now >= self._deadline:
                raise self._gave_up()
            if now >= self._ask_at:
                self._ask_next(now)
                continue
            until = min(self._ask_at, self._deadline)
            if not self._pending:
                time.sleep(until - now)
            for one in wait(self._pending, until - now) if self._pending else []:
                response = self._hear(one)
                if response is not None:
                    executed_perhaps = self._sent or any(other.sent for other in self._pending)
                    return Answer(response, executed_perhaps), one

    def abandon(self):
        for one in self._pending:
            one.give_up()

    def _ask_next(self, now):
        if self._tried == len(self._sockets):
            self._begin_round(now)
            return
        one = self._sockets[self._tried]
        self._tried += 1
        if one in self._pending:
            return
        left = self._deadline - now
        try:
            one.start(self._make_envelope(left))
        except ConnectionLost as error:
            self._last = str(error)
            return
        self._pending.append(one)
        untried = len(self._sockets) - self._tried
        self._ask_at = now + min(PATIENCE_MAX, left / (untried + 1)) if untried else self._deadline

    def _begin_round(self, now):
        """Everybody was asked. Those that failed are asked again after a pause; the others may still answer."""
        self._tried, self._rounds = 0, self._rounds + 1
        everybody_is_asked = len(self._pending) == len(self._sockets)
        self._ask_at = self._deadline if everybody_is_asked else now + min(PAUSE_STEP * self._rounds, PAUSE_MAX)

    def _hear(self, one):
        """The response of a node, when it is one that settles the call."""
        try:
            answer = one.advance()
            if answer is None:
                return None
            response = messages.Response.FromString(answer)
            if response.code != messages.UNAVAILABLE:
                self._pending.remove(one)
                return response
            self._last = response.message
        except ConnectionLost as error:
            self._last, self._sent = str(error), self._sent or error.sent
        self._pending.remove(one)
        self._ask_at = 0.0  # ask the next node now
        return None

    def _gave_up(self):
        silent = ", ".join(str(one) for one in self._pending)
        text = "no answer from %s within %.3g s" % (silent, self._timeout) if silent else self._last
        if silent and self._last:
            text += "; " + self._last
        return GaveUp(text or "no answer within %.3g s" % self._timeout, self._sent or any(one.sent for one in self._pending))
