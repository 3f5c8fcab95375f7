"""Where a call's doorway is served at the node: connections that its compute node has passed on arrive here."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

from atoll.engine.running import Doorway

_BACKLOG = 128


class Door:
    """A socket in a folder of its own, which only this node's user can look into: one for each call."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._count = 0
        self._path: Path | None = None

    def open(self, doorway: Doorway) -> None:
        """A call begins, and this is who answers it."""
        if self._folder is None:
            # Not in the workspace: a socket's path is short, or is none.
            self._folder = Path(tempfile.mkdtemp(prefix="atoll-door-"))
        self._count += 1
        path = self._folder / str(self._count)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        self._path = path
        doorway.listen(listener.detach())

    def shut(self) -> None:
        """The call has ended; its doorway closes what it listened at."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)  # Machines clean up what lies there for long.
            self._path = None

    def connect(self) -> socket.socket | None:
        """A connection to the doorway; None where there is none now, or too many wait for it."""
        if self._path is None:
            return None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(str(self._path))  # It takes no time: the system does all of it.
        except OSError:
            connection.close()
            return None
        return connection

    def close(self) -> None:
        """Remove the folder. May be called twice."""
        self._path = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
