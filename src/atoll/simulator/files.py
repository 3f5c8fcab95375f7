"""Images that are files, under a runtime that needs no container engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from atoll.engine.running import Launch, Session
from atoll.runtimes.apptainer import ApptainerRuntime
from atoll.runtimes.facts import ImageFacts, ImageFiles
from atoll.runtimes.rootfs import RootfsRuntime
from atoll.runtimes.sif.looking import read_file
from atoll.runtimes.sif.naming import find_image

#: What stands before the path of a file that holds an image.
_OF_FILE = "sif:"


class FileImages:
    """A runtime of images that are files, which finds them by the names that specifications have.

    Args:
        runtime: runs them.
        folder: where a file is looked for that a specification names.
    """

    def __init__(self, runtime: ApptainerRuntime | RootfsRuntime, folder: Path) -> None:
        self._runtime = runtime
        self._folder = folder

    @property
    def name(self) -> str:
        """The word that asks for it."""
        return self._runtime.name

    @property
    def isolated(self) -> bool:
        """Whether an algorithm sees nothing of this machine but what its launch names."""
        return self._runtime.isolated

    def caveats(self) -> Sequence[str]:
        """What it doesn't contain or bound."""
        return self._runtime.caveats()

    async def recover(self) -> None:
        """Remove what earlier simulations have left."""
        await self._runtime.recover()

    async def warm_up(self, launch: Launch) -> None:
        """Unpack an image before it is needed."""
        await self._runtime.warm_up(launch)

    async def start(self, launch: Launch) -> Session:
        """Start a session in an image."""
        return await self._runtime.start(launch)

    async def close(self) -> None:
        """Use no image any more."""
        await self._runtime.close()

    async def facts(self, name: str) -> ImageFacts:
        """What an image says of itself.

        Args:
            name: ``sif:`` and its path, or what a specification calls it.

        Raises:
            RuntimeUnavailable: there is no such image, or it can't be run here.
        """
        if name.startswith(_OF_FILE):
            return await self._runtime.facts(name.removeprefix(_OF_FILE))
        return await self._runtime.facts(str(find_image(self._folder, name).absolute()))

    @asynccontextmanager
    async def files(self, facts: ImageFacts) -> AsyncIterator[ImageFiles]:
        """Reads files of an image."""
        yield partial(read_file, Path(facts.name))
