"""Files of runs at a hub: who may bring them, who may read them, and what of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.federation import blob_of, in_chunks, joined, said
from tests.hub_app import hub_app
from tests.hub_people import LAGOON, SITES, Islands, a_run, islands
from tests.postgres import Postgres
from tests.run_stores import DATABASES
from tests.served import key_of, know

from atoll.engine.limits import FILE_BYTES_AHEAD_MAX, FILE_BYTES_PER_CALL_MAX
from atoll.hub.blobs.service import Blobs
from atoll.hub.principal import Kind, Principal
from atoll.hub.runs.service import Runs
from atoll.hub.sites.protocol import Nodes
from atoll.model.errors import (
    BlobMismatch,
    Malformed,
    NotAllowed,
    NotThere,
    QuotaReached,
    StaleEvent,
    Taken,
    TooLarge,
)
from atoll.model.events import JobReported
from atoll.model.work import RunId, Ticket
from atoll.stores.objects import OffsetWrong
from atoll.transports.forms import Claim

Visit = Callable[[Islands], Awaitable[Any]]
MAPS = blob_of(b"maps of the brain", "t1.nii")
BISCOE, DREAM, TORGERSEN = SITES
BEFORE = RunId("run_aaaaaaaaaaaaaaaaaaaaaaaaaa")


#: Where the hub of a test keeps what it knows; None: in a file.
_databases: list[str | None] = [None]


@pytest.fixture(params=DATABASES, autouse=True)
def _database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every kind of database."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        _databases.append(server.make("atoll_nodes"))
    else:
        _databases.append(None)
    yield
    _databases.pop()


def at(folder: Path, visit: Visit, **quotas: int) -> Any:
    """Visit a hub with islands."""

    async def whole() -> Any:
        async with hub_app(folder, _databases[-1]) as app:
            return await visit(await islands(app, **quotas))

    return asyncio.run(whole())


def node(name: str) -> Principal:
    """A node."""
    return Principal(kind=Kind.NODE, id=f"nod_{name}", name=name, organization_id=f"org_{name}")


def coinstac() -> Any:
    """A run whose sites send to an aggregator."""
    return a_run("coinstac", aggregated=True)


async def claim(place: Islands, name: str) -> Ticket:
    """A node's next job."""
    ticket = await place.rooms.of(Nodes).claim(node(name), Claim())
    assert ticket is not None
    return ticket


async def bring(place: Islands, who: Principal, run_id: RunId, content: bytes = b"maps of the brain") -> None:
    """Bring a file, whole."""
    blobs, blob = place.rooms.of(Blobs), blob_of(content)
    await blobs.announce(who, run_id, blob.digest, blob.size_bytes)
    assert (await blobs.append(who, run_id, blob.digest, 0, in_chunks(content))).is_whole


async def finished(place: Islands) -> RunId:
    """A run that is done, with the maps among its results."""
    run_id = await place.rooms.of(Runs).submit(place.ada, a_run())
    for name in SITES:
        ticket = await claim(place, name)
        await bring(place, node(name), run_id)
        await report(place, ticket)
    return run_id


async def report(place: Islands, ticket: Ticket) -> None:
    """A job is done, and has left the maps."""
    event = JobReported(
        run_id=ticket.job.run_id,
        job_id=ticket.job.id,
        attempt=ticket.job.attempt,
        outcome=said(ticket, blobs=(MAPS,)),
    )
    await place.rooms.of(Nodes).report(node(ticket.job.seat), event)


async def read(
    place: Islands, who: Principal, run_id: RunId, start: int = 0, end: int | None = None
) -> bytes:
    """What somebody reads of the maps."""
    stretch = await place.rooms.of(Blobs).read(who, run_id, MAPS.digest, start, end)
    return await joined(stretch.chunks)


# --- Who may read -----------------------------------------------------------------------------


def test_a_file_is_read_by_whom_a_message_that_names_it_is_for(tmp_path: Path) -> None:
    async def visit(place: Islands) -> bytes:
        run_id = await place.rooms.of(Runs).submit(place.ada, coinstac())
        ticket = await claim(place, BISCOE)
        await bring(place, node(BISCOE), run_id)
        with pytest.raises(NotThere):
            await read(place, node(LAGOON), run_id)
        await report(place, ticket)
        for other in (DREAM, TORGERSEN, BISCOE, "Elsewhere"):
            with pytest.raises(NotThere):
                await read(place, node(other), run_id)
        return await read(place, node(LAGOON), run_id)

    assert b"maps of the brain" == at(tmp_path, visit)


