"""The first process of a box: a container, or a sandbox, that one session has for itself.

It connects to its node over a Unix socket which only this box was shown, and becomes a warm parent. The
node takes one connection and no second: what the algorithm's own processes could say to that
socket, nobody hears. When the line closes, the box ends.
"""

# ruff: noqa: FA100, UP006, UP007, UP035, UP045 -- this runs on Python 3.8

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

from . import warm  # noqa: TID252 -- the package has another name where this runs


def main(path: str) -> NoReturn:
    """Connect to the socket that lies at a path, and do what the node asks."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.connect(path)
    sys.stdin.close()  # the engine's own pipe is nobody's to read
    nothing = os.open(os.devnull, os.O_RDONLY)
    if nothing != 0:
        os.dup2(nothing, 0)
        os.close(nothing)
    warm.main(line.detach(), False, True)
