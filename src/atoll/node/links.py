"""Copied links to a site's own files, and the files that they stand for.

In a base folder a site's files are links. A program that copies links as links, as ``cp -r``
does, leaves them in folders where what they name is nowhere to be found.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from atoll.engine.limits import CHUNK_BYTES, FILE_BYTES_PER_CALL_MAX
from atoll.model.errors import UnsafeName
from atoll.node import guarded


def become_files(root: Path, source_of: Callable[[str], Path | None]) -> None:
    """Put a copy of the file in the place of each link under `root` that stands for one.

    A link stays where it is if its file can't be read, if there is no room for a copy, or if the
    copies would be more than a call may send.

    Args:
        root: a folder that an algorithm could write to.
        source_of: the file that a link with this text stands for; None for a link that stays.
    """
    room_bytes = FILE_BYTES_PER_CALL_MAX
    for name, text in guarded.links(root):
        with suppress(OSError, UnsafeName):
            if (source := source_of(text)) is None:
                continue
            # A link costs nothing, and a million of them may stand for the same large file.
            room_bytes -= source.stat().st_size
            if room_bytes < 0:
                return
            with source.open("rb") as content, guarded.creating(root, name) as file:
                while chunk := content.read(CHUNK_BYTES):
                    file.write(chunk)
