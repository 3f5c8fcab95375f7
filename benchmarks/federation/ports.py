"""Ports of this machine."""

from __future__ import annotations

import socket
import time
from contextlib import closing

from benchmarks.command import CommandFailed

#: Seconds that a process has to listen.
_PATIENCE_SECONDS = 60.0


def free_port() -> int:
    """A port that nobody listens at."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for_port(port: int) -> None:
    """Wait until somebody listens at a port.

    Raises:
        CommandFailed: nobody does, in a minute.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            with closing(socket.create_connection(("127.0.0.1", port))):
                return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise CommandFailed(f"nobody listens at port {port} of this machine, after a minute")
