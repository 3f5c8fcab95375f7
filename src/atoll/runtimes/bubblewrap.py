"""Algorithms in sandboxes made by bubblewrap: namespaces of their own, without privileges.

A cold start is one run of ``bwrap``. A warm parent is itself in such a sandbox, and makes a
smaller one for each seat; see ``guest/cell.py``. What a sandbox shows is ``view.py``'s list.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from atoll.engine.limits import CallLimits
from atoll.engine.ports import Launch, Session, Style
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes import environment, groups, view
from atoll.runtimes.children import Child, Streams, spawn
from atoll.runtimes.command import Program, is_python, read_program
from atoll.runtimes.imports import find_libraries
from atoll.runtimes.interpreter import Interpreter, describe, within_any
from atoll.runtimes.sessions import CallSession, Running, ServeSession
from atoll.runtimes.warm import CellRefused, Kind, Parent, ParentLost, Pool

_log = logging.getLogger(__name__)

_NAMESPACES = (
    *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
    *("--unshare-cgroup-try", "--die-with-parent", "--new-session", "--hostname", "atoll"),
)
#: Seconds that the probe may take; it takes hundredths.
_PROBE_SECONDS = 20.0


@cache
def probe() -> str | None:
    """Why bubblewrap doesn't work on this machine, as a sentence; None where it does."""
    program = shutil.which("bwrap")
    if program is None:
        return "bubblewrap is not installed: there is no program named bwrap"
    command = [program, *_NAMESPACES, "--ro-bind", "/", "/", "--proc", "/proc", "--", "/bin/true"]
    try:
        tried = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"bubblewrap doesn't work on this machine: {error}"
    if tried.returncode == 0:
        return None
    said = tried.stderr.decode("utf-8", "replace").strip() or f"it ended with status {tried.returncode}"
    return f"bubblewrap doesn't work on this machine: {said}"


class BubblewrapRuntime:
    """Runs algorithms in sandboxes.

    Args:
        python: the interpreter that stands for ``python`` in a command. Default: Atoll's own.
        warm: whether calls of Python scripts are forked from a process that has imported
            their libraries already.
        roots: folders of this machine under which the folders of all launches lie. A launch
            from elsewhere starts cold.
    """

    name = "bubblewrap"
    isolated = True

    def __init__(self, *, python: Path | None = None, warm: bool = True, roots: Sequence[Path]) -> None:
        self._python = python
        self._roots = [Path(os.path.realpath(root)) for root in roots]
        self._pool = Pool(self._start_parent, here=view.GUEST, isolated=True) if warm else None

    def caveats(self) -> Sequence[str]:
        """What a sandbox doesn't bound here."""
        return (groups.caveat(),)

    async def start(self, launch: Launch) -> Session:
        """Make a session ready. Its first process starts at its first call.

        Raises:
            RuntimeUnavailable: bubblewrap doesn't work here, or the interpreter can't be used.
            AlgorithmFailed: there is no such command, or a folder can't be shown to it.
        """
        if (reason := probe()) is not None:
            raise RuntimeUnavailable(f"{reason}. Use another runtime, for example --runtime process")
        place = _Place(launch, describe(self._python), self._roots, self._pool)
        return ServeSession(place) if launch.style is Style.SERVE else CallSession(place)

    async def close(self) -> None:
        """End the warm parents, and every sandbox with them."""
        if self._pool is not None:
            await self._pool.close()

    def _start_parent(self, kind: Kind, command: Sequence[str], line: int, errors: int) -> Child:
        interpreter = describe(self._python)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            streams = Streams(stdin=nothing, stdout=nothing, stderr=errors)
            lines = view.parents(interpreter, self._roots)
            # The capabilities are those of its own user namespace: it makes sandboxes with them.
            options = ["--cap-add", "ALL"]
            variables = environment.parent(kind.environment, home=view.TEMPORARY)
            return _spawn(
                lines, [str(kind.executable), *command], variables, streams, options=options, passed=[line]
            )
        finally:
            os.close(nothing)


