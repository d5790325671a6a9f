# SPDX-License-Identifier: Apache-2.0
"""kvring: a client for the kvring key-value store, in plain Python.

    from kvring import Client

    with Client("127.0.0.1:7000,127.0.0.1:7010") as client:
        client.put("greeting", b"hello")
        found = client.get("greeting")
        found.value                       # b"hello"
        client.put("greeting", b"hi", context=found.context)

See README.md for siblings, errors and batches.
"""

from .client import (  # noqa: F401
    BatchResult,
    Client,
    GetResult,
    InDoubt,
    KvringError,
    PutResult,
    Refused,
    SiblingsFound,
    Unreachable,
    new_operation_id,
)
from .sp import ConnectionLost, RequestSocket, TimedOut  # noqa: F401

__version__ = "0.1.0"
