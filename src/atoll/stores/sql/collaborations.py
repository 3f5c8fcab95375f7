"""Collaborations, their members, their data nodes and their studies in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, Text, bindparam, delete, exists, func, insert, or_, select, update

from atoll.model.people import Collaboration, Study, key_of
from atoll.model.scopes import Reach, Sight
from atoll.stores.sql.database import Connection
from atoll.stores.sql.people_tables import collaboration_organizations, collaborations, studies
from atoll.stores.sql.run_tables import runs
from atoll.stores.sql.site_tables import collaboration_nodes, nodes, study_nodes

_COLLABORATION = (
    collaborations.c.id,
    collaborations.c.name,
    collaborations.c.default_aggregator,
    collaborations.c.runs_active_max,
    collaborations.c.bytes_max,
    collaborations.c.retention_days,
    collaborations.c.created_at,
)
_ADD = insert(collaborations)
_GET = select(*_COLLABORATION).where(collaborations.c.id == bindparam("id"))
_NAMED = select(collaborations.c.id).where(collaborations.c.name_key == bindparam("key"))
_LIST = (
    select(*_COLLABORATION)
    .where(
        or_(
            bindparam("everything", type_=Boolean), collaborations.c.id.in_(bindparam("mine", expanding=True))
        ),
        collaborations.c.name_key > bindparam("after"),
    )
    .order_by(collaborations.c.name_key)
    .limit(bindparam("limit"))
)
_CHANGE = (
    update(collaborations)
    .where(collaborations.c.id == bindparam("of"))
    .values(
        name=bindparam("new_name"),
        name_key=bindparam("new_key"),
        default_aggregator=bindparam("new_aggregator"),
        runs_active_max=bindparam("new_runs"),
        bytes_max=bindparam("new_bytes"),
        retention_days=bindparam("new_days"),
    )
)
_DELETE = delete(collaborations).where(collaborations.c.id == bindparam("id"))
_ACTIVE = (
    select(func.count())
    .select_from(runs)
    .where(runs.c.collaboration_id == bindparam("id"), runs.c.status == "active")
)
_MEMBERS = (
    select(collaboration_organizations.c.collaboration_id, collaboration_organizations.c.organization_id)
    .where(collaboration_organizations.c.collaboration_id.in_(bindparam("ids", expanding=True)))
    .order_by(collaboration_organizations.c.organization_id)
)
_NODES = (
    select(collaboration_nodes.c.collaboration_id, collaboration_nodes.c.node_id)
    .where(collaboration_nodes.c.collaboration_id.in_(bindparam("ids", expanding=True)))
    .order_by(collaboration_nodes.c.collaboration_id, collaboration_nodes.c.position)
)
_ADD_MEMBER = insert(collaboration_organizations)
_DROP_MEMBER = delete(collaboration_organizations).where(
    collaboration_organizations.c.collaboration_id == bindparam("id"),
    collaboration_organizations.c.organization_id == bindparam("organization"),
)
_NODES_OF_MEMBER = select(nodes.c.id).where(nodes.c.organization_id == bindparam("organization"))
_ADD_NODE = insert(collaboration_nodes)
_NEXT_PLACE = select(func.coalesce(func.max(collaboration_nodes.c.position), -1) + 1).where(
    collaboration_nodes.c.collaboration_id == bindparam("id")
)
_DROP_NODE = delete(collaboration_nodes).where(
    collaboration_nodes.c.collaboration_id == bindparam("id"),
    collaboration_nodes.c.node_id == bindparam("node"),
)
_DROP_STUDY_NODE = delete(study_nodes).where(
    study_nodes.c.node_id == bindparam("node"),
    study_nodes.c.study_id.in_(select(studies.c.id).where(studies.c.collaboration_id == bindparam("id"))),
)


async def _grouped(connection: Connection, statement: Any, ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {id_: [] for id_ in ids}
    if found:
        for of, member in (await connection.execute(statement, {"ids": list(ids)})).rows:
            found[of].append(member)
    return found


async def _whole(connection: Connection, rows: Sequence[Any]) -> list[Collaboration]:
    ids = [row[0] for row in rows]
    members = await _grouped(connection, _MEMBERS, ids)
    data = await _grouped(connection, _NODES, ids)
    return [
        Collaboration(
            id=row[0],
            name=row[1],
            organizations=tuple(members[row[0]]),
            nodes=tuple(data[row[0]]),
            default_aggregator=row[2],
            runs_active_max=row[3],
            bytes_max=row[4],
            retention_days=row[5],
            created_at=row[6],
        )
        for row in rows
    ]


async def add_collaboration(connection: Connection, collaboration: Collaboration) -> None:
    """Keep a new collaboration, with its members."""
    row = {
        "id": collaboration.id,
        "name": collaboration.name,
        "name_key": key_of(collaboration.name),
        "default_aggregator": collaboration.default_aggregator,
        "runs_active_max": collaboration.runs_active_max,
        "bytes_max": collaboration.bytes_max,
        "retention_days": collaboration.retention_days,
        "created_at": collaboration.created_at,
    }
    await connection.execute(_ADD, row)
    for organization in collaboration.organizations:
        await add_member(connection, collaboration.id, organization)


async def get_collaboration(connection: Connection, id_: str) -> Collaboration | None:
    """A collaboration by its id."""
    rows = (await connection.execute(_GET, {"id": id_})).rows
    return next(iter(await _whole(connection, rows)), None)


async def same_collaboration(connection: Connection, name: str) -> str | None:
    """The id of the collaboration with this name."""
    row = (await connection.execute(_NAMED, {"key": key_of(name)})).first
    return None if row is None else str(row[0])


async def list_collaborations(
    connection: Connection, sight: Sight, after: str, limit: int
) -> Sequence[Collaboration]:
    """Collaborations within somebody's sight, by name, after one."""
    reach = sight.reach or 0
    parameters = {
        "everything": reach is Reach.GLOBAL,
        # Who is of a member takes part in it.
        "mine": sorted(sight.collaborations) if reach >= Reach.ORGANIZATION else [],
        "after": after,
        "limit": limit,
    }
    return await _whole(connection, (await connection.execute(_LIST, parameters)).rows)