class _Place:
    """The sandbox of one launch."""

    def __init__(
        self, launch: Launch, interpreter: Interpreter, roots: Sequence[Path], pool: Pool | None
    ) -> None:
        self.limits: CallLimits = launch.limits
        self.log = launch.log
        self._launch = launch
        self._interpreter = interpreter
        self._roots = roots
        self._program = read_program(launch.command)
        self._environment = environment.isolated(interpreter.executable, launch.environment)
        self._view = view.seats(launch, interpreter, roots)
        self._command = (_find(launch, interpreter), *launch.command[1:])
        self._group = (
            None if self.limits.memory_bytes is None else groups.make_group(self.limits.memory_bytes)
        )
        sources = [launch.code, launch.temporary, *(mount.source for mount in launch.mounts)]
        reachable = all(within_any(Path(os.path.realpath(source)), roots) for source in sources)
        self._pool = pool if self._program is not None and self._program.warm and reachable else None
        self._kind = self._choose_kind() if self._pool is not None else None
        #: The parent that made the cell, and the cell's number.
        self._cell: tuple[Parent, int] | None = None

    def inside(self, path: Path) -> str:
        real = Path(os.path.realpath(path))
        shown = [(Path(os.path.realpath(mount.source)), mount.target) for mount in self._launch.mounts]
        shown += [(Path(os.path.realpath(self._launch.temporary)), view.TEMPORARY)]
        shown += [(Path(os.path.realpath(self._launch.code)), view.CODE)]
        fitting = [(source, target) for source, target in shown if within_any(real, [source])]
        if not fitting:
            raise ValueError(f"{path} is not shown to the algorithm of {self._launch.seat}")
        source, target = max(fitting, key=lambda pair: len(pair[0].parts))
        return os.path.normpath(os.path.join(target, real.relative_to(source)))

    def memory_kills(self) -> int | None:
        return None if self._group is None else self._group.kills()

    async def start(self, streams: Streams, seed: int | None) -> Running:
        if self._pool is not None and self._kind is not None and self._program is not None:
            parent = await self._pool.parent(self._kind)
            if parent is not None and (cell := await self._enter(parent)) is not None:
                door = None if self._group is None else os.open(self._group.door, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    return parent.start(self._task(self._program, seed), streams, cell=cell, group=door)
                finally:
                    if door is not None:
                        os.close(door)
        return self._start_cold(streams, seed)

    async def close(self) -> None:
        if self._cell is not None:
            parent, number = self._cell
            self._cell = None
            parent.drop_cell(number)
        group, self._group = self._group, None
        if group is not None:
            await group.remove()

    async def _enter(self, parent: Parent) -> int | None:
        """The sandbox of this seat at a parent, made if there is none."""
        if self._cell is not None and self._cell[0] is parent:
            return self._cell[1]
        lines = view.seats(self._launch, self._interpreter, self._roots, within_parent=True)
        try:
            self._cell = (parent, await parent.make_cell(lines))
        except CellRefused as error:
            _log.debug("calls at %s start cold: %s", self._launch.seat, error)
            self._pool = None
            return None
        return self._cell[1]

    def _choose_kind(self) -> Kind:
        served = (view.SERVED,) if self._launch.style is Style.SERVE else ()
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
            "cwd": view.CODE,
            "path": [view.SERVED] if self._launch.style is Style.SERVE else [],
            "seed": seed,
            "memory": self.limits.memory_bytes if self._group is None else None,
        }

    def _start_cold(self, streams: Streams, seed: int | None) -> Running:
        command = self._command
        if seed is not None and self._program is not None:
            command = (command[0], *self._program.seeded(view.GUEST, seed))
        variables = dict(self._environment)
        if streams.serve is not None:
            variables["ATOLL_SERVE_FD"] = str(streams.serve)
            variables["PYTHONPATH"] = os.pathsep.join(
                [view.SERVED, *filter(None, [variables.get("PYTHONPATH")])]
            )
        return _ColdRun(
            _spawn(
                self._view,
                command,
                variables,
                streams,
                options=["--disable-userns", "--chdir", view.CODE],
                data_bytes_max=self.limits.memory_bytes if self._group is None else None,
                group=None if self._group is None else self._group.door,
            )
        )


class _ColdRun:
    """A run of bubblewrap, which answers for a signal as a shell does."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.ended = child.ended

    def kill(self) -> None:
        self._child.kill()


def _spawn(
    lines: Sequence[view.Line],
    command: Sequence[str],
    variables: dict[str, str],
    streams: Streams,
    *,
    options: Sequence[str] = (),
    passed: Sequence[int] = (),
    data_bytes_max: int | None = None,
    group: Path | None = None,
) -> Child:
    """Start a command in a sandbox that shows what the lines say."""
    program = shutil.which("bwrap") or "bwrap"
    texts: list[int] = []
    try:
        words = [word for line in lines for word in _words(line, texts)]
        return spawn(
            [program, *_NAMESPACES, *options, *words, "--remount-ro", "/", "--", *command],
            variables,
            streams,
            passed=[*passed, *texts],
            data_bytes_max=data_bytes_max,
            group=group,
        )
    finally:
        for text in texts:
            os.close(text)


def _words(line: view.Line, texts: list[int]) -> list[str]:
    """A line of a view in bubblewrap's words."""
    kind, source, target = line
    if kind in ("text", "blank"):
        descriptor = os.memfd_create("text", os.MFD_CLOEXEC)
        texts.append(descriptor)
        os.write(descriptor, source.encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        return ["--perms", "0444", "--ro-bind-data", str(descriptor), target]
    return {
        "folder": ["--dir", target],
        "link": ["--symlink", source, target],
        "proc": ["--proc", target],
        "memory": ["--perms", source.partition("=")[2], "--tmpfs", target],
        "cover": ["--tmpfs", target, "--remount-ro", target],
        "read": ["--ro-bind", source, target],
        "write": ["--bind", source, target],
        "device": ["--dev-bind", source, target],
    }[kind]


def _find(launch: Launch, interpreter: Interpreter) -> str:
    """The path by which a command's program is known inside."""
    word = launch.command[0]
    if is_python(word):
        return str(interpreter.executable)
    if word.startswith(view.CODE + "/") or ("/" in word and not word.startswith("/")):
        # Whether it may run is for the sandbox to find out; the shell's words for it are kept.
        found: str | None = word
        if not (launch.code / word.removeprefix(view.CODE + "/")).exists():
            found = None
    else:
        path = f"{interpreter.executable.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        found = shutil.which(word, path=path)
    if found is None:
        raise AlgorithmFailed(
            f"the command {word!r} can't be started: there is no such program in the sandbox; "
            "install it on this machine, or use a runtime that runs the algorithm's image"
        )
    return found
