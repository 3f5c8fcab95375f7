"""What it means to a run that a site refuses, fails, or isn't heard of, and that somebody decides."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.federation import REMOTE, RUN, make_run, openings, said, seats

from atoll.dialects.coinstac import choreography
from atoll.engine import calls
from atoll.engine.limits import ATTEMPTS_MAX
from atoll.hub.hub import Hub
from atoll.model.errors import NotYours, StaleEvent
from atoll.model.events import Decision, JobBroke, JobLost, JobReported, RoundRequested
from atoll.model.work import (
    Failure,
    JobStatus,
    Loss,
    Message,
    MessageId,
    Order,
    Run,
    RunStatus,
    Seat,
    Ticket,
)
from atoll.stores.memory import MemoryBlobStore, MemoryRunStore

A, B, C = seats(3)
BROKE = Failure(type="AlgorithmFailed", message="exit status 1")
REFUSED = Failure(type="JobRefused", message="the policy 'bundles' refuses")


class Table:
    """A run at a hub, and what its nodes do."""

    def __init__(self, run: Run) -> None:
        self.store = MemoryRunStore()
        self.hub = Hub(self.store, MemoryBlobStore(), {"coinstac": choreography, "functions": calls})
        self.begun = run

    async def begin(self) -> None:
        """Submit the run."""
        await self.hub.submit(self.begun, openings(self.begun))

    @property
    def run(self) -> Run:
        """The run as it is now."""
        return self.store._books[RUN].run

    async def claim(self, node: str) -> Ticket:
        """Take a node's next job."""
        ticket = await self.hub.claim(node)
        assert ticket is not None
        return ticket

    async def does(self, *nodes: str, **how: Any) -> None:
        """Let nodes do a job each."""
        for node in nodes:
            ticket = await self.claim(node)
            await self.report(ticket, **how)

    async def report(self, ticket: Ticket, *, attempt: int | None = None, **how: Any) -> None:
        """Say that a job is done."""
        job = ticket.job
        event = JobReported(run_id=RUN, job_id=job.id, attempt=attempt, outcome=said(ticket, **how))
        await self.hub.report(job.served_by, event)

    async def breaks(self, node: str, failure: Failure = BROKE) -> Ticket:
        """Let a node's next job break."""
        ticket = await self.claim(node)
        await self.hub.report(node, JobBroke(run_id=RUN, job_id=ticket.job.id, failure=failure))
        return ticket

    async def is_lost(self, ticket: Ticket) -> None:
        """Nothing is heard of a job's node any more."""
        event = JobLost(run_id=RUN, job_id=ticket.job.id, attempt=ticket.job.attempt)
        await self.hub.lost(ticket.job.served_by, event)


def play(run: Run, visit: Any) -> Any:
    """Begin a run, and do something with it."""

    async def whole() -> Any:
        table = Table(run)
        await table.begin()
        return await visit(table)

    return asyncio.run(whole())


def losing(on_failure: Loss = Loss.DROP, *, min_sites: int = 1, **how: Any) -> Run:
    """A run over three sites that may lose some."""
    made = make_run(3, **how)
    return replace(made, on_failure=on_failure, on_refusal=on_failure, min_sites=min_sites)


def test_a_run_goes_on_without_a_site_that_failed() -> None:
    async def visit(table: Table) -> Any:
        await table.does(A)
        await table.breaks(B)
        await table.does(C)
        combined = await table.claim(REMOTE)
        await table.report(combined)
        return table.run, combined, await table.hub.claim(B), await table.claim(C)

    run, combined, nothing, again = play(losing(), visit)

    assert (B,) == run.dropped
    assert (A, C) == run.present
    assert [A, C] == [message.sender for message in combined.inbox]
    assert (A, C) == combined.readers
    assert nothing is None
    assert REMOTE == again.inbox[0].sender


def test_the_last_site_of_a_round_may_be_the_one_that_is_lost() -> None:
    async def visit(table: Table) -> Any:
        await table.does(A, B)
        await table.breaks(C, REFUSED)
        return await table.claim(REMOTE)

    assert [A, B] == [message.sender for message in play(losing(), visit).inbox]


