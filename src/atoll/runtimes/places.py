"""Where the processes of one launch run: what is the same with isolation and without it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.engine.limits import CallLimits
from atoll.engine.running import Launch, Outlet
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes import environment, groups
from atoll.runtimes.children import Bounds, Child, Streams
from atoll.runtimes.command import Program, code_of, read_program
from atoll.runtimes.doors import Doors
from atoll.runtimes.groups import Grouped
from atoll.runtimes.imports import find_libraries, modules_of
from atoll.runtimes.interpreter import Interpreter
from atoll.runtimes.outlets import Address, connected
from atoll.runtimes.pool import Kind, Pool
from atoll.runtimes.sessions import Running
from atoll.runtimes.warm import CellRefused, Parent, ParentLost

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


#: A warm parent that may start a launch's calls, and what it runs; None where it only becomes
#: the command.
Way = tuple[Kind, Program | None]


class Place:
    """The processes of one launch: forked from a warm parent where that works, else cold.

    Args:
        launch: what to start.
        inside: how the algorithm sees what it is given.
        command: the launch's, as it reads inside.
        file: the path of its program, inside.
        pool: the warm parents, where there are any.
        ways: which of them may start these calls, best first.
        doors: how calls reach their doorway over HTTP.
        bounded: whether somebody else bounds what the processes take.
    """

    #: Whether the processes have a user's namespace of their own.
    sandboxed = True

    def __init__(
        self,
        launch: Launch,
        inside: Inside,
        command: tuple[str, ...],
        file: str,
        pool: Pool | None,
        ways: Sequence[Way],
        doors: Doors,
        *,
        bounded: bool = False,
    ) -> None:
        self.limits: CallLimits = launch.limits
        self.log: Path = launch.log
        self.doors = doors
        self._launch = launch
        self._inside = inside
        self._command = command
        self._file = file
        self._program = read_program(command)
        self._bounded = bounded
        counted = groups.counts_users() or not self.sandboxed
        self._group = None if bounded else groups.make_group(self.limits, counted=counted)
        #: The folders of this machine that the processes can write to.
        self.writable: Sequence[Path] = (
            launch.temporary,
            *(mount.source for mount in launch.mounts if mount.writable),
        )
        self._pool = pool
        self._ways = ways

    def inside(self, path: Path) -> str:
        """Where the algorithm sees a path."""
        return str(path)

    def memory_kills(self) -> int | None:
        """How often the system ended a process for its memory; None where that can't be told."""
        return None if self._group is None else self._group.kills()

    def refusals(self) -> int | None:
        """How often the system refused a process another one; None where that can't be told."""
        return None if self._group is None else self._group.refusals()

    def members(self) -> Collection[int]:
        """The processes that are there, in this process's numbers, as far as they are known."""
        return () if self._group is None else self._group.members()

    async def sweep(self) -> None:
        """See an ended process out. A sandbox leaves nothing, but what is killed needs a moment to end."""
        if self._group is not None and self._group.held:
            await self._group.sweep()

    async def start(self, streams: Streams, seed: int | None, variables: Mapping[str, str]) -> Running:
        """Start a process, with these variables beside the launch's.

        Raises:
            AlgorithmFailed: the command can't be started.
            ParentLost: the warm parent ended meanwhile.
        """
        late = self._is_late(variables)
        for kind, program in self._ways:
            if self._pool is None or (late and program is not None):
                continue
            parent = await self._pool.parent(kind)
            if parent is None:
                continue
            try:
                cell = await self._enter(parent)
            except CellRefused:
                self._pool = None
            else:
                task = self._exec(seed, variables) if program is None else self._run(program, seed, variables)
                return self._fork(parent, cell, task, streams)
        child = self._start_cold(self._arguments(seed), self._variables(variables, streams), streams)
        return child if self._group is None else Grouped(child, self._group)

    async def offer(self, outlet: Outlet) -> None:
        """Open a further address inside, where there is an inside.

        Raises:
            RuntimeUnavailable: there is none, or the address is taken.
        """
        what = f"nothing can be offered to the algorithm at {outlet.host}, port {outlet.port}"
        (listener,) = await self._listen([(outlet.host, outlet.port)], what)
        self.doors.add(outlet, listener)

    async def _listen(self, addresses: Sequence[Address], what: str) -> list[int]:
        """Listen inside; the listeners' descriptors.

        Raises:
            RuntimeUnavailable: there is no inside, or an address is taken; with `what` can't be done then.
        """
        parent, cell = self.network(what)
        try:
            return await parent.listen(addresses, cell=cell)
        except ParentLost:
            raise RuntimeUnavailable(f"{what}: its processes have ended") from None
        except OSError as error:
            raise RuntimeUnavailable(f"{what}: {error.strerror}") from None

    async def reach(self, port: int) -> int:
        """Connect to a port inside, where there is an inside.

        Raises:
            RuntimeUnavailable: there is none.
            ConnectionRefusedError: nobody listens there.
        """
        what = f"the algorithm can't be reached at port {port}"
        parent, cell = self.network(what)
        try:
            return await connected(await parent.connect(port, cell=cell), port)
        except ParentLost:
            raise RuntimeUnavailable(f"{what}: its processes have ended") from None

    def network(self, what: str) -> tuple[Parent, int | None]:
        """The parent that knows the network of these processes, and its name for their sandbox.

        Raises:
            RuntimeUnavailable: there is no such network, or nobody who knows it.
        """
        raise RuntimeUnavailable(f"{what}: this runtime gives an algorithm no network of its own")

    def _is_late(self, variables: Mapping[str, str]) -> bool:
        """Whether they are such as libraries read when they are imported.

        Then they are known to no parent that has imported them.
        """
        return bool(environment.read_at_import(variables))

    async def close(self) -> None:
        """Give up what the place holds. May be called twice."""
        self.doors.close()
        group, self._group = self._group, None
        if group is not None:
            await group.remove()

    async def _enter(self, _parent: Parent) -> int | None:
        """The sandbox at this parent that calls join; None where there is no isolation."""
        return None

    def _run(self, program: Program, seed: int | None, variables: Mapping[str, str]) -> dict[str, Any]:
        """What a fork is told that runs a program itself."""
        return {
            "kind": program.kind,
            "name": program.name,
            "arguments": program.arguments,
            "original": program.original,
            "unbuffered": program.unbuffered,
            "environment": {**self._inside.environment, **variables},
            "path": self._inside.path,
            "seed": seed,
        }

    def _exec(self, seed: int | None, variables: Mapping[str, str]) -> dict[str, Any]:
        """What a fork is told that becomes the command."""
        return {
            "kind": "exec",
            "command": [self._file, *self._arguments(seed)],
            "environment": self._variables(variables),
        }

    def _fork(self, parent: Parent, cell: int | None, task: dict[str, Any], streams: Streams) -> Running:
        task = self._told(task)
        if self._group is None:
            return parent.start(task, streams, cell=cell)
        self._group.release()
        doors = [os.open(door, os.O_WRONLY | os.O_CLOEXEC) for door in self._group.doors]
        try:
            return Grouped(parent.start(task, streams, cell=cell, groups=doors), self._group)
        finally:
            for door in doors:
                os.close(door)

    def _told(self, task: dict[str, Any]) -> dict[str, Any]:
        """A task with what every fork is told."""
        return {
            **task,
            "cwd": self._inside.code,
            "memory": self._data_bytes_max,
            "file": self._file_bytes_max,
            "processes": self._processes_max,
            "listen": self.doors.addresses,
        }

    def _arguments(self, seed: int | None) -> tuple[str, ...]:
        """What stands behind the command's program where that is started."""
        if self._program is None:
            return self._command[1:]
        return self._program.original if seed is None else self._program.seeded(self._inside.guest, seed)

    def _variables(self, variables: Mapping[str, str], streams: Streams | None = None) -> dict[str, str]:
        """The environment of a command that is started."""
        complete = {**self._inside.environment, **variables}
        if streams is not None and streams.serve is not None:
            complete[SERVE_VARIABLE] = str(streams.serve)
        if self._inside.path:
            paths = [*self._inside.path, *filter(None, [complete.get("PYTHONPATH")])]
            complete["PYTHONPATH"] = os.pathsep.join(paths)
        return complete

    def _start_cold(
        self, arguments: tuple[str, ...], variables: Mapping[str, str], streams: Streams
    ) -> Child:
        raise NotImplementedError

    @property
    def _data_bytes_max(self) -> int | None:
        """The bound on each process's memory, where no control group bounds that of all."""
        grouped = self._group is not None and self._group.bounds("memory")
        return self.limits.memory_bytes if not grouped and not self._bounded else None

    @property
    def _processes_max(self) -> int | None:
        """The bound on a sandbox's processes, where no control group has it."""
        grouped = self._group is not None and self._group.bounds("pids")
        return self.limits.processes if not grouped and not self._bounded else None

    @property
    def _file_bytes_max(self) -> int | None:
        """The bound on each file that is written: answers and the log are files, too."""
        if self.limits.disk_bytes is None:
            return None
        log_bytes = self.log.stat().st_size + self.limits.log_bytes if self.log.exists() else 0
        return max(self.limits.disk_bytes, self.limits.reply_bytes, log_bytes)

    @property
    def _bounds(self) -> Bounds:
        """What bounds a process that is started cold."""
        if self._group is not None:
            self._group.release()
        return Bounds(
            data_bytes=self._data_bytes_max,
            file_bytes=self._file_bytes_max,
            groups=() if self._group is None else self._group.doors,
        )


