"""Unpacked root file systems, kept on this machine: one for each digest, shared by all who need it.

::

    FOLDER/roots/DIGEST/root     the file system
                       /about    how large it is, as JSON; its time is that of the last use
          /making/DIGEST-…       one that is being unpacked; then it is renamed
          /locks/DIGEST          held by all who use it, and by one who unpacks or removes it
          /seen/…                the digest of a file that has not changed since

What is in a root was written by strangers. It is never followed from outside, and whoever runs in it
sees it read-only.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident

from atoll.engine.limits import ROOTS_BYTES_MAX, ROOTS_SECONDS_MAX
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.sif import unsquashing
from atoll.runtimes.sif.layout import read_layout

#: Seconds between two looks at a lock that another process holds.
_LOCK_SECONDS = 0.05
#: What a folder must have one of, to be taken for a root file system.
_SYSTEM = ("usr", "bin", "lib", "lib64", ".singularity.d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A root file system of this machine's disk."""

    folder: Path
    #: ``sha256:`` and 64 hexadecimal digits, of the file that it is from, or of all that is in it.
    digest: str


class Roots:
    """The unpacked root file systems of this machine that one program uses.

    Args:
        folder: where they are kept; other programs of the same user may keep theirs there, too.
        bytes_max: what all that nobody uses may take.
        seconds_max: how long one is kept that nobody uses.
    """

    def __init__(
        self, folder: Path, *, bytes_max: int = ROOTS_BYTES_MAX, seconds_max: float = ROOTS_SECONDS_MAX
    ) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._opening: dict[str, asyncio.Task[Root]] = {}
        #: Locks on what is in use, for as long as this object is.
        self._held: dict[str, int] = {}

    async def digest_of(self, path: Path) -> str:
        """The digest of an image's file, or of a folder. What has not changed is not read again.

        Raises:
            RuntimeUnavailable: there is no such file, or it can't be read.
        """
        return await asyncio.to_thread(self._digest_of, path)

    async def open(self, path: Path, digest: str | None = None) -> Root:
        """The root file system of an image, unpacked where it isn't yet.

        Args:
            path: the image's file, or a folder that holds a root file system.
            digest: what it must be; None: whatever it is.

        Raises:
            RuntimeUnavailable: it is not an image that can be run here, or another one than was asked for.
            LimitReached: it is larger than an image may be.
        """
        found = await self.digest_of(path)
        if digest not in (None, found):
            raise RuntimeUnavailable(
                f"{path} is not the image that was asked for: its digest is {found}, and expected was {digest}"
            )
        if path.is_dir():
            _check_root(path)
            return Root(folder=Path(os.path.realpath(path)), digest=found)
        task = self._opening.get(found)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._opening[found] = asyncio.create_task(self._open(path, found))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Use none of them any more."""
        tasks = [task for task in self._opening.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._opening.clear()
        while self._held:
            os.close(self._held.popitem()[1])

    def collect(self) -> None:
        """Remove what nobody has used for long, and then the longest unused until the rest is small enough."""
        now = time.time()
        kept: list[tuple[float, int, Path]] = []
        for folder in self._place("roots").iterdir():
            with suppress(OSError, ValueError):
                used = (folder / "about").stat().st_mtime
                size = int(json.loads((folder / "about").read_text())["size_bytes"])
                kept.append((used, size, folder))
        kept.sort(reverse=True)
        total = 0
        for used, size, folder in kept:
            total += size
            if now - used > self._seconds_max or total > self._bytes_max:
                self._remove_unused(folder)

    async def _open(self, path: Path, digest: str) -> Root:
        name = digest.removeprefix("sha256:")
        home = self._place("roots") / name
        lock = os.open(self._place("locks") / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                await _lock(lock, fcntl.LOCK_SH)
                if home.exists():
                    break
                fcntl.flock(lock, fcntl.LOCK_UN)
                await _lock(lock, fcntl.LOCK_EX)
                if not home.exists():
                    await self._unpack(path, digest, home)
        except BaseException:
            os.close(lock)
            raise
        self._held[digest] = lock
        with suppress(OSError):
            os.utime(home / "about")
        return Root(folder=home / "root", digest=digest)

    async def _unpack(self, path: Path, digest: str, home: Path) -> None:
        making = self._place("making")
        for left in making.glob(f"{home.name}-*"):  # by one that ended meanwhile: the lock is ours
            await asyncio.to_thread(unsquashing.remove, left)
        await asyncio.to_thread(self.collect)
        folder = Path(tempfile.mkdtemp(prefix=f"{home.name}-", dir=making))
        try:
            with path.open("rb") as file:
                before = _print_of(os.fstat(file.fileno()))
                # What is kept under a digest is of that one, also where another file has its name by now.
                known = await self.digest_of(path), _print_of(path.stat())
                if known != (digest, before):
                    raise RuntimeUnavailable(
                        f"the image {path} was replaced before it was unpacked. Try again"
                    )
                layout = read_layout(file, str(path))
                measure = await unsquashing.measure(file.fileno(), layout, str(path), folder)
                unsquashing.check_space(folder, measure.size_bytes, str(path))
                (folder / "out").mkdir()
                root = await unsquashing.extract(file.fileno(), layout, str(path), folder / "out")
                if _print_of(os.fstat(file.fileno())) != before:
                    raise RuntimeUnavailable(f"the image {path} was changed while it was unpacked. Try again")
            _check_root(root)
            ready = folder / "ready"
            ready.mkdir()
            root.rename(ready / "root")
            about = {
                "image": str(path),
                "digest": digest,
                "size_bytes": measure.size_bytes,
                "files": measure.files,
            }
            (ready / "about").write_text(json.dumps(about))
            ready.rename(home)
        finally:
            await asyncio.to_thread(unsquashing.remove, folder)

    def _remove_unused(self, folder: Path) -> None:
        lock = os.open(self._place("locks") / folder.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever looks meanwhile finds all of it, or nothing.
            gone = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=self._place("making")))
            folder.rename(gone / "gone")
            unsquashing.remove(gone)
        except BlockingIOError:
            pass  # somebody uses it
        finally:
            os.close(lock)

    def _digest_of(self, path: Path) -> str:
        try:
            read: Callable[[Path], str] = _read_folder if path.is_dir() else _read_file
            seen = _print_of_folder(path) if path.is_dir() else _print_of(path.stat())
            note = self._place("seen") / hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()
            with suppress(OSError, ValueError):
                known = json.loads(note.read_text())
                if known["print"] == seen:
                    return str(known["digest"])
            digest = f"sha256:{read(path)}"
        except OSError as error:
            raise RuntimeUnavailable(f"the image {path} can't be read: {error.strerror}") from error
        # Another thread, or another program, may find the same out at the same time.
        written = note.with_suffix(f".{os.getpid()}-{get_ident()}")
        written.write_text(json.dumps({"print": seen, "digest": digest}))
        written.rename(note)
        return digest

    def _place(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


async def _lock(descriptor: int, kind: int) -> None:
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(_LOCK_SECONDS)
        else:
            return


def _check_root(folder: Path) -> None:
    if not any(os.path.lexists(folder / name) for name in _SYSTEM):
        raise RuntimeUnavailable(
            f"{folder} is not a root file system that an algorithm could run in: it has none of {', '.join(_SYSTEM)}"
        )


def _print_of(status: os.stat_result) -> Sequence[int | str]:
    """What changes wherever a file's content does: nobody but root can set the last of these."""
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _print_of_folder(path: Path) -> Sequence[int | str]:
    known = hashlib.sha256()
    for each in _walk(path):
        known.update(repr([each, _print_of(os.lstat(path / each))]).encode())
    return [known.hexdigest()]


def _read_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_folder(path: Path) -> str:
    """The digest of all that is in a folder: names, rights, links and contents."""
    digest = hashlib.sha256()
    for each in _walk(path):
        status = os.lstat(path / each)
        content = ""
        if os.path.islink(path / each):
            content = os.readlink(path / each)
        elif os.path.isfile(path / each):
            content = _read_file(path / each)
        digest.update(json.dumps([each, oct(status.st_mode), content]).encode())
    return digest.hexdigest()


def _walk(path: Path) -> list[str]:
    """Everything in a folder, in an order that is always the same."""
    found = []
    for where, folders, files in os.walk(path):
        found += [os.path.relpath(os.path.join(where, name), path) for name in (*folders, *files)]
    return sorted(found)
