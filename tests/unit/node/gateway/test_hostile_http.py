"""A request that comes in a million pieces leaves the node's other work its turns."""

from __future__ import annotations

import asyncio
import os
import socket

from atoll.engine.running import HttpRequest, HttpResponse
from atoll.node.gateway.http import HttpServer

PIECES = 20_000
#: Pieces between two turns of others.
PIECES_AT_A_TIME_MAX = 500


async def small_pieces() -> tuple[int, int]:
    """Send a body in pieces; its size as it arrived, and the turns that others had until then."""
    turns = 0
    heard = asyncio.Event()
    asked: list[tuple[int, int]] = []

    async def respond(request: HttpRequest) -> HttpResponse:
        asked.append((len(request.body), turns))
        heard.set()
        return HttpResponse(status=200, body=b"{}")

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    listener = socket.create_server(("127.0.0.1", 0))
    _, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"POST /task HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(b"1\r\nx\r\n" * PIECES + b"0\r\n\r\n")
    await writer.drain()
    server = HttpServer(respond)
    others = asyncio.create_task(work())
    try:
        server.listen(os.dup(listener.fileno()))
        await heard.wait()
    finally:
        others.cancel()
        await server.close()
        writer.close()
        listener.close()

    return asked[0]


def test_a_body_in_small_pieces_lets_others_work() -> None:
    """All of it is there already, so that nothing needs to be waited for."""
    size, seen = asyncio.run(small_pieces())

    assert PIECES == size
    assert seen > PIECES / PIECES_AT_A_TIME_MAX
