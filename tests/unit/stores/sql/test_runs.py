"""What a store of runs in a database promises beyond what every store does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Executable, func, insert, select, text
from sqlalchemy.dialects import sqlite
from tests.asking import asking_run
from tests.federation import LOCAL0, REMOTE, RUN, blob_of, make_run, openings, said, seats
from tests.run_stores import DATABASES, opened, wait

from atoll.dialects.coinstac import choreography
from atoll.engine import calls
from atoll.hub.hub import Hub
from atoll.model.errors import NotThere, StaleEvent
from atoll.model.events import JobReported, RoundRequested
from atoll.model.work import (
    Algorithm,
    JobId,
    Loss,
    Message,
    MessageId,
    Order,
    Role,
    Run,
    RunStatus,
    Seat,
    Step,
    Ticket,
)
from atoll.stores.memory import MemoryBlobStore
from atoll.stores.sql import leases, run_statements
from atoll.stores.sql.database import Answer, Connection, Database, Parameters
from atoll.stores.sql.run_tables import message_blobs, messages, run_blobs, runs
from atoll.stores.sql.runs import SqlRunStore


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    with opened(request.param, tmp_path, request) as one:
        yield one


def hub_over(database: Database) -> Hub:
    """A hub that keeps its runs there."""
    return Hub(SqlRunStore(database), MemoryBlobStore(), {"coinstac": choreography, "functions": calls})


async def do(hub: Hub, seat: Seat, **how: Any) -> Ticket:
    """Claim and do a job."""
    ticket = await hub.claim(seat)
    assert ticket is not None
    event = JobReported(run_id=ticket.job.run_id, job_id=ticket.job.id, outcome=said(ticket, **how))
    await hub.report(seat, event)
    return ticket


# --- What is kept -----------------------------------------------------------------------------


def test_a_run_is_there_as_it_was_for_a_hub_that_is_started_again(database: Database) -> None:
    run = Run(
        id=RUN,
        steps=(
            Step(
                algorithm=Algorithm(dialect="coinstac", digest="sha256:ab", name="Größe ∑"),
                aggregated=True,
                openings=(MessageId("a"), MessageId("b")),
                seats=(Seat("Tromsø"), Seat("Ålesund")),
                role=Role.SITE,
            ),
        ),
        sites=(Seat("Ålesund"), Seat("Tromsø"), Seat("Bergen")),
        aggregator=REMOTE,
        iterations_max=7,
        aggregator_node="helper",
        min_sites=2,
        on_refusal=Loss.DROP,
        on_failure=Loss.ASK,
        dropped=(Seat("Bergen"),),
    )
    sent = [
        Message(
            id=MessageId(name),
            sender=Seat("submitter"),
            readers=(Seat("Tromsø"),),
            body=bytes(range(256)),
            body_blob=blob_of(b"large"),
            blobs=(blob_of(b"x", "a/b.nii"), blob_of(b"x", "c.nii")),
        )
        for name in ("a", "b")
    ]

    async def keep() -> tuple[Run, Any]:
        await SqlRunStore(database).add(run, sent)
        again = SqlRunStore(database)
        return await again.get(RUN), await again.messages(RUN, [MessageId("b"), MessageId("a")])

    assert (run, sent[::-1]) == wait(keep())


def test_a_run_that_is_not_there_is_said_to_be_missing(database: Database) -> None:
    store = SqlRunStore(database)

    with pytest.raises(NotThere, match=r"^there is no run run$"):
        wait(store.get(RUN))
    with pytest.raises(StaleEvent, match=r"^job run\.0\.0 is of a run that is gone$"):
        wait(store.open_state(RUN, JobId("run.0.0")))
    assert wait(store.made(RUN)) is None
    assert {} == wait(store.settled(RUN, 0))


@pytest.mark.parametrize(
    "forged",
    [
        *(
            "",
            "run",
            "run.0",
            "run.0.",
            "run.0.0.0",
            "run.00.0",
            "run.0.+1",
            "run.-1.0",
            "other.0.0",
            "run.0.²",
        ),
        *(f"run.{2**31}.0", "run.0." + "9" * 2_000, "run.\N{ARABIC-INDIC DIGIT ZERO}.0"),
    ],
)
def test_an_id_that_no_job_has_is_of_no_round(database: Database, forged: str) -> None:
    hub = hub_over(database)
    wait(hub.submit(make_run(1), openings(make_run(1))))

    with pytest.raises(StaleEvent):
        wait(SqlRunStore(database).open_state(RUN, JobId(forged)))


def test_what_is_said_of_a_run_weighs_what_is_kept_of_it(database: Database) -> None:
    run = make_run(3, aggregated=[True, False])

    async def play() -> list[tuple[int, int]]:
        hub = hub_over(database)
        async with database.writing() as connection:
            await connection.execute(
                insert(run_blobs).values(
                    run_id=RUN,
                    digest="sha256:0",
                    size_bytes=1_000,
                    is_whole=True,
                    uploader_id="u",
                    created_at=0.0,
                )
            )
        await hub.submit(run, openings(run))
        found = [await weights()]
        for final in (False, True):
            for seat in (*run.sites, REMOTE):
                await do(hub, seat, body=b"x" * 100, final=final)
                found.append(await weights())
        for _ in range(2):
            for seat in run.sites:
                await do(hub, seat, body=b"y" * 10, final=True)
                found.append(await weights())
        assert RunStatus.DONE is (await hub.ended(RUN)).status
        return found

    async def weights() -> tuple[int, int]:
        async with database.reading() as connection:
            said_to = (await connection.execute(select(runs.c.bytes))).rows[0][0]
            kept = (await connection.execute(select(func.sum(func.length(messages.c.body))))).rows[0][0]
        return said_to, kept + 1_000

    found = wait(play())

    assert [kept for _, kept in found] == [told for told, _ in found]


def test_when_a_run_has_ended_only_what_opened_and_what_settled_it_is_kept(database: Database) -> None:
    run = make_run(2)

    async def play() -> tuple[set[str], set[str]]:
        hub = hub_over(database)
        await hub.submit(run, openings(run))
        for final in (False, True):
            for seat in (*run.sites, REMOTE):
                await do(hub, seat, final=final, blobs=(blob_of(f"{seat}{final}".encode()),))
        for seat in run.sites:
            await do(hub, seat)
        async with database.reading() as connection:
            ids = (await connection.execute(select(messages.c.id))).rows
            files = (await connection.execute(select(message_blobs.c.message_id))).rows
        return {row.id for row in ids}, {row.message_id for row in files}

    assert ({"opening.0.0", "run.3.0"}, {"run.3.0"}) == wait(play())


def test_a_run_of_an_id_that_was_used_before_is_another(database: Database) -> None:
    first, second = make_run(2), make_run(5)

    async def use_again() -> Run:
        store, other_hub = SqlRunStore(database), SqlRunStore(database)
        await store.add(first, openings(first))
        await store.get(RUN)
        async with database.writing() as connection:
            await connection.execute(runs.delete())
        await other_hub.add(second, openings(second))
        return await store.get(RUN)

    assert second == wait(use_again())


def test_a_body_that_lies_in_the_memory_of_a_machine_is_not_kept(database: Database) -> None:
    class Memory:
        size_bytes = 3

        def fileno(self) -> int:
            return 0

        def read(self) -> bytes:
            return b"abc"

    run = make_run(1)
    held = replace(openings(run)[0], body=Memory())

    with pytest.raises(AssertionError, match="has to be bytes or a blob"):
        wait(SqlRunStore(database).add(run, [held]))


# --- Two at a time ----------------------------------------------------------------------------


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_job_that_asks_two_hubs_at_the_same_time_gets_one_round(database: Database) -> None:
    sites = seats(3)

    async def ask() -> tuple[list[int], Run]:
        hubs = [hub_over(database), hub_over(database)]
        await hubs[0].submit(asking_run(sites), openings(asking_run(sites)))
        ticket = await hubs[1].claim(LOCAL0)
        assert ticket is not None
        numbers = []
        for number in range(5):
            asked = Message(
                id=MessageId(f"{ticket.job.id}.ask{number}"), sender=LOCAL0, readers=sites, body=b"?"
            )
            event = RoundRequested(
                run_id=RUN,
                job_id=ticket.job.id,
                number=number,
                digest=f"{number}",
                name="mean",
                orders=tuple(Order(seat=seat, inbox=(asked.id,)) for seat in sites),
            )
            numbers += await asyncio.gather(*(hub.ask(LOCAL0, event, [asked]) for hub in hubs * 2))
        return numbers, await SqlRunStore(database).get(RUN)

    numbers, run = wait(ask())

    assert [number for number in range(1, 6) for _ in range(4)] == numbers
    assert (RunStatus.ACTIVE, 6) == (run.status, run.round_count)


# --- What it costs ----------------------------------------------------------------------------


class Counting(Database):
    """A database that counts statements, and the rows that they read or write."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.statements = 0
        self.rows = 0

    @asynccontextmanager
    async def _transaction(self, *, writes: bool) -> AsyncIterator[Connection]:
        async with super()._transaction(writes=writes) as connection:
            yield _Counted(self, connection)


