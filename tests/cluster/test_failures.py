# SPDX-License-Identifier: Apache-2.0
"""Three real nodes that die: what was acknowledged is there afterwards."""

import json
import os
import subprocess
import unittest

import kvring
from cluster import Cluster, Node, Writers, free_base, wait_for


class FailureTest(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(3)
        self.addCleanup(self.cluster.close)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before and hasattr(self, "cluster"):
            print("failed: " + self.id())
        return result

    def check(self, acknowledged, r, *nodes):
        with kvring.Client(self.cluster.endpoints(*nodes), timeout=30) as client:
            keys = sorted(acknowledged)
            for at in range(0, len(keys), 500):
                self.check_part(client, keys[at : at + 500], acknowledged, r)

    def check_part(self, client, keys, acknowledged, r):
        """A node may need a moment to connect to one that came back, and refuses until then; nothing else may go wrong."""

        def read():
            nonlocal keys
            again = []
            for key, found in zip(keys, client.batch_get(keys, r=r)):
                if found.error:
                    self.assertEqual(found.error.code, "UNAVAILABLE", "%s: %s" % (key, found.error))
                    again.append(key)
                else:
                    self.assertEqual(found.result.values, [acknowledged[key]], key)
            keys = again
            return not keys

        wait_for(read, "every key can be read at r=%d" % r)

    def test_a_node_killed_under_load_loses_nothing(self):
        writers = Writers(self.cluster, 6, "load")
        wait_for(lambda: len(writers.acknowledged) > 300, "writes before the kill")
        victim = self.cluster.nodes[1]
        victim.kill()
        at_kill = len(writers.acknowledged)
        wait_for(lambda: len(writers.acknowledged) > at_kill + 300, "writes go on without the node")
        writers.stop()
        self.check(writers.acknowledged, 2, self.cluster.nodes[0], self.cluster.nodes[2])
        victim.start()
        self.cluster.wait_up(3, through=self.cluster.nodes[0])
        self.check(writers.acknowledged, 3)
        self.assertEqual(writers.errors, [])

    def test_all_nodes_killed_under_load_lose_nothing(self):
        writers = Writers(self.cluster, 6, "all")
        wait_for(lambda: len(writers.acknowledged) > 300, "writes before the kill")
        for node in self.cluster.nodes:
            node.process.kill()
        for node in self.cluster.nodes:
            node.process.wait()
        acknowledged = dict(writers.acknowledged)
        for node in self.cluster.nodes:
            node.start()
        writers.stop()
        acknowledged.update(writers.acknowledged)
        self.cluster.wait_up()
        self.check(acknowledged, 2)

    def test_reads_repair_the_node_that_was_away(self):
        client = self.cluster.client(self.cluster.nodes[0], self.cluster.nodes[1])
        away = self.cluster.nodes[2]
        away.kill()
        self.cluster.wait_up(2, through=self.cluster.nodes[0])
        values = {"repair-%d" % i: b"value %d" % i for i in range(50)}
        for key, value in values.items():
            client.put(key, value)
        away.start()
        self.cluster.wait_up()  # also by its own word: a majority has confirmed its start
        self.check(values, 3)
        # what the read at R=3 repaired is on the node itself now: it serves it alone
        for node in self.cluster.nodes[:2]:
            node.kill()

        def served_alone():
            with kvring.Client(away.address, timeout=5) as alone:
                try:
                    return all(alone.get(key, r=1).values == [value] for key, value in values.items())
                except kvring.KvringError:
                    return False

        wait_for(served_alone, "the repaired node serves what it was given")

    def test_a_rolling_restart_by_sigterm(self):
        client = self.cluster.client()
        values = {"roll-%d" % i: os.urandom(100) for i in range(200)}
        for item in client.batch_put(values.items()):
            self.assertIsNone(item.error)
        for node in self.cluster.nodes:
            self.assertEqual(node.stop(), 0, node.log())
            self.check(values, 2, *(n for n in self.cluster.nodes if n is not node))
            node.start()
            self.cluster.wait_up(3)
        self.check(values, 3)

    def test_all_nodes_stopped_and_started(self):
        client = self.cluster.client()
        values = {"stop-%d" % i: os.urandom(100) for i in range(200)}
        client.batch_put(values.items())
        for node in self.cluster.nodes:
            self.assertEqual(node.stop(), 0, node.log())
        for node in self.cluster.nodes:
            node.start()
        self.cluster.wait_up()
        self.check(values, 3)

    def test_one_of_three_left(self):
        client = self.cluster.client(self.cluster.nodes[0], timeout=4)
        client.put("before", b"v", w=3)
        for node in self.cluster.nodes[1:]:
            node.kill()
        # W=2 cannot be had: never "done", and in doubt or refused for a reason
        with self.assertRaises((kvring.InDoubt, kvring.Refused)) as caught:
            client.put("alone", b"v")
        self.assertTrue(str(caught.exception))
        with self.assertRaises((kvring.Refused, kvring.Unreachable)):
            client.get("before")  # not found would be a lie
        self.assertEqual(client.get("before", r=1).value, b"v")
        status = self.cluster.run_kvctl("--timeout", "4s", "put", "--blind", "alone2", "v", endpoints=self.cluster.nodes[0].address)
        self.assertIn(status.returncode, (3, 4), status)

    def test_a_paused_node_holds_nobody_up(self):
        client = self.cluster.client(self.cluster.nodes[0], self.cluster.nodes[1])
        with self.cluster.nodes[2].paused():
            values = {"paused-%d" % i: b"v%d" % i for i in range(30)}
            for key, value in values.items():
                client.put(key, value)
            self.check(values, 2, *self.cluster.nodes[:2])
        self.cluster.wait_up(3, through=self.cluster.nodes[0])
        self.check(values, 3)


    def members(self, through):
        out, _ = self.cluster.kvctl("members", "-o", "json", endpoints=through.address)
        return {member["name"]: member for member in json.loads(out)["members"]}

    def test_a_killed_node_is_down_by_the_word_of_two(self):
        one, two, killed = self.cluster.nodes
        killed.kill()
        for node in (one, two):
            wait_for(lambda: self.members(node)["n3"]["state"] == "down", "%s finds n3 down" % node.name)
            wait_for(lambda: self.members(node)["n3"]["unheard_by"] == ["n1", "n2"], "both report n3 at %s" % node.name)
            self.assertRegex(node.log(), r"member down peer=n3 .* reporters=2 \(n[12], n[12]\)")
        two.kill()
        wait_for(lambda: self.members(one)["n2"]["state"] == "unreachable", "n1 hears nothing of n2")
        # Nobody is left who could agree, not even on what was agreed before.
        wait_for(lambda: self.members(one)["n3"]["state"] == "unreachable", "the word of n2 no longer counts")
        self.assertEqual(self.members(one)["n3"]["unheard_by"], ["n1"])
        for node in (two, killed):
            node.start()
        self.cluster.wait_up()
        self.assertEqual({member["state"] for member in self.members(one).values()}, {"up"})

    def test_in_doubt_tells_how_many_have_it(self):
        """One of three is stopped, and all three are asked for: two have the write, and both clients are told so."""
        node, stopped = self.cluster.nodes[1], self.cluster.nodes[2]

        def by_python():
            try:
                self.cluster.client(node, timeout=1.2).put("doubt", b"v", w=3)
            except kvring.InDoubt as doubt:
                return str(doubt)
            self.fail("a stopped node cannot have acknowledged")

        self.assertIn("(n3: no answer", self.doubt(self.cluster, node, stopped, by_python))
        err = self.doubt(self.cluster, node, stopped, lambda: self.kvctl_doubt(self.cluster, node))
        self.assertIn("in doubt: 2 of 3 acknowledged (n3: no answer", err)

    def test_in_doubt_tells_how_many_have_it_through_a_node_that_is_no_owner(self):
        with Cluster(5) as cluster:
            owners = json.loads(cluster.kvctl("-o", "json", "ring", "doubt")[0])["preference"]
            by_name = {node.name: node for node in cluster.nodes}
            (outsider, *_) = [node for node in cluster.nodes if node.name not in owners]
            for name in owners:
                cluster.wait_up(5, through=outsider)
                err = self.doubt(cluster, outsider, by_name[name], lambda: self.kvctl_doubt(cluster, outsider))
                self.assertEqual(err.count("of 3 ack"), 1, err)  # the text is the only count that is told

    @staticmethod
    def kvctl_doubt(cluster, through):
        arguments = ("put", "--blind", "--w", "3", "-t", "1200ms", "doubt", "v")
        return cluster.kvctl(*arguments, endpoints=through.address, expect=4)[1]

    def doubt(self, cluster, through, stopped, put):
        """What a put says that two of three acknowledge. On a busy machine the owner's word can come too late: then again."""
        for _ in range(8):
            cluster.client(through).put("doubt", b"v", w=3)  # all three answer: none is asked before the write begins
            with stopped.paused():
                text = put()
            if "2 of 3 acknowledged" in text:
                return text
            self.assertNotIn("0 of 3 acknowledged", text)
            cluster.wait_up(through=through)
        self.fail("no owner's count came in time, eight times: %s" % text)

    def test_status_shows_the_address_of_a_node_that_moved(self):
        """The ring document keeps the old address; the others dial the one that the node announces."""
        node = self.cluster.nodes[2]
        old = node.address
        node.stop()
        node.base = free_base()
        node.start()
        self.cluster.wait_up()
        for other in self.cluster.nodes:
            wait_for(lambda: node.address.encode() in self.cluster.kvctl("status", endpoints=other.address)[0], "the new address is shown", 15)
            out, _ = self.cluster.kvctl("status", endpoints=other.address)
            (row,) = [line for line in out.decode().splitlines() if line.startswith("n3 ")]
            self.assertIn(node.address, row)
            self.assertIn("! n3: its client address is %s; the ring document says %s" % (node.address, old), out.decode())
            self.assertIn("! n3: its peer address is %s" % node.peer_address, out.decode())
            self.assertNotIn("! n1", out.decode())
            status = json.loads(self.cluster.kvctl("-o", "json", "status", endpoints=other.address)[0])
            (member,) = [m for m in status["members"] if m["name"] == "n3"]
            self.assertEqual((member["client_address"], member["announced_client_address"]), (old, node.address))

    def test_a_client_passes_over_a_node_that_hangs(self):
        """The stopped node is the one that the client asks first: the kernel takes its requests, and nobody answers."""
        client = self.cluster.client(timeout=4)
        client.put("k", b"before")
        with self.cluster.nodes[0].paused():
            client.put("k", b"after", context=client.get("k").context)
            fresh = self.cluster.client(timeout=4)
            self.assertEqual(fresh.get("k").value, b"after")

    def test_kvctl_passes_over_a_node_that_hangs_while_it_is_connected(self):
        hung, reader = self.cluster.nodes[0], self.cluster.client(*self.cluster.nodes[1:])
        command = [os.environ["KVCTL"], "import", "-q", "--batch", "1", "--outstanding", "1", "-t", "30s", "-e", self.cluster.endpoints(), "-"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as kvctl:
            try:
                kvctl.stdin.write(b'{"key": "hang-1", "value": "v"}\n')
                kvctl.stdin.flush()
                wait_for(lambda: reader.get("hang-1").found, "the first record of an import")
                with hung.paused():
                    kvctl.stdin.write(b'{"key": "hang-2", "value": "v"}\n')
                    kvctl.stdin.close()
                    self.assertEqual(kvctl.wait(timeout=15), 0)  # half of the time for one call, of which there are two
                    self.assertTrue(reader.get("hang-2").found)
            finally:
                kvctl.kill()


class ProcessTest(unittest.TestCase):
    def run_node(self, *arguments):
        return subprocess.run([os.environ["KVNODE"], *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, text=True)

    def test_a_second_process_on_the_same_directory_is_refused(self):
        with Cluster(1, replicas=1) as cluster:
            first = cluster.nodes[0]
            second = Node(cluster.directory, "n1")
            done = self.run_node(*second.command()[1:])
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(first.data, done.stderr)
            self.assertRegex(done.stderr, r"(?i)in use|another process|uses")
            cluster.client().put("k", b"v", w=1)

    def test_another_name_than_the_stored_one_is_refused(self):
        with Cluster(1, replicas=1) as cluster:
            node = cluster.nodes[0]
            cluster.client().put("k", b"v", w=1)
            node.stop()
            command = node.command()[1:]
            command[command.index("n1")] = "n7"
            done = self.run_node(*command)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("this data directory is that of node 'n1', not 'n7': start it with --name n1", done.stderr)
            node.start()
            cluster.wait_up()
            self.assertEqual(cluster.client().get("k", r=1).value, b"v")

    def test_a_port_in_use_is_named(self):
        with Cluster(1, replicas=1) as cluster:
            second = Node(cluster.directory, "n2")
            second.base = cluster.nodes[0].base
            done = self.run_node(*second.command()[1:])
            self.assertNotEqual(done.returncode, 0)
            ports = [str(second.base + i) for i in range(3)]
            self.assertTrue(any(port in done.stderr for port in ports), done.stderr)
            self.assertIn("in use", done.stderr)

    def test_a_node_of_another_cluster_is_not_taken(self):
        with Cluster(1, replicas=1) as old, Cluster(2, form=False) as new:
            addresses = [node.address for node in new.nodes + old.nodes]
            _, err = new.kvctl("cluster", "init", *addresses, expect=3)
            self.assertIn("already", err)
            self.assertIn(old.nodes[0].address, err)

    def test_a_node_in_no_cluster_says_so(self):
        with Cluster(1, form=False) as cluster:
            _, err = cluster.kvctl("--timeout", "2s", "put", "--blind", "k", "v", expect=5)
            self.assertIn("in no cluster", err)
            out, _ = cluster.kvctl("status")
            self.assertIn(b"cluster init", out)

    def test_wrong_configuration(self):
        with Cluster(1, form=False) as cluster:
            path = os.path.join(cluster.directory, "node.ini")
            with open(path, "w") as file:
                file.write("[node]\nname = x\ndata-dir = /tmp/x\ncolour = blue\n")
            done = self.run_node("--config", path, "--check-config")
            self.assertEqual(done.returncode, 2)
            self.assertIn("colour", done.stderr)
            self.assertIn("node.ini", done.stderr)
            self.assertEqual(self.run_node("--name", "x").returncode, 2)
            self.assertEqual(self.run_node("--name", "x", "--data-dir", "/tmp/x", "--listen", "nowhere").returncode, 2)

    def test_version_and_printed_configuration(self):
        self.assertIn("kvnode", self.run_node("--version").stdout)
        printed = self.run_node("--name", "x", "--data-dir", "/tmp/x", "--listen", "127.0.0.1:7000", "--print-config").stdout
        self.assertIn("name", printed)
        with Cluster(1, form=False) as cluster:
            path = os.path.join(cluster.directory, "printed.ini")
            with open(path, "w") as file:
                file.write(printed)
            self.assertEqual(self.run_node("--config", path, "--check-config").returncode, 0)


if __name__ == "__main__":
    unittest.main()
