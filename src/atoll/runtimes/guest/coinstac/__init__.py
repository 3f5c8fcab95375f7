"""The module that a COINSTAC computation of protocol 2 imports, as Atoll provides it.

``start(local, remote)`` answers one request after another over a socket that Atoll opened,
instead of listening on a port. A request is a document with ``mode`` and ``data``; each
frame is its length, eight bytes, and then its text. An answer's first byte says whether the
call succeeded; then follows the returned value as JSON, or a traceback.

Prints go to the seat's log. The functions run in the process's main thread, one call at a time.
"""

# ruff: noqa: FA100, UP006, UP007, UP035, UP045 -- this runs on Python 3.8

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from typing import Any, Callable, Dict, Optional, Tuple

__all__ = ["start"]

_VARIABLE = "ATOLL_SERVE_FD"
_SUCCEEDED, _FAILED = b"\x00", b"\x01"


def start(local: Callable[[Any], Any], remote: Optional[Callable[[Any], Any]] = None) -> None:
    """Serve calls until Atoll has no more.

    Args:
        local: called with each request to a site.
        remote: called with each request to the aggregator.

    Raises:
        RuntimeError: this process was not started by Atoll.
    """
    number = os.environ.get(_VARIABLE)
    if number is None:
        raise RuntimeError(
            "coinstac.start() found nobody to serve: %s is not set. Atoll sets it when it runs this "
            "computation; try 'atoll simulate' in the computation's folder" % _VARIABLE
        )
    functions = {"local": local, "remote": remote}
    with socket.socket(fileno=int(number)) as connection:
        while True:
            request = _read_frame(connection)
            if request is None:
                return
            status, body = _answer(functions, request)
            connection.sendall((len(body) + 1).to_bytes(8, "big") + status)
            connection.sendall(body)


def _answer(functions: Dict[str, Optional[Callable[[Any], Any]]], request: bytes) -> Tuple[bytes, bytes]:
    """Call the function that the request names. Whatever it raises is an answer as well."""
    try:
        document = json.loads(request)
        del request  # it may be large, and the function is about to need memory
        function = functions.get(document["mode"])
        if function is None:
            raise LookupError("coinstac.start() was given no function for %r" % (document["mode"],))
        body = json.dumps(function(document["data"])).encode()
    except BaseException:  # noqa: BLE001 -- the loop's top: an exit inside a call is a failed call
        body = traceback.format_exc().encode("utf-8", "backslashreplace")
        sys.stderr.write(body.decode())
        status = _FAILED
    else:
        status = _SUCCEEDED
    # What the call printed is in the log before its answer is read.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status, body


def _read_frame(connection: socket.socket) -> Optional[bytes]:
    head = _read(connection, 8)
    if head is None:
        return None
    body = _read(connection, int.from_bytes(head, "big"))
    return None if body is None else bytes(body)


def _read(connection: socket.socket, size: int) -> Optional[bytearray]:
    """Exactly `size` bytes, or None where the other side has closed."""
    content = bytearray(size)
    view = memoryview(content)
    while view:
        count = connection.recv_into(view)
        if count == 0:
            return None
        view = view[count:]
    return content
