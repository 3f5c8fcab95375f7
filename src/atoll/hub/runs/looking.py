"""Looks at runs: lists of them and of what is in them, who is waited for, how one came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, select

from atoll import __version__
from atoll.hub.events.service import Events
from atoll.hub.ownership import Ownership
from atoll.hub.parts import Rooms
from atoll.hub.principal import Principal
from atoll.model.errors import NotThere
from atoll.model.work import RunId
from atoll.stores.sql.run_lists import JobFilter, Listed, RunFilter, RunLists
from atoll.stores.sql.runs import SqlRunStore
from atoll.stores.sql.shown import Form
from atoll.stores.sql.site_tables import nodes

_NODES = select(nodes.c.name, nodes.c.online, nodes.c.version).where(
    nodes.c.name.in_(bindparam("names", expanding=True))
)
#: Jobs of a run that its record names. The rest is counted.
_RECORDED_MAX = 10_000


class Looking:
    """Looks at the runs of one hub.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        parts = rooms.parts
        assert isinstance(parts.runs, SqlRunStore)
        self._database = parts.database
        self._lists = RunLists(parts.database, parts.runs)
        self._ownership = rooms.of(Ownership)
        self._events = rooms.of(Events)

    async def cursor(self) -> int:
        """What goes with a look: the number of the latest event before it."""
        return await self._events.cursor()

    async def runs(
        self, who: Principal, which: RunFilter, after: Sequence[Any], most: int
    ) -> Sequence[Listed]:
        """The runs that somebody may see, the newest first."""
        return await self._lists.runs(who.require_some("run", "view"), which, after, most)

    async def run(self, who: Principal, run_id: RunId) -> Form:
        """One run.

        Raises:
            NotThere: there is no such run, or not for who asks.
        """
        await self._ownership.check(who, run_id, "run", "view")
        form = await self._lists.run(run_id)
        if form is None:
            raise NotThere(f"there is no run {run_id}")
        return form

    async def rounds(
        self, who: Principal, run_id: RunId, after: Sequence[Any], most: int
    ) -> Sequence[Listed]:
        """The rounds of a run."""
        await self._ownership.check(who, run_id, "run", "view")
        return await self._lists.rounds(run_id, after, most)

    async def jobs(
        self, who: Principal, run_id: RunId, which: JobFilter, after: Sequence[Any], most: int
    ) -> Sequence[Listed]:
        """The jobs of a run."""
        await self._ownership.check(who, run_id, "run", "view")
        return await self._lists.jobs(run_id, which, after, most)

    async def logs(
        self, who: Principal, run_id: RunId, seat: str | None, after: Sequence[Any], most: int
    ) -> Sequence[Listed]:
        """What sites have let out of their logs."""
        await self._ownership.check(who, run_id, "log", "view")
        return await self._lists.logs(run_id, seat, after, most)

    async def waiting(self, who: Principal, run_id: RunId) -> Sequence[Form]:
        """The jobs that a run waits for, and whether their nodes are there."""
        await self._ownership.check(who, run_id, "run", "view")
        jobs = await self._lists.waiting_for(run_id)
        async with self._database.reading() as connection:
            names = sorted({job["node"] for job in jobs})
            rows = (await connection.execute(_NODES, {"names": names})).rows if names else ()
        online = {row.name: bool(row.online) for row in rows}
        return [job | {"online": online.get(job["node"], False)} for job in jobs]

    async def record(self, who: Principal, run_id: RunId) -> Mapping[str, Any]:
        """How a run came about: who asked whom for what, by digest, and how each job ended.

        Raises:
            NotThere: there is no such run, or not for who asks.
        """
        form = await self.run(who, run_id)
        jobs = await self._lists.jobs(run_id, JobFilter(), (), _RECORDED_MAX)
        rounds = await self._lists.rounds(run_id, (), _RECORDED_MAX)
        async with self._database.reading() as connection:
            names = sorted({job.form["node"] for job in jobs})
            rows = (await connection.execute(_NODES, {"names": names})).rows if names else ()
        return {
            "run": form,
            "hub_version": __version__,
            "node_versions": {row.name: row.version for row in rows},
            "rounds": [listed.form for listed in rounds],
            "jobs": [listed.form for listed in jobs],
        }
