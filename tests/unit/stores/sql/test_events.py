"""What is told of runs: a state that was read, and every later event, are the state as it is now."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.asking import asking_run
from tests.federation import LOCAL0, REMOTE, RUN, make_run, openings, said, seats
from tests.run_stores import DATABASES, opened, wait

from atoll.dialects.coinstac import choreography
from atoll.engine import calls
from atoll.hub.hub import Hub
from atoll.model.errors import EventsGone
from atoll.model.events import Decision, JobBroke, JobLost, JobReported, RoundGivenUp, RoundRequested
from atoll.model.scopes import Reach, Sight
from atoll.model.work import Failure, Loss, Message, MessageId, Order, Run, RunId, Seat, Ticket
from atoll.stores.memory import MemoryBlobStore
from atoll.stores.sql.database import Database
from atoll.stores.sql.events import Told, cursor, drop_events, events_after, tell
from atoll.stores.sql.leases import Leases, Line, Sign
from atoll.stores.sql.run_lists import JobFilter, RunFilter, RunLists
from atoll.stores.sql.runs import SqlRunStore

FAILURE = Failure(type="AlgorithmFailed", message="python ended with exit status 1")
EVERYTHING = Sight(
    reach=Reach.GLOBAL, user="", organization="", collaborations=frozenset(), peers=frozenset()
)
#: What is shown of each thing, by its kind and id.
State = dict[str, Any]


@dataclass
class World:
    """A hub over a database, with a clock that moves on whenever it is looked at."""

    database: Database
    at: float = 1_767_225_600.0
    tickets: dict[str, Ticket] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = SqlRunStore(self.database, now=self.now)
        self.lists = RunLists(self.database, self.store)
        self.leases = Leases(self.database, lease_seconds=45.0)
        self.hub = Hub(self.store, MemoryBlobStore(), {"coinstac": choreography, "functions": calls})

    def now(self) -> float:
        """A quarter of a second later than before."""
        self.at += 0.25
        return self.at

    def submit(self, run: Run) -> None:
        """Begin a run."""
        wait(self.hub.submit(run, openings(run)))

    def claim(self, seat: Seat) -> Ticket:
        """Take the next job of a seat."""
        ticket = wait(self.hub.claim(seat))
        assert ticket is not None
        return ticket

    def report(self, ticket: Ticket, *, final: bool = False) -> None:
        """A job is done."""
        outcome = said(ticket, final=final)
        event = JobReported(run_id=ticket.job.run_id, job_id=ticket.job.id, outcome=outcome)
        wait(self.hub.report(ticket.job.seat, event))

    def break_(self, ticket: Ticket) -> None:
        """A job can't be done."""
        event = JobBroke(run_id=ticket.job.run_id, job_id=ticket.job.id, failure=FAILURE)
        wait(self.hub.report(ticket.job.seat, event))

    def lose(self, ticket: Ticket) -> None:
        """The node of a job is lost."""
        event = JobLost(run_id=ticket.job.run_id, job_id=ticket.job.id, attempt=ticket.job.attempt)
        wait(self.hub.lost(ticket.job.seat, event))

    def ask(self, ticket: Ticket, *asked: Seat, number: int = 0) -> int:
        """A job asks some sites."""
        job = ticket.job
        message = Message(id=MessageId(f"{job.id}.ask{number}"), sender=job.seat, readers=asked, body=b"?")
        orders = tuple(Order(seat=seat, inbox=(message.id,)) for seat in asked)
        event = RoundRequested(
            run_id=job.run_id, job_id=job.id, number=number, digest=f"{number}", name="mean", orders=orders
        )
        return wait(self.hub.ask(job.seat, event, [message]))

    def fresh(self) -> State:
        """All that is shown, fetched anew."""
        state: State = {}
        for run in wait(self.lists.runs(EVERYTHING, RunFilter(), (), 100)):
            state[f"run {run.form['id']}"] = run.form
            for round_ in wait(self.lists.rounds(run.form["id"], (), 1_000)):
                state[f"round {round_.form['id']}"] = round_.form
            for job in wait(self.lists.jobs(run.form["id"], JobFilter(), (), 1_000)):
                state[f"job {job.form['id']}"] = job.form
            for line in wait(self.lists.logs(run.form["id"], None, (), 1_000)):
                state[f"log {line.form['id']}"] = line.form
        # As it comes over a wire: a tuple is a list there.
        decoded: State = json.loads(json.dumps(state))
        return decoded

    def told(self, after: int, state: State) -> State:
        """A state, with every later event applied to it."""
        told = dict(state)
        for event in wait(events_after(self.database, after)):
            told[f"{event.kind} {event.subject_id}"] = json.loads(event.form)
        return told


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A hub over an empty database of each kind."""
    with opened(request.param, tmp_path, request) as database:
        yield World(database)


def _iterates(world: World) -> Iterator[None]:
    """A COINSTAC computation of two iterations, whose second site is lost once and held once."""
    run = replace(make_run(2), on_failure=Loss.ASK)
    world.submit(run)
    yield
    for final in (False, True):
        first, second = world.claim(LOCAL0), world.claim(Seat("local1"))
        yield
        world.report(first)
        world.lose(second)
        yield
        again = world.claim(Seat("local1"))
        sign = Sign(run_id=RUN, job_id=again.job.id, attempt=again.job.attempt, fraction=0.5, text="half")
        assert [] == wait(world.leases.renew("local1", [sign], world.now()))
        line = Line(run_id=RUN, job_id=again.job.id, level="info", text="read 84 rows")
        wait(world.leases.write_down("local1", [line], world.now()))
        yield
        world.break_(again)
        yield
        wait(world.hub.decide(RUN, again.job.id, Decision.RETRY))
        yield
        world.report(world.claim(Seat("local1")))
        yield
        world.report(world.claim(REMOTE), final=final)
        yield
    for seat in run.sites:
        world.report(world.claim(seat))
        yield


def _asks(world: World) -> Iterator[None]:
    """A function that asks for rounds to three jobs' depth, gives one up, and ends while others are open."""
    a, b, c = sites = seats(3)
    world.submit(asking_run(sites))
    parent = world.claim(a)
    first = world.ask(parent, a, b, c)
    yield
    middle = world.claim(b)
    world.ask(middle, a, c)
    yield
    world.claim(c)
    world.report(world.claim(a))
    yield
    wait(world.hub.give_up(a, RoundGivenUp(run_id=RUN, job_id=parent.job.id, round_number=first)))
    yield
    world.ask(parent, b, number=1)
    deep = world.claim(b)
    world.ask(deep, a, b, c)
    yield
    world.break_(deep)
    yield
    world.ask(parent, b, c, number=2)
    world.claim(c)
    yield
    world.report(parent)
    yield


