"""The algorithms of collaborations: bringing a bundle, listing them, and who may fetch one.

A bundle is checked, all of it, before anybody can fetch it; its code is not looked at. Sites decide
for themselves what they run.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from atoll.algorithms.bundle import Bundle, look_into
from atoll.algorithms.manifest import Manifest, decode
from atoll.engine.limits import BUNDLE_BYTES_MAX, CHUNK_BYTES
from atoll.hub.parts import Rooms
from atoll.hub.principal import Kind, Principal
from atoll.model.errors import BlobMismatch, JobRefused, Malformed, NotThere, QuotaReached, Taken, TooLarge
from atoll.model.scopes import Whose
from atoll.model.work import Blob, RunId
from atoll.stores.objects import ObjectBlobStore
from atoll.stores.sql import algorithms
from atoll.stores.sql.algorithms import Kept
from atoll.stores.sql.places import find_place, used

#: Where bundles lie among the files. No run can have this name.
_SHELF = RunId("algorithms")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


class Algorithms:
    """The algorithms of one hub.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        parts = rooms.parts
        self._files = parts.blobs
        self._database = parts.database
        self._now = parts.now

    async def bring(
        self, who: Principal, digest: str, collaboration: str, chunks: AsyncIterator[bytes]
    ) -> tuple[Kept, bool]:
        """Take in a bundle for a collaboration; whether it is new there.

        Raises:
            Malformed: it is no bundle, or no digest.
            BlobMismatch: it has another digest.
            TooLarge: it is larger than a bundle may be.
            NotAllowed: who asks may bring none there.
            NotThere: there is no such collaboration, or not for him.
            QuotaReached: the collaboration has used what it may.
            Taken: somebody is removing it at this moment.
        """
        _check_digest(digest)
        whose = _place_of(who, collaboration)
        who.require("algorithm", "create", whose, f"collaboration {collaboration}")
        with tempfile.TemporaryDirectory(prefix="atoll-bundle-") as folder:
            path = Path(folder, "bundle.tar")
            await _receive(path, digest, chunks)
            try:
                bundle = await asyncio.to_thread(look_into, path)
            except JobRefused as error:
                raise Malformed(str(error)) from None
            await self._check_quota(collaboration, bundle)
            blob = Blob(name="bundle.tar", digest=digest, size_bytes=bundle.size_bytes)
            await self._store().of(_SHELF).put(blob, _chunks_of(path))
        kept = Kept(
            digest=digest,
            dialect=bundle.manifest.dialect,
            name=bundle.manifest.name,
            manifest=bundle.manifest.encode().decode(),
            size_bytes=bundle.size_bytes,
            collaboration=collaboration,
            uploader=who.id,
            organization=who.organization_id,
            created_at=self._now(),
        )
        async with self._database.writing() as connection:
            before = await algorithms.at(connection, digest, collaboration)
            await algorithms.add(connection, kept)
            try:
                await self._store().size_bytes(_SHELF, digest)
            except NotThere:
                raise Taken(
                    f"the algorithm {digest} was removed while it was brought: bring it again"
                ) from None
        return before or kept, before is None

    async def has(self, who: Principal, digest: str, collaboration: str | None) -> bool:
        """Whether a collaboration has an algorithm, or any that who asks may see."""
        sight = who.require_some("algorithm", "view")
        places = [one for one in await self._places(digest) if sight.covers(_whose(one))]
        return any(collaboration in (None, one.collaboration) for one in places)

    async def get(self, who: Principal, digest: str) -> Sequence[Kept]:
        """An algorithm, at each collaboration where who asks may see it.

        Raises:
            NotThere: there is none, or not for him.
        """
        sight = who.require_some("algorithm", "view")
        found = [one for one in await self._places(digest) if sight.covers(_whose(one))]
        if not found:
            raise NotThere(f"there is no algorithm {digest[:80]}")
        return found

    async def listed(
        self, who: Principal, collaboration: str | None, after: tuple[Any, ...], limit: int
    ) -> list[Kept]:
        """Algorithms that who asks may see, newest first."""
        sight = who.require_some("algorithm", "view")
        async with self._database.reading() as connection:
            return await algorithms.listed(
                connection, sight, collaboration=collaboration, after=after, limit=limit
            )

    async def bundle(self, who: Principal, digest: str) -> tuple[int, AsyncIterator[bytes]]:
        """A bundle's size, and its content in chunks.

        A node gets what a job of its own needs; a person what he may see.

        Raises:
            NotThere: there is none, or not for who asks.
        """
        _check_digest(digest)
        if who.kind is Kind.NODE:
            async with self._database.reading() as connection:
                if not await algorithms.used_at(connection, who.name, digest):
                    raise NotThere(f"there is no algorithm {digest} that a job of {who.name} needs")
        else:
            await self.get(who, digest)
        store = self._store()
        return await store.size_bytes(_SHELF, digest), store.read(_SHELF, digest)

    async def remove(self, who: Principal, digest: str, collaboration: str) -> None:
        """Take an algorithm from a collaboration.

        Raises:
            NotThere: there is none, or not for who asks.
            NotAllowed: he may not do this, though he sees it.
            Taken: a run that goes on uses it.
        """
        async with self._database.writing() as connection:
            found = await algorithms.at(connection, digest, collaboration)
            whose = Whose() if found is None else _whose(found)
            who.require("algorithm", "delete", whose, f"algorithm {digest[:80]} at {collaboration}")
            if found is None:
                raise NotThere(f"there is no algorithm {digest[:80]} at {collaboration}")
            if await algorithms.used_in(connection, collaboration, digest):
                raise Taken(f"a run of {collaboration} that goes on uses {found.name}: wait for its end")
            nobody = await algorithms.remove(connection, digest, collaboration)
            if nobody:
                await self._store().drop(_SHELF, digest)

    async def check(self, collaboration: str, digests: Sequence[str]) -> None:
        """Refuse algorithms that a collaboration doesn't have: no site of it could fetch them.

        Raises:
            Malformed: with the first that it doesn't have.
        """
        async with self._database.reading() as connection:
            for digest in dict.fromkeys(digests):
                if await algorithms.at(connection, digest, collaboration) is None:
                    raise Malformed(
                        f"collaboration {collaboration} has no algorithm {digest[:80]}: bring its bundle first, with "
                        f"PUT /v1/algorithms/{digest[:80]}?collaboration={collaboration}"
                    )

    async def _places(self, digest: str) -> list[Kept]:
        async with self._database.reading() as connection:
            return await algorithms.places(connection, digest)

    async def _check_quota(self, collaboration: str, bundle: Bundle) -> None:
        async with self._database.reading() as connection:
            found = await find_place(connection, collaboration, None)
            if found is None:
                raise NotThere(f"there is no collaboration {collaboration}")
            if await algorithms.at(connection, bundle.digest, collaboration) is not None:
                return
            _, weight = await used(connection, collaboration)
            weight += await algorithms.weight(connection, collaboration)
        if found.bytes_max is not None and weight + bundle.size_bytes > found.bytes_max:
            raise QuotaReached(
                f"runs and algorithms of {found.name} have {weight} bytes, and a bundle of {bundle.size_bytes} more is "
                f"over the {found.bytes_max} that it may have: remove old ones"
            )

    def _store(self) -> ObjectBlobStore:
        assert isinstance(self._files, ObjectBlobStore)
        return self._files


