"""The folder of a session, which its node and its compute node both see; and pieces as files in it.

::

    owner                       who the sessions here belong to
    sessions/NAME/spec.json     what is to be started
                 /secret        proves both sides; removed by the job that has read it
                 /output        what the job's own program printed
                 /from-node/    pieces, where no connection is made: a file each, by number
                 /from-seat/
    images/                     unpacked on compute nodes, for all sessions

A file appears under its number when all of it is there, and its reader removes it. A folder is listed
anew at each look, since a shared file system remembers for a while that a name was not there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from atoll.engine.limits import LOG_TAIL_BYTES
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.slurm.frames import PIECE_BYTES_MAX, SECRET_BYTES, LineBrokenError

_log = logging.getLogger(__name__)
_SESSIONS = "sessions"
_OWNER = "owner"
_FROM_NODE, _FROM_SEAT = "from-node", "from-seat"
#: Says that no more comes.
_END = "end"
#: Seconds between two looks: at first, and at most where nothing comes.
_LOOK_SECONDS, _LOOK_SECONDS_MAX = 0.002, 0.1


class SessionFolder:
    """The folder of one session."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = path / "spec.json"
        self.output = path / "output"
        self._secret = path / "secret"

    @property
    def name(self) -> str:
        """The session's."""
        return self.path.name

    @property
    def images(self) -> Path:
        """Where compute nodes keep unpacked images, for all sessions."""
        return self.path.parent.parent / "images"

    def make(self) -> bytes:
        """Make it; the session's secret."""
        self.path.mkdir(mode=0o700, parents=True)
        for name in (_FROM_NODE, _FROM_SEAT):
            (self.path / name).mkdir(mode=0o700)
        secret = secrets.token_bytes(SECRET_BYTES)
        write_private(self._secret, secret)
        return secret

    def write_spec(self, content: bytes) -> None:
        """Write down what is to be started."""
        write_private(self.spec, content)

    def take_secret(self) -> bytes:
        """The secret, for the job: nobody else will read it here."""
        secret = self._secret.read_bytes()
        self._secret.unlink()
        return secret

    def of_node(self) -> FolderPieces:
        """The node's end of its pieces."""
        return FolderPieces(self.path / _FROM_SEAT, self.path / _FROM_NODE)

    def of_seat(self) -> FolderPieces:
        """The seat's end."""
        return FolderPieces(self.path / _FROM_NODE, self.path / _FROM_SEAT)

    def printed(self) -> str:
        """The end of what the job's own program printed."""
        try:
            with self.output.open("rb") as file:
                size_bytes = file.seek(0, os.SEEK_END)
                file.seek(max(0, size_bytes - LOG_TAIL_BYTES))
                return file.read(LOG_TAIL_BYTES).decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def remove(self, *, failed: bool = False) -> None:
        """Remove it with all that it holds. The job may be about to write to it still.

        Args:
            failed: whether what the job's own program printed is worth keeping, in the log.
        """
        if failed and (printed := self.printed()):
            _log.warning("what ran session %s on its compute node printed:\n%s", self.name, printed)
        shutil.rmtree(self.path, ignore_errors=True)


class Spool:
    """The folders of all sessions of one owner."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def owner(self) -> str:
        """Who these sessions belong to: drawn at the first time, and the same ever after.

        Raises:
            RuntimeUnavailable: nothing can be kept in the folder.
        """
        file = self._root / _OWNER
        try:
            with suppress(FileNotFoundError):
                return file.read_text()
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = secrets.token_hex(8)
            write_private(file, owner.encode())
        except OSError as error:
            raise RuntimeUnavailable(
                f"Slurm jobs can't be prepared in {self._root}: {error.strerror}. Expected a folder that this node can "
                "write to, on a file system which compute nodes share"
            ) from None
        return owner

    def new(self) -> SessionFolder:
        """A new session's folder, which is not made yet."""
        return SessionFolder(self._root / _SESSIONS / secrets.token_hex(16))

    def clear(self) -> None:
        """Remove what sessions have left."""
        shutil.rmtree(self._root / _SESSIONS, ignore_errors=True)


class FolderPieces:
    """Pieces as files.

    Args:
        inbox: where they come.
        outbox: where they are put.
    """

    def __init__(self, inbox: Path, outbox: Path) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._next = 0
        self._sent = 0
        self._closed = False

    async def send(self, piece: bytes) -> None:
        """Send one."""
        if self._closed:
            raise LineBrokenError("the folder is closed")
        number, self._sent = self._sent, self._sent + 1
        writing = asyncio.ensure_future(asyncio.to_thread(_put, self._outbox, str(number), piece))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # All that comes later waits for this number, whoever has stopped.
            await asyncio.gather(writing, return_exceptions=True)
            raise
        except OSError as error:
            raise LineBrokenError(f"{self._outbox} can't be written to: {error.strerror}") from None

    async def receive(self) -> bytes:
        """The next one."""
        pause = _LOOK_SECONDS
        while not self._closed:
            try:
                piece = await asyncio.to_thread(_take, self._inbox, str(self._next))
            except OSError as error:
                raise LineBrokenError(f"{self._inbox} can't be read: {error.strerror}") from None
            if piece is not None:
                self._next += 1
                if len(piece) > PIECE_BYTES_MAX:
                    raise LineBrokenError(f"a piece may have {PIECE_BYTES_MAX} bytes, and one has more")
                return piece
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LOOK_SECONDS_MAX)
        raise LineBrokenError("the folder is closed")

    async def close(self) -> None:
        """Say that no more comes."""
        if not self._closed:
            self._closed = True
            with suppress(OSError):
                await asyncio.to_thread(_put, self._outbox, _END, b"")


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, all of it or nothing."""
    beside = path.with_name(f".{path.name}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
    beside.rename(path)


def _put(folder: Path, name: str, content: bytes) -> None:
    write_private(folder / name, content)


def _take(folder: Path, name: str) -> bytes | None:
    """Read and remove a file; None where it isn't there yet.

    Raises:
        OSError: it won't be: the other side has ended, or the folder is gone.
    """
    names = os.listdir(folder)
    if name in names:
        path = folder / name
        with path.open("rb") as file:
            content = file.read(PIECE_BYTES_MAX + 1)
        path.unlink()
        return content
    if _END in names:
        raise BrokenPipeError(0, "the other side has ended")
    return None