def test_a_run_fails_when_fewer_sites_are_left_than_it_needs() -> None:
    async def visit(table: Table) -> Run:
        await table.breaks(A)
        assert RunStatus.ACTIVE is table.run.status
        await table.breaks(B)
        return table.run

    run = play(losing(min_sites=2), visit)

    assert run.failure is not None
    assert (RunStatus.FAILED, "NotEnoughSites", B) == (run.status, run.failure.type, run.failure.site)
    assert "1 sites left, and the run needs 2: exit status 1" in run.failure.message


def test_nobody_stands_in_for_the_aggregator() -> None:
    async def visit(table: Table) -> Run:
        await table.does(A, B, C)
        await table.breaks(REMOTE)
        return table.run

    assert RunStatus.FAILED is play(losing(), visit).status


def test_a_refusal_may_mean_something_else_than_a_failure() -> None:
    async def visit(table: Table) -> RunStatus:
        await table.breaks(A, REFUSED)
        await table.breaks(B, BROKE)
        return table.run.status

    run = replace(losing(), on_refusal=Loss.DROP, on_failure=Loss.FAIL)
    assert RunStatus.FAILED is play(run, visit)


def test_a_step_that_has_nobody_left_to_call_fails_the_run() -> None:
    made = make_run(2, aggregated=(False, False), dialect="functions")
    second = replace(made.steps[1], seats=(A,))

    async def visit(table: Table) -> Run:
        await table.breaks(A)
        await table.does(B, final=True)
        return table.run

    run = replace(made, steps=(made.steps[0], second), on_failure=Loss.DROP, min_sites=1)
    ended = play(run, visit)

    assert ended.failure is not None
    assert "no site is left that step1 should call" in ended.failure.message


# --- Somebody is asked ------------------------------------------------------------------------


def asked(decision: Decision) -> Any:
    """A site fails, somebody is asked, and decides; the run and what the site can claim then."""

    async def visit(table: Table) -> Any:
        ticket = await table.breaks(A)
        held = (await table.store.open_state(RUN, ticket.job.id)).job
        assert (JobStatus.HELD, BROKE.message) == (held.status, held.failure and held.failure.message)
        assert await table.hub.claim(A) is None
        with pytest.raises(StaleEvent, match="nobody has claimed"):
            await table.report(ticket)
        await table.hub.decide(RUN, ticket.job.id, decision)
        return table.run, await table.hub.claim(A)

    return play(losing(Loss.ASK), visit)


def test_a_job_that_somebody_wants_tried_again_is_handed_out_again() -> None:
    run, again = asked(Decision.RETRY)

    assert RunStatus.ACTIVE is run.status
    assert (2, None) == (again.job.attempt, again.job.failure)


def test_a_site_that_somebody_lets_go_is_dropped() -> None:
    run, nothing = asked(Decision.DROP)

    assert ((A,), RunStatus.ACTIVE, None) == (run.dropped, run.status, nothing)


def test_a_run_that_somebody_gives_up_fails_with_what_the_site_said() -> None:
    run, nothing = asked(Decision.FAIL)

    assert (RunStatus.FAILED, None) == (run.status, nothing)
    assert "exit status 1" == run.failure.message


def test_nobody_has_to_wait_for_a_site_that_does_not_answer() -> None:
    """A job is let go before anybody has claimed it; another while it runs."""

    async def visit(table: Table) -> Any:
        ticket = await table.claim(B)
        await table.does(A)
        await table.hub.decide(RUN, ticket.job.id, Decision.DROP)
        waiting = await table.store.next_job(C)
        assert waiting is not None
        await table.hub.decide(RUN, waiting.id, Decision.RETRY)
        await table.hub.decide(RUN, waiting.id, Decision.DROP)
        with pytest.raises(StaleEvent):
            await table.report(ticket)
        return table.run, await table.claim(REMOTE)

    run, combined = play(losing(), visit)

    assert (B, C) == run.dropped
    assert [A] == [message.sender for message in combined.inbox]


def test_the_aggregator_can_not_be_dropped() -> None:
    async def visit(table: Table) -> None:
        await table.does(A, B, C)
        ticket = await table.claim(REMOTE)
        with pytest.raises(NotYours, match="combines what the sites send"):
            await table.hub.decide(RUN, ticket.job.id, Decision.DROP)

    play(losing(), visit)


