# SPDX-License-Identifier: Apache-2.0
"""A fake cluster for tests of the tools: the wire of kv.proto over SP, one dictionary instead of replicas.

    cluster = FakeCluster(node_count=3)
    cluster.endpoints            # "127.0.0.1:41001,..."
    cluster.hook = function      # sees every request first, see below
    cluster.close()

It keeps siblings the way a real node does (a put replaces what its context covers; equal operation ids are one write), so that
tools can be tested for handing contexts and operation ids on. It is written apart from rpc/ and node/: where it
and they disagree about the wire, a test of the tools or of the cluster shows it.

hook(node, method, body) may return None (go on), a Response (sent as it is), "drop" (no answer), or "close" (the connection goes).
"""

import socket
import struct
import threading
import zlib

from kvring import sp
from kvring.schema import messages as m

KEY_MAX, VALUE_MAX, BATCH_MAX, SIBLINGS_MAX = 4096, 8 * 1024 * 1024, 4096, 100
CLUSTER_ID = 0x0123456789ABCDEF


# ---- contexts: ranges of version numbers, with a checksum ------------------------------------------------------------


def encode_context(numbers):
    if not numbers:
        return b""
    ordered, ranges = sorted(numbers), []
    for number in ordered:
        if ranges and ranges[-1][1] + 1 == number:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    body = b"".join(struct.pack(">II", *r) for r in ranges)
    return body + struct.pack(">I", zlib.crc32(body))


def decode_context(context):
    if not context:
        return set()
    body, checksum = context[:-4], context[-4:]
    if len(body) % 8 or struct.pack(">I", zlib.crc32(body)) != checksum:
        raise ValueError("context: its checksum does not match")
    numbers = set()
    for at in range(0, len(body), 8):
        first, last = struct.unpack_from(">II", body, at)
        numbers.update(range(first, last + 1))
    return numbers


class FakeObject:
    def __init__(self):
        self.seen = set()  # every version number there ever was
        self.siblings = []  # (number, operation id, value or None for a tombstone)

    def put(self, covered, operation_id, value):
        for number, known_id, _ in self.siblings:
            if known_id == operation_id:
                return number
        kept = [s for s in self.siblings if s[0] not in covered]
        if len(kept) >= SIBLINGS_MAX:
            raise ValueError("the key has %d concurrent values, the limit" % len(kept))
        number = len(self.seen) + 1
        self.seen.add(number)
        self.siblings = kept + [(number, operation_id, value)]
        return number


