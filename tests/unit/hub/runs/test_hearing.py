"""Who hears of what happens in runs, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.hub_app import hub_app
from tests.hub_people import ISLANDS, Islands, a_run, islands, person

from atoll.hub.events.service import Events
from atoll.hub.principal import Principal
from atoll.hub.runs.looking import Looking
from atoll.hub.runs.service import Runs
from atoll.hub.sites.protocol import Nodes
from atoll.model.errors import NotLoggedIn
from atoll.model.scopes import Reach
from atoll.stores.sql.leases import Line


def at(folder: Path, visit: Callable[[Islands], Awaitable[Any]]) -> Any:
    """Visit a hub with islands."""

    async def whole() -> Any:
        async with hub_app(folder) as app:
            return await visit(await islands(app))

    return asyncio.run(whole())


async def heard_of_a_line(there: Islands, who: Principal) -> list[str]:
    """The kinds of what somebody hears, where a site lets a line of its log out."""
    run = await there.rooms.of(Runs).submit(there.ada, a_run())
    ticket = await there.app.parts.hub.claim("Dream")
    assert ticket is not None
    job = ticket.job
    cursor = await there.rooms.of(Looking).cursor()
    line = Line(run_id=run, job_id=job.id, level="info", text="3 rows left out")
    await there.rooms.of(Nodes).leases.write_down("Dream", [line], there.app.clock())
    await there.rooms.of(Runs).cancel(there.ada, run, "")
    stream = await there.rooms.of(Events).following(who, cursor)
    return [event.kind for event in await anext(stream)]


def test_who_may_not_read_logs_does_not_hear_of_their_lines(tmp_path: Path) -> None:
    viewer = person("vi", "Dream", ISLANDS, role="viewer")

    async def visit(there: Islands) -> Any:
        return await heard_of_a_line(there, there.bob), await heard_of_a_line(there, viewer)

    researchers, viewers = at(tmp_path, visit)

    assert "log" in researchers
    assert "log" not in viewers
    assert "run" in viewers


@pytest.mark.parametrize("by_now", [None, {}, {"event:receive": Reach.OWN, "run:view": Reach.OWN}])
def test_who_may_hear_no_longer_hears_no_more(tmp_path: Path, by_now: dict[str, Reach] | None) -> None:
    async def visit(there: Islands) -> Any:
        known = [there.bob]

        async def again() -> Principal:
            if not known:
                raise NotLoggedIn("he was disabled")
            return known[0]

        stream = await there.rooms.of(Events).following(there.bob, 0, again=again)
        run = await there.rooms.of(Runs).submit(there.ada, a_run())
        before = await anext(stream)
        known[:] = [] if by_now is None else [replace(there.bob, grants=by_now)]
        await there.rooms.of(Runs).cancel(there.ada, run, "")
        # So that one who goes on to hear nothing is not waited for.
        own = await there.rooms.of(Runs).submit(there.bob, a_run())
        async for events in stream:
            return own, before, [event.run_id for event in events]
        return own, before, []

    own, before, after = at(tmp_path, visit)

    assert before
    assert set(after) == ({own} if by_now else set())