def test_a_digest_gives_nothing_of_another_run(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        runs = [await place.rooms.of(Runs).submit(place.ada, coinstac()) for _ in range(2)]
        ticket = await claim(place, BISCOE)
        await bring(place, node(BISCOE), ticket.job.run_id)
        await report(place, ticket)

        (other,) = {*runs} - {ticket.job.run_id}
        for who in (node(LAGOON), place.ada):
            with pytest.raises(NotThere):
                await read(place, who, other)

    at(tmp_path, visit)


def test_people_read_files_of_runs_whose_results_they_may_see(tmp_path: Path) -> None:
    async def visit(place: Islands) -> list[bytes]:
        run_id = await finished(place)
        under_way = await place.rooms.of(Runs).submit(place.ada, coinstac())
        ticket = await claim(place, BISCOE)
        await bring(place, node(BISCOE), under_way)
        await report(place, ticket)
        with pytest.raises(NotThere):  # What sites send to each other is no result.
            await read(place, place.ada, under_way)
        with pytest.raises(NotThere):
            await read(place, place.eve, run_id)
        return [await read(place, who, run_id) for who in (place.ada, place.root)]

    assert [b"maps of the brain"] * 2 == at(tmp_path, visit)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 4, b"maps"), (5, 7, b"of"), (12, None, b"brain"), (12, 99, b"brain"), (99, None, b""), (5, 5, b"")],
)
def test_a_stretch_of_a_file_is_read(tmp_path: Path, start: int, end: int | None, expected: bytes) -> None:
    async def visit(place: Islands) -> bytes:
        return await read(place, place.ada, await finished(place), start, end)

    assert expected == at(tmp_path, visit)


# --- Who may bring ----------------------------------------------------------------------------


