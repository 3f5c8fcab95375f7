"""Jobs of one run that talk to each other: bytes go through whole and in order, or the connection breaks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from tests.federation import Heard, make_run, seats
from tests.harbour import LINKS, Harbour, at
from tests.unit.node.peers.loopback import LoopbackSession

from atoll.algorithms.installed import Installed
from atoll.engine.peers import Address, Announced, Channel, Knock, Peer, PeerLink, Port, Standing
from atoll.model.errors import AlgorithmFailed, HubUnreachable
from atoll.model.work import JobId, Ticket
from atoll.node.chair import Chair
from atoll.node.peers.peering import Peering, Rule, Talking

LOCAL0, LOCAL1 = SITES = seats(2)
MEGABYTES = bytes(range(256)) * 4096 * 3
T = TypeVar("T")

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Site:
    """A site with a job that is under way."""

    ticket: Ticket
    link: PeerLink
    log: Path
    rule: Rule = lambda *_: None
    session: LoopbackSession = field(default_factory=LoopbackSession)
    heard: Heard = field(default_factory=Heard)
    ports: tuple[Port, ...] = ()

    def __post_init__(self) -> None:
        self.chair = Chair(desk=cast("Any", None), key=None, number=0, session=self.session)
        self.peering = Peering(self.link, self.rule, self.heard, patience_seconds=0)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[Talking]:
        """The job's call, for as long as the context lasts."""
        installed = Installed(convention=cast("Any", None), code=None, ports=self.ports)
        async with self.peering.of(self.ticket, installed, self.chair, self.log) as talking:
            yield talking

    @property
    def refusals(self) -> list[str]:
        """What whoever started the run is told."""
        return [sentence for _, sentence in self.heard.refusals]


@asynccontextmanager
async def listening(answer: Answering) -> AsyncIterator[Port]:
    """An algorithm that listens."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        finally:
            writer.close()  # also where the test ends before it

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    try:
        yield Port(number=server.sockets[0].getsockname()[1], label="exchange")
    finally:
        server.close()


async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end, and answer with what it was; then as much again."""
    writer.write(hashlib.sha256(await reader.read()).digest() + MEGABYTES)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the connection ends."""
    with suppress(OSError):
        writer.write(b"here")
        await reader.read()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Two sites, of which the second one's algorithm listens."""

    first: Site
    second: Site
    stack: AsyncExitStack

    async def address(self) -> Address:
        """Where the first finds the second, both being under way."""
        await self.stack.enter_async_context(self.second.calling())
        talking = await self.stack.enter_async_context(self.first.calling())
        return await self.found(talking)

    async def found(self, talking: Talking) -> Address:
        """Where the second is found; it may take a moment until it is known."""
        while True:
            for address in await talking.addresses():
                if address.peer.seat == LOCAL1:
                    return address
            await asyncio.sleep(0)


Changed = Callable[[PeerLink], PeerLink]


def play(
    tmp_path: Path,
    work: Callable[[Scene], Coroutine[Any, Any, T]],
    *,
    kind: str = "local",
    answer: Answering = digest,
    changed: Changed = lambda link: link,
    rules: Sequence[Rule] = (lambda *_: None, lambda *_: None),
) -> T:
    """Let two sites of a run play a scene."""

    async def visit(harbour: Harbour) -> T:
        tickets = [replace(ticket, sites=SITES) for ticket in await harbour.claim(*SITES)]
        async with AsyncExitStack() as stack, listening(answer) as port:
            first, second = (
                Site(ticket, changed(harbour.peers[seat]), tmp_path / seat, rule, ports=(port,))
                for seat, ticket, rule in zip(SITES, tickets, rules, strict=True)
            )
            for site in (first, second):
                stack.push_async_callback(site.session.close)
            try:
                return await work(Scene(first=first, second=second, stack=stack))
            finally:
                await stack.aclose()

    return at(LINKS[kind], make_run(2, aggregated=(False,)), visit)


# --- What goes through ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["local", "http"])
def test_megabytes_go_both_ways_and_each_direction_ends_by_itself(tmp_path: Path, kind: str) -> None:
    async def work(scene: Scene) -> bytes:
        address = await scene.address()
        reader, writer = await scene.first.session.dial(address.host, address.port)
        writer.write(MEGABYTES)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    answer = play(tmp_path, work, kind=kind)

    assert answer == hashlib.sha256(MEGABYTES).digest() + MEGABYTES
    assert not (tmp_path / LOCAL0).exists()


