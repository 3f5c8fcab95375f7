"""Where a node keeps what belongs to runs, and what it has of algorithms.

::

    lock                     held by the one node that works here
    algorithms/DIGEST/       laid out, read-only
    images/                  what was fetched of images, and signatures of them
    runs/RUN/SEAT/           private to the run; removed when it has ended
    outputs/RUN/SEAT/        what algorithms left for the site's own people
    logs/RUN/SEAT.log        what they printed
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from atoll.engine.ports import Folder
from atoll.model.errors import SpecInvalid
from atoll.model.work import RunId, Ticket
from atoll.node import guarded
from atoll.node.desk import Desk
from atoll.node.memory import Memory

#: A name that can be a folder's as it is. Others come from whoever named a site, and are digested.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")
_DAY_SECONDS = 86_400.0
#: The file in a run's folder that says which run it is of.
_RUN = "run"


class Workspace:
    """A folder that one node has for itself.

    Args:
        root: the folder; made if it isn't there.
        now: the time, in seconds.
    """

    def __init__(self, root: Path, *, now: Callable[[], float] = time.time) -> None:
        self.root = root
        self._now = now
        self._lock: int | None = None

    @property
    def algorithms(self) -> Path:
        """Where algorithms are laid out."""
        return self.root / "algorithms"

    def open(self) -> None:
        """Take the folder.

        Raises:
            SpecInvalid: another node works here, or the folder can't be used.
        """
        try:
            for name in ("", "algorithms", "images", "runs", "outputs", "logs"):
                path = self.root / name
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpecInvalid(f"the workspace {self.root} can't be used: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise SpecInvalid(
                f"another node works in {self.root}: end that one, or name another 'workspace' in node.yaml"
            ) from None

    def close(self) -> None:
        """Leave the folder to another node."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def runs(self) -> list[RunId]:
        """The runs of which something is here."""
        found = []
        for folder in sorted((self.root / "runs").iterdir()):
            try:
                found.append(RunId((folder / _RUN).read_text()))
            except OSError:  # Its node ended between two steps of making it.
                guarded.remove(folder)
        return found

    def is_taken(self) -> bool:
        """Whether a node works here now."""
        try:
            lock = os.open(self.root / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def kept_runs(self) -> list[RunId]:
        """The runs of which something is here, for who only looks."""
        return [RunId(path.read_text()) for path in sorted(self.root.glob(f"runs/*/{_RUN}"))]

    def kept_algorithms(self) -> list[str]:
        """The digests of the algorithms that are laid out here."""
        return [f"sha256:{path.name}" for path in sorted(self.algorithms.glob("[0-9a-f]*[0-9a-f]"))]

    def desk(self, ticket: Ticket) -> Desk:
        """The desk of a ticket's seat."""
        run_id, seat = ticket.job.run_id, ticket.job.seat
        run, name = _name(run_id), _name(seat)
        around = self.root / "runs" / run
        if not (around / _RUN).is_file():
            around.mkdir(mode=0o700, exist_ok=True)
            (around / _RUN).write_text(run_id)
        own = around / name
        revived = own.is_dir()
        own.mkdir(mode=0o700, exist_ok=True)
        folders = {folder: own / folder.value for folder in Folder}
        folders[Folder.OUTPUT] = self.root / "outputs" / run / name
        log = self.log(ticket)
        for path in (folders[Folder.OUTPUT].parent, log.parent):
            path.mkdir(mode=0o700, exist_ok=True)
        return Desk(seat=seat, folders=folders, log=log, memory=Memory(own), revived=revived)

    def log(self, ticket: Ticket) -> Path:
        """The file with what a ticket's algorithm prints."""
        return self.root / "logs" / _name(ticket.job.run_id) / f"{_name(ticket.job.seat)}.log"

    def remove(self, run_id: RunId) -> None:
        """Remove what belongs to a run. Its outputs and its logs stay for a while."""
        guarded.remove(self.root / "runs" / _name(run_id))

    def sweep(self, *, keep_days: int, living: Iterable[RunId]) -> None:
        """Remove outputs and logs that are old, but for those of living runs."""
        kept = {_name(run_id) for run_id in living}
        limit = self._now() - keep_days * _DAY_SECONDS
        for around in ("outputs", "logs"):
            for folder in (self.root / around).iterdir():
                if folder.name not in kept and folder.stat().st_mtime < limit:
                    guarded.remove(folder)


def _name(text: str) -> str:
    if _PLAIN.match(text):
        return text
    return f".{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
