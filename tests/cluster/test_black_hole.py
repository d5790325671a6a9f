# SPDX-License-Identifier: Apache-2.0
"""A node is cut off so that packets vanish and nobody says so, and is back soon after the cut is healed.

Needs root and the right to make network namespaces (spaces.py), else the test is skipped and says why.
"""

import os
import threading
import time
import unittest

from cluster import wait_for
from spaces import spaced_cluster, states

CUT = float(os.environ.get("KVRING_TEST_CUT", "14"))  # seconds
SERVED = 2.0  # seconds from the heal to the first answer


class BlackHoleTest(unittest.TestCase):
    def test_a_node_that_was_cut_off_serves_soon_after_the_heal(self):
        with spaced_cluster(3) as (cluster, net):
            first, _, last = cluster.nodes
            self.assertEqual(last.kvctl("put", "--blind", "k", "v").returncode, 0)
            net.cut(3)
            cut_at = time.monotonic()
            stop = threading.Event()

            def ask():  # questions are out all the time, so that TCP backs off
                while not stop.is_set():
                    last.kvctl("put", "--blind", "--timeout", "500ms", "during", "v")
                    first.kvctl("put", "--blind", "--timeout", "500ms", "during", "v")

            asking = threading.Thread(target=ask)
            asking.start()
            try:
                stop.wait(CUT - (time.monotonic() - cut_at))
                # Both sides hear nothing of each other. Two agree on that, and one alone confirms nothing.
                self.assertEqual(states(first), {"n1": "up", "n2": "up", "n3": "down"})
                self.assertEqual(states(last), {"n1": "unreachable", "n2": "unreachable", "n3": "up"})
                self.assertNotEqual(last.kvctl("put", "--blind", "--timeout", "300ms", "k", "v").returncode, 0, "it was not cut off")
            finally:
                stop.set()
                asking.join()
                net.heal(3)
            healed_at = time.monotonic()
            for node in (last, first):
                wait_for(lambda node=node: node.kvctl("put", "--blind", "--w", "3", "--timeout", "300ms", "after", "v").returncode == 0,
                         "%s is deaf" % node.name)
                print("%s: all three acknowledge again %.2f s after the heal of a cut of %.0f s" % (
                    node.name, time.monotonic() - healed_at, CUT))
            self.assertLess(time.monotonic() - healed_at, SERVED + 1)  # one more for the ends of two processes and a busy machine


if __name__ == "__main__":
    unittest.main()
