#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the engine beside RocksDB (db_bench), LevelDB and LMDB and prints tables of medians, ratios and goals.

    apt install rocksdb-tools librocksdb-dev libleveldb-dev liblmdb-dev
    meson setup build && ninja -C build && tests/bench/engine/compare.py --directory DIR

prints all of it; DIR is on the disk that is to be measured. Who is not installed is left out. What is made equal is said in
engines.py, what is measured in sections.py. The engines take turns within each run. Bytes written are those the kernel
counted for the process, space is what the files take on the disk at the end, ratios are kvring's number divided by the
peer's: more is better for ops/s, less for all else. Nothing else should run meanwhile. An engine that fails is left out of
the section, and the exit status is 1.
"""
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # of the three below, beside them in the source
import engines
import sections
import table

ENGINES = {"kvring": engines.Kvring, "rocksdb": engines.DbBench, "leveldb": engines.LevelDb, "lmdb": engines.Lmdb}


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../build")
    parser.add_argument("--directory", required=True, help="where to make the stores; they are removed again")
    parser.add_argument("--sections", default=",".join(sections.ALL), help="(default: %(default)s)")
    parser.add_argument("--engines", default=",".join(ENGINES), help="(default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="(default: %(default)s; large, bigset and scale: at most 2)")
    parser.add_argument("--num", type=int, default=2000000,
                        help="keys of the small section; the others follow it (default: %(default)s)")
    parser.add_argument("--reads", type=int, default=500000, help="per workload (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="of each readwhilewriting (default: %(default)s)")
    parser.add_argument("--compression", default="none", choices=["none", "lz4", "zstd"],
                        help="of kvring and rocksdb (default: %(default)s)")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables there as well")
    parser.add_argument("--json", metavar="FILE", help="write every number of every run there")
    parser.add_argument("--kvengine", default=os.path.normpath(os.path.join(build, "tools/kvengine/kvengine")))
    parser.add_argument("--peer-bench", default=os.path.normpath(os.path.join(build, "tests/bench/engine/peer_bench")))
    parser.add_argument("--db-bench", default="db_bench", help="path of another db_bench")
    parser.add_argument("--kvengine-arg", action="append", default=[], help="passed on to kvengine bench")
    options = parser.parse_args()
    for name, known in (("sections", sections.ALL), ("engines", ENGINES)):
        chosen = getattr(options, name).split(",")
        for item in chosen:
            if item not in known:
                parser.error("--%s: no '%s'; there are: %s" % (name, item, ",".join(known)))
        setattr(options, name, chosen)
    if min(options.runs, options.num, options.reads, options.seconds) < 1:
        parser.error("--runs, --num, --reads and --seconds must be at least 1")
    if not os.path.isdir(options.directory):
        parser.error("--directory %s: no such directory" % options.directory)
    return options


def choose_engines(options, section, said):
    """Those that the section compares and that can run, with a line for each that cannot: once, said remembers it."""
    chosen = {}
    for name in section.engines:
        if name not in options.engines:
            continue
        kind = engines.RocksDb if section.name == "open" and name == "rocksdb" else ENGINES[name]
        engine = kind(options)
        reason = engine.missing()
        if not reason:
            chosen[name] = engine
        elif reason not in said:
            said.add(reason)
            print("%s: skipped %s: %s" % (section.name, name, reason), file=sys.stderr)
    return chosen


def seconds_of(options, section, chosen):
    runs = min(options.runs, section.runs)
    return runs * sum(engine.estimate(step) for engine in chosen.values() for group in section.groups()
                      for step in group.steps)


def space_mb(section):
    """Of its largest store, with the space that a merge needs for a while."""
    return max(3 * step.num * (engines.KEY_BYTES + step.value_bytes)
               for group in section.groups() for step in group.steps) / 1e6 + 200


def run_group(engine, group, run, scratch):
    """One engine, one group, once: its metrics."""
    directory = tempfile.mkdtemp(prefix=engine.name + "-", dir=scratch)
    metrics = {}
    try:
        for number, step in enumerate(group.steps):
            rows, usage = engine.run(step._replace(seed=1 + 100 * run + number), directory)
            sections.collect(metrics, group, step, rows, usage)
        metrics[group.name + ".disk_mb"] = engines.disk_mb(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return metrics


def run_section(options, section, chosen, scratch, failures):
    """Engine -> list of metrics, one per run. One that fails is left out of the section; failures takes its name."""
    results = {name: [] for name in chosen}
    for run in range(min(options.runs, section.runs)):
        for runs in results.values():
            runs.append({})
        for group in section.groups():
            for name in list(results):
                begin = time.monotonic()
                try:
                    metrics = run_group(chosen[name], section.before(group, results), run, scratch)
                except engines.Failed as error:
                    failures.append("%s in %s" % (name, section.name))
                    print("  %s, run %d, %s: %s FAILED and is left out: %s" % (section.name, run + 1, group.name, name,
                                                                              error), file=sys.stderr)
                    del results[name]
                    continue
                print("  %s, run %d, %s: %s in %.0f s" % (section.name, run + 1, group.name, name,
                                                         time.monotonic() - begin), file=sys.stderr)
                results[name][-1].update(metrics)
        for runs in results.values():
            section.derive(runs[-1])
    return results


def keep(options, head, tables, raw):
    """After each section, so that what was measured is not lost."""
    if options.markdown:
        with open(options.markdown, "w") as out:
            print("\n".join(head) + "\n", file=out)
            for it in tables:
                print(it.markdown(), file=out)
            print(table.summary(tables).replace("\n  ", "\n* "), file=out)
    if options.json:
        verdicts = [{"what": label, "result": text, "met": met} for it in tables for label, text, met in it.verdicts]
        with open(options.json, "w") as out:
            json.dump({"head": head, "options": vars(options), "sections": raw, "goals": verdicts}, out, indent=1)


def describe(options, plan):
    """What is measured with what; and whether db_bench has its assertions on."""
    head = ["command: " + " ".join(sys.argv), "date: " + time.strftime("%Y-%m-%d %H:%M"),
            "machine: Linux %s, %d processors, load before: %.2f%s" % (
                os.uname().release, os.cpu_count(), os.getloadavg()[0],
                "" if os.getloadavg()[0] < 0.5 else " (NOT QUIET: what is measured is not the engines alone)"),
            "%d keys, %d reads, compression %s, %d runs at most" % (options.num, options.reads, options.compression,
                                                                   options.runs)]
    has_assertions = True
    db_bench = next((chosen["rocksdb"] for _, chosen in plan if isinstance(chosen.get("rocksdb"), engines.DbBench)), None)
    if db_bench:
        has_assertions = db_bench.has_assertions()
        head.append("rocksdb: %s (%s)" % (db_bench.describe(),
                                          "assertions on, as Debian's: goals as stated" if has_assertions else
                                          "a release build: goals times 0.66 for writes, 0.9 for reads"))
    return head, has_assertions


def make_plan(options):
    plan, said = [], set()
    for name in options.sections:
        section = sections.ALL[name](options)
        chosen = choose_engines(options, section, said)
        if "kvring" in options.engines and "kvring" not in chosen:
            sys.exit("compare.py: " + engines.Kvring(options).missing())
        if chosen:
            plan.append((section, chosen))
    need = max((space_mb(section) for section, _ in plan), default=0)
    free = shutil.disk_usage(options.directory).free / 1e6
    if free < need:
        sys.exit("compare.py: %s has %.0f MB free, %.0f MB are needed: name another --directory, or fewer --num" %
                 (options.directory, free, need))
    return plan


def run_plan(options, plan, scratch):
    head, has_assertions = describe(options, plan)
    tables, raw, failures = [], {}, []
    print("\n".join(head))
    total = sum(seconds_of(options, *item) for item in plan)
    print("estimate: " + ", ".join("%s %.1f" % (section.name, seconds_of(options, section, chosen) / 60)
                                   for section, chosen in plan) + ": %.0f minutes" % (total / 60), flush=True)
    for section, chosen in plan:
        results = run_section(options, section, chosen, scratch, failures)
        tables.append(table.Table(section, results, has_assertions))
        raw[section.name] = results
        print("\n" + tables[-1].text(), flush=True)
        keep(options, head, tables, raw)
    print("\n" + table.summary(tables))
    if failures:
        sys.exit("compare.py: failed: " + ", ".join(failures))


def interrupt(signum, frame):
    raise KeyboardInterrupt


def main():
    options = parse_options()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    scratch = None
    try:
        plan = make_plan(options)
        scratch = tempfile.mkdtemp(prefix="kvring-bench-", dir=options.directory)
        run_plan(options, plan, scratch)
    except KeyboardInterrupt:
        sys.exit("compare.py: interrupted; the stores are removed")
    finally:
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
