"""Which image is meant: it is looked at by an engine on this machine, where there is one.

What travels is its name with its digest. An engine here says both, and what is in the image; without
one, whoever submits has to.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from atoll.algorithms import images
from atoll.algorithms.manifest import ImageNamed, Manifest
from atoll.algorithms.sources import read
from atoll.engine.running import ImageKind
from atoll.model.errors import RuntimeUnavailable, SpecInvalid
from atoll.runtimes.containers.reference import read_reference
from atoll.runtimes.containers.settings import ContainerSettings, Registry
from atoll.runtimes.facts import ImageFacts, ImageFiles

#: What asks for the images that a compspec.json names.
AS_NAMED = "compspec"
#: Seconds that a registry may take to say what it has.
_ASKED_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """An image that was looked for."""

    image: ImageNamed
    #: None where no engine here has it.
    facts: ImageFacts | None
    #: Whether its registry has it by this digest, as that says itself; None where it wasn't asked.
    is_pushed: bool | None = None

    def warnings(self) -> tuple[str, ...]:
        """What may go wrong with it elsewhere."""
        if self.facts is None or self.is_pushed:
            return ()
        named = any(one.endswith(f"@{self.image.digest}") for one in self.facts.digests)
        if named and self.is_pushed is None:
            return ()
        warning = (
            f"{self.image.name} was never pushed to a registry: only nodes whose engine has this very image "
            f"({self.image.digest[:19]}…) can run it. Push it, and submit it again"
        )
        return (warning,)


class Engine(Protocol):
    """What keeps images on this machine."""

    @property
    def is_podman(self) -> bool:
        """Whether it names digests that it has worked out itself."""
        ...

    async def facts(self, name: str) -> ImageFacts | None:
        """What an image says of itself; None where it isn't here."""
        ...

    def files(self, image: str) -> AbstractAsyncContextManager[ImageFiles]:
        """Reads files of an image, for as long as the context lasts."""
        ...


class Looker:
    """Looks at images by the engine of this machine, if there is one.

    Args:
        settings: which one.
    """

    def __init__(self, settings: ContainerSettings | None = None) -> None:
        self._settings = settings or ContainerSettings()

    async def look(self, text: str) -> Looked:
        """Find an image.

        Args:
            text: its name, or its name and digest; ``docker:`` may stand before it.

        Raises:
            SpecInvalid: it is no name of an image, or nothing here says its digest.
        """
        name, digest = images.parse(text)
        why = "no container engine was found"
        async with self._opened() as engine:
            if engine is not None:
                facts = await engine.facts(name if digest is None else f"{images.repository(name)}@{digest}")
                if facts is None and digest is not None:  # An engine's own id may be meant.
                    facts = await engine.facts(digest)
                if facts is not None:
                    if digest is not None:
                        return Looked(image=ImageNamed(name=name, digest=digest), facts=facts)
                    looked = Looked(image=images.pinned(facts), facts=facts)
                    return await _as_pushed(looked) if engine.is_podman else looked
                why = "the container engine here hasn't got it"
        if digest is None:
            raise SpecInvalid(
                f"which image {name} is can't be told here, as {why}. Fetch it (docker pull {name}), or name it with "
                f"its digest: {name}@sha256:…"
            )
        return Looked(image=ImageNamed(name=name, digest=digest), facts=None)

    async def describe(self, looked: Looked, dialect: str) -> Manifest:
        """What an image holds; where it can't be looked into, what its submitter says.

        Raises:
            SpecInvalid: it holds no algorithm, or nobody says what it holds.
            RuntimeUnavailable: the engine that has it answers no more.
        """
        if looked.facts is None:
            return images.assumed(looked.image.name, looked.image, dialect)
        facts = looked.facts
        async with self._opened() as engine:
            if engine is None:
                raise RuntimeUnavailable(
                    f"the container engine that has {looked.image.name} answers no more: start it, and try again"
                )
            async with engine.files(facts.id) as files:
                return await images.describe(facts, files, image=looked.image, dialect=dialect)

    async def file(self, path: Path, dialect: str) -> tuple[Manifest, tuple[str, ...]]:
        """What an image that is a file holds, and what may go wrong.

        Args:
            path: the file, of Apptainer's format.
            dialect: how it is written; ``auto``: as it says.

        Raises:
            SpecInvalid: it holds no algorithm.
            RuntimeUnavailable: it is no such file, or can't be read here.
        """
        # Late: it reads formats that few people submit.
        from atoll.runtimes.sif.looking import facts_of, read_file

        with tempfile.TemporaryDirectory(prefix="atoll-images-") as cache:
            facts = await facts_of(path, cache=Path(cache))
        # Nodes look for it in a folder of their own, and know it by its digest.
        named = ImageNamed(kind=ImageKind.SIF, name=path.name, digest=facts.id)
        manifest = await images.describe(facts, partial(read_file, path), image=named, dialect=dialect)
        warning = f"{path.name} runs only at nodes that have this very file in their own folder of images"
        return manifest, (warning,)

    async def computation(self, path: Path, text: str) -> tuple[Manifest, tuple[str, ...]]:
        """A COINSTAC computation whose code is in an image, by its compspec.json; and what may go wrong.

        Args:
            path: of the compspec.json, or its folder.
            text: the image's name, or `AS_NAMED`.

        Raises:
            SpecInvalid: the spec or the image can't be used.
        """
        path = path if path.is_file() else path / "compspec.json"
        spec = read(path, "a COINSTAC computation's compspec.json", "Name the computation's folder")
        site, aggregator = images.named_in(spec, str(path)) if text == AS_NAMED else (text, text)
        of_site = await self.look(site)
        of_aggregator = of_site if aggregator == site else await self.look(aggregator)
        manifest = images.describe_compspec(spec, str(path), of_site.image, of_aggregator.image)
        return manifest, tuple(dict.fromkeys((*of_site.warnings(), *of_aggregator.warnings())))

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Engine | None]:
        try:
            # Late: it needs an extra, and most people submit no images.
            from atoll.runtimes.containers import engine
        except ModuleNotFoundError:
            yield None
            return
        try:
            opened = engine.Engine(engine.find_socket(self._settings))
            await opened.open()
        except RuntimeUnavailable:
            yield None
            return
        try:
            yield opened
        finally:
            await opened.close()


async def _as_pushed(looked: Looked) -> Looked:
    """An image, by the digest that its registry has for it.

    Podman names one for whatever has a registry's name, pushed or not; and the registry may have another, since
    layers are compressed when they are pushed. Where nobody answers, Podman's word is taken.
    """
    image, facts = looked.image, looked.facts
    assert facts is not None
    if image.digest == facts.id:
        return looked
    # Late: it needs an extra, which Podman's images need, too.
    from atoll.runtimes.containers.registry import Repository

    reference = read_reference(image.name)
    host = reference.host.partition(":")[0]
    known = Registry(
        plain=host in ("127.0.0.1", "localhost")
    )  # as engines speak to a registry on this machine
    try:
        async with asyncio.timeout(_ASKED_SECONDS), Repository(reference, known) as repository:
            if await repository.has(image.digest):
                return replace(looked, is_pushed=True)
            digest = await repository.pushed(reference.tag or "latest", facts.id)
    except (RuntimeUnavailable, TimeoutError):
        return looked
    # Without a registry's digest, other engines know it by its id.
    return replace(looked, image=replace(image, digest=digest or facts.id), is_pushed=digest is not None)