def test_a_node_brings_nothing_to_runs_that_it_is_no_part_of(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        run_id = await place.rooms.of(Runs).submit(place.ada, coinstac())
        for name, to in (("Elsewhere", run_id), (BISCOE, BEFORE)):
            with pytest.raises(NotThere):
                await bring(place, node(name), to)

    at(tmp_path, visit)


def test_a_person_brings_files_to_a_run_of_his_own_before_he_submits_it(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        await bring(place, place.ada, BEFORE)
        with pytest.raises(NotThere):
            await bring(place, place.bob, BEFORE, b"others")
        more = blob_of(b"more maps", "t2.nii")
        await place.rooms.of(Blobs).announce(place.ada, BEFORE, more.digest, more.size_bytes)
        with pytest.raises(NotThere, match="announce it first"):
            await place.rooms.of(Blobs).append(place.bob, BEFORE, more.digest, 0, in_chunks(b"another's"))
        await place.rooms.of(Runs).submit(place.ada, a_run(id=BEFORE))
        with pytest.raises(NotAllowed, match="was submitted already"):
            await bring(place, place.ada, BEFORE, b"more")
        with pytest.raises(NotThere):
            await bring(place, place.bob, BEFORE, b"others")

    at(tmp_path, visit)


def test_who_submits_nothing_fills_no_disk(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        blobs, half = place.rooms.of(Blobs), FILE_BYTES_AHEAD_MAX // 2
        for _ in range(3):
            await blobs.announce(place.ada, BEFORE, MAPS.digest, half)
        other = RunId(BEFORE.replace("a", "b"))
        with pytest.raises(QuotaReached, match="not submitted"):
            await blobs.announce(place.ada, other, blob_of(b"more").digest, half + 1)
        await blobs.announce(place.bob, other, blob_of(b"more").digest, half + 1)

    at(tmp_path, visit)


def test_nothing_is_brought_to_a_run_that_has_ended(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        run_id = await place.rooms.of(Runs).submit(place.ada, coinstac())
        await place.rooms.of(Runs).cancel(place.ada, run_id, "")
        with pytest.raises(StaleEvent, match="has ended"):
            await bring(place, node(BISCOE), run_id)

    at(tmp_path, visit)


def test_a_collaboration_brings_no_more_than_it_may(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        run_id = await place.rooms.of(Runs).submit(place.ada, coinstac())
        await bring(place, node(BISCOE), run_id)
        with pytest.raises(QuotaReached, match="remove old runs"):
            await bring(place, node(DREAM), run_id, b"fifteen letters")

    at(tmp_path, visit, bytes_max=30)


def test_what_was_not_announced_or_otherwise_is_refused(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        run_id = await place.rooms.of(Runs).submit(place.ada, coinstac())
        blobs, who = place.rooms.of(Blobs), node(BISCOE)
        with pytest.raises(NotThere, match="announce it first"):
            await blobs.append(who, run_id, MAPS.digest, 0, in_chunks(b"maps"))
        with pytest.raises(TooLarge):
            await blobs.announce(who, run_id, MAPS.digest, FILE_BYTES_PER_CALL_MAX + 1)
        with pytest.raises(Malformed, match="is not a digest"):
            await blobs.announce(who, run_id, "sha256:../../etc/passwd", 1)
        await blobs.announce(who, run_id, MAPS.digest, 17)
        with pytest.raises(Taken, match="of another size"):
            await blobs.announce(who, run_id, MAPS.digest, 18)
        with pytest.raises(OffsetWrong, match="go on at byte 0"):
            await blobs.append(who, run_id, MAPS.digest, 4, in_chunks(b"maps"))
        with pytest.raises(BlobMismatch):
            await blobs.append(who, run_id, MAPS.digest, 0, in_chunks(b"maps of the heart"))
        with pytest.raises(NotThere, match="announce it first"):
            await blobs.append(who, run_id, MAPS.digest, 0, in_chunks(b"maps"))

    at(tmp_path, visit)


def test_a_message_whose_files_were_not_brought_is_refused(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        await place.rooms.of(Runs).submit(place.ada, coinstac())
        with pytest.raises(Malformed, match="before the message that names it"):
            await report(place, await claim(place, BISCOE))

    at(tmp_path, visit)


# --- What is swept ----------------------------------------------------------------------------


def test_files_of_a_run_that_nobody_submits_are_dropped_after_a_day(tmp_path: Path) -> None:
    async def visit(place: Islands) -> None:
        blobs = place.rooms.of(Blobs)
        await bring(place, place.ada, BEFORE)
        run_id = await place.rooms.of(Runs).submit(place.ada, coinstac())
        await bring(place, node(BISCOE), run_id)
        place.app.clock.move(86_399)
        await blobs.sweep()
        assert await blobs.is_there(BEFORE, MAPS)
        place.app.clock.move(2)
        await blobs.sweep()
        assert not await blobs.is_there(BEFORE, MAPS)
        assert await blobs.is_there(run_id, MAPS)
        await bring(place, place.ada, BEFORE)

    at(tmp_path, visit)


# --- Over HTTP --------------------------------------------------------------------------------


def test_ranges_and_offsets_are_told_as_http_tells_them(tmp_path: Path) -> None:
    async def visit(place: Islands) -> list[Any]:
        await know(place.app, BISCOE)
        caller = place.app.anybody
        token = (await caller.post("/v1/node/token", {"key": key_of(BISCOE)})).json["access_token"]
        run_id = await place.rooms.of(Runs).submit(place.ada, a_run())
        ticket = await claim(place, BISCOE)
        site = caller.as_(token)
        uploads = f"/v1/runs/{run_id}/uploads"
        announced = await site.post(uploads, {"digest": MAPS.digest, "size": 17})
        wrong = await site.patch(f"{uploads}/{MAPS.digest}", b"brain", upload_offset="5")
        none = await site.patch(f"{uploads}/{MAPS.digest}", b"brain")
        first = await site.patch(f"{uploads}/{MAPS.digest}", b"maps ", upload_offset="0")
        rest = await site.patch(f"{uploads}/{MAPS.digest}", b"of the brain", upload_offset="5")
        await report(place, ticket)
        path = f"/v1/runs/{run_id}/blobs/{MAPS.digest}"
        part = await site.get(path, range="bytes=5-6")
        beyond = await site.get(path, range="bytes=17-")
        odd = await site.get(path, range="lines=1-2")
        assert {"offset": 0} == announced.json
        assert (409, "0", {"offset": 0}) == (wrong.status, wrong.headers["upload-offset"], wrong.json)
        assert (422, "Malformed") == (none.status, none.code)
        assert [{"offset": 5}, {"offset": 17, "whole": True}] == [first.json, rest.json]
        assert (206, b"of", "bytes 5-6/17", "2") == (
            part.status,
            part.body,
            part.headers["content-range"],
            part.headers["content-length"],
        )
        assert (416, b"", "bytes */17") == (beyond.status, beyond.body, beyond.headers["content-range"])
        assert (422, "Malformed") == (odd.status, odd.code)
        whole = await site.get(path)
        return [whole.status, whole.body, whole.headers["content-disposition"]]

    assert [200, b"maps of the brain", "attachment"] == at(tmp_path, visit)