class FakeCluster:
    def __init__(self, node_count=1, formed=True):
        self.lock = threading.Lock()
        self.objects = {}  # (bucket, key) -> FakeObject
        self.hook = None
        self.requests = []  # (node index, method) of everything that came
        self.applied = []  # operation ids of puts, in order of arrival
        self.cluster_id = CLUSTER_ID if formed else 0
        self.epoch = 1 if formed else 0
        self.install_delay = 0  # Describe calls that a node answers before it knows of a new cluster
        self.unheard = {}  # index -> node ids that it reports
        self.member_states = {}  # index -> member_state; default "active"
        self.incoming = {}  # index -> (partitions to come, of how many, bytes copied)
        self.transitions = []  # of the next answers of Status; then "stable"
        self.violations = []  # of the next plans
        self.joined = []  # names of nodes that are no members, as plans show them
        self.strays = {}  # node index -> the other cluster that it joins while this one is made
        self.nodes = [FakeNode(self, i) for i in range(node_count)]

    @property
    def endpoints(self):
        return ",".join(node.address for node in self.nodes)

    def close(self):
        for node in self.nodes:
            node.close()

    # ---- the store -----------------------------------------------------------------------------------------------

    def put(self, put, operation_id, tombstone):
        answer = m.PutResponse(needed=put.w or 2)
        if not 1 <= len(put.key) <= KEY_MAX:
            return refused(answer, "key has %d bytes, it must have 1 to %d" % (len(put.key), KEY_MAX))
        if len(put.value) > VALUE_MAX:
            return refused(answer, "value has %d bytes, the limit is %d" % (len(put.value), VALUE_MAX))
        if put.w > 3:
            return refused(answer, "w=%d is more than the 3 replicas" % put.w)
        try:
            covered = decode_context(put.context)
            with self.lock:
                self.applied.append(operation_id)
                stored = self.objects.setdefault((put.bucket or b"default", put.key), FakeObject())
                number = stored.put(covered, operation_id, None if tombstone else put.value)
        except ValueError as error:
            return refused(answer, str(error))
        answer.outcome, answer.acks_owners, answer.synced = m.DONE, answer.needed, answer.needed
        answer.context = encode_context(covered | {number})
        return answer

    def get(self, get):
        answer = m.GetResponse(needed=get.r or 2, replies=get.r or 2, outcome=m.ABSENT)
        if not 1 <= len(get.key) <= KEY_MAX:
            return refused(answer, "key has %d bytes, it must have 1 to %d" % (len(get.key), KEY_MAX))
        if get.r > 3:
            return refused(answer, "r=%d is more than the 3 replicas" % get.r)
        with self.lock:
            stored = self.objects.get((get.bucket or b"default", get.key))
            if stored is None:
                return answer
            answer.context = encode_context(stored.seen)
            for _, _, value in stored.siblings:
                if value is not None:
                    answer.siblings.add(value=value, written_ms=1700000000000)
        if answer.siblings:
            answer.outcome = m.DONE
        return answer

    # ---- operators -----------------------------------------------------------------------------------------------

    def describe(self, node):
        known = self.cluster_id
        if known and node.describes_until_known > 0:
            node.describes_until_known -= 1
            known = 0
        if known:
            known = self.strays.get(node.index, known)
        return m.NodeStatus(
            node_id=100 + node.index,
            name="n%d" % (node.index + 1),
            client_address=node.address,
            peer_address=node.address,
            bus_address=node.address,
            datacenter="dc1",
            rack="r%d" % (node.index + 1),
            weight=100,
            state="up" if known else "starting",
            epoch=(node.epoch or self.epoch) if known else 0,
            cluster_id=known,
            keys=len(self.objects),
            version="fake",
            uptime_ms=3723000,
            heard=True,
            linked=True,
            unheard=self.unheard.get(node.index, []),
            state_ms=61000,
            member_state=self.member_states.get(node.index, "active") if known else "",
            ready_epoch=self.epoch if known else 0,
            **dict(zip(("incoming_partitions", "incoming_total", "copied_bytes"), self.incoming.get(node.index, (0, 0, 0)))),
        )

    def init(self, request):
        self.cluster_id, self.epoch = CLUSTER_ID, 1
        for node in self.nodes:
            node.describes_until_known = self.install_delay
        self.init_request = request
        return m.InitResponse(cluster_id=self.cluster_id, epoch=1)

    def set_rack(self, request):
        self.rack_request = request
        self.epoch += 1
        return m.InitResponse(cluster_id=self.cluster_id, epoch=self.epoch)

    def plan(self, request):
        """Of joins and leaves alone: a node that joins gets 12 of 16 partitions from the first member."""
        self.plan_request = request
        plan = m.ChangePlan(epoch=self.epoch + 1, parent_hash=0x1000 + self.epoch, plan_hash=hash_of(request.changes), moves=12, minimum_moves=12,
                            bytes=3 << 20, estimated_ms=90000, violations=self.violations)
        leaving = {change.node for change in request.changes if change.kind != m.JOIN}
        for node in self.nodes:
            name = "n%d" % (node.index + 1)
            plan.members.add(node_id=100 + node.index, name=name, datacenter="dc1", rack="r", weight_before=100, weight_after=100,
                             state_before="active", state_after="leaving" if name in leaving else "active",
                             partitions_before=16, partitions_after=0 if name in leaving else 12, primaries_before=5, primaries_after=4)
        for index, change in enumerate(request.changes):
            if change.kind == m.JOIN:
                plan.members.add(node_id=200 + index, name=change.node, datacenter="dc1", weight_after=change.weight or 100, state_after="active",
                                 partitions_after=12, primaries_after=4)
                plan.links.add(**{"from": 100}, to=200 + index, partitions=12, bytes=3 << 20, estimated_ms=90000)
        return plan

    def commit(self, request):
        plan = self.plan(request)
        if (request.parent_hash, request.plan_hash) != (plan.parent_hash, plan.plan_hash):
            return m.Response(code=m.FAILED_PRECONDITION, message="the ring changed since the plan: plan again")
        if plan.violations and not request.allow_violations:
            return m.Response(code=m.FAILED_PRECONDITION, message=plan.violations[0])
        self.epoch += 1
        self.joined = [member for member in plan.members if member.node_id >= 200]
        plan.epoch = self.epoch
        return plan

    def force(self, request):
        self.force_request = request
        self.epoch += 2
        return m.InitResponse(cluster_id=self.cluster_id, epoch=self.epoch)

    def abort(self, request):
        self.abort_request = request
        self.epoch += 1
        return m.InitResponse(cluster_id=self.cluster_id, epoch=self.epoch)

    def status(self, node):
        status = self.status_of_members(node)
        status.transition = self.transitions.pop(0) if self.transitions else "stable"
        for member in self.joined:
            status.members.add(node_id=member.node_id, name=member.name, datacenter=member.datacenter, state="up", epoch=self.epoch, heard=True,
                               linked=True, member_state="active", weight=member.weight_after)
        return status

    def status_of_members(self, node):
        return m.StatusResponse(
            cluster_id=self.cluster_id,
            epoch=self.epoch,
            ring_hash=7,
            partition_count=16,
            replica_count=3,
            answered_by=100 + node.index,
            members=[self.describe(other) for other in self.nodes],
        )

    def ring(self, request):
        ids = [100 + node.index for node in self.nodes]
        answer = m.RingResponse(epoch=self.epoch, partition_count=16, replica_count=min(3, len(ids)))
        for node in self.nodes:
            answer.members.add(node_id=100 + node.index, name="n%d" % (node.index + 1), datacenter="dc1", rack="r", weight=100,
                               replicas=16, primaries=5)
        if request.key:
            answer.partition = zlib.crc32(request.key) % 16
            answer.preference.extend(ids[:3])
            answer.fallbacks.extend(ids[3:])
        else:
            for _ in range(16):
                answer.owners.extend(ids[:3])
        answer.violations.append("2 racks hold 3 replicas")
        return answer


