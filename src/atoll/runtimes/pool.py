"""The warm parents of one runtime: who there are, and how they come and go.

A parent is one process per interpreter, set of libraries and import-time environment, shared
by every seat of a runtime. It is started when a call first needs it and ends with the runtime,
or with this process, however that ends: its line to us closes then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atoll.runtimes.aside import leave
from atoll.runtimes.children import Child
from atoll.runtimes.command import BOOT
from atoll.runtimes.warm import MustStartCold, Parent, begin

_log = logging.getLogger(__name__)

#: The folder that holds the guest package.
HERE = Path(__file__).parent
#: The folder that holds the ``coinstac`` module of served processes.
SERVED = HERE / "guest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What calls must have in common to share a parent."""

    executable: Path
    libraries: tuple[str, ...]
    #: Put in front of the import path while the libraries are imported.
    path: tuple[str, ...] = ()
    #: Packages that Atoll lends to the calls.
    modules: tuple[Path, ...] = ()
    #: Variables that libraries read when they are imported.
    environment: tuple[tuple[str, str], ...] = ()


#: Starts the process of a parent: its command behind the interpreter, its environment, and
#: the descriptors of its line and of its standard error.
Starter = Callable[[Kind, Sequence[str], int, int], Child]


class Pool:
    """The warm parents of one runtime."""

    def __init__(self, starter: Starter, *, here: str, isolated: bool) -> None:
        self._starter = starter
        self._here = here
        self._isolated = isolated
        self._parents: dict[Kind, asyncio.Task[Parent | None]] = {}

    async def parent(self, kind: Kind) -> Parent | None:
        """The parent of a kind, started if there is none; None where this kind must start cold."""
        task = self._parents.get(kind)
        if task is None or _is_over(task):
            task = self._parents[kind] = asyncio.create_task(self._start(kind))
            # Who has stopped waiting for it needs no word of how it ended.
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End every parent."""
        tasks = list(self._parents.values())
        self._parents.clear()
        for task in tasks:
            if not task.done():
                task.cancel()
        for parent in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(parent, Parent):
                await parent.close()

    async def _start(self, kind: Kind) -> Parent | None:
        boot = BOOT.format(here=self._here, program="warm", arguments=f"{{line}}, {self._isolated}")
        first = {"libraries": kind.libraries, "path": kind.path, "here": self._here}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors = os.memfd_create("errors", os.MFD_CLOEXEC)
        child = None
        try:
            with theirs:
                child = self._starter(
                    kind, ["-c", boot.format(line=theirs.fileno())], theirs.fileno(), errors
                )
            return await begin(ours, first, child=child, isolated=self._isolated)
        except BaseException as error:  # whatever it was, the process is ended
            leave(ours)
            if child is not None:
                child.kill()
                await asyncio.shield(child.ended)
            if not isinstance(error, MustStartCold):
                raise
            said = os.pread(errors, 2000, 0).decode("utf-8", "replace").strip()
            _log.debug("no warm parent for %s: %s %s", kind.executable, error, said)
        finally:
            os.close(errors)
        return None


def _is_over(start: asyncio.Task[Parent | None]) -> bool:
    """Whether it has led to no parent, or to one that has ended. That a kind must start cold stays so."""
    if not start.done():
        return False
    if start.cancelled() or start.exception() is not None:
        return True
    parent = start.result()
    return parent is not None and not parent.alive
