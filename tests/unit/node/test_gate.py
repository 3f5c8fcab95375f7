"""A gate lets a job ask for what is its own, and says it to the hub as it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.asking import asking_run
from tests.federation import RUN, Heard, blob_of, in_chunks, openings, seats
from tests.harbour import FAILURE, InOrder, broken, done

from atoll.engine import calls
from atoll.engine.gate import Child, Part
from atoll.engine.limits import BODY_BYTES_INSIDE_MAX, PROGRESS_TEXT_BYTES_MAX
from atoll.engine.ports import ChildState
from atoll.engine.running import whole
from atoll.hub.hub import Hub
from atoll.model.errors import BlobMismatch, JobRefused, NotRepeatable, NotYours
from atoll.model.events import RoundRequested
from atoll.model.work import Blob, Content, JobId, JobStatus, Message, RunId, RunStatus, Seat, Ticket
from atoll.node import policies
from atoll.node.gateway.gate import JobGate
from atoll.node.settings import Limits
from atoll.node.shift import Shift
from atoll.runtimes.held import MemoryFile
from atoll.simulator.link import LocalLink, Turnstile
from atoll.stores.memory import MemoryBlobStore, MemoryRunStore

LOCAL0, LOCAL1, LOCAL2 = SITES = seats(3)


class Noting(LocalLink):
    """A link that remembers what was asked, and how often a file was sent."""

    def __init__(self, hub: Hub, seat: Seat, turnstile: Turnstile) -> None:
        super().__init__(hub, seat, turnstile)
        self.asked: list[tuple[RoundRequested, Sequence[Message]]] = []
        self.put = 0
        self.looked = 0

    async def child(self, run_id: RunId, job_id: JobId, number: int) -> ChildState:
        self.looked += 1
        return await super().child(run_id, job_id, number)

    async def ask(self, event: RoundRequested, messages: Sequence[Message]) -> int:
        self.asked.append((event, messages))
        return await super().ask(event, messages)

    async def put_blob(self, run_id: RunId, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        self.put += 1
        await super().put_blob(run_id, blob, chunks)


class Court:
    """A hub, and a central job that stands at its gate."""

    def __init__(self, root: Path) -> None:
        turnstile = Turnstile(InOrder())
        self.blobs = MemoryBlobStore()
        self.hub = Hub(MemoryRunStore(), self.blobs, {"functions": calls}, [turnstile])
        self.links = {seat: Noting(self.hub, seat, turnstile) for seat in SITES}
        self.link = self.links[LOCAL0]
        self.slot = asyncio.Semaphore(1)
        self.relieved = 0
        self.heard = Heard()
        self.log = root / "log"
        self.ticket: Ticket

    async def begin(self) -> JobGate:
        """The gate of the central job, which holds the one slot."""
        run = asking_run(SITES)
        await self.hub.submit(run, openings(run))
        ticket = await self.link.claim()
        assert ticket is not None
        self.ticket = ticket
        return await self.gate()

    async def gate(self) -> JobGate:
        """A gate of that job: the first, or another after the node has started anew."""
        self.slot = asyncio.Semaphore(1)
        shift = Shift(self.slot, self._relieve)
        await shift.begin()
        return JobGate(self.link, self.ticket, shift, self.heard, self.log)

    def _relieve(self) -> None:
        self.relieved += 1

    async def answer(self, *seats_: Seat, body: bytes = b"{}") -> list[Ticket]:
        """These seats, or all, claim a job each and do it."""
        claimed = await asyncio.gather(*(self.links[seat].claim() for seat in seats_ or SITES))
        tickets = [ticket for ticket in claimed if ticket is not None]
        await asyncio.gather(
            *(self.links[ticket.job.seat].report(done(ticket, body=body)) for ticket in tickets)
        )
        return tickets


def at(root: Path, work: Callable[[Court, JobGate], Awaitable[None]]) -> None:
    """Stand at a gate."""

    async def stand() -> None:
        court = Court(root)
        async with asyncio.timeout(10):
            await work(court, await court.begin())

    asyncio.run(stand())


async def turns() -> None:
    """Let the others have their turns."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def meanwhile(waiting: Awaitable[object]) -> AsyncIterator[None]:
    """Something is waited for while other things are done, which are its end."""
    task = asyncio.ensure_future(waiting)
    await turns()
    assert not task.done()
    yield
    await task


