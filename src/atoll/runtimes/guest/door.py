"""Listen where an algorithm will look for its node, and hand the sockets to the host.

This runs inside the sandbox, whose network is its own, before any of the algorithm's code. What
is left in this process afterwards is nothing: neither the sockets nor the way that they went.
"""

# ruff: noqa: FA100, UP006, UP007, UP035, UP045 -- this runs on Python 3.8

from __future__ import annotations

import os
import sys
from typing import Iterable, List, NoReturn, Tuple

from . import ports, program  # noqa: TID252 -- the package has another name where this runs


def open_doors(line: int, addresses: Iterable[Tuple[str, int]]) -> None:
    """Listen at addresses of the loopback, and send the sockets over the Unix socket `line`."""
    rest = list(addresses)
    while rest:
        listeners = ports.listen(rest[: ports.BATCH])
        try:
            ports.send(line, listeners)
        finally:
            ports.close(listeners)
        rest = rest[ports.BATCH :]


def open_way(line: int, port: int) -> None:
    """Begin a connection to a port of the loopback, and send it over the Unix socket `line`."""
    with ports.connect(port) as connection:
        ports.send(line, [connection])


def main(arguments: List[str]) -> NoReturn:
    """Open doors and become a command: a descriptor, addresses, a program and its arguments."""
    descriptor, addresses, *command = arguments
    try:
        pairs = [address.rpartition(":") for address in addresses.split(",")]
        open_doors(int(descriptor), [(host, int(port)) for host, _, port in pairs])
    except OSError as error:
        sys.stderr.write("the algorithm's addresses can't be opened: %s: %s\n" % (addresses, error.strerror))
        os._exit(127)
    try:
        os.close(int(descriptor))
        program.start(command, dict(os.environ))
    except OSError as error:
        sys.stderr.write("%s can't be started: %s\n" % (command[0], error.strerror))
        os._exit(127)
