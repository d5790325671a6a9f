# SPDX-License-Identifier: Apache-2.0
"""A node whose peer port swallows everything while its bus lives: gossip says that it is up, and calls to it find nobody."""

import contextlib
import time
import unittest

import kvring
from cluster import Cluster
from proxy import Proxy

TIMEOUT = 3  # seconds a put may take
SLOW = 0.5


class SilenceTest(unittest.TestCase):
    def test_only_few_puts_pay_for_a_silent_owner(self):
        with contextlib.ExitStack() as stack:
            cluster = stack.enter_context(Cluster(4, form=False))
            silent = cluster.nodes[0]
            silent.stop()
            ports = range(silent.base, silent.base + 3)
            proxies = [stack.enter_context(Proxy(("127.0.0.3", port), ("127.0.0.2", port))) for port in ports]
            silent.host, silent.arguments = "127.0.0.2", ["--advertise", "127.0.0.3"]
            silent.start()
            cluster.kvctl("cluster", "init", "-n", "3", "--timeout", "60s", *(n.address for n in cluster.nodes), endpoints="")
            cluster.wait_up()
            proxies[1].swallow = True
            with kvring.Client(cluster.nodes[3].address, timeout=TIMEOUT) as client:
                slow = 0
                for i in range(150):  # the silent node is the first of the owners of every fourth
                    began = time.monotonic()
                    client.put("silence-%d" % i, b"v")
                    slow += time.monotonic() - began > SLOW
                # one forwarded put, and what was under way before it was known
                self.assertLessEqual(slow, 6)  # on a busy machine; 37 before it was known
                status, _ = cluster.kvctl("status", endpoints=cluster.nodes[3].address)
                row = next(line for line in status.decode().splitlines() if line.startswith("n1 "))
                self.assertIn(" up", row)


if __name__ == "__main__":
    unittest.main()
