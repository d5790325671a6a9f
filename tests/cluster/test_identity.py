# SPDX-License-Identifier: Apache-2.0
"""Real nodes whose data directory is not what it was: empty, restored, copied. Clients find another node, nothing is lost."""

import os
import shutil
import unittest

import kvring
from cluster import Cluster, Node, wait_for


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
            with self.assertRaises((kvring.Unreachable, kvring.InDoubt)) as caught:  # in doubt: the last try was under way
                cluster.client(empty, timeout=1).put("k", b"v")
            self.assertIn("is its data directory mounted?", str(caught.exception).lower())


class RestoredDirectoryTest(unittest.TestCase):
    def test_a_directory_restored_from_an_orderly_stop_loses_nothing(self):
        with Cluster(3) as cluster:
            node, client = cluster.nodes[0], cluster.client()
            for i in range(20):
                client.put("restored-%d" % i, b"first %d" % i, w=3)
            self.assertEqual(node.stop(), 0, node.log())
            shutil.copytree(node.data, node.data + ".copy")
            node.start()
            cluster.wait_up()
            through = cluster.client(node)
            for i in range(20):
                found = through.get("restored-%d" % i, r=3)
                through.put("restored-%d" % i, b"second %d" % i, w=3, context=found.context)
            node.stop()
            shutil.rmtree(node.data)
            shutil.copytree(node.data + ".copy", node.data)
            node.start()
            wait_for(lambda: "restored from an older copy" in node.log(), "it says that its directory went back")
            cluster.wait_up()
            for i in range(20):  # blind: beside what is there
                through.put("restored-%d" % i, b"third %d" % i, w=3)
            for reader in cluster.nodes:
                with kvring.Client(reader.address, timeout=20) as one:
                    for i in range(20):
                        values = one.get("restored-%d" % i, r=3).values
                        self.assertIn(b"third %d" % i, values, reader.name)
                        self.assertIn(b"second %d" % i, values, reader.name)
                        self.assertEqual(len(values), 2, values)


class ReceivingTest(unittest.TestCase):
    def test_reads_do_not_count_a_restored_node_until_it_is_accepted(self):
        """What it had acknowledged with one other is lost to a read that asks the third."""
        with Cluster(3) as cluster:
            n1, n2, n3 = cluster.nodes
            keys = ["w%d" % i for i in range(20)]
            self.assertEqual(n3.stop(), 0, n3.log())
            shutil.copytree(n3.data, n3.data + ".copy")
            n3.start()
            cluster.wait_up()
            # n2 alone is enough for n3 to be up, so n1 may be told of its second start a little later.
            wait_for(lambda: " 2 " in open(os.path.join(n1.data, "members")).read(), "n1 keeps n3's second start")
            n1.kill()
            client = cluster.client(n2, n3)
            for key in keys:
                client.put(key, b"v", w=2)
            n3.stop()
            shutil.rmtree(n3.data)
            shutil.copytree(n3.data + ".copy", n3.data)
            n2.kill()  # it alone has what was written
            n1.start()
            n3.start()
            wait_for(lambda: "restored from an older copy" in n3.log(), "it hears that its directory went back")
            with kvring.Client(n3.address, timeout=1) as one:
                for key in keys[:3]:
                    with self.assertRaises(kvring.KvringError):  # and not: no such key
                        one.get(key, r=2)
            n2.start()
            cluster.wait_up()
            for reader in cluster.nodes:
                with kvring.Client(reader.address, timeout=20) as one:
                    self.assertEqual([one.get(key, r=2).values for key in keys], [[b"v"]] * 20, reader.name)
            wait_for(lambda: b"up, receiving" in cluster.kvctl("status", endpoints=n1.address)[0], "the others tell so")
            self.assertIn(b"! n3: its data directory went back in time", cluster.kvctl("status", endpoints=n3.address)[0])
            n3.stop()  # it does not forget
            n3.start()
            cluster.wait_up()
            self.assertIn(b"up, receiving", cluster.kvctl("status", endpoints=n3.address)[0])
            for key in keys:  # brings everything back
                self.assertEqual(client.get(key, r=3).values, [b"v"])
            n3.stop()
            n3.arguments.append("--accept-restored")
            n3.start()
            cluster.wait_up()
            self.assertNotIn(b"receiving", cluster.kvctl("status", endpoints=n3.address)[0])
            n2.kill()
            with kvring.Client(n3.address, timeout=20) as one:
                self.assertEqual([one.get(key, r=2).values for key in keys], [[b"v"]] * 20)


