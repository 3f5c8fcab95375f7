"""Images that are files, in a folder of the site: algorithms name them as the folder does.

An image that the site itself has chosen for code may lie anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

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

    async def close(self) -> None:
        """End what outlives sessions."""
        await self._runtime.close()

    def _placed(self, launch: Launch) -> Launch:
        assert launch.image is not None  # Algorithms without an image have another runtime.
        if launch.chosen_here:
            return launch  # node.yaml has its path.
        if self._folder is None:
            raise JobRefused(
                f"this site takes no images that are files, and so not {launch.image.name!r}: its node.yaml names no "
                "folder of such files ('image_files')"
            )
        # By the whole of its name: what the site says of a file must not be passed by with a part of that. What else
        # lies there is the site's own business.
        name = launch.image.name
        path = self._folder / name
        if "/" in name or name in ("", ".", "..") or not os.path.exists(path):
            raise JobRefused(f"this site has no image {name!r} among its files: ask its people for it")
        return replace(launch, image=replace(launch.image, name=str(path)))
