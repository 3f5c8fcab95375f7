"""Real images of Apptainer's format, made here: a small root with Python, and the file around it.

The header and its descriptors are written from the published format, by other code than the one that
reads them.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import apptainer_stand_in

from atoll.engine.running import Image, ImageKind, Launch, Style
from atoll.model.work import Seat
from atoll.runtimes.apptainer import ApptainerRuntime
from atoll.runtimes.conformance import Subject
from atoll.runtimes.outside import RuntimeContext
from atoll.runtimes.rootfs import RootfsRuntime
from atoll.runtimes.sif.kept import Roots

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atoll"
#: Where images that tests share are unpacked.
ROOTS = _CACHE / "sif-roots"
#: Programs that an algorithm's command may name.
_PROGRAMS = ("sh", "cat", "ls", "id", "env", "sleep", "true")
#: Parts of the standard library that no test needs, and that take most of its room.
_WITHOUT = ("test", "idlelib", "ensurepip", "lib2to3", "tkinter", "turtledemo", "pydoc_data", "distutils")
_MODULES_WITHOUT = (
    "_tkinter",
    "_test",
    "_xxtest",
    "xxlimited",
    "_curses",
    "readline",
    "nis",
    "_gdbm",
    "_dbm",
)
#: The system's own folders.
_FOLDERS = {"bin", "dev", "etc", "lib", "lib64", "mnt", "proc", "root", "sys", "tmp", "usr", "var"}
#: The same files make the same image, so that one which was unpacked in an earlier run is there still.
_TIMELESS = ("-mkfs-time", "0", "-all-time", "0")
#: What makes another image of the same machine, where this file changes.
_EDITION = 5

_AMD64 = {"x86_64": b"02", "aarch64": b"04"}


def why_missing() -> str | None:
    """A sentence about why no image can be made or unpacked here, or None where it can."""
    missing = [name for name in ("mksquashfs", "unsquashfs") if shutil.which(name) is None]
    return f"squashfs-tools is not installed: there is no program named {missing[0]}" if missing else None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One object of a file: what a descriptor says, and the content."""

    content: bytes
    #: 0x4004 is a file system, 0x4006 is JSON.
    kind: int = 0x4004
    #: Of a file system: 1 squashfs, 2 ext3, 5 encrypted.
    file_system: int = 1
    #: Of a file system: 1 a system, 2 the primary one, 3 data, 4 an overlay.
    role: int = 2
    architecture: bytes | None = None
    name: str = ""


