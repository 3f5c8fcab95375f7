"""Algorithms as plain processes of this machine: no isolation, for code that one trusts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atoll.engine.limits import CallLimits
from atoll.engine.ports import Launch, Session, Style
from atoll.model.errors import AlgorithmFailed
from atoll.runtimes import environment, groups
from atoll.runtimes.children import Child, Streams, spawn
from atoll.runtimes.command import Program, is_python, read_program, rewrite
from atoll.runtimes.imports import find_libraries
from atoll.runtimes.interpreter import Interpreter, describe
from atoll.runtimes.sessions import CallSession, Running, ServeSession
from atoll.runtimes.warm import HERE, SERVED, Kind, Pool


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
        self._pool = Pool(_start_parent, here=str(HERE), isolated=False) if warm else None

    def caveats(self) -> Sequence[str]:
        """What a process is not kept from."""
        return (
            "processes run without isolation: they see the files and the network of this machine, "
            "and each other. Use them for code that you trust",
            groups.caveat(),
        )

    async def start(self, launch: Launch) -> Session:
        """Make a session ready. Its first process starts at its first call.

        Raises:
            RuntimeUnavailable: the interpreter can't be used.
            AlgorithmFailed: there is no such command.
        """
        place = _Place(launch, describe(self._python), self._pool)
        return ServeSession(place) if launch.style is Style.SERVE else CallSession(place)

    async def close(self) -> None:
        """End the warm parents."""
        if self._pool is not None:
            await self._pool.close()


class _Place:
    """The processes of one launch."""

    def __init__(self, launch: Launch, interpreter: Interpreter, pool: Pool | None) -> None:
        self.limits: CallLimits = launch.limits
        self.log = launch.log
        self._launch = launch
        self._interpreter = interpreter
        command = rewrite(launch.command, launch.code)
        self._program = read_program(command)
        self._environment = environment.shared(interpreter.executable, launch.temporary, launch.environment)
        self._command = (_find(command[0], self._environment["PATH"], launch, interpreter), *command[1:])
        self._group = (
            None if self.limits.memory_bytes is None else groups.make_group(self.limits.memory_bytes)
        )
        self._pool = pool if self._program is not None and self._program.warm else None
        self._kind = self._choose_kind(self._program) if self._pool is not None and self._program else None

    def inside(self, path: Path) -> str:
        return str(path)

    def memory_kills(self) -> int | None:
        return None if self._group is None else self._group.kills()

    async def start(self, streams: Streams, seed: int | None) -> Running:
        if self._pool is not None and self._kind is not None and self._program is not None:
            parent = await self._pool.parent(self._kind)
            if parent is not None:
                task = self._task(self._program, seed)
                door = None if self._group is None else os.open(self._group.door, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    return parent.start(task, streams, group=door)
                finally:
                    if door is not None:
                        os.close(door)
        return self._start_cold(streams, seed)

    async def close(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            await group.remove()

    def _choose_kind(self, program: Program) -> Kind:
        served = (str(SERVED),) if self._launch.style is Style.SERVE else ()
        libraries: tuple[str, ...] = ()
        # A path of the author's own may hold other libraries of the same names.
        if "PYTHONPATH" not in self._launch.environment:
            libraries = find_libraries(
                self._launch.code, self._launch.masked, self._interpreter, ("coinstac",)
            )
        return Kind(
            executable=self._interpreter.executable,
            libraries=libraries,
            path=served if libraries else (),
            environment=tuple(environment.read_at_import(self._environment).items()),
        )

    def _task(self, program: Program, seed: int | None) -> dict[str, Any]:
        return {
            "kind": program.kind,
            "name": program.name,
            "arguments": program.arguments,
            "original": program.original,
            "unbuffered": program.unbuffered,
            "environment": self._environment,
            "cwd": str(self._launch.code),
            "path": [str(SERVED)] if self._launch.style is Style.SERVE else [],
            "seed": seed,
            "memory": self.limits.memory_bytes if self._group is None else None,
        }

    def _start_cold(self, streams: Streams, seed: int | None) -> Child:
        command = self._command
        if seed is not None and self._program is not None:
            command = (command[0], *self._program.seeded(str(HERE), seed))
        variables = dict(self._environment)
        if streams.serve is not None:
            variables["ATOLL_SERVE_FD"] = str(streams.serve)
            variables["PYTHONPATH"] = os.pathsep.join(
                [str(SERVED), *filter(None, [variables.get("PYTHONPATH")])]
            )
        return spawn(
            command,
            variables,
            streams,
            cwd=self._launch.code,
            data_bytes_max=self.limits.memory_bytes if self._group is None else None,
            group=None if self._group is None else self._group.door,
        )


def _find(word: str, path: str, launch: Launch, interpreter: Interpreter) -> str:
    if is_python(word):
        return str(interpreter.executable)
    found = str(launch.code / word) if "/" in word else shutil.which(word, path=path)
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
        base = environment.parent(kind.environment)
        return spawn([str(kind.executable), *command], base, streams, passed=[line])
    finally:
        os.close(nothing)
