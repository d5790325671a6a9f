# SPDX-License-Identifier: Apache-2.0
"""Real kvnode processes for tests: start, kill, restart; free ports and a directory of their own.

    with Cluster(3) as cluster:      # formed: N=3, R=W=2
        cluster.client().put("k", b"v")
        cluster.nodes[0].kill()
        cluster.nodes[0].start()

Waiting is always for a condition, with a limit; nothing sleeps a fixed time. Programs come from KVNODE and KVCTL.
"""

import contextlib
import glob
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import kvring

PATIENCE = float(os.environ.get("KVRING_TEST_PATIENCE", "60"))  # seconds until a wait is a failure


def wait_for(condition, what, patience=PATIENCE):
    """The first true value of condition(). Looks again and again; fails with `what` after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("waited %.0f s in vain: %s" % (patience, what))
        time.sleep(0.01)


bases_taken = []  # the sockets that keep them ours


def free_base():
    """A port that is free together with the next two, below the range that outgoing connections take. It stays ours while its node
    does not run: until this process ends, an abstract Unix socket of that number keeps other tests from taking it."""
    while True:
        base = random.randrange(20000, 31990, 3)
        ours = socket.socket(socket.AF_UNIX)
        with contextlib.ExitStack() as stack:
            try:
                ours.bind("\0kvring-test-port-%d" % base)
                for port in range(base, base + 3):
                    one = stack.enter_context(socket.socket())
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    one.bind(("127.0.0.1", port))
            except OSError:
                ours.close()
                continue
        bases_taken.append(ours)
        return base


def listens(host, port):
    with socket.socket() as one:
        return one.connect_ex((host, port)) == 0


class Node:
    def __init__(self, directory, name, arguments=(), program=None):
        self.program = program or os.environ["KVNODE"]
        self.name, self.base, self.host = name, free_base(), "127.0.0.1"
        self.data = os.path.join(directory, name)
        self.log_path = os.path.join(directory, name + ".log")
        self.arguments = list(arguments)
        self.environment = {}  # beside the test's own
        self.seeds = []
        self.process = None

    @property
    def address(self):
        return "%s:%d" % (self.host, self.base)

    @property
    def peer_address(self):
        return "%s:%d" % (self.host, self.base + 1)

    def command(self):
        seeds = [part for seed in self.seeds for part in ("--seed", seed)]
        return [self.program, "--name", self.name, "--data-dir", self.data, "--listen", self.address, *seeds, *self.arguments]

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ, **self.environment))
        wait_for(lambda: self.process.poll() is not None or listens(self.host, self.base), "%s does not listen" % self.name)
        if self.process.poll() is not None:
            raise AssertionError("%s ended with %d at its start:\n%s" % (self.name, self.process.returncode, self.log()))

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM. Returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE)

    @contextlib.contextmanager
    def paused(self):
        """SIGSTOP, and in the end SIGCONT: its sockets stay open, and what is sent to it waits in them."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            # The signal stops each thread when that thread next runs. Until then it goes on answering.
            wait_for(lambda: set(self._thread_states()) == {"T"}, "every thread of %s has stopped" % self.name)
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _thread_states(self):
        for path in glob.glob("/proc/%d/task/*/stat" % self.process.pid):
            with contextlib.suppress(FileNotFoundError), open(path) as stat:  # a thread that has ended since
                yield stat.read().rpartition(")")[2].split()[0]

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()[-3000:]


