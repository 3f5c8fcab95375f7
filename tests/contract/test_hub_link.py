"""What every link from a node to its hub promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.federation import LOCAL0, REMOTE, RUN, blob_of, in_chunks, joined, make_run, said
from tests.harbour import FAILURE, LINKS, Docking, Harbour, at, broken, done

from atoll.engine.limits import CHUNK_BYTES
from atoll.engine.ports import HubLink
from atoll.engine.running import whole
from atoll.model.errors import BlobMismatch, NotYours, StaleEvent
from atoll.model.events import JobReported
from atoll.model.work import Outcome, Role, Run, RunStatus, Seat, Ticket, Work

LOCAL1 = Seat("local1")


@pytest.fixture(params=LINKS)
def docking(request: pytest.FixtureRequest) -> Docking:
    """A way to build links."""
    return LINKS[request.param]


# --- Tickets ----------------------------------------------------------------------------------


def test_a_seat_hears_of_work_and_claims_its_own_job(docking: Docking) -> None:
    async def visit(harbour: Harbour) -> list[Ticket]:
        await asyncio.gather(*(harbour.links[seat].listen() for seat in (LOCAL0, LOCAL1)))
        return await harbour.claim(LOCAL0, LOCAL1)

    tickets = at(docking, make_run(2), visit)

    assert [LOCAL0, LOCAL1] == [ticket.job.seat for ticket in tickets]
    for ticket in tickets:
        assert (0, 1, Role.SITE, Work.CALL) == (ticket.step, ticket.iteration, ticket.role, ticket.work)
        assert [b'{"inputs":[["a",{"value":1}]]}'] == [message.body for message in ticket.inbox]
        assert (REMOTE,) == ticket.readers
        assert make_run(2).steps[0].algorithm == ticket.algorithm


def test_a_seat_without_work_is_given_none_and_waits(docking: Docking) -> None:
    async def visit(harbour: Harbour) -> tuple[Ticket | None, bool]:
        link = harbour.links[REMOTE]
        listening = asyncio.create_task(_listen(link))
        ticket = await link.claim()
        await harbour.claim(LOCAL0, LOCAL1)
        waits = not listening.done()
        listening.cancel()
        return ticket, waits

    assert (None, True) == at(docking, make_run(2), visit)


async def _listen(link: HubLink) -> None:
    await link.listen()


def test_a_job_is_handed_out_once(docking: Docking) -> None:
    async def visit(harbour: Harbour) -> list[Ticket | None]:
        link = harbour.links[LOCAL0]
        return [await link.claim(), await link.claim()]

    first, second = at(docking, make_run(2), visit)

    assert first is not None
    assert second is None


def test_work_that_a_report_has_made_is_heard_of(docking: Docking) -> None:
    async def visit(harbour: Harbour) -> Ticket:
        listening = asyncio.create_task(_listen(harbour.links[REMOTE]))
        await harbour.play(LOCAL0, LOCAL1, body=b'{"n":1}')
        await listening
        return (await harbour.claim(REMOTE))[0]

    ticket = at(docking, make_run(2), visit)

    assert (Role.AGGREGATOR, 1) == (ticket.role, ticket.iteration)
    assert [(LOCAL0, b'{"n":1}'), (LOCAL1, b'{"n":1}')] == [
        (message.sender, message.body) for message in ticket.inbox
    ]
    assert (LOCAL0, LOCAL1) == ticket.readers


def test_a_run_goes_from_its_first_round_to_its_delivery(docking: Docking) -> None:
    async def visit(harbour: Harbour) -> tuple[Run, list[Ticket], dict[Seat, bytes]]:
        for iteration in (1, 2, 3):
            await harbour.play(LOCAL0, LOCAL1)
            await harbour.play(REMOTE, body=b'{"sum":%d}' % iteration, final=iteration == 3)
        deliveries = await harbour.play(LOCAL0, LOCAL1)
        settled = await harbour.hub.settled(RUN, 0)
        return await harbour.hub.ended(RUN), deliveries, {seat: whole(m.body) for seat, m in settled.items()}

    run, deliveries, settled = at(docking, make_run(2), visit)

    assert RunStatus.DONE is run.status
    assert (7, 6) == (run.round_count, run.call_round_count)
    assert [Work.DELIVER, Work.DELIVER] == [ticket.work for ticket in deliveries]
    assert [b'{"sum":3}'] * 2 == [ticket.inbox[0].body for ticket in deliveries]
    assert {REMOTE: b'{"sum":3}'} == settled


def test_a_site_that_works_for_itself_is_its_only_reader(docking: Docking) -> None:
    async def visit(harbour: Harbour) -> list[Ticket]:
        return await harbour.claim(LOCAL0, LOCAL1)

    tickets = at(docking, make_run(2, aggregated=[False]), visit)

    assert [(LOCAL0,), (LOCAL1,)] == [ticket.readers for ticket in tickets]


# --- Reports ----------------------------------------------------------------------------------


def test_a_broken_job_ends_the_run_and_names_its_seat(docking: Docking) -> None:
    async def visit(harbour: Harbour) -> tuple[Run, Ticket | None]:
        tickets = await harbour.claim(LOCAL0, LOCAL1)
        await harbour.links[LOCAL1].report(broken(tickets[1]))
        run = await harbour.hub.ended(RUN)
        with pytest.raises(StaleEvent):
            await harbour.links[LOCAL0].report(done(tickets[0]))
        return run, await harbour.links[LOCAL0].claim()

    run, more = at(docking, make_run(2), visit)

    assert (RunStatus.FAILED, replace(FAILURE, site=LOCAL1)) == (run.status, run.failure)
    assert more is None


def test_what_has_been_reported_is_not_reported_again(docking: Docking) -> None:
    async def visit(harbour: Harbour) -> None:
        tickets = await harbour.claim(LOCAL0, LOCAL1)
        await harbour.report(tickets[0])

        for event in (done(tickets[0]), broken(tickets[0])):
            with pytest.raises(StaleEvent):
                await harbour.links[LOCAL0].report(event)
        # The run goes on as if nothing had been said.
        await harbour.report(tickets[1])
        await harbour.play(REMOTE, final=True)

    at(docking, make_run(2), visit)


def test_nobody_speaks_about_another_seats_job(docking: Docking) -> None:
    async def visit(harbour: Harbour) -> list[str]:
        tickets = await harbour.claim(LOCAL0, LOCAL1)
        refusals = []
        for event in (done(tickets[0]), broken(tickets[0])):
            with pytest.raises(NotYours) as refused:
                await harbour.links[REMOTE].report(event)
            refusals.append(str(refused.value))
        await harbour.report(*tickets)
        await harbour.play(REMOTE, final=True)
        return refusals

    assert ["remote spoke about job run.0.0, which is another seat's"] * 2 == at(docking, make_run(2), visit)


def test_nobody_sends_in_another_seats_name(docking: Docking) -> None:
    async def visit(harbour: Harbour) -> str:
        (ticket,) = await harbour.claim(LOCAL0)
        outcome = said(ticket)
        assert outcome.message is not None
        forged = Outcome(message=replace(outcome.message, sender=LOCAL1))
        with pytest.raises(NotYours) as refused:
            await harbour.links[LOCAL0].report(JobReported(run_id=RUN, job_id=ticket.job.id, outcome=forged))
        return str(refused.value)

    run = make_run(1)
    expected = "local0 reported a message that local1 is said to have sent"
    assert expected == at(docking, run, visit)


# --- Blobs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 3])
def test_what_one_seat_puts_another_gets_in_chunks(docking: Docking, size: int) -> None:
    content = b"atoll" * (size // 5 + 1)
    blob = blob_of(content[:size])

    async def visit(harbour: Harbour) -> list[bytes]:
        (ticket,) = await harbour.claim(LOCAL0)
        await harbour.links[LOCAL0].put_blob(RUN, blob, in_chunks(content[:size]))
        await harbour.report(ticket, blobs=(blob,))
        return [chunk async for chunk in harbour.links[REMOTE].get_blob(RUN, blob)]

    chunks = at(docking, make_run(1), visit)

    assert content[:size] == b"".join(chunks)
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)


def test_content_that_is_not_as_announced_is_refused_and_not_kept(docking: Docking) -> None:
    async def visit(harbour: Harbour) -> None:
        link = harbour.links[LOCAL0]
        with pytest.raises(BlobMismatch):
            await link.put_blob(RUN, blob_of(b"announced"), in_chunks(b"something"))

        with pytest.raises(BlobMismatch):
            await joined(link.get_blob(RUN, blob_of(b"announced")))

    at(docking, make_run(1), visit)
