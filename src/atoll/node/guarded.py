"""Folders that an algorithm can write to, handled by a node that trusts nothing in them.

An algorithm may leave a link anywhere in them, to make the node write or read somewhere
else. So every path is walked part by part from an open folder, and no link is followed.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from atoll.engine.limits import FOLDERS_DEEP_MAX
from atoll.model.errors import UnsafeName
from atoll.model.work import check_blob_name

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def creating(root: Path, name: str) -> Iterator[FileIO]:
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
                _give(file.fileno(), handle)
                yield file
            _rename(handle, aside, last, name)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(aside, dir_fd=handle)
            raise
    finally:
        os.close(handle)


def regular_files(root: Path, below: str = "") -> Iterator[tuple[str, FileIO]]:
    """Every file under `root` by its relative name, open for reading, in the order of names.

    Args:
        root: a folder that an algorithm could write to.
        below: the name of one file or folder in it, where only that is wanted.

    Raises:
        FileNotFoundError: there is nothing named `below`.
        UnsafeName: something there is neither a file nor a folder, or `below` leads through a link.
    """
    handle = os.open(root, _FOLDER)
    if not below:
        yield from _walk(handle, "")
        return
    check_blob_name(below)
    *folders, last = below.split("/")
    try:
        for part in folders:
            inner = _open_folder(handle, part, below)
            os.close(handle)
            handle = inner
        yield from _one(handle, last, below)
    finally:
        os.close(handle)


def links(root: Path) -> Iterator[tuple[str, str]]:
    """Every link under `root` by its relative name, with its text; none that lies very deep.

    Args:
        root: a folder that an algorithm could write to.
    """
    yield from _links(os.open(root, _FOLDER), "")


def free_bytes(root: Path) -> int:
    """How much more its disk has room for."""
    there = os.statvfs(root)
    return there.f_bavail * there.f_frsize


def is_empty(root: Path) -> bool:
    """Whether nothing lies in the folder."""
    with os.scandir(root) as entries:
        return next(entries, None) is None


def empty(root: Path) -> None:
    """Remove all that lies in a folder, but not the folder, however deep it lies.

    Raises:
        OSError: something can't be removed, for example because a process still adds to it.
    """
    top = os.open(root, _FOLDER)
    try:
        waiting = os.listdir(top)
        while waiting:
            waiting += _lift(top, waiting.pop())
    finally:
        os.close(top)


def remove(root: Path) -> None:
    """Remove a folder with all that is in it, as far as that can be done."""
    with suppress(OSError):
        empty(root)
        root.rmdir()


def _lift(top: int, name: str) -> list[str]:
    """Remove a file, or a folder whose own folders are moved to the top first; return their names there."""
    try:
        os.unlink(name, dir_fd=top)
    except IsADirectoryError:
        pass
    else:
        return []
    lifted: list[str] = []
    handle = _open_closed(top, name)
    try:
        for inner in os.listdir(handle):
            try:
                os.unlink(inner, dir_fd=handle)
            except IsADirectoryError:
                os.close(_open_closed(handle, inner))
                lifted.append(f".leaving-{secrets.token_hex(8)}")
                os.rename(inner, lifted[-1], src_dir_fd=handle, dst_dir_fd=top)
    finally:
        os.close(handle)
    os.rmdir(name, dir_fd=top)
    return lifted


def _open_closed(handle: int, name: str) -> int:
    """Open a folder from which an algorithm may have taken every right."""
    folder = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
    try:
        if os.fstat(folder).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{folder}", 0o700)
        return os.open(name, _FOLDER, dir_fd=handle)
    finally:
        os.close(folder)


def _walk(handle: int, prefix: str) -> Iterator[tuple[str, FileIO]]:
    try:
        for entry in sorted(os.listdir(handle)):
            yield from _one(handle, entry, f"{prefix}{entry}")
    finally:
        os.close(handle)


def _one(handle: int, entry: str, name: str) -> Iterator[tuple[str, FileIO]]:
    mode = os.stat(entry, dir_fd=handle, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        if name.count("/") >= FOLDERS_DEEP_MAX:
            raise UnsafeName(
                f"{name[:40]!r}… lies in more than {FOLDERS_DEEP_MAX} folders, the most within each other that "
                "can be passed on. Send an archive"
            )
        yield from _walk(os.open(entry, _FOLDER, dir_fd=handle), f"{name}/")
    elif stat.S_ISREG(mode):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(entry, flags, dir_fd=handle), "rb", buffering=0) as file:
            yield name, file
    else:
        raise UnsafeName(
            f"{name!r} is {_kind(mode)}: only files and folders can be passed on. Copy the content there"
        )


def _links(handle: int, prefix: str) -> Iterator[tuple[str, str]]:
    try:
        for entry in sorted(os.listdir(handle)):
            name, text, inner = f"{prefix}{entry}", None, None
            with suppress(OSError):  # it may be gone, or be something else by now
                mode = os.stat(entry, dir_fd=handle, follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode):
                    text = os.readlink(entry, dir_fd=handle)
                elif stat.S_ISDIR(mode) and name.count("/") < FOLDERS_DEEP_MAX:
                    inner = os.open(entry, _FOLDER, dir_fd=handle)
            if text is not None:
                yield name, text
            if inner is not None:
                yield from _links(inner, f"{name}/")
    finally:
        os.close(handle)


def _step_into(handle: int, part: str, name: str) -> int:
    try:
        os.mkdir(part, 0o755, dir_fd=handle)
    except FileExistsError:
        return _open_folder(handle, part, name)
    inner = _open_folder(handle, part, name)
    _give(inner, handle)
    return inner


def _give(made: int, around: int) -> None:
    """Give what was made to whom the folder belongs that it lies in: where a node is root, algorithms aren't."""
    if os.geteuid() == 0:
        owner = os.fstat(around)
        os.fchown(made, owner.st_uid, owner.st_gid)


def _open_folder(handle: int, part: str, name: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=handle)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnsafeName(
            f"a file named {name!r} can't be put in or taken from its place: {part!r} is a link or a file, "
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
