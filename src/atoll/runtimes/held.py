"""Bodies in sealed memory files: handed from process to process without a copy.

A memory file that is sealed can't change any more, whoever else holds it. One that came from an
algorithm is believed only for what the system says of it: its seals and its size.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from atoll.model.errors import ReplyInvalid
from atoll.model.work import Held
from atoll.runtimes.aside import close_aside
from atoll.runtimes.streams import too_large

#: From this size on a body travels as a memory file: it is then copied once, not thrice.
HELD_BYTES_MIN = 256 * 1024
#: Neither its size nor its content changes.
_NEEDED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class MemoryFile:
    """A sealed memory file. Its descriptor is closed when nobody refers to this object any more.

    Args:
        descriptor: taken over.
        size_bytes: how large it is.
    """

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._size_bytes = size_bytes

    @classmethod
    def of(cls, content: bytes | bytearray | memoryview) -> MemoryFile:
        """A new one, with this content."""
        descriptor = os.memfd_create("body", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            rest = memoryview(content).cast("B")
            size_bytes = len(rest)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _NEEDED | fcntl.F_SEAL_SEAL)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, size_bytes)

    @classmethod
    def received(cls, descriptor: int, size_bytes_max: int) -> MemoryFile:
        """One that another process made. The descriptor is closed in every case.

        Raises:
            ReplyInvalid: it is no memory file, or its content may still change.
            LimitReached: it is too large.
        """
        try:
            if not _is_sealed(descriptor):
                raise ReplyInvalid(
                    "the algorithm sent a descriptor of something other than a sealed memory file: expected one "
                    "made by memfd_create, with the seals SHRINK, GROW and WRITE"
                )
            size_bytes = os.fstat(descriptor).st_size
            if size_bytes > size_bytes_max:
                raise too_large(size_bytes_max)
            return cls(_open(descriptor), size_bytes)
        finally:
            close_aside([descriptor])

    @property
    def size_bytes(self) -> int:
        """How many bytes it holds."""
        return self._size_bytes

    def fileno(self) -> int:
        """Its descriptor, for as long as this object lives."""
        return self._descriptor

    def read(self) -> bytes:
        """All of it, copied."""
        return read_held(self._descriptor, self._size_bytes)

    def __del__(self) -> None:
        os.close(self._descriptor)

    def __repr__(self) -> str:
        return f"<{self._size_bytes} bytes in memory>"


def read_held(descriptor: int, size_bytes: int) -> bytes:
    """The first bytes of a file, wherever anyone else has read it to."""
    pieces: list[bytes] = []
    done = 0
    while done < size_bytes:
        piece = os.pread(descriptor, size_bytes - done, done)
        if not piece:
            break
        pieces.append(piece)
        done += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def map_held(held: Held) -> mmap.mmap | bytes:
    """A held body where it lies, without a copy, for as long as somebody refers to it."""
    if held.size_bytes == 0:  # which can't be mapped
        return b""
    return mmap.mmap(held.fileno(), held.size_bytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)


def open_again(descriptor: int) -> int:
    """A descriptor of the same memory file that shares no position with the first, and only reads."""
    path = f"/proc/self/fd/{descriptor}"
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        # An algorithm that was given the file runs as the same user, and may have closed it to others.
        os.fchmod(descriptor, 0o600)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _open(descriptor: int) -> int:
    try:
        # Whoever sent it may have asked to be told before others open it; we wait for nobody.
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ReplyInvalid(
            f"the algorithm sent a memory file that can't be opened: {error.strerror}"
        ) from error


def _is_sealed(descriptor: int) -> bool:
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _NEEDED == _NEEDED
    except OSError:
        return False
