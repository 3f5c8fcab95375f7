"""Bodies in memory files are only taken where nobody can change them any more."""

from __future__ import annotations

import fcntl
import os

import pytest

from atoll_algorithm import _memory


def memory_file(*seals: int) -> int:
    descriptor = os.memfd_create("body", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, b"content")
    for seal in seals:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seal)
    return descriptor


def test_a_file_that_can_not_change_is_read() -> None:
    descriptor = memory_file(fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE)

    assert b"content" == bytes(_memory.read(descriptor))


@pytest.mark.parametrize("missing", [fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE])
def test_a_file_that_could_change_is_refused(missing: int) -> None:
    seals = {fcntl.F_SEAL_SEAL, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE} - {missing}

    with pytest.raises(ValueError, match="without its seals"):
        _memory.read(memory_file(*sorted(seals, reverse=True)))
