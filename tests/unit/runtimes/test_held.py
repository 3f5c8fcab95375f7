"""Sealed memory files: whole, shared, and never changed."""

from __future__ import annotations

import fcntl
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.errors import LimitReached, ReplyInvalid
from atoll.runtimes.held import MemoryFile, map_held, open_again


@given(st.binary(max_size=10_000))
def test_content_is_what_was_put_in(content: bytes) -> None:
    held = MemoryFile.of(content)

    assert (content, content, len(content)) == (held.read(), bytes(map_held(held)), held.size_bytes)
    assert content == MemoryFile.of(memoryview(bytearray(content))).read()


def test_nothing_of_it_can_be_changed() -> None:
    held = MemoryFile.of(b"kept")

    for change in (
        lambda: os.pwrite(held.fileno(), b"x", 0),
        lambda: os.ftruncate(held.fileno(), 1),
        lambda: os.ftruncate(held.fileno(), 10),
        lambda: fcntl.fcntl(held.fileno(), fcntl.F_ADD_SEALS, 0),
    ):
        with pytest.raises(PermissionError):
            change()
    assert b"kept" == held.read()


def test_descriptor_lives_as_long_as_it() -> None:
    before = os.listdir("/proc/self/fd")

    held = MemoryFile.of(b"x")
    there = os.fstat(held.fileno()).st_size
    del held

    assert (1, before) == (there, os.listdir("/proc/self/fd"))


def test_mapped_content_outlives_it() -> None:
    view = memoryview(map_held(MemoryFile.of(b"mapped")))

    assert b"mapped" == bytes(view)


def test_position_is_nobody_elses() -> None:
    """Who reads at one descriptor moves no other; what is opened again can only be read."""
    held = MemoryFile.of(b"abc")
    again = open_again(held.fileno())
    try:
        assert b"abc" == os.read(again, 10)
        assert b"abc" == held.read()
        assert 0 == os.lseek(held.fileno(), 0, os.SEEK_CUR) - 3  # where writing has left it
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(again, b"x")
    finally:
        os.close(again)


def test_file_that_an_algorithm_has_closed_to_others_is_opened_again() -> None:
    """Whoever was given the file runs as the same user, and can't keep it from those who come later."""
    held = MemoryFile.of(b"abc")
    os.fchmod(held.fileno(), 0)

    again = open_again(held.fileno())

    try:
        assert b"abc" == os.read(again, 10)
    finally:
        os.close(again)


def test_received_file_is_taken_over() -> None:
    """Its descriptor is closed, whether it is taken or not."""
    before = os.listdir("/proc/self/fd")

    sent = MemoryFile.of(b"abc")
    held = MemoryFile.received(os.dup(sent.fileno()), 3)
    assert b"abc" == held.read()
    with pytest.raises(LimitReached, match="more than 2 bytes"):
        MemoryFile.received(os.dup(held.fileno()), 2)
    with pytest.raises(ReplyInvalid, match="other than a sealed memory file"):
        MemoryFile.received(os.memfd_create("open"), 3)
    del sent, held

    assert before == os.listdir("/proc/self/fd")
