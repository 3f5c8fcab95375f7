"""A WebSocket to the hub: what stands in its way is told, and a token that is over is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web

from atoll.engine.peers import Port, Standing
from atoll.model.errors import HubUnreachable, NotLoggedIn, StreamBroken
from atoll.model.work import JobId, RunId
from atoll.transports import problem
from atoll.transports.connection import Connection
from atoll.transports.peers import HttpPeers
from atoll.transports.version import HEADER

STANDING = Standing(run_id=RunId("run"), job_id=JobId("run.0.0"), attempt=1)
KEY = bytes(32)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Work = Callable[[HttpPeers], Coroutine[Any, Any, Any]]


class Front:
    """What answers where a hub should be."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.tokens = 0

    async def token(self, _: web.Request) -> web.Response:
        """Give out the next token."""
        self.tokens += 1
        return web.json_response({"access_token": f"ata_{self.tokens}"}, headers={HEADER: "0.1.0"})

    def asked(self, work: Work) -> Any:
        """What came of asking it."""

        async def visit() -> Any:
            app = web.Application()
            app.router.add_post("/v1/node/token", self.token)
            app.router.add_get("/v1/node/peers/{path:.*}", self.handler)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            connection = Connection(f"http://127.0.0.1:{runner.addresses[0][1]}", "atn_key")
            try:
                return await work(HttpPeers(connection))
            finally:
                await connection.close()
                await runner.cleanup()

        return asyncio.run(visit())


async def announced(link: HttpPeers) -> None:
    """Announce a port, and take no calls."""
    await (await link.announce(STANDING, [Port(number=8888)])).close()


@pytest.mark.parametrize("status", [200, 400, 401, 404, 502])
def test_what_takes_no_websocket_is_told(status: int) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status)

    with pytest.raises(
        HubUnreachable, match=f"takes no WebSocket .status {status}.: it must pass on requests"
    ):
        Front(refuse).asked(announced)


def test_a_hub_that_is_away_is_told() -> None:
    async def work(_: HttpPeers) -> None:
        connection = Connection("http://127.0.0.1:1", "atn_key")
        try:
            await announced(HttpPeers(connection))
        finally:
            await connection.close()

    with pytest.raises(HubUnreachable, match="can't be reached for a stream"):
        asyncio.run(work(None))  # type: ignore[arg-type]  # nobody is asked


@pytest.mark.parametrize("last", [2, 3])
def test_a_token_that_is_over_is_replaced_once(last: int) -> None:
    async def meet(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        known = request.headers["Authorization"] == f"Bearer ata_{last}"
        told = "{}" if known else problem.encode(problem.problem_of(NotLoggedIn("who is that?"))).decode()
        await socket.send_str(told)
        await socket.receive()
        return socket

    front = Front(meet)
    if last == 2:
        front.asked(announced)
    else:
        with pytest.raises(NotLoggedIn, match="who is that"):
            front.asked(announced)

    assert front.tokens == 2


@pytest.mark.parametrize("said", ["", "nothing"], ids=["nothing", "something else"])
def test_a_hub_that_breaks_off_or_says_something_else_is_no_stream(said: str) -> None:
    async def meet(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        if said:
            await socket.send_bytes(b"x")
        await socket.close()
        return socket

    async def work(link: HttpPeers) -> None:
        await link.connect(STANDING, JobId("run.0.1"), 8888, KEY)

    with pytest.raises(HubUnreachable, match="was cut"):
        Front(meet).asked(work)


def test_a_stream_that_the_hub_cuts_is_over_on_both_ways() -> None:
    async def meet(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str("{}")
        await socket.close()
        return socket

    async def work(link: HttpPeers) -> None:
        channel = await link.answer(STANDING, "stream", KEY)
        assert await channel.receive() is None
        with pytest.raises(StreamBroken):
            await channel.send(b"x")
        await channel.close()

    Front(meet).asked(work)
