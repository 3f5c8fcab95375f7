"""What a session makes of how its processes end, whatever starts them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pytest
from tests.descriptors import descriptors

from atoll.engine.limits import CallLimits
from atoll.engine.running import Outlet, Request
from atoll.model.errors import AlgorithmFailed, LimitReached
from atoll.runtimes.children import Streams
from atoll.runtimes.doors import Doors
from atoll.runtimes.served import ServeSession
from atoll.runtimes.sessions import CallSession, Running
from atoll.runtimes.warm import ParentLost


class _Lost:
    """A process whose parent ended."""

    def __init__(self, _: Streams) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ended.set_exception(ParentLost())

    def kill(self) -> None:
        """It has ended."""


class _Stuck:
    """A process that has answered once, and takes its time to end."""

    def __init__(self, streams: Streams) -> None:
        assert streams.serve is not None
        self.line = socket.socket(fileno=os.dup(streams.serve))
        self.line.sendall((3).to_bytes(8, "big") + b"\x0042")
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.killed = asyncio.Event()

    def kill(self) -> None:
        self.killed.set()


class _Quick:
    """A process that has printed and ended before anybody looks."""

    def __init__(self, streams: Streams) -> None:
        os.write(streams.stderr, b"x" * 600)
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ended.set_result(0)

    def kill(self) -> None:
        """It has ended."""


class _Full(Doors):
    """Doors on a machine that has no descriptor left."""

    def offer(self) -> socket.socket | None:
        raise OSError(24, os.strerror(24))


class _Place:
    """Where processes are lost with their parent, some because of their memory, or whatever else is asked for."""

    def __init__(
        self,
        folder: Path,
        *,
        kills: int = 0,
        doors: Doors | None = None,
        start: Callable[[Streams], Running] = _Lost,
    ) -> None:
        self.limits = CallLimits(memory_bytes=1_000_000, log_bytes=1_000)
        self.log = folder / "log"
        self.writable: Sequence[Path] = ()
        self.doors = doors or Doors()
        self.started = 0
        self.closed = False
        self._kills = kills
        self._start = start

    async def start(self, streams: Streams, seed: int | None, environment: Mapping[str, str]) -> Running:
        self.started += 1
        return self._start(streams)

    def memory_kills(self) -> int | None:
        return self._kills if self.started else 0

    def inside(self, path: Path) -> str:
        return str(path)

    def refusals(self) -> int | None:
        return None

    def members(self) -> Collection[int]:
        return ()

    async def sweep(self) -> None:
        """Nothing is left."""

    async def offer(self, outlet: Outlet) -> None:
        raise NotImplementedError

    async def reach(self, port: int) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        self.closed = True


def test_a_call_that_took_its_parent_with_it_for_its_memory_is_told_so_and_not_done_again(
    tmp_path: Path,
) -> None:
    place = _Place(tmp_path, kills=1)

    async def go() -> None:
        with pytest.raises(LimitReached, match="more than 1000000 bytes of memory"):
            await CallSession(place).call(Request())

    asyncio.run(go())
    assert place.started == 1


def test_a_call_whose_parent_is_lost_for_another_reason_is_done_once_more(tmp_path: Path) -> None:
    place = _Place(tmp_path)

    async def go() -> None:
        with pytest.raises(AlgorithmFailed, match="ended twice"):
            await CallSession(place).call(Request())

    asyncio.run(go())
    assert place.started == 2


@pytest.mark.parametrize("kind", [CallSession, ServeSession])
def test_a_call_that_can_not_be_set_up_leaves_nothing_open(
    tmp_path: Path, kind: type[CallSession | ServeSession]
) -> None:
    place = _Place(tmp_path, doors=_Full())

    async def go() -> None:
        before = descriptors()
        with pytest.raises(OSError, match="Too many open files"):
            await kind(place).call(Request(body=b"asked"))
        assert descriptors() == before

    asyncio.run(go())
    assert place.started == 0


def test_a_session_is_closed_with_all_that_it_holds_though_nobody_waits_until_its_process_has_ended(
    tmp_path: Path,
) -> None:
    async def go() -> None:
        before = descriptors()
        processes: list[_Stuck] = []

        def start(streams: Streams) -> _Stuck:
            processes.append(_Stuck(streams))
            return processes[0]

        place = _Place(tmp_path, start=start)
        session = ServeSession(place)
        reply = await session.call(Request(body=b"asked"))
        closing = asyncio.create_task(session.close())
        await processes[0].killed.wait()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        processes[0].line.close()
        assert (reply.output, place.closed) == (b"42", True)
        assert descriptors() == before

    asyncio.run(go())


def test_what_a_process_prints_before_it_is_watched_counts(tmp_path: Path) -> None:
    async def go() -> None:
        session = CallSession(_Place(tmp_path, start=_Quick))
        await session.call(Request())
        with pytest.raises(LimitReached, match="printed more than 1000 bytes"):
            await session.call(Request())

    asyncio.run(go())
    assert (tmp_path / "log").stat().st_size == 1000
