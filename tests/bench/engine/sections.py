# SPDX-License-Identifier: Apache-2.0
"""What is measured: sections of groups of steps, and the rows of the table with the goals that they have to reach.

A group begins with an empty store of its own. Each row of a table is one number per engine and run.
"""
import collections

from engines import FILLS, KEY_BYTES, Step

# unit: ops/s, us, ms, mb, ratio. goals: (peer or None, ">=" or "<=", bound): the ratio of kvring's number to the peer's,
# or kvring's number itself.
Row = collections.namedtuple("Row", "label key unit goals", defaults=((),))
Group = collections.namedtuple("Group", "name steps")

READS = ("readrandom", "readmissing", "readhot")
WRITES = ("fillrandom", "overwrite")
SEEKS = ("seekrandom", "scanrandom")  # the latter takes ten steps from there
# Stated as ratios to Debian's db_bench, which has its assertions on and was measured at 0.66 of a release build in writes
# and 0.9 in reads: beside a release build the same goals are smaller by that.
ROCKSDB_GOALS = {"fillseq": 1.2, "seekrandom": 1.2, **dict.fromkeys(WRITES, 3.0), **dict.fromkeys(READS, 2.2)}
RELEASE = {**dict.fromkeys(("fillseq",) + WRITES, 0.66), **dict.fromkeys(("seekrandom",) + READS, 0.9)}
LMDB_GOALS = {**dict.fromkeys(("fillseq",) + WRITES, 5.0), **dict.fromkeys(READS, 0.5)}


class Section:
    """One table. engines: the classes' names; runs: at most so many."""
    name = title = ""
    engines = ("kvring", "rocksdb")
    runs = 1000
    notes = ()

    def __init__(self, options):
        self.options = options

    def groups(self):
        raise NotImplementedError

    def rows(self, has_assertions):
        raise NotImplementedError

    def before(self, group, results):
        """The group as it is to run now, knowing what was measured so far."""
        return group

    def derive(self, metrics):
        """Adds to the metrics of one engine and run what follows from them."""
        for key in [key for key in metrics if key.endswith(".user_mb") and metrics[key]]:
            group = key[:-len(".user_mb")]
            metrics[group + ".amplification"] = metrics[group + ".written_mb"] / metrics[key]

    def problems(self, results):
        """What makes the table not what it says; results: engine -> list of metrics."""
        del results
        return []

    def goals_void(self, results):
        """Whether the section failed to make the conditions under which its goals are stated."""
        del results
        return False


def collect(metrics, group, step, rows, usage):
    """Adds the results of a step to the metrics of the group."""
    user_bytes = 0
    for row in rows:
        for key, value in row.items():
            if key != "workload":
                metrics["%s%s.%s.%s" % (group.name, step.tag, row["workload"], key)] = value
        writes = row["operations"] if row["workload"] in FILLS else row.get("written_beside", 0)
        user_bytes += writes * (KEY_BYTES + step.value_bytes)
    totals = {"user_mb": user_bytes / 1e6, "written_mb": usage["written_mb"], "cpu_s": usage["cpu_s"]}
    for key, value in totals.items():
        key = "%s.%s" % (group.name, key)
        metrics[key] = metrics.get(key, 0) + value
    key = group.name + ".rss_mb"
    metrics[key] = max(metrics.get(key, 0), usage["rss_mb"])