def ways(
    launch: Launch, interpreter: Interpreter, inside: Inside, command: tuple[str, ...], *, any_command: bool
) -> list[Way]:
    """The warm parents that may start a launch's calls, best first.

    Args:
        launch: what to start.
        interpreter: the parents'.
        inside: how the algorithm sees what it is given.
        command: the launch's, as it reads inside.
        any_command: whether a command that a parent can't run itself is forked as well.
    """
    program = read_program(command)
    found: list[Way] = []
    if program is not None and program.warm:
        found.append((_choose_kind(launch, interpreter, inside), program))
    if any_command:
        found.append((Kind(executable=interpreter.executable, libraries=(), modules=launch.modules), None))
    return found


def _choose_kind(launch: Launch, interpreter: Interpreter, inside: Inside) -> Kind:
    """What this launch's warm parent must be like."""
    # What is lent stands in front of all else, and knows nothing of what lies behind it.
    lent = {module.stem for module in launch.modules}
    libraries = {name for module in launch.modules for name in modules_of(module)}
    libraries |= {name for name in launch.libraries if name.partition(".")[0] in lent}
    # A path of the author's own may hold other libraries of the same names.
    if "PYTHONPATH" not in launch.environment:
        libraries |= set(
            find_libraries(
                code_of(launch),
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
