"""Ports inside a sandbox, from outside: listeners that were handed over, and connections to others.

Nothing listens on this machine. What arrives at a listener comes from one sandbox, and is handed on
as it is: no byte of it is read here. What a sandbox hands over may be anything, and is looked at
before it is used.

A sandbox may keep a copy of what it has handed over, and so change what a call on it does: where it
should return at once, it may wait for ever. So nothing that could wait is done to it in the loop's own
thread.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Sequence
from functools import partial
from threading import Thread
from typing import Any

from atoll.engine.limits import OUTLETS_MAX, REACH_SECONDS_MAX
from atoll.engine.running import Outlet
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.aside import ROOM, close_aside, descriptors_of, leave

#: Connections that are taken over before other work of the loop gets its turn.
_AT_A_TIME = 32
#: Seconds until one looks again after this process had no descriptor left for a connection.
_PAUSE_SECONDS = 1.0
#: Bytes of the message that brings sockets, or the number of an error. What brings sockets is one byte.
_MESSAGE_BYTES = 16
_SOCKETS = b"+"
#: Larger than the number of any error.
_ERRORS_MAX = 4096
#: What is closed doesn't wait until the other side has read it.
_NO_LINGER = struct.pack("ii", 0, 0)

#: Where something is listened at.
Address = tuple[str, int]
#: Two directions of a connection.
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Outlets:
    """Listeners whose connections are handed to whoever the outlet names."""

    def __init__(self, outlets: Sequence[Outlet] = ()) -> None:
        self._outlets: list[Outlet] = []
        for outlet in outlets:
            self.add(outlet)
        self._open: list[_Open] = []

    @property
    def addresses(self) -> list[Address]:
        """Where they are, in their order."""
        return [(outlet.host, outlet.port) for outlet in self._outlets]

    def add(self, outlet: Outlet) -> int:
        """A further outlet, for the processes that start from now on; which of all it is.

        Raises:
            RuntimeUnavailable: there are too many.
        """
        if len(self._outlets) >= OUTLETS_MAX:
            raise RuntimeUnavailable(
                f"an algorithm can't have another outlet: it has {OUTLETS_MAX}, the most that there may be"
            )
        self._outlets.append(outlet)
        return len(self._outlets) - 1

    def serve(self, listeners: Sequence[int], *, first: int = 0) -> None:
        """Take what a process has opened: the outlets from this one on. Others may have been added since."""
        outlets = self._outlets[first : first + len(listeners)]
        for outlet, descriptor in zip(outlets, listeners, strict=True):
            listener = listening(descriptor, (outlet.host, outlet.port))
            if listener is not None:
                self._open.append(_Open(outlet, listener))

    def close(self) -> None:
        """Listen no more, until something is served again. Connections go on."""
        while self._open:
            self._open.pop().close()


class _Open:
    """One listener."""

    def __init__(self, outlet: Outlet, listener: socket.socket) -> None:
        self._outlet = outlet
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        end(self._listener)

    def _accept(self) -> None:
        self._loop.remove_reader(self._listener)
        accept_some(self._listener, _AT_A_TIME, self._take)

    def _take(self, connections: Sequence[socket.socket], *, failed: bool) -> None:
        for connection in connections:
            if self._closed:
                connection.close()
            else:
                self._outlet.take(connection.detach())
        if failed and not self._closed:
            # No descriptor is left, or the listener was shut down inside: it would be ready for ever.
            self._pause = self._loop.call_later(_PAUSE_SECONDS, self._go_on)
        elif not self._closed:
            self._loop.add_reader(self._listener, self._accept)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)


def accept_some(listener: socket.socket, most: int, then: Callable[..., None]) -> None:
    """Accept what waits at a listener, in a thread of its own: where it is made to wait, `end` ends that.

    Args:
        listener: may be closed meanwhile.
        most: how many connections are accepted.
        then: is called in this loop with the connections, and ``failed=True`` where the listener has none to give.
    """
    loop = asyncio.get_running_loop()
    try:
        own = listener.dup()
    except OSError:  # no descriptor is left, for a connection neither
        loop.call_soon(partial(then, (), failed=True))
        return
    own.setblocking(False)

    def work() -> None:
        found: list[socket.socket] = []
        failed = False
        with own:
            try:
                while len(found) < most:
                    found.append(own.accept()[0])
                    # It is like its listener; but nobody else has it.
                    found[-1].setblocking(False)
                    found[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                pass
            except OSError:
                failed = True
        try:
            loop.call_soon_threadsafe(lambda: then(found, failed=failed))
        except RuntimeError:  # the loop is closed
            for connection in found:
                connection.close()

    Thread(target=work, name="accept", daemon=True).start()


async def accept(listener: socket.socket) -> socket.socket:
    """The next connection at a listener.

    Raises:
        OSError: it has none to give.
    """
    loop = asyncio.get_running_loop()
    while True:
        await readable(listener)
        answer: asyncio.Future[tuple[Sequence[socket.socket], bool]] = loop.create_future()

        def take(
            connections: Sequence[socket.socket],
            *,
            failed: bool,
            answer: asyncio.Future[tuple[Sequence[socket.socket], bool]] = answer,
        ) -> None:
            if not answer.done():
                answer.set_result((connections, failed))
                return
            for connection in connections:  # nobody waits any more
                connection.close()

        accept_some(listener, 1, take)
        try:
            connections, failed = await answer
        except asyncio.CancelledError:
            if (
                answer.done() and not answer.cancelled()
            ):  # it came, and whoever waited left in the same moment
                for connection in answer.result()[0]:
                    connection.close()
            raise
        if failed:
            raise OSError("the listener has no connection to give")
        if connections:
            return connections[0]


class Shared(socket.socket):
    """A connection of which a sandbox may have a copy: no call on it waits, whatever the sandbox makes of it."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Read."""
        return super().recv(size, flags | socket.MSG_DONTWAIT)

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        """Read."""
        return super().recv_into(buffer, size, flags | socket.MSG_DONTWAIT)

    def send(self, data: Any, flags: int = 0) -> int:
        """Write."""
        return super().send(data, flags | socket.MSG_DONTWAIT)

    def sendmsg(self, data: Any, extras: Any = (), flags: int = 0, address: Any = None) -> int:
        """Write."""
        return super().sendmsg(data, extras, flags | socket.MSG_DONTWAIT, address)

    def close(self) -> None:
        """Close it. It may have been told to wait until all is read: a thread of its own waits, if need be."""
        leave(self)


