# SPDX-License-Identifier: Apache-2.0
"""Real nodes agree on changes of their ring: with a majority, without one, two at once, and over deaths and restarts."""

import json
import os
import re
import threading
import unittest

from cluster import Cluster, wait_for


def epochs(cluster):
    """By the nodes that run, as each says of itself."""
    return [json.loads(cluster.kvctl("status", "-o", "json", endpoints=n.address)[0])["epoch"] for n in cluster.nodes if n.running]


def racks(cluster, node):
    members = json.loads(cluster.kvctl("ring", "-o", "json", endpoints=node.address)[0])["members"]
    return {member["name"]: member["rack"] for member in members}


def wait_epoch(cluster, epoch):
    wait_for(lambda: set(epochs(cluster)) == {epoch}, "all have epoch %d" % epoch)


def hashes(cluster):
    """Of each epoch, the hashes that the nodes installed."""
    found = {}
    for node in cluster.nodes:
        with open(node.log_path, errors="replace") as log:
            for epoch, name in re.findall(r"ring installed epoch=(\d+) hash=([0-9a-f]+)", log.read()):
                found.setdefault(int(epoch), set()).add(name)
    return found


class RackTest(unittest.TestCase):
    def test_changes_need_a_majority_and_outlive_the_nodes(self):
        with Cluster(3) as cluster:
            n1, n2, n3 = cluster.nodes
            client = cluster.client()
            client.put("k", b"v")
            self.assertIn(b"n2 stands in rack 'cellar', epoch 2", cluster.kvctl("cluster", "rack", "n2", "cellar")[0])
            wait_epoch(cluster, 2)
            for node in cluster.nodes:
                self.assertEqual(racks(cluster, node)["n2"], "cellar")
            self.assertEqual(client.get("k").value, b"v")  # by the new ring
            client.put("k2", b"v2", w=3)

            n3.kill()  # two of three are enough
            cluster.kvctl("cluster", "rack", "n3", "attic")
            wait_epoch(cluster, 3)
            n2.kill()  # one is not
            err = cluster.kvctl("cluster", "rack", "n1", "attic", "--timeout", "3s", expect=5, endpoints=n1.address)[1]
            self.assertIn("in time 1 of 3 members agreed, and 2 are needed", err)
            self.assertIn("nothing was changed", err)

            n1.kill()
            for node in cluster.nodes:
                node.start()
            cluster.wait_up()
            wait_epoch(cluster, 3)  # n3 was away when it was agreed on
            self.assertEqual(racks(cluster, n3), {"n1": "", "n2": "cellar", "n3": "attic"})
            wait_for(lambda: cluster.run_kvctl("cluster", "rack", "n1", "hall", endpoints=n3.address).returncode == 0,
                     "n3 and a majority are proven")
            wait_epoch(cluster, 4)
            self.assertEqual(client.get("k2", r=3).value, b"v2")
            self.assertTrue(all(len(names) == 1 for names in hashes(cluster).values()), hashes(cluster))

    def test_a_node_that_stops_answers_its_operator(self):
        with Cluster(3) as cluster:
            n1, n2, n3 = cluster.nodes
            n2.kill()
            n3.kill()
            done = []
            call = threading.Thread(target=lambda: done.append(cluster.run_kvctl("cluster", "rack", "n1", "x", "--timeout", "60s", endpoints=n1.address)))
            call.start()
            wait_for(lambda: os.path.exists(os.path.join(n1.data, "register")), "n1 has voted for its proposal")
            self.assertEqual(n1.stop(), 0, n1.log())
            call.join()
            self.assertEqual(done[0].returncode, 5, done[0].stderr)  # nothing was done; in doubt (4) without the answer

    def test_what_is_wrong_is_refused(self):
        with Cluster(3) as cluster:
            self.assertIn("no member is named 'n9'", cluster.kvctl("cluster", "rack", "n9", "r", expect=2)[1])
            self.assertIn("a rack is empty or has 1 to 63", cluster.kvctl("cluster", "rack", "n1", "a b", expect=3)[1])
            self.assertEqual(set(epochs(cluster)), {1})
            self.assertIn(b"epoch 1", cluster.kvctl("cluster", "rack", "n1", "")[0])  # it is so already

    def test_two_changes_at_once_both_take_effect(self):
        with Cluster(3) as cluster:
            done = []
            for turn in range(5):
                calls = [
                    threading.Thread(target=lambda i=i: done.append(cluster.run_kvctl(
                        "cluster", "rack", "n%d" % (i + 1), "r%d" % turn, "--timeout", "60s", endpoints=cluster.nodes[i].address)))
                    for i in range(3)
                ]
                for call in calls:
                    call.start()
                for call in calls:
                    call.join()
            self.assertEqual([(one.returncode, one.stderr) for one in done if one.returncode], [])
            wait_epoch(cluster, 16)
            self.assertEqual(racks(cluster, cluster.nodes[1]), {"n1": "r4", "n2": "r4", "n3": "r4"})
            found = hashes(cluster)
            self.assertEqual(sorted(found), list(range(1, 17)))
            self.assertTrue(all(len(names) == 1 for names in found.values()), found)


class BadRingTest(unittest.TestCase):
    def test_a_node_with_another_ring_is_named_and_stays_apart(self):
        """Its ring file comes from another line of changes, as after a restored backup of one node alone, or a forced ring."""
        with Cluster(3) as cluster:
            n1, n2, n3 = cluster.nodes
            old = os.path.join(n3.data, "ring")
            with open(old, "rb") as file:
                first = file.read()
            cluster.kvctl("cluster", "rack", "n1", "a")
            wait_epoch(cluster, 2)
            with open(old, "rb") as file:
                left = file.read()
            for node in cluster.nodes:
                node.stop()
            for node in cluster.nodes:  # back to the first ring, as if no change had been: the other line begins
                with open(os.path.join(node.data, "ring"), "wb") as file:
                    file.write(first)
                os.remove(os.path.join(node.data, "register"))
                node.start()
            cluster.wait_up()
            wait_epoch(cluster, 1)
            wait_for(lambda: cluster.run_kvctl("cluster", "rack", "n1", "b").returncode == 0, "a majority is proven")
            cluster.kvctl("cluster", "rack", "n2", "b")
            wait_epoch(cluster, 3)
            n3.stop()
            with open(old, "wb") as file:
                file.write(left)
            n3.start()
            wait_for(lambda: "refused a ring document from=" in n3.log(), "n3 refuses the others' ring")
            self.assertIn("stop this node, remove 'ring' from its data directory, start it", n3.log())
            self.assertEqual(sorted(epochs(cluster)), [2, 3, 3])
            cluster.kvctl("cluster", "rack", "n2", "c", endpoints=n1.address)  # the others go on
            n3.stop()
            os.remove(old)
            n3.start()
            cluster.wait_up()
            wait_epoch(cluster, 4)


if __name__ == "__main__":
    unittest.main(verbosity=2)
