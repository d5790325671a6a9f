# SPDX-License-Identifier: Apache-2.0
"""Two datacenters: each goes on alone at a local level, what needs both is refused with the reason, and reads of both mend the rest."""

import unittest

import kvring
from cluster import Cluster, wait_for


def comes(client, key, value, r):
    """Until the read gives it: a node that has just started is asked again once the others have confirmed its start."""

    def read():
        try:
            return client.get(key, r=r).value == value
        except kvring.Refused:
            return False

    wait_for(read, "%r is read at %s" % (key, r))


class DatacenterTest(unittest.TestCase):
    def test_each_datacenter_goes_on_alone(self):
        with Cluster(5, datacenters=["dc1", "dc1", "dc1", "dc2", "dc2"]) as cluster:
            near, far = cluster.nodes[:3], cluster.nodes[3:]
            here, there = cluster.client(*near), cluster.client(*far)
            here.put("both", b"1", w="EACH_QUORUM")
            self.assertEqual(there.get("both", r="LOCAL_ONE").value, b"1")  # each of the two there has it

            for node in far:
                node.kill()
            cluster.wait_up(3, through=near[0])
            here.put("near", b"2", w="LOCAL_QUORUM")
            self.assertEqual(here.get("near", r="LOCAL_QUORUM").value, b"2")
            self.assertEqual(here.get("near").value, b"2")  # three of five
            _, err = cluster.kvctl("put", "--blind", "--w", "each-quorum", "k", "v", endpoints=near[0].address, expect=3)
            self.assertIn("0 of the key's 2 owners in dc2 can be reached from this node", err)
            _, err = cluster.kvctl("get", "--r", "each-quorum", "--timeout", "2s", "both", endpoints=near[0].address, expect=3)
            self.assertIn("0 of 2 replicas in dc2 answered", err)

            for node in far:
                node.start()
            cluster.wait_up()
            for node in near:
                node.kill()
            cluster.wait_up(2, through=far[0])
            there.put("far", b"3", w="LOCAL_QUORUM")
            with self.assertRaises(kvring.Refused):
                there.put("k", b"v")  # two of five are no quorum

            for node in near:
                node.start()
            cluster.wait_up()
            for key, value in (("near", b"2"), ("far", b"3")):
                comes(here, key, value, "ALL")  # and mends who lacks it
                comes(here, key, value, "LOCAL_QUORUM")
                comes(there, key, value, "LOCAL_QUORUM")


if __name__ == "__main__":
    unittest.main()
