"""A node's link goes on listening, and brings no file that isn't there, whatever its hub does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from tests.federation import blob_of, in_chunks

from atoll.model.errors import AtollError, BlobMismatch, Malformed, NotAllowed
from atoll.model.work import RunId
from atoll.transports import problem, version
from atoll.transports.connection import Connection, Pace
from atoll.transports.http import HttpLink

Answer = Callable[[], web.Response]
#: Seconds between two heartbeats. Nothing else takes as long, and none comes here.
BEAT = 15


async def slept(seconds: float) -> None:
    """Wait no time, but for ever where it is for a heartbeat."""
    await (asyncio.Event().wait() if seconds == BEAT else asyncio.sleep(0))


@asynccontextmanager
async def linked(answers: dict[str, Answer]) -> AsyncIterator[HttpLink]:
    """A link to a hub that answers at these paths; it has not said hello yet."""

    async def answer(request: web.Request) -> web.Response:
        return answers[request.path]()

    known: dict[str, Answer] = {
        "/v1/node/token": lambda: web.json_response(
            {"access_token": "ata_1", "expires_in": 900}, headers={version.HEADER: "0.1.0"}
        ),
        "/v1/node/hello": lambda: web.json_response({"node": "alpha", "heartbeat_seconds": BEAT}),
    }
    answers = {**known, **answers}
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    link = HttpLink(Connection(url, "atn_key", pace=Pace(dice=lambda: 0.5, sleep=slept)))
    try:
        async with asyncio.timeout(10):
            yield link
    finally:
        await link.close()
        await runner.cleanup()


def refusing(error: AtollError) -> web.Response:
    told = problem.problem_of(error)
    return web.Response(status=told.status, body=problem.encode(told))


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(
            lambda: web.json_response({"code": "Fault", "detail": "failed"}, status=500), id="fails"
        ),
        pytest.param(lambda: refusing(Malformed("not so")), id="refuses"),
        pytest.param(lambda: web.Response(body=b'{}\n{"work": 7}\n'), id="says what none says"),
    ],
)
def test_a_node_is_not_deaf_for_ever_where_its_hub_was_in_trouble_for_long(trouble: Answer) -> None:
    times = iter(range(20))

    def events() -> web.Response:
        return web.Response(body=b'{}\n{"work":true}\n') if next(times, None) is None else trouble()

    async def go() -> None:
        async with linked({"/v1/node/events": events, "/v1/node/heartbeat": web.Response}) as link:
            await link.start()
            await link.listen()

    asyncio.run(go())


def test_a_node_whose_hub_does_not_let_it_listen_is_told_why() -> None:
    async def go() -> None:
        async with linked({"/v1/node/events": lambda: refusing(NotAllowed("it was removed"))}) as link:
            with pytest.raises(NotAllowed, match="it was removed"):
                await link.start()

    asyncio.run(go())


def test_a_node_that_can_t_listen_for_a_reason_that_nobody_has_thought_of_ends() -> None:
    def events() -> web.Response:
        return web.Response(body=b"{}\n" + bytes(1_000_000))

    async def go() -> None:
        async with linked({"/v1/node/events": events}) as link:
            await link.start()
            await link.over()

    with pytest.raises(LineTooLong):
        asyncio.run(go())


def test_a_file_of_which_the_hub_has_more_than_is_there_is_not_brought_for_ever() -> None:
    """Another has brought a part of it before, and here it has become shorter meanwhile."""
    path = "/v1/runs/run/uploads"
    blob = blob_of(b"as it was")

    async def go() -> None:
        here = {path: lambda: web.json_response({"offset": 5})}
        at = {f"{path}/{blob.digest}": lambda: web.json_response({"offset": 5})}
        async with linked({**here, **at}) as link:
            with pytest.raises(BlobMismatch, match="has 2 bytes: expected 9 bytes"):
                await link.put_blob(RunId("run"), blob, in_chunks(b"as"))

    asyncio.run(go())
