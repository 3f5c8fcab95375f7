"""Boxes that are processes of this machine: what starts one here starts a program, which builds its walls.

Whatever program that is: it is started with nothing of this machine's environment, in a control group
where one can be made, and it ends with all that it has started.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from atoll.engine.running import Image, ImageKind, Launch, Session, Style
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes import groups
from atoll.runtimes.boxes import BoxPlace, Driver, NoPython, Plan
from atoll.runtimes.children import Bounds, Child, Streams
from atoll.runtimes.doors import Doors
from atoll.runtimes.facts import ImageFacts
from atoll.runtimes.places import Place
from atoll.runtimes.served import seat
from atoll.runtimes.sif.kept import Roots
from atoll.runtimes.sif.looking import facts_of

#: Who an algorithm is where Atoll is root: nobody, on every machine.
NOBODY = (65532, 65532)
#: Bytes that are kept of what a box's first process says before it can be spoken to.
_SAID_BYTES = 4096


def image_of(launch: Launch, runtime: str) -> Image:
    """The image of a launch, for a runtime of images that are files.

    Raises:
        RuntimeUnavailable: it has none, or one of a container engine.
    """
    if launch.image is None or launch.image.kind is not ImageKind.SIF:
        what = (
            "code in a folder"
            if launch.image is None
            else f"the image {launch.image.name} of a container engine"
        )
        raise RuntimeUnavailable(
            f"runtime {runtime} runs images that are files (.sif) or folders, and the algorithm at {launch.seat} is "
            f"{what}. Use another runtime, or build a file of it (apptainer build)"
        )
    return launch.image


class Starting(Protocol):
    """Starts the program that builds a box's walls, with nothing on its standard streams."""

    def __call__(self, streams: Streams, bounds: Bounds, /) -> Child: ...


async def start_child(launch: Launch, start: Starting) -> ChildBox:
    """Start a box, bounded as its launch says.

    Raises:
        AlgorithmFailed: the program can't be started.
    """
    group = groups.make_group(launch.limits)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    said = paper()
    try:
        child = start(Streams(stdin=nothing, stdout=nothing, stderr=said), bounds_of(launch, group))
    except BaseException:
        os.close(said)
        if group is not None:
            await group.remove()
        raise
    finally:
        os.close(nothing)
    return ChildBox(child, group, said)


class ChildBox:
    """A box that is a process, with all that it has started.

    Args:
        child: the process.
        group: what bounds it.
        said: a file with what its first process says, which is closed with the box.
    """

    def __init__(self, child: Child, group: groups.Group | None, said: int) -> None:
        self._child = child
        self._group = group
        self._said = said
        self._removing: asyncio.Task[None] | None = None
        #: Is set when its first process has ended, with a sentence about why.
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        child.ended.add_done_callback(self._hear)

    async def memory_ran_out(self) -> bool:
        """Whether the system has ended a process of it because it needed too much memory."""
        return self._group is not None and bool(self._group.kills())

    async def remove(self) -> None:
        """End it with everything in it."""
        if self._removing is None:
            self._removing = asyncio.create_task(self._remove())
        # Whoever is cancelled meanwhile has it removed all the same.
        await asyncio.shield(self._removing)

    async def _remove(self) -> None:
        if self._group is not None:  # by which all are found, however fast they come and go
            await self._group.sweep()
        self._child.kill()
        await asyncio.shield(self._child.ended)
        if self._group is not None:
            await self._group.remove()
        os.close(self._said)

    def _hear(self, ended: asyncio.Future[int]) -> None:
        words = "" if self._removing is not None else " ".join(read_paper(self._said).split())
        self.ended.set_result(
            f"its first process ended with status {ended.result()}{': ' if words else ''}{words}"
        )


class Boxes(Driver, Protocol):
    """Starts boxes of one image, and commands in boxes of their own."""

    def start_cold(
        self,
        launch: Launch,
        command: Sequence[str],
        variables: Mapping[str, str],
        streams: Streams,
        bounds: Bounds,
        folder: str,
    ) -> Child:
        """Start it in a folder of the box."""
        ...


class ColdPlace(Place):
    """Where an image has no Python: a box for each call."""

    def __init__(self, plan: Plan, starter: Boxes) -> None:
        launch = plan.launch
        if launch.style is not Style.CALL or launch.speaks_http or launch.outlets:
            raise RuntimeUnavailable(
                f"the image of the algorithm at {launch.seat} has no Python, so that it can only be given its input "
                "and asked for its output. This algorithm needs more: a lasting process, or its node's door. Add "
                "Python 3.8 or later to the image"
            )
        super().__init__(launch, plan.inside, plan.command, plan.file, None, (), Doors())
        self._points = plan.points
        self._starter = starter

    def inside(self, path: Path) -> str:
        return self._points.inside(path)

    def _start_cold(
        self, arguments: tuple[str, ...], variables: Mapping[str, str], streams: Streams
    ) -> Child:
        return self._starter.start_cold(
            self._launch, [self._file, *arguments], variables, streams, self._bounds, self._inside.code
        )


class FileRuntime:
    """Runs algorithms in images that are files: all that is the same whatever program builds the walls.

    Args:
        cache: the folder in which images are kept; see `Roots`.
    """

    isolated = True

    def __init__(self, *, cache: Path) -> None:
        self._cache = cache
        self._roots = Roots(cache)
        #: What images say of themselves, by their digests.
        self._facts: dict[str, ImageFacts] = {}

    def caveats(self) -> Sequence[str]:
        """What a box doesn't bound here."""
        return (groups.caveat(),)

    async def recover(self) -> None:
        """Remove control groups: a box ends with whoever started it, and they don't."""
        await groups.end_orphans()

    async def facts(self, name: str) -> ImageFacts:
        """What an image says of itself.

        Raises:
            RuntimeUnavailable: there is no such image, or it can't be run here.
        """
        return await facts_of(Path(name), cache=self._cache)

    async def close(self) -> None:
        """Use no image any more."""
        await self._roots.close()

    async def _facts_of(self, image: Image) -> ImageFacts:
        if image.digest not in self._facts:
            self._facts[image.digest] = await self.facts(image.name)
        return self._facts[image.digest]

    async def _seat(self, plan: Plan, boxes: Boxes) -> Session:
        """A session in a box, or in a box for each call where the image has no Python.

        Raises:
            RuntimeUnavailable: this machine can't, or the image has no Python and the session needs one.
            AlgorithmFailed: the box can't be started.
        """
        place = BoxPlace(plan, boxes)
        try:
            await place.open()
        except NoPython:
            await place.close()
            return seat(ColdPlace(plan, boxes), plan.launch.style)
        except BaseException:
            await asyncio.shield(place.close())
            raise
        return seat(place, plan.launch.style)


def bounds_of(launch: Launch, group: groups.Group | None) -> Bounds:
    """What the system keeps all processes of a box from taking."""
    limits = launch.limits
    grouped = group is not None and group.bounds("memory")
    return Bounds(
        data_bytes=None if grouped else limits.memory_bytes, groups=() if group is None else group.doors
    )


def paper() -> int:
    """A file in memory that holds what little a process says, and nothing behind that."""
    descriptor = os.memfd_create("said", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, _SAID_BYTES)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return descriptor


def read_paper(descriptor: int) -> str:
    """What was said."""
    return os.pread(descriptor, _SAID_BYTES, 0).rstrip(b"\0").decode("utf-8", "replace")
