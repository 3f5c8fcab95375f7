"""Which algorithm is meant: a folder here, which is packed and brought once, or one that the hub has."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


#: The files of a folder: name, size, time of the last change, and which file it is.
_Fingerprint = frozenset[tuple[str, int, int, int]]
#: Files of a folder that are looked at, whether they have changed. A larger one is packed each time.
_LOOKED_AT_MAX = 1_000


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
        #: What was packed, by path, with what its files were like before.
        self._packed: dict[tuple[Any, ...], tuple[_Fingerprint | None, Found]] = {}
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
            how = {"dialect": dialect, "package": package, "entry": entry}
            return await self._by_path(Path(algorithm), collaboration, how)
        return await self._by_name(str(algorithm), collaboration)

    async def _by_path(self, path: Path, collaboration: str, how: dict[str, Any]) -> Found:
        """What lies at a path; packed anew where any of its files has changed."""
        key = (str(path.absolute()), *how.values())
        seen = await asyncio.to_thread(_fingerprint, path)
        fingerprint, found = self._packed.get(key, (None, None))
        if found is not None and fingerprint == seen and (collaboration, found.digest) in self._there:
            return found
        with tempfile.TemporaryDirectory(prefix="atoll-bundle-") as folder:
            bundle = await asyncio.to_thread(pack, path, Path(folder), **how)
            await self.bring(bundle, collaboration)
        found = Found(digest=bundle.digest, manifest=bundle.manifest)
        if seen is not None:
            self._packed[key] = seen, found
        return found

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


def _fingerprint(path: Path) -> _Fingerprint | None:
    """What the files of a folder are like now; None where there are too many."""
    # What lies beside a module is a part of it.
    root = path if path.is_dir() else path.parent
    seen = set()
    for where, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for name in files:
            file = os.path.join(where, name)
            try:
                status = os.stat(file)
            except OSError:
                continue  # It is told when it is packed.
            seen.add((file, status.st_size, status.st_mtime_ns, status.st_ino))
            if len(seen) > _LOOKED_AT_MAX:
                return None
    return frozenset(seen)