class _Counted:
    def __init__(self, counts: Counting, connection: Connection) -> None:
        self._counts = counts
        self._connection = connection

    async def execute(self, statement: Executable, parameters: Parameters = None) -> Answer:
        answer = await self._connection.execute(statement, parameters)
        self._counts.statements += 1
        self._counts.rows += len(answer.rows) or max(answer.count, 0)
        return answer


def _costs(folder: Path, sites: int, iterations: int) -> list[tuple[int, int]]:
    """Statements and rows of a claim, a report, an empty claim, and the aggregator's, in a late round."""
    database = Counting(f"sqlite:///{folder / f'{sites}-{iterations}.db'}")
    run = make_run(sites, iterations_max=iterations + 1)
    found = []

    async def play() -> None:
        await database.make(runs.metadata)
        hub = hub_over(database)
        await hub.submit(run, openings(run))
        for _ in range(iterations):
            for seat in (*run.sites, REMOTE):
                await do(hub, seat)
        # What was read of the run once need not be read again.
        first = await hub.claim(run.sites[0])
        for step in (
            hub.claim(run.sites[1]),
            hub.report(
                LOCAL0,
                JobReported(run_id=RUN, job_id=first.job.id, outcome=said(first)) if first else None,  # type: ignore[arg-type]  # there is one
            ),
            hub.claim(LOCAL0),
        ):
            before = database.statements, database.rows
            await step
            found.append((database.statements - before[0], database.rows - before[1]))
        await database.close()

    asyncio.run(play())
    return found


