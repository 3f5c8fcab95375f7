"""Hubs that share a PostgreSQL wake each other's nodes, jobs and people."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from tests.federation import LOCAL0, RUN, make_run, openings, said, seats
from tests.postgres import Postgres

from atoll.dialects.coinstac import choreography
from atoll.hub.hub import Hub
from atoll.hub.notices import Notice
from atoll.hub.relay import Relay
from atoll.model.errors import Unusable
from atoll.model.events import JobReported
from atoll.model.work import Failure, JobId, RunId, RunStatus
from atoll.stores.memory import MemoryBlobStore
from atoll.stores.sql.database import Database
from atoll.stores.sql.runs import SqlRunStore
from atoll.stores.sql.tables import metadata

LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = 'relay'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One of several hubs."""

    hub: Hub
    relay: Relay
    #: What it has heard of.
    heard: list[Notice]


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """A database that hubs share."""
    yield postgres.make("relay")
    postgres.drop("relay")


@asynccontextmanager
async def replicas(url: str, count: int = 2) -> AsyncIterator[list[Replica]]:
    """Hubs that listen to each other."""
    made = []
    databases = [Database(url) for _ in range(count)]
    await databases[0].make(metadata)
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        for database in databases:
            relay = Relay(database, chance=lambda: 0.0)
            store = SqlRunStore(database)
            hub = Hub(store, MemoryBlobStore(), {"coinstac": choreography}, relay=relay.tell)
            made.append(
                (
                    Replica(hub=hub, relay=relay, heard=_overheard(hub)),
                    tasks.create_task(relay.run(hub.bells)),
                )
            )
            await relay.listens.wait()
        try:
            yield [replica for replica, _ in made]
        finally:
            for _, task in made:
                task.cancel()
    for database in databases:
        await database.close()


def _overheard(hub: Hub) -> list[Notice]:
    """Every notice that a hub's bells are rung for."""
    heard: list[Notice] = []
    ring = hub.bells.ring

    def note(notice: Notice) -> None:
        heard.append(notice)
        ring(notice)

    hub.bells.ring = note  # type: ignore[method-assign]  # it is overheard, and rings as before
    return heard


def sail(url: str, visit: Callable[[Replica, Replica], Awaitable[None]]) -> None:
    """Do something with two hubs."""

    async def go() -> None:
        async with replicas(url) as (one, other):
            await visit(one, other)

    asyncio.run(go())


@pytest.mark.needs("postgresql")
def test_a_node_at_one_hub_hears_of_a_job_that_another_has_stored(url: str) -> None:
    async def visit(one: Replica, other: Replica) -> None:
        assert await other.hub.claim(LOCAL0) is None
        waiting = asyncio.create_task(other.hub.listen(LOCAL0))
        await asyncio.sleep(0)
        await one.hub.submit(make_run(1), openings(make_run(1)))
        await waiting

        ticket = await other.hub.claim(LOCAL0)
        assert ticket is not None
        assert await one.hub.claim(LOCAL0) is None

    sail(url, visit)


@pytest.mark.needs("postgresql")
def test_who_waits_at_one_hub_for_the_end_of_a_run_hears_it_from_another(url: str) -> None:
    async def visit(one: Replica, other: Replica) -> None:
        run = make_run(1, aggregated=[False])
        await one.hub.submit(run, openings(run))
        ended = asyncio.create_task(one.hub.ended(RUN))
        ticket = await other.hub.claim(LOCAL0)
        assert ticket is not None
        event = JobReported(run_id=RUN, job_id=ticket.job.id, outcome=said(ticket, final=True))
        await other.hub.report(LOCAL0, event)

        assert RunStatus.DONE is (await ended).status

    sail(url, visit)


@pytest.mark.needs("postgresql")
def test_a_node_at_one_hub_is_told_of_its_job_that_another_has_cancelled(url: str) -> None:
    async def visit(one: Replica, other: Replica) -> None:
        await one.hub.submit(make_run(2), openings(make_run(2)))
        ticket = await other.hub.claim(LOCAL0)
        assert ticket is not None
        await one.hub.stop(RUN, Failure(type="Cancelled", message="somebody ended it"))

        assert ticket.job.id == await other.hub.cancelled(LOCAL0)

    sail(url, visit)


