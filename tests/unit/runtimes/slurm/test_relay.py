"""Connections within a line of frames."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.unit.runtimes.slurm.lines import KINDS, both

from atoll.engine.running import whole
from atoll.runtimes.slurm.frames import Frames, LineBrokenError
from atoll.runtimes.slurm.relay import WORDS, Relay


async def serve(frames: Frames, relay: Relay, opened: asyncio.Queue[socket.socket] | None) -> None:
    """Hear what is said of connections, and accept what is opened."""
    with suppress(LineBrokenError):
        while True:
            head, body = await frames.receive()
            if head["say"] in WORDS:
                relay.hear(head, whole(body))
            elif opened is None:
                await relay.refuse(head["stream"])
            else:
                ours, theirs = socket.socketpair()
                ours.setblocking(False)
                relay.accept(head["stream"], theirs)
                opened.put_nowait(ours)


@asynccontextmanager
async def carried(
    kind: str, folder: Path, *, refuses: bool = False
) -> AsyncIterator[tuple[socket.socket, asyncio.Queue[socket.socket], Relay]]:
    """An end of a connection that a seat has opened, what gets the other, and the seat's relay."""
    async with both(kind, folder) as (node, seat):
        relays = Relay(node, first=2), Relay(seat, first=1)
        opened: asyncio.Queue[socket.socket] = asyncio.Queue()
        tasks = [
            asyncio.create_task(serve(node, relays[0], None if refuses else opened)),
            asyncio.create_task(serve(seat, relays[1], opened)),
        ]
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        relays[1].open(theirs, {})
        try:
            with ours:
                yield ours, opened, relays[1]
        finally:
            await asyncio.gather(*(relay.close() for relay in relays))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_pass_both_ways_until_both_ends_are_closed(kind: str, tmp_path: Path) -> None:
    async def go() -> list[bytes]:
        loop = asyncio.get_running_loop()
        async with carried(kind, tmp_path) as (here, opened, _):
            there = await opened.get()
            with there:
                await loop.sock_sendall(here, b"question")
                here.shutdown(socket.SHUT_WR)
                heard = [await loop.sock_recv(there, 100), await loop.sock_recv(there, 100)]
                await loop.sock_sendall(there, b"answer")
                there.shutdown(socket.SHUT_WR)
                return [*heard, await loop.sock_recv(here, 100), await loop.sock_recv(here, 100)]

    assert [b"question", b"", b"answer", b""] == asyncio.run(go())


def test_a_reader_that_does_not_read_holds_up_its_own_writer_alone(tmp_path: Path) -> None:
    size_bytes = 8 * 1024 * 1024

    async def go() -> int:
        loop = asyncio.get_running_loop()
        async with carried("socket", tmp_path) as (here, opened, relay):
            with await opened.get() as there:
                writing = asyncio.create_task(loop.sock_sendall(here, bytes(size_bytes)))
                done, _ = await asyncio.wait({writing}, timeout=0.3)
                assert not done
                ours, theirs = socket.socketpair()
                ours.setblocking(False)
                relay.open(theirs, {})
                with ours, await opened.get() as beside:
                    await loop.sock_sendall(ours, b"beside")
                    assert b"beside" == await loop.sock_recv(beside, 100)
                read = 0
                while read < size_bytes:
                    read += len(await loop.sock_recv(there, 1024 * 1024))
                await writing
                return read

    assert size_bytes == asyncio.run(go())


def test_what_is_refused_ends(tmp_path: Path) -> None:
    async def go() -> bytes:
        async with carried("socket", tmp_path, refuses=True) as (here, _, _):
            return await asyncio.get_running_loop().sock_recv(here, 100)

    assert asyncio.run(go()) == b""


def test_a_connection_that_is_dropped_at_one_side_ends_at_the_other(tmp_path: Path) -> None:
    async def go() -> bytes:
        loop = asyncio.get_running_loop()
        async with carried("socket", tmp_path) as (_, opened, relay):
            with await opened.get() as there:
                relay.drop(1)
                return await loop.sock_recv(there, 100)

    assert asyncio.run(go()) == b""


def test_what_is_said_of_a_connection_that_has_gone_is_no_fault(tmp_path: Path) -> None:
    async def go() -> None:
        async with both("socket", tmp_path) as (node, _):
            Relay(node, first=2).hear({"say": "bytes", "stream": 7}, b"late")

    asyncio.run(go())
