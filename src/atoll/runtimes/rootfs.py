"""Algorithms in images without any container engine: the unpacked image, in a sandbox of bubblewrap.

An image is unpacked once and kept. A box is a sandbox whose root it is, read-only; see ``rooted.py``
for what it shows beside, and ``boxes.py`` for how its first process is spoken to. An image without
Python is served by a sandbox for each call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.engine.running import Image, ImageKind, Launch, Session, Style
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes import bwrap, groups, rooted, view
from atoll.runtimes.boxes import LINE, Boot, BoxPlace, NoPython, Plan
from atoll.runtimes.children import Bounds, Child, Streams
from atoll.runtimes.containers.planning import plan_of, told_at_start
from atoll.runtimes.doors import Doors
from atoll.runtimes.facts import ImageFacts
from atoll.runtimes.places import Place
from atoll.runtimes.served import seat
from atoll.runtimes.sif import paths
from atoll.runtimes.sif.kept import Root, Roots
from atoll.runtimes.sif.looking import facts_of

_log = logging.getLogger(__name__)

#: Who an algorithm is inside, where Atoll is root. Outside it is who Atoll is, with no rights of root's.
_NOBODY = 65532
#: Ports below this one need a privilege elsewhere.
_LOW_PORTS = 1024
#: Bytes that are kept of what a box's first process says before it can be spoken to.
_SAID_BYTES = 4096


class RootfsRuntime:
    """Runs algorithms in images of Apptainer's format, and in unpacked root file systems.

    Args:
        cache: the folder in which unpacked images are kept.
    """

    name = "bubblewrap"
    isolated = True

    def __init__(self, *, cache: Path) -> None:
        self._cache = cache
        self._roots = Roots(cache)
        #: What images say of themselves, by their digests.
        self._facts: dict[str, ImageFacts] = {}

    def caveats(self) -> Sequence[str]:
        """What a sandbox doesn't bound here."""
        return (groups.caveat(),)

    async def recover(self) -> None:
        """Remove control groups: a sandbox ends with whoever started it, and they don't."""
        await groups.end_orphans()

    async def warm_up(self, launch: Launch) -> None:
        """Unpack the image."""
        if launch.image is not None and bwrap.probe() is None:
            await self._roots.open(Path(launch.image.name), launch.image.digest)

    async def facts(self, name: str) -> ImageFacts:
        """What an image says of itself.

        Raises:
            RuntimeUnavailable: there is no such image, or it can't be run here.
        """
        return await facts_of(Path(name), cache=self._cache)

    async def start(self, launch: Launch) -> Session:
        """Start a sandbox for a session, in the unpacked image.

        Raises:
            RuntimeUnavailable: bubblewrap doesn't work here, or the image isn't here or is none.
            AlgorithmFailed: nothing says what is to be started, or a folder can't be shown.
        """
        if (reason := bwrap.probe()) is not None:
            raise RuntimeUnavailable(f"{reason}. Without it an image runs under Apptainer, Docker or Podman")
        image = image_of(launch, self.name)
        root = await self._roots.open(Path(image.name), image.digest)
        facts = await self._facts_of(image)
        plan = plan_of(launch, facts, None)
        sandboxes = _Sandboxes(root, facts)
        place = BoxPlace(plan, sandboxes)
        try:
            await place.open()
        except NoPython:
            await place.close()
            return seat(_ColdPlace(plan, sandboxes), launch.style)
        except BaseException:
            await place.close()
            raise
        return seat(place, launch.style)

    async def close(self) -> None:
        """Use no image any more."""
        await self._roots.close()

    async def _facts_of(self, image: Image) -> ImageFacts:
        if image.digest not in self._facts:
            self._facts[image.digest] = await self.facts(image.name)
        return self._facts[image.digest]


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


def find_python(root: Path, words: Sequence[str], path: str) -> str | None:
    """Where a root file system has one of these interpreters, by its own paths; None where it has none.

    Args:
        root: the file system.
        words: for the interpreter, best first: names, or absolute paths.
        path: the folders in which names are looked for.
    """
    for word in words:
        for folder in [""] if word.startswith("/") else path.split(":"):
            inner = posixpath.join(folder, word)
            try:
                program = paths.locate(root, inner)
            except OSError:
                continue
            if inner.startswith("/") and program.is_file() and os.access(program, os.X_OK):
                return inner
    return None


