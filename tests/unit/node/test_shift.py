"""A job that waits holds no slot; one that goes on holds one, and never two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.node.shift import Shift


class Slots(asyncio.Semaphore):
    """Room for calls, which knows how many are held."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count

    @property
    def held(self) -> int:
        """How many nobody else can have."""
        return self.count - self._value

    def release(self) -> None:
        """Give one back that was taken."""
        assert self.held, "a slot was given back that nobody had"
        super().release()


class Relief:
    """Counts how often somebody else was called to serve the seat."""

    def __init__(self) -> None:
        self.called = 0

    def __call__(self) -> None:
        self.called += 1


def wait(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run to the end, which must come."""

    async def soon() -> None:
        async with asyncio.timeout(5):
            await work()

    asyncio.run(soon())


async def turns(count: int = 5) -> None:
    """Let the others have their turns."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_job_holds_a_slot_from_its_beginning_to_its_end() -> None:
    async def work() -> None:
        slots, relief = Slots(1), Relief()
        shift = Shift(slots, relief)
        await shift.begin()
        assert 1 == slots.held
        shift.end()
        shift.end()
        assert (0, 0, False) == (slots.held, relief.called, shift.relieved)

    wait(work)


def test_a_job_that_waits_holds_none_and_is_relieved_once() -> None:
    async def work() -> None:
        slots, relief = Slots(1), Relief()
        shift = Shift(slots, relief)
        await shift.begin()
        for _ in range(3):
            async with shift.waiting():
                assert 0 == slots.held
            await shift.go_on()
            assert 1 == slots.held
        assert (1, True) == (relief.called, shift.relieved)

    wait(work)


def test_a_job_goes_on_when_it_waits_for_nothing_any_more() -> None:
    async def work() -> None:
        slots = Slots(1)
        shift = Shift(slots, Relief())
        await shift.begin()
        async with shift.waiting():
            async with shift.waiting():
                pass
            await shift.go_on()
            assert 0 == slots.held
        await shift.go_on()
        assert 1 == slots.held

    wait(work)


def test_two_waits_that_end_together_take_one_slot() -> None:
    """Else the second would wait for a slot that its own job holds."""

    async def work() -> None:
        slots = Slots(1)
        shift = Shift(slots, Relief())
        await shift.begin()
        ended = asyncio.Event()

        async def one() -> None:
            async with shift.waiting():
                await ended.wait()
            await shift.go_on()

        waits = [asyncio.create_task(one()) for _ in range(2)]
        await turns()
        await slots.acquire()  # somebody else works meanwhile
        ended.set()
        await turns()
        slots.release()
        await asyncio.gather(*waits)
        assert 1 == slots.held
        shift.end()
        assert 0 == slots.held

    wait(work)


def test_a_job_that_waits_again_before_it_got_a_slot_takes_none() -> None:
    async def work() -> None:
        slots = Slots(1)
        shift = Shift(slots, Relief())
        await shift.begin()
        async with shift.waiting():
            pass
        await slots.acquire()
        going_on = asyncio.create_task(shift.go_on())
        await turns()
        async with shift.waiting():
            slots.release()
            await going_on
            assert 0 == slots.held
        await shift.go_on()
        assert 1 == slots.held

    wait(work)


@pytest.mark.parametrize("queued", [False, True])
def test_what_comes_after_the_end_of_a_job_takes_no_slot(queued: bool) -> None:
    async def work() -> None:
        slots = Slots(1)
        shift = Shift(slots, Relief())
        await shift.begin()
        async with shift.waiting():
            pass
        if queued:
            await slots.acquire()
        going_on = asyncio.create_task(shift.go_on())
        if queued:
            await turns()
        shift.end()
        if queued:
            slots.release()
        await going_on
        assert 0 == slots.held

    wait(work)


def test_a_wait_that_is_cancelled_is_over() -> None:
    async def work() -> None:
        slots = Slots(1)
        shift = Shift(slots, Relief())
        await shift.begin()

        async def one() -> None:
            async with shift.waiting():
                await asyncio.Event().wait()

        waiting = asyncio.create_task(one())
        await turns()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await shift.go_on()
        assert 1 == slots.held

    wait(work)


@given(
    jobs=st.integers(1, 4),
    slots=st.integers(1, 3),
    plans=st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=4, max_size=4),
)
def test_however_jobs_wait_slots_are_neither_lost_nor_made(
    jobs: int, slots: int, plans: list[list[int]]
) -> None:
    """Each number of a plan is a wait that takes so many turns; waits of a job may overlap."""

    async def work() -> None:
        room = Slots(slots)

        async def job(plan: list[int]) -> None:
            shift = Shift(room, Relief())
            await shift.begin()

            async def one(count: int) -> None:
                async with shift.waiting():
                    await turns(count)
                await shift.go_on()
                # Here the job computes, unless another of its waits has begun.
                assert shift._held or shift._waiting or shift._taking.locked()

            waits = []
            for count in plan:
                waits.append(asyncio.create_task(one(count)))
                await turns(count % 2)
            await asyncio.gather(*waits)
            assert shift._held
            shift.end()

        await asyncio.gather(*(job(plan) for plan in plans[:jobs]))
        assert 0 == room.held

    wait(work)
