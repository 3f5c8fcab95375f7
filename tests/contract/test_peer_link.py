"""What every link promises to jobs of one run that talk to each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from tests.asking import asking_run
from tests.federation import make_run, seats
from tests.harbour import LINKS, Docking, Harbour, at, broken

from atoll.engine.limits import STREAM_PIECE_BYTES
from atoll.engine.peers import Announced, Channel, Peer, Port, Standing
from atoll.model.errors import AtollError, Malformed, NotAllowed, NotThere, NotYours, StaleEvent, StreamBroken
from atoll.model.work import JobId, Ticket

LOCAL0, LOCAL1, LOCAL2 = SITES = seats(3)
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
PORT = Port(number=8888, label="exchange")
T = TypeVar("T")


#: What a test has opened, and is closed at its end.
_opened: list[Announced | Channel] = []


# A port adds nothing to the Unix socket: WebSockets are spoken over both.
@pytest.fixture(params=["local", "http"])
def docking(request: pytest.FixtureRequest) -> Docking:
    """A way to build links."""
    return LINKS[request.param]


@pytest.fixture
def visit(docking: Docking) -> Callable[[Callable[[Harbour], Coroutine[Any, Any, T]]], T]:
    """Visit a harbour where a run has just begun at three sites."""

    def of_three(work: Callable[[Harbour], Coroutine[Any, Any, T]]) -> T:
        return at(docking, make_run(3, aggregated=(False,)), closing(work))

    return of_three


def closing(work: Callable[[Harbour], Coroutine[Any, Any, T]]) -> Callable[[Harbour], Coroutine[Any, Any, T]]:
    """The same, and what it has opened is closed."""

    async def closed(harbour: Harbour) -> T:
        try:
            return await work(harbour)
        finally:
            while _opened:
                await _opened.pop().close()

    return closed


Visit = Callable[[Callable[[Harbour], Coroutine[Any, Any, T]]], T]


def standing(ticket: Ticket) -> Standing:
    """Whoever speaks for a job."""
    job = ticket.job
    return Standing(run_id=job.run_id, job_id=job.id, attempt=job.attempt)


async def announced(harbour: Harbour, ticket: Ticket, *ports: Port) -> Announced:
    """A job that takes calls."""
    taking = await harbour.peers[ticket.job.seat].announce(standing(ticket), ports or (PORT,))
    _opened.append(taking)
    return taking


async def called(
    harbour: Harbour, caller: Ticket, called: Ticket, taking: Announced
) -> tuple[Channel, Channel]:
    """Both ends of a stream between two jobs."""
    calling = asyncio.create_task(
        harbour.peers[caller.job.seat].connect(standing(caller), called.job.id, PORT.number, KEY)
    )
    knock = await taking.knock()
    assert (PORT.number, caller.job.id, KEY) == (knock.port, knock.job_id, knock.key)
    theirs = await harbour.peers[called.job.seat].answer(standing(called), knock.stream, OTHER_KEY)
    mine, key = await calling
    _opened.extend((mine, theirs))
    assert key == OTHER_KEY
    return mine, theirs


async def refused(kind: type[AtollError], awaitable: Awaitable[Any]) -> str:
    """With which sentence this is refused."""
    with pytest.raises(kind) as error:
        await awaitable
    return str(error.value)


async def read(channel: Channel) -> bytes:
    """All that comes until a stream is over."""
    pieces = []
    while (piece := await channel.receive()) is not None:
        pieces.append(piece)
    return b"".join(pieces)


# --- Who is there -----------------------------------------------------------------------------


def test_jobs_of_a_run_hear_of_each_others_ports_while_they_are_announced(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> list[list[Peer]]:
        first, second, third = await harbour.claim(*SITES)
        taking = await announced(harbour, first)
        await announced(harbour, second, PORT, Port(number=9000))
        look = harbour.peers[LOCAL2].peers
        before = [*await look(standing(third))]
        await taking.close()
        while len(after := [*await look(standing(third))]) > 1:
            await asyncio.sleep(0)
        return [before, after]

    before, after = visit(work)

    assert [LOCAL0, LOCAL1] == [peer.seat for peer in before]
    assert [(PORT,), (PORT, Port(number=9000))] == [peer.ports for peer in before]
    assert {(0, None)} == {(peer.round_number, peer.parent) for peer in before}
    assert [LOCAL1] == [peer.seat for peer in after]


def test_a_peer_says_which_job_has_asked_for_it(docking: Docking) -> None:
    async def work(harbour: Harbour) -> tuple[Ticket, list[Peer]]:
        (central,) = await harbour.claim(LOCAL0)
        await harbour.ask(central, LOCAL1)
        (child,) = await harbour.claim(LOCAL1)
        await announced(harbour, child)
        return central, [*await harbour.peers[LOCAL0].peers(standing(central))]

    central, (peer,) = at(docking, asking_run(SITES), closing(work))

    assert (central.job.id, 0, 1) == (peer.parent, peer.parent_round, peer.round_number)


# --- Streams ----------------------------------------------------------------------------------


def test_a_stream_carries_megabytes_both_ways_in_order(visit: Visit[Any]) -> None:
    pieces = [bytes([number]) * STREAM_PIECE_BYTES for number in range(48)]

    async def send(channel: Channel) -> None:
        for piece in pieces:
            await channel.send(piece)

    async def work(harbour: Harbour) -> list[Any]:
        first, second = await harbour.claim(LOCAL0, LOCAL1)
        mine, theirs = await called(harbour, first, second, await announced(harbour, second))
        _, _, *got = await asyncio.gather(
            send(mine), send(theirs), *(_some(end, 48) for end in (mine, theirs))
        )
        return got

    assert [pieces, pieces] == visit(work)


async def _for_ever(channel: Channel) -> None:
    while True:
        await channel.send(b"?")
        await asyncio.sleep(0)


async def _some(channel: Channel, count: int) -> list[bytes | None]:
    return [await channel.receive() for _ in range(count)]


def test_what_was_sent_before_an_end_was_closed_still_arrives(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> bytes:
        first, second = await harbour.claim(LOCAL0, LOCAL1)
        mine, theirs = await called(harbour, first, second, await announced(harbour, second))
        await mine.send(b"the last words")
        await mine.close()
        await mine.close()
        words = await read(theirs)
        await refused(StreamBroken, _for_ever(theirs))
        await theirs.close()
        return words

    assert visit(work) == b"the last words"


def test_whoever_reads_slowly_makes_the_writer_wait(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> int:
        first, second = await harbour.claim(LOCAL0, LOCAL1)
        mine, theirs = await called(harbour, first, second, await announced(harbour, second))
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await mine.send(bytes(STREAM_PIECE_BYTES))
                sent += STREAM_PIECE_BYTES

        flooding = asyncio.create_task(flood())
        before = -1
        while sent != before:
            before = sent
            for _ in range(200):
                await asyncio.sleep(0)
        flooding.cancel()
        await theirs.close()
        return sent

    # What the hub holds, and what both connections and their sockets do.
    assert 8 * 2**20 > visit(work)


def test_a_call_that_is_refused_says_why(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> str:
        first, second = await harbour.claim(LOCAL0, LOCAL1)
        taking = await announced(harbour, second)
        calling = asyncio.create_task(
            harbour.peers[LOCAL0].connect(standing(first), second.job.id, PORT.number, KEY)
        )
        await taking.refuse((await taking.knock()).stream, "nobody listens at port 8888")
        return await refused(NotAllowed, calling)

    assert "local1 takes no call: nobody listens at port 8888" == visit(work)


def test_a_call_is_answered_once(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> str:
        first, second = await harbour.claim(LOCAL0, LOCAL1)
        taking = await announced(harbour, second)
        calling = asyncio.create_task(
            harbour.peers[LOCAL0].connect(standing(first), second.job.id, PORT.number, KEY)
        )
        stream = (await taking.knock()).stream
        link = harbour.peers[LOCAL1]
        _opened.append(await link.answer(standing(second), stream, KEY))
        _opened.append((await calling)[0])
        return await refused(NotThere, link.answer(standing(second), stream, KEY))

    assert "whoever called waits no longer" == visit(work)


# --- What is refused --------------------------------------------------------------------------


def test_a_port_that_nobody_announces_can_not_be_called(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> list[str]:
        first, second = await harbour.claim(LOCAL0, LOCAL1)
        await announced(harbour, second)
        link = harbour.peers[LOCAL0]
        return [
            await refused(NotThere, link.connect(standing(first), to, port, KEY))
            for to, port in (
                (second.job.id, 22),
                (first.job.id, PORT.number),
                (JobId("run.9.9"), PORT.number),
            )
        ]

    assert all("takes calls at port" in sentence for sentence in visit(work))


def test_nobody_speaks_for_a_job_that_is_anothers_or_that_has_ended(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> None:
        first, second, third = await harbour.claim(*SITES)
        await announced(harbour, second)
        await harbour.report(first)
        link = harbour.peers[LOCAL2]
        taken = {
            NotYours: standing(second),
            StaleEvent: replace(standing(third), attempt=third.job.attempt + 1),
        }
        for kind, who in taken.items():
            await refused(kind, link.peers(who))
            await refused(kind, link.announce(who, [PORT]))
            await refused(kind, link.connect(who, second.job.id, PORT.number, KEY))
            await refused(kind, link.answer(who, "stream", KEY))
        await refused(StaleEvent, harbour.peers[LOCAL0].peers(standing(first)))

    visit(work)


@pytest.mark.parametrize(
    "ports",
    [
        (),
        (PORT, PORT),
        (Port(number=0),),
        (Port(number=65_536),),
        (Port(number=1, label="x" * 101),),
        tuple(Port(number=number) for number in range(1, 18)),
    ],
)
def test_ports_are_what_ports_can_be(ports: tuple[Port, ...], visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> None:
        (first,) = await harbour.claim(LOCAL0)
        await refused(Malformed, harbour.peers[LOCAL0].announce(standing(first), ports))

    visit(work)


def test_a_key_is_of_the_length_of_a_key(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> None:
        first, second = await harbour.claim(LOCAL0, LOCAL1)
        await announced(harbour, second)
        await refused(
            Malformed, harbour.peers[LOCAL0].connect(standing(first), second.job.id, PORT.number, b"short")
        )

    visit(work)


# --- The end ----------------------------------------------------------------------------------


def test_a_run_that_ends_takes_its_streams_with_it(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> list[Any]:
        first, second = await harbour.claim(LOCAL0, LOCAL1)
        taking = await announced(harbour, second)
        mine, theirs = await called(harbour, first, second, taking)
        await harbour.links[LOCAL0].report(broken(first))
        over = [await mine.receive(), await theirs.receive()]
        await refused(StaleEvent, taking.knock())
        return over

    assert [None, None] == visit(work)


def test_a_job_that_is_announced_anew_takes_calls_there_alone(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> None:
        first, second = await harbour.claim(LOCAL0, LOCAL1)
        earlier = await announced(harbour, second)
        later = await announced(harbour, second)
        await refused(StaleEvent, earlier.knock())
        await earlier.close()
        mine, theirs = await called(harbour, first, second, later)
        await mine.send(b"heard")
        assert await theirs.receive() == b"heard"

    visit(work)
