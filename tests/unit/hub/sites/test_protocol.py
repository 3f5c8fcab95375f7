"""What nodes ask of a hub: heard of, lost, woken; each for itself alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.federation import said
from tests.hub_app import hub_app
from tests.hub_people import LAGOON, SITES, Islands, a_run, islands
from tests.postgres import Postgres
from tests.run_stores import DATABASES

from atoll.engine.limits import LOG_LINES_MAX, LOG_TOLD_BYTES_MAX
from atoll.hub.notices import Bell
from atoll.hub.principal import Kind, Principal
from atoll.hub.runs.service import Runs
from atoll.hub.sites.protocol import Nodes
from atoll.hub.sites.sweeper import Sweeper
from atoll.hub.streams import Woken, wait_for
from atoll.model.errors import Malformed, NotYours, StaleEvent
from atoll.model.events import JobBroke, JobLost, JobReported
from atoll.model.work import Failure, JobId, RunId, RunStatus, Ticket
from atoll.stores.sql.run_tables import events, jobs, run_logs
from atoll.stores.sql.site_tables import nodes
from atoll.transports.forms import Claim, Claimed, Heartbeat, Hello, Log, Logs, Signal

Visit = Callable[[Islands], Awaitable[Any]]
BISCOE, DREAM, TORGERSEN = SITES
HELLO = Hello(version="0.1.0", databases=["penguins"], dialects=["functions"], runtimes=["process"])


#: Where the hub of a test keeps what it knows; None: in a file.
_databases: list[str | None] = [None]


@pytest.fixture(params=DATABASES, autouse=True)
def _database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every kind of database."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        _databases.append(server.make("atoll_nodes"))
    else:
        _databases.append(None)
    yield
    _databases.pop()


def at(folder: Path, visit: Visit) -> Any:
    """Visit a hub with islands."""

    async def whole() -> Any:
        async with hub_app(folder, _databases[-1]) as app:
            return await visit(await islands(app))

    return asyncio.run(whole())


def node(name: str) -> Principal:
    """A node."""
    return Principal(kind=Kind.NODE, id=f"nod_{name}", name=name, organization_id=f"org_{name}")


async def submitted(place: Islands, **how: Any) -> RunId:
    """A run has begun."""
    return await place.rooms.of(Runs).submit(place.ada, a_run(**how))


async def claim(place: Islands, name: str) -> Ticket:
    """A node's next job."""
    ticket = await place.rooms.of(Nodes).claim(node(name), Claim())
    assert ticket is not None
    return ticket


def working(ticket: Ticket, **how: Any) -> Claimed:
    """What a node says of a job that it works at."""
    job = ticket.job
    return Claimed(run=job.run_id, job=job.id, attempt=job.attempt, **how)


def reported(ticket: Ticket) -> JobReported:
    """A job that went well."""
    job = ticket.job
    return JobReported(run_id=job.run_id, job_id=job.id, attempt=job.attempt, outcome=said(ticket))


async def rows(place: Islands, statement: Any) -> list[Any]:
    """What stands in the database."""
    async with place.app.parts.database.reading() as connection:
        return list((await connection.execute(statement)).rows)


# --- Leases -----------------------------------------------------------------------------------


def test_a_node_that_is_not_heard_of_for_three_heartbeats_loses_its_jobs(tmp_path: Path) -> None:
    async def visit(place: Islands) -> list[int]:
        sweeper, hub = place.rooms.of(Sweeper), place.rooms.of(Nodes)
        await submitted(place)
        first = await claim(place, BISCOE)
        place.app.clock.move(44)
        await sweeper.sweep()
        assert await hub.claim(node(BISCOE), Claim()) is None
        place.app.clock.move(2)
        await sweeper.sweep()
        second = await claim(place, BISCOE)
        with pytest.raises(StaleEvent):
            await hub.report(node(BISCOE), reported(first))
        await hub.report(node(BISCOE), reported(second))
        return [first.job.attempt, second.job.attempt]

    assert [1, 2] == at(tmp_path, visit)


