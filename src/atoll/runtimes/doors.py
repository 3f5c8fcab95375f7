"""Where calls reach their doorway over HTTP: a listening socket, which the doorway serves.

::

    sandboxed     the process listens on 127.0.0.1 of the sandbox's own network, before any of
                  the algorithm's code runs, and hands the socket to us. Nothing listens on
                  this machine, and no other sandbox gets there.
    not isolated  we listen on this machine's loopback, at a port that the system chose. Every
                  user of this machine can connect: what protects it is the call's token.

Further outlets of a sandbox are opened and handed over in the same way, and with the door.

A connection belongs to the call in which it was made. Each process of a session that starts
one per call has a listener of its own; where a listener lasts longer, whoever still waits at it
when a call begins is sent away. No HTTP is spoken here.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from functools import partial

from atoll.engine.running import Doorway, Launch, Outlet
from atoll.runtimes.aside import close_aside, leave
from atoll.runtimes.outlets import Address, Delivery, Outlets, accept_some, end, listening

#: Connections that wait to be accepted: more than one algorithm opens at a time.
_BACKLOG = 128
#: Where an algorithm reaches its doorway: on its sandbox's own loopback every port is free.
_DOOR = ("127.0.0.1", 8080)
#: Where Linux says how many connections wait at a listener: ``tcpi_unacked``, behind 24 bytes of other numbers.
_WAITING = slice(24, 28)


class Doors:
    """No way to a doorway: for a launch whose calls don't speak HTTP."""

    address: tuple[str, int] | None = None

    @property
    def addresses(self) -> Sequence[Address]:
        """Where a process listens before it does anything else, and hands over what it has opened."""
        return ()

    def offer(self) -> socket.socket | None:
        """What a process that is about to start is given; whoever starts it closes it then."""
        return None

    def add(self, outlet: Outlet, listener: int) -> None:
        """A further outlet, which was opened after the process was started.

        Raises:
            RuntimeUnavailable: there are too many.
        """
        raise NotImplementedError

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
        if self._listener is None:
            return
        waiting = min(_waiting(self._listener), _BACKLOG + 1)
        if waiting:
            accept_some(self._listener, waiting, partial(self._send_away, doorway))
        else:
            self._serve()

    def _send_away(
        self, doorway: Doorway | None, connections: Sequence[socket.socket], *, failed: bool
    ) -> None:
        """Close what nobody has accepted before this call, and serve it then. What failed is found out again."""
        del failed
        for connection in connections:
            connection.close()
        if self._doorway is doorway:
            self._serve()

    def end(self) -> None:
        self._doorway = None

    def close(self) -> None:
        self._doorway = None
        if self._listener is not None:
            end(self._listener)
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


class HeldDoors(_Listening):
    """Listeners in a sandbox, which somebody has opened there for as long as the session.

    Args:
        launch: says whether calls speak HTTP, and what else they reach.
    """

    def __init__(self, launch: Launch) -> None:
        super().__init__()
        self.address = _DOOR if launch.speaks_http else None
        self._outlets = Outlets(launch.outlets)

    @property
    def addresses(self) -> Sequence[Address]:
        return [*([self.address] if self.address is not None else []), *self._outlets.addresses]

    def hold(self, listeners: Sequence[int]) -> None:
        """Take over what listens at the addresses, in their order. Others may have been added since."""
        if self.address is not None:
            self._listener = listening(listeners[0], self.address)
        self._outlets.serve(listeners[0 if self.address is None else 1 :])

    def add(self, outlet: Outlet, listener: int) -> None:
        try:
            number = self._outlets.add(outlet)
        except BaseException:
            close_aside([listener])
            raise
        self._outlets.serve([listener], first=number)

    def close(self) -> None:
        super().close()
        self._outlets.close()


class SandboxDoors(HeldDoors):
    """Listeners in the sandbox, made by each process that is started there.

    Args:
        launch: says whether calls speak HTTP, and what else they reach.
    """

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self._loop = asyncio.get_running_loop()
        self._line: socket.socket | None = None
        self._delivery: Delivery | None = None

    def offer(self) -> socket.socket | None:
        self.close()
        if not self.addresses:
            return None
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)
        self._delivery = Delivery(self._line, len(self.addresses))
        self._loop.add_reader(self._line, self._hear)
        return theirs

    def close(self) -> None:
        super().close()
        self._hear_no_more()

    def _hear(self) -> None:
        """The process sends its listeners, or has ended without them."""
        assert self._delivery is not None
        try:
            files = self._delivery.receive()
        except OSError:
            self._hear_no_more()
            return  # it ended, with what it had not read, or says itself what is wrong
        if files is None:
            return
        self._hear_no_more()
        self.hold(files)
        self._serve()

    def _hear_no_more(self) -> None:
        if self._line is not None:
            assert self._delivery is not None
            self._delivery.drop()
            self._loop.remove_reader(self._line)
            leave(self._line)
            self._line = None


def _waiting(listener: socket.socket) -> int:
    """How many connections nobody has accepted yet."""
    told = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _WAITING.stop)
    return int.from_bytes(told[_WAITING], sys.byteorder)