def test_many_connections_go_side_by_side(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())

    async def work(scene: Scene) -> list[bytes]:
        address = await scene.address()

        async def asked(number: int) -> bytes:
            reader, writer = await scene.first.session.dial(address.host, address.port)
            writer.write(b"%d" % number)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

        return await asyncio.gather(*map(asked, range(20)))

    assert [b"%d" % number for number in range(20)] == play(tmp_path, work, answer=echo)


def test_a_job_finds_itself_at_its_own_loopback(tmp_path: Path) -> None:
    async def work(scene: Scene) -> list[tuple[str, int, int]]:
        async with scene.first.calling() as talking:
            return [
                (address.host, address.port, address.peer.ports[0].number)
                for address in await talking.addresses()
            ]

    ((host, port, declared),) = play(tmp_path, work)

    assert ("127.0.0.1", declared) == (host, port)


def test_the_next_call_of_a_session_is_told_the_same_addresses(tmp_path: Path) -> None:
    async def work(scene: Scene) -> tuple[list[Address], list[tuple[str, int]]]:
        await scene.stack.enter_async_context(scene.second.calling())
        told = []
        for _ in range(2):
            async with scene.first.calling() as talking:
                told.append(await scene.found(talking))
        return told, scene.first.session.offered

    told, offered = play(tmp_path, work)

    assert [("127.1.0.1", 28_000)] == offered
    assert told[0] == told[1]


# --- What is refused --------------------------------------------------------------------------


def test_a_site_that_does_not_allow_it_tells_its_algorithm_of_nobody(tmp_path: Path) -> None:
    async def work(scene: Scene) -> tuple[list[Any], list[str]]:
        await scene.stack.enter_async_context(scene.second.calling())
        async with scene.first.calling() as talking:
            return [*await talking.addresses(), *await talking.addresses()], scene.first.refusals

    addresses, refusals = play(tmp_path, work, rules=(lambda *_: "not here", lambda *_: None))

    assert [] == addresses
    assert ["not here"] == refusals


def test_a_site_that_does_not_allow_it_is_not_found_and_says_why(tmp_path: Path) -> None:
    async def work(scene: Scene) -> tuple[list[str], list[str]]:
        await scene.stack.enter_async_context(scene.second.calling())
        async with scene.first.calling() as talking:
            found = [address.peer.seat for address in await talking.addresses()]
        return [str(seat) for seat in found], scene.second.refusals

    found, refusals = play(tmp_path, work, rules=(lambda *_: None, lambda *_: "not here"))

    assert [LOCAL0] == found
    assert ["not here"] == refusals


