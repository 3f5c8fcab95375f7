"""Files of runs, by digest: in a folder, in a store of objects such as S3, or in memory.

A file comes in parts, one after another, and each is kept when it was acknowledged: who was cut
off goes on where the last whole part ended, at whichever replica of the hub. A file becomes visible
when it is whole and its digest is the one that it is named by; what is otherwise is dropped.

Each run has its files for itself: to know a digest never gives the content of another run::

    RUN/DIGEST/0000000000000000    the part that begins at byte 0
    RUN/DIGEST/0000000016777216    the next
    RUN/DIGEST/whole               their sizes, and that it is whole
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import msgspec

from atoll.engine.limits import PART_BYTES
from atoll.engine.ports import BlobStore
from atoll.model.errors import BlobMismatch, Malformed, NotThere, Taken, TooLarge
from atoll.model.work import Blob, RunId
from atoll.stores.objects.places import Arrival, Digest, Place, place_of

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
#: Where files lie that belong to no run. No run has this name: they all begin with ``run_``.
_NO_RUN = RunId("no-run")
_WHOLE = "whole"
#: Digests that are carried from one part to the next. Of others the parts are read again.
_DIGESTS_CARRIED_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """How much of a file is there."""

    offset: int
    #: Whether that is all, and was found to be what it is named by.
    is_whole: bool


class OffsetWrong(Taken):
    """A part doesn't begin where the one before it ended.

    Attributes:
        offset: where it should.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(f"the part begins elsewhere than the one before it ended: go on at byte {offset}")
        self.offset = offset


