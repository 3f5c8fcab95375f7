"""Bytes to and from a process, without a copy too many and without a transport's set-up."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable

from atoll.engine.limits import CHUNK_BYTES, LOG_TAIL_BYTES
from atoll.model.errors import LimitReached

#: What a pipe is made to hold once it shows to carry much. The largest that Linux gives to
#: everybody; each time it is full the two sides take turns.
_PIPE_BYTES = 1024 * 1024
#: Reads of one pipe before other work of the loop gets its turn.
_READS_AT_A_TIME = 16


class Feeder:
    """Writes a request to a pipe and closes it. A reader that goes away is no error."""

    def __init__(self, descriptor: int, request: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._rest = memoryview(request)
        os.set_blocking(descriptor, False)
        if len(request) > 65536:
            _enlarge(descriptor)
        self._write()
        if self._descriptor >= 0:
            self._loop.add_writer(self._descriptor, self._write)

    def _write(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._descriptor, self._rest[:CHUNK_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            pass
        self.close()

    def close(self) -> None:
        """Stop, whatever is left."""
        if self._descriptor >= 0:
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        self._rest = memoryview(b"")


class Collector:
    """Reads what a process answers, up to a bound; beyond it `exceed` is called, once."""

    def __init__(self, descriptor: int, bound: int, exceed: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._chunks: list[bytes] = []
        self._room = bound
        self._exceed = exceed
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def _read(self, times: int = _READS_AT_A_TIME) -> None:
        while times and self._descriptor >= 0:
            times -= 1
            try:
                chunk = os.read(self._descriptor, CHUNK_BYTES)
            except BlockingIOError:
                return
            if not chunk:
                self.close()
                return
            self._room -= len(chunk)
            if self._room < 0:
                self.close()
                self._chunks.clear()
                self._exceed()
                return
            if len(chunk) == 65536 and len(self._chunks) < 2:
                _enlarge(self._descriptor)
            self._chunks.append(chunk)

    def finish(self) -> bytes:
        """Everything that was written; the writer has ended, and nobody else is waited for."""
        # A pipe holds no more than this many chunks, so that a grandchild which goes on
        # writing can't keep us here.
        self._read(times=_PIPE_BYTES // 4096 + 1)
        self.close()
        chunks, self._chunks = self._chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def close(self) -> None:
        """Stop reading."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


class Log:
    """The log of a seat, and where in it the current call began."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        #: The bytes that were there when the current call began.
        self.start = self.size()

    def mark(self) -> None:
        """A call begins here."""
        self.start = self.size()

    def size(self) -> int:
        """The bytes of the whole log."""
        return os.fstat(self.descriptor).st_size

    def cut(self, size: int) -> None:
        """Leave only so much of the log."""
        os.ftruncate(self.descriptor, size)

    def tail(self) -> str:
        """The end of what was written since the mark."""
        size = self.size()
        start = max(self.start, size - LOG_TAIL_BYTES)
        return os.pread(self.descriptor, max(size - start, 0), start).decode("utf-8", "replace")

    def close(self) -> None:
        """Close the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def too_large(bytes_max: int) -> LimitReached:
    """The error of a call that answers more than it may."""
    return LimitReached(
        f"the answer has more than {bytes_max} bytes, the most that one call may answer, and "
        "the call was ended. Write large results to the output or transfer directory"
    )


def _enlarge(descriptor: int) -> None:
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except PermissionError:
        pass  # the user's share of pipe memory is used up: slower, not wrong
