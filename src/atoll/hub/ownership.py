"""Whom a run belongs to: asked before every look at it, so it is kept in memory."""

from __future__ import annotations

from collections import OrderedDict

from sqlalchemy import bindparam, select

from atoll.hub.parts import Rooms
from atoll.hub.principal import Principal
from atoll.model.errors import NotThere
from atoll.model.scopes import Whose
from atoll.model.work import RunId
from atoll.stores.sql.run_tables import runs

#: Runs that are remembered. A page shows fifty.
_REMEMBERED_MAX = 10_000

_OWNER = select(runs.c.submitter_id, runs.c.organization_id, runs.c.collaboration_id).where(
    runs.c.id == bindparam("run")
)


class Ownership:
    """Whom runs belong to. That never changes while a run is there.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        self._database = rooms.parts.database
        self._remembered: OrderedDict[RunId, Whose] = OrderedDict()

    async def of(self, run_id: RunId) -> Whose | None:
        """Whom a run belongs to; None where there is no such run."""
        whose = self._remembered.get(run_id)
        if whose is None:
            async with self._database.reading() as connection:
                row = (await connection.execute(_OWNER, {"run": run_id})).first
            if row is None:
                return None
            whose = whose_of(row.submitter_id, row.organization_id, row.collaboration_id)
            self._remembered[run_id] = whose
            if len(self._remembered) > _REMEMBERED_MAX:
                self._remembered.popitem(last=False)
        return whose

    def forget(self, run_id: RunId) -> None:
        """A run is gone."""
        self._remembered.pop(run_id, None)

    async def check(self, who: Principal, run_id: RunId, resource: str, operation: str) -> None:
        """Refuse who may not do this to a run, or to what belongs to it.

        Raises:
            NotAllowed: he may not do this, though he sees the run.
            NotThere: there is no such run, or not for him.
        """
        who.require_some(resource, operation)
        whose = await self.of(run_id)
        if whose is None:
            raise NotThere(f"there is no run {run_id}")
        if operation != "view" and resource == "run":
            who.require(resource, operation, whose, f"run {run_id}")
        elif not who.allows(resource, operation, whose):
            raise NotThere(f"there is no run {run_id}")


def whose_of(submitter: str | None, organization: str | None, collaboration: str | None) -> Whose:
    """Whom a run with these columns belongs to."""
    return Whose(
        user=submitter,
        organizations=frozenset() if organization is None else frozenset({organization}),
        collaborations=frozenset() if collaboration is None else frozenset({collaboration}),
    )
