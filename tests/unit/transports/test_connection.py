"""A node reaches its hub, whatever lies between, and says its key to nobody else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

from atoll.model.errors import (
    AtollError,
    HubUnreachable,
    NotLoggedIn,
    NotThere,
    Refused,
    TooMany,
    Unusable,
    VersionMismatch,
)
from atoll.transports import problem, version
from atoll.transports.connection import Connection, Pace

#: What a hub tells of its own failure.
FAULT = b'{"code":"Fault","detail":"the hub failed at this request","status":500}'


class Hub:
    """A hub that answers as a test says."""

    def __init__(self, *answers: Callable[[], web.Response]) -> None:
        self.answers = list(answers)
        #: Of each call: its path, its token and its body.
        self.calls: list[tuple[str, str, bytes]] = []
        self.tokens = 0
        #: How often the hub fails before it gives a token.
        self.token_faults = 0
        self.version = "0.1.0"
        #: Keys that are known.
        self.keys = {"atn_key"}

    async def token(self, request: web.Request) -> web.Response:
        """Give a token for a key."""
        if self.token_faults:
            self.token_faults -= 1
            return web.Response(status=500, body=FAULT)
        if (await request.json())["key"] not in self.keys:
            return refusing(NotLoggedIn("nobody is known by this key"))
        self.tokens += 1
        return web.json_response(
            {"access_token": f"ata_{self.tokens}", "expires_in": 900}, headers={version.HEADER: self.version}
        )

    async def call(self, request: web.Request) -> web.Response:
        """Answer as the test says; then that all is well."""
        self.calls.append((request.path, request.headers["Authorization"], await request.read()))
        return self.answers.pop(0)() if self.answers else web.Response(body=b"well")


def refusing(error: AtollError) -> web.Response:
    """An answer that refuses."""
    told = problem.problem_of(error)
    return web.Response(status=told.status, body=problem.encode(told))


class Slept:
    """Remembers how long was waited."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Wait no time."""
        self.seconds.append(seconds)


def ask(
    hub: Hub,
    work: Callable[[Connection], Coroutine[Any, Any, Any]] | None = None,
    *,
    key: str = "atn_key",
    slept: Slept | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> Any:
    """Call a hub; what came of it."""
    pace = Pace(dice=lambda: 0.5, sleep=(slept or Slept()).sleep, clock=clock)

    async def visit() -> Any:
        app = web.Application()
        app.router.add_post("/v1/node/token", hub.token)
        app.router.add_route("*", "/v1/{path:.*}", hub.call)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        _, port = runner.addresses[0]
        connection = Connection(f"http://127.0.0.1:{port}", key, pace=pace)
        try:
            if work is not None:
                return await work(connection)
            return (await connection.call("POST", "/x", b"body")).body
        finally:
            await connection.close()
            await runner.cleanup()

    return asyncio.run(visit())


# --- Addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://hub.example",
        "http://192.0.2.1:8000",
        "http://127.0.0.1.example",
        "http://localhost.example",
        "http://[2001:db8::1]",
    ],
)
def test_a_key_is_never_sent_over_a_network_in_the_open(url: str) -> None:
    with pytest.raises(Unusable, match="in the open"):
        Connection(url, "atn_key")


@pytest.mark.parametrize(
    "url",
    ["hub.example", "ftp://hub.example", "", "https://", "https://me:secret@hub.example", "https://[::1"],
)
def test_what_is_no_address_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(Unusable) as refused:
        Connection(url, "atn_key")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://hub.example", "https://hub.example/atoll/", "http://localhost:8000", "http://[::1]:1"]
)
def test_tls_and_this_machine_are_fine(url: str) -> None:
    Connection(url, "atn_key")


# --- Tokens -----------------------------------------------------------------------------------


def test_a_node_shows_a_token_and_never_its_key() -> None:
    hub = Hub()

    assert b"well" == ask(hub)
    assert [("/v1/x", "Bearer ata_1", b"body")] == hub.calls


def test_a_token_that_the_hub_has_forgotten_is_replaced_once() -> None:
    hub = Hub(lambda: refusing(NotLoggedIn("expired")))

    assert b"well" == ask(hub)
    assert ["Bearer ata_1", "Bearer ata_2"] == [token for _, token, _ in hub.calls]


def test_who_is_refused_with_a_new_token_too_is_refused() -> None:
    hub = Hub(*[lambda: refusing(NotLoggedIn("no"))] * 2)

    with pytest.raises(NotLoggedIn, match="no"):
        ask(hub)


def test_a_key_that_nobody_knows_is_refused_for_good() -> None:
    with pytest.raises(NotLoggedIn, match="nobody is known by this key"):
        ask(Hub(), key="atn_other")


def test_a_token_is_replaced_before_it_ends() -> None:
    hub = Hub()
    now = [0.0]

    async def work(connection: Connection) -> None:
        for now[0] in (0.0, 839.0, 841.0):
            await connection.call("GET", "/x")

    ask(hub, work, clock=lambda: now[0])

    assert ["Bearer ata_1", "Bearer ata_1", "Bearer ata_2"] == [token for _, token, _ in hub.calls]


def test_a_hub_of_another_age_is_refused() -> None:
    hub = Hub()
    hub.version = "7.0.0"

    with pytest.raises(VersionMismatch, match=r"the hub has version 7\.0\.0"):
        ask(hub)


# --- Trying again -----------------------------------------------------------------------------


def test_a_refusal_is_raised_as_its_class_and_not_tried_again() -> None:
    hub = Hub(lambda: refusing(NotThere("there is no run run_1")))

    with pytest.raises(NotThere, match="there is no run run_1"):
        ask(hub)
    assert 1 == len(hub.calls)


