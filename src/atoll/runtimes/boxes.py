"""Sessions in boxes: a container, or another sandbox, that one session has for itself.

::

    node   --- a folder with a Unix socket in it --->  box   guest/box.py, the image's own Python
           <-- one connection --------------------
           --- the calls' descriptors ------------->         forks each call, with its libraries loaded

What starts and ends a box is a driver's business. Everything that a call is given travels as
descriptors over the connection: its streams, its line, the listener of its door. So a box needs
no network, and has none.

What the first process of a box says is believed as little as what the algorithm says: both have the
same user, in the same box. The worst that it can do is to answer wrongly, or not at all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from atoll.engine.limits import START_SECONDS_MAX
from atoll.engine.running import Launch
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes import groups
from atoll.runtimes.aside import leave
from atoll.runtimes.children import Streams
from atoll.runtimes.command import BOOT, Program
from atoll.runtimes.doors import SandboxDoors
from atoll.runtimes.outlets import readable
from atoll.runtimes.places import Inside, Place
from atoll.runtimes.points import Points
from atoll.runtimes.refused import refusing
from atoll.runtimes.view import GUEST
from atoll.runtimes.warm import Call, MustStartCold, Parent, begin

_log = logging.getLogger(__name__)

#: Where a box finds the folder with its socket, and what is in it.
LINE = "/run/atoll/line"
_SOCKET = "node"
#: Seconds that a box gets to end a call that is to end. Then the box itself is ended.
_END_SECONDS = 3.0


class Box(Protocol):
    """A box that was started."""

    @property
    def ended(self) -> asyncio.Future[str]:
        """Is set when its first process has ended, with a sentence about why, as far as that is known."""
        ...

    async def memory_ran_out(self) -> bool:
        """Whether the system has ended a process of the box because it needed too much memory."""
        ...

    async def remove(self) -> None:
        """End it now with everything in it, and remove what is left of it. May be called twice."""
        ...


class Driver(Protocol):
    """Starts boxes."""

    async def start(self, boot: Boot) -> Box:
        """Start a box whose first process is the boot's.

        Raises:
            NoPython: it has none of the interpreters that the boot names.
            RuntimeUnavailable: this machine can't.
            AlgorithmFailed: the box can't be started.
        """
        ...


class NoPython(Exception):
    """An image has no Python that could be the first process of a box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What a box is started with."""

    launch: Launch
    #: Words for the interpreter, best first.
    pythons: tuple[str, ...]
    #: What stands behind the interpreter's.
    arguments: tuple[str, ...]
    #: The folder of this machine that appears as `LINE`.
    line: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the calls of a launch are run in their box."""

    launch: Launch
    inside: Inside
    #: What a call starts, as it reads inside: ``python`` stands for any interpreter.
    command: tuple[str, ...]
    #: Its program, as its author named it.
    file: str
    points: Points
    #: Words for the interpreter that the box's first process runs under, best first.
    pythons: tuple[str, ...]
    #: What the box's first process imports ahead; see ``guest/scan.py``.
    scan: Mapping[str, Any]
    #: Modules of which the first process tells whether they are installed.
    look_for: tuple[str, ...] = ()
    #: The user and group of the box, where they aren't this process's.
    user: tuple[int, int] | None = None


class Kills:
    """How often the system has ended processes of a session for their memory, in one box after another."""

    def __init__(self) -> None:
        #: In boxes that are no more.
        self._past = 0
        self._here = 0

    @property
    def total(self) -> int:
        """How often in all of them. It never falls."""
        return self._past + self._here

    def note(self, count: int) -> None:
        """In the box that there is now it happened so often, as somebody says who may not know of all."""
        self._here = max(count, self._here)

    def begin(self) -> None:
        """What is told from now on is of another box."""
        self._past, self._here = self.total, 0


