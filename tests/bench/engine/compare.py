#!/usr/bin/env python3
"""Runs kvengine bench beside db_bench (RocksDB), LevelDB and LMDB, alternating, and prints medians and ratios.

Same keys, value sizes, cache, filter bits, write buffer, compression and durability (none: the log is handed to the
operating system at every write; nothing is synced). Bytes written are what the kernel counted for the process.
"""
import argparse
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

GROUPS = [["fillseq"], ["fillrandom", "overwrite", "readrandom", "readmissing", "readhot", "seekrandom"]]


def measure(command, parse):
    """Runs it; what parse found in its output, and what the kernel counted."""
    begin = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status:
        sys.exit("failed: %s\n%s" % (" ".join(command), output))
    return parse(output), {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.monotonic() - begin,
        "written_mb": usage.ru_oublock * 512 / 1e6,
        "rss_mb": usage.ru_maxrss / 1e3,
    }


def parse_json(output):
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {row["workload"]: row["ops_per_second"] for row in rows}


def parse_db_bench(output):
    found = {}
    for name, rate in re.findall(r"^(\w+)\s+:\s+[\d.]+ micros/op (\d+) ops/sec", output, re.M):
        found[name] = float(rate)
    return found


def disk_mb(directory):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(directory) for name in names) / 1e6


def commands(options, engine, directory, workloads):
    if engine == "kvring":
        return [[options.kvengine, "bench", directory, "--json", "--workloads", ",".join(workloads),
                 "--num", str(options.num), "--reads", str(options.reads), "--value-bytes", str(options.value_bytes),
                 "--cache-mb", str(options.cache_mb), "--memtable-mb", str(options.buffer_mb),
                 "--compression", options.compression] + options.kvengine_arg]
    if engine in ("leveldb", "lmdb"):
        return [[options.peer_bench, engine, directory, str(options.num), str(options.reads), str(options.value_bytes),
                 str(options.cache_mb), str(options.buffer_mb), ",".join(workloads)]]
    base = [options.db_bench, "--db=" + directory, "--num=%d" % options.num, "--key_size=16",
            "--value_size=%d" % options.value_bytes, "--compression_type=" + options.compression, "--bloom_bits=10",
            "--compression_ratio=0.5", "--cache_size=%d" % (options.cache_mb << 20),
            "--write_buffer_size=%d" % (options.buffer_mb << 20), "--max_background_jobs=2"]
    plain = [name for name in workloads if name != "readhot"]
    result = [base + ["--benchmarks=" + ",".join(plain), "--reads=%d" % options.reads]]
    if "readhot" in workloads:
        result.append(base + ["--benchmarks=readrandom", "--use_existing_db=1", "--reads=%d" % options.reads,
                              "--read_random_exp_range=%f" % math.log(options.num)])
    return result


def run_group(options, engine, workloads):
    directory = os.path.join(options.directory, engine)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    rates, totals = {}, {"cpu_s": 0, "written_mb": 0, "rss_mb": 0, "wall_s": 0}
    for number, command in enumerate(commands(options, engine, directory, workloads)):
        found, usage = measure(command, parse_db_bench if engine == "rocksdb" else parse_json)
        if number:
            found = {"readhot": found["readrandom"]}
        rates.update(found)
        for key, value in usage.items():
            totals[key] = max(totals[key], value) if key == "rss_mb" else totals[key] + value
    totals["disk_mb"] = disk_mb(directory)
    shutil.rmtree(directory, ignore_errors=True)
    return rates, totals


def print_table(options, rates, totals):
    engines = options.engines.split(",")
    print("\n%-22s" % "ops/s (median of %d)" % options.runs + "".join("%14s" % engine for engine in engines) +
          "".join("%14s" % ("x " + engine) for engine in engines[1:]))
    for group in GROUPS:
        for workload in group:
            row = [statistics.median(rates[engine].get(workload, [0])) for engine in engines]
            print("%-22s" % workload + "".join("%14.0f" % value for value in row) +
                  "".join("%14.2f" % (row[0] / value if value else 0) for value in row[1:]))
    for number, group in enumerate(GROUPS):
        print("whole process: " + ",".join(group))
        for key in ("wall_s", "cpu_s", "written_mb", "disk_mb", "rss_mb"):
            row = [statistics.median(run[key] for run in totals[engine][number]) for engine in engines]
            print("  %-20s" % key + "".join("%14.1f" % value for value in row) +
                  "".join("%14.2f" % (row[0] / value if value else 0) for value in row[1:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kvengine", default="build/tools/kvengine/kvengine")
    parser.add_argument("--peer-bench", default="build/tests/bench/engine/peer_bench")
    parser.add_argument("--db-bench", default="db_bench", help="path of another db_bench")
    parser.add_argument("--engines", default="kvring,rocksdb,leveldb,lmdb")
    parser.add_argument("--directory", required=True, help="for the stores; they are removed again")
    parser.add_argument("--num", type=int, default=2000000)
    parser.add_argument("--reads", type=int, default=500000)
    parser.add_argument("--value-bytes", type=int, default=128)
    parser.add_argument("--cache-mb", type=int, default=256)
    parser.add_argument("--buffer-mb", type=int, default=64)
    parser.add_argument("--compression", default="none", choices=["none", "lz4", "zstd"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kvengine-arg", action="append", default=[], help="passed on to kvengine bench")
    options = parser.parse_args()
    engines = options.engines.split(",")
    rates = {engine: {} for engine in engines}
    totals = {engine: [[] for _ in GROUPS] for engine in engines}
    for _ in range(options.runs):
        for number, group in enumerate(GROUPS):
            for engine in engines:
                found, usage = run_group(options, engine, group)
                totals[engine][number].append(usage)
                for workload, rate in found.items():
                    rates[engine].setdefault(workload, []).append(rate)
                print("%-8s %s" % (engine, "  ".join("%s %.0f" % item for item in found.items())), file=sys.stderr)
    print_table(options, rates, totals)


if __name__ == "__main__":
    main()
