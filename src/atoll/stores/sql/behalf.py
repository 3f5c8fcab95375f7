"""On whose behalf a run asks its sites: the names that a site's rules may be about."""

from __future__ import annotations

from collections import OrderedDict

from sqlalchemy import bindparam, select

from atoll.model.work import Behalf, RunId
from atoll.stores.sql.database import Database
from atoll.stores.sql.people_tables import collaborations, organizations, studies, users
from atoll.stores.sql.run_tables import runs

#: Runs that are remembered: those whose jobs are claimed at a time.
_REMEMBERED_MAX = 1_000

_BEHALF = (
    select(
        runs.c.collaboration_id,
        runs.c.organization_id,
        collaborations.c.name.label("collaboration_name"),
        studies.c.name.label("study_name"),
        users.c.username,
        organizations.c.name.label("organization_name"),
    )
    .select_from(
        runs.outerjoin(collaborations, collaborations.c.id == runs.c.collaboration_id)
        .outerjoin(studies, studies.c.id == runs.c.study_id)
        .outerjoin(users, users.c.id == runs.c.submitter_id)
        .outerjoin(organizations, organizations.c.id == runs.c.organization_id)
    )
    .where(runs.c.id == bindparam("run"))
)


class Behalves:
    """On whose behalf runs ask. It is remembered as it was when a run's first job was claimed.

    Args:
        database: where runs and people are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remembered: OrderedDict[RunId, Behalf] = OrderedDict()

    async def of(self, run_id: RunId) -> Behalf:
        """On whose behalf a run asks; nobody's, where it is gone."""
        known = self._remembered.get(run_id)
        if known is not None:
            return known
        async with self._database.reading() as connection:
            row = (await connection.execute(_BEHALF, {"run": run_id})).first
        if row is None:
            return Behalf()
        known = self._remembered[run_id] = Behalf(
            collaboration=row.collaboration_id or "",
            collaboration_name=row.collaboration_name or "",
            study_name=row.study_name or "",
            submitter=row.username or "",
            organization=row.organization_id or "",
            organization_name=row.organization_name or "",
        )
        if len(self._remembered) > _REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return known
