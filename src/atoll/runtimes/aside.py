"""What an algorithm may have sent is received and closed here, without waiting for it.

Whoever closes a socket last waits until the other side has read everything, if the socket was told so; and a
socket can be sent along with any message, be it asked for or not. So nothing that an algorithm may have sent is
closed in the thread of the loop, nor left to the system to close there: the descriptors that nobody wants,
and the line itself, in which more may lie.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from array import array
from collections.abc import Iterable, Sequence
from threading import Thread

#: Room for the descriptors of one message: as many as may travel with one. The system itself closes none then.
ROOM = socket.CMSG_LEN(253 * array("i").itemsize)


def close_aside(descriptors: Iterable[int]) -> None:
    """Close descriptors: sockets in a thread of their own, all else at once."""
    sockets = []
    for descriptor in descriptors:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            sockets.append(descriptor)
        else:
            os.close(descriptor)
    if sockets:
        Thread(target=_close, args=(sockets,), name="close", daemon=True).start()


def leave(connection: socket.socket) -> None:
    """Close a socket in a thread of its own. It may be closed already."""
    if connection.fileno() >= 0:
        close_aside([connection.detach()])


def receive(line: socket.socket, most_bytes: int) -> bytes:
    """Receive a message that brings no descriptor.

    Raises:
        OSError: as receiving does; or it brought some, which are closed. Whoever sends what nobody asks for may do it
            again and again, and each may take its time to close: there is nothing more to be heard from him.
    """
    text, extras, flags, _ = line.recvmsg(most_bytes, ROOM, socket.MSG_CMSG_CLOEXEC)
    if extras or flags & socket.MSG_CTRUNC:
        close_aside(descriptors_of(extras))
        raise OSError(errno.EPROTO, "a message brought descriptors that nobody had asked for")
    return text


def descriptors_of(extras: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that came with a message."""
    files = array("i")
    for level, kind, content in extras:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(content[: len(content) - len(content) % files.itemsize])
    return files.tolist()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
