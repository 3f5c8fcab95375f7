"""How long the head of a request may be, at the server that a hub has."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path

import uvicorn
from tests.hub_app import hub_app
from tests.served import Server

from atoll.hub.heads import HEAD_BYTES_MAX, BoundedHeads

HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: hub.test\r\n"


def told(folder: Path, pieces: Iterable[bytes]) -> bytes:
    """What a hub answers to these pieces, until it closes the connection."""

    async def ask() -> bytes:
        async with hub_app(folder) as hub:
            config = uvicorn.Config(
                hub.app,
                log_config=None,
                access_log=False,
                lifespan="off",
                http=BoundedHeads,
                ws="none",
                loop="none",
            )
            server = Server(config)
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(folder / "hub"))
                listening.listen(1)
                await server.begin([listening])
                reader, writer = await asyncio.open_unix_connection(str(folder / "hub"))
                try:
                    for piece in pieces:
                        writer.write(piece)
                        await writer.drain()
                    return await reader.read()
                except ConnectionError:  # It has hung up while more was sent.
                    return b"HTTP/1.1 400 "
                finally:
                    writer.close()
                    await server.end()

    return asyncio.run(asyncio.wait_for(ask(), 30))


def test_a_head_without_an_end_is_cut_off(tmp_path: Path) -> None:
    endless = (b"x" * HEAD_BYTES_MAX for _ in range(100))

    assert told(tmp_path, [HEALTH, b"X-Long: ", *endless]).startswith(b"HTTP/1.1 400 ")


def test_a_head_of_some_length_is_taken_again_and_again(tmp_path: Path) -> None:
    long = b"X-Long: " + b"x" * (HEAD_BYTES_MAX // 2) + b"\r\n"

    answered = told(tmp_path, [(HEALTH + long + b"\r\n") * 3, HEALTH + b"Connection: close\r\n\r\n"])

    assert 4 == answered.count(b"HTTP/1.1 200 OK")


def test_what_comes_behind_a_body_is_no_header(tmp_path: Path) -> None:
    head = b"POST /v1/login HTTP/1.1\r\nHost: hub.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"

    answered = told(tmp_path, [head, b"2\r\n{}\r\n0\r\nAtoll-Version: 99.0.0\r\n\r\n"])

    assert answered.startswith(b"HTTP/1.1 422 ")
