"""The images of a node: exactly those that are asked for, had by the site's own rules.

An image is its digest. What a registry or an engine calls by the same name, and what has another
digest, is another image, and is not run.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp
from aiodocker.exceptions import DockerError

from atoll.engine.running import Image, ImageKind
from atoll.model.errors import BlobMismatch, JobRefused, RuntimeUnavailable
from atoll.runtimes.containers import collecting
from atoll.runtimes.containers.collecting import Ledger
from atoll.runtimes.containers.pulling import SharedPulls, Told, pull
from atoll.runtimes.containers.reference import Reference, check_digest, read_reference
from atoll.runtimes.containers.registry import Repository, read_password
from atoll.runtimes.containers.settings import ContainerSettings, Pull, Registry
from atoll.runtimes.containers.signed import SignatureCheck
from atoll.runtimes.containers.sources import Sources

#: What each kind of processor runs beside its own.
_RUNS_TOO = {"amd64": ("386",), "arm64": ("arm",)}
#: This machine's own kind, as images call it.
_HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_UNREACHED = (aiohttp.ClientError, OSError)


class ImageStore:
    """The images of one engine.

    Args:
        engine: holds them.
        settings: which registries are asked for images, and how long images are kept.
        signers: who must have signed which images, as `SignatureCheck` has it.
        sources: the registries that are asked. None: any in the world, and those of the settings.
        folder: of the node's workspace, where it is written down which images Atoll has pulled
            (``pulled.json``), and where signatures lie (``signatures/``). None: nothing is kept, and no
            image is removed that another life of the node has pulled.
        proxy: the way to registries, where Atoll itself asks; None for what the environment says.
        now: the time, in seconds.
    """

    def __init__(
        self,
        engine: aiodocker.Docker,
        settings: ContainerSettings,
        *,
        signers: Mapping[str, Sequence[Path]] | None = None,
        sources: Sources | None = None,
        folder: Path | None = None,
        proxy: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._proxy = proxy
        self._sources = sources or Sources(named=settings.registries)
        self._signatures = SignatureCheck(
            signers or {},
            sources=self._sources,
            registries=settings.registries,
            folder=folder / "signatures" if folder else None,
            proxy=proxy,
        )
        self._ledger = Ledger(folder / "pulled.json" if folder else None, now=now)
        self._pulls = SharedPulls()
        #: What is found must not be removed before it is written down that it is used.
        self._looking = asyncio.Lock()
        self._architecture = ""

    async def ensure(self, image: Image, *, told: Told | None = None, chosen_here: bool = False) -> str:
        """See that an image is there; the engine's id of exactly that image.

        Whoever asks for an image that is on its way waits for the same pull. One that nobody waits for
        any more is broken off.

        Args:
            image: its digest may be a registry's, or the engine's own id.
            told: hears how much of it has arrived.
            chosen_here: whether the site itself has named it: then nobody has to have signed it, and its
                registry is one that the site means.

        Raises:
            JobRefused: the site's rules forbid it, or it has no signature that counts.
            RuntimeUnavailable: it can't be had here.
            BlobMismatch: what arrived is something else.
            SpecInvalid: a file of the site's holds no key.
        """
        check_digest(image)
        if image.kind is not ImageKind.OCI:
            raise JobRefused(
                f"{image.name[:255]!r} is an image of Apptainer's format: a container engine doesn't run those"
            )
        reference = read_reference(image.name)
        if not chosen_here:
            await self._signatures.check(image)
        found = await self._used(reference, image.digest, chosen_here=chosen_here)
        if found is None and self._settings.pull is Pull.NEVER:
            raise JobRefused(
                f"the image {reference.at(image.digest)} isn't on this machine under this name, and this site pulls "
                "none (pull: never): ask its admin to bring it here"
            )
        if found is None:
            if not chosen_here:
                await self._sources.check_found(reference.host)
            begin = partial(self._pull, reference, image.digest)
            return await self._pulls.join(reference.at(image.digest), begin, told=told)
        # What the site means as it is here, by the engine's own id, no registry has to know.
        if self._settings.pull is Pull.ALWAYS and not (chosen_here and _id_of(found) == image.digest):
            await self._check_given(reference, image.digest)
        await self._check_architecture(reference.at(image.digest), found)
        return _id_of(found)

    async def collect(self, *, kept: Collection[str] = ()) -> tuple[str, ...]:
        """Remove the images that the site's rules keep no longer; the names of those that are gone.

        Args:
            kept: digests of those that stay however old they are.

        Raises:
            RuntimeUnavailable: the engine doesn't answer.
        """
        settings = self._settings
        async with self._looking:
            try:
                return await collecting.collect_images(
                    self._engine,
                    self._ledger,
                    keep_days=settings.keep_days,
                    keep_bytes=settings.keep_bytes,
                    stay=kept,
                )
            except (DockerError, *_UNREACHED) as error:
                raise _unanswered(error) from None

    # --- What is there ------------------------------------------------------------------------

    async def _used(
        self, reference: Reference, digest: str, *, chosen_here: bool = False
    ) -> dict[str, Any] | None:
        """An image that is there, and from now on in use; None for none."""
        async with self._looking:
            try:
                # What had the site's name when a run began may have lost it to another since.
                found = await self._of_id(digest) if chosen_here else None
                found = found or await self._find(reference, digest)
            except (DockerError, *_UNREACHED) as error:
                raise _unanswered(error) from None
            if found is not None:
                self._ledger.use(_id_of(found))
            return found

    async def _of_id(self, digest: str) -> dict[str, Any] | None:
        found = await self._inspect(digest)
        return found if found is not None and _id_of(found) == digest else None

    async def _find(self, reference: Reference, digest: str) -> dict[str, Any] | None:
        for name in (digest, reference.at(digest)):
            found = await self._inspect(name)
            if found is not None and _is_meant(found, reference, digest):
                return found
        # What has several names is told by one of them.
        for each in await self._engine.images.list():
            if _is_meant(each, reference, digest):
                return await self._inspect(str(each["Id"]))
        return None

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            return await self._engine.images.inspect(name)
        except DockerError as error:
            if error.status == 404:
                return None
            raise

    async def _check_architecture(self, name: str, found: Mapping[str, Any]) -> None:
        """See that this machine can run an image."""
        theirs = str(found.get("Architecture") or "")
        if theirs in {"", _HERE}:
            return
        # Podman thinks for a second before it says what it is.
        if not self._architecture:
            try:
                self._architecture = str((await self._engine.version()).get("Arch") or "")
            except (DockerError, *_UNREACHED) as error:
                raise _unanswered(error) from None
        ours = self._architecture
        if ours and theirs != ours and theirs not in _RUNS_TOO.get(ours, ()):
            raise RuntimeUnavailable(
                f"the image {name} is made for processors of the kind {theirs}, and this machine has {ours}: ask its "
                f"author for one for {ours}"
            )

    # --- What isn't ---------------------------------------------------------------------------

    async def _check_given(self, reference: Reference, digest: str) -> None:
        """See that a registry still gives an image to this site.

        No engine is asked to pull it again: Docker wouldn't ask the registry for what it has.
        """
        known = self._settings.registries.get(reference.host, Registry())
        async with Repository(reference, known, proxy=self._proxy, sources=self._sources) as repository:
            if not await repository.has(digest):
                raise RuntimeUnavailable(
                    f"the registry {reference.host} has no image {reference.at(digest)} any more, and this site runs "
                    "only what is there (pull: always): ask who took it away"
                )

    async def _pull(self, reference: Reference, digest: str, tell: Told) -> str:
        """Pull an image, and see that it is the right one."""
        name = reference.at(digest)
        self._ledger.begin(name)
        try:
            credentials = await self._credentials(reference.host)
            await pull(self._engine, name, credentials=credentials, tell=tell)
            found = await self._arrived(reference, digest)
        except BaseException:
            self._ledger.forget(name)
            raise
        self._ledger.end(name, _id_of(found))
        await self._check_architecture(name, found)
        return _id_of(found)

    async def _arrived(self, reference: Reference, digest: str) -> dict[str, Any]:
        found = await self._used(reference, digest)
        if found is None:
            raise BlobMismatch(
                f"what the registry {reference.host} gave as {reference.at(digest)} has another digest: try again. "
                "If it stays, tell who runs the registry"
            )
        return found

    async def _credentials(self, host: str) -> Mapping[str, str] | None:
        registry = self._settings.registries.get(host)
        if registry is None or not registry.username or registry.password_file is None:
            return None
        password = await asyncio.to_thread(read_password, registry.password_file)
        return {"username": registry.username, "password": password}


def _id_of(image: Mapping[str, Any]) -> str:
    """An engine's id of an image, with the name of the hash before it."""
    return f"sha256:{str(image['Id']).removeprefix('sha256:')}"


