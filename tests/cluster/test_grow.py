# SPDX-License-Identifier: Apache-2.0
"""A cluster of real nodes grows, loses a node and replaces it, and shrinks, while clients write; every acknowledged key is read back."""

import json
import os
import re
import shutil
import subprocess
import threading
import unittest

import kvring
from cluster import Cluster, wait_for
from test_full_disk import mount

PARTITIONS = 64
SLOWLY = ["--transfer-rate-mb", "1"]
KEYS = 150  # of each writer


class Load:
    """Two writers with keys of their own: every other write makes a new key, the rest replace what their writer knows of a key. Values
    are numbers that rise."""

    def __init__(self, cluster):
        self.endpoints = cluster.endpoints(*cluster.everyone)
        self.acknowledged = {}  # key -> the newest number
        self.doubtful = set()  # keys with a write that may have come to light or not
        self.refused, self.count = 0, 0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._write, args=(i,)) for i in range(2)]
        for thread in self.threads:
            thread.start()

    def _write(self, index):
        contexts, number = {}, 0
        with kvring.Client(self.endpoints, timeout=20) as client:
            while not self.stopping.wait(0.002):  # a low rate: what matters is that it never ends
                number += 1
                key = "w%d-%d" % (index, number % KEYS) if number % 2 else "once%d-%d" % (index, number)
                try:
                    contexts[key] = client.put(key, b"%d" % number, context=contexts.get(key, b"")).context
                    self.acknowledged[key] = number
                    self.count += 1
                except kvring.InDoubt:
                    self.doubtful.add(key)
                except kvring.KvringError:
                    self.refused += 1

    def wait_more(self, count=50):
        """It goes on."""
        wanted = self.count + count
        wait_for(lambda: self.count >= wanted, "%d more acknowledged writes" % count)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


class ChangeTest(unittest.TestCase):
    def start(self, *arguments, **options):
        self.cluster = Cluster(*arguments, partitions=PARTITIONS, **options)
        self.addCleanup(self.cluster.close)
        return self.cluster

    def start_load(self):
        load = Load(self.cluster)
        self.addCleanup(load.stop)
        load.wait_more(2 * KEYS)
        return load

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before and hasattr(self, "cluster"):
            print("failed: %s" % self.id())
        return result

    # ---- kvctl -------------------------------------------------------------------------------------------------------

    def status(self, node=None):
        return json.loads(self.cluster.kvctl("status", "-o", "json", endpoints=(node or self.cluster.nodes[-1]).address)[0])

    def member(self, name, node=None):
        """As `node` shows it; None when it is no member."""
        return next((m for m in self.status(node)["members"] if m["name"] == name), None)

    def ring(self):
        """name -> partitions held."""
        return {m["name"]: m["replicas"] for m in json.loads(self.cluster.kvctl("ring", "-o", "json")[0])["members"]}

    def kill_for_good(self, node):
        """Until all that are left know: then any of them takes the plan that it is replaced or removed."""
        node.kill()
        shutil.rmtree(node.data)
        self.cluster.remove(node)
        for other in self.cluster.nodes:
            wait_for(lambda: self.member(node.name, other)["state"] != "up", "%s notices that %s is lost" % (other.name, node.name))

    def stage(self, *changes):
        self.cluster.kvctl("cluster", "clear")
        for change in changes:
            self.cluster.kvctl("cluster", *change.split())

    def plan(self, *changes):
        """Stages them and plans until the cluster takes the plan: it may not have heard yet of who came or went."""
        self.stage(*changes)
        done = wait_for(lambda: self.planned(), "the plan of %s: %s" % (changes, self.cluster.run_kvctl("cluster", "plan").stderr))
        return json.loads(done.stdout)

    def planned(self):
        done = self.cluster.run_kvctl("cluster", "plan", "-o", "json")
        return done if done.returncode == 0 else None

    def commit(self, *changes):
        """Any node may be asked, and each has to have heard of who came or went."""
        plan = self.plan(*changes)
        wait_for(lambda: self.cluster.run_kvctl("cluster", "commit", "--yes").returncode == 0, "the plan of %s is committed" % (changes,))
        return plan

    def wait(self):
        out, _ = self.cluster.kvctl("cluster", "wait", "--timeout", "120s")
        self.cluster.joined()
        return out.decode()

    def change(self, *changes):
        """From the plan to the end. Returns the plan."""
        plan = self.commit(*changes)
        self.wait()
        return plan

    # ---- data --------------------------------------------------------------------------------------------------------

    def read_back(self, acknowledged, doubtful=(), r=0, nodes=()):
        """Every key has the number that was acknowledged, or a later one; and no sibling, unless a write of it is in doubt."""
        wanted = dict(acknowledged)
        with kvring.Client(self.cluster.endpoints(*nodes), timeout=20) as client:
            keys = sorted(wanted)

            def read():
                nonlocal keys
                part, again = keys[:500], []
                for key, found in zip(part, client.batch_get(part, r=r)):
                    if found.error:
                        self.assertEqual(found.error.code, "UNAVAILABLE", "%s: %s" % (key, found.error))
                        again.append(key)  # a node is just starting, or a ring just begins
                        continue
                    numbers = [int(value) for value in found.result.values]
                    self.assertTrue(numbers, "%s is gone: %d was acknowledged" % (key, wanted[key]))
                    self.assertGreaterEqual(max(numbers), wanted[key], key)
                    if key not in doubtful:
                        self.assertEqual(len(numbers), 1, "%s: %s" % (key, numbers))
                keys = again + keys[500:]
                return not keys

            wait_for(read, "every key is read")
        return len(wanted)

    def fill(self, count, size):
        """Large values, so that copying takes its time. Returns them."""
        values = {"large-%d" % i: os.urandom(size) for i in range(count)}
        with kvring.Client(self.cluster.endpoints(), timeout=60) as client:
            for key, value in values.items():
                client.put(key, value, w=3)
        return values

    def check(self, values, r=0):
        with kvring.Client(self.cluster.endpoints(), timeout=60) as client:
            for key, value in values.items():
                self.assertEqual(client.get(key, r=r).values, [value], key)


