"""Images that are files, in a folder of the site: algorithms name them as the folder does.

An image that the site itself has chosen for code may lie anywhere.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from atoll.algorithms.manifest import Manifest
from atoll.engine.running import Image, Launch, Runtime, Session
from atoll.model.errors import JobRefused


class FileRuntime:
    """Runs images of a folder.

    Args:
        runtime: runs them, by their paths.
        folder: where those lie that algorithms may name; None: there are none.
        check: raises an error for one that isn't signed as the site wants it.
    """

    def __init__(
        self, runtime: Runtime, folder: Path | None, check: Callable[[Image], Awaitable[None]] | None = None
    ) -> None:
        self._runtime = runtime
        self._folder = folder
        self._check = check

    @property
    def name(self) -> str:
        """The word for what runs them."""
        return self._runtime.name

    @property
    def isolated(self) -> bool:
        """Whether they see nothing else of this machine."""
        return self._runtime.isolated

    def caveats(self) -> Sequence[str]:
        """What is not contained."""
        return self._runtime.caveats()

    async def recover(self) -> None:
        """Remove what an earlier life has left."""
        await self._runtime.recover()

    async def warm_up(self, launch: Launch) -> None:
        """Unpack the image."""
        await self._runtime.warm_up(self._placed(launch))

    async def start(self, launch: Launch) -> Session:
        """Start a session in the file that has the image's name and digest.

        Raises:
            JobRefused: the folder has none of this name, or it isn't signed as the site wants it.
            RuntimeUnavailable: it is another one, or can't be run here.
            AlgorithmFailed: it can't be started.
        """
        placed = self._placed(launch)
        if self._check is not None and launch.image is not None and not launch.chosen_here:
            await self._check(launch.image)
        return await self._runtime.start(placed)

    async def described(self, image: Image, manifest: Manifest) -> Manifest:
        """What an image says of itself.

        Raises:
            SpecInvalid: it says nothing that is known here.
            JobRefused: the folder has none of this name and digest, or it isn't signed as the site wants it.
            RuntimeUnavailable: it can't be read here.
        """
        # Late: few nodes run images that are files.
        from atoll.algorithms.images import describe_as
        from atoll.runtimes.sif.looking import facts_of, read_file

        path = self._find(image.name)
        if self._check is not None:
            await self._check(image)
        with tempfile.TemporaryDirectory(prefix="atoll-image-") as cache:
            facts = await facts_of(path, cache=Path(cache))
        if facts.id != image.digest:
            raise JobRefused(
                f"this site's file {image.name!r} has the digest {facts.id}, and {image.digest} is asked for: ask its "
                "people for that one"
            )
        return await describe_as(manifest, facts, partial(read_file, path))

    async def close(self) -> None:
        """End what outlives sessions."""
        await self._runtime.close()

    def _placed(self, launch: Launch) -> Launch:
        assert launch.image is not None  # Algorithms without an image have another runtime.
        if launch.chosen_here:
            return launch  # node.yaml has its path.
        path = self._find(launch.image.name)
        return replace(launch, image=replace(launch.image, name=str(path)))

    def _find(self, name: str) -> Path:
        if self._folder is None:
            raise JobRefused(
                f"this site takes no images that are files, and so not {name!r}: its node.yaml names no folder of such "
                "files ('image_files')"
            )
        # By the whole of its name: what the site says of a file must not be passed by with a part of that. What else
        # lies there is the site's own business.
        path = self._folder / name
        if "/" in name or name in ("", ".", "..") or not os.path.exists(path):
            raise JobRefused(f"this site has no image {name!r} among its files: ask its people for it")
        return path
