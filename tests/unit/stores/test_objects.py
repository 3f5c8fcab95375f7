"""Files of runs come in parts, and each run has its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation import blob_of, in_chunks, joined

from atoll.engine.limits import PART_BYTES
from atoll.model.errors import BlobMismatch, Malformed, NotThere, TooLarge, Unusable
from atoll.model.work import Blob, RunId
from atoll.stores.objects import Arrived, ObjectBlobStore, OffsetWrong

RUN, OTHER = RunId("run_1"), RunId("run_2")
TEXT = b"maps of the brain"
MAPS = blob_of(TEXT)
PARTS = [Arrived(offset=5, is_whole=False), Arrived(offset=17, is_whole=True)]


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where files are kept."""
    return str(tmp_path / "blobs") if request.param == "folder" else "memory:"


async def append(store: ObjectBlobStore, offset: int, content: bytes, blob: Blob = MAPS) -> Arrived:
    """Bring a part."""
    return await store.append(RUN, blob, offset, in_chunks(content, 3))


async def bring(store: ObjectBlobStore) -> list[Arrived]:
    """Bring the maps in two parts."""
    return [await append(store, 0, TEXT[:5]), await append(store, 5, TEXT[5:])]


def test_a_file_comes_in_parts_and_is_there_when_it_is_whole(url: str) -> None:
    async def work() -> list[Any]:
        store = ObjectBlobStore(url)
        seen: list[Any] = [await store.arrived(RUN, MAPS.digest)]
        seen.append(await append(store, 0, TEXT[:5]))
        with pytest.raises(NotThere):
            await store.size_bytes(RUN, MAPS.digest)
        with pytest.raises(NotThere):
            await joined(store.read(RUN, MAPS.digest))
        seen += [await append(store, 5, TEXT[5:]), await store.arrived(RUN, MAPS.digest)]
        return [*seen, await store.size_bytes(RUN, MAPS.digest), await joined(store.read(RUN, MAPS.digest))]

    none = Arrived(offset=0, is_whole=False)
    assert [none, *PARTS, PARTS[-1], 17, TEXT] == asyncio.run(work())


def test_another_replica_goes_on_where_one_has_ended(tmp_path: Path) -> None:
    async def work() -> list[Arrived]:
        url = str(tmp_path)
        return [
            await append(ObjectBlobStore(url), 0, TEXT[:5]),
            await append(ObjectBlobStore(url), 5, TEXT[5:]),
        ]

    assert PARTS == asyncio.run(work())


def test_a_part_that_begins_elsewhere_is_refused_with_where_it_should(url: str) -> None:
    async def work() -> list[int]:
        store = ObjectBlobStore(url)
        offsets = []
        for offset in (3, 17):
            with pytest.raises(OffsetWrong) as refused:
                await append(store, offset, TEXT[offset:])
            offsets.append(refused.value.offset)
        await append(store, 0, TEXT[:5])
        with pytest.raises(OffsetWrong) as refused:
            await append(store, 0, TEXT[:5])
        return [*offsets, refused.value.offset]

    assert [0, 0, 5] == asyncio.run(work())


def test_a_part_that_breaks_off_is_not_kept(url: str) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield TEXT[5:8]
        raise ConnectionError("the line is dead")

    async def work() -> list[Arrived]:
        store = ObjectBlobStore(url)
        first = await append(store, 0, TEXT[:5])
        with pytest.raises(ConnectionError):
            await store.append(RUN, MAPS, 5, broken())
        return [first, await append(store, 5, TEXT[5:])]

    assert PARTS == asyncio.run(work())


def test_what_is_not_what_it_is_named_by_is_dropped_and_can_come_anew(url: str) -> None:
    async def work() -> list[Arrived]:
        store = ObjectBlobStore(url)
        await append(store, 0, b"MAPS ")
        with pytest.raises(BlobMismatch, match="expected 17 bytes with sha256"):
            await append(store, 5, TEXT[5:])
        with pytest.raises(BlobMismatch, match="more has arrived"):
            await append(store, 0, TEXT + b"!")
        return await bring(store)

    assert PARTS == asyncio.run(work())


def test_what_is_whole_is_not_written_again(url: str) -> None:
    async def work() -> Arrived:
        store = ObjectBlobStore(url)
        await bring(store)
        return await append(store, 0, b"other")

    assert PARTS[-1] == asyncio.run(work())


def test_two_that_bring_the_same_part_leave_one(url: str) -> None:
    async def work() -> tuple[int, bytes]:
        store = ObjectBlobStore(url)
        answers = await asyncio.gather(*(append(store, 0, TEXT) for _ in range(4)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        return len(refused), await joined(store.read(RUN, MAPS.digest))

    assert (0, TEXT) == asyncio.run(work())


def test_a_run_has_its_files_for_itself(url: str) -> None:
    async def work() -> tuple[Arrived, bytes]:
        store = ObjectBlobStore(url)
        await bring(store)
        elsewhere = await store.arrived(OTHER, MAPS.digest)
        with pytest.raises(NotThere):
            await joined(store.read(OTHER, MAPS.digest))
        await store.remove(OTHER)
        kept = await joined(store.read(RUN, MAPS.digest))
        await store.remove(RUN)
        with pytest.raises(NotThere):
            await joined(store.read(RUN, MAPS.digest))
        return elsewhere, kept

    assert (Arrived(offset=0, is_whole=False), TEXT) == asyncio.run(work())


@pytest.mark.parametrize(
    ("run", "digest"),
    [
        ("../run_1", MAPS.digest),
        ("", MAPS.digest),
        ("run/1", MAPS.digest),
        (".run", MAPS.digest),
        ("run_1", "sha256:../../etc/passwd"),
        ("run_1", "sha256:" + "A" * 64),
        ("run_1", ""),
    ],
)
def test_no_name_leads_elsewhere(url: str, run: str, digest: str) -> None:
    store = ObjectBlobStore(url)
    blob = Blob(name="file", digest=digest, size_bytes=1)

    with pytest.raises(Malformed):
        asyncio.run(store.append(RunId(run), blob, 0, in_chunks(b"x")))
    with pytest.raises(Malformed):
        store.read(RunId(run), digest)


def test_a_part_is_no_larger_than_a_hub_holds(url: str) -> None:
    blob = Blob(name="file", digest=MAPS.digest, size_bytes=10 * PART_BYTES)

    with pytest.raises(TooLarge):
        asyncio.run(ObjectBlobStore(url).append(RUN, blob, 0, in_chunks(bytes(PART_BYTES + 1), 1 << 20)))


def test_a_place_of_no_known_kind_is_refused() -> None:
    with pytest.raises(Unusable, match="expected a folder"):
        ObjectBlobStore("gopher://hole")


@given(cuts=st.lists(st.integers(1, 16), max_size=4), start=st.integers(0, 20), length=st.integers(0, 20))
@settings(max_examples=40)
def test_how_a_file_was_cut_into_parts_makes_no_difference(cuts: list[int], start: int, length: int) -> None:
    async def work() -> bytes:
        store = ObjectBlobStore("memory:")
        edges = [0, *sorted(set(cuts)), len(TEXT)]
        for low, high in pairwise(edges):
            await append(store, low, TEXT[low:high])
        return await joined(store.read(RUN, MAPS.digest, start, length))

    assert TEXT[start : start + length] == asyncio.run(work())
