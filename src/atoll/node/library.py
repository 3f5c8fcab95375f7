"""The algorithms that a node has fetched: each once, verified, and laid out read-only.

A bundle is what its digest says, or it is not taken. What no run uses is removed when it is old, or
when there is too much.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from atoll.algorithms.installed import Installed
from atoll.algorithms.manifest import Manifest, needs_python, programs
from atoll.engine.limits import BUNDLE_BYTES_MAX, LIBRARY_BYTES_MAX, LIBRARY_SECONDS_MAX
from atoll.engine.running import Image
from atoll.model.errors import BlobMismatch, JobRefused, LimitReached
from atoll.model.work import Algorithm, Role, RunId, Ticket
from atoll.node import environments, vetting
from atoll.node.at_hand import AtHand
from atoll.node.choosing import Runtimes
from atoll.node.environment import Environment
from atoll.node.environments import Chosen, Needs

_log = logging.getLogger(__name__)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")


class BundleSource(Protocol):
    """Has the bundles that a node may fetch."""

    def get_bundle(self, digest: str) -> AsyncIterator[bytes]:
        """A bundle's content, in chunks. The reader verifies it.

        Raises:
            NotThere: there is none, or not for this node.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """An algorithm that is laid out."""

    manifest: Manifest
    installed: Installed
    #: The roles in which its image is started as that says itself.
    vetted: set[Role] = field(default_factory=set)


