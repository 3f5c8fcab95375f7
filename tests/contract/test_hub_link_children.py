"""What every link promises to a job that asks other sites."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from tests.asking import asking_run
from tests.federation import RUN, seats
from tests.harbour import FAILURE, LINKS, Docking, Harbour, at, broken, done, given_up, request

from atoll.engine import conductor
from atoll.model.errors import AtollError, LimitReached, NotRepeatable, NotYours, StaleEvent
from atoll.model.work import JobStatus, MessageId, Role, Run, RunStatus, Seat, Ticket, Work

LOCAL0, LOCAL1, LOCAL2 = SITES = seats(3)
T = TypeVar("T")


@pytest.fixture(params=LINKS)
def docking(request: pytest.FixtureRequest) -> Docking:
    """A way to build links."""
    return LINKS[request.param]


@pytest.fixture
def visit(docking: Docking) -> Callable[[Callable[[Harbour], Coroutine[Any, Any, T]]], T]:
    """Visit a harbour where a run has just begun that calls a function at its first site."""

    def of_central(work: Callable[[Harbour], Coroutine[Any, Any, T]]) -> T:
        return at(docking, asking_run(SITES), work)

    return of_central


Visit = Callable[[Callable[[Harbour], Coroutine[Any, Any, T]]], T]


async def central(harbour: Harbour) -> Ticket:
    """The central job, claimed."""
    return (await harbour.claim(LOCAL0))[0]


async def refusal(kind: type[AtollError], *awaitables: Awaitable[Any]) -> list[str]:
    """With which sentences these are refused; each must be."""
    sentences = []
    for awaitable in awaitables:
        with pytest.raises(kind) as refused:
            await awaitable
        sentences.append(str(refused.value))
    return sentences


async def turns() -> None:
    """Let the others have their turns."""
    for _ in range(20):
        await asyncio.sleep(0)


async def soon(awaitable: Awaitable[T]) -> asyncio.Future[T]:
    """Begin to wait for something that must not be there yet."""
    waiting = asyncio.ensure_future(awaitable)
    await turns()
    assert not waiting.done()
    return waiting


# --- Asking -----------------------------------------------------------------------------------


def test_the_sites_that_are_asked_get_tickets_of_their_own(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> tuple[int, Ticket, list[Ticket]]:
        parent = await central(harbour)
        number = await harbour.ask(parent, LOCAL2, LOCAL1, session="kept")
        await asyncio.gather(*(harbour.links[seat].listen() for seat in (LOCAL1, LOCAL2)))
        return number, parent, await harbour.claim(LOCAL1, LOCAL2)

    number, parent, tickets = visit(work)

    assert 1 == number
    assert (Role.AGGREGATOR, None, "") == (parent.role, parent.parent, parent.origin)
    assert SITES == parent.sites
    for ticket in tickets:
        assert (Role.SITE, Work.CALL, 0, 1) == (ticket.role, ticket.work, ticket.step, ticket.iteration)
        assert (parent.job.id, "/local0.0") == (ticket.parent, ticket.origin)
        assert [b"asked"] == [message.body for message in ticket.inbox]
        assert (LOCAL0,) == ticket.readers
        assert SITES == ticket.sites
        assert parent.algorithm == ticket.algorithm
    assert [(1, LOCAL1, 3, "kept"), (0, LOCAL2, 2, "kept")] == [
        (ticket.job.position, ticket.job.seat, ticket.job.ordinal, ticket.job.session) for ticket in tickets
    ]


def test_what_is_asked_again_gets_the_same_number_and_calls_nobody_twice(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> tuple[list[int], list[Ticket | None]]:
        parent = await central(harbour)
        numbers = [await harbour.ask(parent, number=number) for number in (0, 1, 0, 1)]
        await harbour.play(*SITES)
        numbers.append(await harbour.ask(parent))
        await harbour.play(*SITES)
        numbers.append(await harbour.ask(parent))
        return numbers, [await harbour.links[seat].claim() for seat in SITES]

    assert ([1, 2, 1, 2, 1, 1], [None] * 3) == visit(work)


def test_what_is_asked_again_after_its_answers_were_read_gets_the_same_number(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> tuple[int, int]:
        parent = await central(harbour)
        number = await harbour.ask(parent)
        await harbour.play(*SITES)
        await harbour.links[LOCAL0].release(RUN, parent.job.id, number)
        return number, await harbour.ask(parent)

    assert (1, 1) == visit(work)


def test_another_question_in_the_same_place_fails_the_run(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> tuple[list[str], Run, Ticket | None]:
        parent = await central(harbour)
        await harbour.ask(parent, LOCAL1, LOCAL2)
        (child,) = await harbour.claim(LOCAL1)
        sentences = await refusal(NotRepeatable, harbour.ask(parent, LOCAL1, digest="sha256:other"))
        run = await harbour.hub.ended(RUN)
        ended = {await harbour.links[LOCAL1].cancelled()}
        await refusal(StaleEvent, harbour.ask(parent), harbour.links[LOCAL1].report(done(child)))
        assert {child.job.id} == ended
        return sentences, run, await harbour.links[LOCAL2].claim()

    (sentence,), run, more = visit(work)

    assert run.failure is not None
    assert (RunStatus.FAILED, "NotRepeatable", LOCAL0) == (run.status, run.failure.type, run.failure.site)
    assert sentence == run.failure.message
    assert "its request 0 was sha256:0 and is now sha256:other" in sentence
    assert more is None


def test_only_sites_of_the_run_are_asked_and_requests_come_in_order(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> tuple[list[str], int]:
        parent = await central(harbour)
        sentences = await refusal(
            NotYours,
            harbour.ask(parent, Seat("local3")),
            harbour.ask(parent, Seat("remote")),
            harbour.ask(parent, LOCAL1, LOCAL1),
            harbour.ask(parent, number=1),
        )
        # Nothing came of them: the next request is still the first.
        return sentences, await harbour.ask(parent)

    sentences, number = visit(work)

    assert [
        "job run.0.0 asked for a call of local3",
        "job run.0.0 asked for a call of remote",
        "job run.0.0 asked for a call of local1, local1",
        "job run.0.0 made request 1 before request 0",
    ] == [sentence.partition(":")[0] for sentence in sentences]
    assert 1 == number


def test_nobody_asks_for_another_seats_job_or_in_its_name(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> list[str]:
        parent = await central(harbour)
        event, (message,) = request(parent)
        link = harbour.links[LOCAL0]
        return await refusal(
            NotYours,
            harbour.links[LOCAL1].ask(event, [replace(message, sender=LOCAL1)]),
            link.ask(event, [replace(message, sender=LOCAL1)]),
            link.ask(event, []),
        )

    assert [
        "local1 spoke about job run.0.0, which is another seat's",
        "local0 reported a message that local1 is said to have sent",
        "local0 asked that messages be read which it did not bring",
    ] == visit(work)


def test_no_message_takes_the_place_of_another(visit: Visit[Any]) -> None:
    """Nor is another job's message read by who is asked."""

    async def work(harbour: Harbour) -> list[str]:
        parent = await central(harbour)
        await harbour.ask(parent)
        (child,) = await harbour.claim(LOCAL0)
        event, (message,) = request(child)
        stolen = replace(
            event, orders=tuple(replace(o, inbox=(MessageId("opening.0.0"),)) for o in event.orders)
        )
        forged = replace(
            event, orders=tuple(replace(o, inbox=(MessageId("run.1.10"),)) for o in event.orders)
        )
        link = harbour.links[LOCAL0]
        return await refusal(
            NotYours,
            link.ask(stolen, [message]),
            link.ask(stolen, [replace(message, id=MessageId("opening.0.0"))]),
            link.ask(forged, [replace(message, id=MessageId("run.1.10"))]),
        )

    assert [
        "local0 asked that messages be read which it did not bring",
        "local0 reported a message 'opening.0.0', which is not of job run.1.0",
        "local0 reported a message 'run.1.10', which is not of job run.1.0",
    ] == visit(work)


