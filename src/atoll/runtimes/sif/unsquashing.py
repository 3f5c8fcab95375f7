"""Takes files out of a squashfs, by the program ``unsquashfs``, which reads what strangers have written.

So it runs in a sandbox, where there is one: without network, without privileges, and with one
folder to write to. It is nobody's root there, and so it makes no devices, gives files to no other
user, and keeps no setuid bit. Where there is no sandbox, nothing hides the machine's files from it;
it is still bounded, and never root.

What it says is read as it says it, and no further than anybody needs: a small image can list more
than any disk holds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from atoll.engine.limits import ROOT_BYTES_MAX, UNPACK_MEMORY_BYTES_MAX, UNPACK_SECONDS_MAX
from atoll.model.errors import LimitReached, RuntimeUnavailable
from atoll.runtimes import bwrap, view
from atoll.runtimes.children import Child, Streams, spawn
from atoll.runtimes.sif.layout import Layout
from atoll.runtimes.sif.listing import Listing
from atoll.runtimes.sif.paths import follow

#: Where the one folder appears that can be written to, and in which the program starts.
_OUT = "/out"
#: What the program is told of memory, in MB for each of its two queues.
_QUEUES = ("-da", "64", "-fr", "64")
#: Who it runs as inside: nobody whom it could take for root.
_USER = 65532
#: Its exit status where something of the attributes could not be kept, and all else is there.
_NON_FATAL = 2
#: Bytes of what it says that an error quotes.
_SAID_BYTES = 500
#: Bytes that are read at once of what it says.
_PIECE_BYTES = 65_536
#: Files that it may have open. It writes to a few at a time.
_OPEN_FILES = 1_024
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
_SETUID = stat.S_ISUID | stat.S_ISGID


def why_not() -> str | None:
    """Why nothing can be unpacked here, as a sentence; None where it can."""
    if shutil.which("unsquashfs") is None:
        return (
            "squashfs-tools is not installed: there is no program named unsquashfs, which takes files out of images. "
            "Install it (apt install squashfs-tools)"
        )
    return None


async def measure(image: int, layout: Layout, name: str, scratch: Path) -> Listing:
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
    return await _list(image, layout, name, scratch)


async def extract(image: int, layout: Layout, name: str, into: Path) -> Path:
    """Take all files out of a squashfs; the folder in which they are then.

    Args:
        image: the image's file, open for reading.
        layout: where the squashfs lies in it.
        name: what the image is called.
        into: an empty folder, in which that folder is made.

    Raises:
        RuntimeUnavailable: it can't be read.
        LimitReached: a file of it is larger than an image may be.
    """
    return await _extract(image, layout, name, into, ROOT_BYTES_MAX, [])


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
        RuntimeUnavailable: it can't be read, or there is no room for what is at these paths.
        LimitReached: it has more files, or larger ones, than an image may have.
    """
    listing = await _list(image, layout, name, into, keep_links=True)
    wanted: list[str] = []
    for path in paths:
        with suppress(OSError):  # a circle leads nowhere
            end, passed = follow(path, listing.links.get)
            wanted += [*passed, end]
    if not wanted:  # without a name, all would be meant
        return await asyncio.to_thread(_nothing, into)
    options = [] if depth is None else ["-max-depth", str(depth)]
    names = [path.lstrip("/") for path in wanted]
    size = (await _list(image, layout, name, into, options, names)).size_bytes
    check_space(into, size, name)
    return await _extract(image, layout, name, into, size, options, names)


