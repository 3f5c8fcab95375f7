"""Algorithms in images under Apptainer, or Singularity, by its command line.

A box is one ``apptainer exec`` whose command is Atoll's own program under the image's Python; see
``boxes.py``. It is given nothing of this machine but what its launch names, and no network but its
own loopback. What it is given to read in its environment travels in Apptainer's own, since everybody
may see the words of a command.

Which words the program is given is said in ``apptainer_words.py``, and nothing here knows them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.engine.limits import CallLimits
from atoll.engine.running import Image, Launch, Mount, Session
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes import environment, groups, view
from atoll.runtimes.apptainer_words import Shown, Version, read_version, words_of
from atoll.runtimes.boxes import LINE, Boot, NoPython, hand_over
from atoll.runtimes.childbox import (
    NOBODY,
    ChildBox,
    FileRuntime,
    image_of,
    paper,
    read_paper,
    start_child,
)
from atoll.runtimes.children import Bounds, Child, Streams, spawn
from atoll.runtimes.command import code_at
from atoll.runtimes.facts import ImageFacts
from atoll.runtimes.planning import plan_of, told_at_start

#: What Apptainer and its elder are called, in the order in which they are looked for.
PROGRAMS = ("apptainer", "singularity")
#: Seconds that a question to the program may take.
_ASKED_SECONDS = 60.0
#: Asks an interpreter whether Atoll's program runs under it.
_IS_NEW_ENOUGH = "import sys; sys.exit(sys.version_info < (3, 8))"
_UNTRIED = "Atoll's commands for Apptainer were tried with a stand-in for it, and with no real one"


class ApptainerRuntime(FileRuntime):
    """Runs algorithms in images that are files, by the program ``apptainer`` or ``singularity``.

    Args:
        cache: the folder in which it is noted what images are; see `Roots`.
        program: its path, or its name. None: whichever is installed.
    """

    name = "apptainer"

    def __init__(self, *, cache: Path, program: str | None = None) -> None:
        super().__init__(cache=cache)
        self._program = program
        self._version: Version | None = None
        #: The interpreter that an image is known to have; None where it has none. By digest.
        self._pythons: dict[str, str | None] = {}

    def caveats(self) -> Sequence[str]:
        """What a box doesn't bound here, and what nobody has tried."""
        return (*super().caveats(), _UNTRIED)

    async def warm_up(self, launch: Launch) -> None:
        """See that the program is there."""
        await self.version()

    async def version(self) -> Version:
        """The program's.

        Raises:
            RuntimeUnavailable: there is none, or it is too old.
        """
        if self._version is None:
            status, said = await _ask([self._found(), "--version"], environment.bare())
            if status != 0:
                raise RuntimeUnavailable(f"{self._found()} ended with status {status} and said: {said}")
            self._version = read_version(said)
        return self._version

    async def start(self, launch: Launch) -> Session:
        """Start a box for a session.

        Raises:
            RuntimeUnavailable: the program isn't here, or can't; or the image isn't here or is none.
            AlgorithmFailed: nothing says what is to be started, or a folder can't be shown.
        """
        image = image_of(launch, self.name)
        version = await self.version()
        facts = await self._facts_of(image)
        if os.geteuid() == 0:
            writable = [launch.temporary, *(mount.source for mount in launch.mounts if mount.writable)]
            await asyncio.to_thread(hand_over, writable, NOBODY)
        boxes = _Boxes(self, version, image)
        plan = plan_of(launch, facts, NOBODY if os.geteuid() == 0 else None)
        if image.digest not in self._pythons:
            self._pythons[image.digest] = await boxes.find_python(plan.pythons)
        return await self._seat(plan, boxes)

    def python_of(self, image: Image) -> str | None:
        """The interpreter that an image is known to have."""
        return self._pythons[image.digest]

    def over(self, text: str | None = None) -> Path:
        """What is shown over an image's own: a file with this text, or an empty folder.

        They are the same for all, and stay: who is killed leaves nothing behind that would grow.
        """
        folder = self._cache / "over"
        if text is None:
            empty = folder / "empty"
            empty.mkdir(mode=0o555, parents=True, exist_ok=True)
            return empty
        path = folder / hashlib.sha256(text.encode()).hexdigest()
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            written = folder / f"{path.name}.{os.getpid()}"
            written.write_text(text)
            written.chmod(0o444)  # who is nobody inside must read it
            written.rename(path)
        return path

    def command(self, words: Sequence[str]) -> list[str]:
        """The program with words behind it."""
        return [self._found(), *words]

    async def _facts_of(self, image: Image) -> ImageFacts:
        found = await self._roots.digest_of(Path(image.name))
        if found != image.digest:
            raise RuntimeUnavailable(
                f"{image.name} is not the image that was asked for: its digest is {found}, and expected was "
                f"{image.digest}"
            )
        return await super()._facts_of(image)

    def _found(self) -> str:
        for name in PROGRAMS if self._program is None else (self._program,):
            if (found := shutil.which(name)) is not None:
                return found
        raise RuntimeUnavailable(
            f"Apptainer is not installed: there is no program named {self._program or ' or '.join(PROGRAMS)}. Images "
            "that are files run under bubblewrap, too: --runtime bubblewrap"
        )


