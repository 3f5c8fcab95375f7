"""Runs at a hub with people: who may do what, what they see, and what they are told as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.federation import said
from tests.hub_app import HubApp, hub_app
from tests.hub_people import ELSEWHERE, ISLANDS, SITES, Islands, a_run, islands
from tests.hub_town import run_body, town

from atoll.hub.events.service import Events
from atoll.hub.runs.looking import Looking
from atoll.hub.runs.service import Runs
from atoll.model.errors import (
    Malformed,
    NotAllowed,
    NotThere,
    QuotaReached,
    StaleEvent,
    Taken,
)
from atoll.model.events import Decision, JobBroke, JobReported
from atoll.model.work import Algorithm, Failure, JobId, Loss, Outcome, RunId, Ticket
from atoll.stores.sql.events import KeptEvent
from atoll.stores.sql.run_lists import JobFilter, RunFilter

BROKE = Failure(type="AlgorithmFailed", message="exit status 1")
Visit = Callable[[Islands], Awaitable[Any]]


def at(folder: Path, visit: Visit, **quotas: int) -> Any:
    """Visit a hub with islands."""

    async def whole() -> Any:
        async with hub_app(folder) as app:
            return await visit(await islands(app, **quotas))

    return asyncio.run(whole())


async def claim(app: HubApp, node: str) -> Ticket:
    """Take a node's next job."""
    ticket = await app.parts.hub.claim(node)
    assert ticket is not None
    return ticket


async def do(app: HubApp, *nodes: str, **how: Any) -> None:
    """Let nodes do a job each."""
    for node in nodes:
        ticket = await claim(app, node)
        job = ticket.job
        outcome: Outcome = said(ticket, **how)
        await app.parts.hub.report(
            node, JobReported(run_id=job.run_id, job_id=job.id, attempt=job.attempt, outcome=outcome)
        )


def test_a_member_submits_a_run_and_sees_it(tmp_path: Path) -> None:
    async def visit(there: Islands) -> Any:
        run = await there.rooms.of(Runs).submit(there.ada, a_run(name="how heavy"))
        return run, await there.rooms.of(Looking).run(there.bob, run)

    run, form = at(tmp_path, visit)

    assert (run, "how heavy", SITES, "active") == (
        form["id"],
        form["name"],
        form["sites"],
        form["status"],
    )
    assert ("usr_ada", "org_Biscoe", ISLANDS) == (
        form["submitter"],
        form["organization"],
        form["collaboration"],
    )


def test_strangers_neither_submit_nor_see(tmp_path: Path) -> None:
    async def visit(there: Islands) -> None:
        runs, looking = there.rooms.of(Runs), there.rooms.of(Looking)
        run = await runs.submit(there.ada, a_run())
        with pytest.raises(NotThere):
            await runs.submit(there.eve, a_run())
        with pytest.raises(NotThere):
            await runs.submit(there.ada, a_run(collaboration=ELSEWHERE))
        with pytest.raises(NotThere):
            await runs.submit(there.ada, a_run(collaboration="col_nowhere"))
        with pytest.raises(NotThere):
            await runs.submit(there.ada, a_run(study="std_nowhere"))
        for look in (
            looking.run(there.eve, run),
            looking.rounds(there.eve, run, (), 10),
            looking.jobs(there.eve, run, JobFilter(), (), 10),
            looking.logs(there.eve, run, None, (), 10),
            looking.waiting(there.eve, run),
            looking.record(there.eve, run),
            runs.results(there.eve, run),
            runs.wait(there.eve, run, 0),
            runs.cancel(there.eve, run, ""),
            runs.decide(there.eve, run, JobId(f"{run}.0.0"), Decision.DROP),
            runs.remove(there.eve, run),
            there.rooms.of(Events).following(there.eve, 0, run=run),
            there.rooms.of(Events).following(there.eve, 0, collaboration=ISLANDS),
        ):
            with pytest.raises(NotThere):
                await look
        assert [] == await looking.runs(there.eve, RunFilter(), (), 10)
        assert 1 == len(await looking.runs(there.root, RunFilter(), (), 10))

    at(tmp_path, visit)


def test_who_sees_a_run_may_not_end_it(tmp_path: Path) -> None:
    async def visit(there: Islands) -> None:
        runs = there.rooms.of(Runs)
        run = await runs.submit(there.ada, a_run())
        with pytest.raises(NotAllowed):
            await runs.cancel(there.bob, run, "")
        with pytest.raises(NotAllowed):
            await runs.remove(there.bob, run)
        await runs.cancel(there.ada, run, "a slip of the pen")
        form = await there.rooms.of(Looking).run(there.bob, run)
        assert ("failed", "Cancelled") == (form["status"], form["failure"]["type"])
        assert "ada ended the run: a slip of the pen" == form["failure"]["message"]
        with pytest.raises(StaleEvent):
            await runs.cancel(there.ada, run, "")

    at(tmp_path, visit)


