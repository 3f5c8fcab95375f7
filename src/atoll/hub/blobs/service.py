"""Files of runs: who may bring them, and who may read them.

A node brings files to a run that it takes part in, and reads those that a message names which it
may read. A person brings files to a run of his own that he has not submitted yet, and reads those
of runs whose results he may see. What is in a file, the hub never looks at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from atoll.engine.limits import FILE_BYTES_AHEAD_MAX, FILE_BYTES_PER_CALL_MAX
from atoll.hub.ownership import Ownership
from atoll.hub.parts import Rooms
from atoll.hub.principal import Kind, Principal
from atoll.model.errors import BlobMismatch, NotAllowed, NotThere, QuotaReached, StaleEvent, Taken, TooLarge
from atoll.model.work import Blob, RunId
from atoll.stores.objects import Arrived, ObjectBlobStore
from atoll.stores.sql import files
from atoll.stores.sql.database import Connection
from atoll.stores.sql.files import File

#: Seconds after which files of a run that nobody has submitted are dropped.
_LEFT_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of a file, as it is read."""

    start: int
    length: int
    #: What the whole file weighs.
    size_bytes: int
    chunks: AsyncIterator[bytes]


class Blobs:
    """The files of one hub's runs.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        parts = rooms.parts
        assert isinstance(parts.blobs, ObjectBlobStore)
        self._store = parts.blobs
        self._database = parts.database
        self._runs = parts.runs
        self._now = parts.now
        self._ownership = rooms.of(Ownership)

    async def announce(self, who: Principal, run_id: RunId, digest: str, size_bytes: int) -> Arrived:
        """A file will be brought; how much of it is there.

        Raises:
            NotThere: there is no such run, or not for who asks.
            StaleEvent: the run has ended: nobody will read the file.
            QuotaReached: the collaboration has used what it may.
            TooLarge: no file may be so large.
            Taken: a file of another size was announced by this digest.
            Malformed: that is no name of a run, or no digest.
        """
        if not 0 <= size_bytes <= FILE_BYTES_PER_CALL_MAX:
            raise TooLarge(
                f"a file of {size_bytes} bytes can't be brought: expected at most {FILE_BYTES_PER_CALL_MAX}"
            )
        here = await self._store.arrived(run_id, digest)
        await self._check_part_of(who, run_id)
        async with self._database.writing() as connection:
            bounds = await files.bounds(connection, run_id)
            if bounds.is_active is False:
                raise StaleEvent(f"run {run_id} has ended: nobody will read the file {digest}")
            if bounds.is_active is None:
                if (await files.uploaders(connection, run_id)) - {who.id}:
                    raise NotThere(f"there is no run {run_id}")
                if await files.find(connection, run_id, digest) is None:
                    await _check_ahead(connection, who, size_bytes)
            if bounds.bytes_max is not None and bounds.used_bytes + size_bytes > bounds.bytes_max:
                raise QuotaReached(
                    f"the runs of the collaboration have {bounds.used_bytes} bytes, and a file of {size_bytes} "
                    f"more is over the {bounds.bytes_max} that it may have: remove old runs"
                )
            file = File(size_bytes=size_bytes, is_whole=False, uploader=who.id)
            await files.announce(connection, run_id, digest, file, self._now())
            known = await files.find(connection, run_id, digest)
            if known is None or known.size_bytes != size_bytes:
                raise Taken(
                    f"a file of another size was announced as {digest}: expected one size for one content"
                )
        if here.is_whole:
            await files.arrived(self._database, run_id, digest, size_bytes)
        return here

    async def append(
        self, who: Principal, run_id: RunId, digest: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> Arrived:
        """Take in the next part of a file.

        Raises:
            NotThere: the file was not announced, or not by who brings it.
            OffsetWrong: the part begins elsewhere than the one before it ended.
            BlobMismatch: what arrived is not what was announced. Nothing of it is kept.
        """
        await self._check_part_of(who, run_id)
        async with self._database.reading() as connection:
            file = await files.find(connection, run_id, digest)
        # Several nodes of a run may have the same; a run that was not submitted is one person's.
        if file is None or (who.kind is Kind.USER and file.uploader != who.id):
            raise NotThere(f"no file {digest} of run {run_id} was announced: announce it first")
        blob = Blob(name="file", digest=digest, size_bytes=file.size_bytes)
        try:
            here = await self._store.append(run_id, blob, offset, chunks)
        except BlobMismatch:
            await files.drop(self._database, run_id, digest)
            raise
        if here.is_whole:
            await files.arrived(self._database, run_id, digest, file.size_bytes)
        return here

    async def read(self, who: Principal, run_id: RunId, digest: str, start: int, end: int | None) -> Stretch:
        """A file, from a byte to before another.

        Raises:
            NotThere: there is no such file, or not for who asks.
            NotAllowed: who asks may see no results.
        """
        if who.kind is Kind.NODE:
            await self._check_reader(who, run_id, digest)
        else:
            await self._ownership.check(who, run_id, "result", "view")
            # What sites send each other is a result no more than their messages are.
            if not await files.is_of_a_result(self._database, run_id, digest):
                raise NotThere(f"run {run_id} has no file {digest} among its results")
        size_bytes = await self._store.size_bytes(run_id, digest)
        start = min(start, size_bytes)
        length = (size_bytes if end is None else max(start, min(end, size_bytes))) - start
        chunks = self._store.read(run_id, digest, start, length)
        return Stretch(start=start, length=length, size_bytes=size_bytes, chunks=chunks)

    async def is_there(self, run_id: RunId, blob: Blob) -> bool:
        """Whether a file that a message names was brought."""
        async with self._database.reading() as connection:
            file = await files.find(connection, run_id, blob.digest)
        return file is not None and file.is_whole and file.size_bytes == blob.size_bytes

    async def sweep(self) -> None:
        """Drop the files of runs that are gone, and of those that nobody has submitted for a day."""
        for run_id in await files.left_behind(self._database, self._now() - _LEFT_SECONDS):
            await self.remove(run_id)

    async def remove(self, run_id: RunId) -> None:
        """Drop all files of a run."""
        await files.forget(self._database, run_id)
        await self._store.remove(run_id)

    async def _check_part_of(self, who: Principal, run_id: RunId) -> None:
        """Refuse who may not bring files to a run."""
        if who.kind is Kind.NODE:
            run = await self._runs.get(run_id)
            if not any(run.node_of(seat) == who.name for seat in (*run.sites, run.aggregator) if seat):
                raise NotThere(f"there is no run {run_id}")
            return
        who.require_some("run", "create")
        whose = await self._ownership.of(run_id)
        if whose is not None:
            if whose.user != who.id:
                raise NotThere(f"there is no run {run_id}")
            raise NotAllowed(
                f"run {run_id} was submitted already: its files come before it, or from its nodes"
            )
        # Other names are the hub's own: that of its algorithms, to begin with.
        if not run_id.startswith("run_"):
            raise NotThere(
                f"there can be no run {run_id}: expected run_ and 26 lower-case letters and digits"
            )

    async def _check_reader(self, node: Principal, run_id: RunId, digest: str) -> None:
        run = await self._runs.get(run_id)
        seats = await files.readers(self._database, run_id, digest)
        if not any(run.node_of(seat) == node.name for seat in seats):
            raise NotThere(f"run {run_id} has no file {digest} that {node.name} may read")


async def _check_ahead(connection: Connection, who: Principal, size_bytes: int) -> None:
    """Refuse files of runs that were not submitted where they are too many: no collaboration bounds them."""
    ahead = await files.bytes_ahead(connection, who.id)
    if ahead + size_bytes > FILE_BYTES_AHEAD_MAX:
        raise QuotaReached(
            f"{who.name} has brought {ahead} bytes for runs that were not submitted, and {size_bytes} more are over "
            f"the {FILE_BYTES_AHEAD_MAX} that one may: submit them, or wait a day until they are dropped"
        )
