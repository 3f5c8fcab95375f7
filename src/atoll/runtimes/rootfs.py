"""Algorithms in images without any container engine: the unpacked image, in a sandbox of bubblewrap.

An image is unpacked once and kept. A box is a sandbox whose root it is, read-only; see ``rooted.py``
for what it shows beside, and ``boxes.py`` for how its first process is spoken to. An image without
Python is served by a sandbox for each call.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.engine.running import Image, Launch, Session
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes import bwrap, groups, rooted, view
from atoll.runtimes.boxes import LINE, Boot, BoxPlace, NoPython
from atoll.runtimes.childbox import ChildBox, ColdPlace, image_of, start_child
from atoll.runtimes.children import Bounds, Child, Streams
from atoll.runtimes.facts import ImageFacts
from atoll.runtimes.planning import plan_of, told_at_start
from atoll.runtimes.served import seat
from atoll.runtimes.sif import paths
from atoll.runtimes.sif.kept import Root, Roots
from atoll.runtimes.sif.looking import facts_of

#: Who an algorithm is inside, where Atoll is root. Outside it is who Atoll is, with no rights of root's.
_NOBODY = 65532


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
            return seat(ColdPlace(plan, sandboxes), launch.style)
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

    async def start(self, boot: Boot) -> ChildBox:
        python = find_python(self._root.folder, boot.pythons, boot.environment["PATH"])
        if python is None:
            raise NoPython
        variables = {
            "PATH": boot.environment["PATH"],
            **self._facts.environment,
            **told_at_start(boot.launch),
        }
        beside = [*view.guests(), ("read", str(boot.line), LINE)]
        words = [python, *boot.arguments]
        options = ["--as-pid-1", "--chdir", "/"]
        return await start_child(
            boot.launch,
            lambda streams, bounds: self._spawn(
                boot.launch, words, variables, streams, bounds, beside, options
            ),
        )

    def start_cold(
        self,
        launch: Launch,
        command: Sequence[str],
        variables: Mapping[str, str],
        streams: Streams,
        bounds: Bounds,
        folder: str,
    ) -> Child:
        # Its first process is bubblewrap's own, which nobody may look or write into.
        beside = [("cover", "", "/proc/1")]
        return self._spawn(launch, command, variables, streams, bounds, beside, ["--chdir", folder])

    def _spawn(
        self,
        launch: Launch,
        command: Sequence[str],
        variables: Mapping[str, str],
        streams: Streams,
        bounds: Bounds,
        beside: Sequence[view.Line],
        options: Sequence[str],
    ) -> Child:
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
            any_port=any(outlet.port < bwrap.LOW_PORTS for outlet in launch.outlets),
        )