class LostStoreTest(unittest.TestCase):
    def test_reads_do_not_count_a_node_whose_store_is_gone(self):
        """The engine's directory alone was removed, or is on a disk that is not mounted: the node knows who it is."""
        with Cluster(3) as cluster:
            n1, n2, n3 = cluster.nodes
            keys = ["w%d" % i for i in range(10)]
            n1.kill()
            client = cluster.client(n2, n3)
            for key in keys:
                client.put(key, b"v", w=2)
            n3.kill()
            shutil.rmtree(os.path.join(n3.data, "engine"))
            n2.kill()  # it alone has what was written
            n1.start()
            n3.start()
            cluster.wait_up(2, through=n3)
            with kvring.Client(n3.address, timeout=1) as one:
                for key in keys[:3]:
                    with self.assertRaises(kvring.KvringError):  # and not: no such key
                        one.get(key, r=2)
            n2.start()
            cluster.wait_up()
            for reader in cluster.nodes:
                with kvring.Client(reader.address, timeout=20) as one:
                    self.assertEqual([one.get(key, r=2).values for key in keys], [[b"v"]] * 10, reader.name)
            self.assertIn(b"up, receiving", cluster.kvctl("status", endpoints=n3.address)[0])
            log = n3.log()
            self.assertEqual(log.count("found no store in %s" % os.path.join(n3.data, "engine")), 1, log)
            self.assertIn("Is its disk mounted?", log)
            n3.stop()
            n3.start()
            cluster.wait_up()
            self.assertIn("start: this node is receiving", n3.log())  # and goes on saying so
            for other in (n1, n2):
                self.assertNotIn("found no store", other.log())
                self.assertNotIn("this node is receiving", other.log())


class CopyInUseTest(unittest.TestCase):
    def test_of_two_processes_on_copies_one_stops(self):
        with Cluster(3) as cluster:
            node = cluster.nodes[0]
            self.assertEqual(node.stop(), 0, node.log())
            copy = Node(cluster.directory, "n1-copy")
            copy.name = node.name
            copy.seeds = node.seeds
            shutil.copytree(node.data, copy.data)
            self.addCleanup(lambda: copy.running and copy.kill())
            node.start()
            cluster.wait_up()
            copy.start()  # the same start number; the other was there first
            wait_for(lambda: "no longer serves clients" in copy.log(), "the copy stops")
            with self.assertRaises((kvring.Unreachable, kvring.InDoubt)) as caught:  # in doubt: the last try was under way
                cluster.client(copy, timeout=1).put("k", b"v")
            self.assertIn("another process goes by this node's id", str(caught.exception))
            _, err = cluster.kvctl("--timeout", "1s", "put", "--blind", "k", "v", endpoints=copy.address, expect=5)
            self.assertIn("another process", err)
            cluster.kvctl("put", "--blind", "k", "v", endpoints=copy.address + "," + node.address)  # clients pass it by
            self.assertTrue(node.running and "serves nobody" not in node.log())
            cluster.wait_up()
            for i in range(20):
                cluster.client(cluster.nodes[1]).put("w%d" % i, b"v", w=3)
                self.assertEqual(cluster.client(node).get("w%d" % i, r=1).value, b"v")
            # no war: neither goes on about the other
            lines = copy.log().count("id of this") + node.log().count("id of this") + node.log().count("restarted")
            self.assertLess(lines, 10)


if __name__ == "__main__":
    unittest.main()
