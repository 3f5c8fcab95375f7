"""Claims and reports of a simulation pass one by one, in an order that a seed repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.asking import asking_run
from tests.federation import LOCAL0, REMOTE, RUN, Heard, make_run, openings, said, seats
from tests.harbour import broken, done, given_up, request

from atoll.dialects.coinstac import choreography
from atoll.engine import calls
from atoll.hub.hub import Hub
from atoll.model.errors import NotYours, StaleEvent
from atoll.model.events import JobBroke, JobClaimed, JobReported
from atoll.model.work import Failure, JobId, RunStatus, Seat, Ticket
from atoll.simulator.link import LocalLink, SeededDice, Turnstile
from atoll.stores.memory import MemoryBlobStore, MemoryRunStore

LOCAL1, LOCAL2 = Seat("local1"), Seat("local2")


class Given:
    """Dice that fall as they are told: for each round the order of claims, then of reports."""

    def __init__(self, *orders: Sequence[Seat]) -> None:
        self._orders = list(orders)

    def shuffle(self, items: list[Seat]) -> None:
        """The next order that was given; none is left: as it is."""
        if self._orders:
            items[:] = self._orders.pop(0)


class Sea:
    """A hub, a turnstile, and a link for every seat."""

    def __init__(self, turnstile: Turnstile, sites: int = 3, *, aggregated: bool = True) -> None:
        self.run = make_run(sites, aggregated=[aggregated])
        self.heard = Heard()
        self.turnstile = turnstile
        self.hub = Hub(
            MemoryRunStore(), MemoryBlobStore(), {"coinstac": choreography}, [turnstile, self.heard]
        )
        self.links = {seat: LocalLink(self.hub, seat, turnstile) for seat in (*self.run.sites, REMOTE)}

    async def begin(self) -> Sea:
        """Let the run begin."""
        await self.hub.submit(self.run, openings(self.run))
        return self

    async def claim(self, *order: Seat) -> dict[Seat, Ticket]:
        """All of these seats claim, one task each, in this order."""
        tickets = await asyncio.gather(*(self.links[seat].claim() for seat in order))
        return {ticket.job.seat: ticket for ticket in tickets if ticket is not None}

    async def report(self, ticket: Ticket, *, final: bool = False) -> None:
        """A seat reports that its job is done."""
        event = JobReported(run_id=RUN, job_id=ticket.job.id, outcome=said(ticket, final=final))
        await self.links[ticket.job.seat].report(event)

    def order(self, kind: type[JobClaimed | JobReported]) -> list[Seat]:
        """In which order this was heard of."""
        return [job.seat for event, job, _ in self.heard.events if isinstance(event, kind) and job]


def holds_nobody(turnstile: Turnstile) -> bool:
    """Whether nobody has to wait for a turn, and nothing is remembered of rounds that are over."""
    return not any((turnstile._claims, turnstile._reports, turnstile._parents))


sites = seats(3)
orders = st.permutations(sites)


@given(claims=orders, reports=orders, arriving=orders, ending=orders)
def test_the_dice_decide_who_passes_first_and_not_who_comes_first(
    claims: list[Seat], reports: list[Seat], arriving: list[Seat], ending: list[Seat]
) -> None:
    async def pass_through() -> Sea:
        sea = await Sea(Turnstile(Given(claims, reports))).begin()
        tickets = await sea.claim(*arriving)
        await asyncio.gather(*(sea.report(tickets[seat]) for seat in ending))
        return sea

    sea = asyncio.run(pass_through())

    assert claims == sea.order(JobClaimed)
    assert reports == sea.order(JobReported)


def test_a_seat_that_is_not_expected_has_nothing_to_claim() -> None:
    async def claim() -> list[Ticket | None]:
        sea = await Sea(Turnstile(Given())).begin()
        aggregator = await sea.links[REMOTE].claim()
        await sea.claim(*sites)
        again = await sea.links[LOCAL0].claim()
        return [aggregator, again]

    assert [None, None] == asyncio.run(claim())


def test_bad_news_does_not_queue_and_lets_everybody_pass() -> None:
    async def break_off() -> tuple[Sea, list[BaseException | None]]:
        sea = await Sea(Turnstile(Given(sites, sites))).begin()
        tickets = await sea.claim(*sites)
        waiting = [asyncio.create_task(sea.report(tickets[seat])) for seat in (LOCAL1, LOCAL2)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        await sea.links[LOCAL2].report(
            JobBroke(
                run_id=RUN,
                job_id=tickets[LOCAL2].job.id,
                failure=Failure(type="AlgorithmFailed", message="no"),
            )
        )
        return sea, list(await asyncio.gather(*waiting, return_exceptions=True))

    sea, endings = asyncio.run(break_off())

    assert [StaleEvent, StaleEvent] == [type(ending) for ending in endings]
    failed = sea.heard.events[-1][2].run
    assert RunStatus.FAILED is failed.status
    assert failed.failure is not None
    assert LOCAL2 == failed.failure.site
    assert holds_nobody(sea.turnstile)


def test_a_seat_that_waits_to_claim_when_the_run_fails_goes_home() -> None:
    async def break_off() -> list[Ticket | None]:
        sea = await Sea(Turnstile(Given(sites))).begin()
        first = await sea.links[LOCAL0].claim()
        assert first is not None
        waiting = [asyncio.create_task(sea.links[LOCAL2].claim())]
        await asyncio.sleep(0)
        failure = Failure(type="AlgorithmFailed", message="no")
        await sea.links[LOCAL0].report(JobBroke(run_id=RUN, job_id=first.job.id, failure=failure))
        return await asyncio.gather(*waiting)

    assert [None] == asyncio.run(break_off())


def test_a_seat_that_stopped_waiting_keeps_its_turn() -> None:
    async def come_back() -> Sea:
        sea = await Sea(Turnstile(Given(sites, sites))).begin()
        tickets = await sea.claim(*sites)
        waiting = asyncio.create_task(sea.report(tickets[LOCAL1]))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        last = asyncio.create_task(sea.report(tickets[LOCAL2]))
        await sea.report(tickets[LOCAL0])
        assert not last.done()
        await sea.report(tickets[LOCAL1])
        await last
        return sea

    assert list(sites) == asyncio.run(come_back()).order(JobReported)


def test_when_a_run_fails_a_seat_that_stopped_waiting_is_no_obstacle() -> None:
    async def give_up() -> bool:
        turnstile = Turnstile(Given(sites, sites))
        sea = await Sea(turnstile).begin()
        tickets = await sea.claim(*sites)
        waiting = asyncio.create_task(turnstile.enter_report(0, LOCAL2))
        await asyncio.sleep(0)
        waiting.cancel()
        failure = Failure(type="AlgorithmFailed", message="no")
        await sea.links[LOCAL1].report(JobBroke(run_id=RUN, job_id=tickets[LOCAL1].job.id, failure=failure))
        await asyncio.gather(waiting, return_exceptions=True)
        return holds_nobody(turnstile)

    assert asyncio.run(give_up())


@given(chance=st.randoms(use_true_random=False), seed=st.integers(0, 2**32))
def test_seats_that_work_round_after_round_have_a_turn_in_each(chance: Random, seed: int) -> None:
    """Whoever reports last opens the next round before it has left its turn in this one."""

    async def work() -> Sea:
        sea = await Sea(Turnstile(SeededDice(seed)), aggregated=False).begin()
        for iteration in range(1, 5):
            tickets = list((await sea.claim(*chance.sample(sites, 3))).values())
            chance.shuffle(tickets)
            async with asyncio.timeout(5):
                await asyncio.gather(*(sea.report(ticket, final=iteration == 4) for ticket in tickets))
        return sea

    sea = asyncio.run(work())

    claims, reports = sea.order(JobClaimed), sea.order(JobReported)
    for start in range(0, 12, 3):
        assert sorted(sites) == sorted(claims[start : start + 3])
        assert sorted(sites) == sorted(reports[start : start + 3])
    assert RunStatus.DONE is sea.heard.events[-1][2].run.status


# --- Seeds ------------------------------------------------------------------------------------


async def sail(seed: int, arriving: Random, *, iterations: int = 3) -> Sea:
    """A whole run, whose seats come to the turnstile in any order."""
    sea = await Sea(Turnstile(SeededDice(seed)), sites=4).begin()
    for iteration in range(1, iterations + 1):
        for seats_ in (list(sea.run.sites), [REMOTE]):
            arriving.shuffle(seats_)
            tickets = list((await sea.claim(*seats_)).values())
            arriving.shuffle(tickets)
            final = iteration == iterations and seats_ == [REMOTE]
            await asyncio.gather(*(sea.report(ticket, final=final) for ticket in tickets))
    return sea


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_repeats_every_event_whoever_comes_first(seed: int) -> None:
    histories = [asyncio.run(sail(seed, Random(chance))).heard.events for chance in range(4)]

    for one, other in pairwise(histories):
        assert one == other, f"seed {seed}"


def test_another_seed_is_another_order() -> None:
    histories = [asyncio.run(sail(seed, Random(0))) for seed in range(8)]

    assert 8 == len({tuple(sea.order(JobClaimed)) for sea in histories})


@given(st.integers(0), st.lists(st.text().map(Seat)))
def test_dice_keep_every_item_and_repeat_themselves(seed: int, items: list[Seat]) -> None:
    one, other = list(items), list(items)
    SeededDice(seed).shuffle(one)
    SeededDice(seed).shuffle(other)

    assert one == other
    assert sorted(items) == sorted(one)


# --- Child rounds -----------------------------------------------------------------------------


class Strait:
    """As `Sea`, for a run that calls a function at some sites."""

    def __init__(self, turnstile: Turnstile, *called: Seat) -> None:
        self.run = asking_run(sites, called or (LOCAL0,))
        self.heard = Heard()
        self.turnstile = turnstile
        self.hub = Hub(MemoryRunStore(), MemoryBlobStore(), {"functions": calls}, [turnstile, self.heard])
        self.links = {seat: LocalLink(self.hub, seat, turnstile) for seat in sites}

    async def begin(self) -> Strait:
        """Let the run begin."""
        await self.hub.submit(self.run, openings(self.run))
        return self

    async def claim(self, seat: Seat) -> Ticket:
        """A seat's next job."""
        ticket = await self.links[seat].claim()
        assert ticket is not None
        return ticket

    async def ask(self, ticket: Ticket, *seats_: Seat, number: int = 0) -> int:
        """A job asks sites, or all."""
        event, messages = request(ticket, *seats_, number=number)
        return await self.links[ticket.job.seat].ask(event, messages)

    def report(self, ticket: Ticket) -> asyncio.Task[None]:
        """A seat begins to say that its job is done."""
        return asyncio.create_task(self.links[ticket.job.seat].report(done(ticket)))

    def reported(self) -> list[JobId]:
        """The jobs that have reported, in that order."""
        return [job.id for event, job, _ in self.heard.events if isinstance(event, JobReported) and job]