def hash_of(changes):
    return zlib.crc32(b"".join(change.SerializeToString() for change in changes))


def refused(answer, text):
    answer.outcome, answer.code, answer.message = m.REFUSED, m.INVALID_ARGUMENT, text
    return answer


class FakeNode:
    """One listening socket; a thread per connection answers its requests in order."""

    def __init__(self, cluster, index):
        self.cluster, self.index = cluster, index
        self.describes_until_known = 0
        self.epoch = None  # of its ring document, when that is not the others'
        self.connections = set()
        self.port = 0
        self.open()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    def open(self):
        """Listens; after a close() on the same port."""
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.closed = False
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self):
        """As a killed process: nothing is answered any more, connections break."""
        self.closed = True
        shut(self.listener)
        for connection in list(self.connections):
            shut(connection)

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(sp.handshake_bytes(sp.REP))
            sp.check_handshake(receive(connection, 8), sp.REQ)
            while not self.closed:
                (size,) = struct.unpack(">Q", receive(connection, 8))
                message = receive(connection, size)
                answer = self._answer(message[4:])
                if answer == "close":
                    return
                if answer != "drop":
                    body = message[:4] + answer
                    connection.sendall(struct.pack(">Q", len(body)) + body)
        except (OSError, sp.ConnectionLost):
            pass
        finally:
            self.connections.discard(connection)
            shut(connection)

    def _answer(self, message):
        try:
            request = m.Request.FromString(message)
        except Exception:
            return m.Response(code=m.INVALID_ARGUMENT, message="request envelope does not decode").SerializeToString()
        self.cluster.requests.append((self.index, request.method))
        answer = self.cluster.hook(self, request.method, request.body) if self.cluster.hook else None
        if answer in ("drop", "close"):
            return answer
        if answer is None:
            answer = self._call(request)
        answer.protocol_version, answer.ring_epoch = 1, self.cluster.epoch
        return answer.SerializeToString()

    def _call(self, request):
        handlers = {
            "kvring.v1.Kv/Put": lambda b: self._put(request, b, False),
            "kvring.v1.Kv/Delete": lambda b: self._put(request, b, True),
            "kvring.v1.Kv/Get": lambda b: self.cluster.get(m.GetRequest.FromString(b)),
            "kvring.v1.Kv/BatchPut": lambda b: self._batch_put(request, b),
            "kvring.v1.Kv/BatchGet": self._batch_get,
            "kvring.v1.Admin/Describe": lambda b: self.cluster.describe(self),
            "kvring.v1.Admin/Status": lambda b: self.cluster.status(self),
            "kvring.v1.Admin/Ring": lambda b: self.cluster.ring(m.RingRequest.FromString(b)),
            "kvring.v1.Admin/InitCluster": lambda b: self.cluster.init(m.InitRequest.FromString(b)),
            "kvring.v1.Admin/SetRack": lambda b: self.cluster.set_rack(m.SetRackRequest.FromString(b)),
            "kvring.v1.Admin/PlanChange": lambda b: self.cluster.plan(m.ChangeRequest.FromString(b)),
            "kvring.v1.Admin/CommitChange": lambda b: self.cluster.commit(m.ChangeRequest.FromString(b)),
            "kvring.v1.Admin/AbortChange": lambda b: self.cluster.abort(m.AbortRequest.FromString(b)),
            "kvring.v1.Admin/ForceRing": lambda b: self.cluster.force(m.ForceRequest.FromString(b)),
            "kvring.v1.Health/Check": lambda b: m.HealthResponse(serving=True),
        }
        handler = handlers.get(request.method)
        if handler is None:
            return m.Response(code=m.UNIMPLEMENTED, message="there is no method '%s'" % request.method)
        if request.method.startswith("kvring.v1.Kv/") and not self.cluster.cluster_id:
            return m.Response(code=m.UNAVAILABLE, message="this node is in no cluster: ask another node")
        body = handler(request.body)
        if isinstance(body, m.Response):
            return body
        return m.Response(code=m.OK, body=body.SerializeToString())

    def _put(self, request, body, tombstone):
        put = m.PutRequest.FromString(body)
        return self.cluster.put(put, put.operation_id or request.operation_id, tombstone)

    def _batch_put(self, request, body):
        batch = m.BatchPutRequest.FromString(body)
        if len(batch.puts) > BATCH_MAX:
            return m.Response(code=m.INVALID_ARGUMENT, message="a batch has at most %d operations" % BATCH_MAX)
        results = []
        for index, put in enumerate(batch.puts):
            operation_id = put.operation_id or request.operation_id[:12] + struct.pack(">I", index)
            results.append(self.cluster.put(put, operation_id, put.tombstone))
        return m.BatchPutResponse(results=results)

    def _batch_get(self, body):
        batch = m.BatchGetRequest.FromString(body)
        return m.BatchGetResponse(results=[self.cluster.get(get) for get in batch.gets])


def shut(one):
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()


def receive(connection, size):
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise sp.ConnectionLost("closed", sent=True)
        data += part
    return bytes(data)
