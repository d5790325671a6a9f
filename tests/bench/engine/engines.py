# SPDX-License-Identifier: Apache-2.0
"""How each engine is run: one Step is one process on one store.

What is made equal: keys and value sizes, how the values compress (db_bench: --compression_ratio=0.5), the number of
operations of all threads together, the key space, block cache, filter bits, compression, memtable bytes (of all threads
together), two background threads for merges (RocksDB and kvring flush beside one of them), and durability: the log is handed to the operating system at every write; it is synced
only in fillsync. What stays each engine's own: block size (4 KiB in RocksDB, LevelDB and kvring), the shape of the
tree, and that RocksDB keeps indexes and filters outside of its cache while kvring pays them from it.

kvengine and peer_bench compare each value they read with what was written; db_bench cannot.
"""
import collections
import json
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

KEY_BYTES = 16
FILLS = ("fillseq", "fillrandom", "overwrite", "fillsync", "fillsync16")

# One process. writes and reads are of all threads together. keep: the store is there already. seed: another one for each
# process, or db_bench would read the keys in the very order in which it wrote them. tag: to the group's name in the results.
Step = collections.namedtuple("Step", "workloads num reads writes value_bytes cache_mb buffer_mb threads keep seconds "
                              "write_rate seed tag", defaults=(1, False, 0, 0, 1, ""))


class Failed(Exception):
    """A benchmark process failed; the text says which and why."""


def measure(command):
    """Runs it; its output, and what the kernel counted. Its process group ends with it, whatever happens."""
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        except OSError as error:
            raise Failed("cannot run %s: %s" % (command[0], error.strerror)) from error
        try:
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        out.seek(0)
        err.seek(0)
        output = out.read()
        if child.returncode:
            raise Failed("status %d of: %s\n%s%s" % (child.returncode, " ".join(command), output[-2000:],
                                                     err.read()[-2000:]))
    return output, {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.monotonic() - begin,
        "written_mb": usage.ru_oublock * 512 / 1e6,
        "rss_mb": usage.ru_maxrss * 1024 / 1e6,
    }


def parse_json(output):
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    for row in rows:
        if row.get("operations") and "found" in row:
            row["found_share"] = row["found"] / row["operations"]
    return rows


class Engine:
    """A name, whether it can run, and how."""

    # Rough operations per second of the small section on two cores, for the estimate of the time and for nothing else.
    RATES = {}

    def __init__(self, options):
        self.options = options

    def missing(self):
        """Why it cannot run, and what to do; or None."""
        raise NotImplementedError

    def run(self, step, directory):
        """The rows of its workloads, and what the kernel counted."""
        output, usage = measure(self.command(step, directory))
        return parse_json(output), usage

    def command(self, step, directory):
        raise NotImplementedError

    def estimate(self, step):
        seconds = 0.3 + step.seconds
        slower = 1 + step.value_bytes / 512
        for workload in step.workloads:
            if workload != "readwhilewriting":
                operations = step.writes if workload in FILLS or workload == "open" else step.reads
                seconds += operations / self.RATES.get(workload, self.RATES["other"]) * slower
        return seconds


