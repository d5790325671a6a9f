"""compare.py end to end, with tiny stores: that every section runs, counts what it says, and leaves nothing behind.

The numbers of a run this small mean nothing; none is looked at but counts, bytes and shares.
"""
import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

COMPARE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compare.py")
NUM, READS, SECONDS = 2000, 500, 1
PEERS = [name for name in os.environ.get("BENCH_PEERS", "rocksdb,leveldb,lmdb").split(",") if name]


def command(directory, *arguments):
    return [sys.executable, COMPARE, "--directory", directory, "--kvengine", os.environ["KVENGINE"], "--peer-bench",
            os.environ["PEER_BENCH"], *arguments]


class Compare(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="kvring-test-compare-")
        self.directory = os.path.join(self.scratch.name, "stores")
        os.mkdir(self.directory)

    def tearDown(self):
        self.assertEqual(os.listdir(self.directory), [], "stores are left behind")
        self.scratch.cleanup()

    def run_compare(self, sections, names, *more):
        """The results of the sections, and what was printed."""
        files = {kind: os.path.join(self.scratch.name, "result." + kind) for kind in ("json", "markdown")}
        done = subprocess.run(command(self.directory, "--num=%d" % NUM, "--reads=%d" % READS, "--seconds=%d" % SECONDS,
                                      "--runs=1", "--sections=" + sections, "--engines=" + ",".join(names),
                                      "--json=" + files["json"], "--markdown=" + files["markdown"], *more),
                              capture_output=True, text=True, timeout=240, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(files["json"]) as result, open(files["markdown"]) as markdown:
            tables = markdown.read()
            results = json.load(result)["sections"]
        for section in results:
            self.assertIn("### %s: " % section, tables)
        return {section: {engine: runs[0] for engine, runs in by.items()} for section, by in results.items()}, done

    def check_rates(self, metrics, reads=READS):
        for name in ("random.fillrandom", "random.overwrite"):
            self.assertEqual(metrics[name + ".operations"], NUM, name)
        for name, share in (("readrandom", 0.865), ("seekrandom", 0.865), ("readmissing", 0)):
            self.assertEqual(metrics["random.%s.operations" % name], reads, name)
            self.assertAlmostEqual(metrics["random.%s.found_share" % name], share, delta=0.08, msg=name)
        self.assertGreater(metrics["random.readhot.found_share"], 0.5)
        self.assertEqual(metrics["random.user_mb"], 2 * NUM * (16 + 128) / 1e6)
        # Every byte goes through the log at least (LMDB, which has none, writes over the pages it changes).
        self.assertGreater(metrics["random.written_mb"], 0.8 * NUM * 144 / 1e6)
        self.assertGreater(metrics["random.disk_mb"], 0.8 * NUM * 144 / 1e6)
        self.assertGreater(metrics["random.rss_mb"], 1)

    def test_every_section_runs_with_kvring(self):
        every = "small,large,bigset,threads,sync,open,compacting,scale"
        results, done = self.run_compare(every, ["kvring"])
        self.assertEqual(list(results), every.split(","))
        for name, reads in (("small", READS), ("bigset", READS // 2), ("threads", READS)):
            self.check_rates(results[name]["kvring"], reads)
        self.assertEqual(results["large"]["kvring"]["random.user_mb"], 2 * NUM // 2 * (16 + 1024) / 1e6)
        beside = results["compacting"]["kvring"]
        self.assertGreater(beside["free.readwhilewriting.written_beside"], 0)
        # Half of the rate, within a tenth of a second and what the first quantum adds.
        self.assertLess(beside["equal.readwhilewriting.writes"], 0.7 * beside["free.readwhilewriting.writes"])
        self.assertEqual(results["scale"]["kvring"]["ten.fillrandom.operations"], 10 * (NUM // 4))
        self.assertIn("MET", done.stdout)
        self.assertIn("get: kept", done.stdout)

    @unittest.skipUnless(PEERS, "without peers in a build with sanitizers")
    def test_peers_do_the_same_work(self):
        results, done = self.run_compare("small,threads,sync,open,compacting", ["kvring"] + PEERS)
        for peer in PEERS:
            if "skipped %s" % peer in done.stderr:
                print("without %s: %s" % (peer, done.stderr.strip()))
        for engine, metrics in results["small"].items():
            with self.subTest(engine=engine):
                self.check_rates(metrics)
        for section, keys in (("threads", ("random.overwrite",)), ("sync", ("one.fillsync", "sixteen.fillsync16")),
                              ("open", ("early.open", "late.open"))):
            for key in keys:
                counts = {engine: metrics[key + ".operations"] for engine, metrics in results[section].items()}
                self.assertEqual(len(set(counts.values())), 1, (section, key, counts))
        for engine, metrics in results["compacting"].items():
            self.assertGreater(metrics["equal.readwhilewriting.p99_us"], 0, engine)
            self.assertGreater(metrics["equal.readwhilewriting.written_beside"], 0, engine)

    def test_a_missing_peer_is_named_with_its_package(self):
        results, done = self.run_compare("small", ["kvring", "rocksdb"], "--db-bench=/nowhere/db_bench")
        self.assertEqual(list(results["small"]), ["kvring"])
        self.assertIn("skipped rocksdb: no /nowhere/db_bench: install rocksdb-tools", done.stderr)

    def test_an_interrupt_removes_the_stores(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            # In a session of its own: only compare.py gets the signal, and has to end its own child.
            child = subprocess.Popen(command(self.directory, "--engines=kvring", "--num=20000000"), text=True,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
            while not glob.glob(self.directory + "/*/*/store/*"): # meson's timeout ends this
                self.assertIsNone(child.poll(), "it ended by itself")
                time.sleep(0.01)
            child.send_signal(number)
            errors = child.communicate()[1]
            self.assertNotEqual(child.returncode, 0)
            self.assertIn("interrupted", errors)
            self.assertEqual(os.listdir(self.directory), [])
            self.assertEqual(self.users_of(self.directory), [])

    @staticmethod
    def users_of(directory):
        found = []
        for name in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(name, errors="replace") as text:
                    if directory in text.read():
                        found.append(name)
            except OSError:
                pass # it has ended meanwhile
        return found


if __name__ == "__main__":
    unittest.main()
