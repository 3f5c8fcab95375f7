"""Ports of this network's own loopback: opened or connected to here, and handed to the node.

This runs inside a sandbox, whose network is its own. The node, outside, accepts what arrives at a
listener and passes it on, or speaks over a connection; nothing of a port's traffic is seen here. What
goes the way of ports are messages: a byte and the sockets, or the number of an error and none.
"""

# ruff: noqa: FA100, UP006, UP007, UP035, UP045 -- this runs on Python 3.8

from __future__ import annotations

import array
import errno
import os
import socket
from typing import Iterable, List, Tuple

#: Connections that wait to be accepted.
_BACKLOG = 128
#: Sockets of one message. The system lets 253 travel with one.
BATCH = 100
#: What comes before the sockets; no number of an error begins so.
_SOCKETS = b"+"


def listen(addresses: Iterable[Tuple[str, int]]) -> List[socket.socket]:
    """Listen at addresses of the loopback, in their order.

    Raises:
        OSError: one of them is taken, or may not be listened at.
    """
    listeners: List[socket.socket] = []
    try:
        for host, port in addresses:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listeners.append(listener)
            # The connections of an earlier call may still be on their way out.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(_BACKLOG)
    except BaseException:
        close(listeners)
        raise
    return listeners


def connect(port: int) -> socket.socket:
    """Begin a connection to where the algorithm listens; it may still be under way.

    Whoever wrote the algorithm decides when it is accepted, so that nobody waits for that here.

    Raises:
        OSError: nobody listens there.
    """
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        reason = connection.connect_ex(("127.0.0.1", port))
        if reason not in (0, errno.EINPROGRESS):
            raise OSError(reason, os.strerror(reason))
    except BaseException:
        connection.close()
        raise
    return connection


def send(line: int, sockets: List[socket.socket]) -> None:
    """Hand at most `BATCH` sockets to whoever is at the other end of a Unix socket. They stay open here, too."""
    files = array.array("i", [each.fileno() for each in sockets])
    with socket.socket(fileno=os.dup(line)) as endpoint:
        endpoint.sendmsg([_SOCKETS], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)] if sockets else [])


def refuse(line: int, error: OSError) -> None:
    """Tell whoever is at the other end of a Unix socket why there is nothing to hand over."""
    with socket.socket(fileno=os.dup(line)) as endpoint:
        endpoint.sendall(b"%d" % (error.errno or errno.EIO,))


def close(sockets: Iterable[socket.socket]) -> None:
    """Close sockets that were handed over, or that nobody wants."""
    for each in sockets:
        each.close()