class Rates(Section):
    """The usual workloads: fillseq alone, then a random store from beginning to end."""
    threads, cache_mb, buffer_mb, value_bytes = 1, 256, 64, 128
    fewer, fewer_reads = 1, 1

    def groups(self):
        num, reads = max(1, self.options.num // self.fewer), max(1, self.options.reads // self.fewer_reads)
        base = Step([], num, reads, num, self.value_bytes, self.cache(num), self.buffer_mb, self.threads)
        groups = []
        if self.threads == 1:  # db_bench's threads would all write the same keys in order
            groups.append(Group("in_order", [base._replace(workloads=["fillseq"])]))
        # Flushed and at rest before space is measured and the hot set is read. The hot set is read twice and the second
        # time counts: it is about what is in the cache. (db_bench needs a process of its own for it, so all get one.)
        groups.append(Group("random", [
            base._replace(workloads=["fillrandom", "overwrite", "readrandom", "readmissing", "seekrandom", "settle"]),
            base._replace(workloads=["scanrandom"], keep=True),
            base._replace(workloads=["readhot", "readhot"], keep=True)]))
        return groups

    def cache(self, num):
        del num
        return self.cache_mb

    def rows(self, has_assertions):
        rows = []
        for group, names in (("in_order", ("fillseq",)), ("random", WRITES + READS + SEEKS)):
            if group == "in_order" and self.threads > 1:
                continue
            for name in names:
                goals = []
                if name in ROCKSDB_GOALS:
                    goals.append(("rocksdb", ">=", ROCKSDB_GOALS[name] * (1 if has_assertions else RELEASE[name])))
                if name in LMDB_GOALS and "lmdb" in self.engines:
                    goals.append(("lmdb", ">=", LMDB_GOALS[name]))
                rows.append(Row(name, "%s.%s.ops_per_second" % (group, name), "ops/s", tuple(goals)))
        return rows + [
            Row("fillseq: written/user", "in_order.amplification", "ratio"),
            Row("fillseq: space", "in_order.disk_mb", "mb"),
            Row("random: written", "random.written_mb", "mb"),
            Row("random: written/user", "random.amplification", "ratio", (("rocksdb", "<=", 0.7),)),
            Row("random: space", "random.disk_mb", "mb", (("rocksdb", "<=", 1.05),)),
            Row("random: peak memory", "random.rss_mb", "mb"),
            Row("random: processor time", "random.cpu_s", "s"),
        ]

    def problems(self, results):
        found = []
        for name, tolerance in (("readrandom", 0.02), ("readmissing", 0), ("seekrandom", 0.02), ("readhot", 0.15)):
            shares = {engine: runs[0].get("random.%s.found_share" % name) for engine, runs in results.items() if runs}
            known = [share for share in shares.values() if share is not None]
            if known and self.options.num >= 100000 and max(known) - min(known) > tolerance:
                found.append("NOT THE SAME WORK: %s found %s" % (
                    name, ", ".join("%s %.3f" % (engine, share or 0) for engine, share in shares.items())))
        for name in WRITES + READS + SEEKS:
            counts = {runs[0].get("random.%s.operations" % name) for runs in results.values() if runs}
            if len(counts) > 1:
                found.append("NOT THE SAME WORK: %s: operations %s" % (name, sorted(counts, key=str)))
        return found


class Small(Rates):
    name, title = "small", "16 + 128 bytes, 1 thread, 256 MiB cache"
    engines = ("kvring", "rocksdb", "leveldb", "lmdb")
    notes = ("LMDB's memory holds the pages of its file that it has mapped.",)


class Large(Rates):
    name, title = "large", "16 + 1024 bytes, 1 thread, 256 MiB cache"
    value_bytes, fewer, fewer_reads, runs = 1024, 2, 2, 2


class BigSet(Rates):
    name, title = "bigset", "16 + 128 bytes, 1 thread, the set 8 times the cache"
    buffer_mb, fewer_reads, runs = 32, 2, 2
    notes = ("What is not in the engine's cache is in the operating system's: both read through it.",)

    def cache(self, num):
        return max(1, round(num * (KEY_BYTES + self.value_bytes) / 8 / 2**20))


class Threads(Rates):
    name, title = "threads", "16 + 128 bytes, 2 threads, 256 MiB cache"
    threads = 2
    notes = ("The same operations in all as with one thread, over the same keys: half of them by each thread. kvring: "
             "two shards, each thread owns the keys of one, and each has half of the memtable bytes.",
             "No fillseq: the threads of db_bench would write the same keys.")


class Sync(Section):
    """A single writer, and sixteen who can share a sync."""
    name, title = "sync", "16 + 128 bytes, each write synced before it is acknowledged"
    engines = ("kvring", "rocksdb", "leveldb", "lmdb")
    notes = ("LMDB's writers take turns; the others share a sync among those that wait.",)

    def groups(self):
        num = self.options.num
        base = Step([], num, 1, max(1, num // 1000), 128, 256, 64)
        many = base._replace(workloads=["fillsync16"], writes=max(1, num // 2000) * 16)
        return [Group("one", [base._replace(workloads=["fillsync"])]), Group("sixteen", [many])]

    def rows(self, has_assertions):
        return [Row("1 writer", "one.fillsync.ops_per_second", "ops/s"),
                Row("16 writers", "sixteen.fillsync16.ops_per_second", "ops/s"),
                Row("1 writer: written/user", "one.amplification", "ratio"),
                Row("16 writers: written/user", "sixteen.amplification", "ratio"),
                Row("16 writers: space", "sixteen.disk_mb", "mb"),
                Row("16 writers: peak memory", "sixteen.rss_mb", "mb")]


class Open(Section):
    """Opening what kill -9 leaves; RocksDB by its library, since db_bench cannot be killed at a count."""
    name, title = "open", "open after kill -9 in the middle of a fillrandom, until a first read is answered"
    engines = ("kvring", "rocksdb", "leveldb", "lmdb")
    notes = ("RocksDB through librocksdb (peer_bench), with the settings given to db_bench.",)

    def groups(self):
        counts = (("early", self.options.num // 8), ("late", self.options.num // 2))
        return [Group(name, [Step(["open"], self.options.num, 1, max(1, count), 128, 256, 64)])
                for name, count in counts]

    def rows(self, has_assertions):
        return [Row("after %d writes" % group.steps[0].writes, group.name + ".open.milliseconds", "ms")
                for group in self.groups()]


class Compacting(Section):
    """Reads beside a writer, with a small memtable so that merges never end."""
    name, title = "compacting", "readwhilewriting, 16 + 128 bytes, 1 reader, 4 MiB memtable: latency of reads"
    notes = ("Equal rate: both write half of what the slower one wrote without a limit (in the first run). Each read is "
             "timed; db_bench has whole microseconds and interpolates in buckets half as wide as they are high.",
             "kvring's readers read through snapshots that are renewed every 256 reads, db_bench's read the newest.")
    rate = 0  # bytes per second, once it is known

    def groups(self):
        num = max(1, self.options.num // 2)
        fill = Step(["fillrandom", "settle"], num, 1, num, 128, 256, 4)
        beside = fill._replace(workloads=["readwhilewriting"], keep=True, seconds=self.options.seconds, reads=10**12)
        return [Group("free", [fill, beside]), Group("equal", [fill, beside])]

    def before(self, group, results):
        if group.name == "free":
            return group
        if not self.rate:
            per_second = [run["free.readwhilewriting.written_beside"] / run["free.readwhilewriting.seconds"]
                          for runs in results.values() for run in runs[:1]]
            self.rate = max(1, int(min(per_second) / 2)) * (KEY_BYTES + 128)
        steps = group.steps[:-1] + [group.steps[-1]._replace(write_rate=self.rate)]
        return group._replace(steps=steps)

    def derive(self, metrics):
        super().derive(metrics)
        for group in ("free", "equal"):
            base = group + ".readwhilewriting."
            if base + "seconds" in metrics:
                metrics[base + "writes"] = metrics[base + "written_beside"] / metrics[base + "seconds"]
                metrics[base + "merged_mb"] = metrics[base + "merged_here"] / 1e6

    def rows(self, has_assertions):
        rows = []
        for group, label in (("free", "no limit"), ("equal", "equal rate")):
            base, goal = group + ".readwhilewriting.", (("rocksdb", "<=", 1.0),) if group == "equal" else ()
            rows += [Row(label + ": p50", base + "p50_us", "us"), Row(label + ": p99", base + "p99_us", "us", goal),
                     Row(label + ": p99.9", base + "p999_us", "us"),
                     Row(label + ": reads", base + "ops_per_second", "ops/s"),
                     Row(label + ": writes beside", base + "writes", "ops/s"),
                     Row(label + ": merged meanwhile", base + "merged_mb", "mb"),
                     Row(label + ": written/user", group + ".amplification", "ratio"),
                     Row(label + ": peak memory", group + ".rss_mb", "mb")]
        return rows

    @staticmethod
    def idle(results):
        return sorted({engine for engine, runs in results.items() for run in runs
                       if not run.get("equal.readwhilewriting.merged_here")})

    def problems(self, results):
        idle = self.idle(results)
        return ["NOTHING WAS MERGED during a run of %s: raise --num or --seconds" % ", ".join(idle)] if idle else []

    def goals_void(self, results):
        return bool(self.idle(results))


class Scale(Section):
    """Point operations on the same working set, in a store and in one of ten times the keys."""
    name, title = "scale", "10 times the keys, the same working set"
    runs = 2
    notes = ("The working set is the first keys in order, a tenth of the smaller store: it fits the cache in either. (Keys "
             "taken from everywhere would each bring a block of their own and not fit.) Gets: the second round, with the "
             "cache warm. Puts: over the working set, which has the goal, and over all keys, for comparison.",)

    def groups(self):
        groups = []
        for name, num in (("n", self.options.num // 4), ("ten", self.options.num // 4 * 10)):
            num = max(10, num)
            # A memtable of 8 MiB: puts to the working set are flushed and merged all the time.
            fill = Step(["fillrandom", "settle"], num, 1, num, 128, 256, 8)
            hot = max(1, self.options.num // 40)
            writes = max(1, self.options.num // 4)
            point = fill._replace(workloads=["readrandom", "readrandom", "overwrite"], num=hot, reads=self.options.reads,
                                  writes=writes, keep=True)
            anywhere = fill._replace(workloads=["overwrite"], writes=writes, keep=True, tag="_all")
            groups.append(Group(name, [fill, point, anywhere]))
        return groups

    ROWS = (("get", ".readrandom"), ("put", ".overwrite"), ("put anywhere", "_all.overwrite"))

    def derive(self, metrics):
        super().derive(metrics)
        for label, key in self.ROWS:
            one, ten = (metrics.get(name + key + ".ops_per_second") for name in ("n", "ten"))
            if one and ten:
                metrics[label + ".kept"] = ten / one

    def rows(self, has_assertions):
        rows = []
        for label, key in self.ROWS:
            goal = () if "anywhere" in label else ((None, ">=", 0.7),)
            rows += [Row(label + ", %d keys" % (self.options.num // 4), "n" + key + ".ops_per_second", "ops/s"),
                     Row(label + ", 10 times that", "ten" + key + ".ops_per_second", "ops/s"),
                     Row(label + ": kept", label + ".kept", "share", goal)]
        for group, label in (("n", "%d keys" % (self.options.num // 4)), ("ten", "10 times that")):
            rows += [Row(label + ": written/user", group + ".amplification", "ratio"),
                     Row(label + ": space", group + ".disk_mb", "mb"),
                     Row(label + ": peak memory", group + ".rss_mb", "mb")]
        return rows


ALL = {section.name: section for section in (Small, Large, BigSet, Threads, Sync, Open, Compacting, Scale)}
