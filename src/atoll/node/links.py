"""Copied links to a site's own files, and the files that they stand for.

In a base folder a site's files are links. A program that copies links as links, as ``cp -r``
does, leaves them in folders where what they name is nowhere to be found.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from atoll.engine.limits import CHUNK_BYTES
from atoll.model.errors import UnsafeName
from atoll.node import guarded


def become_files(root: Path, source_of: Callable[[str], Path | None]) -> None:
    """Put a copy of the file in the place of each link under `root` that stands for one.

    A link stays where it is if its file can't be read, or if there is no room for a copy.

    Args:
        root: a folder that an algorithm could write to.
        source_of: the file that a link with this text stands for; None for a link that stays.
    """
    for where, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(where, name)
            with suppress(OSError, UnsafeName):
                if not path.is_symlink() or (source := source_of(os.readlink(path))) is None:
                    continue
                with (
                    source.open("rb") as content,
                    guarded.creating(root, path.relative_to(root).as_posix()) as file,
                ):
                    while chunk := content.read(CHUNK_BYTES):
                        file.write(chunk)
