"""Algorithms in sandboxes made by bubblewrap: namespaces of their own, without privileges.

A cold start is one run of ``bwrap``. A warm parent is itself in such a sandbox, and makes a
smaller one for each seat; see ``guest/cell.py``. What a sandbox shows is ``view.py``'s list.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.engine.running import Launch, Session, Style
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes import bwrap, environment, groups, view
from atoll.runtimes.children import Child, Streams
from atoll.runtimes.command import BOOT, CODE, code_at, code_of, is_python, source_of
from atoll.runtimes.doors import SandboxDoors
from atoll.runtimes.interpreter import Interpreter, describe, within_any
from atoll.runtimes.places import Inside, Place, Way, ways
from atoll.runtimes.points import Points
from atoll.runtimes.pool import Kind, Pool
from atoll.runtimes.served import seat
from atoll.runtimes.warm import CellRefused, Parent

_log = logging.getLogger(__name__)

#: Bounds a user's processes, in the words of one shell or of the others, and becomes the command.
_COUNTED = 'ulimit -u {0} 2> /dev/null || ulimit -p {0}; exec "$@"'


def probe() -> str | None:
    """Why bubblewrap doesn't work on this machine, as a sentence; None where it does."""
    return bwrap.probe()


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

    def not_promised(self) -> Mapping[str, str]:
        """Which checks of its conformance it doesn't ask for here, and why."""
        said = dict(groups.not_promised(counted=groups.counts_users()))
        if groups.counts_users():
            said.pop("fork-bomb", None)
        return said

    async def recover(self) -> None:
        """Remove control groups: a sandbox ends with whoever started it, and they don't."""
        await groups.end_orphans()

    async def warm_up(self, launch: Launch) -> None:
        """Start the warm parent that such a launch's calls are forked from."""
        if self._pool is not None:
            for kind, _ in _ways(launch, describe(self._python))[:1]:
                await self._pool.parent(kind)

    async def start(self, launch: Launch) -> Session:
        """Make a session ready. Its first process starts at its first call.

        Raises:
            RuntimeUnavailable: bubblewrap doesn't work here, or the interpreter can't be used.
            AlgorithmFailed: there is no such command, or a folder can't be shown to it.
        """
        if (reason := probe()) is not None:
            raise RuntimeUnavailable(f"{reason}. Use another runtime, for example --runtime process")
        place = _Sandbox(launch, describe(self._python), self._roots, self._pool)
        return seat(place, launch.style)

    async def close(self) -> None:
        """End the warm parents, and every sandbox with them."""
        if self._pool is not None:
            await self._pool.close()

    def _start_parent(self, kind: Kind, command: Sequence[str], line: int, errors: int) -> Child:
        interpreter = describe(self._python)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            streams = Streams(stdin=nothing, stdout=nothing, stderr=errors)
            lines = view.parents(interpreter, self._roots, kind.modules)
            # The capabilities are those of its own user namespace: it makes sandboxes with them.
            options = ["--cap-add", "ALL"]
            variables = environment.isolated(kind.executable, dict(kind.environment))
            return bwrap.spawn_in(
                lines, [str(kind.executable), *command], variables, streams, options=options, passed=[line]
            )
        finally:
            os.close(nothing)