# --- Bodies -----------------------------------------------------------------------------------


def test_a_body_for_several_sites_is_sent_once(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        shared, own = b"shared" * 10, b"own"
        number = await gate.ask("moments", [(LOCAL2, shared), (LOCAL0, own), (LOCAL1, shared)])
        ((event, messages),) = court.link.asked
        assert 1 == number
        assert [(LOCAL2, LOCAL1), (LOCAL0,)] == [message.readers for message in messages]
        assert [shared, own] == [message.body for message in messages]
        assert ["run.0.0.ask0.0", "run.0.0.ask0.1"] == [message.id for message in messages]
        assert {LOCAL0} == {message.sender for message in messages}
        assert [(LOCAL2, messages[0].id), (LOCAL0, messages[1].id), (LOCAL1, messages[0].id)] == [
            (order.seat, order.inbox[0]) for order in event.orders
        ]
        tickets = await court.answer()
        assert [own, shared, shared] == [ticket.inbox[0].body for ticket in tickets]

    at(tmp_path, work)


def test_a_large_body_travels_beside_its_message_and_is_sent_once(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        body = b"x" * (BODY_BYTES_INSIDE_MAX + 1)
        number = await gate.ask("moments", [(seat, body) for seat in SITES])
        ((_, (message,)),) = court.link.asked
        assert (b"", blob_of(body, "body"), 1) == (message.body, message.body_blob, court.link.put)
        # Answers that are as large are fetched.
        blob = blob_of(body[1:], "body")
        await court.blobs.put(blob, in_chunks(body[1:]))
        for seat in SITES:
            ticket = await court.links[seat].claim()
            assert ticket is not None
            event = done(ticket, body=b"")
            assert event.outcome.message is not None
            answer = replace(event.outcome.message, body_blob=blob)
            await court.links[seat].report(replace(event, outcome=replace(event.outcome, message=answer)))
        child = await gate.child(number)
        assert [body[1:]] * 3 == [part.body for part in child.parts]
        await court.blobs.clear()
        with pytest.raises(BlobMismatch):
            await gate.child(number)
        assert [None] * 3 == [part.body for part in (await gate.child(number, bodies=False)).parts]

    at(tmp_path, work)


def test_a_body_that_is_held_in_memory_stays_there(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        held = MemoryFile.of(b"x" * (BODY_BYTES_INSIDE_MAX + 1))
        await gate.ask("moments", [(seat, held) for seat in SITES])
        tickets = await court.answer()
        assert [True] * 3 == [ticket.inbox[0].body is held for ticket in tickets]
        assert 0 == court.link.put

    at(tmp_path, work)


# --- What is asked again ----------------------------------------------------------------------

bodies = st.lists(st.binary(max_size=10), min_size=3, max_size=3)
names = st.text(max_size=10) | st.just("half \ud800")


@given(names, st.none() | names, bodies, st.booleans())
def test_what_is_asked_has_the_same_digest_at_every_repetition_and_what_is_not_has_another(
    tmp_path_factory: pytest.TempPathFactory, name: str, session: str | None, three: list[bytes], other: bool
) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        first = await gate.ask(name, list(zip(SITES, three, strict=True)), session=session)
        again = await court.gate()
        changed = [*three[:2], three[2] + b"!"] if other else [bytes(bytearray(body)) for body in three]
        asking = again.ask(name, list(zip(SITES, changed, strict=True)), session=session)
        if other:
            with pytest.raises(NotRepeatable):
                await asking
        else:
            assert first == await asking

    at(tmp_path_factory.getbasetemp(), work)


@pytest.mark.parametrize(
    ("name", "session", "sites", "body"),
    [
        ("others", None, SITES, b"same"),
        ("moments", "kept", SITES, b"same"),
        ("moments", None, SITES[::-1], b"same"),
        ("moments", None, SITES[:2], b"same"),
        ("moments", None, SITES, b"other"),
        ("moments", None, SITES, b"x" * (BODY_BYTES_INSIDE_MAX + 1)),
    ],
)
def test_whatever_is_not_as_it_was_is_another_question(
    tmp_path: Path, name: str, session: str | None, sites: tuple[Seat, ...], body: bytes
) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        await gate.ask("moments", [(seat, b"same") for seat in SITES])
        with pytest.raises(NotRepeatable):
            await (await court.gate()).ask(name, [(seat, body) for seat in sites], session=session)
        assert RunStatus.FAILED is (await court.hub.ended(RUN)).status

    at(tmp_path, work)


@pytest.mark.parametrize("size", [1, BODY_BYTES_INSIDE_MAX + 1])
def test_a_job_that_is_tried_again_meets_the_rounds_that_it_had(tmp_path: Path, size: int) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        async def asks(at_: JobGate) -> list[int]:
            return [await at_.ask("moments", [(seat, bytes([n]) * size) for seat in SITES]) for n in (0, 1)]

        first = await asks(gate)
        await court.answer(body=b"answered")
        again = await court.gate()
        assert first == await asks(again)
        assert [b"answered"] * 3 == [part.body for part in (await again.child(first[0])).parts]
        third = await again.ask("moments", [(LOCAL1, b"new")])
        assert [1, 2, 3] == [*first, third]

    at(tmp_path, work)


def test_what_was_refused_is_no_request(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        with pytest.raises(NotYours):
            await gate.ask("moments", [(Seat("elsewhere"), b"")])
        await gate.ask("moments", [(LOCAL1, b"")])
        assert [0, 0] == [event.number for event, _ in court.link.asked]

    at(tmp_path, work)


def test_questions_that_are_put_at_the_same_time_are_numbered_one_after_another(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        calls_: list[list[tuple[Seat, Content]]] = [[(seat, b"x")] for seat in (*SITES, *SITES)]
        numbers = await asyncio.gather(*(gate.ask("moments", each) for each in calls_))
        assert [1, 2, 3, 4, 5, 6] == numbers
        assert [*range(6)] == [event.number for event, _ in court.link.asked]

    at(tmp_path, work)


# --- Answers ----------------------------------------------------------------------------------


def test_a_round_is_seen_as_far_as_it_is(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        number = await gate.ask("moments", [(seat, b"") for seat in SITES])
        first = await court.links[LOCAL0].claim()
        second = await court.links[LOCAL1].claim()
        assert first is not None
        assert second is not None
        await court.links[LOCAL0].report(done(first, body=b"left"))
        await court.links[LOCAL1].report(broken(second))
        child = await gate.child(number)
        assert (1, "moments", 1) == (child.number, child.name, child.open_count)
        assert (
            Part(seat=LOCAL0, ordinal=2, status=JobStatus.DONE, body=b"left"),
            Part(seat=LOCAL1, ordinal=3, status=JobStatus.FAILED, failure=replace(FAILURE, site=LOCAL1)),
            Part(seat=LOCAL2, ordinal=4, status=JobStatus.QUEUED),
        ) == child.parts

    at(tmp_path, work)


def test_the_hub_tells_once_what_an_ended_round_has_left(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        first, second = [await gate.ask(name, [(LOCAL1, b"")]) for name in ("first", "second")]
        assert [1, 1] == [(await gate.child(first, bodies=False)).open_count for _ in "12"]
        assert 2 == court.link.looked, "what goes on is looked at each time"
        await court.answer(LOCAL1, body=b"1")
        await court.answer(LOCAL1, body=b"2")
        assert (0, [None]) == _found(await gate.child(first, bodies=False))
        assert (0, [b"1"]) == _found(await gate.child(first))
        assert 3 == court.link.looked
        assert (0, [b"1"]) == _found(await gate.child(first))
        assert 4 == court.link.looked, "it isn't kept for longer than it is needed"
        assert (0, [None]) == _found(await gate.child(first, bodies=False))
        assert (0, [b"2"]) == _found(await gate.child(second))
        assert (0, [b"1"]) == _found(await gate.child(first))
        assert 7 == court.link.looked

    at(tmp_path, work)


def _found(child: Child) -> tuple[int, list[Content | None]]:
    return child.open_count, [part.body for part in child.parts]


def test_who_waits_holds_no_slot_and_who_goes_on_holds_one(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        number = await gate.ask("moments", [(seat, b"") for seat in SITES])
        assert court.slot.locked()
        async with meanwhile(gate.ended(number)):
            assert (False, 1) == (court.slot.locked(), court.relieved)
            await court.slot.acquire()
            await court.answer()
            await turns()
            court.slot.release()
        assert court.slot.locked()
        assert await gate.ended(number)
        assert (True, 1) == (court.slot.locked(), court.relieved)

    at(tmp_path, work)


def test_who_waits_in_vain_holds_no_slot_until_it_gives_up(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        number = await gate.ask("moments", [(seat, b"") for seat in SITES])
        assert not await gate.ended(number, seconds=0.001)
        assert not court.slot.locked()
        await gate.give_up(number)
        assert court.slot.locked()
        assert await gate.ended(number)
        assert {JobStatus.CANCELLED} == {part.status for part in (await gate.child(number)).parts}

    at(tmp_path, work)


def test_rounds_that_are_waited_for_at_a_time_need_one_slot_in_the_end(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        numbers = [await gate.ask("moments", [(seat, b"")]) for seat in SITES]
        async with meanwhile(asyncio.gather(*(gate.ended(number) for number in numbers))):
            await court.answer(LOCAL1)
            await turns()
            assert not court.slot.locked()
            await court.answer(LOCAL0, LOCAL2)
        assert court.slot.locked()

    at(tmp_path, work)


def test_what_belongs_to_others_can_not_be_waited_for_and_costs_no_slot(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        for number in (0, 7):
            with pytest.raises(NotYours):
                await gate.ended(number)
            assert court.slot.locked()
            for question in (gate.child(number), gate.give_up(number), gate.release(number)):
                with pytest.raises(NotYours):
                    await question
        assert court.slot.locked()

    at(tmp_path, work)


def test_what_was_read_is_released(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        number = await gate.ask("moments", [(seat, b"") for seat in SITES])
        await court.answer()
        await gate.release(number)
        assert all(part.body is None for part in (await gate.child(number)).parts)

    at(tmp_path, work)


# --- Remarks ----------------------------------------------------------------------------------


def test_how_far_a_job_is_and_what_it_was_refused_is_told(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        gate.progress(0.5, "half")
        gate.progress(None, "é" * PROGRESS_TEXT_BYTES_MAX)
        gate.progress(None, "half \ud800")
        gate.refused("it asked for the moon")
        assert [
            (LOCAL0, 0.5, "half"),
            (LOCAL0, None, "é" * (PROGRESS_TEXT_BYTES_MAX // 2)),
            (LOCAL0, None, "half ?"),
        ] == court.heard.progress
        assert [(LOCAL0, "it asked for the moon")] == court.heard.refusals
        assert court.ticket is gate.ticket

    at(tmp_path, work)


def test_what_a_job_logs_stays_in_its_seats_log(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        court.log.write_text("before\n")
        gate.log("naïve")
        gate.log("half \ud800")
        assert "before\nnaïve\nhalf \\ud800\n" == court.log.read_text()

    at(tmp_path, work)


def test_a_held_answer_is_handed_on_as_it_is(tmp_path: Path) -> None:
    async def work(court: Court, gate: JobGate) -> None:
        held = MemoryFile.of(b"answer")
        number = await gate.ask("moments", [(LOCAL1, b"")])
        ticket = await court.links[LOCAL1].claim()
        assert ticket is not None
        event = done(ticket)
        assert event.outcome.message is not None
        message = replace(event.outcome.message, body=held)
        await court.links[LOCAL1].report(replace(event, outcome=replace(event.outcome, message=message)))
        (part,) = (await gate.child(number)).parts
        assert part.body is held
        assert b"answer" == whole(held)

    at(tmp_path, work)


def test_what_is_asked_of_others_leaves_only_where_the_site_lets_it(tmp_path: Path) -> None:
    async def work(court: Court, _: JobGate) -> None:
        shift = Shift(court.slot, lambda: None)
        checks = list(policies.checks(Limits(sent=4)))
        gate = JobGate(court.link, court.ticket, shift, court.heard, court.log, checks=checks)
        with pytest.raises(JobRefused, match="more than 4 bytes"):
            await gate.ask("mean", [(LOCAL0, b"rows"), (SITES[1], b"more rows")])
        assert [] == court.link.asked
        await gate.ask("mean", [(LOCAL0, b"mean")])
        assert len(court.link.asked) == 1

    at(tmp_path, work)
