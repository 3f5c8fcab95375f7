"""The host's side of a warm parent, and what is under way in it.

A parent is a process that has imported libraries, and forks a call whenever it is told to: one that calls
share (see ``pool.py``), or the first of a box (see ``boxes.py``). It ends with its line to us, however we end.

What a parent forks is told in files that only the fork reads; see ``guest/warm.py``.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import struct
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from atoll.engine.limits import START_SECONDS_MAX
from atoll.runtimes.aside import leave, receive
from atoll.runtimes.children import Child, Streams, kill_tree
from atoll.runtimes.outlets import Address, Delivery, readable

_log = logging.getLogger(__name__)

#: Bytes of one message of a parent.
_MESSAGE_BYTES_MAX = 65536
#: Messages that are heard before other work of the loop gets its turn: a box may talk without end.
_MESSAGES_AT_A_TIME = 64
#: Seconds that a parent gets to open a port, or to begin a connection.
_PORTS_SECONDS = 30.0
#: Seconds that a parent gets to end by itself once its line is closed.
_END_SECONDS = 5.0
#: What the system knows of the other end of a line: its process, user and group.
_PEER = struct.Struct("3i")


class ParentLost(Exception):
    """A warm parent ended while something of it was needed. The call may be done again."""


class CellRefused(Exception):
    """A warm parent could not make a sandbox."""


class MustStartCold(Exception):
    """A process that has imported libraries must not fork: why."""


class Call:
    """A process that a parent has forked."""

    def __init__(self, parent: Parent, number: int) -> None:
        self._parent = parent
        self._number = number
        #: Known once the parent has told it; in the parent's own numbers where it is isolated.
        self.pid: int | None = None
        #: How often, as a box says, the system has ended a process of it for its memory.
        self.memory_kills = 0
        #: Its exit status, or minus the signal that ended it; `ParentLost` where nobody knows.
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # Who has stopped waiting for it needs no word of how it ended.
        self.ended.add_done_callback(_heard)

    def kill(self) -> None:
        """End it with everything that it started. `ended` is set when that has happened."""
        if not self.ended.done():
            self._parent.kill(self)

    @property
    def number(self) -> int:
        """How the parent calls it."""
        return self._number


class Parent:
    """A warm parent that said that it is ready."""

    def __init__(
        self, child: Child | None, line: socket.socket, *, isolated: bool, found: object = None
    ) -> None:
        self._child = child
        #: Modules that were looked for and are installed there, as the parent says.
        self.found = frozenset(map(str, found)) if isinstance(found, list) else frozenset[str]()
        self._line = line
        self._isolated = isolated
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, Call] = {}
        self._cells: dict[int, asyncio.Future[None]] = {}
        self._count = 0
        #: Messages that the line had no room for, with copies of their files.
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self.alive = True
        #: The process that has made the line, in this process's numbers.
        self.peer: int = _PEER.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0]
        self._loop.add_reader(line, self._hear)

    def start(
        self,
        task: Mapping[str, Any],
        streams: Streams,
        *,
        cell: int | None = None,
        groups: Sequence[int] = (),
    ) -> Call:
        """Fork a call.

        Args:
            task: what the fork reads: see ``guest/script.py``.
            streams: its standard streams, and the socket that it serves.
            cell: the sandbox that it joins.
            groups: the open doors of control groups that take it in.

        Raises:
            ParentLost: the parent has ended.
        """
        self._count += 1
        call = Call(self, self._count)
        files = {"stdin": streams.stdin, "stdout": streams.stdout, "stderr": streams.stderr}
        if streams.serve is not None:
            files["serve"] = streams.serve
        if streams.door is not None:
            files["door"] = streams.door
        files |= {f"group{number}": door for number, door in enumerate(groups)}
        self._calls[call.number] = call
        description = _file_of(task)
        try:
            names = ["task", *files]
            message = {"do": "call", "id": call.number, "cell": cell, "files": names}
            self._send(message, [description, *files.values()])
        finally:
            os.close(description)
        return call

    async def make_cell(self, task: Mapping[str, Any]) -> int:
        """Make a sandbox, as ``guest/cell.py`` is told.

        Raises:
            CellRefused: the machine doesn't let the parent do it.
            ParentLost: the parent has ended.
        """
        self._count += 1
        number = self._count
        answer = self._cells[number] = self._loop.create_future()
        answer.add_done_callback(_heard)
        description = _file_of(task)
        try:
            self._send({"do": "cell", "id": number}, [description])
        finally:
            os.close(description)
        try:
            await asyncio.shield(answer)
        except asyncio.CancelledError:
            self.drop_cell(number)  # it is made all the same, and nobody would ever enter it
            raise
        return number

    async def listen(self, addresses: Sequence[Address], *, cell: int | None = None) -> list[int]:
        """Listen inside; the listeners' descriptors.

        Raises:
            OSError: it can't be listened there.
            ParentLost: the parent has ended, or the sandbox has.
        """
        return await self._sockets({"do": "listen", "at": addresses, "cell": cell}, len(addresses))

    async def connect(self, port: int, *, cell: int | None = None) -> int:
        """Begin a connection to a port inside; its descriptor.

        Raises:
            OSError: nobody listens there.
            ParentLost: the parent has ended, or the sandbox has.
        """
        (connection,) = await self._sockets({"do": "connect", "port": port, "cell": cell}, 1)
        return connection

    async def _sockets(self, message: Mapping[str, Any], count: int) -> list[int]:
        ours, theirs = socket.socketpair()
        ready = asyncio.Event()
        delivery = Delivery(ours, count)
        ours.setblocking(False)
        self._loop.add_reader(ours, ready.set)
        try:
            with theirs:
                self._send(message, [theirs.fileno()])
            async with asyncio.timeout(_PORTS_SECONDS):
                while (found := delivery.receive()) is None:
                    ready.clear()
                    await ready.wait()
        except BrokenPipeError:
            raise ParentLost from None
        except TimeoutError:
            # It is deaf, or stopped: what becomes of its calls is their own limits' business.
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
        finally:
            delivery.drop()
            self._loop.remove_reader(ours)
            leave(ours)
        return found

    def drop_cell(self, number: int) -> None:
        """End a sandbox with everything in it."""
        with suppress(ParentLost):
            self._send({"do": "drop", "id": number}, [])

    def kill(self, call: Call) -> None:
        """End a call."""
        if not self._isolated and call.pid is not None:
            kill_tree(call.pid)
        with suppress(ParentLost):
            self._send({"do": "kill", "id": call.number}, [])

    async def close(self) -> None:
        """End the parent with everything that it forked."""
        self.lose()
        if self._child is None:
            return
        try:
            async with asyncio.timeout(_END_SECONDS):
                await asyncio.shield(self._child.ended)
        except TimeoutError:
            self._child.kill()
            await self._child.ended

    def _send(self, message: Mapping[str, Any], files: Sequence[int]) -> None:
        if not self.alive:
            raise ParentLost
        text = json.dumps(message).encode()
        if not self._waiting:
            try:
                _transmit(self._line, text, files)
            except BlockingIOError:
                self._loop.add_writer(self._line, self._send_waiting)
            except OSError:
                self.lose()
                raise ParentLost from None
            else:
                return
        self._waiting.append((text, [os.dup(file) for file in files]))

    def _send_waiting(self) -> None:
        while self._waiting:
            text, files = self._waiting[0]
            try:
                _transmit(self._line, text, files)
            except BlockingIOError:
                return
            except OSError:
                self.lose()
                return
            self._waiting.popleft()
            for file in files:
                os.close(file)
        self._loop.remove_writer(self._line)

    def _hear(self) -> None:
        for _ in range(_MESSAGES_AT_A_TIME):
            if not self.alive:
                return
            try:
                text = receive(self._line, _MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                text = b""
            if not text:
                self.lose()
                return
            try:
                self._understand(json.loads(text))
            except (
                ArithmeticError,
                ValueError,
                LookupError,
                TypeError,
                AttributeError,
                RecursionError,
            ) as error:
                # Who is in a box with an algorithm may say anything.
                _log.debug("a warm parent said what none says: %s", type(error).__name__)
                self.lose()

    def _understand(self, message: Mapping[str, Any]) -> None:
        if "started" in message:
            if (call := self._calls.get(message["started"])) is not None:
                call.pid = message["pid"]
        elif "ended" in message:
            # All of it is read before the call is forgotten: who waits hears of it, whatever it says.
            kills = int(message.get("memory_kills", 0))
            code = os.waitstatus_to_exitcode(message["status"]) if "status" in message else None
            call = self._calls.pop(message["ended"], None)
            if call is None or call.ended.done():
                return
            call.memory_kills = kills
            if code is not None:
                call.ended.set_result(code)
            else:  # its cell is gone, or the parent could not fork
                call.ended.set_exception(ParentLost(message.get("refused", "")))
        elif "cell" in message:
            error = message["error"]
            answer = self._cells.pop(message["cell"])
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(CellRefused(error))

    def lose(self) -> None:
        """Give up a parent that has ended, or that is to end: nothing of it is waited for any more."""
        if not self.alive:
            return
        self.alive = False
        self._loop.remove_reader(self._line)
        self._loop.remove_writer(self._line)
        leave(self._line)
        for _, files in self._waiting:
            for file in files:
                os.close(file)
        self._waiting.clear()
        for call in self._calls.values():
            if not self._isolated and call.pid is not None:
                kill_tree(call.pid)  # nobody else would
            if not call.ended.done():
                call.ended.set_exception(ParentLost())
        for answer in self._cells.values():
            answer.set_exception(ParentLost())
        self._calls.clear()
        self._cells.clear()


async def begin(
    line: socket.socket, first: Mapping[str, Any], *, child: Child | None = None, isolated: bool = True
) -> Parent:
    """Make a parent of a process that was started.

    Args:
        line: the connection to it; taken over.
        first: what it is told first.
        child: the process, where the parent ends it; else somebody else does.
        isolated: whether what it forks ends with it, whatever that does.

    Raises:
        MustStartCold: it can't be a parent, with what it has imported, or has ended.
    """
    line.setblocking(False)
    try:
        told = await _first_message(line, first)
    except BaseException:
        leave(line)
        raise
    if "cold" in told:
        leave(line)
        raise MustStartCold(str(told["cold"]))
    return Parent(child, line, isolated=isolated, found=told.get("found"))


def _heard(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


async def _first_message(line: socket.socket, first: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a parent tells when it has imported its libraries: ``cold`` says why it can't be one."""
    try:
        with suppress(ConnectionError):  # it has ended, and may have said why
            line.send(json.dumps(first).encode())
        async with asyncio.timeout(START_SECONDS_MAX):
            await readable(line)
            text = receive(line, _MESSAGE_BYTES_MAX)
    except TimeoutError:
        return {"cold": f"its imports took longer than {START_SECONDS_MAX:g} seconds"}
    except OSError as error:
        return {"cold": str(error)}
    if not text:
        return {"cold": "it ended while it imported its libraries"}
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = None
    return told if isinstance(told, dict) else {"cold": "it said what none says"}


def _transmit(line: socket.socket, text: bytes, files: Sequence[int]) -> None:
    extras = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", files))] if files else []
    line.sendmsg([text], extras)


def _file_of(content: Mapping[str, Any]) -> int:
    """A file in memory that holds a JSON document, to be read from its start."""
    descriptor = os.memfd_create("task", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(json.dumps(content).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