class _Sandboxes:
    """Starts sandboxes in one image."""

    def __init__(self, root: Root, facts: ImageFacts) -> None:
        self._root = root
        self._facts = facts
        me = os.geteuid(), os.getegid()
        self._user = me if me[0] else (_NOBODY, _NOBODY)

    async def start(self, boot: Boot) -> Sandbox:
        python = find_python(self._root.folder, boot.pythons, boot.environment["PATH"])
        if python is None:
            raise NoPython
        beside = [*view.guests(), ("read", str(boot.line), LINE)]
        group = groups.make_group(boot.launch.limits)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        said = _paper()
        try:
            child = self.spawn(
                boot.launch,
                [python, *boot.arguments],
                {"PATH": boot.environment["PATH"], **self._facts.environment, **told_at_start(boot.launch)},
                Streams(stdin=nothing, stdout=nothing, stderr=said),
                bounds_of(boot.launch, group),
                beside,
                ["--as-pid-1", "--chdir", "/"],
            )
        except BaseException:
            os.close(said)
            if group is not None:
                await group.remove()
            raise
        finally:
            os.close(nothing)
        return Sandbox(child, group, said)

    def spawn(
        self,
        launch: Launch,
        command: Sequence[str],
        variables: Mapping[str, str],
        streams: Streams,
        bounds: Bounds,
        beside: Sequence[view.Line],
        options: Sequence[str],
    ) -> Child:
        """Start a command in a sandbox."""
        lines = rooted.seats(launch, self._root.folder, self._user, beside)
        user, group = map(str, self._user)
        rights = ["--cap-drop", "ALL", "--disable-userns", "--uid", user, "--gid", group]
        return bwrap.spawn_in(
            lines,
            command,
            variables,
            streams,
            options=[*rights, *options],
            bounds=bounds,
            any_port=any(outlet.port < _LOW_PORTS for outlet in launch.outlets),
        )


class Sandbox:
    """A box that is one process of bubblewrap, with all that it has started.

    Args:
        child: bubblewrap's process.
        group: what bounds it.
        said: a file with what its first process says, which is closed with the box.
    """

    def __init__(self, child: Child, group: groups.Group | None, said: int) -> None:
        self._child = child
        self._group = group
        self._said = said
        self._kills = 0
        self._removed = False
        #: Is set when its first process has ended, with a sentence about why.
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        child.ended.add_done_callback(self._hear)

    async def memory_ran_out(self) -> bool:
        """Whether the system has ended a process of it because it needed too much memory."""
        kills = (self._group.kills() if self._group is not None else None) or 0
        grown, self._kills = kills > self._kills, kills
        return grown

    async def remove(self) -> None:
        """End it with everything in it."""
        if self._removed:
            return
        self._removed = True
        if self._group is not None:
            self._group.hold()
        self._child.kill()
        await asyncio.shield(self._child.ended)
        if self._group is not None:
            await self._group.remove()
        os.close(self._said)

    def _hear(self, ended: asyncio.Future[int]) -> None:
        said = b"" if self._removed else os.pread(self._said, _SAID_BYTES, 0).rstrip(b"\0")
        words = " ".join(said.decode("utf-8", "replace").split())
        self.ended.set_result(
            f"its first process ended with status {ended.result()}{': ' if words else ''}{words}"
        )


class _ColdPlace(Place):
    """Where an image has no Python: a sandbox for each call."""

    def __init__(self, plan: Plan, sandboxes: _Sandboxes) -> None:
        launch = plan.launch
        if launch.style is not Style.CALL or launch.speaks_http or launch.outlets:
            raise RuntimeUnavailable(
                f"the image of the algorithm at {launch.seat} has no Python, so that it can only be given its input "
                "and asked for its output. This algorithm needs more: a lasting process, or its node's door. Add "
                "Python 3.8 or later to the image"
            )
        super().__init__(launch, plan.inside, plan.command, plan.file, None, (), Doors())
        self._points = plan.points
        self._sandboxes = sandboxes

    def inside(self, path: Path) -> str:
        return self._points.inside(path)

    def _start_cold(
        self, arguments: tuple[str, ...], variables: Mapping[str, str], streams: Streams
    ) -> Child:
        # Its first process is bubblewrap's own, which nobody may look or write into.
        return self._sandboxes.spawn(
            self._launch,
            [self._file, *arguments],
            variables,
            streams,
            self._bounds,
            [("cover", "", "/proc/1")],
            ["--chdir", self._inside.code],
        )


def bounds_of(launch: Launch, group: groups.Group | None) -> Bounds:
    """What the system keeps all processes of a box from taking."""
    limits = launch.limits
    grouped = group is not None and group.bounds("memory")
    return Bounds(
        data_bytes=None if grouped else limits.memory_bytes, groups=() if group is None else group.doors
    )


def _paper() -> int:
    """A file in memory that holds what little a process says, and nothing behind that."""
    import fcntl  # Late, as all that only a start needs.

    descriptor = os.memfd_create("said", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, _SAID_BYTES)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return descriptor
