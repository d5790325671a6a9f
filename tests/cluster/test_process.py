# SPDX-License-Identifier: Apache-2.0
"""A node as a process: its signals, its standard files."""

import os
import resource
import signal
import subprocess
import time
import unittest

import kvring
from kvring.schema import messages as m
from cluster import Cluster, Node, wait_for


def signals_of(node, field):
    """The set of signals in this line of /proc/PID/status, as numbers."""
    with open("/proc/%d/status" % node.process.pid) as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith(field + ":"))
    return {number for number in range(1, 65) if mask & 1 << number - 1}


def cpu_seconds(node):
    with open("/proc/%d/stat" % node.process.pid) as stat:
        user, system = stat.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class IdleTest(unittest.TestCase):
    def test_a_node_that_only_gossips_sleeps(self):
        """Heartbeats come in all the time. A worker that does not take them never sleeps: one whole core for each node."""
        with Cluster(3) as cluster:
            before, begin = [cpu_seconds(node) for node in cluster.nodes], time.monotonic()
            wait_for(lambda: time.monotonic() - begin > 2, "two seconds of its life, which are measured")
            elapsed = time.monotonic() - begin
            for node, then in zip(cluster.nodes, before):
                used = cpu_seconds(node) - then
                self.assertLess(used, 0.3 * elapsed, "%s used %.2f s of CPU time in %.2f s" % (node.name, used, elapsed))


class SignalTest(unittest.TestCase):
    def test_signals_that_mean_nothing_do_not_end_a_node(self):
        with Cluster(1, replicas=1) as cluster:
            node, client = cluster.nodes[0], cluster.client()
            client.put("before", b"v", w=1)
            real_time = set(range(signal.SIGRTMIN, signal.SIGRTMAX + 1)) - {signal.SIGRTMIN + 3}
            SIGSTKFLT = 16
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPIPE,
                           signal.SIGXFSZ, SIGSTKFLT, signal.SIGHUP, signal.SIGHUP, *real_time):
                node.process.send_signal(number)
            client.put("after", b"v", w=1)
            self.assertTrue(node.running, node.log())
            wait_for(lambda: not signals_of(node, "ShdPnd"), "every signal is taken")
            client.put("later", b"v", w=1)
            self.assertEqual(node.stop(), 0, node.log())

    def test_signals_that_mean_a_stop_end_it_in_order(self):
        with Cluster(1, replicas=1) as cluster:
            node = cluster.nodes[0]
            for number in (signal.SIGINT, signal.SIGPWR, signal.SIGRTMIN + 3, signal.SIGXCPU):
                with cluster.client() as client:
                    client.put("k", str(number), w=1)
                node.process.send_signal(number)
                self.assertEqual(node.process.wait(30), 0, (number, node.log()))
                self.assertIn("stop: flushed and synced", node.log())
                node.start()
                with cluster.client() as client:
                    self.assertIn(str(number).encode(), client.get("k").values)

    def test_sighup_reads_the_log_level_again(self):
        with Cluster(1, replicas=1) as cluster:
            node = cluster.nodes[0]
            node.stop()
            path = os.path.join(cluster.directory, "node.ini")

            def configure(level):
                with open(path, "w") as file:
                    file.write("[log]\nlog-level = %s\n" % level)

            configure("info")
            node.arguments = ["--config", path]
            node.start()
            configure("warn")
            node.process.send_signal(signal.SIGHUP)
            wait_for(lambda: not signals_of(node, "ShdPnd"), "the signal is taken")
            configure("nonsense")
            node.process.send_signal(signal.SIGHUP)
            wait_for(lambda: "not reloaded" in node.log() and "nonsense" in node.log(), "a wrong configuration is told")
            configure("info")
            node.process.send_signal(signal.SIGHUP)
            wait_for(lambda: "reloaded log-level=info" in node.log(), "the level is info again")
            self.assertNotIn("reloaded log-level=warn", node.log())
            self.assertTrue(node.running)


class DebugTest(unittest.TestCase):
    def test_debug_lines_are_for_who_asks(self):
        with Cluster(2, replicas=2) as cluster:
            quiet, talkative = cluster.nodes
            talkative.stop()
            talkative.arguments = ["--log-level", "debug"]
            talkative.start()
            wait_for(lambda: "DEBUG" in talkative.log() and "peers: dialling peer=" in talkative.log(), "what is dialled is told")
            self.assertIn("replica: writes as actor=", talkative.log())
            self.assertNotIn("DEBUG", quiet.log())


