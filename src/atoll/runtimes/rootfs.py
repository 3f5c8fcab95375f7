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

from atoll.engine.running import Launch, Session
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes import bwrap, rooted, view
from atoll.runtimes.boxes import LINE, Boot, NoPython
from atoll.runtimes.childbox import NOBODY, ChildBox, FileRuntime, image_of, start_child
from atoll.runtimes.children import Bounds, Child, Streams
from atoll.runtimes.facts import ImageFacts
from atoll.runtimes.planning import plan_of, told_at_start
from atoll.runtimes.sif import paths
from atoll.runtimes.sif.kept import Root


class RootfsRuntime(FileRuntime):
    """Runs algorithms in images of Apptainer's format, and in unpacked root file systems."""

    name = "bubblewrap"

    async def warm_up(self, launch: Launch) -> None:
        """Unpack the image."""
        if launch.image is not None and bwrap.probe() is None:
            await self._roots.open(Path(launch.image.name), launch.image.digest)

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
        return await self._seat(plan_of(launch, facts, None), _Sandboxes(root, facts))


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
        # Outside it is who Atoll is, with no rights of root's.
        self._user = me if me[0] else NOBODY

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
