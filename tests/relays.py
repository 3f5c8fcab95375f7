"""What may stand between a node and its hub: a balancer before replicas, and an HTTP proxy.

Both pass bytes on and look at none of them. Each lives in a thread of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar

T = TypeVar("T")
_CHUNK = 65_536


class Relay:
    """Passes connections on."""

    def __init__(self) -> None:
        #: Where it listens.
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """The relay at work."""
        self._thread.start()
        server = self._do(asyncio.start_server(self._meet, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self._do(self._cut())
            self._do(_end_others())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def cut(self) -> None:
        """Cut all connections."""
        self._do(self._cut())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        beyond: asyncio.StreamWriter | None = None
        try:
            answers, beyond = await self.reach(reader, writer)
            self._writers.add(beyond)
            await asyncio.wait(
                [
                    asyncio.ensure_future(_pass_on(reader, beyond)),
                    asyncio.ensure_future(_pass_on(answers, writer)),
                ]
            )
        except (OSError, asyncio.IncompleteReadError):
            pass  # Either side has gone.
        finally:
            for each in (writer, beyond):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def reach(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to where a connection leads.

        Raises:
            OSError: nobody is there.
        """
        raise NotImplementedError


class Balancer(Relay):
    """One address before replicas: each connection goes to the next one that is there.

    Args:
        ports: theirs.
    """

    def __init__(self, *ports: int) -> None:
        super().__init__()
        #: Those that connections go to from now on.
        self.ports = ports
        self._next = itertools.count()

    async def reach(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        del reader, writer
        first = next(self._next)
        for number in range(len(self.ports)):
            port = self.ports[(first + number) % len(self.ports)]
            with suppress(ConnectionRefusedError):
                return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionRefusedError


class ConnectProxy(Relay):
    """An HTTP proxy that knows CONNECT alone, and leads every name to this machine."""

    def __init__(self) -> None:
        super().__init__()
        #: What it was asked to lead to.
        self.asked: list[str] = []

    async def reach(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        words = (await reader.readuntil(b"\r\n\r\n")).decode().split()
        if words[0] != "CONNECT":
            raise ConnectionRefusedError
        self.asked.append(words[1])
        found = await asyncio.open_connection("127.0.0.1", int(words[1].rpartition(":")[2]))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return found


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.write_eof()


async def _end_others() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
