# SPDX-License-Identifier: Apache-2.0
"""The messages of proto/kv.proto, compiled by protoc.

`pip install` puts the compiled module into this package. In a checkout any directory of PYTHONPATH may hold it:

    protoc --python_out=DIRECTORY --proto_path=proto proto/kv.proto
"""

try:
    import google.protobuf  # noqa: F401
except ImportError as error:
    raise ImportError(
        "kvring needs the Python package protobuf: pip install protobuf, or Debian's python3-protobuf with Debian's /usr/bin/python3"
    ) from error

try:
    from . import kv_pb2 as messages
except ImportError:
    try:
        import kv_pb2 as messages
    except ImportError as error:
        raise ImportError(
            "kvring needs kv_pb2.py, compiled from proto/kv.proto: "
            "run protoc --python_out=tools/clients/python/kvring --proto_path=proto proto/kv.proto "
            "(Debian packages protobuf-compiler and python3-protobuf)"
        ) from error

__all__ = ["messages"]
