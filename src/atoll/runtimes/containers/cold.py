"""Images without a Python that Atoll's own program could run under: the engine starts each call.

::

    container          waits, and ends when its node does; each call is a process that the engine starts in it
    helper container   only where a call needs a network: it has the same one, which is no more than a loopback,
                       and its Python listens there for the node, or connects

A call costs what the engine takes to start a process, which is some tens of milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from aiodocker.stream import Stream

from atoll.engine.limits import CHUNK_BYTES, CallLimits
from atoll.engine.running import Launch, Style
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.boxes import LINE, BoxPlace, Kills, Plan
from atoll.runtimes.children import Streams
from atoll.runtimes.containers.engine import BREAKS, talking
from atoll.runtimes.containers.started import Container, Maker
from atoll.runtimes.doors import HeldDoors
from atoll.runtimes.places import Place
from atoll.runtimes.sessions import Running
from atoll.runtimes.warm import Parent

#: What waits in a container until nobody holds the pipe any more: its node has ended.
_WAIT = f"read nothing < {LINE}/alive"
_ALIVE = "alive"
#: Bytes of memory of a helper, and its processes.
_HELPER_LIMITS = CallLimits(memory_bytes=256 * 1024**2, processes=64)
_KILLED = 137
#: What shells say of a program that they can't start.
_NOT_STARTED = 127
#: What a shell adds to the number of the signal that has ended a process.
_SIGNALS = 128


class Helper:
    """A container beside another, whose network it has.

    Args:
        launch: what the other is for.
        make: makes a place in the helper's image.
    """

    def __init__(self, launch: Launch, make: Callable[[Launch], BoxPlace]) -> None:
        # It is shown nothing of what the other is shown.
        self._folder = Path(tempfile.mkdtemp(prefix="atoll-helper-"))
        self.place = make(
            replace(
                launch,
                style=Style.CALL,
                code=None,
                code_name=None,
                masked=(),
                command=("python3", "-c", "pass"),
                mounts=(),
                temporary=self._folder,
                environment={},
                modules=(),
                libraries=(),
                limits=_HELPER_LIMITS,
            )
        )

    async def close(self) -> None:
        """End it."""
        await self.place.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class ColdPlace(Place):
    """The calls of one launch, each started by the engine in a container that waits.

    Args:
        plan: of its calls.
        maker: makes containers of its image.
        helped: makes a place in the helper's image; None where calls need no network.
    """

    def __init__(self, plan: Plan, maker: Maker, helped: Callable[[Launch], BoxPlace] | None) -> None:
        self._doors = HeldDoors(plan.launch)
        super().__init__(
            plan.launch, plan.inside, plan.command, plan.file, None, (), self._doors, bounded=True
        )
        self._plan = plan
        self._maker = maker
        self._helped = helped
        self._helper: Helper | None = None
        self._container: Container | None = None
        #: The folder with the pipe by which the container knows that its node lives, once there is one.
        self._line: Path | None = None
        self._alive = -1
        self._kills = Kills()

    def inside(self, path: Path) -> str:
        return self._plan.points.inside(path)

    def memory_kills(self) -> int | None:
        return self._kills.total

    async def open(self) -> None:
        """Start the container, and its helper where there is one.

        Raises:
            RuntimeUnavailable: this machine can't.
            AlgorithmFailed: the image has no shell either, or the engine refuses.
        """
        if self._helped is not None:
            self._helper = Helper(self._plan.launch, self._helped)
            await self._helper.place.open()
            if self._doors.addresses:
                what = "the algorithm can't be given its addresses"
                self._doors.hold(await self._listen(self._doors.addresses, what))
        await self._begin()

    async def _begin(self) -> None:
        """Start the container that waits."""
        if self._line is None:
            self._line = Path(tempfile.mkdtemp(prefix="atoll-box-"))
            pipe = self._line / _ALIVE
            os.mkfifo(pipe, 0o600)
            if self._plan.user is not None:
                for each in (pipe, self._line):
                    os.chown(each, *self._plan.user)
            # Both ends, so that nobody waits for the other; it closes with this process, however that ends.
            self._alive = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._container = await self._maker.make(
            self._plan.launch, ("/bin/sh", "-c", _WAIT), "/", line=self._line, network_of=self._network_of()
        )

    def _network_of(self) -> str | None:
        box = None if self._helper is None else self._helper.place.box
        return box.container.id if isinstance(box, Container) else None

    def network(self, what: str) -> tuple[Parent, int | None]:
        if self._helper is None:
            raise RuntimeUnavailable(f"{what}: the image has no Python, and no helper image is set")
        return self._helper.place.network(what)

    async def start(self, streams: Streams, seed: int | None, variables: Mapping[str, str]) -> Running:
        if self._container is None or self._container.ended.done():
            await self._drop()
            await self._begin()
        assert self._container is not None
        command = [self._file, *self._command[1:]]
        environment = {**self._inside.environment, **variables}
        return EngineCall(self._container, command, environment, self._inside.code, streams, self._kills)

    async def close(self) -> None:
        await super().close()
        await self._drop()
        if self._helper is not None:
            await self._helper.close()
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1
        if self._line is not None:
            shutil.rmtree(self._line, ignore_errors=True)

    async def _drop(self) -> None:
        self._kills.begin()
        container, self._container = self._container, None
        if container is not None:
            await container.remove()


class ServicePlace(ColdPlace):
    """A container that runs what its image starts by itself, for as long as the session."""

    async def _begin(self) -> None:
        """Nothing waits: the container starts with the service."""

    async def start(self, streams: Streams, seed: int | None, variables: Mapping[str, str]) -> Running:
        await self._drop()
        command = (self._file, *self._command[1:])
        self._container = await self._maker.make(
            self._plan.launch, command, self._inside.code, line=None, network_of=self._network_of()
        )
        return ContainerRun(self._container, streams.stdout, self._kills)


class _Work:
    """What an engine does for a call, in the background."""

    def __init__(self, container: Container, kills: Kills) -> None:
        self._container = container
        self._kills = kills
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        #: Its exit status, or minus the signal that ended it.
        self.ended: asyncio.Future[int] = self._loop.create_future()

    def kill(self) -> None:
        """End the whole container: an engine can't end one process of it."""
        self._do(self._kill())

    async def _kill(self) -> None:
        try:
            await self._container.remove()
        finally:
            self._end(_KILLED)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self, status: int) -> None:
        if not self.ended.done():
            self.ended.set_result(_SIGNALS - status if status > _SIGNALS else status)


