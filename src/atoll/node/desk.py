"""A seat's place for one run: its folders, its memory, its session.

::

    base/        the site's own files (links to a read-only mount) and what was sent to it
    transfer/    what the algorithm puts here is sent
    temporary/   /tmp and the cache directory; emptied when a step ends
    output       somewhere else: it stays when the run has ended
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from atoll.engine.limits import CallLimits
from atoll.engine.ports import Convention, Folder
from atoll.engine.running import Launch, Mount, Runtime, Session
from atoll.model.work import Seat, Ticket
from atoll.node import guarded
from atoll.node.links import become_files

#: Where an isolated algorithm sees the files that the links in its base folder lead to.
_DATA = "/site"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An algorithm that is at hand at this node."""

    convention: Convention
    code: Path
    #: Parts of `code` that the algorithm must not see, relative to it.
    masked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteData:
    """The files that a site brings to a run."""

    folder: Path
    #: Relative names of links in the folder, and what they lead to in the end.
    links: dict[str, Path] = field(default_factory=dict)

    @property
    def outside(self) -> tuple[Path, ...]:
        """What links lead to that lies outside of the folder: it needs mounts of its own."""
        return tuple(target for target in self.links.values() if not target.is_relative_to(self.folder))


def look_at(folder: Path) -> SiteData:
    """Find the links in a site's folder: where an algorithm is isolated, their paths mean nothing."""
    links: dict[str, Path] = {}
    real = folder.resolve()
    for where, folders, files in os.walk(real):
        for name in (*folders, *files):
            path = Path(where, name)
            if path.is_symlink():
                target = path.resolve()
                if target.exists():
                    links[path.relative_to(real).as_posix()] = target
    return SiteData(folder=real, links=links)


@dataclass(kw_only=True)
class Desk:
    """What a seat keeps of one run between its calls. It never leaves the site."""

    seat: Seat
    folders: dict[Folder, Path]
    log: Path
    data: SiteData | None = None
    cache: dict[str, bytes] = field(default_factory=dict)
    outputs: dict[int, bytes] = field(default_factory=dict)
    #: The step whose memory and session this desk has now.
    step: int = -1
    session: Session | None = None
    _laid_out: bool = False

    def inside(self, folder: Folder) -> str:
        """Where the algorithm sees this folder."""
        assert self.session is not None
        return self.session.inside(self.folders[folder])

    async def turn_to(self, step: int) -> None:
        """Begin a step afresh: no memory, no session, and no temporary file of the one before."""
        if step == self.step:
            return
        await self.close()
        if self.step >= 0:
            guarded.empty(self.folders[Folder.TEMPORARY])
        else:
            for path in self.folders.values():
                _make(path)
        self.step = step
        self.cache = {}

    async def seat_down(
        self, ticket: Ticket, installed: Installed, runtime: Runtime, limits: CallLimits
    ) -> Session:
        """The session of this step, started at its first call."""
        if self.session is None:
            self.session = await runtime.start(self._launch(ticket, installed, limits))
            self._lay_out()
        return self.session

    async def close(self) -> None:
        """End the session."""
        if self.session is None:
            return
        try:
            await self.settle(Folder.OUTPUT)
        finally:
            session, self.session = self.session, None
            await session.close()

    async def settle(self, folder: Folder) -> None:
        """Make files of the links to the site's own files that an algorithm has copied to a folder.

        A program that copies links as links, as ``cp -r`` does, finds nothing but links in the
        base folder, and what they name is nowhere but in the session. Other links are left.
        """
        if self.data is None or self.session is None or guarded.is_empty(self.folders[folder]):
            return
        own = f"{self.session.inside(self.data.folder)}/"
        outside = {self.session.inside(path): path for path in self.data.outside}
        root = self.data.folder

        def source_of(text: str) -> Path | None:
            path = outside.get(text)
            if path is None and text.startswith(own):
                path = (root / text.removeprefix(own)).resolve()
                path = path if path.is_relative_to(root) else None
            return path if path is not None and path.is_file() else None

        await asyncio.to_thread(become_files, self.folders[folder], source_of)

    def remove(self) -> None:
        """Remove what a run leaves at this seat beside its output and its log."""
        for folder, path in self.folders.items():
            if folder is not Folder.OUTPUT:
                guarded.remove(path)

    def _launch(self, ticket: Ticket, installed: Installed, limits: CallLimits) -> Launch:
        style, command = installed.convention.launch(ticket)
        targets = installed.convention.targets(self.seat)
        mounts = [
            Mount(source=self.folders[folder], target=target, writable=True)
            for folder, target in targets.items()
        ]
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
            command=command,
            masked=installed.masked,
            mounts=tuple(mounts),
            temporary=self.folders[Folder.TEMPORARY],
            log=self.log,
            limits=limits,
        )

    def _lay_out(self) -> None:
        """Link the site's own files into the base folder.

        Folders are real and files are links, so that what is sent here can lie beside the
        site's own files and take the name of one, while those stay read-only and uncopied.
        """
        if self._laid_out or self.data is None or self.session is None:
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
                target = self._shown(self.data.links.get(relative, root / relative))
                with suppress(FileExistsError):  # What was sent here first has the name.
                    os.symlink(target, base / inner / name)

    def _shown(self, path: Path) -> str:
        """Where the algorithm sees a file of the site, or one that a link of the site leads to."""
        assert self.data is not None
        assert self.session is not None
        if path.is_relative_to(self.data.folder):
            return f"{self.session.inside(self.data.folder)}/{path.relative_to(self.data.folder)}"
        return self.session.inside(path)


def _make(folder: Path) -> None:
    # Mostly one call to the system, and not three: a simulation makes thousands of folders.
    try:
        os.mkdir(folder)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
