"""The frames between a host and its workers, over a Unix socket.

    kind (1 byte)  head length (4)  body length (4)  figure (8)  head  body

`head` is a small JSON object or empty, `body` a function's JSON event or result, never looked into on the way. `figure` is the
worker's peak resident memory in bytes on frames from a worker, zero on frames to one. Numbers are big-endian.

    host -> worker    CONFIG {handler, ...}   once, first
                      CALL   {request_id, arn, timeout, client_context} + event
    worker -> host    READY                   the handler is imported
                      RESULT + result         the call succeeded
                      ERROR  {errorType, errorMessage, stackTrace}   the call, or the import, failed

A worker ends when the host closes the socket.
"""

from __future__ import annotations

import struct

HEADER = struct.Struct("!BIIQ")

CONFIG, CALL, READY, RESULT, ERROR = range(1, 6)

RECORD_MARK = b"\x1e"
"""Begins a structured record in a worker's output (as in RFC 7464); lines without it were printed."""


def frame(kind: int, head: bytes = b"", body: bytes = b"", figure: int = 0) -> bytes:
    """The bytes of one frame."""
    return HEADER.pack(kind, len(head), len(body), figure) + head + body
