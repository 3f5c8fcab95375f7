"""Where parts of files lie: a folder of this machine, or a store of objects.

A folder is written and read as it is, without what stands between a program and a store of objects:
that is three times as fast.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from atoll.engine.limits import CHUNK_BYTES
from atoll.model.errors import Unusable


class Digest(Protocol):
    """What `hashlib` gives."""

    def update(self, data: bytes, /) -> None:
        """Take in more."""
        ...

    def hexdigest(self) -> str:
        """The digest of all that was taken in."""
        ...

    def copy(self) -> Self:
        """One that goes on for itself."""
        ...


class Arrival(Protocol):
    """A part that is on its way."""

    digest: Digest
    size_bytes: int

    async def take(self, chunk: bytes) -> None:
        """Take in what comes next."""
        ...

    async def settle(self) -> None:
        """Wait until all that was taken in is digested."""
        ...

    async def keep(self) -> None:
        """Put it into its place, whole."""
        ...

    async def close(self) -> None:
        """Forget it, unless it was kept."""
        ...


class Place(Protocol):
    """Files by path, in folders."""

    async def arrival(self, path: str, digest: Digest) -> Arrival:
        """Begin to take in a part. `digest` goes on with it."""
        ...

    async def write(self, path: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""
        ...

    async def get(self, path: str) -> bytes | None:
        """A small file, if it is there."""
        ...

    async def list(self, folder: str) -> Mapping[str, int]:
        """What is in a folder, and what it weighs."""
        ...

    def read(self, path: str, start: int, length: int) -> AsyncIterator[bytes]:
        """A part of a file, in chunks."""
        ...

    async def remove(self, folder: str) -> None:
        """Forget a folder; the empty path is all there is."""
        ...


def place_of(url: str) -> Place:
    """The place that an address stands for.

    Raises:
        Unusable: it is of no known kind.
    """
    if url.startswith("file://"):
        return _Folder(Path(url.removeprefix("file://")))
    if "://" not in url and url != "memory:":
        return _Folder(Path(url))
    return _Objects(url)


class _Pieces:
    """Pieces that are digested in a thread, a good many at a time, while more of them come."""

    def __init__(self, digest: Digest) -> None:
        self.digest = digest
        self.size_bytes = 0
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._under_way: asyncio.Future[None] | None = None

    async def take(self, chunk: bytes) -> None:
        self._pieces.append(chunk)
        self.size_bytes += len(chunk)
        self._waiting_bytes += len(chunk)
        if self._waiting_bytes >= CHUNK_BYTES:
            await self._next()

    async def settle(self) -> None:
        if self._pieces:
            await self._next()
        await self._end()

    async def _next(self) -> None:
        await self._end()
        pieces, self._pieces, self._waiting_bytes = self._pieces, [], 0
        self._under_way = asyncio.get_running_loop().run_in_executor(None, self._work, pieces)

    async def _end(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            await under_way

    def _work(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.digest.update(piece)


class _FileArrival(_Pieces):
    """A part that is written aside, and put into its place by another name."""

    def __init__(self, root: Path, path: Path, digest: Digest) -> None:
        super().__init__(digest)
        self._path = path
        self._handle, self._name = tempfile.mkstemp(dir=root, prefix=".arriving-")

    def _work(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(self._handle, view) :]
        super()._work(pieces)

    async def keep(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.replace(self._name, self._path)

    async def close(self) -> None:
        # A thread may still write: its descriptor must not be another file's by then.
        if self._under_way is not None:
            await asyncio.wait([self._under_way])
        os.close(self._handle)
        Path(self._name).unlink(missing_ok=True)


class _Folder:
    """A folder of this machine, its owner's alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def arrival(self, path: str, digest: Digest) -> Arrival:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _FileArrival(self._root, self._root / path, digest)

    async def write(self, path: str, content: bytes) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self._root, prefix=".arriving-")
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(name, target)

    async def get(self, path: str) -> bytes | None:
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            return None

    async def list(self, folder: str) -> Mapping[str, int]:
        try:
            return {entry.name: entry.stat().st_size for entry in os.scandir(self._root / folder)}
        except FileNotFoundError:
            return {}

    async def read(self, path: str, start: int, length: int) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        handle = os.open(self._root / path, os.O_RDONLY)
        coming: asyncio.Future[bytes] | None = None
        try:
            for offset, size in _cut(start, length):
                # One chunk ahead: the disk works while the last one is sent.
                following = loop.run_in_executor(None, os.pread, handle, size, offset)
                before, coming = coming, following
                if before is not None:
                    yield await before
            if coming is not None:
                yield await coming
        finally:
            if coming is not None:
                await asyncio.wait([coming])
            os.close(handle)

    async def remove(self, folder: str) -> None:
        await asyncio.to_thread(shutil.rmtree, self._root / folder, ignore_errors=True)


class _ObjectArrival(_Pieces):
    """A part that is collected, and sent whole. A store of objects has no other way."""

    def __init__(self, objects: _Objects, path: str, digest: Digest) -> None:
        super().__init__(digest)
        self._objects = objects
        self._path = path
        self._all: list[bytes] = []

    async def take(self, chunk: bytes) -> None:
        self._all.append(chunk)
        await super().take(chunk)

    async def keep(self) -> None:
        await self._objects.write(self._path, b"".join(self._all))

    async def close(self) -> None:
        self._all = []


class _Objects:
    """A store of objects."""

    def __init__(self, url: str) -> None:
        # Imported here: a hub whose files lie in a folder doesn't load it.
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        self._obstore: Any = obstore
        try:
            self._store: Any = from_url("memory:///" if url == "memory:" else url)
        except (BaseError, ValueError) as error:
            raise Unusable(
                f"files can't be kept at {url.partition('?')[0]!r}: expected a folder, or an address such as "
                "s3://BUCKET/PREFIX"
            ) from error

    async def arrival(self, path: str, digest: Digest) -> Arrival:
        return _ObjectArrival(self, path, digest)

    async def write(self, path: str, content: bytes) -> None:
        await self._obstore.put_async(self._store, path, content)

    async def get(self, path: str) -> bytes | None:
        try:
            found = await self._obstore.get_async(self._store, path)
        except FileNotFoundError:
            return None
        return bytes(await found.bytes_async())

    async def list(self, folder: str) -> Mapping[str, int]:
        found = await self._obstore.list(self._store, prefix=folder).collect_async()
        return {each["path"].rpartition("/")[2]: each["size"] for each in found}

    async def read(self, path: str, start: int, length: int) -> AsyncIterator[bytes]:
        for offset, size in _cut(start, length):
            yield bytes(await self._obstore.get_range_async(self._store, path, start=offset, length=size))

    async def remove(self, folder: str) -> None:
        found = await self._obstore.list(self._store, prefix=folder or None).collect_async()
        if paths := [each["path"] for each in found]:
            await self._obstore.delete_async(self._store, paths)


def _cut(start: int, length: int) -> Iterator[tuple[int, int]]:
    """Offset and size of the chunks of a stretch."""
    end = start + length
    for offset in range(start, end, CHUNK_BYTES):
        yield offset, min(CHUNK_BYTES, end - offset)
