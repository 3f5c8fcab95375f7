"""Where the processes of one launch run: what is the same with isolation and without it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.engine.limits import CallLimits
from atoll.engine.running import Launch
from atoll.runtimes import environment, groups
from atoll.runtimes.children import Child, Streams
from atoll.runtimes.command import Program
from atoll.runtimes.doors import Doors
from atoll.runtimes.imports import find_libraries
from atoll.runtimes.interpreter import Interpreter
from atoll.runtimes.sessions import Running
from atoll.runtimes.warm import CellRefused, Kind, Parent, Pool

#: How a served process learns which descriptor is its line; the guests know the name too.
SERVE_VARIABLE = "ATOLL_SERVE_FD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """How an algorithm sees what a runtime gives it."""

    #: The working directory.
    code: str
    #: The folder that holds the guest programs.
    guest: str
    #: Put in front of the import path: what Atoll lends to the algorithm.
    path: tuple[str, ...]
    environment: Mapping[str, str]


class Place:
    """The processes of one launch: forked from a warm parent where that works, else cold."""

    def __init__(
        self,
        launch: Launch,
        interpreter: Interpreter,
        inside: Inside,
        program: Program | None,
        pool: Pool | None,
        doors: Doors,
    ) -> None:
        self.limits: CallLimits = launch.limits
        self.log: Path = launch.log
        self.doors = doors
        self._launch = launch
        self._inside = inside
        self._program = program
        self._group = (
            None if self.limits.memory_bytes is None else groups.make_group(self.limits.memory_bytes)
        )
        warm = pool is not None and program is not None and program.warm
        self._pool = pool if warm else None
        self._kind = choose_kind(launch, interpreter, inside) if warm else None

    def inside(self, path: Path) -> str:
        """Where the algorithm sees a path."""
        return str(path)

    def memory_kills(self) -> int | None:
        """How often the system ended a process for its memory; None where that can't be told."""
        return None if self._group is None else self._group.kills()

    async def start(self, streams: Streams, seed: int | None, environment: Mapping[str, str]) -> Running:
        """Start a process, with these variables beside the launch's.

        Raises:
            AlgorithmFailed: the command can't be started.
            ParentLost: the warm parent ended meanwhile.
        """
        if self._pool is not None and self._kind is not None and self._program is not None:
            parent = await self._pool.parent(self._kind)
            if parent is not None:
                try:
                    cell = await self._enter(parent)
                except CellRefused:
                    self._pool = None
                else:
                    return self._fork(parent, cell, self._program, streams, seed, environment)
        return self._spawn(streams, seed, environment)

    async def close(self) -> None:
        """Give up what the place holds. May be called twice."""
        self.doors.close()
        group, self._group = self._group, None
        if group is not None:
            await group.remove()

    async def _enter(self, _parent: Parent) -> int | None:
        """The sandbox at this parent that calls join; None where there is no isolation."""
        return None

    def _fork(
        self,
        parent: Parent,
        cell: int | None,
        program: Program,
        streams: Streams,
        seed: int | None,
        environment: Mapping[str, str],
    ) -> Running:
        task: dict[str, Any] = {
            "kind": program.kind,
            "name": program.name,
            "arguments": program.arguments,
            "original": program.original,
            "unbuffered": program.unbuffered,
            "environment": {**self._inside.environment, **environment},
            "cwd": self._inside.code,
            "path": self._inside.path,
            "seed": seed,
            "memory": self._data_bytes_max,
            "port": None if self.doors.address is None else self.doors.address[1],
        }
        if self._group is None:
            return parent.start(task, streams, cell=cell)
        door = os.open(self._group.door, os.O_WRONLY | os.O_CLOEXEC)
        try:
            return parent.start(task, streams, cell=cell, group=door)
        finally:
            os.close(door)

    def _spawn(self, streams: Streams, seed: int | None, environment: Mapping[str, str]) -> Running:
        arguments = self._launch.command[1:] if self._program is None else self._program.original
        if seed is not None and self._program is not None:
            arguments = self._program.seeded(self._inside.guest, seed)
        variables = {**self._inside.environment, **environment}
        if streams.serve is not None:
            variables[SERVE_VARIABLE] = str(streams.serve)
        if self._inside.path:
            paths = [*self._inside.path, *filter(None, [variables.get("PYTHONPATH")])]
            variables["PYTHONPATH"] = os.pathsep.join(paths)
        return self._start_cold(arguments, variables, streams)

    def _start_cold(
        self, arguments: tuple[str, ...], variables: Mapping[str, str], streams: Streams
    ) -> Child:
        raise NotImplementedError

    @property
    def _data_bytes_max(self) -> int | None:
        """The bound on each process's memory, where no control group bounds that of all."""
        return self.limits.memory_bytes if self._group is None else None

    @property
    def _door(self) -> Path | None:
        return None if self._group is None else self._group.door


def choose_kind(launch: Launch, interpreter: Interpreter, inside: Inside) -> Kind:
    """What this launch's warm parent must be like."""
    # What is lent stands in front of all else, and knows nothing of what lies behind it.
    lent = {module.stem for module in launch.modules}
    libraries = {*lent, *(name for name in launch.libraries if name.partition(".")[0] in lent)}
    # A path of the author's own may hold other libraries of the same names.
    if "PYTHONPATH" not in launch.environment:
        libraries |= set(
            find_libraries(
                launch.code,
                launch.masked,
                interpreter,
                name=launch.code_name,
                beside=launch.libraries,
                without=("coinstac", *lent),
            )
        )
    ahead = environment.read_at_import(inside.environment)
    return Kind(
        executable=interpreter.executable,
        libraries=tuple(sorted(libraries)),
        # A library that imports what is lent must find that.
        path=inside.path if libraries else (),
        modules=launch.modules,
        environment=tuple(ahead.items()),
    )
