"""Who may bring, see, fetch and remove an algorithm, and what is taken as one."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ParamSpec

import pytest
from sqlalchemy import insert, update
from tests.hub_app import HubApp, hub_app

from atoll.algorithms.bundle import Bundle
from atoll.algorithms.packing import pack
from atoll.hub.algorithms.service import Algorithms, manifest_of
from atoll.hub.principal import Kind, Principal
from atoll.model.errors import BlobMismatch, Malformed, NotAllowed, NotThere, QuotaReached, Taken, TooLarge
from atoll.model.scopes import Reach
from atoll.model.work import Algorithm, Message, MessageId, Run, RunId, Seat, Step
from atoll.stores.sql.people_tables import collaboration_organizations, collaborations, organizations
from atoll.stores.sql.run_tables import runs

P = ParamSpec("P")
MEAN = (
    "from atoll_algorithm import Table, partial\n\n@partial\ndef mean(table: Table, column: str):\n    pass\n"
)
ISLANDS, REEF = "col_islands", "col_reef"


def in_a_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """A test that awaits."""

    @functools.wraps(test)
    def run(*given: P.args, **named: P.kwargs) -> None:
        asyncio.run(test(*given, **named))

    return run


def _person(name: str, organization: str, *places: str, reach: Reach = Reach.COLLABORATION) -> Principal:
    rights = {f"algorithm:{operation}": reach for operation in ("view", "create", "delete")}
    return Principal(
        kind=Kind.USER,
        id=f"usr_{name}",
        name=name,
        organization_id=organization,
        collaborations=frozenset(places),
        grants=rights,
    )


ADA = _person("ada", "org_biscoe", ISLANDS)
BEN = _person("ben", "org_dream", ISLANDS)
EVE = _person("eve", "org_else", REEF)
NODE = Principal(kind=Kind.NODE, id="nod_1", name="Biscoe", organization_id="org_biscoe")


@asynccontextmanager
async def _hub(tmp_path: Path, bytes_max: int | None = None) -> AsyncIterator[tuple[HubApp, Algorithms]]:
    async with hub_app(tmp_path) as app:
        async with app.parts.database.writing() as connection:
            for name in ("org_biscoe", "org_dream", "org_else"):
                row: dict[str, object] = {"id": name, "name": name, "name_key": name, "created_at": 0}
                await connection.execute(insert(organizations), row)
            for place in (ISLANDS, REEF):
                row = {column.name: None for column in collaborations.columns}
                row |= {"id": place, "name": place, "created_at": 0, "bytes_max": bytes_max}
                if "name_key" in row:
                    row["name_key"] = place
                await connection.execute(insert(collaborations), row)
            for place, who in ((ISLANDS, "org_biscoe"), (ISLANDS, "org_dream"), (REEF, "org_else")):
                await connection.execute(
                    insert(collaboration_organizations), {"collaboration_id": place, "organization_id": who}
                )
        yield app, app.app.state.rooms.of(Algorithms)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    folder = tmp_path / "mean"
    folder.mkdir()
    (folder / "mean.py").write_text(MEAN)
    return pack(folder, tmp_path)


async def _of(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]


async def _brought(rooms: Algorithms, bundle: Bundle, who: Principal = ADA, place: str = ISLANDS) -> bool:
    _, new = await rooms.bring(who, bundle.digest, place, _of(bundle.path.read_bytes()))
    return new


async def _content(rooms: Algorithms, who: Principal, digest: str) -> bytes:
    _, chunks = await rooms.bundle(who, digest)
    return b"".join([chunk async for chunk in chunks])


@in_a_loop
async def test_what_was_brought_can_be_fetched_by_who_is_in_the_collaboration(
    tmp_path: Path, bundle: Bundle
) -> None:
    async with _hub(tmp_path) as (_, rooms):
        assert await _brought(rooms, bundle)

        assert await _content(rooms, BEN, bundle.digest) == bundle.path.read_bytes()
        assert [one.digest for one in await rooms.listed(BEN, None, (), 10)] == [bundle.digest]
        assert manifest_of((await rooms.get(BEN, bundle.digest))[0]) == bundle.manifest


@in_a_loop
async def test_bringing_it_again_changes_nothing(tmp_path: Path, bundle: Bundle) -> None:
    async with _hub(tmp_path) as (app, rooms):
        await _brought(rooms, bundle)
        app.clock.move(10)

        assert not await _brought(rooms, bundle, BEN)
        (kept,) = await rooms.get(ADA, bundle.digest)
        assert kept.uploader == ADA.id


@in_a_loop
async def test_who_knows_a_digest_gets_nothing_by_it(tmp_path: Path, bundle: Bundle) -> None:
    async with _hub(tmp_path) as (_, rooms):
        await _brought(rooms, bundle)

        assert not await rooms.has(EVE, bundle.digest, None)
        assert not await rooms.listed(EVE, None, (), 10)
        with pytest.raises(NotThere):
            await rooms.get(EVE, bundle.digest)
        with pytest.raises(NotThere):
            await rooms.bundle(EVE, bundle.digest)
        with pytest.raises(NotThere):
            await rooms.remove(EVE, bundle.digest, ISLANDS)


@in_a_loop
async def test_a_collaboration_has_what_somebody_brought_there_and_no_other(
    tmp_path: Path, bundle: Bundle
) -> None:
    async with _hub(tmp_path) as (_, rooms):
        await _brought(rooms, bundle)
        assert await _brought(rooms, bundle, EVE, REEF)

        assert [one.collaboration for one in await rooms.get(EVE, bundle.digest)] == [REEF]
        await rooms.check(REEF, [bundle.digest])
        with pytest.raises(Malformed, match="has no algorithm"):
            await rooms.check("col_other", [bundle.digest])


@in_a_loop
async def test_nobody_brings_anything_to_a_collaboration_of_others(tmp_path: Path, bundle: Bundle) -> None:
    async with _hub(tmp_path) as (_, rooms):
        for who, place in ((EVE, ISLANDS), (ADA, "col_nowhere")):
            with pytest.raises(NotThere):
                await _brought(rooms, bundle, who, place)
        nobody = _person("nil", "org_biscoe", ISLANDS)
        with pytest.raises(NotAllowed):
            await _brought(
                rooms,
                bundle,
                Principal(
                    kind=Kind.USER,
                    id=nobody.id,
                    name="nil",
                    organization_id="org_biscoe",
                    collaborations=frozenset({ISLANDS}),
                ),
            )


@in_a_loop
async def test_what_has_another_digest_is_not_taken(tmp_path: Path, bundle: Bundle) -> None:
    async with _hub(tmp_path) as (_, rooms):
        with pytest.raises(BlobMismatch):
            await rooms.bring(ADA, "sha256:" + "0" * 64, ISLANDS, _of(bundle.path.read_bytes()))
        with pytest.raises(Malformed, match="no digest"):
            await rooms.bring(ADA, "../etc", ISLANDS, _of(b""))

        assert not await rooms.listed(ADA, None, (), 10)


@in_a_loop
async def test_what_is_no_bundle_is_not_taken(tmp_path: Path) -> None:
    content = b"no bundle"
    async with _hub(tmp_path) as (_, rooms):
        with pytest.raises(Malformed, match="not a plain file"):
            await rooms.bring(ADA, f"sha256:{hashlib.sha256(content).hexdigest()}", ISLANDS, _of(content))


@in_a_loop
async def test_more_than_a_bundle_may_have_is_not_taken(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.hub.algorithms.service.BUNDLE_BYTES_MAX", 2_000)
    async with _hub(tmp_path) as (_, rooms):
        with pytest.raises(TooLarge):
            await _brought(rooms, bundle)


@in_a_loop
async def test_a_collaboration_has_no_more_than_it_may(tmp_path: Path, bundle: Bundle) -> None:
    async with _hub(tmp_path, bytes_max=bundle.size_bytes - 1) as (_, rooms):
        with pytest.raises(QuotaReached):
            await _brought(rooms, bundle)


async def _submitted(app: HubApp, run_id: str, digest: str, place: str) -> None:
    """A run at a collaboration, for the node of Biscoe."""
    opening = Message(id=MessageId("o"), sender=Seat("submitter"), readers=(), body=b"x")
    algorithm = Algorithm(dialect="functions", digest=digest, name="mean")
    step = Step(algorithm=algorithm, aggregated=False, openings=(opening.id,))
    run = Run(id=RunId(run_id), steps=(step,), sites=(Seat("Biscoe"),), aggregator=None, iterations_max=1)

    async def also() -> None:
        async with app.parts.database.writing() as connection:
            await connection.execute(update(runs).where(runs.c.id == run_id).values(collaboration_id=place))

    await app.parts.hub.submit(run, [opening], also)


@in_a_loop
async def test_a_node_gets_what_a_job_of_its_own_needs_and_nothing_else(
    tmp_path: Path, bundle: Bundle
) -> None:
    async with _hub(tmp_path) as (app, rooms):
        await _brought(rooms, bundle)
        with pytest.raises(NotThere):
            await rooms.bundle(NODE, bundle.digest)
        await _submitted(app, "run_1", bundle.digest, ISLANDS)

        assert await _content(rooms, NODE, bundle.digest) == bundle.path.read_bytes()
        with pytest.raises(NotThere):
            await rooms.bundle(NODE, "sha256:" + "0" * 64)


@in_a_loop
async def test_a_run_that_names_the_digest_of_another_collaborations_algorithm_gets_nothing_by_it(
    tmp_path: Path, bundle: Bundle
) -> None:
    async with _hub(tmp_path) as (app, rooms):
        await _brought(rooms, bundle)
        await _submitted(app, "run_1", bundle.digest, REEF)

        with pytest.raises(NotThere, match="that a job of Biscoe needs"):
            await rooms.bundle(NODE, bundle.digest)


@in_a_loop
async def test_what_was_removed_everywhere_is_gone(tmp_path: Path, bundle: Bundle) -> None:
    async with _hub(tmp_path) as (_, rooms):
        await _brought(rooms, bundle)
        await _brought(rooms, bundle, EVE, REEF)
        await rooms.remove(ADA, bundle.digest, ISLANDS)

        assert await _content(rooms, EVE, bundle.digest)
        await rooms.remove(EVE, bundle.digest, REEF)
        with pytest.raises(NotThere):
            await rooms.get(EVE, bundle.digest)
        assert await _brought(rooms, bundle)


@in_a_loop
async def test_a_page_goes_on_where_the_one_before_ended(tmp_path: Path) -> None:
    async with _hub(tmp_path) as (app, rooms):
        for number in range(3):
            folder = tmp_path / f"mean{number}"
            folder.mkdir()
            (folder / "mean.py").write_text(f"{MEAN}# {number}\n")
            await _brought(rooms, pack(folder, tmp_path))
            app.clock.move(1)
        first = await rooms.listed(ADA, ISLANDS, (), 2)
        last = first[-1]

        rest = await rooms.listed(ADA, ISLANDS, (last.created_at, last.digest, last.collaboration), 2)
        assert len({one.digest for one in (*first, *rest)}) == 3
        assert not await rooms.listed(ADA, REEF, (), 2)


@in_a_loop
async def test_a_file_that_is_gone_is_told(tmp_path: Path, bundle: Bundle) -> None:
    async with _hub(tmp_path) as (app, rooms):
        await _brought(rooms, bundle)
        await app.parts.blobs.clear()

        with pytest.raises((NotThere, Taken)):
            await rooms.bundle(ADA, bundle.digest)
