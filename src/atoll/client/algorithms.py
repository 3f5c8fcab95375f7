"""Which algorithm is meant: a folder here, which is packed and brought once, an image, or one that the hub has.

Of an image the hub gets only what it is called, and its digest. Nodes fetch it where it is kept.
"""

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
from atoll.algorithms.describing import is_compspec
from atoll.algorithms.manifest import Manifest
from atoll.algorithms.packing import pack, pack_image
from atoll.client.core import Core, Told, part
from atoll.client.images import AS_NAMED, Looker
from atoll.client.records import Uploaded
from atoll.engine.limits import CHUNK_BYTES
from atoll.model.errors import NotThere, SpecInvalid

_DIGEST = "sha256:"
#: How images are named.
_IMAGE, _FILE = "docker:", "sif:"
_PINNED = "@sha256:"

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
    #: Sentences about what may go wrong with it elsewhere.
    warnings: tuple[str, ...] = ()


class Finder:
    """Finds algorithms, and brings those that the hub doesn't have.

    Args:
        core: calls the hub.
        looker: looks at images.
    """

    def __init__(self, core: Core, looker: Looker | None = None) -> None:
        self._core = core
        self._looker = looker or Looker()
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
        image: str | None = None,
    ) -> Found:
        """The algorithm that somebody means.

        Args:
            algorithm: a path, an image (``docker:NAME``, ``NAME@sha256:…``), a digest, or the name of one
                that the collaboration has.
            collaboration: the id of the collaboration.
            dialect: of what lies at a path, or of an image; ``auto``: as its files say.
            package: of what lies at a path: see `pack`.
            entry: of what lies at a path: see `pack`.
            image: of what lies at a path: the image that it runs in; ``compspec`` for what its
                compspec.json names.

        Raises:
            SpecInvalid: there is no such algorithm, or it can't be packed.
        """
        if names_image(algorithm):
            if image is not None:
                raise SpecInvalid(f"{algorithm!r} is an image already: leave the other one out")
            return await self._by_image(str(algorithm), collaboration, dialect)
        if image is not None:
            how = {"dialect": dialect, "package": package, "entry": entry}
            return await self._with_image(Path(algorithm), image, collaboration, how)
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

    async def _by_image(self, text: str, collaboration: str, dialect: str) -> Found:
        if text.startswith(_FILE):
            manifest, warnings = await self._looker.file(Path(text.removeprefix(_FILE)), dialect)
            return await self._brought(manifest, collaboration, warnings)
        looked = await self._looker.look(text)
        manifest = await self._looker.describe(looked, dialect)
        return await self._brought(manifest, collaboration, looked.warnings())

    async def _with_image(self, path: Path, image: str, collaboration: str, how: dict[str, Any]) -> Found:
        """What lies at a path, and runs in an image: a computation's code is in it, other code lies beside."""
        if how["dialect"] in ("auto", "coinstac") and is_compspec(path):
            manifest, warnings = await self._looker.computation(path, image)
            return await self._brought(manifest, collaboration, warnings)
        if image == AS_NAMED:
            raise SpecInvalid(
                f"{path} has no compspec.json, which could name an image: name one as docker:NAME"
            )
        looked = await self._looker.look(image)
        with tempfile.TemporaryDirectory(prefix="atoll-bundle-") as folder:
            bundle = await asyncio.to_thread(pack, path, Path(folder), image=looked.image, **how)
            await self.bring(bundle, collaboration)
        return Found(digest=bundle.digest, manifest=bundle.manifest, warnings=looked.warnings())

    async def _brought(self, manifest: Manifest, collaboration: str, warnings: tuple[str, ...]) -> Found:
        with tempfile.TemporaryDirectory(prefix="atoll-bundle-") as folder:
            bundle = pack_image(manifest, Path(folder))
            await self.bring(bundle, collaboration)
        return Found(digest=bundle.digest, manifest=manifest, warnings=warnings)

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
            f"compspec.json, an image as docker:NAME, or one of those that it has: {there}"
        )


def names_image(algorithm: str | Path) -> bool:
    """Whether an image is meant, and no path."""
    return isinstance(algorithm, str) and (algorithm.startswith((_IMAGE, _FILE)) or _PINNED in algorithm)


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
