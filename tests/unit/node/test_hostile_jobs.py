"""Jobs that ask without end: a node keeps little of it."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path
from typing import cast

import pytest
from tests.federation import FunctionRuntime, Heard, installed, make_desk, make_ticket

from atoll.engine.limits import CALLS_WAITING_MAX, REFUSALS_MAX, CallLimits
from atoll.engine.ports import Folder, HubLink
from atoll.model.errors import LimitReached
from atoll.node.chair import Chair
from atoll.node.gateway.gate import JobGate
from atoll.node.shift import Shift


def test_of_many_refusals_the_first_are_recorded(tmp_path: Path) -> None:
    """What a job asks for is its own text: a million of them would fill the run's record."""
    heard = Heard()
    shift = Shift(asyncio.Semaphore(1), lambda: None)
    # A refusal never gets to the hub.
    gate = JobGate(cast("HubLink", None), make_ticket(), shift, heard, tmp_path / "log")

    for number in range(3 * REFUSALS_MAX):
        gate.refused(f"asked for site{number}")

    assert REFUSALS_MAX == len(heard.refusals)
    assert "asked for site0" == heard.refusals[0][1]


def test_a_seat_has_only_so_many_calls_that_wait(tmp_path: Path) -> None:
    """A function that calls itself everywhere would else have a process for each call that waits."""
    desk = make_desk(tmp_path)
    runtime = FunctionRuntime(lambda _request, _room: {})

    async def sit_down() -> Chair:
        return await desk.sit_down(make_ticket(), installed(Path("code")), runtime, CallLimits())

    async def fill() -> None:
        chairs = [await sit_down() for _ in range(CALLS_WAITING_MAX)]
        with pytest.raises(LimitReached, match="local0"):
            await sit_down()
        await desk.stand_up(chairs[0])

        assert chairs[0] is await sit_down()

    asyncio.run(fill())

    assert CALLS_WAITING_MAX == len(runtime.launches)


def test_a_file_that_has_only_a_size_is_not_read(tmp_path: Path) -> None:
    """It takes nothing to make one of a terabyte."""
    chair = Chair(desk=make_desk(tmp_path), key=None, number=1)
    folder = chair.folder(Folder.JOB)
    folder.mkdir(parents=True)
    with (folder / "output").open("wb") as file:
        file.truncate(2**40)

    tracemalloc.start()
    try:
        with pytest.raises(LimitReached, match="output"):
            chair.read(Folder.JOB, "output")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 10_000_000