def test_an_algorithm_that_does_not_listen_is_not_reached(tmp_path: Path) -> None:
    async def work(scene: Scene) -> str:
        scene.second.ports = (Port(number=1, label="nobody is there"),)
        address = await scene.address()
        reader, writer = await scene.first.session.dial(address.host, address.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        return (tmp_path / LOCAL0).read_text()

    log = play(tmp_path, work)

    assert "has broken: local1 takes no call: at port 1, nobody listens there" in log


def test_an_algorithm_has_no_more_connections_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What takes calls is one of what goes on.
    monkeypatch.setattr("atoll.node.peers.talk.STREAMS_PER_NODE_MAX", 2)

    async def work(scene: Scene) -> list[bytes]:
        address = await scene.address()
        heard = []
        for _ in range(4):
            reader, writer = await scene.first.session.dial(address.host, address.port)
            scene.stack.callback(writer.close)
            heard.append(await reader.read(4))
        return heard

    assert [b"here", b"here", b"", b""] == play(tmp_path, work, answer=silent)
    assert "has 2 connections" in (tmp_path / LOCAL0).read_text()


def test_a_log_is_not_filled_by_who_connects_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.node.peers.peering.REFUSALS_MAX", 3)

    async def work(scene: Scene) -> int:
        scene.second.ports = (Port(number=1),)
        address = await scene.address()
        for _ in range(5):
            reader, writer = await scene.first.session.dial(address.host, address.port)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
        return len((tmp_path / LOCAL0).read_text().splitlines())

    assert play(tmp_path, work) == 3


# --- What breaks ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["local", "http"])
@pytest.mark.parametrize("who", ["first", "second"])
def test_a_job_that_ends_takes_its_connections_with_it(tmp_path: Path, kind: str, who: str) -> None:
    async def work(scene: Scene) -> bytes:
        async with AsyncExitStack() as ends:
            calls = {"first": scene.stack, "second": scene.stack, who: ends}
            await calls["second"].enter_async_context(scene.second.calling())
            talking = await calls["first"].enter_async_context(scene.first.calling())
            address = await scene.found(talking)
            reader, writer = await scene.first.session.dial(address.host, address.port)
            here = await reader.readexactly(4)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        return here

    assert play(tmp_path, work, kind=kind, answer=silent) == b"here"


def test_an_address_leads_nowhere_when_the_call_has_ended(tmp_path: Path) -> None:
    async def work(scene: Scene) -> bytes:
        await scene.stack.enter_async_context(scene.second.calling())
        async with scene.first.calling() as talking:
            address = await scene.found(talking)
        reader, writer = await scene.first.session.dial(address.host, address.port)
        left = await reader.read()
        writer.close()
        return left

    assert play(tmp_path, work) == b""


class Meddling:
    """A hub that does something to the pieces of streams."""

    def __init__(self, link: PeerLink, meddle: Callable[[list[bytes]], bytes | None]) -> None:
        self._link = link
        self._meddle = meddle

    async def peers(self, standing: Standing) -> Sequence[Peer]:
        return await self._link.peers(standing)

    async def announce(self, standing: Standing, ports: Sequence[Port]) -> Announced:
        return await self._link.announce(standing, ports)

    async def connect(self, standing: Standing, to: JobId, port: int, key: bytes) -> tuple[Channel, bytes]:
        channel, theirs = await self._link.connect(standing, to, port, key)
        return MeddledChannel(channel, self._meddle), theirs

    async def answer(self, standing: Standing, stream: str, key: bytes) -> Channel:
        return await self._link.answer(standing, stream, key)


class MeddledChannel:
    """A stream whose pieces something is done to: what has come so far is given, and the last is replaced."""

    def __init__(self, channel: Channel, meddle: Callable[[list[bytes]], bytes | None]) -> None:
        self._channel = channel
        self._meddle = meddle
        self._came: list[bytes] = []

    async def send(self, piece: bytes) -> None:
        await self._channel.send(piece)

    async def receive(self) -> bytes | None:
        piece = await self._channel.receive()
        if piece is None:
            return None
        self._came.append(piece)
        return self._meddle(self._came)

    async def close(self) -> None:
        await self._channel.close()


@pytest.mark.parametrize(
    ("meddle", "sentence"),
    [
        (lambda came: came[-1][:-1] + bytes([came[-1][-1] ^ 1]), "piece 0 of a stream is not what"),
        (lambda came: came[0], "piece 1 of a stream is not what"),
        (lambda came: came[-1] if len(came) < 3 else None, "has cut a stream off"),
    ],
    ids=["changed", "repeated", "cut off"],
)
def test_a_stream_that_somebody_meddles_with_breaks_and_is_never_taken_for_whole(
    tmp_path: Path, meddle: Callable[[list[bytes]], bytes | None], sentence: str
) -> None:
    async def work(scene: Scene) -> str:
        address = await scene.address()
        reader, writer = await scene.first.session.dial(address.host, address.port)
        writer.write_eof()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        return (tmp_path / LOCAL0).read_text()

    assert sentence in play(tmp_path, work, changed=lambda link: Meddling(link, meddle))


class Flaky(Meddling):
    """A hub that is lost at first, and again after each call."""

    def __init__(self, link: PeerLink) -> None:
        super().__init__(link, lambda came: came[-1])
        self.announcements = 0

    async def announce(self, standing: Standing, ports: Sequence[Port]) -> Announced:
        self.announcements += 1
        if self.announcements == 1:
            raise HubUnreachable("the hub is away")
        return OneCall(await super().announce(standing, ports))


class Wrong(Meddling):
    """A hub that fails in a way that nobody has thought of."""

    def __init__(self, link: PeerLink) -> None:
        super().__init__(link, lambda came: came[-1])

    async def announce(self, standing: Standing, ports: Sequence[Port]) -> Announced:
        raise LookupError


def test_an_algorithm_that_asks_for_others_is_answered_whatever_is_wrong(tmp_path: Path) -> None:
    async def work(scene: Scene) -> Sequence[Address]:
        async with scene.first.calling() as talking, asyncio.timeout(5):
            return await talking.addresses()

    assert [] == play(tmp_path, work, changed=Wrong)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(AlgorithmFailed("it has ended"), "it has ended"), (ConnectionRefusedError(), "nobody listens there")],
)
def test_who_calls_an_algorithm_that_can_t_be_reached_hears_why(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    """At once: it doesn't wait until the hub gives up."""

    async def reach(_: int) -> int:
        raise error

    async def work(scene: Scene) -> str:
        scene.second.session.reach = reach  # type: ignore[assignment]  # as sessions of images fail
        address = await scene.address()
        reader, writer = await scene.first.session.dial(address.host, address.port)
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(5):
                await reader.read()
        writer.close()
        return (tmp_path / LOCAL0).read_text()

    assert f", {reason}" in play(tmp_path, work)


class OneCall:
    """Takes one call, and is lost."""

    def __init__(self, announced: Announced) -> None:
        self._announced = announced
        self._calls = 0

    async def knock(self) -> Knock:
        if self._calls:
            raise HubUnreachable("the hub has gone")
        self._calls += 1
        return await self._announced.knock()

    async def refuse(self, stream: str, sentence: str) -> None:
        await self._announced.refuse(stream, sentence)

    async def close(self) -> None:
        await self._announced.close()


def test_a_job_whose_hub_was_lost_is_announced_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.node.peers.talk._AGAIN_SECONDS", 0)

    async def work(scene: Scene) -> list[bytes]:
        heard = []
        await scene.stack.enter_async_context(scene.second.calling())
        talking = await scene.stack.enter_async_context(scene.first.calling())
        for _ in range(3):
            # Between two announcements it is not found for a moment.
            address = await scene.found(talking)
            reader, writer = await scene.first.session.dial(address.host, address.port)
            heard.append(await reader.readexactly(4))
            writer.close()
        return heard

    assert [b"here"] * 3 == play(tmp_path, work, answer=silent, changed=Flaky)
    assert "it is tried again: the hub is away" in (tmp_path / LOCAL1).read_text()


class Knocking(Meddling):
    """A hub that lets one call ten times at once, whatever it bounds."""

    def __init__(self, link: PeerLink) -> None:
        super().__init__(link, lambda _: None)
        self.refused: list[str] = []
        self.knocked = asyncio.Event()

    async def announce(self, standing: Standing, ports: Sequence[Port]) -> Announced:
        return ManyCalls(await super().announce(standing, ports), self, ports[0])


class ManyCalls:
    """What others do with an announced job, ten times."""

    def __init__(self, announced: Announced, hub: Knocking, port: Port) -> None:
        self._announced = announced
        self._hub = hub
        self._port = port
        self._count = 0

    async def knock(self) -> Knock:
        if self._count == 10:
            self._hub.knocked.set()
            await asyncio.Event().wait()
        self._count += 1
        return Knock(stream=str(self._count), port=self._port.number, job_id=JobId("x.1.1"), key=bytes(32))

    async def refuse(self, stream: str, sentence: str) -> None:
        assert sentence == "there are too many connections"
        self._hub.refused.append(stream)

    async def close(self) -> None:
        await self._announced.close()


def test_a_hub_that_lets_others_call_without_end_is_answered_so_often_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.node.peers.talk.STREAMS_PER_NODE_MAX", 3)

    async def never(_port: int) -> int:
        await asyncio.Event().wait()
        raise AssertionError

    async def work(scene: Scene) -> list[str]:
        hub = cast("Knocking", scene.second.link)
        monkeypatch.setattr(scene.second.session, "reach", never)
        async with scene.second.calling():
            await hub.knocked.wait()
        return hub.refused

    assert play(tmp_path, work, answer=silent, changed=Knocking) == [str(number) for number in range(4, 11)]
