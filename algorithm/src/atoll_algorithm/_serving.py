"""A served process: load an algorithm, and answer calls until the line ends."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any, Dict, Iterator, List, Optional, Tuple

from atoll_algorithm._failing import failed, print_error
from atoll_algorithm._line import Line
from atoll_algorithm.inline import Algorithm

_DESCRIPTOR = "ATOLL_SERVE_FD"
_PATH = "ATOLL_SOCKET"


def main(words: List[str]) -> int:
    """Serve ``TARGET``, a file or a package's folder; the exit status."""
    if len(words) != 1:
        sys.stderr.write("usage: python -m atoll_algorithm TARGET (a .py file, or a package's folder)\n")
        return 2
    endpoint = _endpoint()
    if endpoint is None:
        sys.stderr.write("atoll_algorithm: neither %s nor %s says where the node is\n" % (_DESCRIPTOR, _PATH))
        return 2
    serve(Line(endpoint), words[0])
    return 0


def _endpoint() -> Optional[socket.socket]:
    """The socket to the node. The algorithm's own children don't inherit it."""
    number = os.environ.pop(_DESCRIPTOR, None)
    path = os.environ.pop(_PATH, None)
    if number is not None:
        endpoint = socket.socket(fileno=int(number))
        endpoint.set_inheritable(False)
        return endpoint
    if path is None:
        return None
    endpoint = socket.socket(socket.AF_UNIX)
    endpoint.connect(path)
    return endpoint


def serve(line: Line, target: str) -> None:
    """Answer calls until the other end closes the line."""
    algorithm: Optional[Algorithm] = None
    broken: Dict[str, Any] = {}
    try:
        algorithm = Algorithm.load(target)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the module raises: it is every call's answer
        print_error("", error)
        broken = failed(error)
    tuned = False
    while True:
        frame = line.receive()
        if frame is None:
            return
        head, body = frame
        del frame
        if algorithm is None:
            answer, pieces = broken, []  # type: Tuple[Dict[str, Any], List[Any]]
        else:
            if not tuned and "numpy" in sys.modules:
                _tune()
                tuned = True
            answer, pieces = algorithm.answer(head, body, lambda head, pieces: _ask(line, head, pieces))
        del head, body  # large arguments are given back before the next ones come
        _flush()
        try:
            line.send(answer, pieces)
        except ConnectionError:
            return  # the node has gone
        del answer, pieces


def _ask(line: Line, head: Dict[str, Any], pieces: List[Any]) -> Iterator[Tuple[Dict[str, Any], Any]]:
    """Say something to the node, and give what it answers."""
    _flush()
    line.send(head, pieces)
    while head["say"] == "call":
        frame = line.receive()
        if frame is None:
            os._exit(0)  # the node has gone: whatever the function still wants to do, nobody waits for it
        yield frame
        if frame[0].get("do") in ("end", "refused"):
            return


def _flush() -> None:
    """What was printed stands in the log before the answer is known."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # an algorithm may have closed or replaced them


def _tune() -> None:
    """Let freed memory serve the next array: fresh pages cost more than what is written to them.

    Arithmetic on arrays of 40 MB takes 31 ms instead of 44 with this. What is free beyond 128 MiB
    still goes back to the system.
    """
    import ctypes  # an algorithm without arrays doesn't pay for it

    try:
        adjust = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library than glibc, or none
    trim_threshold, mmap_threshold = -1, -3
    if adjust(mmap_threshold, 1 << 30):
        adjust(trim_threshold, 128 << 20)