class HealthTest(unittest.TestCase):
    def health(self, node):
        socket = kvring.RequestSocket("127.0.0.1", node.base)
        try:
            request = m.Request(protocol_version=1, method="kvring.v1.Health/Check")
            return m.HealthResponse.FromString(m.Response.FromString(socket.request(request.SerializeToString(), 20)).body)
        finally:
            socket.close()

    def states(self, node):
        return [shard.state for shard in self.health(node).shards]

    def test_dead_shards_are_told(self):
        """Syncs fail: each shard that is written to dies, one after the other."""
        with Cluster(3, arguments=["--shards", "2"]) as cluster:
            node = cluster.nodes[0]
            node.stop()
            switch = os.path.join(cluster.directory, "fail")
            node.environment = {"LD_PRELOAD": os.environ["FAILING_SYNC"], "KVRING_FAIL_SYNC": switch, "ASAN_OPTIONS": "verify_asan_link_order=0"}
            node.start()
            cluster.wait_up()
            self.assertEqual((self.health(node).serving, self.states(node)), (True, ["serving", "serving"]))
            client = cluster.client(*cluster.nodes[1:])
            with open(switch, "w"):
                pass
            keys = iter(range(100000))

            def write():
                client.put("k%d" % next(keys), b"v")
                return self.states(node)

            wait_for(lambda: "dead" in write(), "a shard dies")
            health = self.health(node)
            if self.states(node).count("dead") == 1:
                self.assertTrue(health.serving)
            self.assertIn("is dead", health.detail)
            wait_for(lambda: write() == ["dead", "dead"], "both shards die")
            self.assertFalse(self.health(node).serving)
            self.assertIn("shard 0 is dead, shard 1 is dead", self.health(node).detail)
            wait_for(lambda: b"up, 2 of 2 shards dead" in cluster.kvctl("status", endpoints=cluster.nodes[1].address)[0], "others show it")

    def test_a_full_disk_is_told(self):
        with Cluster(3) as cluster:
            node = cluster.nodes[0]
            client = cluster.client(*cluster.nodes[1:])
            resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            for i in range(20):
                client.put("k%d" % i, b"v")
            wait_for(lambda: "full" in self.states(node), "no room is told")
            self.assertTrue(self.health(node).serving)
            self.assertIn("is full", self.health(node).detail)
            resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            wait_for(lambda: "full" not in self.states(node), "there is room again")


class StatusTest(unittest.TestCase):
    def test_nothing_is_up_before_it_was_heard_and_linked(self):
        with Cluster(3) as cluster:
            for node in cluster.nodes:
                node.kill()
            first, second = cluster.nodes[0], cluster.nodes[1]
            first.start()
            out, _ = cluster.kvctl("status", endpoints=first.address)
            rows = {line.split()[0]: line.split() for line in out.decode().splitlines() if line.startswith("n")}
            self.assertEqual(rows["n1"][1:3], ["up,", "unproven"])  # no majority has confirmed its start
            for name in ("n2", "n3"):
                self.assertIn(rows[name][1], ("unknown", "unreachable"))
                self.assertEqual(rows[name][-1], "never")
            _, err = cluster.kvctl("status", "--wait-up", "2", "--timeout", "500ms", endpoints=first.address, expect=5)
            self.assertIn("0 of 2 members are up, linked and proven", err)
            second.start()
            for node in (first, second):
                cluster.kvctl("status", "--wait-up", "2", "--timeout", "60s", endpoints=node.address)
                self.assertEqual(cluster.client(node).put("both-%s" % node.name, b"v", w=2).synced, 2)


class StandardFilesTest(unittest.TestCase):
    def test_closed_standard_files_are_no_files_of_the_engine(self):
        with Cluster(1, form=False) as cluster:
            node = Node(cluster.directory, "closed")
            self.addCleanup(lambda: node.running and node.kill())
            closing = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
            node.process = subprocess.Popen(closing + node.command())
            wait_for(lambda: os.path.exists(os.path.join(node.data, "engine", "LOCK")), "the engine is open")
            for fd in range(3):
                self.assertEqual(os.readlink("/proc/%d/fd/%d" % (node.process.pid, fd)), "/dev/null")
            self.assertEqual(os.path.getsize(os.path.join(node.data, "engine", "LOCK")), 0)


    def test_a_configuration_that_cannot_be_written_is_told(self):
        command = [os.environ["KVNODE"], "--name", "x", "--data-dir", "/nowhere"]
        for what in ("--print-config", "--check-config"):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([*command, what], stdout=full, stderr=subprocess.PIPE, timeout=30)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"No space left on device", done.stderr)
            done = subprocess.run([*command, what], stderr=subprocess.PIPE, timeout=30, preexec_fn=lambda: os.close(1))
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"Bad file descriptor", done.stderr)

    def test_a_configuration_that_is_no_text_is_refused(self):
        done = subprocess.run([os.environ["KVNODE"], "--config", "/dev/zero"], capture_output=True, timeout=30)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"config /dev/zero:1: the line has a byte 0", done.stderr)

    def test_a_node_that_waits_for_its_configuration_can_be_stopped(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            waiting = subprocess.Popen([os.environ["KVNODE"], "--config", "/dev/stdin"], stdin=subprocess.PIPE)
            wait_for(lambda: "pipe" in os.readlink("/proc/%d/fd/3" % waiting.pid) if os.path.exists("/proc/%d/fd/3" % waiting.pid) else False,
                     "it has opened its configuration")
            waiting.send_signal(number)
            self.assertEqual(waiting.wait(30), -number)
            waiting.stdin.close()


class FilesTest(unittest.TestCase):
    def test_nobody_else_can_read_the_data(self):
        mask = os.umask(0)
        self.addCleanup(os.umask, mask)
        with Cluster(1, replicas=1) as cluster:
            node = cluster.nodes[0]
            cluster.client().put("k", b"v", w=1)
            found = 0
            for folder, _, names in os.walk(node.data):
                for path in [folder] + [os.path.join(folder, name) for name in names]:
                    self.assertEqual(os.stat(path).st_mode & 0o077, 0, path)
                    found += 1
            self.assertGreater(found, 5)


if __name__ == "__main__":
    unittest.main()
