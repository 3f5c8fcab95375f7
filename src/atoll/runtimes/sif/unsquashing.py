"""Takes files out of a squashfs, by the program ``unsquashfs``, which reads what strangers have written.

So it runs in a sandbox, where there is one: without network, without privileges, and with one
folder to write to. It is nobody's root there, and so it makes no devices, gives files to no other
user, and keeps no setuid bit.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from atoll.engine.limits import ROOT_BYTES_MAX, ROOT_FILES_MAX, UNPACK_SECONDS_MAX
from atoll.model.errors import LimitReached, RuntimeUnavailable
from atoll.runtimes import bwrap, environment, view
from atoll.runtimes.children import Child, Streams, spawn
from atoll.runtimes.sif.layout import Layout
from atoll.runtimes.sif.paths import follow

#: Where the one folder appears that can be written to.
_OUT = "/out"
#: What the program is told of memory, in MB for each of its two queues.
_QUEUES = ("-da", "64", "-fr", "64")
#: Who it runs as inside: nobody whom it could take for root.
_USER = 65532
#: Its exit status where something of the attributes could not be kept, and all else is there.
_NON_FATAL = 2
#: Bytes of what it says that an error quotes.
_SAID_BYTES = 500
#: A line of its list: the kind, the mode, whose it is, and the size; and what a link's says behind that.
_LISTED = re.compile(rb"([-dlcbps])[-rwxsStTlL]{9} \d+/\d+ +(\d+)[, ]")
_LISTED_LINK = re.compile(rb"l\S+ \d+/\d+ +\d+ \S+ \S+ squashfs-root(/.+) -> (.+)")
_SETUID = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What a squashfs becomes when it is unpacked."""

    files: int
    size_bytes: int


def why_not() -> str | None:
    """Why nothing can be unpacked here, as a sentence; None where it can."""
    if shutil.which("unsquashfs") is None:
        return (
            "squashfs-tools is not installed: there is no program named unsquashfs, which takes files out of images. "
            "Install it (apt install squashfs-tools)"
        )
    return None


async def measure(image: int, layout: Layout, name: str, scratch: Path) -> Measure:
    """How many files a squashfs has and how large they are, all together.

    Args:
        image: the image's file, open for reading.
        layout: where the squashfs lies in it.
        name: what the image is called.
        scratch: a folder for what is in between.

    Raises:
        RuntimeUnavailable: it can't be read.
        LimitReached: it has more files, or larger ones, than an image may have.
    """
    listing = await _list(image, layout, name, scratch)
    files, size = await asyncio.to_thread(_count, listing)
    for number, most, unit in ((files, ROOT_FILES_MAX, "files"), (size, ROOT_BYTES_MAX, "bytes")):
        if number > most:
            raise LimitReached(
                f"the image {name} would become {number} {unit}, and {most} is the most that is unpacked from one"
            )
    return Measure(files=files, size_bytes=size)


async def extract(image: int, layout: Layout, name: str, into: Path) -> Path:
    """Take all files out of a squashfs; the folder in which they are then.

    Args:
        image: the image's file, open for reading.
        layout: where the squashfs lies in it.
        name: what the image is called.
        into: an empty folder, in which that folder is made.

    Raises:
        RuntimeUnavailable: it can't be read.
    """
    return await _extract(image, layout, name, into, [])


async def extract_some(
    image: int, layout: Layout, name: str, into: Path, paths: Sequence[str], depth: int | None = None
) -> Path:
    """Take what lies at a few paths out of a squashfs, with the links that lead there; as `extract`.

    Args:
        image: the image's file, open for reading.
        layout: where the squashfs lies in it.
        name: what the image is called.
        into: an empty folder, in which that folder is made.
        paths: absolute. What isn't there isn't taken out.
        depth: how deep folders are followed, from the image's root; None: all the way.

    Raises:
        RuntimeUnavailable: it can't be read.
    """
    links = await asyncio.to_thread(_links, await _list(image, layout, name, into))
    wanted: list[str] = []
    for path in paths:
        with suppress(OSError):  # a circle leads nowhere
            end, passed = follow(path, links.get)
            wanted += [*passed, end]
    options = [] if depth is None else ["-max-depth", str(depth)]
    return await _extract(image, layout, name, into, options, [path.lstrip("/") for path in wanted])


async def _extract(
    image: int, layout: Layout, name: str, into: Path, options: Sequence[str], names: Sequence[str] = ()
) -> Path:
    words = ["-no-xattrs", "-no-progress", "-quiet", "-no-wildcards", *_QUEUES, "-dest", f"{_out(into)}/root"]
    await _run(image, layout, name, into, [*words, *options], None, names)
    root = into / "root"
    if not os.path.lexists(root):  # nothing of these names was there
        root.mkdir()
    if not stat.S_ISDIR(os.lstat(root).st_mode):
        raise RuntimeUnavailable(f"the image {name} can't be unpacked: its root is not a folder")
    await asyncio.to_thread(tidy, root)
    return root