def test_a_heartbeat_keeps_a_job(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        sweeper, hub = place.rooms.of(Sweeper), place.rooms.of(Nodes)
        await submitted(place)
        ticket = await claim(place, BISCOE)
        for _ in range(10):
            place.app.clock.move(15)
            heard = await hub.heartbeat(node(BISCOE), Heartbeat(working=[working(ticket)]))
            await sweeper.sweep()
            assert heard.stale == []
        await hub.report(node(BISCOE), reported(ticket))

    at(tmp_path, visit)


def test_a_hub_that_was_away_gives_its_nodes_the_time_to_be_heard_of(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        sweeper, hub = place.rooms.of(Sweeper), place.rooms.of(Nodes)
        await submitted(place)
        ticket = await claim(place, BISCOE)
        place.app.clock.move(3_600)
        await hub.leases.grace(place.app.clock())
        await sweeper.sweep()
        await hub.report(node(BISCOE), reported(ticket))

    at(tmp_path, visit)


def test_a_heartbeat_says_what_need_not_be_worked_at_any_more(tmp_path: Path) -> None:
    async def visit(place: Islands) -> tuple[list[JobId], list[RunId], JobId, RunId]:
        run_id = await submitted(place)
        ticket = await claim(place, BISCOE)
        await place.rooms.of(Runs).cancel(place.ada, run_id, "")
        said_ = Heartbeat(working=[working(ticket)], runs=[run_id, RunId("run_gone")])
        heard = await place.rooms.of(Nodes).heartbeat(node(BISCOE), said_)
        return heard.stale, heard.ended, ticket.job.id, run_id

    stale, ended, job_id, run_id = at(tmp_path, visit)

    assert [job_id] == stale
    assert [run_id, "run_gone"] == ended


def test_a_job_of_another_node_is_not_kept_by_a_heartbeat(tmp_path: Path) -> None:
    async def visit(place: Islands) -> tuple[list[JobId], JobId]:
        await submitted(place)
        ticket = await claim(place, BISCOE)
        heard = await place.rooms.of(Nodes).heartbeat(node(DREAM), Heartbeat(working=[working(ticket)]))
        return heard.stale, ticket.job.id

    stale, job_id = at(tmp_path, visit)

    assert [job_id] == stale


def test_a_node_that_comes_back_without_its_job_has_lost_it(tmp_path: Path) -> None:
    async def visit(place: Islands) -> list[int]:
        hub = place.rooms.of(Nodes)
        await submitted(place)
        first = await claim(place, BISCOE)
        welcome = await hub.hello(node(BISCOE), HELLO)
        assert (BISCOE, 15.0, []) == (welcome.node, welcome.heartbeat_seconds, welcome.stale)
        return [first.job.attempt, (await claim(place, BISCOE)).job.attempt]

    assert [1, 2] == at(tmp_path, visit)


def test_nobody_speaks_about_another_nodes_job(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        hub = place.rooms.of(Nodes)
        await submitted(place)
        ticket = await claim(place, BISCOE)
        job = ticket.job
        failure = Failure(type="AlgorithmFailed", message="no")
        where: dict[str, Any] = {"run_id": job.run_id, "job_id": job.id, "attempt": job.attempt}
        for event in (reported(ticket), JobBroke(**where, failure=failure)):
            with pytest.raises(NotYours):
                await hub.report(node(DREAM), event)
        with pytest.raises(NotYours):
            await hub.lost(node(DREAM), JobLost(**where))
        with pytest.raises(NotYours):
            await hub.child(node(DREAM), job.run_id, job.id, 1)

    at(tmp_path, visit)


# --- What is known of nodes and jobs ----------------------------------------------------------


def test_a_node_is_online_while_it_is_heard_of(tmp_path: Path) -> None:
    async def visit(place: Islands) -> list[Any]:
        sweeper, hub = place.rooms.of(Sweeper), place.rooms.of(Nodes)
        one = select(nodes.c.online, nodes.c.last_seen_at, nodes.c.databases).where(nodes.c.name == BISCOE)
        seen = []
        begin = place.app.clock()
        await hub.hello(node(BISCOE), HELLO)
        seen.append((await rows(place, one))[0])
        place.app.clock.move(30)
        await hub.heartbeat(node(BISCOE), Heartbeat())
        await sweeper.sweep()
        seen.append((await rows(place, one))[0])
        place.app.clock.move(46)
        await sweeper.sweep()
        seen.append((await rows(place, one))[0])
        return [(row.online, row.last_seen_at - begin, row.databases) for row in seen]

    expected = [(True, 0.0, '["penguins"]'), (True, 30.0, '["penguins"]'), (False, 30.0, '["penguins"]')]
    assert expected == at(tmp_path, visit)


def test_how_far_a_job_is_can_be_seen_and_is_told_once(tmp_path: Path) -> None:
    async def visit(place: Islands) -> tuple[Any, int]:
        hub = place.rooms.of(Nodes)
        await submitted(place)
        ticket = await claim(place, BISCOE)
        before = len(await rows(place, select(events.c.cursor)))
        far = working(ticket, fraction=7.0, text="é" * 500)
        for _ in range(3):
            await hub.heartbeat(node(BISCOE), Heartbeat(working=[far]))
        told = len(await rows(place, select(events.c.cursor))) - before
        row = (await rows(place, select(jobs).where(jobs.c.node == BISCOE)))[0]
        return (row.fraction, row.progress_text), told

    (fraction, text), told = at(tmp_path, visit)

    assert (1.0, "é" * 100) == (fraction, text)
    assert 1 == told


def test_what_a_node_tells_of_its_jobs_is_kept_and_bounded(tmp_path: Path) -> None:
    async def visit(place: Islands) -> list[tuple[str, str, int]]:
        hub = place.rooms.of(Nodes)
        run_id = await submitted(place)
        ticket = await claim(place, BISCOE)
        job_id = ticket.job.id
        lines = [
            Log(run=run_id, job=job_id, text="x" * (LOG_TOLD_BYTES_MAX + 5)),
            Log(run=run_id, job=job_id, level="error", text="frames\0 and types"),
            Log(run=run_id, job=JobId(f"{run_id}.7.7"), text="there is no such job"),
        ]
        await hub.write_down(node(BISCOE), Logs(logs=lines))
        await hub.write_down(node(DREAM), Logs(logs=lines))
        with pytest.raises(Malformed, match="expected one of"):
            await hub.write_down(
                node(BISCOE), Logs(logs=[Log(run=run_id, job=job_id, level="loud", text="")])
            )
        with pytest.raises(Malformed, match="at most"):
            await hub.write_down(node(BISCOE), Logs(logs=[lines[1]] * (LOG_LINES_MAX + 1)))
        found = await rows(place, select(run_logs).order_by(run_logs.c.id))
        return [(row.seat, row.level, len(row.text)) for row in found]

    assert [(BISCOE, "info", LOG_TOLD_BYTES_MAX), (BISCOE, "error", 16)] == at(tmp_path, visit)


# --- Deadlines --------------------------------------------------------------------------------


def test_a_run_that_has_had_its_time_ends_and_says_whom_it_waited_for(tmp_path: Path) -> None:
    async def visit(place: Islands) -> Any:
        sweeper, hub = place.rooms.of(Sweeper), place.rooms.of(Nodes)
        run_id = await submitted(place, deadline_seconds=60.0)
        await hub.report(node(DREAM), reported(await claim(place, DREAM)))
        place.app.clock.move(59)
        await sweeper.sweep()
        assert not (await place.app.parts.runs.get(run_id)).status.ended
        place.app.clock.move(2)
        await sweeper.sweep()
        return await place.app.parts.runs.get(run_id)

    run = at(tmp_path, visit)

    assert RunStatus.FAILED is run.status
    assert "DeadlinePassed" == run.failure.type
    assert run.failure.message.endswith("It waited for Biscoe, Torgersen")


# --- Streams ----------------------------------------------------------------------------------


async def _never_gone() -> Any:
    await asyncio.Event().wait()


def test_a_stream_tells_of_work_of_ends_and_of_what_is_cancelled(tmp_path: Path) -> None:
    async def visit(place: Islands) -> tuple[list[Any], RunId, JobId]:
        hub = place.rooms.of(Nodes)
        stream = hub.listening(node(BISCOE))
        waiting = asyncio.create_task(wait_for(stream.bell, _never_gone, 10))
        await asyncio.sleep(0)
        run_id = await submitted(place)
        heard = [await waiting, stream.signals()]
        ticket = await claim(place, BISCOE)
        heard.append(await wait_for(stream.bell, _never_gone, 0.01))
        heard.append(stream.signals())
        await place.rooms.of(Runs).cancel(place.ada, run_id, "")
        heard += [await wait_for(stream.bell, _never_gone, 10), stream.signals()]
        return heard, run_id, ticket.job.id

    heard, run_id, job_id = at(tmp_path, visit)

    work = Signal(work=True)
    assert [
        *(Woken.RUNG, [work]),
        *(Woken.SILENT, [Signal()]),
        *(Woken.RUNG, [Signal(cancelled=job_id), Signal(ended=run_id)]),
    ] == heard


def test_a_nodes_latest_stream_is_the_one_that_is_told(tmp_path: Path) -> None:
    async def visit(place: Islands) -> list[Any]:
        hub = place.rooms.of(Nodes)
        old = hub.listening(node(BISCOE))
        waiting = asyncio.create_task(wait_for(old.bell, _never_gone, 10))
        await asyncio.sleep(0)
        new = hub.listening(node(BISCOE))
        heard: list[Any] = [await waiting, old.signals()]
        await submitted(place)
        old.end()
        return [*heard, new.signals(), hub.listening(node(LAGOON)).signals()]

    assert [Woken.RUNG, None, [Signal(work=True)], [Signal()]] == at(tmp_path, visit)


def test_a_stream_that_nobody_reads_ends() -> None:
    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def visit() -> Woken:
        return await wait_for(Bell(), gone, 10)

    assert Woken.GONE is asyncio.run(visit())


# --- What a site says, whoever wrote it -------------------------------------------------------


def test_a_zero_byte_in_what_an_algorithm_says_costs_its_node_no_job(tmp_path: Path) -> None:
    async def visit(place: Islands) -> Any:
        hub = place.rooms.of(Nodes)
        await submitted(place)
        ticket = await claim(place, BISCOE)
        await hub.heartbeat(node(BISCOE), Heartbeat(working=[working(ticket, text="half\0way")]))
        broke = JobBroke(
            run_id=ticket.job.run_id,
            job_id=ticket.job.id,
            attempt=ticket.job.attempt,
            failure=Failure(type="AlgorithmFailed", message="zero \0", raised="\0"),
        )
        told = await rows(place, select(jobs.c.progress_text).where(jobs.c.node == BISCOE))
        await hub.report(node(BISCOE), broke)
        return told, (await place.app.parts.runs.get(ticket.job.run_id)).status

    assert ([("halfway",)], RunStatus.FAILED) == at(tmp_path, visit)


def test_a_failure_is_kept_no_longer_than_it_can_be_shown(tmp_path: Path) -> None:
    async def visit(place: Islands) -> Failure | None:
        await submitted(place)
        job = (await claim(place, BISCOE)).job
        failure = Failure(type="AlgorithmFailed", message="é" * LOG_TOLD_BYTES_MAX, raised="E" * 1_000)
        event = JobBroke(run_id=job.run_id, job_id=job.id, attempt=job.attempt, failure=failure)
        await place.rooms.of(Nodes).report(node(BISCOE), event)
        return (await place.app.parts.runs.get(job.run_id)).failure

    kept = at(tmp_path, visit)

    assert LOG_TOLD_BYTES_MAX == len(kept.message.encode())
    assert ("AlgorithmFailed", 200) == (kept.type, len(kept.raised))


@pytest.mark.parametrize("databases", [["x" * 201], ["x"] * 1_001])
def test_a_node_that_says_too_much_of_itself_is_refused(tmp_path: Path, databases: list[str]) -> None:
    async def visit(place: Islands) -> None:
        with pytest.raises(Malformed, match="says too much of itself"):
            await place.rooms.of(Nodes).hello(node(BISCOE), Hello(version="0.1.0", databases=databases))

    at(tmp_path, visit)