class Delivery:
    """Descriptors on their way from a sandbox, over a line that is ready to be read again and again.

    Args:
        line: its end here, which doesn't block.
        expected: how many there are to be.
    """

    def __init__(self, line: socket.socket, expected: int) -> None:
        self._line = line
        self._expected = expected
        self._came: list[int] = []

    def receive(self) -> list[int] | None:
        """All of them once they are there, and None before.

        Raises:
            OSError: they don't come: what the other end says, or `BrokenPipeError` where it has closed.
        """
        try:
            while len(self._came) < self._expected:
                self._came += _receive(self._line)
        except BlockingIOError:
            return None
        except BaseException:
            self.drop()
            raise
        if len(self._came) > self._expected:
            self.drop()
            raise BrokenPipeError("the sandbox handed over more sockets than it was asked for")
        came, self._came = self._came, []
        return came

    def drop(self) -> None:
        """Close what has come."""
        came, self._came = self._came, []
        close_aside(came)


def _receive(line: socket.socket) -> list[int]:
    """The descriptors of one message."""
    text, extras, flags, _ = line.recvmsg(_MESSAGE_BYTES, ROOM, socket.MSG_CMSG_CLOEXEC)
    files = descriptors_of(extras)
    if text == _SOCKETS and files and not flags & socket.MSG_CTRUNC:
        return files
    close_aside(files)
    if text.isdigit() and (number := int(text)) < _ERRORS_MAX:
        raise OSError(number, os.strerror(number))
    raise BrokenPipeError("the sandbox handed over no socket")


def listening(descriptor: int, address: Address) -> socket.socket | None:
    """A socket that listens where it should; None where a descriptor is something else, which is closed."""
    found = _socket(descriptor)
    if found is None:
        return None
    listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listens and found.family is socket.AF_INET and found.getsockname() == address:
        found.setblocking(False)
        return found
    leave(found)
    return None


async def streams(descriptor: int) -> Streams:
    """A connection that was handed over, to be read and written. The descriptor is taken over."""
    return await asyncio.open_connection(sock=socket.socket(fileno=descriptor))


async def connected(descriptor: int, port: int) -> int:
    """A connection to a port inside, once it is there. The descriptor is taken over.

    Raises:
        ConnectionRefusedError: nobody listens there.
        OSError: there is no connection.
        RuntimeUnavailable: whoever listens there takes no connection, or the descriptor is none.
    """
    connection = _socket(descriptor)
    if connection is None or connection.family is not socket.AF_INET:
        if connection is not None:
            leave(connection)
        raise RuntimeUnavailable(f"the sandbox handed over something else than a connection to port {port}")
    try:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(REACH_SECONDS_MAX):
            await _ready(connection, loop.add_writer, loop.remove_writer)
        _raise_error_of(connection)
    except TimeoutError:
        leave(connection)
        raise RuntimeUnavailable(
            f"the algorithm listens at port {port} and took no connection for {REACH_SECONDS_MAX:g} seconds"
        ) from None
    except BaseException:
        leave(connection)
        raise
    return connection.detach()


def _raise_error_of(connection: socket.socket) -> None:
    reason = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if reason:
        raise OSError(reason, os.strerror(reason))
    connection.getpeername()  # what was never begun has none


async def readable(waited: socket.socket) -> None:
    """Wait until something is there to be read."""
    loop = asyncio.get_running_loop()
    await _ready(waited, loop.add_reader, loop.remove_reader)


async def _ready(
    waited: socket.socket, add: Callable[..., object], remove: Callable[[socket.socket], object]
) -> None:
    ready = asyncio.Event()
    add(waited, ready.set)
    try:
        await ready.wait()
    finally:
        remove(waited)


def end(listener: socket.socket) -> None:
    """Close a listener for whoever has a copy, too: the next process listens at the same port."""
    try:
        listener.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it listens no more
    leave(listener)


def _socket(descriptor: int) -> socket.socket | None:
    """A stream socket; None where a descriptor is something else, which is closed."""
    try:
        found = socket.socket(fileno=descriptor)
    except OSError:
        close_aside([descriptor])
        return None
    if found.type is socket.SOCK_STREAM:
        return found
    leave(found)
    return None
