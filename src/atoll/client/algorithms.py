"""Which algorithm is meant: a folder here, which is packed and brought once, or one that the hub has."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from atoll.algorithms.bundle import Bundle
from atoll.algorithms.manifest import Manifest
from atoll.algorithms.packing import pack
from atoll.client.core import Core, Told, part
from atoll.client.records import Uploaded
from atoll.engine.limits import CHUNK_BYTES
from atoll.model.errors import NotThere, SpecInvalid

_DIGEST = "sha256:"
#: How images are named.
_IMAGES = ("docker:", "sif:")


class _Told(msgspec.Struct):
    manifest: Manifest
    places: list[Uploaded]


class _Listed(msgspec.Struct):
    items: list[Uploaded]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An algorithm that the hub has."""

    digest: str
    manifest: Manifest


class Finder:
    """Finds algorithms, and brings those that the hub doesn't have.

    Args:
        core: calls the hub.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        #: Ids of collaborations by what they were called when they were looked for.
        self.places: dict[str, str] = {}
        #: What the hub is known to have, by collaboration and digest.
        self._there: dict[tuple[str, str], Manifest] = {}

    async def find(
        self,
        algorithm: str | Path,
        collaboration: str,
        *,
        dialect: str = "auto",
        package: str | None = None,
        entry: str | None = None,
    ) -> Found:
        """The algorithm that somebody means.

        Args:
            algorithm: a path, a digest, or the name of one that the collaboration has.
            collaboration: the id of the collaboration.
            dialect: of what lies at a path; ``auto``: as its files say.
            package: of what lies at a path: see `pack`.
            entry: of what lies at a path: see `pack`.

        Raises:
            SpecInvalid: there is no such algorithm, or it can't be packed.
        """
        if str(algorithm).startswith(_IMAGES):
            raise SpecInvalid(
                f"{algorithm} is an image, and a federation runs bundles: name the folder of its source"
            )
        if isinstance(algorithm, str) and algorithm.startswith(_DIGEST):
            return await self._by_digest(algorithm, collaboration)
        if os.path.exists(algorithm):
            with tempfile.TemporaryDirectory(prefix="atoll-bundle-") as folder:
                bundle = await asyncio.to_thread(
                    pack, Path(algorithm), Path(folder), dialect=dialect, package=package, entry=entry
                )
                await self.bring(bundle, collaboration)
            return Found(digest=bundle.digest, manifest=bundle.manifest)
        return await self._by_name(str(algorithm), collaboration)

    async def bring(self, bundle: Bundle, collaboration: str) -> None:
        """Bring a bundle to a collaboration, unless it is there."""
        if (collaboration, bundle.digest) in self._there:
            return
        path = f"/algorithms/{part(bundle.digest)}"
        told = await self._core.send("GET", path, accept=(404,))
        places = [] if told.status == 404 else msgspec.json.decode(told.body, type=_Told).places
        if not any(one.collaboration == collaboration for one in places):
            await self._upload(path, bundle, collaboration)
        self._there[collaboration, bundle.digest] = bundle.manifest

    async def _upload(self, path: str, bundle: Bundle, collaboration: str) -> Told:
        async def content() -> AsyncIterator[bytes]:
            with bundle.path.open("rb") as source:
                while chunk := source.read(CHUNK_BYTES):
                    yield chunk

        return await self._core.send("PUT", path, content=content, collaboration=collaboration)

    async def _by_digest(self, digest: str, collaboration: str) -> Found:
        manifest = self._there.get((collaboration, digest))
        if manifest is None:
            told = await self._core.get(f"/algorithms/{part(digest)}")
            manifest = msgspec.json.decode(told.body, type=_Told).manifest
            self._there[collaboration, digest] = manifest
        return Found(digest=digest, manifest=manifest)

    async def _by_name(self, name: str, collaboration: str) -> Found:
        known = []
        async for page in self._core.pages("/algorithms", collaboration=collaboration):
            for one in msgspec.json.decode(page, type=_Listed).items:
                if one.name == name:
                    return await self._by_digest(one.digest, collaboration)
                known.append(one.name)
        there = ", ".join(dict.fromkeys(known)) or "none"
        raise SpecInvalid(
            f"{name!r} is no path here, and no algorithm of the collaboration: expected a folder, a module, a "
            f"compspec.json, or one of those that it has: {there}"
        )


def missing(name: str, what: str, there: list[str]) -> NotThere:
    """The error that nothing has a name."""
    return NotThere(f"there is no {what} {name!r} for you: there are {', '.join(there) or 'none'}")