async def turns() -> None:
    """Let the others have their turns."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_who_has_asked_reports_after_those_who_have_not() -> None:
    """Whoever waited for it could not serve what it has asked for."""

    async def work() -> list[JobId]:
        strait = await Strait(Turnstile(Given(sites, sites)), *sites).begin()
        first, second, third = [await strait.claim(seat) for seat in sites]
        waiting = [strait.report(third), strait.report(second)]
        await turns()
        assert not any(task.done() for task in waiting)
        await strait.ask(first, LOCAL1)
        await asyncio.gather(*waiting)
        child = await strait.claim(LOCAL1)
        await strait.report(child)
        await strait.report(first)
        assert RunStatus.DONE is (await strait.hub.ended(RUN)).status
        return strait.reported()

    assert ["run.0.1", "run.0.2", "run.1.0", "run.0.0"] == asyncio.run(work())


def test_those_who_have_asked_report_in_the_order_of_their_questions() -> None:
    async def work() -> list[JobId]:
        strait = await Strait(Turnstile(Given(sites, sites)), *sites).begin()
        tickets = [await strait.claim(seat) for seat in sites]
        await strait.ask(tickets[1], LOCAL0)
        await strait.ask(tickets[0], LOCAL1)
        # The same question again is none.
        await strait.ask(tickets[1], LOCAL0)
        for seat in (LOCAL0, LOCAL1):
            await strait.report(await strait.claim(seat))
        await asyncio.gather(*(strait.report(ticket) for ticket in tickets))
        return strait.reported()[2:]

    assert ["run.0.2", "run.0.1", "run.0.0"] == asyncio.run(work())


def test_bad_news_of_a_child_round_waits_for_its_turn_as_any_other() -> None:
    async def work() -> list[str]:
        strait = await Strait(Turnstile(Given([LOCAL0], [LOCAL0], sites, sites))).begin()
        await strait.ask(await strait.claim(LOCAL0))
        first, second, third = [await strait.claim(seat) for seat in sites]
        failing = asyncio.create_task(strait.links[LOCAL1].report(broken(second)))
        other = strait.report(third)
        await turns()
        assert not failing.done()
        await strait.report(first)
        await asyncio.gather(failing, other)
        return [
            job.id
            for event, job, _ in strait.heard.events
            if isinstance(event, JobReported | JobBroke) and job
        ]

    assert ["run.1.0", "run.1.1", "run.1.2"] == asyncio.run(work())


def test_who_gives_up_what_it_has_not_asked_for_changes_nobodys_turn() -> None:
    async def work() -> None:
        strait = await Strait(Turnstile(Given(sites, sites)), *sites).begin()
        first, second, _ = [await strait.claim(seat) for seat in sites]
        number = await strait.ask(first)
        await strait.claim(LOCAL0)
        child = await strait.claim(LOCAL1)
        waiting = strait.report(child)
        await turns()
        assert not waiting.done()
        for foreign in (0, number):
            with pytest.raises(NotYours):
                await strait.links[LOCAL1].give_up(given_up(second, foreign))
        await turns()
        assert not waiting.done()
        waiting.cancel()

    asyncio.run(work())


def test_without_a_seed_reports_come_in_the_order_of_the_claims() -> None:
    async def work() -> Sea:
        sea = await Sea(Turnstile(Given(sites[::-1]), apart=False)).begin()
        tickets = await sea.claim(*sites)
        await asyncio.gather(*(sea.report(tickets[seat]) for seat in sites))
        return sea

    sea = asyncio.run(work())

    assert list(sites[::-1]) == sea.order(JobClaimed) == sea.order(JobReported)


def test_seats_are_woken_in_the_order_in_which_they_may_claim() -> None:
    async def work() -> list[Seat]:
        woken: list[Seat] = []
        strait = Strait(Turnstile(Given([LOCAL0], [LOCAL0], [LOCAL2, LOCAL0, LOCAL1])))

        async def listen(seat: Seat) -> None:
            await strait.links[seat].listen()
            woken.append(seat)

        await strait.begin()
        await strait.links[LOCAL0].listen()
        ticket = await strait.claim(LOCAL0)
        listening = [asyncio.create_task(listen(seat)) for seat in sites]
        await turns()
        await strait.ask(ticket)
        await asyncio.gather(*listening)
        return woken

    assert [LOCAL2, LOCAL0, LOCAL1] == asyncio.run(work())


@pytest.mark.parametrize("seed", range(100))
def test_whatever_is_asked_given_up_and_left_open_nobody_waits_for_ever(seed: int) -> None:
    """Jobs that each do a few things by chance, at seats that serve others while their job waits."""
    chance = Random(seed)

    async def work() -> Strait:
        strait = await Strait(Turnstile(SeededDice(seed)), *chance.sample(sites, 2)).begin()
        tasks: set[asyncio.Task[None]] = set()

        async def serve(seat: Seat) -> None:
            while True:
                while (ticket := await strait.links[seat].claim()) is not None:
                    if await job(ticket):
                        return
                await strait.links[seat].listen()

        def begin(seat: Seat) -> None:
            tasks.add(asyncio.create_task(serve(seat)))

        async def job(ticket: Ticket) -> bool:
            """Whether somebody else serves the seat by now."""
            link, relieved = strait.links[ticket.job.seat], False
            try:
                for number in range(chance.choice((0, 0, 1, 2)) if ticket.origin.count("/") < 3 else 0):
                    event, messages = request(ticket, *chance.sample(sites, 2), number=number)
                    asked = await link.ask(event, messages)
                    if not relieved:
                        relieved = True
                        begin(ticket.job.seat)
                    match chance.choice(("wait", "wait", "give up", "leave")):
                        case "wait":
                            await link.child_ended(RUN, ticket.job.id, asked)
                            await link.release(RUN, ticket.job.id, asked)
                        case "give up":
                            for _ in range(chance.randrange(10)):
                                await asyncio.sleep(0)
                            await link.give_up(given_up(ticket, asked))
                for _ in range(chance.randrange(5)):
                    await asyncio.sleep(0)
                fails = ticket.parent is not None and chance.random() < 0.2
                await link.report(broken(ticket) if fails else done(ticket))
            except StaleEvent:
                pass
            return relieved

        for seat in sites:
            begin(seat)
        try:
            async with asyncio.timeout(10):
                await strait.hub.ended(RUN)
        finally:
            for task in tasks:
                task.cancel()
            endings = await asyncio.gather(*tasks, return_exceptions=True)
        assert {asyncio.CancelledError, type(None)} >= {type(ending) for ending in endings}
        return strait

    strait = asyncio.run(work())

    assert RunStatus.DONE is strait.heard.events[-1][2].run.status
    assert holds_nobody(strait.turnstile)
    assert not any(strait.turnstile._unclaimed.values())
