"""Listen where an algorithm will look for its node, and hand the socket to the host.

This runs inside the sandbox, whose network is its own, before any of the algorithm's code. What
is left in this process afterwards is nothing: neither the socket nor the way that it went.
"""

# ruff: noqa: FA100, UP006, UP007, UP035, UP045 -- this runs on Python 3.8

from __future__ import annotations

import array
import os
import socket
import sys
from typing import List, NoReturn

from . import program  # noqa: TID252 -- the package has another name where this runs

#: Connections that wait to be accepted.
_BACKLOG = 128


def open_door(descriptor: int, port: int) -> None:
    """Listen on the loopback at `port`, and send the socket over the Unix socket `descriptor`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # The connections of an earlier call may still be on their way out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener.fileno()]))]
        with socket.socket(fileno=os.dup(descriptor)) as line:
            line.sendmsg([b"door"], rights)


def main(arguments: List[str]) -> NoReturn:
    """Open the door and become a command: a descriptor, a port, a program and its arguments."""
    descriptor, port, *command = arguments
    try:
        open_door(int(descriptor), int(port))
        os.close(int(descriptor))
        program.start(command, dict(os.environ))
    except OSError as error:
        sys.stderr.write("%s can't be started: %s\n" % (command[0], error.strerror))
        os._exit(127)
