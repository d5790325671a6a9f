#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the arrows between the rooms: who may include whom, and which calls stay in which folder.

    tests/arrows.py [--build BUILD] [ROOT]

Prints each wrong arrow as FILE:LINE: why, and exits with 1 when there is one. BUILD is a built meson folder: with it the
circles are checked, over the symbols that the object files define and use.

Rules:
  1. One include root: "node/object/object.h", never a path relative to the file. Every quoted include names a file of
     this tree, or one that protoc makes from a .proto beside it.
  2. A room includes only the rooms it may know, and only their public headers.
  3. node/ is three libraries (core, wire, driver) and a program; each includes itself and those before it. Core knows no
     NNG, no protobuf and no pthread.
  4. Threads, clocks and sockets stay in the files that own them.
  5. Files call each other in no circle, except inside CLASSES: one class split over several files.
"""
import argparse
import json
import os
import re
import subprocess
import sys

ROOMS = {
    "proto": set(),
    "rpc": {"proto"},
    "ring": set(),
    "engine": set(),
    "node": {"ring", "rpc", "engine", "proto"},
    "tools": {"rpc", "proto"},
    "tests": {"ring", "rpc", "engine", "proto", "node", "tools"},
}
EVERYWHERE = {"rpc/lock.h"}  # a header that knows nothing of its room
CLASSES = [  # one class split over files: the files of each may call one another
    ("engine/shard/",),
]
EXTRA = {"tools/kvengine/": {"engine"}}  # the one tool that opens a store
PUBLIC = {
    "engine": {"engine/engine.h", "engine/fs.h", "engine/inspect.h", "engine/pool.h"},
    "ring": {"ring/ring.h"},
    "rpc": {"rpc/rpc.h", "rpc/base.h", "rpc/arena.h", "rpc/budget.h", "rpc/operation_id.h"},
}
NODE_LAYERS = [
    ("core", ("node/node.", "node/data_dir.", "node/object/", "node/actor/", "node/coordinator/", "node/replica/",
              "node/membership/", "node/upkeep/")),
    ("wire", ("node/wire/",)),
    ("driver", ("node/driver/", "node/observe/")),
    ("program", ("node/kvnode/",)),
]
CORE_MAY = {"rpc/base.h", "rpc/arena.h", "rpc/budget.h", "rpc/operation_id.h", "ring/ring.h", "engine/engine.h", "engine/fs.h"}
OWNERS = {
    r"\bpthread_\w+\s*\(|<pthread\.h>|\"rpc/lock\.h\"": (
        "node/driver/", "node/observe/", "node/kvnode/", "rpc/", "tools/", "ring/ring_table.c",
        "engine/disk/trash.c", "engine/table/cache.c",  # the engine's two locks: jobs share both
        "engine/pool.c"),  # threads for callers that want some
    r"\bclock_gettime\s*\(|\bgettimeofday\s*\(|\bnanosleep\s*\(": (
        "node/driver/", "node/observe/", "node/kvnode/", "rpc/", "tools/", "engine/disk/fs_posix.c"),
    r"\bnng_\w+\s*\(|<nng/": ("rpc/", "tools/kvbench/"),
    r"<sys/socket\.h>|\bsocket\s*\(": ("node/driver/", "node/kvnode/", "rpc/", "tools/"),
    r"\burcu_\w+|<urcu/urcu|<urcu\.h>": ("ring/ring_table.c",),
}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def room_of(path):
    return path.split("/", 1)[0]


def layer_of(path):
    for index, (_, prefixes) in enumerate(NODE_LAYERS):
        if path.startswith(prefixes):
            return index
    return None


def without_comments(text):
    """Blanks comments and keeps the line breaks, so that a name in a comment is no call."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda match: re.sub(r"[^\n]", " ", match.group(0)), text, flags=re.S)