class ObjectBlobStore:
    """Keeps files of runs.

    Args:
        url: a folder, ``s3://BUCKET/PREFIX`` or what else `obstore` knows, or ``memory:``.
    """

    def __init__(self, url: str) -> None:
        self._place: Place = place_of(url)
        #: What was digested so far of files that are arriving, and up to where.
        self._digests: OrderedDict[str, tuple[Digest, int]] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def put(self, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        """Keep a file of no run."""
        await self.of(_NO_RUN).put(blob, chunks)

    def get(self, blob: Blob) -> AsyncIterator[bytes]:
        """The content of a file of no run."""
        return self.of(_NO_RUN).get(blob)

    def of(self, run_id: RunId) -> BlobStore:
        """The files of one run."""
        return _Shelf(self, run_id)

    async def arrived(self, run_id: RunId, digest: str) -> Arrived:
        """How much of a file is there.

        Raises:
            Malformed: the run or the digest is no such name.
        """
        folder = _folder(run_id, digest)
        if (sizes := await self._sizes(folder)) is not None:
            return Arrived(offset=sum(sizes), is_whole=True)
        return Arrived(offset=sum(await self._parts(folder)), is_whole=False)

    async def append(self, run_id: RunId, blob: Blob, offset: int, chunks: AsyncIterator[bytes]) -> Arrived:
        """Keep the next part of a file. Nothing of it is kept unless it came to its end.

        Raises:
            OffsetWrong: it doesn't begin where the one before ended; or another came first.
            BlobMismatch: it is longer than announced, or the whole is not what it is named by. Nothing
                is kept then.
            Malformed: the run or the digest is no such name, or the part is too large.
        """
        folder = _folder(run_id, blob.digest)
        here = await self.arrived(run_id, blob.digest)
        if here.is_whole:
            return here
        if here.offset != offset:
            raise OffsetWrong(here.offset)
        digest = await self._digest(folder, offset)
        arrival = await self._place.arrival(f"{folder}/{offset:016}", digest)
        try:
            async for chunk in chunks:
                await arrival.take(chunk)
                _check_part(arrival, blob, offset)
            await arrival.settle()
            async with self._lock(folder):
                return await self._keep(folder, blob, offset, arrival)
        except BlobMismatch:
            await self._drop(folder)
            raise
        finally:
            await arrival.close()

    async def _keep(self, folder: str, blob: Blob, offset: int, arrival: Arrival) -> Arrived:
        if await self._sizes(folder) is not None:  # Another brought the same.
            return Arrived(offset=blob.size_bytes, is_whole=True)
        here = sum(await self._parts(folder))
        if here != offset:
            raise OffsetWrong(here)
        end = offset + arrival.size_bytes
        if arrival.size_bytes:
            await arrival.keep()
        if end < blob.size_bytes:
            self._carry(folder, arrival.digest, end)
            return Arrived(offset=end, is_whole=False)
        found = f"sha256:{arrival.digest.hexdigest()}"
        if found != blob.digest:
            raise BlobMismatch(mismatch(blob, found, end))
        self._digests.pop(folder, None)
        await self._place.write(f"{folder}/{_WHOLE}", msgspec.json.encode(await self._parts(folder)))
        return Arrived(offset=end, is_whole=True)

    def read(
        self, run_id: RunId, digest: str, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """A file's content, or a part of it, in chunks.

        Raises:
            NotThere: no such file is kept of this run.
            Malformed: the run or the digest is no such name.
        """
        return self._read(_folder(run_id, digest), start, length)

    async def size_bytes(self, run_id: RunId, digest: str) -> int:
        """What a whole file weighs.

        Raises:
            NotThere: no such file is kept of this run.
            Malformed: the run or the digest is no such name.
        """
        sizes = await self._sizes(_folder(run_id, digest))
        if sizes is None:
            raise NotThere(f"run {run_id} has no file {digest}")
        return sum(sizes)

    async def remove(self, run_id: RunId) -> None:
        """Forget all files of a run."""
        _check_run(run_id)
        for folder in [folder for folder in self._digests if folder.startswith(f"{run_id}/")]:
            del self._digests[folder]
        await self._place.remove(run_id)

    def alone(self, run_id: RunId, blob: Blob) -> asyncio.Lock:
        """Held by who brings a file from its beginning to its end."""
        return self._lock(f"{_folder(run_id, blob.digest)}/")

    async def drop(self, run_id: RunId, digest: str) -> None:
        """Forget one file of a run, or what has arrived of it."""
        await self._drop(_folder(run_id, digest))

    async def clear(self) -> None:
        """Forget everything."""
        self._digests.clear()
        await self._place.remove("")

    async def _read(self, folder: str, start: int, length: int | None) -> AsyncIterator[bytes]:
        sizes = await self._sizes(folder)
        if sizes is None:
            raise NotThere(f"no file is kept at {folder}")
        end = sum(sizes) if length is None else min(start + length, sum(sizes))
        begin = 0
        for size in sizes:
            low, high = max(start, begin), min(end, begin + size)
            if low < high:
                async for chunk in self._place.read(f"{folder}/{begin:016}", low - begin, high - low):
                    yield chunk
            begin += size

    async def _sizes(self, folder: str) -> Sequence[int] | None:
        text = await self._place.get(f"{folder}/{_WHOLE}")
        return None if text is None else msgspec.json.decode(text, type=list[int])

    async def _parts(self, folder: str) -> list[int]:
        """The sizes of the parts that join."""
        found = await self._place.list(folder)
        sizes: list[int] = []
        end = 0
        while (size := found.get(f"{end:016}")) is not None:
            sizes.append(size)
            end += size
        return sizes

    async def _digest(self, folder: str, offset: int) -> Digest:
        """The digest of what has arrived, to go on with."""
        known = self._digests.get(folder)
        if known is not None and known[1] == offset:
            return known[0].copy()
        digest = hashlib.sha256()
        begin = 0
        for size in await self._parts(folder):
            async for chunk in self._place.read(f"{folder}/{begin:016}", 0, size):
                await asyncio.to_thread(digest.update, chunk)
            begin += size
        return digest

    def _carry(self, folder: str, digest: Digest, offset: int) -> None:
        self._digests[folder] = (digest, offset)
        self._digests.move_to_end(folder)
        while len(self._digests) > _DIGESTS_CARRIED_MAX:
            self._digests.popitem(last=False)

    async def _drop(self, folder: str) -> None:
        self._digests.pop(folder, None)
        await self._place.remove(folder)

    def _lock(self, folder: str) -> asyncio.Lock:
        lock = self._locks.get(folder)
        if lock is None:
            lock = self._locks[folder] = asyncio.Lock()
        return lock


class _Shelf:
    """The files of one run, as a store of blobs: each comes from its beginning to its end."""

    def __init__(self, store: ObjectBlobStore, run_id: RunId) -> None:
        self._store = store
        self._run_id = run_id

    async def put(self, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        content = _Content(chunks)
        if _DIGEST.fullmatch(blob.digest):
            async with self._store.alone(self._run_id, blob):
                await self._put(blob, content)
        await content.skip()
        if (content.named, content.size_bytes) != (blob.digest, blob.size_bytes):
            raise BlobMismatch(mismatch(blob, content.named, content.size_bytes))

    async def _put(self, blob: Blob, content: _Content) -> None:
        here = await self._store.arrived(self._run_id, blob.digest)
        if here.is_whole:
            return
        await self._store.drop(self._run_id, blob.digest)
        here = Arrived(offset=0, is_whole=False)
        try:
            while True:
                here = await self._store.append(self._run_id, blob, here.offset, content.part())
                if here.is_whole or content.has_ended:
                    break
        except BlobMismatch:
            return  # What it is instead is said when all of it was seen.
        finally:
            if not here.is_whole:
                await self._store.drop(self._run_id, blob.digest)

    async def get(self, blob: Blob) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._store.read(self._run_id, blob.digest):
                yield chunk
        except (NotThere, Malformed) as error:
            raise BlobMismatch(f"nothing is kept of {blob.name!r} under {blob.digest}") from error

    async def clear(self) -> None:
        await self._store.remove(self._run_id)


class _Content:
    """Chunks that are counted and digested as they pass, part by part."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self.has_ended = False

    @property
    def named(self) -> str:
        """The digest of what has passed."""
        return f"sha256:{self._digest.hexdigest()}"

    async def part(self) -> AsyncIterator[bytes]:
        """The chunks of the next part."""
        begin = self.size_bytes
        async for chunk in self._chunks:
            await asyncio.to_thread(self._digest.update, chunk)
            self.size_bytes += len(chunk)
            yield chunk
            if self.size_bytes - begin > PART_BYTES // 2:
                return
        self.has_ended = True

    async def skip(self) -> None:
        """Let the rest pass."""
        while not self.has_ended:
            async for _ in self.part():
                pass  # It is counted, and not kept.


def mismatch(blob: Blob, digest: str, size_bytes: int) -> str:
    """The sentence for content that is not what its blob says."""
    return (
        f"what arrived of {blob.name!r} is {size_bytes} bytes with {digest}: "
        f"expected {blob.size_bytes} bytes with {blob.digest}"
    )


def _check_part(arrival: Arrival, blob: Blob, offset: int) -> None:
    if offset + arrival.size_bytes > blob.size_bytes:
        raise BlobMismatch(
            f"more has arrived of {blob.name!r} than was announced: expected {blob.size_bytes} bytes with "
            f"{blob.digest}"
        )
    if arrival.size_bytes > PART_BYTES:
        raise TooLarge(f"a part of a file is larger than {PART_BYTES} bytes: send it in smaller ones")


def _check_run(run_id: RunId) -> None:
    if not _RUN.fullmatch(run_id):
        raise Malformed(f"{run_id[:60]!r} is no run's id")


def _folder(run_id: RunId, digest: str) -> str:
    _check_run(run_id)
    if not _DIGEST.fullmatch(digest):
        raise Malformed(f"{digest[:80]!r} is not a digest: expected sha256: and 64 hexadecimal digits")
    return f"{run_id}/{digest.removeprefix('sha256:')}"