async def _list(image: int, layout: Layout, name: str, scratch: Path) -> Path:
    listing = scratch / "listing"
    await _run(image, layout, name, scratch, ["-lln"], listing)
    return listing


def tidy(root: Path) -> None:
    """Take from a folder what no algorithm's root may have: devices, pipes, and privileges of files.

    Its owner can then read all of it, and remove it.
    """
    folders = [os.fspath(root)]
    while folders:
        folder = folders.pop()
        mode = stat.S_IMODE(os.lstat(folder).st_mode)
        if mode != (right := (mode & ~_SETUID) | stat.S_IRWXU):
            os.chmod(folder, right)
        with os.scandir(folder) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    folders.append(entry.path)
                elif stat.S_ISREG(mode):
                    if mode & _SETUID or not mode & stat.S_IRUSR:
                        os.chmod(entry.path, stat.S_IMODE(mode) & ~_SETUID | stat.S_IRUSR)
                elif not stat.S_ISLNK(mode):
                    os.unlink(entry.path)


def remove(folder: Path) -> None:
    """Remove a folder that may hold folders which forbid it."""
    folders = [os.fspath(folder)]
    while folders:
        where = folders.pop()
        with suppress(OSError):
            os.chmod(where, stat.S_IRWXU)
            with os.scandir(where) as entries:
                folders += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    shutil.rmtree(folder, ignore_errors=True)


async def _run(
    image: int,
    layout: Layout,
    name: str,
    folder: Path,
    options: Sequence[str],
    output: Path | None,
    names: Sequence[str] = (),
) -> None:
    reason = why_not()
    if reason is not None:
        raise RuntimeUnavailable(f"{name} can't be unpacked: {reason}")
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    # Not in memory: there may be a line for each of five million files.
    errors = os.open(folder / "said", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    out = (
        nothing
        if output is None
        else os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    )
    try:
        words = [*options, "-offset", str(layout.offset), f"/proc/self/fd/{image}", *names]
        streams = Streams(stdin=nothing, stdout=out, stderr=errors)
        status = await _wait(_start(words, streams, image, folder), name)
        if status not in (0, _NON_FATAL):
            said = " ".join(os.pread(errors, _SAID_BYTES, 0).decode("utf-8", "replace").split())
            raise RuntimeUnavailable(
                f"the image {name} can't be unpacked: unsquashfs ended with status {status} and said: {said}. Is it "
                "damaged, or compressed in a way that this unsquashfs doesn't know?"
            )
    finally:
        for descriptor in {nothing, errors, out}:
            os.close(descriptor)


def _out(folder: Path) -> str:
    """Where the program finds the folder that it writes to."""
    return _OUT if bwrap.probe() is None else str(folder)


def _start(words: Sequence[str], streams: Streams, image: int, folder: Path) -> Child:
    command = [shutil.which("unsquashfs") or "unsquashfs", *words]
    if bwrap.probe() is not None:
        # A machine that has only Apptainer. Nothing is unpacked there but what is looked at.
        return spawn(command, environment.bare(), streams, passed=[image])
    lines = [*view.base(), ("memory", "mode=1777", view.TEMPORARY), ("write", str(folder), _OUT)]
    return bwrap.spawn_in(
        lines,
        command,
        {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        streams,
        options=["--cap-drop", "ALL", "--uid", str(_USER), "--gid", str(_USER), "--disable-userns"],
        passed=[image],
    )


async def _wait(child: Child, name: str) -> int:
    try:
        async with asyncio.timeout(UNPACK_SECONDS_MAX):
            return await asyncio.shield(child.ended)
    except TimeoutError:
        raise LimitReached(
            f"the image {name} was not unpacked within {UNPACK_SECONDS_MAX:g} seconds: is the disk very slow?"
        ) from None
    finally:
        if not child.ended.done():
            child.kill()
            await asyncio.shield(child.ended)


def _count(listing: Path) -> tuple[int, int]:
    """The entries of a list, and the bytes of the files in it. A name that looks like a line only adds to them."""
    files = size = 0
    with listing.open("rb") as lines:
        for found in filter(None, map(_LISTED.match, lines)):
            files += 1
            size += int(found[2]) if found[1] == b"-" else 0
    return files, size


def _links(listing: Path) -> dict[str, str]:
    """The links in a list, by their absolute paths."""
    with listing.open("rb") as lines:
        found = [match for line in lines if line.startswith(b"l") and (match := _LISTED_LINK.match(line))]
    return {os.fsdecode(match[1]): os.fsdecode(match[2]) for match in found}