def _fails(world: World) -> Iterator[None]:
    """A run that fails at one site, and one that somebody ends."""
    world.submit(make_run(3))
    world.claim(LOCAL0)
    world.break_(world.claim(Seat("local1")))
    yield
    world.submit(replace(make_run(3), id=RunId("other")))
    world.claim(LOCAL0)
    yield
    wait(world.hub.stop(RunId("other"), Failure(type="Cancelled", message="somebody ended it")))
    yield


@pytest.mark.parametrize("story", [_iterates, _asks, _fails], ids=lambda story: story.__name__)
def test_what_was_read_and_every_later_event_are_what_is_there_now(
    world: World, story: Callable[[World], Iterator[None]]
) -> None:
    states: list[tuple[int, State]] = [(0, {})]
    for _ in story(world):
        fresh = world.fresh()
        for at, state in states:
            assert fresh == world.told(at, state)
        states.append((wait(cursor(world.database)), fresh))

    assert len(states) > 3
    assert all(form["status"] != "active" for key, form in fresh.items() if key.startswith("run"))
    assert all(form["open_count"] == 0 for key, form in fresh.items() if key.startswith("round"))


def test_events_hold_no_body(world: World) -> None:
    run = make_run(1)
    wait(world.hub.submit(run, [replace(each, body=b"very secret") for each in openings(run)]))
    ticket = world.claim(LOCAL0)
    outcome = said(ticket, body=b"also secret")
    wait(world.hub.report(LOCAL0, JobReported(run_id=RUN, job_id=ticket.job.id, outcome=outcome)))

    told = wait(events_after(world.database, 0))

    assert told
    assert "secret" not in "".join(event.form for event in told)


def test_numbers_follow_each_other_without_a_gap(world: World) -> None:
    for _ in _asks(world):
        pass

    told = [event.cursor for event in wait(events_after(world.database, 0))]

    assert [*range(1, len(told) + 1)] == told
    assert len(told) == wait(cursor(world.database))


def test_what_was_not_written_was_not_told(world: World) -> None:
    async def fail() -> None:
        async with world.database.writing() as connection:
            await tell(connection, [Told(kind="node", subject_id="n", form={})], world.now())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        wait(fail())

    assert 0 == wait(cursor(world.database))
    assert [] == list(wait(events_after(world.database, 0)))


def _tell(world: World, *told: Told) -> None:
    async def do() -> None:
        async with world.database.writing() as connection:
            await tell(connection, told, world.now())

    wait(do())


def test_who_follows_some_collaborations_hears_of_no_other(world: World) -> None:
    for number, collaboration in enumerate(("a", "b", None, "a")):
        _tell(
            world,
            Told(
                kind="run",
                subject_id=f"{number}",
                form={"n": number},
                run_id=f"{number}",
                collaboration_id=collaboration,
            ),
        )

    some = wait(events_after(world.database, 0, collaborations=["a"]))
    none = wait(events_after(world.database, 0, collaborations=[]))
    of_run = wait(events_after(world.database, 0, run=RunId("1")))
    later = wait(events_after(world.database, 1, collaborations=["a", "b"], limit=1))

    assert ["0", "3"] == [event.subject_id for event in some]
    assert [] == list(none)
    assert [2] == [event.cursor for event in of_run]
    assert [(2, '{"n":1}')] == [(event.cursor, event.form) for event in later]


def test_who_comes_back_too_late_is_told_to_begin_anew(world: World) -> None:
    for number in range(5):
        _tell(world, Told(kind="node", subject_id=f"{number}", form={}))
    # The first was told a quarter of a second after the beginning.
    dropped = wait(drop_events(world.database, 1_767_225_600.0 + 0.8))

    assert 3 == dropped
    assert 0 == wait(drop_events(world.database, 0.0))
    assert [4, 5] == [event.cursor for event in wait(events_after(world.database, 3))]
    with pytest.raises(EventsGone, match=r"^the events after 2 are kept no longer"):
        wait(events_after(world.database, 2))
    with pytest.raises(EventsGone, match=r"^there is no event 6 yet"):
        wait(events_after(world.database, 6))