def test_how_deep_and_how_often_a_job_may_ask_is_bounded(
    visit: Visit[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conductor, "CHILD_DEPTH_MAX", 1)
    monkeypatch.setattr(conductor, "CHILD_ROUNDS_MAX", 2)

    async def work(harbour: Harbour) -> list[str]:
        parent = await central(harbour)
        await harbour.ask(parent)
        await harbour.ask(parent, number=1)
        (child,) = await harbour.claim(LOCAL0)
        sentences = await refusal(LimitReached, harbour.ask(parent, number=2), harbour.ask(child))
        await harbour.links[LOCAL0].report(done(parent))
        return sentences

    often, deep = visit(work)

    assert "more than 2 times" in often
    assert "lie 2 deep" in deep


def test_who_has_ended_asks_no_more(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> list[str]:
        parent = await central(harbour)
        number = await harbour.ask(parent)
        await harbour.links[LOCAL0].report(done(parent))
        link = harbour.links[LOCAL0]
        await refusal(StaleEvent, harbour.ask(parent), harbour.ask(parent, number=1))
        return await refusal(StaleEvent, link.give_up(given_up(parent, number)))

    assert ["RoundGivenUp came for job run.0.0, which is done"] == visit(work)


# --- Answers ----------------------------------------------------------------------------------


def test_what_the_sites_leave_comes_to_who_asked_in_the_order_of_the_question(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> tuple[list[Any], list[Any]]:
        parent = await central(harbour)
        link = harbour.links[LOCAL0]
        number = await harbour.ask(parent, LOCAL2, LOCAL0, LOCAL1)
        before = await link.child(RUN, parent.job.id, number)
        waiting = await soon(link.child_ended(RUN, parent.job.id, number))
        tickets = await harbour.claim(*SITES)
        await asyncio.gather(
            *(
                harbour.links[ticket.job.seat].report(done(ticket, body=ticket.job.seat.encode()))
                for ticket in tickets
            )
        )
        await waiting
        after = await link.child(RUN, parent.job.id, number)
        assert (3, 0) == (before.round.open_count, after.round.open_count)
        # It has ended: nobody waits.
        await link.child_ended(RUN, parent.job.id, number)
        return list(before.messages), [message and message.body for message in after.messages]

    assert ([None] * 3, [b"local2", b"local0", b"local1"]) == visit(work)


def test_a_site_that_fails_is_told_to_who_asked_and_the_run_goes_on(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> tuple[list[Any], Run]:
        parent = await central(harbour)
        link = harbour.links[LOCAL0]
        number = await harbour.ask(parent)
        first, second, third = await harbour.claim(*SITES)
        await asyncio.gather(harbour.links[LOCAL1].report(broken(second)), harbour.report(first, third))
        await link.child_ended(RUN, parent.job.id, number)
        child = await link.child(RUN, parent.job.id, number)
        await link.report(done(parent, final=True))
        told = [
            (job.status, job.failure, message is None)
            for job, message in zip(child.jobs, child.messages, strict=True)
        ]
        return told, await harbour.hub.ended(RUN)

    told, run = visit(work)

    assert [
        (JobStatus.DONE, None, False),
        (JobStatus.FAILED, replace(FAILURE, site=LOCAL1), True),
        (JobStatus.DONE, None, False),
    ] == told
    assert (RunStatus.DONE, None) == (run.status, run.failure)


def test_only_who_asked_looks_waits_gives_up_and_forgets(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> list[str]:
        parent = await central(harbour)
        number = await harbour.ask(parent)
        child = (await harbour.claim(*SITES))[1]
        below = await harbour.ask(child)
        own, other = harbour.links[LOCAL0], harbour.links[LOCAL1]
        job, foreign = parent.job.id, child.job.id
        await refusal(
            NotYours,
            # In another seat's name.
            other.child(RUN, job, number),
            other.child_ended(RUN, job, number),
            other.give_up(given_up(parent, number)),
            other.release(RUN, job, number),
            own.child(RUN, foreign, below),
        )
        return await refusal(
            NotYours,
            # A main round, another job's round, and one that isn't there.
            own.child(RUN, job, 0),
            own.child_ended(RUN, job, below),
            own.give_up(given_up(parent, below)),
            own.release(RUN, job, 7),
            other.child(RUN, foreign, number),
        )

    assert [
        "job run.0.0 has asked for no round 0",
        "job run.0.0 has asked for no round 2",
        "job run.0.0 has asked for no round 2",
        "job run.0.0 has asked for no round 7",
        "job run.1.1 has asked for no round 1",
    ] == visit(work)


def test_what_was_read_for_the_last_time_may_be_forgotten_and_nothing_else(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> list[Any]:
        parent = await central(harbour)
        link = harbour.links[LOCAL0]
        numbers = [await harbour.ask(parent, number=number) for number in (0, 1)]
        for _ in numbers:
            await harbour.play(*SITES)
        await link.release(RUN, parent.job.id, numbers[0])
        await link.release(RUN, parent.job.id, numbers[0])
        children = [await link.child(RUN, parent.job.id, number) for number in numbers]
        return [sum(message is not None for message in child.messages) for child in children]

    read, kept = visit(work)
    # A hub keeps it where the job may have to be done again, at another claim.
    assert read in {0, 3}
    assert 3 == kept


def test_rounds_that_are_open_at_a_time_are_each_answered(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> list[Any]:
        parent = await central(harbour)
        link = harbour.links[LOCAL0]
        first = await harbour.ask(parent, LOCAL1, LOCAL2)
        second = await harbour.ask(parent, LOCAL2, number=1)
        waiting = [await soon(link.child_ended(RUN, parent.job.id, number)) for number in (first, second)]
        one, two = await harbour.claim(LOCAL1, LOCAL2)
        (three,) = await harbour.claim(LOCAL2)
        # A seat claims in the order of the questions, and may end in another.
        assert [first, first, second] == [ticket.job.round_number for ticket in (one, two, three)]
        await harbour.report(three)
        await waiting[1]
        await turns()
        still = waiting[0].done()
        await harbour.report(one, two)
        await waiting[0]
        return [still]

    assert [False] == visit(work)


def test_calls_may_lie_within_calls(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> list[str]:
        parent = await central(harbour)
        await harbour.ask(parent, LOCAL1)
        (child,) = await harbour.claim(LOCAL1)
        number = await harbour.ask(child, LOCAL0, LOCAL2)
        below = await harbour.claim(LOCAL0, LOCAL2)
        # At the seat of the one that waits, too.
        deepest = await harbour.ask(below[0], LOCAL1)
        await harbour.play(LOCAL1)
        await harbour.links[LOCAL0].child_ended(RUN, below[0].job.id, deepest)
        await harbour.report(*below)
        await harbour.links[LOCAL1].child_ended(RUN, child.job.id, number)
        await harbour.report(child)
        await harbour.report(parent, final=True)
        assert RunStatus.DONE is (await harbour.hub.ended(RUN)).status
        return [ticket.origin for ticket in (parent, child, *below)]

    assert ["", "/local0.0", "/local0.0/local1.0", "/local0.0/local1.0"] == visit(work)


# --- Ends -------------------------------------------------------------------------------------


def test_what_is_late_is_given_up_and_told_to_its_node(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> list[JobStatus]:
        parent = await central(harbour)
        link = harbour.links[LOCAL0]
        number = await harbour.ask(parent)
        first, second = await harbour.claim(LOCAL0, LOCAL1)
        await link.report(done(first))
        waiting = await soon(link.child_ended(RUN, parent.job.id, number))
        await link.give_up(given_up(parent, number))
        await waiting
        # Who was at work is told. Who hadn't begun has nothing to begin any more.
        assert second.job.id == await harbour.links[LOCAL1].cancelled()
        assert await harbour.links[LOCAL2].claim() is None
        await refusal(StaleEvent, harbour.links[LOCAL1].report(done(second)))
        await link.give_up(given_up(parent, number))
        for seat in SITES:
            (await soon(harbour.links[seat].cancelled())).cancel()
        child = await link.child(RUN, parent.job.id, number)
        assert [True, False, False] == [message is not None for message in child.messages]
        # The run goes on, and so do the seats.
        again = await harbour.ask(parent, number=1)
        await harbour.play(*SITES)
        await link.child_ended(RUN, parent.job.id, again)
        return [job.status for job in child.jobs]

    assert [JobStatus.DONE, JobStatus.CANCELLED, JobStatus.CANCELLED] == visit(work)


def test_who_is_done_and_only_waits_for_its_turn_is_not_late() -> None:
    # Seats wait for turns in a simulation alone.
    async def work(harbour: Harbour) -> list[JobStatus]:
        parent = await central(harbour)
        link = harbour.links[LOCAL0]
        number = await harbour.ask(parent)
        tickets = await harbour.claim(*SITES)
        reporting = asyncio.create_task(harbour.report(*tickets[1:]))
        await turns()
        await link.give_up(given_up(parent, number))
        await reporting
        return [job.status for job in (await link.child(RUN, parent.job.id, number)).jobs]

    statuses = at(LINKS["local"], asking_run(SITES), work)
    assert [JobStatus.CANCELLED, JobStatus.DONE, JobStatus.DONE] == statuses


@pytest.mark.parametrize("ends", [done, broken])
def test_what_a_job_asked_for_ends_with_it_several_levels_deep(
    visit: Visit[Any], ends: Callable[[Ticket], Any]
) -> None:
    async def work(harbour: Harbour) -> None:
        parent = await central(harbour)
        await harbour.ask(parent, LOCAL1)
        (middle,) = await harbour.claim(LOCAL1)
        number = await harbour.ask(middle)
        inner = await harbour.claim(*SITES)
        deepest = await harbour.ask(inner[2], LOCAL1, LOCAL0)
        (deep,) = await harbour.claim(LOCAL1)
        waiting = [
            await soon(harbour.links[LOCAL1].child_ended(RUN, middle.job.id, number)),
            await soon(harbour.links[LOCAL2].child_ended(RUN, inner[2].job.id, deepest)),
        ]

        await harbour.links[LOCAL1].report(ends(middle))

        # Nobody waits for ever.
        await asyncio.gather(*waiting, return_exceptions=True)
        told = {seat: await harbour.links[seat].cancelled() for seat in (LOCAL0, LOCAL2)}
        assert {LOCAL0: inner[0].job.id, LOCAL2: inner[2].job.id} == told
        both = {await harbour.links[LOCAL1].cancelled() for _ in range(2)}
        assert {inner[1].job.id, deep.job.id} == both
        assert await harbour.links[LOCAL0].claim() is None
        for ticket in (*inner, deep):
            await refusal(
                StaleEvent,
                harbour.links[ticket.job.seat].report(done(ticket)),
                harbour.ask(ticket, LOCAL1, number=1),
            )
        # Who asked first goes on.
        await harbour.ask(parent, number=1)
        await harbour.play(*SITES)
        await harbour.report(parent, final=True)
        assert RunStatus.DONE is (await harbour.hub.ended(RUN)).status

    visit(work)


def test_a_run_that_fails_ends_every_job_and_wakes_who_waits(docking: Docking) -> None:
    run = replace(asking_run(SITES, SITES[:2]))

    async def work(harbour: Harbour) -> None:
        one, other = await harbour.claim(LOCAL0, LOCAL1)
        number = await harbour.ask(one, LOCAL2)
        (child,) = await harbour.claim(LOCAL2)
        waiting = await soon(harbour.links[LOCAL0].child_ended(RUN, one.job.id, number))
        await harbour.links[LOCAL1].report(broken(other))
        await asyncio.gather(waiting, return_exceptions=True)
        assert RunStatus.FAILED is (await harbour.hub.ended(RUN)).status
        assert one.job.id == await harbour.links[LOCAL0].cancelled()
        assert child.job.id == await harbour.links[LOCAL2].cancelled()
        # It broke itself.
        (await soon(harbour.links[LOCAL1].cancelled())).cancel()

    at(docking, run, work)


def test_a_run_that_is_done_ends_what_is_still_open(visit: Visit[Any]) -> None:
    async def work(harbour: Harbour) -> None:
        parent = await central(harbour)
        await harbour.ask(parent)
        (child,) = await harbour.claim(LOCAL0)
        await harbour.links[LOCAL0].report(done(parent, final=True))
        assert RunStatus.DONE is (await harbour.hub.ended(RUN)).status
        assert child.job.id == await harbour.links[LOCAL0].cancelled()
        assert [None] * 3 == [await harbour.links[seat].claim() for seat in SITES]

    visit(work)


def test_a_step_that_ends_hands_out_nothing_that_was_asked_for_in_it(docking: Docking) -> None:
    async def work(harbour: Harbour) -> None:
        parent = await central(harbour)
        await harbour.ask(parent)
        (child,) = await harbour.claim(LOCAL0)
        await harbour.links[LOCAL0].report(done(parent))
        assert child.job.id == await harbour.links[LOCAL0].cancelled()
        assert [None, None] == [await harbour.links[seat].claim() for seat in (LOCAL1, LOCAL2)]
        (following,) = await harbour.play(LOCAL0, final=True)
        assert 1 == following.step
        assert RunStatus.DONE is (await harbour.hub.ended(RUN)).status

    at(docking, asking_run(SITES, steps=2), work)


# --- Races ------------------------------------------------------------------------------------


def test_a_seat_whose_round_is_given_up_while_it_waits_for_its_turn_claims_the_next(
    visit: Visit[Any],
) -> None:
    async def work(harbour: Harbour) -> list[int]:
        parent = await central(harbour)
        number = await harbour.ask(parent, LOCAL1, LOCAL2)
        waiting = asyncio.create_task(harbour.links[LOCAL2].claim())  # if turns are taken
        await turns()
        second = await harbour.ask(parent, LOCAL1, LOCAL2, number=1)
        await harbour.links[LOCAL0].give_up(given_up(parent, number))
        # Whoever hadn't claimed it finds the other, and nobody waits for ever.
        ticket = await waiting
        if ticket is not None and ticket.job.round_number == number:
            ticket = await harbour.links[LOCAL2].claim()
        assert ticket is not None
        (other,) = await harbour.claim(LOCAL1)
        await harbour.report(ticket, other)
        await harbour.links[LOCAL0].child_ended(RUN, parent.job.id, second)
        return [ticket.job.round_number, other.job.round_number]

    assert [2, 2] == visit(work)


def test_a_seat_that_had_not_claimed_when_a_round_was_given_up_keeps_no_turn_of_it(
    visit: Visit[Any],
) -> None:
    async def work(harbour: Harbour) -> list[int]:
        parent = await central(harbour)
        numbers = [await harbour.ask(parent, LOCAL1, LOCAL2, number=number) for number in (0, 1)]
        await harbour.links[LOCAL0].give_up(given_up(parent, numbers[0]))
        # One after another: a seat that reports waits for those who claim.
        first = await harbour.links[LOCAL1].claim()
        second = await harbour.links[LOCAL2].claim()
        assert first is not None
        assert second is not None
        await harbour.report(first, second)
        await harbour.links[LOCAL0].child_ended(RUN, parent.job.id, numbers[1])
        return [first.job.round_number, second.job.round_number]

    assert [2, 2] == visit(work)
