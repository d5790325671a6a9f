# SPDX-License-Identifier: Apache-2.0
"""Real nodes whose data directory is not what it was: empty, restored, copied. Clients find another node, nothing is lost."""

import shutil
import unittest

import kvring
from cluster import Cluster


class EmptyDirectoryTest(unittest.TestCase):
    def test_clients_pass_by_a_node_in_no_cluster(self):
        """Its disk is not mounted: it is a new node that nobody knows."""
        with Cluster(3) as cluster:
            empty = cluster.nodes[0]
            empty.kill()
            shutil.rmtree(empty.data)
            empty.start()
            client = cluster.client()  # asks it first
            for i in range(20):
                client.put("empty-%d" % i, b"v%d" % i)
            self.assertEqual(client.get("empty-7").value, b"v7")
            self.assertEqual([r.result.value for r in client.batch_get(["empty-1", "empty-2"])], [b"v1", b"v2"])
            for i in range(20):
                cluster.kvctl("put", "--blind", "kvctl-%d" % i, "w%d" % i)
            self.assertEqual(cluster.kvctl("get", "kvctl-7")[0].strip(), b"w7")
            cluster.kvctl("ring")
            with self.assertRaises(kvring.Unreachable) as caught:
                cluster.client(empty, timeout=1).put("k", b"v")
            self.assertIn("is its data directory mounted?", str(caught.exception).lower())


if __name__ == "__main__":
    unittest.main()