class BoxPlace(Place):
    """The processes of one launch, in a box of their own that starts with the first of them."""

    def __init__(self, plan: Plan, driver: Driver) -> None:
        launch = plan.launch
        super().__init__(
            launch,
            plan.inside,
            plan.command,
            plan.file,
            None,
            (),
            SandboxDoors(launch),
            bounded=True,
        )
        self._plan = plan
        self._driver = driver
        self._box: Box | None = None
        self._parent: Parent | None = None
        #: The control group that whoever runs the box has made for it.
        self._group_seen: groups.Group | None = None
        self._starting = asyncio.Lock()
        self._kills = Kills()
        self._closed = False

    def inside(self, path: Path) -> str:
        return self._plan.points.inside(path)

    def memory_kills(self) -> int:
        if self._group_seen is not None:
            self._kills.note(self._group_seen.kills() or 0)
        return self._kills.total

    async def open(self) -> None:
        """Start the box, unless it is there.

        Raises:
            NoPython: its image has no Python that could be its first process.
            RuntimeUnavailable: this machine can't.
            AlgorithmFailed: it can't be started.
        """
        async with self._starting:
            if self._parent is not None and self._parent.alive:
                return
            await self._drop()
            if self._closed:
                raise AlgorithmFailed("the session was closed")
            try:
                self._box, self._parent = await start_box(self._plan, self._driver)
            except MustStartCold as error:
                _log.debug("nothing is imported ahead at %s: %s", self._launch.seat, error)
                self._box, self._parent = await self._start_bare()
            self._group_seen = groups.group_of(self._parent.peer)

    async def _start_bare(self) -> tuple[Box, Parent]:
        try:
            return await start_box(self._plan, self._driver, ahead=False)
        except MustStartCold as error:
            raise AlgorithmFailed(
                f"the Python of the image can't start the algorithm's calls: {str(error)[:300]}"
            ) from None

    def refusals(self) -> int | None:
        return None if self._group_seen is None else self._group_seen.refusals()

    def members(self) -> Collection[int]:
        return () if self._group_seen is None else self._group_seen.members()

    @property
    def found(self) -> frozenset[str]:
        """What of `Plan.look_for` is installed in the box that was opened."""
        return frozenset() if self._parent is None else self._parent.found

    async def start(self, streams: Streams, seed: int | None, variables: Mapping[str, str]) -> BoxCall:
        await self.open()
        assert self._parent is not None
        assert self._box is not None
        for descriptor in (streams.stdin, streams.stdout, streams.stderr):
            self._hand_over(descriptor)
        program: Program | None = self._program
        if self._is_late(variables):
            program = None
        task = self._exec(seed, variables) if program is None else self._run(program, seed, variables)
        call = self._parent.start(self._told(task), streams)
        return BoxCall(call, self._box, self._kills)

    def run(self, command: tuple[str, ...]) -> None:
        """Start another command than the launch's from now on."""
        self._command, self._file, self._program = command, command[0], None

    @property
    def box(self) -> Box | None:
        """The box, once it was opened."""
        return self._box

    def network(self, what: str) -> tuple[Parent, int | None]:
        if self._parent is not None and self._parent.alive:
            return self._parent, None
        raise RuntimeUnavailable(f"{what}: its box isn't there yet, or has ended")

    async def close(self) -> None:
        self._closed = True
        await super().close()
        await self._drop()

    async def _drop(self) -> None:
        self.memory_kills()
        self._kills.begin()
        self._group_seen = None
        box, self._box = self._box, None
        parent, self._parent = self._parent, None
        if parent is not None:
            parent.lose()
        if box is not None:
            await box.remove()

    def _hand_over(self, descriptor: int) -> None:
        """Let the box's user open a stream anew, as ``/dev/stdout`` does."""
        if self._plan.user is not None:
            with suppress(OSError):  # /dev/null is nobody's to give
                os.fchown(descriptor, *self._plan.user)


