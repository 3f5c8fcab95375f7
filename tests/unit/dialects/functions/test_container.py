"""A container is read only as far as its bytes go, and says what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.dialects.functions.container import (
    ALIGNMENT,
    HEADER_BYTES_MAX,
    Container,
    header_bytes,
    pack,
    unpack,
)
from atoll.model.errors import ReplyInvalid
from atoll.runtimes.held import MemoryFile


def container(header: bytes | dict[str, Any], rest: bytes = b"") -> bytes:
    """A container as it is written, with whatever header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    start = b"ATO1" + len(text).to_bytes(4, "big") + text
    return start + bytes(-len(start) % ALIGNMENT) + rest


def test_what_is_packed_is_read_again() -> None:
    value = {"a": [1, 2.5, None, True, "é\ud800"], "b": {}}

    packed = pack(value)

    assert value == unpack(packed).value
    assert 0 == len(packed) % ALIGNMENT


def test_a_container_in_memory_that_others_share_is_read_where_it_lies() -> None:
    content = container({"value": 1, "buffers": [[64, 5]]}, b"hello")

    read = unpack(MemoryFile.of(content))

    assert 1 == read.value
    assert b"hello" == read.buffer(0).tobytes()
    assert header_bytes(content) == header_bytes(MemoryFile.of(content))


def test_buffers_may_be_empty_and_lie_anywhere_after_the_header() -> None:
    content = container({"value": None, "buffers": [[128, 3], [64, 0], [64, 1]]}, b"x".ljust(64) + b"abc")

    read = unpack(content)

    assert [b"abc", b"", b"x"] == [read.buffer(number).tobytes() for number in range(3)]


@pytest.mark.parametrize("index", [2, -1, True, "0", None, 10**30])
def test_a_buffer_that_is_not_there_is_refused(index: object) -> None:
    read = unpack(container({"value": None, "buffers": [[64, 1], [64, 1]]}, b"x"))

    with pytest.raises(ReplyInvalid, match=r"names buffer .+, and the container has 2"):
        read.buffer(index)


MALFORMED: dict[str, bytes] = {
    "0 bytes are no container": b"",
    "6 bytes are no container": b"ATO1\0\0",
    "8 bytes are no container": b"ATO2\0\0\0\0",
    "should have 255 bytes, and only 2 are there": b"ATO1\0\0\0\xff{}",
    "is not UTF-8 .at byte 1.": container(b'"\xff"'),
    "is not JSON .at character 2.": container(b"[1"),
    "holds NaN, which JSON has no word for": container(b'{"value": NaN}'),
    "can't be read: Exceeds the limit": container(b'{"value": ' + b"1" * 5000 + b"}"),
    "is nested too deeply": container(b"[" * 100_000),
    "is no JSON object with a value": container(b"[]"),
    "no JSON object with a value": container({"values": 1}),
    "lists no buffers": container({"value": 1, "buffers": {}}),
    "buffer 0 of a container is not given by": container({"value": 1, "buffers": [64]}),
    "buffer 1 of a container is not given by": container({"value": 1, "buffers": [[64, 0], [64]]}),
    "buffer 0 .+ not given by an offset and a length": container({"value": 1, "buffers": [[64, 1.0]]}),
    "has 0 bytes from 65: expected a multiple of 64": container({"value": 1, "buffers": [[65, 0]]}, b"abc"),
    "has 0 bytes from 0": container({"value": 1, "buffers": [[0, 0]]}),
    "has 0 bytes from -64": container({"value": 1, "buffers": [[-64, 0]]}),
    "has -1 bytes from 64": container({"value": 1, "buffers": [[64, -1]]}, b"abc"),
    "has 4 bytes from 64": container({"value": 1, "buffers": [[64, 4]]}, b"abc"),
    "has 0 bytes from 128": container({"value": 1, "buffers": [[128, 0]]}, b"abc"),
}


@pytest.mark.parametrize(("words", "content"), MALFORMED.items())
def test_what_is_no_container_is_refused_with_what_is_wrong(words: str, content: bytes) -> None:
    with pytest.raises(ReplyInvalid, match=words):
        unpack(content)


@pytest.mark.parametrize("content", [b"", b"ATO1\0\0\0\xff{}"])
def test_held_bytes_are_judged_alike(content: bytes) -> None:
    with pytest.raises(ReplyInvalid, match=r"no container|only 2 are there"):
        header_bytes(MemoryFile.of(content))


def test_a_header_that_is_too_long_to_be_shown_is_not_read() -> None:
    content = container(b"[" * (HEADER_BYTES_MAX + 1))

    assert HEADER_BYTES_MAX + 1 == header_bytes(content)
    with pytest.raises(
        ReplyInvalid, match=r"expected at most 67108864\. Long lists of numbers travel better"
    ):
        unpack(content)


@given(st.binary(max_size=300), st.booleans())
def test_whatever_bytes_come_they_are_read_or_refused(content: bytes, begins: bool) -> None:
    try:
        read = unpack(b"ATO1\0\0\0" + content if begins else content)
    except ReplyInvalid:
        return
    assert isinstance(read, Container)


@given(st.data())
def test_a_container_that_was_changed_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    sound = container({"value": {"$array": ["<f8", [2], 0]}, "buffers": [[64, 16], [128, 3]]}, bytes(67))
    place = data.draw(st.integers(0, len(sound) - 1))
    byte = data.draw(st.integers(0, 255))
    try:
        read = unpack(sound[:place] + bytes([byte]) + sound[place + 1 :])
    except ReplyInvalid:
        return
    for number in range(2):
        try:
            assert len(read.buffer(number)) <= len(sound)
        except ReplyInvalid:
            continue