async def change_collaboration(connection: Connection, collaboration: Collaboration) -> None:
    """Keep a collaboration as it is now; its members and nodes stay."""
    parameters = {
        "of": collaboration.id,
        "new_name": collaboration.name,
        "new_key": key_of(collaboration.name),
        "new_aggregator": collaboration.default_aggregator,
        "new_runs": collaboration.runs_active_max,
        "new_bytes": collaboration.bytes_max,
        "new_days": collaboration.retention_days,
    }
    await connection.execute(_CHANGE, parameters)


async def count_active(connection: Connection, id_: str) -> int:
    """How many runs of a collaboration are active."""
    row = (await connection.execute(_ACTIVE, {"id": id_})).first
    return 0 if row is None else int(row[0])


async def delete_collaboration(connection: Connection, id_: str) -> None:
    """Remove a collaboration with its studies."""
    await connection.execute(_DELETE, {"id": id_})


async def add_member(connection: Connection, id_: str, organization: str) -> None:
    """Make an organization a member."""
    await connection.execute(_ADD_MEMBER, {"collaboration_id": id_, "organization_id": organization})


async def drop_member(connection: Connection, collaboration: Collaboration, organization: str) -> None:
    """Let an organization be a member no longer; its nodes go with it."""
    rows = (await connection.execute(_NODES_OF_MEMBER, {"organization": organization})).rows
    for node in [row[0] for row in rows]:
        if node in collaboration.nodes:
            await drop_node(connection, collaboration.id, node)
    await connection.execute(_DROP_MEMBER, {"id": collaboration.id, "organization": organization})


async def add_node(connection: Connection, id_: str, node: str) -> None:
    """Make a node the last data node of a collaboration."""
    place = (await connection.execute(_NEXT_PLACE, {"id": id_})).rows[0][0]
    await connection.execute(_ADD_NODE, {"collaboration_id": id_, "node_id": node, "position": place})


async def drop_node(connection: Connection, id_: str, node: str) -> None:
    """Take a data node out of a collaboration and its studies."""
    await connection.execute(_DROP_STUDY_NODE, {"id": id_, "node": node})
    await connection.execute(_DROP_NODE, {"id": id_, "node": node})


# --- Studies ----------------------------------------------------------------------------------

