"""Where an image's file system lies within its file, and what else the file says.

A file of the Singularity Image Format begins with a header of 128 bytes. It says where a table of
descriptors lies, each of 585 bytes; one of them is the primary system's partition, which is a
squashfs. All numbers are little-endian.

::

    header       launch[32] magic[10] version[3] arch[3] id[16]
                 created modified free total descriptors_at descriptors_size data_at data_size   (8 each)
    descriptor   type[4] used[1] id[4] group[4] link[4] at[8] size[8] stored[8] created[8] modified[8]
                 uid[8] gid[8] name[128] extra[384]
    extra        of a partition: file system[4] role[4] arch[3]

A bare squashfs is an image, too. Nothing here is trusted: a number that leads out of the file is
refused before anything is read at it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from atoll.engine.limits import ROOT_TEXT_BYTES_MAX, SIF_DESCRIPTIONS_MAX
from atoll.model.errors import RuntimeUnavailable

_HEADER = struct.Struct("<32s10s3s3s16s8q")
_DESCRIPTOR = struct.Struct("<i?III7q128s384s")
_PARTITION = struct.Struct("<ii3s")
_MAGIC = b"SIF_MAGIC\0"
_VERSION = b"01"

#: Types of what a descriptor describes.
_IS_PARTITION, _IS_JSON = 0x4004, 0x4006
#: File systems of a partition, and the role of the one that an algorithm runs in.
_SQUASHFS, _ENCRYPTED = 1, 5
_FILE_SYSTEMS = {2: "ext3", 3: "an archive", 4: "raw data"}
_PRIMARY_SYSTEM = 2

#: The processors that the format has numbers for, as images of containers name them.
_ARCHITECTURES = {
    f"{number:02}".encode(): name
    for number, name in enumerate(
        (
            *("386", "amd64", "arm", "arm64", "ppc64", "ppc64le"),
            *("mips", "mipsle", "mips64", "mips64le", "s390x", "riscv64"),
        ),
        start=1,
    )
}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}

#: The superblock of a squashfs: magic, number of inodes, …, major version, …, bytes used.
_SUPERBLOCK = struct.Struct("<4sI20xHH8xQ")
_SQUASHFS_MAGIC = b"hsqs"
_SQUASHFS_MAJOR = 4

#: The name under which a file keeps the configuration of the container image that it was made from.
OCI_CONFIGURATION = "oci-config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where what is needed of an image lies in its file."""

    #: The squashfs of the system: its first byte, and how many it has.
    offset: int
    size: int
    #: The processor that it is for; empty where the file doesn't say.
    architecture: str = ""
    #: The configuration of the container image that it was made from, as JSON; None where it isn't there.
    configuration: bytes | None = None