class ContainerRun(_Work):
    """What an image starts by itself, in a container of its own."""

    def __init__(self, container: Container, log: int, kills: Kills) -> None:
        super().__init__(container, kills)
        self._do(self._follow(os.dup(log)))

    async def _follow(self, log: int) -> None:
        try:
            with suppress(*BREAKS):
                told = self._container.container.log(stdout=True, stderr=True, follow=True)
                async with aclosing(cast("AsyncGenerator[str]", told)) as lines:
                    async for line in lines:
                        os.write(log, line.encode("utf-8", "backslashreplace"))
        finally:
            os.close(log)
        await asyncio.wait({self._container.ended})
        if self._container.status:
            with suppress(*BREAKS):  # it may have been removed
                if await self._container.memory_ran_out():
                    self._kills.note(1)
        self._end(self._container.status)


class EngineCall(_Work):
    """A process that the engine has started in a container."""

    def __init__(
        self,
        container: Container,
        command: list[str],
        environment: Mapping[str, str],
        folder: str,
        streams: Streams,
        kills: Kills,
    ) -> None:
        super().__init__(container, kills)
        # Whoever gave them closes them when this returns.
        descriptors = tuple(os.dup(each) for each in (streams.stdin, streams.stdout, streams.stderr))
        self._working = self._loop.create_task(self._work(command, environment, folder, descriptors))

    async def _kill(self) -> None:
        try:
            await self._container.remove()
        finally:
            self._working.cancel()
            await asyncio.wait({self._working})
            self._end(_KILLED)

    async def _work(
        self, command: list[str], environment: Mapping[str, str], folder: str, descriptors: tuple[int, ...]
    ) -> None:
        status = _KILLED
        try:
            status = await self._run(command, environment, folder, descriptors)
            if status:
                with suppress(*BREAKS):  # the image may have nothing that could tell
                    self._kills.note(await self._container.memory_kills())
        finally:
            self._end(status)

    async def _run(
        self, command: list[str], environment: Mapping[str, str], folder: str, descriptors: tuple[int, ...]
    ) -> int:
        """The exit status of the process."""
        stdin, stdout, stderr = descriptors
        try:
            process = await self._container.container.exec(
                command,
                stdin=True,
                stdout=True,
                stderr=True,
                environment=environment,
                workdir=folder,
                user=self._container.user,
            )
            async with talking(process) as stream:
                feeding = asyncio.ensure_future(_feed(stream, stdin))
                try:
                    await _collect(stream, stdout, stderr)
                finally:
                    feeding.cancel()
                    await asyncio.wait({feeding})
            told = await process.inspect()
            return int(told.get("ExitCode") or 0)
        except BREAKS as error:
            os.write(stderr, f"the container engine did not start the call, or left it: {error}\n".encode())
            return _NOT_STARTED
        finally:
            for each in descriptors:
                os.close(each)


async def _feed(stream: Stream, descriptor: int) -> None:
    """Pass on what a process is to read, and its end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK_BYTES)
    file = os.fdopen(os.dup(descriptor), "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    try:
        with suppress(OSError, RuntimeError, AssertionError):  # it has ended without reading all of it
            while chunk := await reader.read(CHUNK_BYTES):
                await stream.write_in(chunk)
            # The library has no word for the end of what is written while more is read.
            connection = None if stream._resp is None else stream._resp.connection  # noqa: SLF001 -- as said
            if connection is not None and connection.transport is not None:
                connection.transport.write_eof()
    finally:
        transport.close()


async def _collect(stream: Stream, stdout: int, stderr: int) -> None:
    """Pass on what a process writes, until it has ended."""
    loop = asyncio.get_running_loop()
    file = os.fdopen(os.dup(stdout), "wb", buffering=0)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, file)
    transport.set_write_buffer_limits(high=0)  # what was written is there when the process has ended
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    try:
        while (message := await stream.read_out()) is not None:
            if message.stream == 1:
                with suppress(ConnectionError):  # more than an answer may have was not read any more
                    writer.write(message.data)
                    await writer.drain()
            else:
                os.write(stderr, message.data)
    finally:
        transport.close()
