# SPDX-License-Identifier: Apache-2.0
"""Compiles proto/kv.proto into the package. Everything else about the package stands in pyproject.toml.

In a checkout the schema is compiled by protoc (Debian: protobuf-compiler), into wheels and into source distributions. A source
distribution carries the compiled module, so that whoever installs from it needs no protoc.
"""

import os
import shutil
import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.join(HERE, "..", "..", "..")
PROTO = os.path.join(CHECKOUT, "proto")


def in_checkout():
    return os.path.exists(os.path.join(PROTO, "kv.proto"))


def compile_schema(package):
    os.makedirs(package, exist_ok=True)
    command = ["protoc", "--python_out=" + package, "--proto_path=" + PROTO, os.path.join(PROTO, "kv.proto")]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        sys.exit("kvring: protoc is not installed, and a checkout needs it (Debian: apt install protobuf-compiler)")


class BuildWithSchema(build_py):
    def run(self):
        super().run()
        if in_checkout():
            compile_schema(os.path.join(HERE if getattr(self, "editable_mode", False) else self.build_lib, "kvring"))


class SourceWithSchema(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        if in_checkout():
            compile_schema(os.path.join(base_dir, "kvring"))
            shutil.copy(os.path.join(CHECKOUT, "LICENSE"), base_dir)


setup(cmdclass={"build_py": BuildWithSchema, "sdist": SourceWithSchema})
