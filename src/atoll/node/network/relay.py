"""Passes on what an algorithm sends to an outlet of its sandbox, and what comes back: bytes, unread.

::

    algorithm --> listener in its sandbox --> relay --> a service, or the proxy with the site's allow-list

What is passed on isn't known here, nor counted. How many connections there are is bounded, each waits
for the slower of its sides, and one side may end before the other. A connection is gone with the desk
that it belongs to, or when either end is.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import Protocol

from atoll.engine.limits import RELAYED_MAX
from atoll.engine.running import Outlet
from atoll.node.network.refused import Asking
from atoll.runtimes.outlets import Streams, streams

_log = logging.getLogger(__name__)

#: Bytes of one read.
_PIECE_BYTES = 64 * 1024
#: Seconds that a server may take to accept a connection.
_CONNECT_SECONDS = 20.0
#: Seconds in which nothing comes from one side after the other has ended. Nobody may be there any more.
_LINGER_SECONDS = 60.0


class Way(Protocol):
    """Leads to a server."""

    @property
    def what(self) -> str:
        """What it leads to, for sentences."""
        ...

    async def connect(self, asking: Asking) -> Streams:
        """A new connection, on behalf of somebody.

        Raises:
            OSError: nobody is there.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An address in a sandbox, and where it leads."""

    host: str
    port: int
    alias: str = ""
    way: Way


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """To a server that the site's settings name."""

    host: str
    port: int

    @property
    def what(self) -> str:
        """The server."""
        return f"{self.host}, port {self.port}"

    async def connect(self, _asking: Asking) -> Streams:
        """A new connection to the server."""
        return await asyncio.open_connection(self.host, self.port)


class Relay:
    """The connections of one algorithm at one seat."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: dict[str, Asking] = {}

    def outlet(self, target: Target, who: str = "an algorithm") -> Outlet:
        """An outlet that leads to a target, for somebody, in words."""
        asking = self._asking.setdefault(who, Asking(who=who))

        def take(descriptor: int) -> None:
            self._take(descriptor, target.way, asking)

        return Outlet(host=target.host, port=target.port, alias=target.alias, take=take)

    async def close(self) -> None:
        """End every connection. May be called twice."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, descriptor: int, way: Way, asking: Asking) -> None:
        if len(self._tasks) >= RELAYED_MAX:
            os.close(descriptor)
            return
        task = asyncio.get_running_loop().create_task(_relay(descriptor, way, asking))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _relay(descriptor: int, way: Way, asking: Asking) -> None:
    inner = await streams(descriptor)
    try:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                outer = await way.connect(asking)
        except (OSError, TimeoutError) as error:
            # What is wrong is the site's matter: the algorithm finds its connection closed.
            said = str(error) or "no answer"
            _log.warning("%s asked for %s, which can't be reached: %s", asking.who, way.what, said)
            return
        try:
            await _both(inner, outer)
        finally:
            outer[1].transport.abort()
    finally:
        # What is not sent by now is wanted by nobody.
        inner[1].transport.abort()


async def _both(inner: Streams, outer: Streams) -> None:
    """Pass on in both directions, until both have ended or one has failed."""
    there, back = _Direction(inner[0], outer[1]), _Direction(outer[0], inner[1])
    there.other, back.other = back, there
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(there.run())
            group.create_task(back.run())
    except* (OSError, TimeoutError):
        pass  # It broke, or nobody has said anything for long: both ends see that.


class _Direction:
    """What one side says, on its way to the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._bound: asyncio.Timeout | None = None
        self._hurried = False
        self.other: _Direction | None = None

    async def run(self) -> None:
        """Pass on until this side has ended, and say so to the other.

        Raises:
            OSError: the connection broke.
            TimeoutError: nothing came for long, after the other side had ended.
        """
        async with asyncio.timeout(None) as self._bound:
            if self._hurried:
                self.hurry()
            while piece := await self._reader.read(_PIECE_BYTES):
                self._writer.write(piece)
                await self._writer.drain()
                if self._hurried:
                    self.hurry()
        self._writer.write_eof()
        assert self.other is not None
        if self._hurried:  # Both have ended: what is still under way to either is sent.
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._flush()
                await self.other._flush()  # noqa: SLF001 -- one of its own kind
        else:
            self.other.hurry()

    def hurry(self) -> None:
        """The other side has ended: this one may go on for as long as it has something to say."""
        self._hurried = True
        if self._bound is not None:
            self._bound.reschedule(asyncio.get_running_loop().time() + _LINGER_SECONDS)

    async def _flush(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()