class _Sandbox(Place):
    """The sandbox of one launch."""

    def __init__(
        self, launch: Launch, interpreter: Interpreter, roots: Sequence[Path], pool: Pool | None
    ) -> None:
        self._interpreter = interpreter
        self._roots = roots
        file = _find(launch, interpreter)
        shown = [(mount.source, mount.target) for mount in launch.mounts]
        shown += [(launch.temporary, view.TEMPORARY), (code_of(launch), code_at(launch))]
        self._points = Points(shown, str(launch.seat))
        if not all(within_any(source, roots) for source in self._points.sources):
            pool = None
        #: What the algorithm sees. What can't be shown to it is said now, and not at its first call.
        self._view = view.seats(launch, interpreter, roots, within_parent=pool is not None)
        self._is_view_of_parent = pool is not None
        #: The parent that made the cell, and the cell's number.
        self._cell: tuple[Parent, int] | None = None
        super().__init__(
            launch,
            _inside(launch, interpreter),
            launch.command,
            file,
            pool,
            _ways(launch, interpreter),
            SandboxDoors(launch),
        )

    def inside(self, path: Path) -> str:
        return self._points.inside(path)

    async def close(self) -> None:
        if self._cell is not None:
            parent, number = self._cell
            self._cell = None
            parent.drop_cell(number)
        await super().close()

    async def _enter(self, parent: Parent) -> int:
        if self._cell is None or self._cell[0] is not parent:
            task = {
                "view": self._seen(within_parent=True),
                "proc_read_only": view.PROC_READ_ONLY,
                "proc_hidden": view.PROC_HIDDEN,
            }
            try:
                self._cell = (parent, await parent.make_cell(task))
            except CellRefused as error:
                _log.debug("calls at %s start cold: %s", self._launch.seat, error)
                raise
        return self._cell[1]

    def network(self, what: str) -> tuple[Parent, int | None]:
        if self._cell is not None and self._cell[0].alive:
            return self._cell
        raise RuntimeUnavailable(
            f"{what}: nothing of it runs yet, or its processes start cold, each in a sandbox of its own"
        )

    def _start_cold(
        self, arguments: tuple[str, ...], variables: Mapping[str, str], streams: Streams
    ) -> Child:
        command = [self._file, *arguments]
        if streams.door is not None:
            command = [*self._launcher(streams.door), *command]
        if self._processes_max is not None:
            command = ["/bin/sh", "-c", _COUNTED.format(self._processes_max), "sh", *command]
        # Its first process is bubblewrap's own, which nobody may look or write into.
        lines = [*self._seen(within_parent=False), ("cover", "", "/proc/1")]
        return bwrap.spawn_in(
            lines,
            command,
            variables,
            streams,
            options=["--cap-drop", "ALL", "--disable-userns", "--chdir", CODE],
            bounds=self._bounds,
            any_port=any(port < bwrap.LOW_PORTS for _, port in self.doors.addresses),
        )

    def _seen(self, *, within_parent: bool) -> list[view.Line]:
        if self._is_view_of_parent != within_parent:
            return view.seats(self._launch, self._interpreter, self._roots, within_parent=within_parent)
        return self._view

    def _launcher(self, door: int) -> list[str]:
        """Words that open the doors within the sandbox, and become the command that follows them."""
        boot = BOOT.format(here=view.GUEST, program="door", arguments="sys.argv[1:]")
        addresses = ",".join(f"{host}:{port}" for host, port in self.doors.addresses)
        # Nothing that the algorithm brings is looked at before.
        return [str(self._interpreter.executable), "-I", "-S", "-c", boot, str(door), addresses]


def _ways(launch: Launch, interpreter: Interpreter) -> list[Way]:
    # A sandbox that is there is entered faster than another one is made, by any command.
    return ways(launch, interpreter, _inside(launch, interpreter), launch.command, any_command=True)


def _inside(launch: Launch, interpreter: Interpreter) -> Inside:
    served = (view.SERVED,) if launch.style is Style.SERVE else ()
    return Inside(
        code=CODE,
        guest=view.GUEST,
        path=(*served, view.MODULES) if launch.modules else served,
        environment=environment.isolated(interpreter.executable, launch.environment),
    )


def _find(launch: Launch, interpreter: Interpreter) -> str:
    """The path by which a command's program is known inside."""
    word = launch.command[0]
    if is_python(word):
        return str(interpreter.executable)
    if word.startswith(CODE + "/") or ("/" in word and not word.startswith("/")):
        # Whether it may run is for the sandbox to find out; the shell's words for it are kept.
        source = source_of(launch, word)
        found: str | None = word if source is not None and source.exists() else None
    else:
        found = shutil.which(word, path=f"{interpreter.executable.parent}:{environment.SYSTEM_PATH}")
    if found is None:
        raise AlgorithmFailed(
            f"the command {word!r} can't be started: there is no such program in the sandbox; "
            "install it on this machine, or use a runtime that runs the algorithm's image"
        )
    return found