def test_a_client_may_name_its_run_once(tmp_path: Path) -> None:
    name = "run_" + "a" * 26

    async def visit(there: Islands) -> None:
        runs = there.rooms.of(Runs)
        assert name == await runs.submit(there.ada, a_run(id=name))
        with pytest.raises(Taken):
            await runs.submit(there.ada, a_run(id=name))
        for wrong in ("run_1", "run_" + "A" * 26, "x" * 30, "../" + "a" * 27):
            with pytest.raises(Malformed, match="can't be called"):
                await runs.submit(there.ada, a_run(id=wrong))

    at(tmp_path, visit)


def test_an_algorithm_that_nobody_brought_runs_nowhere(tmp_path: Path) -> None:
    async def visit(there: Islands) -> None:
        step = replace(
            a_run().steps[0], algorithm=Algorithm(dialect="functions", digest="sha256:1", name="mean")
        )
        with pytest.raises(Malformed, match="bring its bundle first"):
            await there.rooms.of(Runs).submit(there.ada, a_run(steps=(step,)))

    at(tmp_path, visit)


def test_a_collaboration_has_only_so_many_runs_at_a_time(tmp_path: Path) -> None:
    async def visit(there: Islands) -> None:
        runs = there.rooms.of(Runs)
        first = await runs.submit(there.ada, a_run())
        with pytest.raises(QuotaReached, match="1 runs of col_islands go on"):
            await runs.submit(there.bob, a_run())
        assert 1 == len(await there.rooms.of(Looking).runs(there.ada, RunFilter(), (), 10))
        await runs.cancel(there.ada, first, "")
        await runs.submit(there.bob, a_run())

    at(tmp_path, visit, runs_active_max=1)


def test_a_full_collaboration_begins_nothing(tmp_path: Path) -> None:
    async def visit(there: Islands) -> None:
        with pytest.raises(QuotaReached, match="remove old ones"):
            await there.rooms.of(Runs).submit(there.ada, a_run())

    at(tmp_path, visit, bytes_max=0)


def test_whoever_waits_is_told_when_the_run_has_ended(tmp_path: Path) -> None:
    async def visit(there: Islands) -> Any:
        runs = there.rooms.of(Runs)
        run = await runs.submit(there.ada, a_run())
        early = await runs.wait(there.ada, run, 0)
        waiting = asyncio.create_task(runs.wait(there.ada, run, 30))
        await asyncio.sleep(0)
        await do(there.app, *SITES, final=True)
        _, messages = await runs.results(there.bob, run)
        return early.ended, (await waiting).value, list(messages)

    assert (False, "done", list(SITES)) == at(tmp_path, visit)


def test_who_is_waited_for_is_visible(tmp_path: Path) -> None:
    async def visit(there: Islands) -> Any:
        run = await there.rooms.of(Runs).submit(
            there.ada, a_run(on_failure=Loss.ASK, on_refusal=Loss.ASK, min_sites=1)
        )
        await do(there.app, "Biscoe", final=True)
        job = (await claim(there.app, "Dream")).job
        await there.app.parts.hub.report(
            "Dream", JobBroke(run_id=run, job_id=job.id, attempt=1, failure=BROKE)
        )
        looking = there.rooms.of(Looking)
        before = await looking.waiting(there.bob, run)
        with pytest.raises(NotThere):
            await there.rooms.of(Runs).decide(there.ada, run, JobId("run_x.0.1"), Decision.DROP)
        await there.rooms.of(Runs).decide(there.ada, run, job.id, Decision.DROP)
        return before, await looking.waiting(there.bob, run), await looking.run(there.ada, run)

    before, after, form = at(tmp_path, visit)

    assert [("Dream", "held", "exit status 1"), ("Torgersen", "queued", None)] == [
        (job["seat"], job["status"], job["failure"] and job["failure"]["message"]) for job in before
    ]
    assert [False] * 2 == [job["online"] for job in before]
    assert ["Torgersen"] == [job["seat"] for job in after]
    assert ["Dream"] == list(form["dropped"])


def test_a_run_that_has_ended_can_be_removed_with_all_of_it(tmp_path: Path) -> None:
    async def visit(there: Islands) -> Any:
        runs, looking = there.rooms.of(Runs), there.rooms.of(Looking)
        run = await runs.submit(there.ada, a_run())
        with pytest.raises(StaleEvent, match="cancel it before"):
            await runs.remove(there.ada, run)
        await do(there.app, *SITES, final=True)
        stream = await there.rooms.of(Events).following(there.bob, None)
        await runs.remove(there.ada, run)
        with pytest.raises(NotThere):
            await looking.run(there.ada, run)
        told = await anext(stream)
        return run, [msgspec.json.decode(event.form) for event in told]

    run, told = at(tmp_path, visit)

    assert [{"id": run, "gone": True}] == told


def test_runs_are_kept_as_long_as_their_collaboration_wants(tmp_path: Path) -> None:
    async def visit(there: Islands) -> Any:
        runs, looking = there.rooms.of(Runs), there.rooms.of(Looking)
        await runs.submit(there.ada, a_run())
        await do(there.app, *SITES, final=True)
        goes_on = await runs.submit(there.ada, a_run())
        there.app.clock.move(86_400 * 7 - 1)
        await runs.sweep()
        before = len(await looking.runs(there.ada, RunFilter(), (), 10))
        there.app.clock.move(2)
        await runs.sweep()
        left = await looking.runs(there.ada, RunFilter(), (), 10)
        return before, [listed.form["id"] for listed in left] == [goes_on]

    assert (2, True) == at(tmp_path, visit, retention_days=7)