_STUDY = (studies.c.id, studies.c.collaboration_id, studies.c.name, studies.c.created_at)
_ADD_STUDY = insert(studies)
_GET_STUDY = select(*_STUDY).where(
    studies.c.id == bindparam("id"), studies.c.collaboration_id == bindparam("collaboration")
)
_SAME_STUDY = select(studies.c.id).where(
    studies.c.collaboration_id == bindparam("collaboration"), studies.c.name_key == bindparam("key")
)
_LIST_STUDIES = (
    select(*_STUDY)
    .where(
        studies.c.collaboration_id == bindparam("collaboration"),
        or_(
            bindparam("all", type_=Boolean),
            exists().where(
                study_nodes.c.study_id == studies.c.id,
                study_nodes.c.node_id == nodes.c.id,
                nodes.c.organization_id == bindparam("organization", type_=Text),
            ),
        ),
        studies.c.name_key > bindparam("after"),
    )
    .order_by(studies.c.name_key)
    .limit(bindparam("limit"))
)
_STUDY_NODES = (
    select(study_nodes.c.study_id, study_nodes.c.node_id)
    .where(study_nodes.c.study_id.in_(bindparam("ids", expanding=True)))
    .order_by(study_nodes.c.study_id, study_nodes.c.position)
)
_STUDY_ORGANIZATIONS = (
    select(nodes.c.organization_id)
    .select_from(study_nodes.join(nodes))
    .where(study_nodes.c.study_id == bindparam("id"))
)
_RENAME_STUDY = (
    update(studies)
    .where(studies.c.id == bindparam("of"))
    .values(name=bindparam("new_name"), name_key=bindparam("new_key"))
)
_DELETE_STUDY = delete(studies).where(studies.c.id == bindparam("id"))
_DROP_STUDY_NODES = delete(study_nodes).where(study_nodes.c.study_id == bindparam("id"))
_ADD_STUDY_NODES = insert(study_nodes)


async def _whole_studies(connection: Connection, rows: Sequence[Any]) -> list[Study]:
    found = await _grouped(connection, _STUDY_NODES, [row[0] for row in rows])
    return [
        Study(id=row[0], collaboration_id=row[1], name=row[2], nodes=tuple(found[row[0]]), created_at=row[3])
        for row in rows
    ]


async def add_study(connection: Connection, study: Study) -> None:
    """Keep a new study."""
    row = {
        "id": study.id,
        "collaboration_id": study.collaboration_id,
        "name": study.name,
        "name_key": key_of(study.name),
        "created_at": study.created_at,
    }
    await connection.execute(_ADD_STUDY, row)
    await _set_study_nodes(connection, study)


async def get_study(connection: Connection, collaboration: str, id_: str) -> Study | None:
    """A study of a collaboration."""
    rows = (await connection.execute(_GET_STUDY, {"id": id_, "collaboration": collaboration})).rows
    return next(iter(await _whole_studies(connection, rows)), None)


async def same_study(connection: Connection, collaboration: str, name: str) -> str | None:
    """The id of the study with this name."""
    parameters = {"collaboration": collaboration, "key": key_of(name)}
    row = (await connection.execute(_SAME_STUDY, parameters)).first
    return None if row is None else str(row[0])


async def organizations_of_study(connection: Connection, id_: str) -> frozenset[str]:
    """The organizations whose nodes take part in a study."""
    rows = (await connection.execute(_STUDY_ORGANIZATIONS, {"id": id_})).rows
    return frozenset(row[0] for row in rows)


async def list_studies(
    connection: Connection, collaboration: str, sight: Sight, after: str, limit: int
) -> Sequence[Study]:
    """Studies of a collaboration within somebody's sight, by name, after one."""
    reach = sight.reach or 0
    shared = reach >= Reach.COLLABORATION and collaboration in sight.collaborations
    parameters = {
        "collaboration": collaboration,
        "all": reach is Reach.GLOBAL or shared,
        "organization": sight.organization if reach >= Reach.ORGANIZATION else "",
        "after": after,
        "limit": limit,
    }
    return await _whole_studies(connection, (await connection.execute(_LIST_STUDIES, parameters)).rows)


async def change_study(connection: Connection, study: Study) -> None:
    """Keep a study as it is now."""
    parameters = {"of": study.id, "new_name": study.name, "new_key": key_of(study.name)}
    await connection.execute(_RENAME_STUDY, parameters)
    await _set_study_nodes(connection, study)


async def delete_study(connection: Connection, id_: str) -> None:
    """Remove a study."""
    await connection.execute(_DELETE_STUDY, {"id": id_})


async def _set_study_nodes(connection: Connection, study: Study) -> None:
    await connection.execute(_DROP_STUDY_NODES, {"id": study.id})
    rows = [
        {"study_id": study.id, "node_id": node, "position": position}
        for position, node in enumerate(study.nodes)
    ]
    if rows:
        await connection.execute(_ADD_STUDY_NODES, rows)
