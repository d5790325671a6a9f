# SPDX-License-Identifier: Apache-2.0
"""Installs the kvring client; compiles proto/kv.proto into it, which needs protoc (Debian: protobuf-compiler)."""

import os
import subprocess

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = os.path.dirname(os.path.abspath(__file__))
PROTO = os.path.join(HERE, "..", "..", "..", "proto")


class BuildWithSchema(build_py):
    def run(self):
        super().run()
        target = os.path.join(self.build_lib, "kvring")
        os.makedirs(target, exist_ok=True)
        subprocess.run(
            ["protoc", "--python_out=" + target, "--proto_path=" + PROTO, os.path.join(PROTO, "kv.proto")], check=True
        )


setup(
    name="kvring",
    version="0.1.0",
    description="Client for the kvring key-value store",
    license="Apache-2.0",
    packages=["kvring"],
    python_requires=">=3.9",
    install_requires=["protobuf>=3.20"],
    cmdclass={"build_py": BuildWithSchema},
)