def test_a_run_that_is_submitted_again_with_the_same_key_is_the_same(tmp_path: Path) -> None:
    async def visit() -> None:
        async with hub_app(tmp_path) as app:
            there = await town(app)
            researcher = there.people["researcher"]
            body = run_body(researcher.own.ids["collaboration"])
            sent = await asyncio.gather(
                *(researcher.caller.post("/v1/runs", body, idempotency_key="k1") for _ in range(2))
            )
            again = await researcher.caller.post("/v1/runs", body, idempotency_key="k1")
            other = await researcher.caller.post("/v1/runs", body | {"name": "x"}, idempotency_key="k1")
            without = await researcher.caller.post("/v1/runs", body)
            assert [201] * 4 == [reply.status for reply in (*sent, again, without)]
            assert 1 == len({reply.json["id"] for reply in (*sent, again)})
            assert again.json["id"] != without.json["id"]
            assert "Taken" == other.code

    asyncio.run(visit())


# --- Stale state and events make a fresh fetch -------------------------------------------------

Held = dict[str, dict[str, Any]]


async def fetched(there: Islands) -> tuple[int, Held]:
    """All that a person sees, by what it is about, and the cursor that goes with it."""
    looking = there.rooms.of(Looking)
    cursor = await looking.cursor()
    held: Held = {}
    for listed in await looking.runs(there.bob, RunFilter(), (), 100):
        run = RunId(listed.form["id"])
        held[f"run {run}"] = listed.form
        for round_ in await looking.rounds(there.bob, run, (), 1_000):
            held[f"round {round_.form['id']}"] = round_.form
        for job in await looking.jobs(there.bob, run, JobFilter(), (), 10_000):
            held[f"job {job.form['id']}"] = job.form
    return cursor, held


def applied(held: Held, events: Sequence[KeptEvent]) -> Held:
    """What somebody holds, once he has heard of these."""
    after = dict(held)
    for event in events:
        after[f"{event.kind} {event.subject_id}"] = msgspec.json.decode(event.form)
    return after


async def heard(stream: AsyncIterator[Sequence[KeptEvent]], until: int) -> list[KeptEvent]:
    """What a follower hears up to a cursor."""
    found: list[KeptEvent] = []
    while not found or found[-1].cursor < until:
        found += await anext(stream)
    return found


def in_json(held: Held) -> Held:
    """As it would be after its way over the network."""
    decoded: Held = msgspec.json.decode(msgspec.json.encode(held))
    return decoded


@pytest.mark.parametrize("fetched_after", range(0, 12, 2))
def test_a_stale_state_and_the_events_after_it_are_a_fresh_one(tmp_path: Path, fetched_after: int) -> None:
    async def visit(there: Islands) -> Any:
        runs = there.rooms.of(Runs)
        state: tuple[int, Held] = (0, {})
        acts: list[Callable[[], Awaitable[Any]]] = [
            lambda: runs.submit(
                there.ada, a_run("coinstac", aggregated=True, on_failure=Loss.DROP, min_sites=1)
            ),
            lambda: do(there.app, "Biscoe"),
            lambda: runs.submit(there.bob, a_run(on_failure=Loss.DROP, min_sites=1)),
            lambda: do(there.app, "Dream", "Torgersen"),
            lambda: do(there.app, "Lagoon"),
            lambda: broken(there.app, "Dream"),
            lambda: do(there.app, "Biscoe"),
            lambda: do(there.app, "Biscoe", final=True),
            lambda: claim(there.app, "Torgersen"),
            lambda: stop_all(there),
        ]
        for number, act in enumerate(acts):
            if number == fetched_after:
                state = await fetched(there)
            there.app.clock.move(1)
            await act()
        if fetched_after >= len(acts):
            state = await fetched(there)
        now, fresh = await fetched(there)
        cursor, stale = state
        if cursor == now:
            return stale, fresh
        stream = await there.rooms.of(Events).following(there.bob, cursor, collaboration=ISLANDS)
        return applied(stale, await heard(stream, now)), fresh

    held, fresh = at(tmp_path, visit)

    assert in_json(fresh) == in_json(held)
    assert len(fresh) > 10


async def broken(app: HubApp, node: str) -> None:
    """Let a node's next job break."""
    job = (await claim(app, node)).job
    event = JobBroke(run_id=job.run_id, job_id=job.id, attempt=job.attempt, failure=BROKE)
    await app.parts.hub.report(node, event)


async def stop_all(there: Islands) -> None:
    """End every run that goes on."""
    for listed in await there.rooms.of(Looking).runs(there.root, RunFilter(status="active"), (), 100):
        await there.rooms.of(Runs).cancel(there.root, RunId(listed.form["id"]), "enough")
