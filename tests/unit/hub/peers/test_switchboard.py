"""Streams between jobs of one run, at the hub: bounded, watched over, and ended with their jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.hub_app import hub_app
from tests.hub_people import SITES, Islands, a_run, islands
from tests.served import key_of, know
from tests.sockets import speak

from atoll.engine import limits
from atoll.engine.limits import STREAM_BUFFER_BYTES, STREAM_IDLE_SECONDS, STREAM_PIECE_BYTES
from atoll.engine.peers import Port, Standing
from atoll.hub.peers import switchboard
from atoll.hub.peers.pipe import End, Pipe
from atoll.hub.peers.service import PeerService
from atoll.hub.peers.switchboard import Announcement, Switchboard
from atoll.hub.principal import Kind, Principal
from atoll.hub.runs.service import Runs
from atoll.hub.sites.protocol import Nodes
from atoll.hub.sites.service import SiteService
from atoll.hub.sites.sweeper import Sweeper
from atoll.model.errors import NotAllowed, NotThere, QuotaReached, StaleEvent, StreamBroken
from atoll.model.events import JobBroke
from atoll.model.work import Failure, Ticket
from atoll.transports.forms import Claim

BISCOE, DREAM, TORGERSEN = SITES
KEY = bytes(32)
PORT = Port(number=8888)
Visit = Callable[[Islands], Awaitable[Any]]


def at(folder: Path, visit: Visit, **settings: Any) -> Any:
    """Visit a hub with islands."""

    async def whole() -> Any:
        async with hub_app(folder, **settings) as app, asyncio.timeout(15):
            return await visit(await islands(app))

    return asyncio.run(whole())


def node(name: str) -> Principal:
    """A node."""
    return Principal(kind=Kind.NODE, id=f"nod_{name}", name=name, organization_id=f"org_{name}")


async def claimed(place: Islands, *names: str) -> list[Standing]:
    """Jobs of a run that has just begun, each with its node at work."""
    await place.rooms.of(Runs).submit(place.ada, a_run())
    return [standing(await _claim(place, name)) for name in names]


async def _claim(place: Islands, name: str) -> Ticket:
    ticket = await place.rooms.of(Nodes).claim(node(name), Claim())
    assert ticket is not None
    return ticket


def standing(ticket: Ticket) -> Standing:
    """Whoever speaks for a job."""
    return Standing(run_id=ticket.job.run_id, job_id=ticket.job.id, attempt=ticket.job.attempt)


async def connected(
    service: PeerService, caller: Standing, called: Standing, taking: Announcement
) -> tuple[End, End]:
    """Both ends of a stream."""
    calling = asyncio.create_task(service.connect(node(BISCOE), caller, called.job_id, PORT.number, KEY))
    knock = await taking.knock()
    theirs = await service.answer(node(DREAM), called, knock.stream, KEY)
    return (await calling)[0], theirs


async def pair(place: Islands) -> tuple[PeerService, Announcement, tuple[End, End]]:
    """A stream between the jobs of two islands."""
    service = place.rooms.of(PeerService)
    first, second = await claimed(place, BISCOE, DREAM)
    taking = await service.announce(node(DREAM), second, [PORT])
    return service, taking, await connected(service, first, second, taking)


# --- Bounds -----------------------------------------------------------------------------------


def test_a_pipe_holds_no_more_than_it_may_and_whoever_writes_more_waits() -> None:
    async def visit() -> tuple[int, bytes]:
        pipe = Pipe()
        written = 0

        async def flood() -> None:
            nonlocal written
            while True:
                await pipe.put(bytes(STREAM_PIECE_BYTES))
                written += STREAM_PIECE_BYTES

        flooding = asyncio.create_task(flood())
        for _ in range(50):
            await asyncio.sleep(0)
        held = written
        await pipe.get()
        for _ in range(50):
            await asyncio.sleep(0)
        assert written == held + STREAM_PIECE_BYTES
        pipe.end(drop=True)
        with pytest.raises(StreamBroken):
            await flooding
        return held, await pipe.get() or b"over"

    assert (STREAM_BUFFER_BYTES, b"over") == asyncio.run(visit())


@pytest.mark.parametrize(
    ("bound", "named"), [("STREAMS_PER_RUN_MAX", "the run"), ("STREAMS_PER_NODE_MAX", BISCOE)]
)
def test_there_are_no_more_streams_than_there_may_be(
    bound: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hasattr(limits, bound)
    monkeypatch.setattr(switchboard, bound, 2)

    async def visit(place: Islands) -> str:
        service = place.rooms.of(PeerService)
        first, second = await claimed(place, BISCOE, DREAM)
        taking = await service.announce(node(DREAM), second, [PORT])
        ends = [await connected(service, first, second, taking) for _ in range(2)]
        with pytest.raises(QuotaReached) as refused:
            await service.connect(node(BISCOE), first, second.job_id, PORT.number, KEY)
        for end in ends[0]:
            await end.close()
        await connected(service, first, second, taking)
        return str(refused.value)

    assert at(tmp_path, visit).startswith(f"{named} has 2 streams")


def test_a_node_that_does_not_answer_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async def visit(place: Islands) -> tuple[str, int]:
        board = Switchboard(place.app.parts.hub, place.app.clock, answer_seconds=0)
        first, second = await claimed(place, BISCOE, DREAM)
        taking = await board.announce(DREAM, second, [PORT])
        with pytest.raises(NotAllowed) as refused:
            await board.connect(BISCOE, first, second.job_id, PORT.number, KEY)
        knock = await taking.knock()
        with pytest.raises(NotThere):
            await board.answer(DREAM, second, knock.stream, KEY)
        return str(refused.value), board.stream_count

    sentence, left = at(tmp_path, visit)

    assert "the node of Dream doesn't answer a call at port 8888 within 0 seconds" == sentence
    assert left == 0


# --- Who may ----------------------------------------------------------------------------------


def test_no_job_finds_or_reaches_one_of_another_run(tmp_path: Path) -> None:
    async def visit(place: Islands) -> list[Any]:
        service = place.rooms.of(PeerService)
        (second,) = await claimed(place, DREAM)
        await service.announce(node(DREAM), second, [PORT])
        await place.rooms.of(Runs).submit(place.ada, a_run())
        tickets = [await _claim(place, BISCOE), await _claim(place, BISCOE)]
        other = next(standing(ticket) for ticket in tickets if ticket.job.run_id != second.run_id)
        with pytest.raises(NotThere):
            await service.connect(node(BISCOE), other, second.job_id, PORT.number, KEY)
        return [*await service.peers(node(BISCOE), other)]

    assert [] == at(tmp_path, visit)


def test_a_call_is_taken_by_the_called_job_alone(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        service = place.rooms.of(PeerService)
        first, second, third = await claimed(place, BISCOE, DREAM, TORGERSEN)
        taking = await service.announce(node(DREAM), second, [PORT])
        calling = asyncio.create_task(service.connect(node(BISCOE), first, second.job_id, PORT.number, KEY))
        stream = (await taking.knock()).stream
        for name, who in ((TORGERSEN, third), (BISCOE, first)):
            with pytest.raises(NotThere):
                await service.answer(node(name), who, stream, KEY)
        await service.answer(node(DREAM), second, stream, KEY)
        await calling

    at(tmp_path, visit)


@pytest.mark.parametrize("streams", ["off", "auto"])
def test_a_hub_that_may_have_replicas_passes_nothing_on(
    streams: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def visit(place: Islands) -> list[str]:
        # As on PostgreSQL.
        monkeypatch.setattr(type(place.app.parts.database), "is_server", streams == "auto")
        service = place.rooms.of(PeerService)
        first, second = await claimed(place, BISCOE, DREAM)
        refused = []
        for asking in (
            service.peers(node(BISCOE), first),
            service.announce(node(DREAM), second, [PORT]),
            service.connect(node(BISCOE), first, second.job_id, PORT.number, KEY),
        ):
            with pytest.raises(NotAllowed) as error:
                await asking
            refused.append(str(error.value))
        return refused

    assert all("'streams: on'" in sentence for sentence in at(tmp_path, visit, streams=streams))


# --- The end ----------------------------------------------------------------------------------


def test_streams_of_a_job_that_was_claimed_anew_are_ended(tmp_path: Path) -> None:
    async def visit(place: Islands) -> list[Any]:
        _, taking, (mine, theirs) = await pair(place)
        sweeper = place.rooms.of(Sweeper)
        await sweeper.sweep()
        await mine.send(b"it goes on")
        assert await theirs.receive() == b"it goes on"
        # Nobody has heard of Dream for so long that its job is another's.
        place.app.clock.move(100)
        await sweeper.sweep()
        with pytest.raises(StaleEvent):
            await taking.knock()
        return [await mine.receive(), await theirs.receive()]

    assert [None, None] == at(tmp_path, visit)


def test_a_stream_that_carries_nothing_for_long_is_ended(tmp_path: Path) -> None:
    async def visit(place: Islands) -> list[Any]:
        service, _, (mine, theirs) = await pair(place)
        place.app.clock.move(STREAM_IDLE_SECONDS)
        await service.sweep()
        await mine.send(b"still there")
        assert await theirs.receive() == b"still there"
        place.app.clock.move(STREAM_IDLE_SECONDS + 1)
        await service.sweep()
        return [await mine.receive(), await theirs.receive()]

    assert [None, None] == at(tmp_path, visit)


def test_a_job_of_another_site_that_fails_takes_the_streams_of_the_run_with_it(tmp_path: Path) -> None:
    async def visit(place: Islands) -> Any:
        service = place.rooms.of(PeerService)
        first, second, third = await claimed(place, BISCOE, DREAM, TORGERSEN)
        taking = await service.announce(node(DREAM), second, [PORT])
        _, theirs = await connected(service, first, second, taking)
        failure = Failure(type="AlgorithmFailed", message="it failed")
        event = JobBroke(run_id=third.run_id, job_id=third.job_id, attempt=third.attempt, failure=failure)
        await place.rooms.of(Nodes).report(node(TORGERSEN), event)
        return await theirs.receive()

    assert at(tmp_path, visit) is None


# --- What is said over a WebSocket ------------------------------------------------------------


@pytest.mark.parametrize(
    "said", [[b"bytes"], ["no object"], [{}], [{"job": "x" * 20_000}]], ids=["bytes", "text", "empty", "long"]
)
@pytest.mark.parametrize("what", ["announce", "connect", "answer"])
def test_what_is_no_beginning_of_a_conversation_is_refused(
    what: str, said: list[Any], tmp_path: Path
) -> None:
    async def visit(place: Islands) -> str:
        await know(place.app, BISCOE)
        token = await place.rooms.of(SiteService).token(key_of(BISCOE))
        caller = place.app.anybody.as_(token.access_token)
        return (await speak(caller, f"/v1/node/peers/run/{what}", *said)).code

    assert at(tmp_path, visit) == "Malformed"