def test_an_event_costs_the_same_in_the_first_round_and_in_the_fortieth_at_three_sites_and_at_ninety(
    tmp_path: Path,
) -> None:
    few = _costs(tmp_path, 3, 1)

    assert few == _costs(tmp_path, 3, 40)
    assert few == _costs(tmp_path, 90, 1)
    assert all(statements < 10 for statements, _ in few)


QUESTIONS = {
    **{
        name: getattr(run_statements, name)
        for name in (
            *("NEXT_JOB", "GET", "JOB_AND_ROUND", "CHILD_BY_REQUEST", "OPEN_BELOW", "OPEN_JOBS"),
            *("OPEN_JOBS_OF_ROUND", "LEFT_IN_ROUND", "DROP_MAIN", "DROP_ASKED", "DROP_BELOW"),
        )
    },
    **{name: getattr(leases, name) for name in ("_ACTIVE", "_OVERDUE", "_OPEN")},
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_row_is_looked_at_in_vain(name: str, tmp_path: Path) -> None:
    """Each question has an index that leads to its rows."""
    with_names = QUESTIONS[name].compile(
        dialect=sqlite.dialect(paramstyle="named"), compile_kwargs={"render_postcompile": True}
    )
    database = Database(f"sqlite:///{tmp_path / 'hub.db'}")

    async def explain() -> list[str]:
        await database.make(runs.metadata)
        async with database.reading() as connection:
            words = text(f"EXPLAIN QUERY PLAN {with_names}")
            answer = await connection.execute(words, dict.fromkeys(with_names.params, 1))
        await database.close()
        return [row.detail for row in answer.rows]

    plan = asyncio.run(explain())

    assert plan
    assert [] == [step for step in plan if step.startswith("SCAN") or "TEMP B-TREE" in step]