def test_what_a_job_asked_for_is_its_own_affair() -> None:
    made = make_run(2, aggregated=(False,), dialect="functions")
    run = replace(made, steps=(replace(made.steps[0], seats=(A,)),))

    async def visit(table: Table) -> None:
        parent = await table.claim(A)
        message = Message(id=MessageId(f"{parent.job.id}.ask0.0"), sender=A, readers=(B,), body=b"")
        event = RoundRequested(
            run_id=RUN,
            job_id=parent.job.id,
            number=0,
            digest="sha256:0",
            name="moments",
            orders=(Order(seat=B, inbox=(message.id,)),),
        )
        await table.hub.ask(A, event, [message])
        child = await table.claim(B)
        with pytest.raises(NotYours, match="only that can give it up"):
            await table.hub.decide(RUN, child.job.id, Decision.DROP)

    play(run, visit)


# --- Nodes that are lost ----------------------------------------------------------------------


def test_a_lost_job_is_handed_out_again_and_the_ghost_is_not_heard() -> None:
    async def visit(table: Table) -> Any:
        first = await table.claim(A)
        await table.is_lost(first)
        second = await table.claim(A)
        with pytest.raises(StaleEvent, match=r"claim 1 of job run\.0\.0, and it was claimed 2 times"):
            await table.report(first, attempt=first.job.attempt)
        with pytest.raises(StaleEvent):
            await table.is_lost(first)
        await table.report(second, attempt=second.job.attempt)
        return first, second

    first, second = play(make_run(3), visit)

    assert (1, 2) == (first.job.attempt, second.job.attempt)
    assert first.inbox == second.inbox


def test_a_job_that_takes_its_node_down_each_time_breaks() -> None:
    async def visit(table: Table) -> Run:
        for _ in range(ATTEMPTS_MAX):
            await table.is_lost(await table.claim(A))
        return table.run

    run = play(make_run(3), visit)

    assert run.failure is not None
    assert ("NodeLost", A) == (run.failure.type, run.failure.site)


def test_another_node_may_serve_the_aggregators_seat() -> None:
    async def visit(table: Table) -> Any:
        await table.does(A, B, C)
        assert await table.hub.claim(REMOTE) is None
        ticket = await table.claim("lagoon")
        with pytest.raises(NotYours):
            await table.hub.report(
                REMOTE, JobReported(run_id=RUN, job_id=ticket.job.id, outcome=said(ticket))
            )
        await table.report(ticket, final=True)
        return ticket

    ticket = play(replace(make_run(3), aggregator_node="lagoon"), visit)

    assert (REMOTE, "lagoon") == (ticket.job.seat, ticket.job.served_by)


# --- Ended from outside -----------------------------------------------------------------------


def test_a_run_that_is_stopped_ends_and_its_nodes_are_told() -> None:
    async def visit(table: Table) -> Any:
        ticket = await table.claim(A)
        waiting: asyncio.Task[Run] = asyncio.create_task(table.hub.ended(RUN))
        await asyncio.sleep(0)
        await table.hub.stop(RUN, Failure(type="Cancelled", message="ada ended it"))
        with pytest.raises(StaleEvent, match="can't be ended again"):
            await table.hub.stop(RUN, Failure(type="Cancelled", message="again"))
        return ticket.job.id, await table.hub.cancelled(A), await waiting, await table.hub.claim(B)

    claimed, told, run, nothing = play(make_run(3), visit)

    assert (claimed, None) == (told, nothing)
    assert (RunStatus.FAILED, "ada ended it") == (run.status, run.failure.message)


@pytest.mark.parametrize("needed", [-1, 4])
def test_a_run_can_not_need_more_sites_than_it_has(needed: int) -> None:
    with pytest.raises(ValueError, match="sites and has 3"):
        replace(make_run(3), min_sites=needed)


def test_a_run_that_may_lose_no_site_needs_them_all() -> None:
    assert (3, 2) == (make_run(3).sites_needed, losing(min_sites=2).sites_needed)
    assert Seat("local0") == make_run(3).node_of(Seat("local0"))
    assert "lagoon" == replace(make_run(3), aggregator_node="lagoon").node_of(REMOTE)
