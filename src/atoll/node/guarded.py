"""Folders that an algorithm can write to, handled by a node that trusts nothing in them.

An algorithm may leave a link anywhere in them, to make the node write or read somewhere
else. So every path is walked part by part from an open folder, and no link is followed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from atoll.model.errors import UnsafeName
from atoll.model.work import check_blob_name

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def creating(root: Path, name: str) -> Iterator[BinaryIO]:
    """Open a new file under `root`; it appears under its name when the block ends without error.

    A file or link that has the name already is replaced, never followed. Folders between are
    made where they are missing.

    Raises:
        UnsafeName: the name is no plain relative path; or a part of it is a link, a file where
            a folder is needed, or a folder where the file should go.
    """
    check_blob_name(name)
    *folders, last = name.split("/")
    handle = os.open(root, _FOLDER)
    try:
        for part in folders:
            inner = _step_into(handle, part, name)
            os.close(handle)
            handle = inner
        aside = f".arriving-{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(aside, flags, 0o644, dir_fd=handle), "wb", buffering=0) as file:
                yield file
            _rename(handle, aside, last, name)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(aside, dir_fd=handle)
            raise
    finally:
        os.close(handle)


def regular_files(root: Path) -> Iterator[tuple[str, BinaryIO]]:
    """Every file under `root` by its relative name, open for reading, in the order of names.

    Raises:
        UnsafeName: something there is neither a file nor a folder.
    """
    yield from _walk(os.open(root, _FOLDER), "")


def is_empty(root: Path) -> bool:
    """Whether nothing lies in the folder."""
    with os.scandir(root) as entries:
        return next(entries, None) is None


def empty(root: Path) -> None:
    """Remove all that lies in a folder, but not the folder."""
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def _walk(handle: int, prefix: str) -> Iterator[tuple[str, BinaryIO]]:
    try:
        for entry in sorted(os.listdir(handle)):
            name = f"{prefix}{entry}"
            mode = os.stat(entry, dir_fd=handle, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield from _walk(os.open(entry, _FOLDER, dir_fd=handle), f"{name}/")
            elif stat.S_ISREG(mode):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                with open(os.open(entry, flags, dir_fd=handle), "rb", buffering=0) as file:
                    yield name, file
            else:
                raise UnsafeName(
                    f"{name!r} in the transfer directory is {_kind(mode)}: only files and folders "
                    "can be sent. Copy the content there"
                )
    finally:
        os.close(handle)


def _step_into(handle: int, part: str, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(part, 0o755, dir_fd=handle)
    try:
        return os.open(part, _FOLDER, dir_fd=handle)
    except OSError as error:
        raise UnsafeName(
            f"a file named {name!r} can't be put in place: {part!r} is there and is a link or a file, "
            "expected a folder"
        ) from error


def _rename(handle: int, aside: str, last: str, name: str) -> None:
    try:
        os.rename(aside, last, src_dir_fd=handle, dst_dir_fd=handle)
    except OSError as error:
        raise UnsafeName(f"a file named {name!r} can't be put in place: a folder has that name") from error


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
