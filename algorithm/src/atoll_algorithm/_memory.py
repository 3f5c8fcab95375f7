"""Bodies in memory files: written once, sealed, and read where they lie."""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Any, List, Optional

_ADD_SEALS, _GET_SEALS = 1033, 1034
#: Nothing about the file can change any more: not its size, not its content, not its seals.
SEALS = 0x1 | 0x2 | 0x4 | 0x8
#: What one that is received must have: it neither shrinks nor grows, and nobody writes to it.
_UNCHANGING = 0x2 | 0x4 | 0x8
_POPULATE = 0x8000
#: So many pieces does one call write.
_PIECES_MAX = 512


def write(pieces: List[Any]) -> Optional[int]:
    """A sealed memory file with these pieces, or None where the system has no such files."""
    try:
        descriptor = os.memfd_create("atoll-body", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError):
        return None
    try:
        rest = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
        while rest:
            wrote = os.writev(descriptor, rest[:_PIECES_MAX])
            while rest and wrote >= len(rest[0]):
                wrote -= len(rest.pop(0))
            if wrote:
                rest[0] = rest[0][wrote:]
        # Who gets the file gets its position with it, and may simply read.
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, _ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read(descriptor: int) -> Any:
    """A memory file's content, which is not copied; the descriptor is closed.

    Raises:
        ValueError: The file isn't sealed: what it holds could change while it is read.
    """
    try:
        if fcntl.fcntl(descriptor, _GET_SEALS) & _UNCHANGING != _UNCHANGING:
            raise ValueError("a memory file came without its seals")
        length = os.fstat(descriptor).st_size
        if not length:
            return b""
        return mmap.mmap(descriptor, length, mmap.MAP_SHARED | _POPULATE, mmap.PROT_READ)
    finally:
        os.close(descriptor)
