"""A session at a desk, with what one call after another needs of it.

A call that waits for calls of its own keeps its chair, so that a desk may have several. Each
has a folder of its own for the files of its call: no call finds another's there.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from atoll.engine.limits import CHUNK_BYTES, REPLY_BYTES_MAX
from atoll.engine.ports import Database, Folder
from atoll.engine.running import Doorway, Reply, Request, Session
from atoll.model.errors import LimitReached
from atoll.model.work import Seat, check_blob_name
from atoll.node import guarded
from atoll.node.links import become_files
from atoll.node.offer import Offer

#: Where the files that a workbench had under a name stay, in the output folder.
_VERSIONS = "dataframes"


class Files(Protocol):
    """The files that a site brings to a run; see `SiteData`."""

    @property
    def folder(self) -> Path:
        """Where they lie."""
        ...

    @property
    def outside(self) -> tuple[Path, ...]:
        """What links in the folder lead to that lies elsewhere."""
        ...


class Home(Protocol):
    """The desk that a chair stands at."""

    seat: Seat
    folders: dict[Folder, Path]
    offer: Offer
    cache: dict[str, bytes]
    outputs: dict[int, bytes]
    inputs: Mapping[str, Any] | None

    @property
    def data(self) -> Files | None:
        """The site's own files."""
        ...

    def make(self, folder: Folder) -> Path:
        """A folder of this seat, made when it is first needed."""
        ...


@dataclass(kw_only=True, eq=False)
class Chair:
    """One session, for one call at a time. This is the desk that a convention sees."""

    desk: Home
    #: The job that it is kept for, and that job's name for it; None where it is for any.
    key: str | None
    number: int
    session: Session | None = None
    taken: bool = True
    #: Whether its calls have files of their own.
    files: bool = False
    #: Whether its session may not answer another call.
    broken: bool = False
    seed: int | None = None
    _token: str = ""

    def begin(self, seed: int | None) -> None:
        """A call begins, with a secret of its own."""
        self.seed = seed
        self._token = ""

    async def call(self, request: Request, doorway: Doorway | None) -> Reply:
        """Hand over a request; see `Session.call`."""
        assert self.session is not None
        try:
            reply = await self.session.call(request, seed=self.seed, doorway=doorway)
        except BaseException:
            self.broken = True
            raise
        # A process that is there for many calls has ended with this one.
        self.broken = bool(reply.exit_code) and not reply.head
        return reply

    def stand_up(self) -> None:
        """The call has ended: remove its files, and leave the chair to the next."""
        if self.files:
            guarded.empty(self.folder(Folder.JOB))
        self._token = ""
        self.taken = False

    @property
    def token(self) -> str:
        """This call's secret; drawn when it is first needed, since few calls do."""
        self._token = self._token or secrets.token_urlsafe(32)
        return self._token

    async def close(self) -> None:
        """End the session."""
        session, self.session = self.session, None
        if session is not None:
            await session.close()

    @property
    def seat(self) -> Seat:
        """Whose desk this is."""
        return self.desk.seat

    @property
    def cache(self) -> dict[str, bytes]:
        """The algorithm's own memory."""
        return self.desk.cache

    @property
    def outputs(self) -> dict[int, bytes]:
        """What earlier steps left at this site."""
        return self.desk.outputs

    @property
    def address(self) -> tuple[str, int] | None:
        """Where this call reaches its doorway over HTTP."""
        return None if self.session is None else self.session.address

    @cached_property
    def databases(self) -> Mapping[str, Database]:
        """What the site offers, by label, in its order."""
        assert self.session is not None
        return self.desk.offer.seen(self.session.inside)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the site sets for algorithms."""
        return self.desk.offer.environment

    @property
    def inputs(self) -> Mapping[str, Any] | None:
        """What the site gives to the computation's inputs."""
        return self.desk.inputs

    def folder(self, folder: Folder) -> Path:
        """A folder as it lies at the site."""
        path = self.desk.folders[folder]
        return path / str(self.number) if folder is Folder.JOB else path

    def inside(self, folder: Folder) -> str:
        """Where the algorithm sees a folder."""
        assert self.session is not None
        return self.session.inside(self.folder(folder))

    def write(self, folder: Folder, name: str, content: bytes) -> None:
        """Write a file for the algorithm."""
        with guarded.creating(self.folder(folder), name) as file:
            file.write(content)

    def read(self, folder: Folder, name: str) -> bytes | None:
        """A file that the algorithm left; None where there is none."""
        try:
            for found, file in guarded.regular_files(self.folder(folder), name):
                if found == name:
                    # A file may have a size that nothing stands behind: no need to read it.
                    _check_size(os.fstat(file.fileno()).st_size, name)
                    content = file.read(REPLY_BYTES_MAX + 1)
                    _check_size(len(content), name)
                    return content
        except FileNotFoundError:
            pass  # The algorithm has not written it.
        return None

    def keep(self, name: str, source: str) -> int:
        """Move a file to the workbench, and keep every version of it at the site."""
        check_blob_name(name)
        versions = self.desk.make(Folder.OUTPUT) / _VERSIONS
        versions.mkdir(exist_ok=True)
        number = 1
        while (versions / _version(name, number)).exists():
            number += 1
        places = [(self.desk.make(Folder.WORKBENCH), name), (versions, _version(name, number))]
        for found, file in guarded.regular_files(self.folder(Folder.JOB), source):
            if found != source:
                raise FileNotFoundError(source)  # It is a folder, and this a file within.
            for root, as_name in places:
                file.seek(0)
                with guarded.creating(root, as_name) as copy:
                    while chunk := file.read(CHUNK_BYTES):
                        copy.write(chunk)
            return number
        raise FileNotFoundError(source)

    async def settle(self, folder: Folder) -> None:
        """Make files of the links to the site's own files that an algorithm has copied to a folder.

        A program that copies links as links, as ``cp -r`` does, finds nothing but links in the
        base folder, and what they name is nowhere but in the session. Other links are left.
        """
        data, session = self.desk.data, self.session
        if data is None or session is None or guarded.is_empty(self.folder(folder)):
            return
        own = f"{session.inside(data.folder)}/"
        outside = {session.inside(path): path for path in data.outside}
        root = data.folder

        def source_of(text: str) -> Path | None:
            path = outside.get(text)
            if path is None and text.startswith(own):
                path = (root / text.removeprefix(own)).resolve()
                path = path if path.is_relative_to(root) else None
            return path if path is not None and path.is_file() else None

        await asyncio.to_thread(become_files, self.folder(folder), source_of)


def _version(name: str, number: int) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.v{number}{path.suffix}"))


def _check_size(size_bytes: int, name: str) -> None:
    if size_bytes > REPLY_BYTES_MAX:
        raise LimitReached(
            f"the algorithm's {name} has more than {REPLY_BYTES_MAX} bytes, the most that one call may "
            "answer. Answer with less"
        )