class BundleLibrary:
    """Algorithms of bundles.

    Args:
        source: has the bundles.
        folder: where they are laid out.
        named: the environments of this node.
        runtimes: run them.
        admit: refuses those that this node doesn't take, as their bundle describes them.
        by_image: says of which images this node has to see that they are started as they say themselves.
        now: the time, in seconds.
    """

    def __init__(
        self,
        source: BundleSource,
        folder: Path,
        named: Sequence[Environment],
        runtimes: Runtimes,
        *,
        admit: Callable[[Algorithm, Manifest], None] = lambda *_: None,
        by_image: Callable[[Algorithm, Manifest], bool] = lambda *_: False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._folder = folder
        self._environments = named
        self._runtimes = runtimes
        self._admit = admit
        self._by_image = by_image
        self._now = now
        self._known: dict[str, _Known] = {}
        self._getting: dict[str, asyncio.Lock] = {}
        #: By their digests, with what their code runs in: a run stays with that, whatever has its name later.
        self._used: dict[RunId, dict[str, Chosen | None]] = {}

    async def at_hand(self, ticket: Ticket, waits: Callable[[str], None] | None = None) -> AtHand:
        """The algorithm of a ticket, fetched if it isn't there.

        Raises:
            JobRefused: its bundle can't be used, or this node doesn't have what it requires.
            RuntimeUnavailable: an environment that may have it can't be looked at.
            BlobMismatch: what arrived is not what was asked for.
        """
        digest = ticket.algorithm.digest
        used = self._used.setdefault(ticket.job.run_id, {})
        used.setdefault(digest, None)
        known = self._known.get(digest)
        if known is None:
            async with self._getting.setdefault(digest, asyncio.Lock()):
                known = self._known.get(digest) or await self._get(ticket)
                self._known[digest] = known
        # Again, since another ticket may call the same algorithm by another name.
        self._admit(ticket.algorithm, known.manifest)
        async with self._getting.setdefault(digest, asyncio.Lock()):
            chosen = used[digest] or await self._choose(known.manifest, waits)
            used[digest] = chosen
        installed = replace(known.installed, environment=chosen.image)
        image = installed.image_for(ticket.role)
        if image is None:
            return AtHand(installed=installed, runtime=self._runtimes.of(chosen.python))
        chosen_here = installed.environment is not None
        if self._by_image(ticket.algorithm, known.manifest) and ticket.role not in known.vetted:
            await self._vet(ticket, known.manifest, image, waits)
            known.vetted.add(ticket.role)
        return AtHand(installed=installed, runtime=self._runtimes.for_image(image, chosen_here=chosen_here))

    def described(self, digest: str) -> Manifest | None:
        """What the bundle of an algorithm says that is at hand; None for any other."""
        known = self._known.get(digest)
        return None if known is None else known.manifest

    def release(self, run_id: RunId) -> None:
        """A run has ended: its algorithms may be removed when there is too much."""
        self._used.pop(run_id, None)

    async def _vet(
        self, ticket: Ticket, manifest: Manifest, image: Image, waits: Callable[[str], None] | None
    ) -> None:
        """See that an image is started as it says itself.

        Raises:
            JobRefused: it isn't, or can't be asked.
        """
        if vetting.chooses(manifest, ticket.role):
            told = await self._runtimes.described(image, manifest, waits)
            vetting.check(ticket.algorithm, manifest, ticket.role, told)

    async def _get(self, ticket: Ticket) -> _Known:
        # Imported here: reading bundles takes more memory than an idle node has use for.
        from atoll.algorithms import installing

        found = _DIGEST.match(ticket.algorithm.digest)
        if found is None:
            raise JobRefused(
                f"{ticket.algorithm.name!r} is named by {ticket.algorithm.digest[:80]!r}: expected a bundle's digest, "
                "sha256: and 64 hexadecimal digits"
            )
        folder = self._folder / found[1]
        manifest = await self._laid_out(ticket.algorithm.digest, folder)
        try:
            self._admit(ticket.algorithm, manifest)
        except JobRefused:
            shutil.rmtree(folder, ignore_errors=True)  # What is not taken has no place here.
            raise
        if manifest.dialect != ticket.algorithm.dialect:
            raise JobRefused(
                f"{ticket.algorithm.name!r} is asked for as {ticket.algorithm.dialect}, and its bundle is in "
                f"the dialect {manifest.dialect}"
            )
        return _Known(manifest=manifest, installed=installing.install(manifest, folder))

    async def _choose(self, manifest: Manifest, waits: Callable[[str], None] | None) -> Chosen:
        """What code runs in.

        Raises:
            JobRefused: this node doesn't have what it requires.
            RuntimeUnavailable: an environment that may have it can't be looked at.
        """
        if manifest.image is not None:
            return Chosen()  # It has all that it requires.
        needs = Needs(
            name=manifest.name,
            requires=manifest.requires,
            programs=programs(manifest),
            python=needs_python(manifest),
        )
        chosen = await environments.choose(self._environments, needs, self._runtimes, waits)
        if chosen.image is not None:
            _log.info(
                "code of %s runs in the image %s (%s)", manifest.name, chosen.image.name, chosen.image.digest
            )
        return chosen

    async def _laid_out(self, digest: str, folder: Path) -> Manifest:
        # Late, as above.
        from atoll.algorithms import bundle

        with suppress(FileNotFoundError):
            manifest = bundle.unpacked(folder)
            folder.touch()
            return manifest
        self._folder.mkdir(parents=True, exist_ok=True)
        arriving = folder.with_suffix(".arriving")
        try:
            await self._fetch(digest, arriving)
            return await asyncio.to_thread(bundle.unpack, arriving, folder)
        finally:
            arriving.unlink(missing_ok=True)

    async def _fetch(self, digest: str, path: Path) -> None:
        sha, size_bytes = hashlib.sha256(), 0
        with path.open("wb") as file:
            async for chunk in self._source.get_bundle(digest):
                size_bytes += len(chunk)
                if size_bytes > BUNDLE_BYTES_MAX:
                    raise LimitReached(
                        f"the bundle {digest} has more than {BUNDLE_BYTES_MAX} bytes, the most that a node takes"
                    )
                sha.update(chunk)
                file.write(chunk)
        if f"sha256:{sha.hexdigest()}" != digest:
            raise BlobMismatch(f"what arrived as the bundle {digest} is another one: its digest differs")

    def sweep(self) -> None:
        """Remove what is old, and the oldest of what is too much; nothing that a run uses."""
        used = {digest for digests in self._used.values() for digest in digests}
        kept_bytes = 0
        for age, folder in sorted(self._ages()):
            digest = f"sha256:{folder.name}"
            size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            if digest in used or (age < LIBRARY_SECONDS_MAX and kept_bytes + size_bytes <= LIBRARY_BYTES_MAX):
                kept_bytes += size_bytes
                continue
            self._known.pop(digest, None)
            self._getting.pop(digest, None)
            shutil.rmtree(folder, ignore_errors=True)

    def _ages(self) -> list[tuple[float, Path]]:
        """How many seconds ago each algorithm was laid out, or last taken up after a start."""
        if not self._folder.is_dir():
            return []
        now = self._now()
        return [
            (now - path.stat().st_mtime, path)
            for path in self._folder.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        ]
