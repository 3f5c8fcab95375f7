"""Paths within a root file system, as whoever lives in it would follow them.

A link of an image says where to go on from the image's own root. Followed from outside it would
lead anywhere on this machine, so that nothing here ever opens a path that has a link in it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

from atoll.engine.limits import ROOT_TEXT_BYTES_MAX

#: Links that lead to one file. The system itself follows no more.
_LINKS_MAX = 40


def follow(inner: str, link_at: Callable[[str], str | None]) -> tuple[str, list[str]]:
    """Where a path leads, and the links on the way there. What isn't there has no links.

    Args:
        inner: from the root.
        link_at: what a link says, by its absolute path; None for what is no link.

    Raises:
        OSError: its links lead in a circle.
    """
    done: list[str] = []
    rest = list(reversed(inner.split("/")))
    links: list[str] = []
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        path = "/" + "/".join([*done, part])
        target = link_at(path)
        if target is None:
            done.append(part)
            continue
        links.append(path)
        if len(links) > _LINKS_MAX:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), inner)
        if target.startswith("/"):
            done.clear()
        rest.extend(reversed(target.split("/")))
    return "/" + "/".join(done), links


def resolve(root: Path, inner: str) -> str:
    """Where a path within a root of this machine's disk leads.

    Raises:
        OSError: its links lead in a circle.
    """
    return follow(inner, partial(link_at, root))[0]


def link_at(root: Path, path: str) -> str | None:
    """What a link within a root says; None where there is none."""
    try:
        return os.readlink(f"{root}{path}")
    except OSError:
        return None


def locate(root: Path, inner: str) -> Path:
    """The file of this machine that a path within a root leads to, whether it is there or not.

    Raises:
        OSError: its links lead in a circle.
    """
    return root / resolve(root, inner).lstrip("/")


def read(root: Path, inner: str) -> bytes | None:
    """The content of a file within a root; None where there is none, or a larger one than is read."""
    try:
        # None of its folders is a link, and nobody changes them meanwhile.
        descriptor = os.open(locate(root, inner), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > ROOT_TEXT_BYTES_MAX:
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(ROOT_TEXT_BYTES_MAX)
    finally:
        os.close(descriptor)
