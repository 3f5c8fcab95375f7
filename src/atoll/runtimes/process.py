"""Algorithms as plain processes of this machine: no isolation, for code that one trusts."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from atoll.engine.running import Launch, Session, Style
from atoll.model.errors import AlgorithmFailed
from atoll.runtimes import environment, groups
from atoll.runtimes.children import Child, Streams, spawn
from atoll.runtimes.command import code_at, code_of, is_python, rewrite
from atoll.runtimes.doors import Doors, LoopbackDoors
from atoll.runtimes.interpreter import Interpreter, describe
from atoll.runtimes.places import Inside, Place, ways
from atoll.runtimes.pool import HERE, SERVED, Kind, Pool
from atoll.runtimes.served import seat

_OUTLIVES = "a process that detaches itself from its call may outlive it"


class ProcessRuntime:
    """Runs algorithms as processes beside Atoll.

    Args:
        python: the interpreter that stands for ``python`` in a command. Default: Atoll's own.
        warm: whether calls of Python scripts are forked from a process that has imported
            their libraries already.
    """

    name = "process"
    isolated = False

    def __init__(self, *, python: Path | None = None, warm: bool = True) -> None:
        self._python = python
        self._shelves = _Shelves()
        self._pool = Pool(_start_parent, here=str(HERE), isolated=False) if warm else None

    def caveats(self) -> Sequence[str]:
        """What a process is not kept from."""
        return (
            (
                "processes run without isolation: they see the files and the network of this machine, "
                "and each other. Use them for code that you trust"
            ),
            *([_OUTLIVES] if self._strays() else []),
            groups.caveat(sandboxed=False),
        )

    def not_promised(self) -> Mapping[str, str]:
        """Which checks of its conformance it doesn't ask for here, and why."""
        strays = {"left": _OUTLIVES, "hang": _OUTLIVES, "cancel": _OUTLIVES, "owner-killed": _OUTLIVES}
        return {**groups.not_promised(counted=True), **(strays if self._strays() else {})}

    def _strays(self) -> bool:
        """Whether a process can leave what its call knows of."""
        return "fork-bomb" in groups.not_promised(counted=True)

    async def recover(self) -> None:
        """End what processes have left that detached themselves, where control groups know of it."""
        await groups.end_orphans()

    async def warm_up(self, launch: Launch) -> None:
        """Start the warm parent that such a launch's calls are forked from."""
        if self._pool is not None:
            python = describe(self._python)
            for kind, _ in ways(
                launch, python, self._inside(launch, python), launch.command, any_command=False
            ):
                await self._pool.parent(kind)

    async def start(self, launch: Launch) -> Session:
        """Make a session ready. Its first process starts at its first call.

        Raises:
            RuntimeUnavailable: the interpreter can't be used.
            AlgorithmFailed: there is no such command.
        """
        interpreter = describe(self._python)
        place = _Process(launch, interpreter, self._inside(launch, interpreter), self._pool)
        return seat(place, launch.style)

    async def close(self) -> None:
        """End the warm parents, and remove what they were shown."""
        if self._pool is not None:
            await self._pool.close()
        self._shelves.close()

    def _inside(self, launch: Launch, interpreter: Interpreter) -> Inside:
        served = (str(SERVED),) if launch.style is Style.SERVE else ()
        lent = (str(self._shelves.shelf(launch.modules)),) if launch.modules else ()
        return Inside(
            code=str(code_of(launch)),
            guest=str(HERE),
            path=(*served, *lent),
            environment=environment.shared(interpreter.executable, launch.temporary, launch.environment),
        )


class _Shelves:
    """Folders of links to packages, so that what lies beside a package can't be imported with it."""

    def __init__(self) -> None:
        self._shelves: dict[tuple[Path, ...], Path] = {}

    def shelf(self, modules: tuple[Path, ...]) -> Path:
        """The folder that holds these packages alone."""
        if modules not in self._shelves:
            folder = self._shelves[modules] = Path(tempfile.mkdtemp(prefix="atoll-modules-"))
            for module in modules:
                (folder / module.name).symlink_to(os.path.realpath(module))
        return self._shelves[modules]

    def close(self) -> None:
        """Remove the folders."""
        for folder in self._shelves.values():
            shutil.rmtree(folder, ignore_errors=True)
        self._shelves.clear()


class _Process(Place):
    """The processes of one launch, beside ours.

    Code with a name is linked into a folder of its own, the working directory, so that what
    lies beside it isn't imported by accident. A script that Python is given by its path finds
    its neighbours all the same: Python follows the link.
    """

    sandboxed = False

    def __init__(self, launch: Launch, interpreter: Interpreter, inside: Inside, pool: Pool | None) -> None:
        self._linked = _link(launch)
        self._cwd = self._linked or code_of(launch)
        command = rewrite(launch.command, self._cwd)
        inside = replace(inside, code=str(self._cwd))
        try:
            file = _find(command[0], inside.environment["PATH"], launch, self._cwd, interpreter)
            # Another command than Python's is started just as quickly cold.
            parents = ways(launch, interpreter, inside, command, any_command=False)
            doors = LoopbackDoors() if launch.speaks_http else Doors()
        except BaseException:
            self._unlink()
            raise
        super().__init__(launch, inside, command, file, pool, parents, doors)

    async def sweep(self) -> None:
        """End what is left in the session's group: nothing else keeps it from going on."""
        if self._group is not None:
            await self._group.sweep()

    async def close(self) -> None:
        await super().close()
        self._unlink()

    def _unlink(self) -> None:
        if self._linked is not None:
            shutil.rmtree(self._linked, ignore_errors=True)

    def _start_cold(
        self, arguments: tuple[str, ...], variables: Mapping[str, str], streams: Streams
    ) -> Child:
        return spawn(
            [self._file, *arguments],
            variables,
            streams,
            cwd=self._cwd,
            bounds=self._bounds,
        )


def _link(launch: Launch) -> Path | None:
    """A folder in which the code has its name, where it is to have one."""
    at = code_at(launch)
    if launch.code_name is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix=".code-", dir=launch.temporary))
    (folder / Path(at).name).symlink_to(os.path.realpath(code_of(launch)))
    return folder


def _find(word: str, path: str, launch: Launch, cwd: Path, interpreter: Interpreter) -> str:
    if is_python(word):
        return str(interpreter.executable)
    found = str(cwd / word) if "/" in word else shutil.which(word, path=path)
    if found is None or not os.access(found, os.X_OK):
        raise AlgorithmFailed(
            f"the command {launch.command[0]!r} can't be started: there is no such program on this machine; "
            "install it, or use a runtime that runs the algorithm's image"
        )
    return found


def _start_parent(kind: Kind, command: Sequence[str], line: int, errors: int) -> Child:
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        streams = Streams(stdin=nothing, stdout=nothing, stderr=errors)
        variables = environment.shared(kind.executable, None, dict(kind.environment))
        # It must live long enough to end its calls when we end.
        return spawn([str(kind.executable), *command], variables, streams, passed=[line], ends_itself=True)
    finally:
        os.close(nothing)