def write_sif(path: Path, *parts: Part, version: bytes = b"01") -> Path:
    """Write a file of the format, with room for 48 parts, as Apptainer does."""
    here = _AMD64[os.uname().machine]
    descriptors, at = b"", 32768
    contents: list[tuple[int, bytes]] = []
    for number, part in enumerate(parts, start=1):
        extra = b""
        if part.kind == 0x4004:
            extra = struct.pack("<ii3s", part.file_system, part.role, part.architecture or here)
        size = len(part.content)
        descriptors += struct.pack("<i?III", part.kind, True, number, 0xF0000001, 0)
        descriptors += struct.pack("<qqqqqqq", at, size, size, 1700000000, 1700000000, 0, 0)
        descriptors += part.name.encode().ljust(128, b"\0") + extra.ljust(384, b"\0")
        contents.append((at, part.content))
        at += -(-size // 4096) * 4096
    header = b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0") + b"SIF_MAGIC\0" + version.ljust(3, b"\0")
    header += here.ljust(3, b"\0") + uuid.UUID(int=7).bytes
    room = 48 * 585
    header += struct.pack("<8q", 1700000000, 1700000000, 48 - len(parts), 48, 4096, room, 32768, at - 32768)
    with path.open("wb") as file:
        for offset, content in ((0, header), (4096, descriptors), *contents):
            file.seek(offset)
            file.write(content)
        file.truncate(max(at, 32768))
    return path


def squash(folder: Path, into: Path, *options: str) -> bytes:
    """The squashfs of a folder; everything in it is root's."""
    into.unlink(missing_ok=True)
    command: list[str | Path] = [
        "mksquashfs",
        folder,
        into,
        "-quiet",
        "-no-progress",
        "-all-root",
        "-noappend",
        *options,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    content = into.read_bytes()
    into.unlink()
    return content


def write_tree(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """A folder with these files; what begins with ``#!`` is executable, ``-> PATH`` is a link."""
    for name, content in files.items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str) and content.startswith("-> "):
            path.symlink_to(content[3:])
            continue
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o755 if path.read_bytes().startswith(b"#!") else 0o644)
    return folder


def make_image(
    path: Path, files: Mapping[str, str | bytes], *, python: bool = True, configuration: object = None
) -> Path:
    """A whole image: a system with a shell, with Python where it is wanted, and these files in it.

    The system is made once and kept; what is added is squashed behind it. So no file can be added
    in a folder that the system has.
    """
    assert not {name.split("/")[1] for name in files} & _FOLDERS
    system = _system(python=python)
    added = write_tree(path.parent / f"{path.name}.tree", files)
    for each in (added, *added.rglob("*")):
        os.utime(each, (0, 0), follow_symlinks=False)
    squashed = path.parent / f"{path.name}.squashfs"
    shutil.copyfile(system, squashed)
    # Appended to the file system that is there: what it holds is not compressed again.
    command: list[str | Path] = [
        "mksquashfs",
        added,
        squashed,
        "-quiet",
        "-no-progress",
        "-all-root",
        "-no-recovery",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    content = bytearray(squashed.read_bytes())
    content[8:12] = bytes(4)  # the time at which it was added to
    parts = [Part(content=bytes(content), name="squashfs.img")]
    if configuration is not None:
        parts.append(Part(kind=0x4006, content=json.dumps(configuration).encode(), name="oci-config.json"))
    squashed.unlink()
    shutil.rmtree(added)
    return write_sif(path, *parts)


def described(path: Path, home: Path) -> Image:
    """What a file is called, and its digest; noted in the home's cache."""
    digest = asyncio.run(Roots(home / "cache").digest_of(path))
    return Image(kind=ImageKind.SIF, name=str(path), digest=digest)


def launch_of(folder: Path, image: Image | None, **fields: Any) -> Launch:
    """A launch in an image, with folders of its own."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    defaults: dict[str, Any] = {
        "seat": Seat("local0"),
        "style": Style.CALL,
        "code": None,
        "command": (),
        "temporary": folder / "tmp",
        "log": folder / "log",
    }
    return Launch(image=image, **(defaults | fields))


def from_container(
    entrypoint: Sequence[str] = (), command: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What Apptainer writes into a root file system that it makes from a container image."""

    def quoted(words: Sequence[str]) -> str:
        return " ".join(f'"{word}"' for word in words).replace("'", "'\"'\"'")

    variables = "".join(
        f'export {name}="${{{name}:-"{value}"}}"\n' for name, value in (environment or {}).items()
    )
    return {
        "/.singularity.d/env/10-docker2singularity.sh": f"#!/bin/sh\n{variables}",
        "/.singularity.d/runscript": (
            f"#!/bin/sh\nOCI_ENTRYPOINT='{quoted(entrypoint)}'\nOCI_CMD='{quoted(command)}'\n\n"
            'if [ $# -gt 0 ]; then\n    exec "$@"\nfi\neval "set -- ${OCI_ENTRYPOINT} ${OCI_CMD}"\nexec "$@"\n'
        ),
        "/.singularity.d/labels.json": json.dumps({"org.label-schema.schema-version": "1.0"}),
    }


@functools.cache
def _system(*, python: bool) -> Path:
    """The squashfs of a small system, made from this machine's own programs."""
    wanted = dict(_system_files(python=python))
    about = [(target, source.stat().st_size, source.stat().st_mtime_ns) for target, source in wanted.items()]
    key = hashlib.sha256(repr([_EDITION, sorted(about)]).encode()).hexdigest()[:16]
    made = _CACHE / f"sif-system-{key}.squashfs"
    if made.exists():
        return made
    folder = _CACHE / f"sif-system-{key}.{os.getpid()}"
    for target, source in wanted.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / target)
    for name in ("etc", "tmp", "proc", "dev", "sys", "var/tmp", "root", "mnt"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "lib", "lib64"):
        (folder / name).symlink_to(f"usr/{name}")
    if python:
        (folder / "usr/bin/python").symlink_to("python3")
    content = squash(folder, folder.with_suffix(".tmp"), "-comp", "gzip", "-Xcompression-level", "1")
    half = folder.with_suffix(".half")
    half.write_bytes(content)
    half.rename(made)
    shutil.rmtree(folder)
    return made


def _system_files(*, python: bool) -> Iterator[tuple[str, Path]]:
    programs = [Path(found) for name in _PROGRAMS if (found := shutil.which(name))]
    needing = [*programs]
    for program in programs:
        yield f"usr/bin/{program.name}", program.resolve()
    if python:
        interpreter = Path(sys.base_prefix, "bin", f"python3.{sys.version_info[1]}").resolve()
        library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
        needing.append(interpreter)
        yield "usr/bin/python3", interpreter
        for file in library.rglob("*"):
            inner = file.relative_to(library)
            unwanted = (
                inner.parts[0] in (*_WITHOUT, "site-packages", "dist-packages")
                or "__pycache__" in inner.parts
            )
            unwanted = (
                unwanted or inner.name.startswith(_MODULES_WITHOUT) or inner.parts[0].startswith("config-")
            )
            if file.is_file() and not unwanted:
                yield f"usr/lib/{library.name}/{inner}", file.resolve()
                if file.suffix == ".so":
                    needing.append(file)
    said = subprocess.run(["ldd", *needing], capture_output=True, text=True, check=True).stdout
    for line in said.splitlines():
        path = next((word for word in line.split() if word.startswith("/") and not word.endswith(":")), None)
        if path is not None:
            yield re.sub(r"^/(?=lib|bin|sbin)", "/usr/", path).lstrip("/"), Path(path).resolve()


def rootfs(context: RuntimeContext) -> RootfsRuntime:
    """The runtime for images that are files, as the suite of checks makes it."""
    return RootfsRuntime(cache=Path(str(context.options["cache"])))


def apptainer(context: RuntimeContext) -> ApptainerRuntime:
    """The runtime for Apptainer, with the stand-in for that, as the suite of checks makes it."""
    return ApptainerRuntime(
        cache=Path(str(context.options["cache"])), program=str(context.options["program"])
    )


@functools.cache
def plain() -> Image:
    """An image with Python and nothing else, made once on this machine."""
    path = _CACHE / f"sif-plain-{_system(python=True).stem.rpartition('-')[2]}.sif"
    if not path.exists():
        half = path.with_suffix(f".{os.getpid()}")
        make_image(half, {"/computation/README": "an algorithm's folder appears here\n"}).rename(path)
    digest = asyncio.run(Roots(ROOTS).digest_of(path))
    return Image(kind=ImageKind.SIF, name=str(path), digest=digest)


def subject() -> Subject:
    """The runtime for images that are files, to be examined."""
    return Subject(name="rootfs", make=rootfs, options={"cache": str(ROOTS)}, image=plain())


def apptainer_subject(folder: Path) -> Subject:
    """The runtime for Apptainer, to be examined with a stand-in for that, which is written to a folder."""
    program = apptainer_stand_in.install(folder, ROOTS)
    return Subject(
        name="apptainer",
        make=apptainer,
        options={"cache": str(ROOTS), "program": str(program)},
        image=plain(),
    )
