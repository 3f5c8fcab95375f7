"""A seat's place for one run: its folders, its memory, its chairs.

::

    base/        the site's own files (links to a read-only mount) and what was sent to it
    transfer/    what the algorithm puts here is sent
    temporary/   /tmp and the cache directory; emptied when a step ends
    job/         a folder for each chair
    workbench/   dataframes, for the run's other calls at this seat
    output       somewhere else: it stays when the run has ended
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from atoll.algorithms.installed import Installed
from atoll.engine.limits import CALLS_WAITING_MAX, KEPT_SESSIONS_MAX, CallLimits
from atoll.engine.ports import Folder
from atoll.engine.running import Launch, Mount, Runtime
from atoll.model.errors import LimitReached
from atoll.model.work import JobId, Seat, Ticket
from atoll.node import guarded
from atoll.node.chair import Chair
from atoll.node.memory import Kept, Memory
from atoll.node.network.reach import Reach
from atoll.node.network.relay import Relay
from atoll.node.offer import Offer
from atoll.node.provision import Provision
from atoll.node.site_data import SiteData

#: Where an isolated algorithm sees the files that the links in its base folder lead to.
_DATA = "/site"


@dataclass(kw_only=True)
class Desk:
    """What a seat keeps of one run between its calls. It never leaves the site."""

    seat: Seat
    folders: dict[Folder, Path]
    log: Path
    data: SiteData | None = None
    offer: Offer = field(default_factory=Offer)
    cache: dict[str, bytes] = field(default_factory=dict)
    outputs: dict[int, bytes] = field(default_factory=dict)
    #: What the site gives to the computation's inputs; None where it has mapped nothing to it.
    inputs: Mapping[str, Any] | None = None
    #: What the algorithm reaches beside its door, where a sandbox keeps it from all else.
    reach: Reach = field(default_factory=Reach)
    #: Where what it remembers is kept; None where it ends with this process.
    memory: Memory | None = None
    #: Whether it stood here before this process began.
    revived: bool = False
    #: The step whose memory and sessions this desk has now.
    step: int = -1
    chairs: list[Chair] = field(default_factory=list)
    #: Chairs that there have ever been: each has a folder of its own.
    seated: int = 0
    _made: set[Folder] = field(default_factory=set)
    _laid_out: bool = False
    #: Whether what calls of an earlier life had left was removed.
    _swept: bool = False
    #: What it remembered before the last job that was begun.
    _before: Kept | None = None
    _relay: Relay = field(default_factory=Relay)

    async def begin(self, ticket: Ticket) -> None:
        """Take up a job: turn to its step, and forget what an earlier try of it has left."""
        job_id = ticket.job.id
        if self.memory is not None and self.step < 0 and (kept := self.memory.recall(job_id)) is not None:
            self.step, self.cache, self.outputs = kept.step, dict(kept.cache), dict(kept.outputs)
        if self.revived and not self._swept:
            self._swept = True
            guarded.remove(self.folders[Folder.JOB])
        await self.turn_to(ticket.step)
        if any(chair.taken for chair in self.chairs):
            return  # Calls that go on side by side keep nothing here.
        if self._before is not None and self._before.job_id == job_id:
            self.cache, self.outputs = dict(self._before.cache), dict(self._before.outputs)
        self._before = self._now(job_id)
        if ticket.job.attempt > 1 and self.folders[Folder.TRANSFER].is_dir():
            guarded.empty(self.folders[Folder.TRANSFER])

    def keep_memory(self, job_id: JobId) -> None:
        """Keep what it remembers after a job, where that is more than it remembered before."""
        if self.memory is None or self._before is None or self._before.job_id != job_id:
            return
        kept = self._now(job_id)
        if kept != self._before:
            self.memory.keep(kept)

    def equip(self, provision: Provision) -> None:
        """Put out what the site brings to a step, before the step's first session here."""
        self.offer, self.inputs, self.reach = provision.offer, provision.inputs, provision.reach
        if provision.data == self.data:
            return
        if self._laid_out:
            base = self.folders[Folder.BASE]
            for name, _ in list(guarded.links(base)):
                (base / name).unlink()
        self.data, self._laid_out = provision.data, False

    def _now(self, job_id: JobId) -> Kept:
        return Kept(job_id=job_id, step=self.step, cache=dict(self.cache), outputs=dict(self.outputs))

    async def turn_to(self, step: int) -> None:
        """Begin a step afresh: no memory, no session, and no temporary file of the one before."""
        if step == self.step:
            return
        await self.close()
        if Folder.TEMPORARY in self._made or (self.revived and self.folders[Folder.TEMPORARY].is_dir()):
            guarded.empty(self.folders[Folder.TEMPORARY])
        self.step = step
        self.cache = {}

    async def sit_down(
        self,
        ticket: Ticket,
        installed: Installed,
        runtime: Runtime,
        limits: CallLimits,
        waits: Callable[[str], None] | None = None,
    ) -> Chair:
        """A chair with a session that no other call has; the one that the job names, if it names one.

        Args:
            ticket: the job.
            installed: its algorithm.
            runtime: starts the session.
            limits: what a call may take.
            waits: is told what a session's start waits for.

        Raises:
            RuntimeUnavailable: this machine can't run it.
            AlgorithmFailed: the algorithm can't be started.
            LimitReached: too many calls are under way here.
        """
        key = None if ticket.job.session is None else f"{ticket.parent}/{ticket.job.session}"
        for chair in self.chairs:
            if chair.key == key and not chair.taken:
                chair.taken = True
                return chair
        if sum(chair.taken for chair in self.chairs) >= CALLS_WAITING_MAX:
            raise LimitReached(
                f"{CALLS_WAITING_MAX} calls of this run wait at {self.seat} for what they have asked for, and it may "
                "have no more. Do functions ask for calls of themselves?"
            )
        if key is not None:
            await self._make_room()
        self.seated += 1
        chair = Chair(desk=self, key=key, number=self.seated)
        self.chairs.append(chair)
        try:
            targets = installed.convention.targets(self.seat)
            self._make(targets, chair)
            launch = self._launch(ticket, installed, limits, targets, chair, self._within(runtime))
            launch = replace(launch, waits=waits)
            chair.session = await runtime.start(launch)
            self._lay_out(chair)
        except BaseException:
            await self._remove(chair)
            raise
        return chair

    async def stand_up(self, chair: Chair) -> None:
        """A call has ended: its chair is free, or gone where its session was lost with the call."""
        try:
            chair.stand_up()
        except OSError:  # Something still writes to its folder, which ends with the run.
            chair.broken = True
        if chair.broken:
            await self._remove(chair)
        elif chair.key is not None and chair in self.chairs:
            # The one that was used last comes last.
            self.chairs.remove(chair)
            self.chairs.append(chair)

    async def _make_room(self) -> None:
        """End the session that was kept longest for a call that may never come, where there are many."""
        kept = [chair for chair in self.chairs if chair.key is not None and not chair.taken]
        if len(kept) >= KEPT_SESSIONS_MAX:
            await self._remove(kept[0])

    async def _remove(self, chair: Chair) -> None:
        if chair in self.chairs:
            self.chairs.remove(chair)
            await self._end(chair)

    async def close(self) -> None:
        """End the sessions."""
        while self.chairs:
            await self._end(self.chairs.pop())
        await self._relay.close()

    async def _end(self, chair: Chair) -> None:
        try:
            # Only a session knows what the links stand for that are left in the output folder.
            await chair.settle(Folder.OUTPUT)
        finally:
            await chair.close()

    def make(self, folder: Folder) -> Path:
        """A folder of this seat, made when it is first needed."""
        path = self.folders[folder]
        if folder not in self._made:
            _make(path)
            self._made.add(folder)
        return path

    def remove(self) -> None:
        """Remove what a run leaves at this seat beside its output and its log."""
        for folder, path in self.folders.items():
            if folder is not Folder.OUTPUT:
                guarded.remove(path)
        if self.memory is not None:
            self.memory.forget()

    def _make(self, targets: Mapping[Folder, str], chair: Chair) -> None:
        for folder in (Folder.TEMPORARY, *targets):
            self.make(folder)
        if Folder.JOB in targets:
            _make(chair.folder(Folder.JOB))
            chair.files = True

    def _within(self, runtime: Runtime) -> Reach:
        """What is reached from within a sandbox, where there is one: then databases' addresses fit that."""
        if not runtime.isolated:
            return Reach()
        self.offer = replace(self.offer, databases={**self.offer.databases, **self.reach.databases})
        return self.reach

    def _launch(
        self,
        ticket: Ticket,
        installed: Installed,
        limits: CallLimits,
        targets: Mapping[Folder, str],
        chair: Chair,
        reach: Reach,
    ) -> Launch:
        style, command = installed.convention.launch(ticket)
        mounts = [
            Mount(source=chair.folder(folder), target=target, writable=True)
            for folder, target in targets.items()
        ]
        mounts += self.offer.mounts()
        if self.data is not None:
            mounts.append(Mount(source=self.data.folder, target=f"{_DATA}/{self.seat}"))
            mounts += [
                Mount(source=source, target=f"{_DATA}/linked/{number}")
                for number, source in enumerate(self.data.outside)
            ]
        return Launch(
            seat=self.seat,
            style=style,
            code=installed.code,
            image=installed.image_for(ticket.role),
            chosen_here=installed.environment is not None,
            code_name=installed.code_name,
            command=command,
            masked=installed.masked,
            mounts=tuple(mounts),
            temporary=self.folders[Folder.TEMPORARY],
            log=self.log,
            environment={**reach.environment, **(self.offer.environment if installed.inherits else {})},
            limits=limits,
            modules=installed.modules,
            libraries=installed.libraries,
            speaks_http=installed.speaks_http,
            outlets=tuple(
                self._relay.outlet(target, f"run {ticket.job.run_id} at {self.seat}")
                for target in reach.targets
            ),
        )

    def _lay_out(self, chair: Chair) -> None:
        """Link the site's own files into the base folder.

        Folders are real and files are links, so that what is sent here can lie beside the
        site's own files and take the name of one, while those stay read-only and uncopied.
        """
        if self._laid_out or self.data is None:
            return
        self._laid_out = True
        base, root = self.folders[Folder.BASE], self.data.folder
        for where, folders, files in os.walk(root):
            inner = Path(where).relative_to(root)
            for name in folders:
                if not Path(where, name).is_symlink():
                    (base / inner / name).mkdir(exist_ok=True)
            for name in (*files, *(name for name in folders if Path(where, name).is_symlink())):
                relative = (inner / name).as_posix()
                target = self._shown(self.data.links.get(relative, root / relative), chair)
                with suppress(FileExistsError):  # What was sent here first has the name.
                    os.symlink(target, base / inner / name)

    def _shown(self, path: Path, chair: Chair) -> str:
        """Where the algorithm sees a file of the site, or one that a link of the site leads to."""
        assert self.data is not None
        assert chair.session is not None
        if path.is_relative_to(self.data.folder):
            return f"{chair.session.inside(self.data.folder)}/{path.relative_to(self.data.folder)}"
        return chair.session.inside(path)


def _make(folder: Path) -> None:
    # Mostly one call to the system, and not three: a simulation makes thousands of folders.
    try:
        os.mkdir(folder)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
