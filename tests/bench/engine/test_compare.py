# SPDX-License-Identifier: Apache-2.0
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
import types
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sections
import table

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

    def run_compare(self, wanted, names, *more, status=0):
        """The results of the sections, and what was printed."""
        files = {kind: os.path.join(self.scratch.name, "result." + kind) for kind in ("json", "markdown")}
        done = subprocess.run(command(self.directory, "--num=%d" % NUM, "--reads=%d" % READS, "--seconds=%d" % SECONDS,
                                      "--runs=1", "--sections=" + wanted, "--engines=" + ",".join(names),
                                      "--json=" + files["json"], "--markdown=" + files["markdown"], *more),
                              capture_output=True, text=True, timeout=240, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        with open(files["json"]) as result, open(files["markdown"]) as markdown:
            tables = markdown.read()
            results = json.load(result)["sections"]
        for section in results:
            self.assertIn("### %s: " % section, tables)
        return {section: {engine: runs[0] for engine, runs in by.items()} for section, by in results.items()}, done

    def check_rates(self, metrics, reads=READS):
        for name in ("random.fillrandom", "random.overwrite"):
            self.assertEqual(metrics[name + ".operations"], NUM, name)
        for name, share in (("readrandom", 0.865), ("seekrandom", 0.865), ("scanrandom", 0.865), ("readmissing", 0)):
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
        self.assertRegex(done.stdout, r"get: kept +share .*>= 0.70: (MET|MISSED)")

    @unittest.skipUnless(PEERS, "without peers in a build with sanitizers")
    def test_peers_do_the_same_work(self):
        results, done = self.run_compare("small,threads,sync,open,compacting", ["kvring"] + PEERS)
        for peer in PEERS:
            if "skipped %s" % peer in done.stderr:
                print("without %s: %s" % (peer, done.stderr.strip()))
        if "rocksdb" in results["small"]:
            self.assertRegex(done.stdout, r"overwrite +ops/s .* rocksdb >= .*: (MET|MISSED)")
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

    def test_a_peer_that_fails_is_left_out(self):
        fake = os.path.join(self.scratch.name, "db_bench")
        with open(fake, "w") as script:
            script.write("#!/bin/sh\ncase $* in *readmissing*) echo out of luck >&2; exit 3;; esac\n"
                         "echo 'fillseq : 1.0 micros/op 1000 ops/sec 1.0 seconds 2000 operations; 1 MB/s'\n")
        os.chmod(fake, 0o755)
        results, done = self.run_compare("small", ["kvring", "rocksdb"], "--db-bench=" + fake, status=1)
        self.assertEqual(list(results["small"]), ["kvring"])
        self.check_rates(results["small"]["kvring"])
        self.assertIn("rocksdb FAILED and is left out: status 3", done.stderr)
        self.assertIn("out of luck", done.stderr)
        self.assertIn("failed: rocksdb in small", done.stderr)

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


class Values(unittest.TestCase):
    """A benchmark that read wrong bytes would measure nothing: whoever reads compares."""

    def check(self, fill, read):
        done = subprocess.run(fill, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = subprocess.run(read, capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn("written", done.stderr)

    def test_kvengine_refuses_another_value(self):
        for workload in ("readrandom", "readhot", "seekrandom", "scanrandom", "readwhilewriting"):
            with tempfile.TemporaryDirectory() as directory:
                base = [os.environ["KVENGINE"], "bench", directory, "--num=1000", "--seed=1", "--keep"]
                # One byte more, so that the values are others.
                self.check(base + ["--workloads=fillrandom"], base + ["--workloads=" + workload, "--value-bytes=129"])

    @unittest.skipUnless(PEERS, "without peers in a build with sanitizers")
    def test_peers_refuse_another_value(self):
        peers = subprocess.run([os.environ["PEER_BENCH"], "--peers"], capture_output=True, text=True, check=True)
        for peer in peers.stdout.split():
            for workload in ("readrandom", "seekrandom", "scanrandom"):
                with tempfile.TemporaryDirectory() as directory:
                    base = [os.environ["PEER_BENCH"], peer, directory]
                    self.check(base + ["fillrandom", "--num=1000"],
                               base + [workload, "--num=1000", "--value-bytes=129"])


class Verdicts(unittest.TestCase):
    OPTIONS = types.SimpleNamespace(num=200000, reads=1000, seconds=1)

    def small(self, has_assertions=True, **own):
        """The table of kvring at 3 times, then as told, beside a RocksDB of 100 in everything."""
        rates = {"random.%s.ops_per_second" % name: 100 for name in sections.ROCKSDB_GOALS if name != "fillseq"}
        rates.update({"random.amplification": 4.0, "random.disk_mb": 100, "random.readrandom.found_share": 0.86})
        ours = {key: value * 3 if "ops" in key else value for key, value in rates.items()}
        ours.update({"random." + key.replace("__", "."): value for key, value in own.items()})
        results = {"kvring": [dict(ours) for _ in range(3)], "rocksdb": [dict(rates) for _ in range(3)]}
        return table.Table(sections.Small(self.OPTIONS), results, has_assertions)

    @staticmethod
    def met(it):
        return {label.split(": ", 1)[1]: met for label, _, met in it.verdicts}

    def test_a_goal_is_met_at_its_bound_and_missed_below(self):
        verdicts = self.met(self.small(fillrandom__ops_per_second=300, overwrite__ops_per_second=299,
                                       amplification=2.8, disk_mb=106))
        self.assertEqual((verdicts["fillrandom"], verdicts["overwrite"]), (True, False))
        self.assertEqual((verdicts["random: written/user"], verdicts["random: space"]), (True, False))

    def test_goals_beside_a_release_build_are_smaller(self):
        verdicts = self.met(self.small(False, fillrandom__ops_per_second=200, overwrite__ops_per_second=197))
        self.assertEqual((verdicts["fillrandom"], verdicts["overwrite"]), (True, False))

    def test_different_work_is_said(self):
        self.assertEqual(self.small().problems, [])
        self.assertIn("NOT THE SAME WORK: readrandom", self.small(readrandom__found_share=0.63).text())

    def test_latency_without_merges_is_not_valid(self):
        for merged, expected in ((10, True), (0, None)):
            run = {"equal.readwhilewriting.p99_us": 5, "equal.readwhilewriting.merged_here": merged}
            it = table.Table(sections.Compacting(self.OPTIONS), {"kvring": [run], "rocksdb": [dict(run)]}, True)
            self.assertEqual([met for _, _, met in it.verdicts], [expected])

    def test_medians_and_ranges(self):
        self.assertEqual(table.cell([300000, 100000, 120000], "ops/s"), "120k (100k..300k)")
        self.assertEqual(table.cell([1.234], "us"), "1.23")
        self.assertEqual(table.cell([], "us"), "-")


if __name__ == "__main__":
    unittest.main()