class Kvring(Engine):
    name = "kvring"
    RATES = {"fillseq": 5e5, "fillrandom": 4.5e5, "overwrite": 4e5, "readmissing": 1.5e6, "readhot": 7e5,
             "seekrandom": 9e4, "scanrandom": 5e4, "fillsync": 2e3, "fillsync16": 1e4, "open": 4.5e5, "settle": 1e6, "other": 3e5}

    def missing(self):
        if not os.access(self.options.kvengine, os.X_OK):
            return "no %s: build it (ninja -C build), or name it with --kvengine" % self.options.kvengine
        return None

    def command(self, step, directory):
        # Shards are its threads: one owner each, which reads and writes the keys of its own shard.
        command = [self.options.kvengine, "bench", directory, "--json", "--workloads=" + ",".join(step.workloads),
                   "--num=%d" % step.num, "--reads=%d" % step.reads, "--writes=%d" % step.writes,
                   "--value-bytes=%d" % step.value_bytes, "--cache-mb=%d" % step.cache_mb,
                   "--memtable-mb=%d" % max(1, step.buffer_mb // step.threads), "--shards=%d" % step.threads,
                   "--compression=" + self.options.compression, "--job-threads=1", "--filter-bits=10",
                   "--seed=%d" % step.seed]
        command += ["--keep"] * step.keep
        if step.seconds:
            command += ["--duration=%d" % step.seconds, "--write-rate=%d" % step.write_rate]
        return command + self.options.kvengine_arg


class DbBench(Engine):
    """RocksDB by its own db_bench, with its defaults but for what is made equal."""
    name = "rocksdb"
    RATES = {"fillseq": 3.3e5, "fillrandom": 1.5e5, "overwrite": 1.5e5, "readmissing": 2.5e5, "readhot": 2.4e5,
             "seekrandom": 6e4, "scanrandom": 5e4, "fillsync": 2e3, "fillsync16": 8e3, "settle": 1e9, "other": 1.2e5}
    WAIT_SECONDS = 6  # waitforcompaction begins with a sleep of five

    @staticmethod
    def may_merge(step):
        """Whether there can be something to wait for: what fits a memtable becomes one file."""
        user_bytes = sum(workload in FILLS for workload in step.workloads) * step.writes * (KEY_BYTES + step.value_bytes)
        return user_bytes >= step.buffer_mb << 19

    def missing(self):
        if not shutil.which(self.options.db_bench):
            return "no %s: install rocksdb-tools, or name another with --db-bench" % self.options.db_bench
        return None

    def estimate(self, step):
        return super().estimate(step) + self.WAIT_SECONDS * ("settle" in step.workloads and self.may_merge(step))

    def command(self, step, directory):
        names, threads, extra = [], step.threads, ["--sync=0"]
        for workload in step.workloads:
            if workload == "settle":
                names += ["flush", "waitforcompaction"] if self.may_merge(step) else ["flush"]
            elif workload == "readhot":
                names.append("readrandom")
                extra.append("--read_random_exp_range=%f" % math.log(step.num))
            elif workload == "scanrandom":
                names.append("seekrandom")
                extra.append("--seek_nexts=10")
            elif workload.startswith("fillsync"):
                names.append("fillrandom")
                threads = int(workload[len("fillsync"):] or 1)
                extra[0] = "--sync=1"
            elif workload == "readwhilewriting":
                names += [workload, "stats"]
                extra += ["--histogram=1", "--duration=%d" % step.seconds,
                          "--benchmark_write_rate_limit=%d" % step.write_rate]
            else:
                names.append(workload)
        # --num is the key space; --reads and --writes count for each thread.
        return [self.options.db_bench, "--db=" + directory, "--benchmarks=" + ",".join(names), "--num=%d" % step.num,
                "--reads=%d" % (step.reads // threads), "--writes=%d" % (step.writes // threads),
                "--threads=%d" % threads, "--key_size=%d" % KEY_BYTES, "--value_size=%d" % step.value_bytes,
                "--compression_type=" + self.options.compression, "--compression_ratio=0.5", "--bloom_bits=10",
                "--cache_size=%d" % (step.cache_mb << 20), "--write_buffer_size=%d" % (step.buffer_mb << 20),
                "--max_background_jobs=2", "--use_existing_db=%d" % step.keep, "--seed=%d" % step.seed] + extra

    def run(self, step, directory):
        output, usage = measure(self.command(step, directory))
        rows = [self.parse_row(match, output) for match in self.ROW.finditer(output)]
        asked = [workload for workload in step.workloads if workload != "settle"]
        if len(rows) != len(asked):
            raise Failed("db_bench printed %d results for %s:\n%s" % (len(rows), ",".join(asked), output[-2000:]))
        for row, workload in zip(rows, asked):
            row["workload"] = workload
            if workload == "readwhilewriting":
                row["written_beside"] = self.writes_of(output)
                row["merged_here"] = self.merged_bytes(directory)
        return rows, usage

    ROW = re.compile(r"^\w+\s+:\s+[\d.]+ micros/op (\d+) ops/sec ([\d.]+) seconds (\d+) operations;(.*)$", re.M)
    HISTOGRAM = re.compile(r"Microseconds per (?:read|write):.*?P50: ([\d.]+) .*?P99: ([\d.]+) P99.9: ([\d.]+) ", re.S)

    def parse_row(self, match, output):
        row = {"ops_per_second": float(match[1]), "seconds": float(match[2]), "operations": int(match[3])}
        found = re.search(r"\((\d+) of (\d+) found\)", match[4])  # of the first thread, when there are several
        if found and int(found[2]):
            row["found_share"] = int(found[1]) / int(found[2])
        histogram = self.HISTOGRAM.search(output, match.end())
        if histogram:
            row.update(zip(("p50_us", "p99_us", "p999_us"), map(float, histogram.groups())))
        return row

    @staticmethod
    def writes_of(output):
        match = re.search(r"Cumulative writes: (\d+)([KMG]?) writes", output)
        if not match:
            raise Failed("db_bench's stats do not say how many writes there were")
        return int(match[1]) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[match[2]]

    @staticmethod
    def merged_bytes(directory):
        """What compactions wrote in the last process, from RocksDB's own log."""
        total = 0
        with open(os.path.join(directory, "LOG"), errors="replace") as log:
            for line in log:
                if "EVENT_LOG_v1" in line and "compaction_finished" in line:
                    total += json.loads(line[line.index("{"):])["total_output_size"]
        return total

    def describe(self):
        output = subprocess.run([self.options.db_bench, "--version"], capture_output=True, text=True, check=False)
        return output.stdout.strip() or output.stderr.strip()

    def has_assertions(self):
        """Debian's has: the goals are stated for it."""
        with tempfile.TemporaryDirectory() as directory:
            output = subprocess.run([self.options.db_bench, "--db=" + directory, "--num=1", "--benchmarks=fillseq"],
                                    capture_output=True, text=True, check=False)
        return "Assertions are enabled" in output.stdout + output.stderr


class Peer(Engine):
    """An engine through its library, in peer_bench."""
    PACKAGE = ""

    def missing(self):
        try:
            known = subprocess.run([self.options.peer_bench, "--peers"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return "no %s: build it (ninja -C build), or name it with --peer-bench" % self.options.peer_bench
        if self.name not in known.stdout.split():
            return "not in peer_bench: install %s, then meson setup --reconfigure build && ninja -C build" % self.PACKAGE
        return None

    def command(self, step, directory):
        # It cannot wait for a background: LMDB has none, LevelDB's cannot be asked.
        workloads = [workload for workload in step.workloads if workload != "settle"]
        return [self.options.peer_bench, self.name, directory, ",".join(workloads), "--num=%d" % step.num,
                "--reads=%d" % step.reads, "--writes=%d" % step.writes, "--value-bytes=%d" % step.value_bytes,
                "--cache-mb=%d" % step.cache_mb, "--buffer-mb=%d" % step.buffer_mb, "--seed=%d" % step.seed]


class LevelDb(Peer):
    name = "leveldb"
    PACKAGE = "libleveldb-dev"
    RATES = {"fillseq": 5e5, "fillrandom": 2e5, "overwrite": 2e5, "readmissing": 4e5, "readhot": 2.5e5,
             "seekrandom": 1e5, "scanrandom": 7e4, "fillsync": 2e3, "fillsync16": 8e3, "open": 2e5, "settle": 1e9, "other": 1e5}


class Lmdb(Peer):
    name = "lmdb"
    PACKAGE = "liblmdb-dev"
    RATES = {"fillseq": 2e5, "fillrandom": 1.1e5, "overwrite": 1.1e5, "fillsync": 2e3, "fillsync16": 1e3,
             "open": 1.1e5, "settle": 1e9, "other": 6e5}


class RocksDb(Peer):
    """RocksDB by its library: for what db_bench cannot do. Never db_bench's other build."""
    name = "rocksdb"
    PACKAGE = "librocksdb-dev"
    RATES = {"open": 1.5e5, "settle": 1e9, "other": 1.2e5}


def disk_mb(directory):
    """What its files take on the disk."""
    return sum(os.lstat(os.path.join(at, name)).st_blocks * 512
               for at, _, names in os.walk(directory) for name in names) / 1e6
