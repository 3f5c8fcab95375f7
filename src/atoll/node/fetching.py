"""Containers of images that the node fetches by its own rules: by digest, signed where a site wants it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from atoll.algorithms.images import describe_as
from atoll.algorithms.manifest import Manifest
from atoll.engine.running import Image, Launch, Session
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.containers.docker import DockerRuntime
from atoll.runtimes.containers.pulling import Arrived
from atoll.runtimes.containers.settings import ContainerSettings
from atoll.runtimes.containers.sources import Sources
from atoll.runtimes.containers.store import ImageStore

_MEGABYTE = 1_000_000
#: Parts of a fetch after each of which it is told how far it is.
_TOLD_PARTS = 20


class FetchingRuntime:
    """Runs images in containers, and fetches those that aren't there.

    Args:
        settings: the engine, and where images come from.
        owner: by which its containers are known after its owner's death.
        signers: who must have signed which images: patterns of names, with files of public keys.
        sources: the registries that are asked.
        folder: where it is written down what was fetched.
        proxy: the way to registries, where Atoll itself asks; None for what the environment says.
        kept: the digests of images that the settings name, which are never collected.
    """

    isolated = True

    def __init__(
        self,
        settings: ContainerSettings,
        owner: str,
        *,
        signers: Mapping[str, Sequence[Path]],
        sources: Sources | None = None,
        folder: Path,
        proxy: str | None = None,
        kept: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._runtime = DockerRuntime(settings, owner)
        self._signers = signers
        self._sources = sources
        self._folder = folder
        self._proxy = proxy
        self._kept = kept
        self._store: ImageStore | None = None

    @property
    def name(self) -> str:
        """The word for the engine."""
        return self._runtime.name

    def caveats(self) -> Sequence[str]:
        """What a container is not kept from."""
        return self._runtime.caveats()

    async def recover(self) -> None:
        """Remove the containers that an earlier life of this node has left."""
        await self._runtime.recover()

    async def warm_up(self, launch: Launch) -> None:
        """See that the engine answers."""
        await self._runtime.warm_up(launch)

    async def start(self, launch: Launch) -> Session:
        """Fetch the image where it isn't here, and start a container for a session.

        Raises:
            JobRefused: the site's rules forbid the image, or it has no signature that counts.
            RuntimeUnavailable: it can't be had, or no engine answers.
            BlobMismatch: what arrived is something else.
            AlgorithmFailed: the engine refuses, or the container ends before its first call.
        """
        image = launch.image
        if image is None:
            raise RuntimeUnavailable(f"the algorithm at {launch.seat} is code without an image to run it in")
        told = None if launch.waits is None else _telling(launch.waits)
        images = await self._images()
        found = await images.ensure(image, told=told, chosen_here=launch.chosen_here)
        # The very image: what the engine calls by the same name may be another by now.
        return await self._runtime.start(replace(launch, image=replace(image, digest=found)))

    async def collect(self) -> Sequence[str]:
        """Remove the images that the settings keep no longer; their names.

        Raises:
            RuntimeUnavailable: the engine doesn't answer.
        """
        return await (await self._images()).collect(kept=self._kept)

    async def digest_of(self, name: str) -> str:
        """The digest of the image that the engine has under a name: its own id.

        Raises:
            RuntimeUnavailable: it has none of this name, or doesn't answer.
        """
        facts = await self._runtime.facts(name)
        if facts is None:
            raise RuntimeUnavailable(
                f"the image {name} is not on this machine: fetch it ({self.name} pull {name}), or name it with its "
                "digest (@sha256:…), by which the node fetches it"
            )
        return facts.id

    async def described(
        self, image: Image, manifest: Manifest, waits: Callable[[str], None] | None
    ) -> Manifest:
        """What an image says of itself, which is fetched where it isn't here.

        Raises:
            SpecInvalid: it says nothing that is known here.
            JobRefused: the site's rules forbid the image, or it has no signature that counts.
            RuntimeUnavailable: it can't be had, or no engine answers.
            BlobMismatch: what arrived is something else.
        """
        images = await self._images()
        found = await images.ensure(image, told=None if waits is None else _telling(waits))
        facts = await self._runtime.facts(found)
        if facts is None:
            raise RuntimeUnavailable(f"the image {image.name} was removed while it was looked at: try again")
        async with self._runtime.files(facts) as read:
            return await describe_as(manifest, replace(facts, name=image.name), read)

    async def close(self) -> None:
        """Hang up."""
        self._store = None
        await self._runtime.close()

    async def _images(self) -> ImageStore:
        client = await self._runtime.engine.open()
        if self._store is None:
            self._store = ImageStore(
                client,
                self._settings,
                signers=self._signers,
                sources=self._sources,
                folder=self._folder,
                proxy=self._proxy,
            )
        return self._store


def _telling(waits: Callable[[str], None]) -> Callable[[Arrived], None]:
    """Tells how far a fetch is, now and then: an engine says it many times a second."""
    last = -1

    def tell(arrived: Arrived) -> None:
        nonlocal last
        if arrived.bytes_total:
            part = _TOLD_PARTS * arrived.bytes_done // arrived.bytes_total
            words = f"{arrived.bytes_done // _MEGABYTE} of {arrived.bytes_total // _MEGABYTE} MB"
        else:
            part = arrived.layers_done
            words = f"{arrived.layers_done} of {arrived.layers_total} layers"
        if arrived.bytes_total and arrived.bytes_done >= arrived.bytes_total:
            words += " are here, and are unpacked"
        if part != last:
            last = part
            # Which image it is stands in the run, with its digest, which would fill a line.
            waits(f"the image {arrived.name.partition('@')[0]} is fetched: {words}")

    return tell
