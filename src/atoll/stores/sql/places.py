"""Where a run may take place: a collaboration's nodes, and what it has used of what it may."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, func, select

from atoll.stores.sql.database import Connection
from atoll.stores.sql.people_tables import collaboration_organizations, collaborations, studies
from atoll.stores.sql.run_tables import runs
from atoll.stores.sql.site_tables import collaboration_nodes, nodes, study_nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A collaboration, or a study of it, as a place for runs."""

    #: The collaboration's id and name.
    collaboration: str
    name: str
    #: The study's name.
    study_name: str | None
    #: Names of nodes with data, in the order of the collaboration or the study.
    data: tuple[str, ...]
    #: Names of all nodes of its organizations.
    nodes: tuple[str, ...]
    #: The name of the node that aggregates unless a run says otherwise.
    default_aggregator: str | None
    #: What it may have; None: no bound.
    runs_active_max: int | None
    bytes_max: int | None


_COLLABORATION = select(collaborations).where(collaborations.c.id == bindparam("id"))
_STUDY = select(studies).where(
    studies.c.id == bindparam("id"), studies.c.collaboration_id == bindparam("collaboration")
)
_DATA = (
    select(nodes.c.name)
    .join(collaboration_nodes, collaboration_nodes.c.node_id == nodes.c.id)
    .where(collaboration_nodes.c.collaboration_id == bindparam("id"), nodes.c.holds_data)
    .order_by(collaboration_nodes.c.position)
)
_STUDY_DATA = (
    select(nodes.c.name)
    .join(study_nodes, study_nodes.c.node_id == nodes.c.id)
    .where(study_nodes.c.study_id == bindparam("id"), nodes.c.holds_data)
    .order_by(study_nodes.c.position)
)
_NODES = (
    select(nodes.c.id, nodes.c.name)
    .join(
        collaboration_organizations,
        collaboration_organizations.c.organization_id == nodes.c.organization_id,
    )
    .where(collaboration_organizations.c.collaboration_id == bindparam("id"))
    .order_by(nodes.c.name)
)
_HOLD = select(collaborations.c.id).where(collaborations.c.id == bindparam("id")).with_for_update()
_ACTIVE = select(func.count()).where(runs.c.collaboration_id == bindparam("id"), runs.c.status == "active")
_BYTES = select(func.coalesce(func.sum(runs.c.bytes), 0)).where(runs.c.collaboration_id == bindparam("id"))


async def find_place(connection: Connection, collaboration: str, study: str | None) -> Found | None:
    """The collaboration, or a study of it; None where there is no such."""
    row = (await connection.execute(_COLLABORATION, {"id": collaboration})).first
    if row is None:
        return None
    study_name = None
    data = await connection.execute(_DATA, {"id": collaboration})
    if study is not None:
        which = {"id": study, "collaboration": collaboration}
        if (of := (await connection.execute(_STUDY, which)).first) is None:
            return None
        study_name = of.name
        data = await connection.execute(_STUDY_DATA, {"id": study})
    there = (await connection.execute(_NODES, {"id": collaboration})).rows
    default = {node.id: node.name for node in there}.get(row.default_aggregator)
    return Found(
        collaboration=collaboration,
        name=row.name,
        study_name=study_name,
        data=tuple(node.name for node in data.rows),
        nodes=tuple(node.name for node in there),
        default_aggregator=default,
        runs_active_max=row.runs_active_max,
        bytes_max=row.bytes_max,
    )


async def used(connection: Connection, collaboration: str, *, hold: bool = False) -> tuple[int, int]:
    """How many runs of a collaboration go on, and how many bytes all of its runs have.

    Args:
        connection: an open transaction.
        collaboration: its id.
        hold: let nobody else who holds it begin a run there until the transaction is over.
    """
    if hold:
        await connection.execute(_HOLD, {"id": collaboration})
    active = (await connection.execute(_ACTIVE, {"id": collaboration})).rows[0][0]
    weight = (await connection.execute(_BYTES, {"id": collaboration})).rows[0][0]
    return int(active), int(weight)
