"""The archive of a bundle: plain files in one order, so that one folder has one digest everywhere.

It is a tar archive that every tar reads, of a kind so narrow that only one archive holds a given
set of files: POSIX headers, regular files only, sorted, without times, owners and padding of one's
own. A reader writes each header anew and compares. So nothing in an archive can mean two things
to two readers, and there are no links, devices, holes or extensions that had to be thought of.

It is not compressed: what another version of a library compresses has another digest, and what is
not compressed can't unfold into more than was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from atoll.engine.limits import BUNDLE_BYTES_MAX, BUNDLE_FILES_MAX, CHUNK_BYTES
from atoll.model.errors import JobRefused, SpecInvalid, UnsafeName
from atoll.model.work import check_blob_name

_BLOCK = 512
_NAME_BYTES = 100
_PREFIX_BYTES = 155
#: Where in a header the sum of its bytes stands.
_SUM = 148
#: Two empty blocks end an archive.
_END = bytes(2 * _BLOCK)
_PLAIN, _EXECUTABLE = 0o644, 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of an archive."""

    #: Its path: parts joined by ``/``.
    name: str
    size_bytes: int
    executable: bool = False

    @classmethod
    def of(cls, name: str, file: Path) -> Self:
        """What holds the content of a file."""
        status = file.stat()
        return cls(name=name, size_bytes=status.st_size, executable=bool(status.st_mode & 0o100))


def write(target: BinaryIO, members: Iterable[tuple[Member, bytes | Path]]) -> None:
    """Write an archive.

    Args:
        target: where to.
        members: in their order, each with its content or the file that has it.

    Raises:
        SpecInvalid: a name is too long, or a file was changed meanwhile.
    """
    for member, content in members:
        target.write(_header(member))
        written = 0
        if isinstance(content, bytes):
            written = target.write(content)
        else:
            with content.open("rb") as source:
                # One byte more than was announced: a file that grows is noticed as one that shrinks.
                while part := source.read(min(CHUNK_BYTES, member.size_bytes + 1 - written)):
                    written += target.write(part)
        if written != member.size_bytes:
            raise SpecInvalid(f"{member.name} was changed while it was read: try again")
        target.write(bytes(-written % _BLOCK))
    target.write(_END)


def read(source: BinaryIO) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Read an archive: its members in their order, each with its content, which must be read first.

    Raises:
        JobRefused: it is no archive of this kind, or holds more than a bundle may.
    """
    count = total = 0
    while True:
        block = source.read(_BLOCK)
        if block == _END[:_BLOCK]:
            break
        member = _parsed(block, count)
        count += 1
        total += member.size_bytes
        if count > BUNDLE_FILES_MAX or total > BUNDLE_BYTES_MAX:
            raise JobRefused(
                f"the bundle is too large: expected at most {BUNDLE_FILES_MAX} files and {BUNDLE_BYTES_MAX} bytes"
            )
        yield member, _content(source, member)
    if source.read(_BLOCK) != _END[_BLOCK:] or source.read(1):
        raise JobRefused("the bundle doesn't end where its last file does: pack it anew")


def _content(source: BinaryIO, member: Member) -> Iterator[bytes]:
    left = member.size_bytes
    while left:
        part = source.read(min(left, CHUNK_BYTES))
        if not part:
            raise JobRefused(f"the bundle ends within {member.name!r}: send it anew")
        left -= len(part)
        yield part
    padding = -member.size_bytes % _BLOCK
    if source.read(padding) != bytes(padding):
        raise JobRefused(f"the bundle holds something behind {member.name!r}: pack it anew")


def _header(member: Member) -> bytes:
    name, prefix = member.name.encode(), b""
    if len(name) > _NAME_BYTES:
        # The longest beginning that fits; a slash between the two is not written.
        cut = name.rfind(b"/", 0, _PREFIX_BYTES + 1)
        prefix, name = name[: max(cut, 0)], name[cut + 1 :]
        if not prefix or len(name) > _NAME_BYTES:
            raise SpecInvalid(
                f"{member.name!r} has too long a name for a bundle: expected at most {_NAME_BYTES} bytes behind the "
                f"last '/' that fits into {_PREFIX_BYTES}"
            )
    fields = (
        name.ljust(_NAME_BYTES, b"\0"),
        b"%07o\0" % (_EXECUTABLE if member.executable else _PLAIN),
        b"0000000\0" * 2,  # nobody's
        b"%011o\0" % member.size_bytes,
        b"00000000000\0",  # of no time
        b" " * 8,  # where the sum belongs
        b"0".ljust(1 + 100, b"\0"),  # a regular file, which is no link to another
        b"ustar\00000",
        bytes(32 + 32),  # nobody's
        b"0000000\0" * 2,  # no device
        prefix.ljust(_PREFIX_BYTES, b"\0"),
    )
    header = b"".join(fields).ljust(_BLOCK, b"\0")
    return header[:_SUM] + b"%06o\0 " % sum(header) + header[_SUM + 8 :]


def _parsed(block: bytes, number: int) -> Member:
    try:
        prefix, name = block[345:500].rstrip(b"\0"), block[:100].rstrip(b"\0")
        member = Member(
            name=(prefix + b"/" + name if prefix else name).decode(),
            size_bytes=int(block[124:135], 8),
            executable=int(block[100:107], 8) == _EXECUTABLE,
        )
        check_blob_name(member.name)
        known = member.size_bytes >= 0 and block == _header(member)
    except (ValueError, SpecInvalid, UnsafeName):
        known = False
    if not known:
        raise JobRefused(
            f"member {number} of the bundle is not a plain file as atoll packs them: expected no link, no device, "
            "no folder, and no name that leads out. Pack it with atoll"
        )
    return member