class BoxCall:
    """A call's process in a box."""

    def __init__(self, call: Call, box: Box, kills: Kills) -> None:
        self._call = call
        self._box = box
        self._kills = kills
        self._killed = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        #: Its exit status, or minus the signal that ended it; `ParentLost` where nobody knows.
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self.ended.add_done_callback(lambda future: future.cancelled() or future.exception())
        call.ended.add_done_callback(self._hear)

    def kill(self) -> None:
        """End it with everything that it started, and the whole box where that doesn't help."""
        if not self._killed and not self.ended.done():
            self._killed = True
            self._call.kill()
            self._timer = self._loop.call_later(_END_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._do(self._end_box())

    async def _end_box(self) -> None:
        try:
            await self._box.remove()
        finally:  # whoever waits for the call can't do more about it
            if not self.ended.done():
                self.ended.set_result(-9)

    def _hear(self, ended: asyncio.Future[int]) -> None:
        if ended.cancelled() or self.ended.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        lost = ended.exception()
        if lost is None and ended.result() == 0:
            self.ended.set_result(0)
        elif self._killed:
            self.ended.set_result(-9 if lost is not None else ended.result())
        else:
            self._do(self._look_into(ended))

    async def _look_into(self, ended: asyncio.Future[int]) -> None:
        """It ended badly: whether for want of memory is known to whoever runs the box."""
        lost = ended.exception()
        if lost is None:
            self._kills.note(self._call.memory_kills)
        else:
            with suppress(Exception):  # A driver that can't tell has told enough.
                if await self._box.memory_ran_out():
                    self._kills.note(1)
        if self.ended.done():
            return
        if lost is None:
            self.ended.set_result(ended.result())
        else:
            self.ended.set_exception(lost)

    def _do(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def start_box(plan: Plan, driver: Driver, *, ahead: bool = True) -> tuple[Box, Parent]:
    """Start a box, and wait until its first process is ready for calls.

    Args:
        plan: of its calls.
        driver: starts it.
        ahead: whether its first process imports libraries.

    Raises:
        NoPython: its image has no Python that could be its first process.
        RuntimeUnavailable: this machine can't.
        AlgorithmFailed: it can't be started, or its first process ended.
        MustStartCold: a library that was imported ahead keeps the first process from forking, or ended it.
    """
    # Not in the workspace: the path of a Unix socket is short.
    folder = Path(tempfile.mkdtemp(prefix="atoll-box-"))
    box: Box | None = None
    try:
        listener = _listener(folder, plan.user)
        try:
            boot = BOOT.format(here=GUEST, program="box", arguments=repr(f"{LINE}/{_SOCKET}"))
            box = await driver.start(
                Boot(
                    launch=plan.launch,
                    pythons=plan.pythons,
                    arguments=("-c", boot),
                    line=folder,
                    environment=plan.inside.environment,
                )
            )
            line = await _accept(listener, box)
        finally:
            leave(listener)  # another connection may wait there, with whatever was sent over it
        first = {"path": plan.inside.path, "here": GUEST, "scan": plan.scan if ahead else None}
        first |= {"look_for": plan.look_for, "refused": (refusing(namespaces=True) or b"").hex()}
        parent = await begin(line, first)
    except BaseException:
        if box is not None:
            await asyncio.shield(box.remove())
        raise
    finally:
        # The mount goes on as long as the box; nobody listens there any more.
        shutil.rmtree(folder, ignore_errors=True)
    return box, parent


def _listener(folder: Path, user: tuple[int, int] | None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.setblocking(False)
    path = folder / _SOCKET
    listener.bind(str(path))
    listener.listen(1)
    if user is not None:
        for each in (path, folder):
            os.chown(each, *user)
    return listener


async def _accept(listener: socket.socket, box: Box) -> socket.socket:
    """The connection of a box's first process, which it makes before any code of the algorithm runs."""
    arriving = asyncio.ensure_future(readable(listener))
    either: set[asyncio.Future[Any]] = {arriving, box.ended}
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        raise RuntimeUnavailable(
            f"a box was started, and its first process did not answer within {START_SECONDS_MAX:g} seconds: "
            "is the engine on this machine? It must see the node's folders"
        ) from None
    finally:
        arriving.cancel()
        await asyncio.wait({arriving})
    if arriving.cancelled():
        said = box.ended.result()
        foreign = "exec format error" in said.lower()
        hint = ". Is the image for another kind of processor than this machine's?" if foreign else ""
        raise AlgorithmFailed(f"the algorithm's box ended before its first call: {said}{hint}")
    # Only now: what was accepted meanwhile would be lost with whoever stops waiting.
    line, _ = listener.accept()
    return line


def hand_over(paths: Sequence[Path], user: tuple[int, int]) -> None:
    """Give folders that an algorithm may write to, with what is in them, to the user of its box.

    Another session of the same seat may be writing there, and swap a folder for a link to anywhere: each is
    opened before what is in it is given, and no link is followed.
    """
    for root in paths:
        if not os.path.lexists(root):
            continue  # who shows it says so
        os.chown(root, *user, follow_symlinks=False)
        for _, folders, files, handle in os.fwalk(root):
            for name in (*folders, *files):
                with suppress(FileNotFoundError):
                    os.chown(name, *user, dir_fd=handle, follow_symlinks=False)


def check_readable(sources: Sequence[Path], user: tuple[int, int]) -> None:
    """See that the user of a box may read what it is shown.

    Raises:
        AlgorithmFailed: with what it may not.
    """
    for source in sources:
        try:
            told = source.stat()
        except FileNotFoundError:
            continue  # who shows it says so
        needed = 0o5 if source.is_dir() else 0o4
        shift = 6 if told.st_uid == user[0] else 3 if told.st_gid == user[1] else 0
        if (told.st_mode >> shift) & needed != needed:
            raise AlgorithmFailed(
                f"the user {user[0]} that algorithms have in containers may not read {str(source)!r}. Let others read "
                f"it (chmod {'o+rx' if source.is_dir() else 'o+r'}), or run the node as the user whom it belongs to"
            )


def new_name() -> str:
    """A name for a box that no other has."""
    return f"atoll-{secrets.token_hex(6)}"