@pytest.mark.needs("postgresql")
def test_a_hub_does_not_hear_itself(url: str) -> None:
    async def visit(one: Replica, other: Replica) -> None:
        notices = [Notice(run_id=RunId(f"{number}"), ended=True) for number in range(3)]
        for replica, notice in zip((one, other, one), notices, strict=True):
            change = (other if replica is one else one).hub.bells.anything()
            replica.relay.tell(notice)
            await change.wait()

        assert [notices[1]] == one.heard
        assert [notices[0], notices[2]] == other.heard

    sail(url, visit)


@pytest.mark.needs("postgresql")
def test_a_round_of_ten_thousand_sites_is_told_whole(url: str) -> None:
    async def visit(one: Replica, other: Replica) -> None:
        nodes = tuple(f"a hospital with a name that is rather long {number}" for number in range(10_000))
        jobs = tuple((node, JobId(f"run.3.{number}")) for number, node in enumerate(nodes[:500]))
        whole = Notice(run_id=RUN, work=nodes, rounds=tuple(range(300)), cancelled=jobs, ended=True)
        one.relay.tell(whole)
        await other.hub.bells.work(nodes[-1]).wait()

        heard = other.heard
        assert nodes == tuple(node for notice in heard for node in notice.work)
        assert jobs == tuple(job for notice in heard for job in notice.cancelled)
        assert whole.rounds == tuple(number for notice in heard for number in notice.rounds)
        assert 1 == sum(notice.ended for notice in heard)

    sail(url, visit)


@pytest.mark.needs("postgresql")
def test_a_hub_whose_connection_was_cut_listens_again_and_wakes_everybody(
    url: str, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async def visit(one: Replica, other: Replica) -> None:
        # What is told meanwhile is missed: whoever waits is woken nevertheless.
        bells = [other.hub.bells.work("some"), other.hub.bells.round(RUN, 3), other.hub.bells.run(RUN)]
        for (listener,) in await asyncio.to_thread(postgres.ask, "relay", LISTENERS):
            cut = f"SELECT pg_terminate_backend({listener})"
            await asyncio.to_thread(postgres.ask, "relay", cut)
        for bell in bells:
            await bell.wait()
        await one.relay.listens.wait()
        await other.relay.listens.wait()

        await one.hub.submit(make_run(1), openings(make_run(1)))
        await other.hub.listen(LOCAL0)
        assert await other.hub.claim(LOCAL0) is not None

    with caplog.at_level(logging.WARNING):
        sail(url, visit)

    assert caplog.messages
    assert all(
        words.startswith("The hub can't hear other hubs, and tries again") for words in caplog.messages
    )


@pytest.mark.needs("postgresql")
def test_what_could_not_be_told_makes_the_others_look_everywhere(url: str) -> None:
    async def visit(one: Replica, other: Replica) -> None:
        bell = other.hub.bells.work("some")
        # A letter that no server takes: what it says has to be said in another way.
        one.relay.tell(Notice(run_id=RUN, work=("x" * 9_000,)))
        await bell.wait()
        bell.clear()
        for number in range(10_001):
            one.relay.tell(Notice(run_id=RunId(f"{number}")))
        await bell.wait()

    sail(url, visit)


@pytest.mark.needs("postgresql")
def test_what_another_version_tells_makes_a_hub_look_everywhere(url: str, postgres: Postgres) -> None:
    async def visit(one: Replica, other: Replica) -> None:
        for letter in ("what?", msgspec.json.encode({"hub": "a", "notices": [{"a": 1}]}).decode()):
            bells = [one.hub.bells.work("some"), other.hub.bells.anything()]
            await asyncio.to_thread(postgres.ask, "relay", f"SELECT pg_notify('atoll_notices', '{letter}')")
            for bell in bells:
                await bell.wait()
                bell.clear()

    sail(url, visit)


def test_a_hub_on_sqlite_is_alone(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'hub.db'}")

    with pytest.raises(Unusable, match=r"^notices are passed on by a PostgreSQL server"):
        Relay(database)
    asyncio.run(database.close())


@pytest.mark.needs("postgresql")
def test_a_job_is_claimed_once_by_nodes_that_ask_two_hubs_at_the_same_time(url: str) -> None:
    async def visit(one: Replica, other: Replica) -> None:
        for number in range(5):
            run = replace(make_run(3), id=RunId(f"run{number}"))
            await one.hub.submit(run, openings(run))
            for seat in seats(3):
                hubs = (one.hub, other.hub, one.hub, other.hub)
                tickets = await asyncio.gather(*(hub.claim(seat) for hub in hubs))
                assert [1] == [ticket.job.attempt for ticket in tickets if ticket is not None]

    sail(url, visit)
