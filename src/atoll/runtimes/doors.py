"""Where calls reach their doorway over HTTP: a listening socket, which the doorway serves.

::

    sandboxed     the process listens on 127.0.0.1 of the sandbox's own network, before any of
                  the algorithm's code runs, and hands the socket to us. Nothing listens on
                  this machine, and no other sandbox gets there.
    not isolated  we listen on this machine's loopback, at a port that the system chose. Every
                  user of this machine can connect: what protects it is the call's token.

A connection belongs to the call in which it was made. Each process of a session that starts
one per call has a listener of its own; where a listener lasts longer, whoever still waits at it
when a call begins is sent away. No HTTP is spoken here.
"""

from __future__ import annotations

import asyncio
import os
import socket
from array import array

from atoll.engine.running import Doorway

#: Connections that wait to be accepted: more than one algorithm opens at a time.
_BACKLOG = 128
#: Bytes of the message that brings a listener.
_MESSAGE_BYTES = 16


class Doors:
    """No way to a doorway: for a launch whose calls don't speak HTTP."""

    address: tuple[str, int] | None = None

    def offer(self) -> socket.socket | None:
        """What a process that is about to start is given; whoever starts it closes it then."""
        return None

    def begin(self, doorway: Doorway | None) -> None:
        """A call begins, and this is who answers it."""

    def end(self) -> None:
        """The call has ended."""

    def close(self) -> None:
        """Stop listening. May be called twice."""


class _Listening(Doors):
    """What both kinds of listener share."""

    def __init__(self) -> None:
        self._listener: socket.socket | None = None
        self._doorway: Doorway | None = None

    def begin(self, doorway: Doorway | None) -> None:
        self._doorway = doorway
        if self._listener is not None:
            _send_away(self._listener)
            self._serve()

    def end(self) -> None:
        self._doorway = None

    def close(self) -> None:
        self._doorway = None
        if self._listener is not None:
            try:
                # For whoever has a copy, too: the next process listens at the same port.
                self._listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it listens no more
            self._listener.close()
            self._listener = None

    def _serve(self) -> None:
        if self._doorway is not None and self._listener is not None:
            self._doorway.listen(os.dup(self._listener.fileno()))


class LoopbackDoors(_Listening):
    """A listener on this machine, for as long as the session: a port that was given up is anyone's."""

    def __init__(self) -> None:
        super().__init__()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self.address = self._listener.getsockname()


class SandboxDoors(_Listening):
    """A listener in the sandbox, made by each process that is started there.

    Args:
        address: where it listens.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__()
        self.address = address
        self._loop = asyncio.get_running_loop()
        self._line: socket.socket | None = None

    def offer(self) -> socket.socket:
        self.close()
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)
        self._loop.add_reader(self._line, self._hear)
        return theirs

    def close(self) -> None:
        super().close()
        if self._line is not None:
            self._loop.remove_reader(self._line)
            self._line.close()
            self._line = None

    def _hear(self) -> None:
        """The process sent its listener, or has ended without one."""
        line, self._line = self._line, None
        assert line is not None
        self._loop.remove_reader(line)
        with line:
            room = socket.CMSG_LEN(array("i").itemsize)
            try:
                _, extras, _, _ = line.recvmsg(_MESSAGE_BYTES, room, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                return  # it ended, with what it had not read
        files = array("i")
        for _, _, content in extras:
            files.frombytes(content)
        self._listener = _listener(files[0], self.address) if files else None
        self._serve()


def _listener(descriptor: int, address: tuple[str, int] | None) -> socket.socket | None:
    """A socket that listens where it should; None where a descriptor is something else, which is closed."""
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return None
    listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listens and listener.family is socket.AF_INET and listener.getsockname() == address:
        listener.setblocking(False)
        return listener
    listener.close()
    return None


def _send_away(listener: socket.socket) -> None:
    """Close the connections that nobody has accepted."""
    for _ in range(_BACKLOG + 1):  # no more than can wait, however fast others come
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.close()
