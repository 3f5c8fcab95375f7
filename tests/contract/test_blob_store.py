"""What every store of blobs promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation import blob_of, in_chunks, joined

from atoll.engine.limits import CHUNK_BYTES
from atoll.engine.ports import BlobStore
from atoll.model.errors import BlobMismatch
from atoll.model.work import Blob, RunId
from atoll.stores.folder import FolderBlobStore
from atoll.stores.memory import MemoryBlobStore
from atoll.stores.objects import ObjectBlobStore

STORES: dict[str, Callable[[Path], BlobStore]] = {
    "memory": lambda _: MemoryBlobStore(),
    "folder": lambda root: FolderBlobStore(root / "blobs"),
    "objects of a run in a folder": lambda root: ObjectBlobStore(str(root / "blobs")).of(RunId("run_1")),
    "objects of a run in memory": lambda _: ObjectBlobStore("memory:").of(RunId("run_1")),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """An empty store of each kind."""
    return STORES[request.param](tmp_path)


def kept(store: BlobStore, blob: Blob) -> bool:
    """Whether the store has content under this digest."""
    try:
        asyncio.run(joined(store.get(blob)))
    except BlobMismatch:
        return False
    return True


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7])
def test_what_was_kept_comes_back(store: BlobStore, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    asyncio.run(store.put(blob_of(content), in_chunks(content)))

    assert content == asyncio.run(joined(store.get(blob_of(content))))


def test_content_comes_in_chunks_that_are_never_large(store: BlobStore) -> None:
    content = b"x" * (3 * CHUNK_BYTES + 1)
    asyncio.run(store.put(blob_of(content), in_chunks(content, len(content))))

    async def sizes() -> list[int]:
        return [len(chunk) async for chunk in store.get(blob_of(content))]

    found = asyncio.run(sizes())
    assert len(content) == sum(found)
    assert max(found) <= CHUNK_BYTES
    assert min(found) > 0


@given(content=st.binary(max_size=100), size=st.integers(1, 100))
@settings(max_examples=30)
def test_how_content_was_cut_makes_no_difference(content: bytes, size: int) -> None:
    store = MemoryBlobStore()
    asyncio.run(store.put(blob_of(content), in_chunks(content, size)))

    assert content == asyncio.run(joined(store.get(blob_of(content))))


def test_content_that_is_kept_twice_is_kept_once_under_both_names(store: BlobStore) -> None:
    for name in ("one", "two", "one"):
        asyncio.run(store.put(blob_of(b"same", name), in_chunks(b"same")))

    assert b"same" == asyncio.run(joined(store.get(blob_of(b"same", "one"))))
    assert b"same" == asyncio.run(joined(store.get(blob_of(b"same", "two"))))


def test_content_that_comes_from_many_sites_at_once_is_kept(store: BlobStore) -> None:
    contents = [bytes([number % 3]) * 200_000 for number in range(12)]

    async def together() -> list[bytes]:
        await asyncio.gather(*(store.put(blob_of(each), in_chunks(each, 4096)) for each in contents))
        return list(await asyncio.gather(*(joined(store.get(blob_of(each))) for each in contents)))

    assert contents == asyncio.run(together())


@pytest.mark.parametrize(
    ("announced", "arrives"),
    [
        (blob_of(b"announced"), b"something"),
        (blob_of(b"announced"), b"announced and more"),
        (blob_of(b"announced"), b""),
        (Blob(name="file", digest=blob_of(b"announced").digest, size_bytes=10), b"announced"),
        (Blob(name="file", digest="sha256:../../escaped", size_bytes=9), b"announced"),
    ],
)
def test_what_is_not_as_announced_is_not_kept(store: BlobStore, announced: Blob, arrives: bytes) -> None:
    with pytest.raises(BlobMismatch) as refused:
        asyncio.run(store.put(announced, in_chunks(arrives)))

    actual = blob_of(arrives)
    assert str(refused.value) == (
        f"what arrived of 'file' is {len(arrives)} bytes with {actual.digest}: "
        f"expected {announced.size_bytes} bytes with {announced.digest}"
    )
    assert not kept(store, announced)
    assert not kept(store, actual)


def test_what_was_kept_before_outlives_a_false_arrival(store: BlobStore) -> None:
    asyncio.run(store.put(blob_of(b"true"), in_chunks(b"true")))

    with pytest.raises(BlobMismatch):
        asyncio.run(store.put(blob_of(b"true"), in_chunks(b"false")))

    assert b"true" == asyncio.run(joined(store.get(blob_of(b"true"))))


def test_content_that_breaks_off_is_not_kept(store: BlobStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"anno"
        raise ConnectionError("the line is dead")

    with pytest.raises(ConnectionError):
        asyncio.run(store.put(blob_of(b"announced"), broken()))

    assert not kept(store, blob_of(b"announced"))
    assert not kept(store, blob_of(b"anno"))


@pytest.mark.parametrize(
    "digest",
    [
        f"sha256:{'0' * 64}",
        "sha256:",
        "",
        "md5:0",
        f"sha256:{'G' * 64}",
        "sha256:../../../etc/passwd",
        f"sha256:{'../' * 21}a",
    ],
)
def test_nothing_is_found_under_a_digest_that_was_never_kept(store: BlobStore, digest: str) -> None:
    asyncio.run(store.put(blob_of(b"other"), in_chunks(b"other")))

    with pytest.raises(BlobMismatch):
        asyncio.run(joined(store.get(Blob(name="file", digest=digest, size_bytes=1))))


def test_a_store_that_was_cleared_knows_nothing_and_keeps_again(store: BlobStore) -> None:
    asyncio.run(store.clear())
    asyncio.run(store.put(blob_of(b"a"), in_chunks(b"a")))
    asyncio.run(store.clear())
    cleared = not kept(store, blob_of(b"a"))
    asyncio.run(store.put(blob_of(b"b"), in_chunks(b"b")))

    assert cleared
    assert b"b" == asyncio.run(joined(store.get(blob_of(b"b"))))


# --- What only a store in a folder can get wrong ----------------------------------------------


def test_a_folder_holds_one_file_for_each_content_and_nothing_half_done(tmp_path: Path) -> None:
    store = FolderBlobStore(tmp_path / "blobs")
    for content in (b"a", b"b", b"a"):
        asyncio.run(store.put(blob_of(content), in_chunks(content)))
    for wrong in (b"c", b"d"):
        with pytest.raises(BlobMismatch):
            asyncio.run(store.put(blob_of(b"a"), in_chunks(wrong)))

    names = {path.name for path in (tmp_path / "blobs").iterdir()}
    assert {blob_of(content).digest.partition(":")[2] for content in (b"a", b"b")} == names


def test_a_folder_of_blobs_is_its_owners_alone(tmp_path: Path) -> None:
    store = FolderBlobStore(tmp_path / "blobs")
    asyncio.run(store.put(blob_of(b"a"), in_chunks(b"a")))

    modes = [path.stat().st_mode & 0o077 for path in (tmp_path / "blobs", *(tmp_path / "blobs").iterdir())]
    assert [0, 0] == modes