def is_image(path: Path) -> bool:
    """Whether a file begins as an image does."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER.size)
    except OSError:
        return False
    return start.startswith(_SQUASHFS_MAGIC) or start[32:42] == _MAGIC


def read_layout(file: BinaryIO, name: str) -> Layout:
    """Find the file system in an image's file.

    Args:
        file: the file, opened.
        name: what the file is called, for who reads what is wrong with it.

    Raises:
        RuntimeUnavailable: it is no image, it is damaged or encrypted, or it isn't for this machine.
    """
    size = os.fstat(file.fileno()).st_size
    start = file.read(_HEADER.size)
    if start.startswith(_SQUASHFS_MAGIC):
        layout = Layout(offset=0, size=size)
    elif start[32:42] == _MAGIC and len(start) == _HEADER.size:
        layout = _read_sif(file, start, size, name)
    elif start[32:42] == _MAGIC[: max(len(start) - 32, 0)] and len(start) > 32:
        raise _damaged(name, f"it ends within its header, after {len(start)} bytes")
    else:
        raise RuntimeUnavailable(
            f"{name} is not an image that can be run: it begins neither as a SIF file nor as a squashfs. Expected "
            "what `apptainer build` or `mksquashfs` has written, or a folder with an unpacked root file system"
        )
    _check_architecture(layout.architecture, name)
    _check_squashfs(file, layout, name)
    return layout


def _read_sif(file: BinaryIO, start: bytes, size: int, name: str) -> Layout:
    _, _, version, architecture, *numbers = _HEADER.unpack(start)
    if version.rstrip(b"\0") != _VERSION:
        raise RuntimeUnavailable(
            f"{name} is of version {version.rstrip(bytes(1)).decode('ascii', 'replace')!r} of the SIF format, and "
            "this Atoll knows version '01'"
        )
    total, at = numbers[-5], numbers[-4]
    descriptors = list(_descriptors(file, at, total, size, name))
    primary = [each for each in descriptors if each.is_primary]
    if len(primary) != 1:
        raise RuntimeUnavailable(
            f"{name} has {len(primary)} primary system partitions, and expected was one: it holds data or "
            "signatures, but no system that an algorithm could run in. `apptainer sif list FILE` shows what is in it"
        )
    kind, _, named = _PARTITION.unpack_from(primary[0].extra)
    if kind == _ENCRYPTED:
        raise RuntimeUnavailable(
            f"{name} is encrypted, and Atoll has no key for it: build it without --encrypt, or keep it as a folder"
        )
    if kind != _SQUASHFS:
        raise RuntimeUnavailable(
            f"the system in {name} is {_FILE_SYSTEMS.get(kind, f'of an unknown kind ({kind})')}, and expected was a "
            "squashfs: build the image anew with a current Apptainer"
        )
    named = _plain(named) if _plain(named) in _ARCHITECTURES else _plain(architecture)
    return Layout(
        offset=primary[0].offset,
        size=primary[0].size,
        architecture=_ARCHITECTURES.get(named, ""),
        configuration=_configuration(file, descriptors),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Descriptor:
    kind: int
    offset: int
    size: int
    name: str
    extra: bytes

    @property
    def is_primary(self) -> bool:
        return self.kind == _IS_PARTITION and _PARTITION.unpack_from(self.extra)[1] == _PRIMARY_SYSTEM


def _descriptors(file: BinaryIO, at: int, total: int, size: int, name: str) -> Iterator[_Descriptor]:
    if not 0 < total <= SIF_DESCRIPTIONS_MAX:
        raise _damaged(name, f"it says that it has room for {total} parts")
    if at < _HEADER.size or at + total * _DESCRIPTOR.size > size:
        raise _damaged(name, "the table of its parts lies outside of the file")
    file.seek(at)
    table = file.read(total * _DESCRIPTOR.size)
    for kind, used, _, _, _, offset, length, _, _, _, _, _, title, extra in _DESCRIPTOR.iter_unpack(table):
        if not used:
            continue
        if offset < 0 or length < 0 or offset + length > size:
            raise _damaged(
                name,
                f"a part of it ends at byte {offset + length}, and the file at {size}. Was it copied completely?",
            )
        yield _Descriptor(
            kind=kind, offset=offset, size=length, name=_plain(title).decode("utf-8", "replace"), extra=extra
        )


def _configuration(file: BinaryIO, descriptors: list[_Descriptor]) -> bytes | None:
    for each in descriptors:
        if each.kind == _IS_JSON and each.name == OCI_CONFIGURATION and each.size <= ROOT_TEXT_BYTES_MAX:
            file.seek(each.offset)
            return file.read(each.size)
    return None


def _check_architecture(architecture: str, name: str) -> None:
    machine = os.uname().machine
    here = _MACHINES.get(machine, machine)
    if architecture not in ("", here):
        raise RuntimeUnavailable(
            f"{name} is for {architecture}, and this machine is {here}: build it for {here}, or run it elsewhere"
        )


def _check_squashfs(file: BinaryIO, layout: Layout, name: str) -> None:
    file.seek(layout.offset)
    start = file.read(min(_SUPERBLOCK.size, layout.size))
    if len(start) < _SUPERBLOCK.size or not start.startswith(_SQUASHFS_MAGIC):
        raise _damaged(
            name, f"there is no squashfs at byte {layout.offset}, where it says that its system is"
        )
    _, _, major, _, used = _SUPERBLOCK.unpack(start)
    if major != _SQUASHFS_MAJOR:
        raise RuntimeUnavailable(
            f"the squashfs in {name} is of version {major}, and expected was {_SQUASHFS_MAJOR}: build the image anew"
        )
    if used > layout.size:
        raise _damaged(
            name,
            f"its squashfs has {used} bytes, of which {layout.size} are there. Was it copied completely?",
        )


def _plain(text: bytes) -> bytes:
    """What stands before the first zero."""
    return text.partition(b"\0")[0]


def _damaged(name: str, why: str) -> RuntimeUnavailable:
    return RuntimeUnavailable(f"the image {name} is damaged: {why}")