class Tree:
    def __init__(self, root):
        self.root = root
        self.files = sorted(self.find())
        self.known = set(self.files)
        self.faults = []
        self.includes = 0

    def find(self):
        for room in ROOMS:
            for folder, _, names in os.walk(os.path.join(self.root, room)):
                for name in names:
                    if name.endswith((".c", ".h")):
                        yield os.path.relpath(os.path.join(folder, name), self.root)

    def fault(self, path, line, why):
        self.faults.append(f"{path}:{line}: {why}")

    def generated(self, target):
        return target.endswith(".pb-c.h") and os.path.exists(
            os.path.join(self.root, target[: -len(".pb-c.h")] + ".proto"))

    def check_include(self, path, line, target):
        if target not in self.known and not self.generated(target):
            self.fault(path, line, f'"{target}" is no file of this tree; includes start at its root')
            return
        here, there = room_of(path), room_of(target)
        allowed = ROOMS[here] | {here}
        if target in EVERYWHERE:
            return
        for prefix, more in EXTRA.items():
            if path.startswith(prefix):
                allowed = allowed | more
        if there not in allowed:
            self.fault(path, line, f"{here}/ must not know {there}/ ({target})")
        elif here not in (there, "tests") and target not in PUBLIC.get(there, {target}):
            self.fault(path, line, f"{target} is private to {there}/")
        if here == "node":
            self.check_layer(path, line, target)

    def check_layer(self, path, line, target):
        layer = layer_of(path)
        if layer is None:
            self.fault(path, line, "this file is in no library of node/ (NODE_LAYERS)")
        elif room_of(target) == "node":
            other = layer_of(target)
            if other is None or other > layer:
                self.fault(path, line, f"{NODE_LAYERS[layer][0]} must not include {target}")
        elif layer == 0 and target not in CORE_MAY:
            self.fault(path, line, f"core must not include {target}")

    def check_calls(self, path, text):
        if path.startswith("tests/"):
            return
        for number, line in enumerate(without_comments(text).split("\n"), 1):
            for pattern, owners in OWNERS.items():
                found = re.search(pattern, line)
                if found and not path.startswith(owners):
                    self.fault(path, number, f"{found.group(0).strip()} belongs into: {', '.join(owners)}")

    def check(self):
        for path in self.files:
            with open(os.path.join(self.root, path), encoding="utf-8") as file:
                text = file.read()
            for number, line in enumerate(text.split("\n"), 1):
                match = INCLUDE.match(line)
                if match:
                    self.includes += 1
                    self.check_include(path, number, match.group(1))
            self.check_calls(path, text)

    def check_circles(self, build):
        calls = Calls(self.root, build)
        for circle in calls.circles():
            if not any(all(path.startswith(prefixes) for path in circle) for prefixes in CLASSES):
                names = ", ".join(calls.symbols(circle)[:6])
                self.fault(circle[0], 1, f"circle of {len(circle)} files: {' '.join(circle)} ({names})")


class Calls:
    """Which source file calls which, by the symbols that their object files define and leave undefined."""

    def __init__(self, root, build):
        defined, used = {}, {}
        with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
            commands = json.load(file)
        sources = {}
        for command in commands:
            path = os.path.relpath(os.path.join(command["directory"], command["file"]), root)
            output = os.path.join(command["directory"], command["output"])
            if room_of(path) in ROOMS and not path.startswith("tests/") and os.path.exists(output):
                sources[output] = path
        # One process for all objects: a process for each takes longer than all the rest.
        listed = subprocess.run(["nm", "-A", "-g", "-P", *sources], check=True, capture_output=True, text=True).stdout
        for line in listed.splitlines():
            output, symbol = line.split(": ", 1)
            name, kind = symbol.split()[:2]
            if kind == "U":
                used.setdefault(sources[output], set()).add(name)
            elif name != "main":
                defined[name] = sources[output]
        self.edges = {path: {} for path in used}
        for path, names in used.items():
            for name in sorted(names):
                target = defined.get(name)
                if target is not None and target != path:
                    self.edges[path].setdefault(target, []).append(name)

    def symbols(self, circle):
        return [name for path in circle for target in circle for name in self.edges.get(path, {}).get(target, [])]

    def circles(self):
        """The strongly connected components of more than one file (Tarjan's algorithm, iterative)."""
        order, low, stack, on_stack, found = {}, {}, [], set(), []
        for start in sorted(self.edges):
            if start in order:
                continue
            work = [(start, iter(self.edges[start]))]
            order[start] = low[start] = len(order)
            stack.append(start)
            on_stack.add(start)
            while work:
                module, following = work[-1]
                for target in following:
                    if target not in self.edges:
                        continue
                    if target not in order:
                        order[target] = low[target] = len(order)
                        stack.append(target)
                        on_stack.add(target)
                        work.append((target, iter(self.edges[target])))
                        break
                    if target in on_stack:
                        low[module] = min(low[module], order[target])
                else:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[module])
                    if low[module] == order[module]:
                        component = set()
                        while True:
                            member = stack.pop()
                            on_stack.discard(member)
                            component.add(member)
                            if member == module:
                                break
                        if len(component) > 1:
                            found.append(sorted(component))
        return found


def main():
    parser = argparse.ArgumentParser(description="Checks the arrows between the rooms.")
    parser.add_argument("--build", help="a built meson folder; without it circles are not checked")
    parser.add_argument("root", nargs="?", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    arguments = parser.parse_args()
    tree = Tree(os.path.abspath(arguments.root))
    if not tree.files:
        parser.error(f"{arguments.root} has none of the rooms {', '.join(ROOMS)}")
    tree.check()
    if arguments.build:
        tree.check_circles(os.path.abspath(arguments.build))
    for fault in tree.faults:
        print(fault)
    print(f"arrows: {len(tree.files)} files, {tree.includes} includes, {len(tree.faults)} wrong")
    return 1 if tree.faults else 0


if __name__ == "__main__":
    sys.exit(main())
