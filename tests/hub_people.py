"""People and places for tests of a hub's rooms: put into its database as they are."""

from __future__ import annotations

from dataclasses import dataclass

from tests.hub_app import HubApp

from atoll.hub.parts import Rooms
from atoll.hub.principal import Kind, Principal
from atoll.hub.runs.submission import NewStep, Opening, Submission
from atoll.model.scopes import ROLES, grants
from atoll.model.work import Algorithm
from atoll.stores.sql.algorithm_tables import algorithm_places, algorithms
from atoll.stores.sql.people_tables import collaboration_organizations, collaborations, organizations
from atoll.stores.sql.site_tables import collaboration_nodes, nodes

ISLANDS = "col_islands"
ELSEWHERE = "col_elsewhere"
SITES = ("Biscoe", "Dream", "Torgersen")
LAGOON = "Lagoon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Islands:
    """A hub with a collaboration of islands, each with a node, and another that is none of theirs."""

    app: HubApp
    #: A researcher of Biscoe, one of Dream, and one of an organization elsewhere.
    ada: Principal
    bob: Principal
    eve: Principal
    #: Sees everything.
    root: Principal

    @property
    def rooms(self) -> Rooms:
        """The hub's services."""
        rooms: Rooms = self.app.app.state.rooms
        return rooms


async def islands(app: HubApp, **quotas: int) -> Islands:
    """Settle a hub."""
    async with app.parts.database.writing() as connection:
        for number, name in enumerate((*SITES, LAGOON, "Elsewhere")):
            await connection.execute(
                organizations.insert(),
                {"id": f"org_{name}", "name": name, "name_key": name.lower(), "created_at": 0.0},
            )
            await connection.execute(
                nodes.insert(),
                {
                    "id": f"nod_{name}",
                    "name": name,
                    "name_key": name.lower(),
                    "organization_id": f"org_{name}",
                    "holds_data": name != LAGOON,
                    "created_at": float(number),
                },
            )
        for each, default, given in ((ISLANDS, f"nod_{LAGOON}", quotas), (ELSEWHERE, None, {})):
            made = {
                "id": each,
                "name": each,
                "name_key": each,
                "default_aggregator": default,
                "created_at": 0.0,
            }
            await connection.execute(collaborations.insert(), made | given)
        for name in (*SITES, LAGOON, "Elsewhere"):
            of = ELSEWHERE if name == "Elsewhere" else ISLANDS
            member = {"collaboration_id": of, "organization_id": f"org_{name}"}
            await connection.execute(collaboration_organizations.insert(), member)
        await connection.execute(
            algorithms.insert(),
            {
                "digest": "sha256:0",
                "dialect": "functions",
                "name": "mean",
                "manifest": "{}",
                "size_bytes": 1,
                "created_at": 0.0,
            },
        )
        for each in (ISLANDS, ELSEWHERE):
            at = {
                "digest": "sha256:0",
                "collaboration_id": each,
                "uploader_id": "usr_ada",
                "organization_id": "org_Biscoe",
            }
            await connection.execute(algorithm_places.insert(), at | {"created_at": 0.0})
        for position, name in enumerate(SITES):
            node = {"collaboration_id": ISLANDS, "node_id": f"nod_{name}", "position": position}
            await connection.execute(collaboration_nodes.insert(), node)
    return Islands(
        app=app,
        ada=person("ada", "Biscoe", ISLANDS),
        bob=person("bob", "Dream", ISLANDS),
        eve=person("eve", "Elsewhere", ELSEWHERE),
        root=person("root", "Elsewhere", ELSEWHERE, role="administrator"),
    )


def person(name: str, organization: str, collaboration: str, role: str = "researcher") -> Principal:
    """Somebody with a role."""
    return Principal(
        kind=Kind.USER,
        id=f"usr_{name}",
        name=name,
        organization_id=f"org_{organization}",
        collaborations=frozenset({collaboration}),
        peers=frozenset({f"org_{organization}"}),
        grants=grants(ROLES[role]),
    )


def a_run(dialect: str = "functions", *, aggregated: bool = False, **how: object) -> Submission:
    """A run of one step at all islands."""
    step = NewStep(
        algorithm=Algorithm(dialect=dialect, digest="sha256:0", name="mean"),
        aggregated=aggregated,
        openings=(Opening(body=b"{}"),),
    )
    return Submission(**{"collaboration": ISLANDS, "steps": (step,), **how})  # type: ignore[arg-type]  # what a test varies
