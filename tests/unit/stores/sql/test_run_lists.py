"""What people see of runs: in pages, in one order, and only what they may see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update
from tests.asking import asking_run
from tests.federation import LOCAL0, RUN, make_run, openings, said, seats
from tests.run_stores import DATABASES, opened, wait

from atoll.dialects.coinstac import choreography
from atoll.engine import calls
from atoll.hub.hub import Hub
from atoll.model.events import JobBroke, JobReported
from atoll.model.scopes import Reach, Sight, Whose
from atoll.model.work import Failure, Loss, RunId, Seat
from atoll.stores.memory import MemoryBlobStore
from atoll.stores.sql.database import Database
from atoll.stores.sql.run_lists import JobFilter, Listed, RunFilter, RunLists
from atoll.stores.sql.run_tables import run_logs, runs
from atoll.stores.sql.runs import SqlRunStore
from atoll.stores.sql.shown import moment

EVERYTHING = Sight(
    reach=Reach.GLOBAL, user="", organization="", collaborations=frozenset(), peers=frozenset()
)
BEGINNING = 1_767_225_600.0


class Place:
    """A hub over a database, and what is seen of it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.at = BEGINNING
        self.store = SqlRunStore(database, now=lambda: self.at)
        self.hub = Hub(self.store, MemoryBlobStore(), {"coinstac": choreography, "functions": calls})
        self.lists = RunLists(database, self.store)

    def submit(self, run: str, **columns: Any) -> None:
        """Begin a run that belongs to somebody."""

        async def also() -> None:
            async with self.database.writing() as connection:
                await connection.execute(update(runs).where(runs.c.id == run).values(**columns))

        begun = replace(make_run(3), id=RunId(run))
        wait(self.hub.submit(begun, openings(begun), also if columns else None))

    def runs(self, sight: Sight = EVERYTHING, **which: Any) -> list[str]:
        """The ids of the runs that are seen."""
        return [run.form["id"] for run in wait(self.lists.runs(sight, RunFilter(**which), (), 100))]


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A hub over an empty database of each kind."""
    with opened(request.param, tmp_path, request) as database:
        yield Place(database)


def test_the_newest_runs_come_first_and_none_is_left_out_between_two_pages(place: Place) -> None:
    for number in range(7):
        # Two in each second: then their ids decide.
        place.at = BEGINNING + number // 2
        place.submit(f"run{number}")

    pages: list[Sequence[Listed]] = []
    after: Sequence[Any] = ()
    while page := wait(place.lists.runs(EVERYTHING, RunFilter(), after, 3)):
        pages.append(page)
        after = page[-1].key
        place.at += 100
        place.submit(f"later{len(pages)}")  # What comes in at the top moves nothing below.

    assert [f"run{number}" for number in (6, 5, 4, 3, 2, 1, 0)] == [
        run.form["id"] for page in pages for run in page
    ]


def test_runs_are_found_by_what_they_are_asked_for(place: Place) -> None:
    place.submit("a", collaboration_id="c1", study_id="s1", submitter_id="u1", name="Mean of 100% of ages")
    place.submit("b", collaboration_id="c1", submitter_id="u2", name="Mean of weights")
    place.submit("c", collaboration_id="c2", submitter_id="u1", name="Regression")
    wait(place.hub.stop(RunId("b"), Failure(type="Cancelled", message="no")))

    assert ["b", "a"] == place.runs(collaboration="c1")
    assert ["a"] == place.runs(study="s1")
    assert ["c", "a"] == place.runs(submitter="u1")
    assert ["b"] == place.runs(status="failed")
    assert ["b", "a"] == place.runs(name="mean")
    assert ["a"] == place.runs(name="0%")
    assert ["a"] == place.runs(collaboration="c1", submitter="u1", status="active")
    assert [] == place.runs(collaboration="c3")


@pytest.mark.parametrize("reach", [None, *Reach])
def test_a_list_shows_what_a_look_at_each_would_allow(place: Place, reach: Reach | None) -> None:
    owners = [
        (user, organization, collaboration)
        for user in ("u1", "u2")
        for organization in ("o1", "o2")
        for collaboration in ("c1", "c2", None)
    ]
    for number, (user, organization, collaboration) in enumerate(owners):
        columns = {"submitter_id": user, "organization_id": organization, "collaboration_id": collaboration}
        place.submit(f"run{number:02}", **columns)
    sight = Sight(
        reach=reach,
        user="u1",
        organization="o1",
        collaborations=frozenset({"c1"}),
        peers=frozenset({"o1", "o2"}),
    )

    expected = {
        f"run{number:02}"
        for number, (user, organization, collaboration) in enumerate(owners)
        if sight.covers(
            Whose(
                user=user,
                organizations=frozenset({organization}),
                collaborations=frozenset(() if collaboration is None else (collaboration,)),
            )
        )
    }
    assert expected == set(place.runs(sight))


def test_a_run_is_shown_whole(place: Place) -> None:
    place.submit("run", name="Mean", collaboration_id="c1", deadline_at=BEGINNING + 60)
    place.at += 1.5
    wait(place.hub.claim(LOCAL0))
    place.at += 1
    wait(place.hub.stop(RUN, Failure(type="Cancelled", message="Ada ended the run")))

    shown = wait(place.lists.run(RUN))

    assert shown is not None
    assert {
        "id": "run",
        "name": "Mean",
        "collaboration": "c1",
        "status": "failed",
        "failure": {"type": "Cancelled", "message": "Ada ended the run", "site": None, "raised": None},
        "sites": ("local0", "local1", "local2"),
        "aggregator": "remote",
        "created_at": "2026-01-01T00:00:00.000Z",
        "started_at": "2026-01-01T00:00:01.500Z",
        "ended_at": "2026-01-01T00:00:02.500Z",
        "deadline_at": "2026-01-01T00:01:00.000Z",
    }.items() <= shown.items()
    assert [
        {
            "algorithm": {"dialect": "coinstac", "digest": "sha256:0", "name": "step0"},
            "aggregated": True,
            "role": "site",
            "seats": None,
        }
    ] == shown["steps"]
    assert wait(place.lists.run(RunId("other"))) is None


def test_whom_a_run_waits_for_is_seen_with_since_when(place: Place) -> None:
    begun = replace(make_run(4), on_failure=Loss.ASK)
    wait(place.hub.submit(begun, openings(begun)))
    place.at += 10
    tickets = [wait(place.hub.claim(seat)) for seat in seats(3)]
    place.at += 10
    done, broken = tickets[0], tickets[1]
    assert done is not None
    assert broken is not None
    wait(place.hub.report(LOCAL0, JobReported(run_id=RUN, job_id=done.job.id, outcome=said(done))))
    failure = Failure(type="AlgorithmFailed", message="no")
    wait(place.hub.report("local1", JobBroke(run_id=RUN, job_id=broken.job.id, failure=failure)))

    waited = wait(place.lists.waiting_for(RUN))

    assert [
        ("local1", "held", moment(BEGINNING + 20), "AlgorithmFailed"),
        ("local2", "active", moment(BEGINNING + 10), None),
        ("local3", "queued", moment(BEGINNING), None),
    ] == [(job["seat"], job["status"], job["since"], (job["failure"] or {}).get("type")) for job in waited]
    assert ["local1"] == [job["seat"] for job in wait(place.lists.waiting_for(RUN, 1))]


def test_rounds_and_jobs_come_in_pages_in_their_order(place: Place) -> None:
    sites = seats(3)
    run = asking_run(sites, sites)
    wait(place.hub.submit(run, openings(run)))
    for seat in sites[:2]:
        ticket = wait(place.hub.claim(seat))
        assert ticket is not None

    def jobs(after: Sequence[Any] = (), most: int = 100, **which: Any) -> list[str]:
        return [job.form["id"] for job in wait(place.lists.jobs(RUN, JobFilter(**which), after, most))]

    (only,) = wait(place.lists.rounds(RUN, (), 10))
    assert ((0,), "run.0", 3) == (only.key, only.form["id"], only.form["open_count"])
    assert [] == list(wait(place.lists.rounds(RUN, only.key, 10)))
    assert [only] == list(wait(place.lists.rounds(RUN, (), 10, main_only=True)))
    assert ["run.0.0", "run.0.1", "run.0.2"] == jobs()
    assert ["run.0.0", "run.0.1"] == jobs(most=2)
    assert ["run.0.2"] == jobs(after=(0, 1))
    assert ["run.0.1"] == jobs(seat=Seat("local1"))
    assert ["run.0.2"] == jobs(status="queued", round_number=0)
    assert [] == jobs(round_number=1)


def test_logs_are_read_by_seat(place: Place) -> None:
    place.submit("run")

    async def write() -> None:
        async with place.database.writing() as connection:
            for number in range(4):
                await connection.execute(
                    insert(run_logs).values(
                        run_id="run",
                        job_id=f"run.0.{number % 2}",
                        seat=f"local{number % 2}",
                        at=BEGINNING,
                        level="info",
                        text=f"line {number}",
                    )
                )

    wait(write())
    whole = wait(place.lists.logs(RUN, None, (), 10))

    assert ["line 0", "line 1", "line 2", "line 3"] == [line.form["text"] for line in whole]
    assert list(whole[2:]) == list(wait(place.lists.logs(RUN, None, whole[1].key, 10)))
    assert [whole[1], whole[3]] == list(wait(place.lists.logs(RUN, "local1", (), 10)))
