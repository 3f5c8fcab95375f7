from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtimes.slurm.lines import BODY_BYTES_MAX, KINDS, both

from atoll.engine.limits import CHUNK_BYTES
from atoll.runtimes.held import MemoryFile
from atoll.runtimes.slurm.frames import Frames, Keys, LineBrokenError, keep_alive

Talk = Callable[[Frames, Frames], Awaitable[Any]]


def talk(kind: str, folder: Path, work: Talk) -> Any:
    async def go() -> Any:
        async with both(kind, folder) as (node, seat):
            return await work(node, seat)

    return asyncio.run(go())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size_bytes", [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 1])
def test_a_frame_arrives_as_it_was_sent(kind: str, size_bytes: int, tmp_path: Path) -> None:
    body = bytes(range(256)) * (size_bytes // 256) + b"x" * (size_bytes % 256)

    async def work(node: Frames, seat: Frames) -> list[Any]:
        heard: list[Any] = []
        for ours, theirs in ((node, seat), (seat, node)):
            sending = asyncio.create_task(ours.send({"say": "grüße"}, body))
            heard.append(await theirs.receive())
            await sending
        return heard

    assert [({"say": "grüße"}, body)] * 2 == talk(kind, tmp_path, work)


def test_a_held_body_arrives_as_a_held_one(tmp_path: Path) -> None:
    async def work(node: Frames, seat: Frames) -> Any:
        await node.send({"say": "x"}, MemoryFile.of(b"large"))
        head, body = await seat.receive()
        assert isinstance(body, MemoryFile)
        return head, body.read()

    assert ({"say": "x"}, b"large") == talk("socket", tmp_path, work)


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_hears_that_the_other_side_has_ended(kind: str, tmp_path: Path) -> None:
    async def work(node: Frames, seat: Frames) -> None:
        await seat.send({"say": "last"})
        await seat.close()
        assert ({"say": "last"}, b"") == await node.receive()
        with pytest.raises(LineBrokenError):
            await node.receive()
        with pytest.raises(LineBrokenError):
            await seat.send({"say": "more"})

    talk(kind, tmp_path, work)


def test_a_frame_that_is_too_large_ends_the_line(tmp_path: Path) -> None:
    async def work(node: Frames, seat: Frames) -> None:
        sending = asyncio.create_task(node.send({}, bytes(2 * BODY_BYTES_MAX)))
        with pytest.raises(LineBrokenError, match="the most that it may have"):
            await seat.receive()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    talk("socket", tmp_path, work)


def test_who_stops_within_a_frame_says_nothing_more(tmp_path: Path) -> None:
    """Else the rest of the line would be read as something else."""

    async def work(node: Frames, _: Frames) -> None:
        sending = asyncio.create_task(node.send({}, bytes(64 * CHUNK_BYTES)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        with pytest.raises(LineBrokenError, match="the line is closed"):
            await node.send({"say": "x"})

    talk("socket", tmp_path, work)


class Wire:
    """Pieces in a list."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def send(self, piece: bytes) -> None:
        self.pieces.append(piece)

    async def receive(self) -> bytes:
        return self.pieces.pop(0)

    async def close(self) -> None: ...


def _meddle(pieces: list[bytes], how: str) -> None:
    if how == "changed":
        pieces[0] = pieces[0].replace(b"one", b"two")
    elif how == "repeated":
        pieces.insert(1, pieces[0])
    elif how == "left out":
        pieces.pop(0)
    elif how == "cut":
        pieces[0] = pieces[0][:20]
    elif how == "added":
        pieces.insert(0, b"\x01" + bytes(40))


async def _read_all(reader: Frames) -> None:
    while True:
        await reader.receive()


@pytest.mark.parametrize("how", ["changed", "repeated", "left out", "cut", "added", "of its own direction"])
def test_what_is_not_proven_is_not_heard(how: str) -> None:
    keys = Keys.of(b"s" * 32, b"drawn")
    wire = Wire()
    others = keys.seat if how == "of its own direction" else keys.node

    async def go() -> None:
        sender = Frames(wire, own=keys.node, others=keys.seat, body_bytes_max=100)
        reader = Frames(wire, own=keys.seat, others=others, body_bytes_max=100)
        for word in ("one", "two"):
            await sender.send({"say": word})
        _meddle(wire.pieces, how)
        with pytest.raises(LineBrokenError, match="not proven by the session's secret"):
            await _read_all(reader)

    asyncio.run(go())


def test_the_same_secret_makes_other_keys_for_another_connection() -> None:
    one, other = Keys.of(b"s" * 32, b"drawn"), Keys.of(b"s" * 32, b"drawn again")

    assert 4 == len({one.node, one.seat, other.node, other.seat})


@pytest.mark.parametrize("text", [b"not json", b"[]", b""])
def test_a_frame_needs_a_head(text: bytes) -> None:
    keys = Keys.of(b"s" * 32, b"drawn")
    wire = Wire()

    async def go() -> None:
        sender = Frames(wire, own=keys.node, others=keys.seat, body_bytes_max=100)
        await sender._send_piece(len(text).to_bytes(4, "big") + text, last=True)
        reader = Frames(wire, own=keys.seat, others=keys.node, body_bytes_max=100)
        with pytest.raises(LineBrokenError, match="a JSON object"):
            await reader.receive()

    asyncio.run(go())


def test_a_side_that_gives_no_sign_of_life_is_lost(tmp_path: Path) -> None:
    """Who watches returns, while the other side's connection is still there."""

    async def work(node: Frames, _: Frames) -> None:
        await keep_alive(node, beat_seconds=0.01, silent_seconds=0.05)

    talk("socket", tmp_path, work)


def test_a_side_that_takes_nothing_any_more_is_lost_too() -> None:
    """Its machine has gone, and what is sent to it fills what lies between."""

    class Full(Wire):
        async def send(self, piece: bytes) -> None:
            await asyncio.Event().wait()

    async def go() -> None:
        keys = Keys.of(b"s" * 32, b"drawn")
        node = Frames(Full(), own=keys.node, others=keys.seat, body_bytes_max=100)
        async with asyncio.timeout(9):
            await keep_alive(node, beat_seconds=0.01, silent_seconds=0.05)

    asyncio.run(go())


def test_signs_of_life_keep_a_side_alive(tmp_path: Path) -> None:
    async def work(node: Frames, seat: Frames) -> bool:
        async def hear() -> None:
            while True:
                await node.receive()

        tasks = [
            asyncio.create_task(each)
            for each in (
                hear(),
                keep_alive(node, beat_seconds=1, silent_seconds=0.2),
                keep_alive(seat, beat_seconds=0.01, silent_seconds=9),
            )
        ]
        done, _ = await asyncio.wait(tasks, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return bool(done)

    assert not talk("socket", tmp_path, work)