def test_a_proxy_that_finds_no_hub_is_waited_for_longer_and_longer() -> None:
    slept = Slept()
    hub = Hub(*[lambda: web.Response(status=502, text="<html>Bad Gateway</html>")] * 4)

    assert b"well" == ask(hub, slept=slept)
    assert [0.1, 0.2, 0.4, 0.8] == pytest.approx(slept.seconds)


def test_nobody_waits_longer_than_half_a_minute_and_a_bit() -> None:
    slept = Slept()
    hub = Hub(*[lambda: web.Response(status=502)] * 14)
    ask(hub, slept=slept)

    assert 30.0 == max(slept.seconds)


def test_a_hub_that_has_enough_is_left_alone_for_as_long_as_it_says() -> None:
    slept = Slept()

    assert b"well" == ask(Hub(lambda: refusing(TooMany("wait", seconds=7.0))), slept=slept)
    assert [7.0] == slept.seconds


def test_the_header_of_a_proxy_that_has_enough_is_heeded_too() -> None:
    slept = Slept()
    told = problem.encode(problem.problem_of(TooMany("wait")))
    hub = Hub(lambda: web.Response(status=429, body=told, headers={"Retry-After": "12"}))

    assert b"well" == ask(hub, slept=slept)
    assert [12.0] == slept.seconds


def test_a_hub_that_fails_is_asked_again_but_not_for_ever() -> None:
    hub = Hub(*[lambda: web.Response(status=500, body=FAULT)] * 3)
    assert b"well" == ask(hub)

    hub = Hub(*[lambda: web.Response(status=500, body=FAULT)] * 99)
    with pytest.raises(Refused, match="the hub failed at this request"):
        ask(hub)
    assert 9 == len(hub.calls)


def test_a_hub_that_fails_at_a_token_is_asked_again_as_for_all_else() -> None:
    hub = Hub()
    hub.token_faults = 3

    assert b"well" == ask(hub)


def test_a_hub_that_gives_no_token_for_a_stream_is_one_that_is_not_reached() -> None:
    hub = Hub()
    hub.token_faults = 1

    async def work(connection: Connection) -> None:
        with pytest.raises(HubUnreachable, match="gives no token: the hub failed at this request"):
            await connection.socket("/x", message_bytes_max=100)

    ask(hub, work)


@pytest.mark.parametrize(
    "said",
    [
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["no HTTP", "a proxy that connects nobody"],
)
def test_what_is_no_hub_and_no_way_to_one_is_tried_again(said: bytes) -> None:
    """It may be put right, while the node goes on."""

    class GivenUp(Exception):
        pass

    async def sleep(_: float) -> None:
        raise GivenUp

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async def visit() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            connection = Connection("https://hub.example", "atn_key", proxy=proxy, pace=Pace(sleep=sleep))
            try:
                with pytest.raises(GivenUp):
                    await connection.call("GET", "/x")
            finally:
                await connection.close()

    asyncio.run(visit())


@pytest.mark.parametrize(
    ("exceptions", "asked"),
    [("", ["CONNECT 127.0.0.1:1"]), ("hub.example", ["CONNECT 127.0.0.1:1"]), ("127.0.0.1", [])],
)
def test_the_way_that_the_environment_names_is_taken(
    exceptions: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def sleep(_: float) -> None:
        raise _GivenUp

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode().partition(" HTTP/")[0])
        writer.close()

    async def visit() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("no_proxy", exceptions)
            connection = Connection("https://127.0.0.1:1", "atn_key", pace=Pace(sleep=sleep))
            try:
                with pytest.raises(_GivenUp):
                    await connection.call("GET", "/x")
            finally:
                await connection.close()

    asyncio.run(visit())

    assert asked == seen


class _GivenUp(Exception):
    """It was tried, and nobody tries it again."""


def test_passwords_that_are_meant_for_other_programs_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    assert b"well" == ask(Hub())


def test_what_is_sent_is_made_anew_for_each_try() -> None:
    hub = Hub(lambda: web.Response(status=503))
    bodies = iter([b"one", b"two"])

    async def work(connection: Connection) -> bytes:
        return (await connection.call("POST", "/x", lambda: next(bodies))).body

    assert b"well" == ask(hub, work)
    assert [b"one", b"two"] == [body for _, _, body in hub.calls]


def test_nobody_is_led_elsewhere() -> None:
    hub = Hub(lambda: web.Response(status=307, headers={"Location": "https://elsewhere.example/"}))

    assert b"well" == ask(hub)
    assert ["/v1/x"] * 2 == [path for path, _, _ in hub.calls]


def test_a_closed_connection_stays_closed() -> None:
    async def work(connection: Connection) -> None:
        await connection.close()
        with pytest.raises(RuntimeError, match="was closed"):
            await connection.call("GET", "/x")

    ask(Hub(), work)


# --- TLS --------------------------------------------------------------------------------------


def test_a_hub_whose_authority_is_private_is_trusted_by_a_file_and_by_nothing_else(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("localhost")
    slept = Slept()

    async def visit() -> bytes:
        hub = Hub()
        app = web.Application()
        app.router.add_post("/v1/node/token", hub.token)
        app.router.add_route("*", "/v1/{path:.*}", hub.call)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "localhost", 0, ssl_context=context).start()
        url = f"https://localhost:{runner.addresses[0][1]}"
        trusting = Connection(url, "atn_key", ca_file=tmp_path / "ca.pem", pace=Pace(sleep=slept.sleep))
        wary = Connection(url, "atn_key", pace=Pace(sleep=slept.sleep))
        try:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                async with wary.request("GET", "/x"):
                    pass
            return (await trusting.call("GET", "/x")).body
        finally:
            await trusting.close()
            await wary.close()
            await runner.cleanup()

    assert b"well" == asyncio.run(visit())