class _Boxes:
    """Starts boxes in one image."""

    def __init__(self, runtime: ApptainerRuntime, version: Version, image: Image) -> None:
        self._runtime = runtime
        self._version = version
        self._image = image
        self._user = NOBODY if os.geteuid() == 0 else None

    async def find_python(self, words: Sequence[str]) -> str | None:
        """The first of these interpreters that the image has, and under which Atoll's program runs."""
        for word in words:
            command = self._words([word, "-c", _IS_NEW_ENOUGH], [], None, "/")
            status, said = await _ask(command, environment.bare())
            if status == 0:
                return word
            if status not in (1, 126, 127) and "not found" not in said and "no such file" not in said.lower():
                raise RuntimeUnavailable(f"{self._version} ended with status {status} and said: {said}")
        return None

    async def start(self, boot: Boot) -> ChildBox:
        python = self._runtime.python_of(self._image)
        if python is None:
            raise NoPython
        shown = [
            *self._shown(boot.launch),
            *(Shown(source=source, target=target) for _, source, target in view.guests()),
            Shown(source=str(boot.line), target=LINE, writable=True),
        ]
        words = self._words([python, *boot.arguments], shown, boot.launch, "/", first=True)
        variables = self._variables(told_at_start(boot.launch))
        return await start_child(
            boot.launch, lambda streams, bounds: spawn(words, variables, streams, bounds=bounds)
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
        # The program lets nobody say what HOME is inside.
        at_home = ["/bin/sh", "-c", f'export HOME={view.TEMPORARY}; exec "$@"', "sh", *command]
        words = self._words(at_home, self._shown(launch), launch, folder)
        return spawn(words, self._variables(variables), streams, bounds=bounds)

    def _words(
        self,
        command: Sequence[str],
        shown: Sequence[Shown],
        launch: Launch | None,
        folder: str,
        *,
        first: bool = False,
    ) -> list[str]:
        limits = None if launch is None else _left_over(launch.limits)
        name = os.path.abspath(self._image.name)
        return self._runtime.command(
            words_of(
                self._version,
                name,
                command,
                shown,
                folder=folder,
                user=self._user,
                limits=limits,
                first=first,
            )
        )

    def _variables(self, inside: Mapping[str, str]) -> dict[str, str]:
        """The program's own environment, with what it hands on."""
        handed = {f"{self._version.prefix}{name}": value for name, value in inside.items() if name != "HOME"}
        return {**environment.bare(), **handed}

    def _shown(self, launch: Launch) -> list[Shown]:
        """What of this machine a launch names."""
        shown = [
            Shown(source=str(self._runtime.over(view.hosts(launch.outlets))), target="/etc/hosts"),
            Shown(source=os.path.realpath(launch.temporary), target=view.TEMPORARY, writable=True),
            *(Shown(source=source, target=target) for _, source, target in view.lent(launch.modules)),
        ]
        if launch.code is not None:
            shown.append(Shown(source=os.path.realpath(launch.code), target=code_at(launch)))
            for real, inside in view.masked(launch):
                over = self._runtime.over(None if real.is_dir() else "")
                shown.append(Shown(source=str(over), target=inside))
        return [*shown, *map(_mounted, launch.mounts)]


def _mounted(mount: Mount) -> Shown:
    source, target = view.shown(mount)
    return Shown(source=str(source), target=target, writable=mount.writable)


def _left_over(limits: CallLimits) -> CallLimits:
    """The bounds that no control group of ours can set here: the program may be able to."""
    ours = {resource for spot in groups.find_spots() for resource in spot.resources}
    return CallLimits(
        memory_bytes=None if "memory" in ours else limits.memory_bytes,
        processors=None if "cpu" in ours else limits.processors,
        processes=None if "pids" in ours else limits.processes,
    )


async def _ask(command: Sequence[str], variables: Mapping[str, str]) -> tuple[int, str]:
    """Run a command that answers at once: its status, and what it says."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    said = paper()
    try:
        child = spawn(command, variables, Streams(stdin=nothing, stdout=said, stderr=said))
        try:
            async with asyncio.timeout(_ASKED_SECONDS):
                status = await asyncio.shield(child.ended)
        except TimeoutError:
            raise RuntimeUnavailable(
                f"{command[0]} did not answer within {_ASKED_SECONDS:g} seconds"
            ) from None
        finally:
            if not child.ended.done():
                child.kill()
                await asyncio.shield(child.ended)
        return status, " ".join(read_paper(said).split())
    finally:
        os.close(nothing)
        os.close(said)