def manifest_of(kept: Kept) -> Manifest:
    """What an algorithm says of itself."""
    return decode(kept.manifest.encode())


def shown(kept: Kept) -> msgspec.Raw:
    """The same as JSON that is passed on."""
    return msgspec.Raw(kept.manifest.encode())


def _check_digest(digest: str) -> None:
    if not _DIGEST.match(digest):
        raise Malformed(f"{digest[:80]!r} is no digest: expected sha256: and 64 hexadecimal digits")


def _place_of(who: Principal, collaboration: str) -> Whose:
    """Whom an algorithm would belong to that somebody brings to a collaboration."""
    place = frozenset({collaboration})
    if collaboration not in who.collaborations:
        return Whose(collaborations=place)
    return Whose(user=who.id, organizations=frozenset({who.organization_id}), collaborations=place)


def _whose(kept: Kept) -> Whose:
    return Whose(
        user=kept.uploader,
        organizations=frozenset({kept.organization}),
        collaborations=frozenset({kept.collaboration}),
    )


async def _receive(path: Path, digest: str, chunks: AsyncIterator[bytes]) -> None:
    taken, size = hashlib.sha256(), 0
    with path.open("xb") as target:
        async for chunk in chunks:
            size += len(chunk)
            if size > BUNDLE_BYTES_MAX:
                raise TooLarge(f"the bundle has more than {BUNDLE_BYTES_MAX} bytes: make an image of it")
            taken.update(chunk)
            target.write(chunk)
    found = f"sha256:{taken.hexdigest()}"
    if found != digest:
        raise BlobMismatch(f"what arrived has {size} bytes and the digest {found}: expected {digest}")


async def _chunks_of(path: Path) -> AsyncIterator[bytes]:
    handle = os.open(path, os.O_RDONLY)
    try:
        while part := os.read(handle, CHUNK_BYTES):
            yield part
    finally:
        os.close(handle)