class LifeTest(ChangeTest):
    def stage_is_over(self, load, plan=None):
        load.wait_more()
        count = self.read_back(load.acknowledged, load.doubtful)
        members = {m["name"]: m["member_state"] for m in self.status()["members"]}
        print("%s: %d keys read back; %d writes acknowledged, %d refused, %d keys in doubt%s" % (
            ", ".join(sorted(members)), count, load.count, load.refused, len(load.doubtful),
            "; %d moves, at least %d" % (plan["moves"], plan["minimum_moves"]) if plan else ""), flush=True)
        return members

    def test_grow_lose_replace_and_shrink_under_load(self):
        """Copying takes a second or two each time, so that thousands of writes fall into it."""
        cluster = self.start(3, spare_count=4, arguments=SLOWLY)
        n1, n2, n3, n4, n5, n6, n7 = cluster.everyone
        values = self.fill(48, 65536)
        load = self.start_load()

        cluster.add(n4, n5, n6)
        plan = self.change("join n4 n5 n6")
        self.assertEqual(plan["moves"], plan["minimum_moves"])
        self.assertEqual([member["partitions_after"] for member in plan["members"]], [PARTITIONS // 2] * 6)
        self.assertEqual(sum(link["partitions"] for link in plan["links"]), plan["moves"])
        members = self.stage_is_over(load, plan)
        self.assertEqual(members, dict.fromkeys(("n1", "n2", "n3", "n4", "n5", "n6"), "active"))
        self.assertEqual(set(self.ring().values()), {PARTITIONS // 2})

        self.kill_for_good(n5)
        cluster.add(n7)
        plan = self.change("replace n5 --by n7")
        self.assertEqual(plan["moves"], PARTITIONS // 2)
        members = self.stage_is_over(load, plan)
        self.assertEqual(sorted(members), ["n1", "n2", "n3", "n4", "n6", "n7"])
        self.assertEqual(set(self.ring().values()), {PARTITIONS // 2})

        cluster.remove(n1, n2)
        plan = self.change("leave n1", "leave n2")
        self.assertEqual(plan["moves"], plan["minimum_moves"])
        members = self.stage_is_over(load, plan)
        self.assertEqual(sorted(members), ["n3", "n4", "n6", "n7"])
        for node in (n1, n2):
            wait_for(lambda: "this node is no member of the cluster any more" in node.log(), "%s says that it can be stopped" % node.name)
            with kvring.Client(node.address, timeout=2) as client, self.assertRaises(kvring.KvringError) as refused:
                client.get("w0-1")
            self.assertEqual(refused.exception.code, "UNAVAILABLE")
            self.assertEqual(node.stop(), 0)
        load.wait_more()
        load.stop()
        self.read_back(load.acknowledged, load.doubtful, r=3)
        self.check(values)

    def test_one_node_grows(self):
        cluster = self.start(1, spare_count=2)
        n1, n2, n3 = cluster.everyone
        load = self.start_load()
        for node in (n2, n3):
            cluster.add(node)
            self.change("join " + node.name)
            load.wait_more()
            self.read_back(load.acknowledged, load.doubtful)
        self.assertEqual(self.ring(), {"n1": PARTITIONS, "n2": PARTITIONS, "n3": PARTITIONS})
        load.stop()
        self.read_back(load.acknowledged, load.doubtful, r=3)
        n1.kill()  # it had everything alone
        cluster.remove(n1)
        self.read_back(load.acknowledged, load.doubtful)

    def test_drain_and_remove(self):
        cluster = self.start(4, spare_count=0)
        n1, n2, n3, n4 = cluster.everyone
        load = self.start_load()
        self.change("drain n2")
        self.assertEqual(self.member("n2")["member_state"], "standby")
        self.assertEqual(self.ring()["n2"], 0)
        self.read_back(load.acknowledged, load.doubtful, nodes=[n2])  # it forwards
        self.change("join n2")
        self.assertEqual(set(self.ring().values()), {PARTITIONS * 3 // 4})
        self.kill_for_good(n4)
        plan = self.change("remove n4")
        self.assertEqual(plan["moves"], PARTITIONS * 3 // 4)
        self.assertEqual(self.ring(), {"n1": PARTITIONS, "n2": PARTITIONS, "n3": PARTITIONS})
        load.wait_more()
        load.stop()
        self.read_back(load.acknowledged, load.doubtful, r=3)


class InterruptedTest(ChangeTest):
    def start_large(self):
        """n4 is to get a quarter of 8 MiB, three times: about 6 MB, at 1 MB/s."""
        cluster = self.start(3, spare_count=1, arguments=SLOWLY)
        values = self.fill(128, 65536)
        cluster.add(cluster.spares[0])
        return cluster, values

    def wait_left(self, count):
        """Until n4 has no more than so many partitions still to copy, of 48."""

        def has_come_so_far():
            status = self.status(self.cluster.nodes[0])
            member = next((m for m in status["members"] if m["name"] == "n4"), None)
            if status["transition"] != "copying":
                return status["epoch"] > 2  # it is over already
            return member["incoming_total"] > 0 and member["incoming_partitions"] <= count

        wait_for(has_come_so_far, "n4 has %d of 48 partitions to copy" % count)

    def test_a_join_that_is_killed_goes_on(self):
        cluster, values = self.start_large()
        n4 = cluster.spares[0]
        self.commit("join n4")
        for point in (48, 34, 20, 5):  # partitions still to copy
            self.wait_left(point)
            n4.kill()
            n4.start()
        self.wait()
        self.assertEqual(self.ring(), dict.fromkeys(("n1", "n2", "n3", "n4"), 48))
        self.check(values)
        with open(n4.log_path) as log:
            missing = [int(count) for count in re.findall(r"partitions are copied to this node epoch=2 missing=(\d+) of=48", log.read())]
        self.assertEqual(missing[0], 48)
        self.assertEqual(missing, sorted(missing, reverse=True))  # each start goes on where the one before was, but for the last second
        self.assertLess(missing[-1], 40)

    def test_a_source_that_is_killed_is_no_end(self):
        cluster, values = self.start_large()
        self.commit("join n4")
        self.wait_left(40)
        cluster.nodes[0].kill()
        cluster.nodes[0].start()
        self.wait()
        self.check(values)

    def test_a_full_disk_is_waited_out(self):
        cluster = self.start(3, spare_count=1, arguments=["--memtable-mb", "1"])
        values = self.fill(128, 65536)
        n4 = cluster.spares[0]
        if not mount(n4.data):
            self.skipTest("needs root to mount a tmpfs")
        self.addCleanup(subprocess.run, ["umount", "-l", n4.data])
        cluster.add(n4)
        filler = os.path.join(n4.data, "filler")
        with open(filler, "wb") as file:  # half of what n4 is to get has room
            file.write(bytes(shutil.disk_usage(n4.data).free - (3 << 20)))
        self.commit("join n4")
        wait_for(lambda: "this node's disk is full" in n4.log(), "n4 says that its disk is full")
        self.assertEqual(self.status(cluster.nodes[0])["transition"], "copying")
        self.check(values)
        os.remove(filler)
        self.wait()
        self.assertEqual(self.ring(), dict.fromkeys(("n1", "n2", "n3", "n4"), 48))
        self.check(values)

    def test_abort(self):
        cluster, values = self.start_large()
        before = self.ring()
        self.assertIn("change", cluster.kvctl("cluster", "abort", expect=3)[1])  # there is none
        self.commit("join n4")
        self.wait_left(40)
        self.assertIn("a change is under way", cluster.kvctl("cluster", "leave", "n1")[1] + cluster.kvctl("cluster", "plan", expect=3)[1])
        cluster.kvctl("cluster", "clear")
        self.assertIn("partitions to come", cluster.kvctl("status")[0].decode())
        cluster.kvctl("cluster", "abort")
        self.assertIn("stable", self.wait())
        self.assertEqual(self.ring(), dict(before, n4=0))
        self.assertEqual(self.member("n4")["member_state"], "standby")
        self.check(values)
        self.change("join n4")
        self.assertEqual(self.ring(), dict.fromkeys(("n1", "n2", "n3", "n4"), 48))
        self.check(values)


class RefusalTest(ChangeTest):
    def refuse(self, text, *changes, expect=3):
        """Once the nodes know each other; until then other things are wrong."""
        self.stage(*changes)
        wait_for(lambda: self.is_refused(text, expect), "%s is refused with '%s': %s" % (
            changes, text, self.cluster.run_kvctl("cluster", "plan").stderr))

    def is_refused(self, text, expect):
        done = self.cluster.run_kvctl("cluster", "plan")
        return done.returncode == expect and text in done.stderr.decode()

    def test_bad_input_changes_nothing(self):
        cluster = self.start(3, spare_count=3)
        n1, n2, n3, other, twin, n6 = cluster.everyone
        client = cluster.client()
        client.put("k", b"v")

        self.refuse("no node named 'n9' is heard", "join n9")
        self.refuse("n1 is up: let it leave", "replace n1 --by n9")
        self.refuse("n1 is up: let it leave", "remove n1")
        self.refuse("let another node join first, or in the same plan", "leave n1")
        self.refuse("let another node join first, or in the same plan", "drain n1")
        cluster.kvctl("cluster", "join", "n1", expect=2)
        cluster.kvctl("cluster", "leave", "n9", expect=2)

        other.start()  # in a cluster of its own, with another N; then it is told of ours
        cluster.kvctl("cluster", "init", "-n", "1", "-q", "8", other.address, endpoints="")
        other.stop()
        other.seeds = [n1.peer_address]
        other.start()
        self.refuse("no node named 'n4' is heard", "join n4")

        twin.name = "n1"  # a new node with the name of a member
        cluster.add(twin)
        cluster.kvctl("cluster", "join", "n1", expect=2)
        twin.kill()
        cluster.remove(twin)

        cluster.add(n6)
        self.plan("join n6")
        n6.kill()
        cluster.remove(n6)
        self.refuse("n6 is not heard any more", "join n6")

        self.assertEqual(self.status()["epoch"], 1)
        self.assertEqual(client.get("k", r=3).value, b"v")

    def test_stale_and_simultaneous_plans(self):
        cluster = self.start(3, spare_count=2)
        n4, n5 = cluster.spares
        cluster.add(n4, n5)
        self.plan("join n4")
        cluster.kvctl("cluster", "rack", "n1", "cellar")
        wait_for(lambda: all(self.status(node)["epoch"] == 2 for node in cluster.nodes), "all have epoch 2")
        self.assertIn("plan again", cluster.kvctl("cluster", "commit", "--yes", expect=3)[1])
        self.assertIn("3 replicas wanted, but 2 racks", str(self.plan("join n4")["violations"]))
        self.assertIn("3 replicas wanted, but 2 racks", cluster.kvctl("cluster", "commit", "--yes", expect=3)[1])
        cluster.kvctl("cluster", "rack", "n1", "")
        wait_for(lambda: all(self.status(node)["epoch"] == 3 for node in cluster.nodes), "all have epoch 3")
        self.plan("join n4")

        results = []  # two operators, each with a plan of the same ring
        states = [os.path.join(cluster.directory, "state"), os.path.join(cluster.directory, "other-state")]
        shutil.copytree(*states)

        def commit(state):
            results.append(cluster.run_kvctl("cluster", "commit", "--yes", environment={"XDG_STATE_HOME": state}))
        threads = [threading.Thread(target=commit, args=(state,)) for state in states]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statuses = sorted(done.returncode for done in results)
        self.assertEqual(statuses[0], 0, [done.stderr for done in results])
        self.assertIn(statuses[1], (3, 4), [done.stderr for done in results])
        self.wait()
        self.assertEqual(self.ring(), dict.fromkeys(("n1", "n2", "n3", "n4"), 48))


if __name__ == "__main__":
    unittest.main(verbosity=2)
