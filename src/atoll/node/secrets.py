"""Files that hold secrets: read and written so that only their owner can."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from atoll.model.errors import SpecInvalid

#: More than a key, a password or an address with one ever has.
_BYTES_MAX = 64 * 1024


def read_secret(path: Path) -> str:
    """What is in a file that only its owner can read, without the line's end.

    Raises:
        SpecInvalid: it is not there, others can read it, or it is no text. Never with what is in it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise SpecInvalid(f"the file {path} can't be read ({reason}): expected a secret in it") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise SpecInvalid(f"{path} is no file: expected a secret in it")
    with open(descriptor, "rb") as file:
        if status.st_mode & 0o077:
            raise SpecInvalid(
                f"the file {path} can be read by others than its owner (mode {status.st_mode & 0o777:04o}): "
                f"chmod 600 {path}"
            )
        content = file.read(_BYTES_MAX + 1)
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SpecInvalid(f"the file {path} holds no text: expected a secret in it") from None
    if not text or len(content) > _BYTES_MAX:
        raise SpecInvalid(f"the file {path} is empty or very large: expected one secret in it")
    return text


def write_secret(path: Path, secret: str) -> None:
    """Keep a secret in a file that only its owner can read. What was there is replaced at once."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(f"{secret}\n")
        file.flush()
        os.fsync(descriptor)
    aside.replace(path)