def check_space(folder: Path, size: int, name: str) -> None:
    """See that a disk has room for what is unpacked.

    Raises:
        RuntimeUnavailable: it hasn't.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise RuntimeUnavailable(
            f"the image {name} becomes {size} bytes when it is unpacked, and the disk with {folder.parent} has {free} "
            "left. Make room there"
        )


def _nothing(into: Path) -> Path:
    root = into / "root"
    root.mkdir()
    return root


async def _extract(
    image: int,
    layout: Layout,
    name: str,
    into: Path,
    file_bytes: int,
    options: Sequence[str],
    names: Sequence[str] = (),
) -> Path:
    words = ["-no-xattrs", "-no-progress", "-quiet", "-no-wildcards", *_QUEUES, "-dest", "root"]
    await _run(image, layout, name, into, [*words, *options], names, file_bytes=file_bytes)
    root = into / "root"
    if not os.path.lexists(root):  # nothing of these names was there
        root.mkdir()
    if not stat.S_ISDIR(os.lstat(root).st_mode):
        raise RuntimeUnavailable(f"the image {name} can't be unpacked: its root is not a folder")
    await asyncio.to_thread(tidy, root)
    return root


async def _list(
    image: int,
    layout: Layout,
    name: str,
    scratch: Path,
    options: Sequence[str] = (),
    names: Sequence[str] = (),
    *,
    keep_links: bool = False,
) -> Listing:
    listing = Listing(name, keep_links=keep_links)
    words = ["-lln", "-no-wildcards", *options]
    await _run(image, layout, name, scratch, words, names, file_bytes=0, listed=listing.take)
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
    names: Sequence[str],
    *,
    file_bytes: int,
    listed: Callable[[bytes], None] | None = None,
) -> None:
    reason = why_not()
    if reason is not None:
        raise RuntimeUnavailable(f"{name} can't be unpacked: {reason}")
    said = bytearray()

    def quote(piece: bytes) -> None:
        said.extend(piece[: _SAID_BYTES - len(said)])

    words = [*options, "-offset", str(layout.offset), f"/proc/self/fd/{image}", *names]
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    ours, theirs = [], [nothing]
    try:
        for _ in range(2):
            end, other = os.pipe()
            ours.append(end)
            theirs.append(other)
        streams = Streams(stdin=nothing, stdout=theirs[1], stderr=theirs[2])
        child = _start(words, streams, image, folder, name, file_bytes)
    except BaseException:
        for each in ours:
            os.close(each)
        raise
    finally:
        for each in theirs:
            os.close(each)
    status = await _wait(child, name, {ours[0]: listed or _drop, ours[1]: quote})
    if status not in (0, _NON_FATAL):
        raise RuntimeUnavailable(
            f"the image {name} can't be unpacked: unsquashfs ended with status {status} and said: "
            f"{' '.join(said.decode('utf-8', 'replace').split())}. Is it damaged, or compressed in a way that this "
            "unsquashfs doesn't know?"
        )


def _drop(_piece: bytes) -> None:
    """What nobody needs."""


def _start(
    words: Sequence[str], streams: Streams, image: int, folder: Path, name: str, file_bytes: int
) -> Child:
    # Only now: what makes a sandbox writes files, too.
    bounds = (f"-n {_OPEN_FILES}", f"-d {UNPACK_MEMORY_BYTES_MAX // 1024}", f"-f {-(-file_bytes // 512)}")
    lines = [*(f"ulimit {each}" for each in bounds), 'exec "$@"']
    command = [
        *("/bin/sh", "-c", " && ".join(lines), "sh"),
        *(shutil.which("unsquashfs") or "unsquashfs", *words),
    ]
    if bwrap.probe() is not None:
        # A machine that has only Apptainer. Nothing is unpacked there but what is looked at.
        return spawn(
            [*_lowered(image, folder, name), *command],
            _ENVIRONMENT,
            streams,
            cwd=folder,
            passed=[image],
        )
    shown = [*view.base(), ("memory", "mode=1777", view.TEMPORARY), ("write", str(folder), _OUT)]
    named = ["--uid", str(_USER), "--gid", str(_USER), "--chdir", _OUT]
    return bwrap.spawn_in(
        shown,
        command,
        _ENVIRONMENT,
        streams,
        options=["--cap-drop", "ALL", "--disable-userns", *named],
        passed=[image],
    )


def _lowered(image: int, folder: Path, name: str) -> list[str]:
    """The words that take a process's privileges, without a sandbox; the folder becomes its own."""
    program = shutil.which("setpriv")
    if os.geteuid() != 0:
        return [] if program is None else [program, "--no-new-privs", "--"]
    if program is None:
        raise RuntimeUnavailable(
            f"the image {name} can't be unpacked: neither bubblewrap nor setpriv is there, and nothing that strangers "
            "have written is unpacked as root. Install one of them (apt install bubblewrap util-linux)"
        )
    if not os.fstat(image).st_mode & stat.S_IROTH:
        raise RuntimeUnavailable(
            f"the image {name} can't be unpacked: without bubblewrap that is done by a user without any rights, who "
            "may not read it. Let everybody read the file (chmod o+r), or install bubblewrap"
        )
    os.chown(folder, _USER, _USER)
    words = [
        f"--reuid={_USER}",
        f"--regid={_USER}",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ]
    return [program, *words, "--no-new-privs", "--"]


async def _wait(child: Child, name: str, pipes: dict[int, Callable[[bytes], None]]) -> int:
    """Read what a process says until it has ended; its exit status. The pipes are closed then."""
    with ExitStack() as files:
        hearing = [
            asyncio.create_task(_hear(files.enter_context(open(end, "rb", buffering=0)), take))
            for end, take in pipes.items()
        ]
        try:
            async with asyncio.timeout(UNPACK_SECONDS_MAX):
                await asyncio.gather(*hearing)
                return await asyncio.shield(child.ended)
        except TimeoutError:
            raise LimitReached(
                f"the image {name} was not unpacked within {UNPACK_SECONDS_MAX:g} seconds: is the disk very slow?"
            ) from None
        finally:
            if not child.ended.done():
                child.kill()
            for each in hearing:
                each.cancel()
            await asyncio.shield(child.ended)
            await asyncio.gather(*hearing, return_exceptions=True)


async def _hear(file: IO[bytes], take: Callable[[bytes], None]) -> None:
    reader = asyncio.StreamReader(limit=_PIECE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), file
    )
    try:
        while piece := await reader.read(_PIECE_BYTES):
            take(piece)
    finally:
        transport.close()
