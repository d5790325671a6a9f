# SPDX-License-Identifier: Apache-2.0
"""Nodes of the previous version beside nodes of this one: an upgrade node by node, while clients write.

KVNODE_PREVIOUS names the kvnode of the previous version; `tools/test` builds it. Without it there is nothing to test.
"""

import contextlib
import os
import sys
import unittest

import kvring
from cluster import Cluster, Writers, wait_for

PREVIOUS = os.environ.get("KVNODE_PREVIOUS")
WRITES = 100  # between two upgrades


def writes_everywhere(client):
    with contextlib.suppress(kvring.KvringError):
        client.put("probe", b"", w=3)
        return True


def wait_for_all(cluster):
    """Until each node reaches all three. `kvctl status --wait-up` waits for what nodes of earlier versions do not tell."""
    for node in cluster.nodes:
        client = cluster.client(node)
        wait_for(lambda: writes_everywhere(client), "%s reaches all owners" % node.name)


@contextlib.contextmanager
def previous_cluster():
    with Cluster(3, program=PREVIOUS, form=False) as cluster:
        cluster.kvctl("cluster", "init", *(node.address for node in cluster.nodes), endpoints="")
        wait_for_all(cluster)
        yield cluster


class UpgradeTest(unittest.TestCase):
    def read_back(self, cluster, values):
        """At r=3, through each node: no owner lacks or holds back anything."""
        for node in cluster.nodes:
            client = cluster.client(node)
            for key, value in values.items():
                self.assertEqual(client.get(key, r=3).values, [value], key)

    def test_node_by_node_under_load(self):
        with previous_cluster() as cluster:
            writers = Writers(cluster, 3, "u")
            try:
                writers.wait_for_more(WRITES)
                for node in cluster.nodes:
                    self.assertEqual(node.stop(), 0)
                    node.program = os.environ["KVNODE"]
                    node.start()
                    writers.wait_for_more(WRITES)
                    wait_for_all(cluster)
                cluster.wait_up()
            finally:
                writers.stop()
            self.read_back(cluster, writers.acknowledged)
            # A write that was under way when its node stopped is repeated, for which other owners may lack just then.
            self.assertEqual([error for error in writers.errors if not isinstance(error, kvring.Refused)], [])
            cluster.kvctl("cluster", "rack", "n1", "r9", "--timeout", "20s")  # makes a ring that only this version knows

    def test_a_directory_of_the_previous_version_is_read(self):
        with previous_cluster() as cluster:
            client = cluster.client()
            for i in range(200):
                client.put("k%d" % i, b"v" * (i * 10))
            client.delete("k0", context=client.get("k0").context)
            for node in cluster.nodes:
                node.kill()
            for node in cluster.nodes:
                node.program = os.environ["KVNODE"]
                node.start()
            cluster.wait_up()
            self.read_back(cluster, {"k%d" % i: b"v" * (i * 10) for i in range(1, 200)})
            self.assertEqual(client.get("k0").values, [])


if __name__ == "__main__":
    if not PREVIOUS:
        sys.exit(77)
    unittest.main()
