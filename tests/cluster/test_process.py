# SPDX-License-Identifier: Apache-2.0
"""A node as a process: its signals, its standard files."""

import os
import signal
import subprocess
import unittest

from cluster import Cluster, Node, wait_for


def signals_of(node, field):
    """The set of signals in this line of /proc/PID/status, as numbers."""
    with open("/proc/%d/status" % node.process.pid) as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith(field + ":"))
    return {number for number in range(1, 65) if mask & 1 << number - 1}


class SignalTest(unittest.TestCase):
    def test_only_sigterm_and_sigint_end_a_node(self):
        with Cluster(1, replicas=1) as cluster:
            node, client = cluster.nodes[0], cluster.client()
            client.put("before", b"v", w=1)
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGHUP, signal.SIGHUP):
                node.process.send_signal(number)
            client.put("after", b"v", w=1)
            self.assertTrue(node.running, node.log())
            wait_for(lambda: not signals_of(node, "ShdPnd"), "every signal is taken")
            client.put("later", b"v", w=1)
            self.assertEqual(node.stop(), 0, node.log())

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


if __name__ == "__main__":
    unittest.main()
