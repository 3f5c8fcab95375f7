"""Algorithms as plain processes of this machine: no isolation, for code that one trusts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.engine.running import Launch, Session
from atoll.model.errors import AlgorithmFailed
from atoll.runtimes import environment, groups
from atoll.runtimes.children import Child, Streams, spawn
from atoll.runtimes.command import is_python, read_program, rewrite
from atoll.runtimes.interpreter import Interpreter, describe
from atoll.runtimes.places import Inside, Place, choose_kind
from atoll.runtimes.served import seat
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
            (
                "processes run without isolation: they see the files and the network of this machine, "
                "and each other. Use them for code that you trust"
            ),
            "a process that detaches itself from its call may outlive it",
            groups.caveat(),
        )

    async def warm_up(self, launch: Launch) -> None:
        """Start the warm parent that such a launch's calls are forked from."""
        if self._pool is not None:
            python = describe(self._python)
            await self._pool.parent(choose_kind(launch, python, _inside(launch, python)))

    async def start(self, launch: Launch) -> Session:
        """Make a session ready. Its first process starts at its first call.

        Raises:
            RuntimeUnavailable: the interpreter can't be used.
            AlgorithmFailed: there is no such command.
        """
        place = _Process(launch, describe(self._python), self._pool)
        return seat(place, launch.style)

    async def close(self) -> None:
        """End the warm parents."""
        if self._pool is not None:
            await self._pool.close()


class _Process(Place):
    """The processes of one launch, beside ours."""

    def __init__(self, launch: Launch, interpreter: Interpreter, pool: Pool | None) -> None:
        command = rewrite(launch.command, launch.code)
        inside = _inside(launch, interpreter)
        self._file = _find(command[0], inside.environment["PATH"], launch, interpreter)
        self._rest = command[1:]
        super().__init__(launch, interpreter, inside, read_program(command), pool)

    def _start_cold(
        self, arguments: tuple[str, ...], variables: Mapping[str, str], streams: Streams
    ) -> Child:
        return spawn(
            [self._file, *(arguments if self._program is not None else self._rest)],
            variables,
            streams,
            cwd=self._launch.code,
            data_bytes_max=self._data_bytes_max,
            group=self._door,
        )


def _inside(launch: Launch, interpreter: Interpreter) -> Inside:
    variables = environment.shared(interpreter.executable, launch.temporary, launch.environment)
    return Inside(code=str(launch.code), guest=str(HERE), served=str(SERVED), environment=variables)


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
        variables = environment.shared(kind.executable, None, dict(kind.environment))
        # It must live long enough to end its calls when we end.
        return spawn([str(kind.executable), *command], variables, streams, passed=[line], ends_itself=True)
    finally:
        os.close(nothing)