def _is_meant(image: Mapping[str, Any], reference: Reference, digest: str) -> bool:
    """Whether an image is the one of a digest, and known by this name.

    What a site's rules say of a name holds for an image that has it, and for no other: the same image may
    have come from where nobody was asked. One that was never in a registry has its id, and the name that
    somebody on this machine has given it.
    """
    named = {
        str(each).rpartition("@")[2]
        for each in image.get("RepoDigests") or ()
        if _repository_of(str(each)) == reference.repository
    }
    if digest in named:
        return True
    tagged = any(
        # Podman writes that nobody has named a registry.
        reference.repository in (_repository_of(tag), _repository_of(tag.removeprefix("localhost/")))
        for tag in map(str, image.get("RepoTags") or ())
    )
    return _id_of(image) == digest and (tagged or bool(named))


def _repository_of(name: str) -> str | None:
    """The repository of an engine's name for an image; None where it has none."""
    try:
        return read_reference(name).repository
    except JobRefused:
        return None


def _unanswered(error: Exception) -> RuntimeUnavailable:
    """What an engine's silence or failure means for who asked for an image."""
    said = error.message[:300] if isinstance(error, DockerError) else type(error).__name__
    return RuntimeUnavailable(f"the container engine can't say which images it has ({said}): is it running?")