class Cluster:
    """kvctl and clients are told of `nodes`. `spares` are to join (add, joined), `gone` are those that remove() took out."""

    spares = gone = ()

    def __init__(self, node_count=3, form=True, replicas=3, arguments=(), spare_count=0, partitions=1024, program=None, datacenters=()):
        """datacenters: of each node; without it all are in one."""
        self.directory = tempfile.mkdtemp(prefix="kvring-test-")
        nodes = [Node(self.directory, "n%d" % (i + 1), arguments, program) for i in range(node_count + spare_count)]
        for node, datacenter in zip(nodes, datacenters):
            node.arguments += ["--dc", datacenter]
        self.nodes, self.spares, self.gone = nodes[:node_count], nodes[node_count:], []
        self.clients = []
        try:
            for node in self.nodes:
                node.seeds = [other.peer_address for other in self.nodes if other is not node]
            for node in self.nodes:
                node.start()
            if form:
                self.kvctl("cluster", "init", "-n", str(replicas), "-q", str(partitions), "--timeout", "60s", *(n.address for n in self.nodes), endpoints="")
                self.wait_up()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error:
            print(self.logs())
        self.close()

    def close(self):
        for client in self.clients:
            client.close()
        for node in self.everyone:
            if node.running:
                node.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def everyone(self):
        return sorted([*self.nodes, *self.spares, *self.gone], key=lambda node: node.name)

    def endpoints(self, *nodes):
        return ",".join(node.address for node in nodes or self.nodes)

    def add(self, *spares):
        """Starts them, with the nodes of the cluster as seeds."""
        for node in spares:
            node.seeds = [other.peer_address for other in self.nodes]
            node.start()

    def joined(self):
        """Spares that run are members by now."""
        running = [node for node in self.spares if node.running]
        self.nodes += running
        self.spares = [node for node in self.spares if node not in running]

    def remove(self, *nodes):
        for node in nodes:
            (self.nodes if node in self.nodes else self.spares).remove(node)
            self.gone.append(node)

    def client(self, *nodes, timeout=20):
        client = kvring.Client(self.endpoints(*nodes), timeout=timeout)
        self.clients.append(client)
        return client

    def wait_up(self, count=None, through=None):
        """Until the node `through` (every one) sees `count` (all) members up."""
        for node in [through] if through else [n for n in self.nodes if n.running]:
            self.kvctl("status", "--wait-up", str(count or len(self.nodes)), "--timeout", "60s", endpoints=node.address)

    def run_kvctl(self, *arguments, endpoints=None, stdin=b"", environment=()):
        variables = dict(os.environ, KVRING_ENDPOINTS=self.endpoints() if endpoints is None else endpoints,
                         XDG_STATE_HOME=os.path.join(self.directory, "state"))
        variables.update(environment)
        return subprocess.run([os.environ["KVCTL"], *arguments], env=variables, input=stdin, capture_output=True, timeout=4 * PATIENCE)

    def kvctl(self, *arguments, expect=0, **options):
        """Runs kvctl, which must end with this status. Returns stdout and stderr."""
        done = self.run_kvctl(*arguments, **options)
        if done.returncode != expect:
            raise AssertionError("kvctl %s ended with %d, not %d\n%s\n%s\n%s" % (
                " ".join(arguments), done.returncode, expect, done.stdout[-1000:].decode(errors="replace"),
                done.stderr[-1000:].decode(errors="replace"), self.logs()))
        return done.stdout, done.stderr.decode()

    def logs(self):
        return "\n".join("-- %s (%s)\n%s" % (n.name, "running" if n.running else "ended", n.log()) for n in self.everyone if n.process)


class Writers:
    """Threads that write keys of their own as fast as they can, and note what was acknowledged."""

    def __init__(self, cluster, count, prefix):
        self.cluster, self.prefix = cluster, prefix
        self.acknowledged = {}  # key -> value; also what is in doubt, in its own set
        self.doubtful = set()
        self.stopping = threading.Event()
        self.errors = []
        self.threads = [threading.Thread(target=self._write, args=(i,)) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def _write(self, index):
        nodes = self.cluster.nodes
        endpoints = self.cluster.endpoints(*(nodes[(index + i) % len(nodes)] for i in range(len(nodes))))
        with kvring.Client(endpoints, timeout=10) as client:
            number = 0
            while not self.stopping.is_set():
                key, value = "%s-%d-%d" % (self.prefix, index, number), b"%d of %d" % (number, index) * 20
                number += 1
                try:
                    client.put(key, value)
                    self.acknowledged[key] = value
                except kvring.InDoubt:
                    self.doubtful.add(key)
                except kvring.KvringError as error:
                    self.errors.append(error)

    def wait_for_more(self, count):
        """Until so many more writes are acknowledged."""
        before = len(self.acknowledged)
        wait_for(lambda: len(self.acknowledged) >= before + count, "%d more writes are acknowledged" % count)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


class ClusterTest(unittest.TestCase):
    """One cluster per class; what a test does to it, it undoes."""

    cluster = None
    node_count = 3

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(cls.node_count)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before and self.cluster:
            print(self.cluster.logs())
        return result
