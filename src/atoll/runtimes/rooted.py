"""What an algorithm sees that runs in an image's own root file system, as lines of a view.

The root is read-only, and belongs to all who use it: no point to mount on can be made in it. So the
view opens a folder in which something is to appear that the image doesn't have: the folder is made
anew, empty, and what the image has in it is shown piece by piece. All other folders are shown whole.

No target of a line has a link in its path: whoever carries the lines out would follow it from outside.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from atoll.engine.running import Launch, Mount
from atoll.model.errors import AlgorithmFailed
from atoll.runtimes import view
from atoll.runtimes.command import code_at
from atoll.runtimes.sif import paths
from atoll.runtimes.view import Line

#: Lines that bring a folder, whatever the source is.
_FOLDERS = ("folder", "cover", "memory", "proc")


def seats(launch: Launch, root: Path, user: tuple[int, int], beside: Iterable[Line] = ()) -> list[Line]:
    """What an algorithm sees at a seat.

    Args:
        launch: what it is given of this machine.
        root: its image's root file system, on this machine's disk.
        user: who it is inside.
        beside: further lines, which come last.

    Raises:
        AlgorithmFailed: a folder can't be shown where it is asked for.
    """
    return show(
        root,
        [
            *view.machine(),
            *_people(root, user),
            ("text", view.hosts(launch.outlets), "/etc/hosts"),
            ("write", os.path.realpath(launch.temporary), view.TEMPORARY),
            *view.lent(launch.modules),
            *_code(launch),
            *(_mounted(mount) for mount in launch.mounts),
            *beside,
        ],
    )


def show(root: Path, over: Sequence[Line]) -> list[Line]:
    """The lines that show a root file system, and then others over it.

    Raises:
        AlgorithmFailed: there is no room for one of the others.
    """
    placed: list[Line] = []
    #: Folders that lie over the image's own: nothing of the image is beneath them any more.
    folders: dict[str, Line] = {}
    opened = {"/"}
    for kind, source, asked in over:
        line = kind, source, _place(root, asked, folders)
        target = line[2]
        around = [point for point in folders if target.startswith(f"{point}/")]
        if around:
            _check_point(folders[max(around, key=len)], target)
        elif not _fits(root, line):
            opened.update(_open(root, target))
        if _is_folder(line):
            folders[target] = line
        placed.append(line)
    return [*_pieces(root, "/", opened, {target for _, _, target in placed}), *placed]


def _place(root: Path, target: str, folders: Iterable[str]) -> str:
    """Where a line's target lies, by the links of the image that are still to be seen."""
    if not target.startswith("/"):
        raise AlgorithmFailed(
            f"a folder can't be shown to the algorithm at {target!r}: expected an absolute path"
        )

    def link_at(path: str) -> str | None:
        hidden = any(f"{path}/".startswith(f"{folder}/") for folder in folders)
        return None if hidden else paths.link_at(root, path)

    try:
        place, _ = paths.follow(target, link_at)
    except OSError as error:
        raise AlgorithmFailed(
            f"nothing can be shown to the algorithm at {target!r}: {error.strerror}"
        ) from None
    if place == "/":
        raise AlgorithmFailed(
            f"a folder can't be shown to the algorithm at {target!r}: the image itself is there"
        )
    return place


def _is_folder(line: Line) -> bool:
    kind, source, _ = line
    return kind in _FOLDERS or (kind in ("read", "write") and os.path.isdir(source))


def _fits(root: Path, line: Line) -> bool:
    """Whether the image has a point at which the line can be mounted as it is."""
    kind, _, target = line
    path = root / target[1:]
    if kind in ("folder", "link"):
        return False
    return path.is_dir() if _is_folder(line) else path.is_file()


def _open(root: Path, target: str) -> Iterator[str]:
    """The folders of an image that must be made anew, so that the target can be made in one of them."""
    folder = posixpath.dirname(target)
    while folder != "/":
        path = root / folder[1:]
        if path.is_dir():
            yield folder
        elif os.path.lexists(path):
            raise AlgorithmFailed(
                f"nothing can be shown to the algorithm at {target!r}: {folder!r} is a file of its image"
            )
        folder = posixpath.dirname(folder)


def _pieces(root: Path, folder: str, opened: set[str], targets: set[str]) -> Iterator[Line]:
    """What an image has in a folder that is made anew."""
    for entry in sorted(os.scandir(root / folder[1:]), key=lambda entry: entry.name):
        target = posixpath.join(folder, entry.name)
        if target in opened:
            yield "folder", "", target
            yield from _pieces(root, target, opened, targets)
        elif target in targets:
            continue
        elif entry.is_symlink():
            yield "link", os.readlink(entry.path), target
        elif entry.is_dir() or entry.is_file():
            yield "read", entry.path, target


def _check_point(line: Line, target: str) -> None:
    """Within a folder of this machine a point must be there, and no link may lead to it."""
    kind, source, around = line
    if kind not in ("read", "write"):
        return
    path = source
    for part in target.removeprefix(f"{around}/").split("/"):
        path = f"{path}/{part}"
        if os.path.islink(path) or (kind == "read" and not os.path.exists(path)):
            raise AlgorithmFailed(
                f"nothing can be shown to the algorithm at {target!r}: the folder at {around!r} has no such file or "
                "folder, or only a link"
            )


def _people(root: Path, user: tuple[int, int]) -> Iterator[Line]:
    """The users and groups of an image, and who the algorithm is, where the image doesn't know that."""
    for path, number, line in (
        ("/etc/passwd", user[0], f"algorithm:x:{user[0]}:{user[1]}:algorithm:{view.TEMPORARY}:/bin/sh\n"),
        ("/etc/group", user[1], f"algorithm:x:{user[1]}:\n"),
    ):
        known = (paths.read(root, path) or b"").decode("utf-8", "replace")
        numbers = [each.split(":")[2] for each in known.splitlines() if each.count(":") >= 2]
        if str(number) not in numbers:
            known = f"{known.rstrip()}\n{line}".lstrip()
        yield "text", known, path


def _code(launch: Launch) -> Iterator[Line]:
    if launch.code is None:
        return
    yield "read", os.path.realpath(launch.code), code_at(launch)
    yield from view.masks(launch)


def _mounted(mount: Mount) -> Line:
    source, target = view.shown(mount)
    return "write" if mount.writable else "read", str(source), target
