"""A bundle: an algorithm's folder as one file, named by its digest.

::

    atoll-bundle.json    what it is and how it is called: `Manifest`
    code/…               its files; none of an algorithm that is an image

`packing.pack` makes one from a folder, `look_into` checks one, `unpack` lays it out and
`installing.install` says how it is called there. The same folder gives the same bytes, wherever
and whenever it is packed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from atoll.algorithms import archive
from atoll.algorithms.archive import Member
from atoll.algorithms.manifest import MANIFEST, Manifest, decode
from atoll.engine.limits import BUNDLE_FILES_MAX, BUNDLE_MANIFEST_BYTES_MAX, CHUNK_BYTES
from atoll.model.errors import JobRefused

#: The folder of its files.
CODE = "code"
#: What the owner alone may change, and nobody by accident.
_FILE, _PROGRAM, _FOLDER = 0o444, 0o555, 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An algorithm that can be passed on."""

    path: Path
    #: ``sha256:`` and 64 hexadecimal digits, of the file.
    digest: str
    size_bytes: int
    manifest: Manifest
    #: The names of its files, in their order.
    files: tuple[str, ...]


def look_into(file: Path) -> Bundle:
    """Check a bundle, all of it, and read what it says of itself. Nothing is laid out.

    Raises:
        JobRefused: it is no bundle, or holds what none may hold.
    """
    names: list[str] = []

    def look(member: Member, content: Iterator[bytes]) -> None:
        names.append(member.name)
        for _ in content:
            pass

    with file.open("rb") as source:
        manifest = _take(source, look)
    return Bundle(
        path=file,
        digest=digest_of_file(file),
        size_bytes=file.stat().st_size,
        manifest=manifest,
        files=tuple(names),
    )


def unpack(file: Path, folder: Path) -> Manifest:
    """Lay a bundle out in a folder that is not there yet: it appears at once, with all that is in it.

    Where another has laid it out meanwhile, that one stays.

    Args:
        file: the bundle.
        folder: named by the bundle's digest, which the caller has verified.

    Raises:
        JobRefused: it is no bundle, or holds what none may hold. Nothing is left of it then.
    """
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    beside.mkdir(parents=True, mode=_FOLDER)
    try:
        with file.open("rb") as source:
            manifest = _take(source, lambda member, content: _lay_out(beside, member, content))
        (beside / MANIFEST).write_bytes(manifest.encode())
        try:
            beside.rename(folder)
        except OSError:
            if not (folder / MANIFEST).is_file():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return manifest


def unpacked(folder: Path) -> Manifest:
    """What a bundle that was laid out says of itself.

    Raises:
        JobRefused: it can't be read.
        FileNotFoundError: none was laid out there.
    """
    return decode((folder / MANIFEST).read_bytes())


def digest_of_file(file: Path) -> str:
    """The digest that names a bundle."""
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while part := source.read(CHUNK_BYTES):
            digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def code_of(manifest: Manifest, folder: Path) -> Path:
    """Where the code of a bundle lies that was laid out in a folder."""
    return folder / CODE / manifest.code_name if manifest.code_name else folder / CODE


def _take(source: BinaryIO, keep: Callable[[Member, Iterator[bytes]], None]) -> Manifest:
    """Read a bundle: its manifest is returned, and each of its files is kept."""
    members = archive.read(source)
    first = next(members, None)
    if first is None or first[0].name != MANIFEST or first[0].size_bytes > BUNDLE_MANIFEST_BYTES_MAX:
        raise JobRefused(f"the bundle doesn't begin with a {MANIFEST}: pack it with atoll")
    manifest = decode(b"".join(first[1]))
    files: set[str] = set()
    folders: set[str] = set()
    last = b""
    for member, content in members:
        name = member.name
        if not name.startswith(f"{CODE}/") or os.fsencode(name) <= last:
            raise JobRefused(f"{name!r} is not where it belongs in a bundle: pack it with atoll")
        last = os.fsencode(name)
        around = set(_folders(name))
        files.add(name)
        folders |= around
        if len(folders) > BUNDLE_FILES_MAX:
            raise JobRefused(f"the bundle has more than {BUNDLE_FILES_MAX} folders")
        if name in folders or files & around:
            raise JobRefused(f"{name!r} in the bundle lies in what is a file: pack it with atoll")
        keep(member, content)
    if manifest.kind == "image":
        if files:
            raise JobRefused("the bundle names an image and holds files beside it: pack it with atoll")
        return manifest
    code = code_of(manifest, Path())
    if code.as_posix() not in files | folders:
        raise JobRefused(f"the bundle has no {code}, where its {MANIFEST} says that its code lies")
    return manifest


def _folders(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name


def _lay_out(folder: Path, member: Member, content: Iterator[bytes]) -> None:
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True, mode=_FOLDER)
    # Exclusively, and never through a link: the folder is new, and only files are made in it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        for part in content:
            target.write(part)
        os.fchmod(target.fileno(), _PROGRAM if member.executable else _FILE)
