"""What an algorithm sends is closed without waiting for it, and so much of it only."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from array import array

import pytest
from tests.descriptors import descriptors

from atoll.runtimes.aside import receive
from atoll.runtimes.warm import MustStartCold, Parent, begin


def lingering() -> tuple[socket.socket, socket.socket]:
    """A connection whose one end takes its time to close, until the other is closed: not all of it is read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = socket.create_connection(server.getsockname())
        writer = server.accept()[0]
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    writer.setblocking(False)
    try:
        while True:
            writer.send(bytes(65_536))
    except BlockingIOError:
        return reader, writer


def send(line: socket.socket, text: bytes, files: list[int]) -> None:
    line.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", files))])


def closing() -> int:
    return sum(thread.name == "close" for thread in threading.enumerate())


def test_a_box_that_sends_descriptors_again_and_again_is_heard_no_more() -> None:
    """Each of them may keep a thread of the node's for as long as the box likes."""

    async def go() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        before = closing()
        parent = Parent(None, ours, isolated=True)
        pairs = [lingering() for _ in range(5)]
        for _, writer in pairs:
            send(theirs, b'{"started": 1, "pid": 1}', [writer.fileno()])
            writer.close()
        try:
            while parent.alive:
                await asyncio.sleep(0)
            # One for what has come, and one for the line with all that still lies in it.
            assert closing() - before <= 2
        finally:
            theirs.close()
            for reader, _ in pairs:
                reader.close()

    asyncio.run(go())


def test_a_box_that_begins_with_descriptors_is_none() -> None:
    async def go() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            send(theirs, b'{"ready": true}', [0])
            await begin(ours, {})

    with pytest.raises(MustStartCold, match="that nobody had asked for"):
        asyncio.run(go())


def test_a_message_without_descriptors_is_received() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(b"words")
        assert receive(ours, 100) == b"words"


def test_what_nobody_has_asked_for_is_closed() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        before = descriptors()
        send(theirs, b"words", [0, theirs.fileno()])
        with pytest.raises(OSError, match="that nobody had asked for"):
            receive(ours, 100)
        assert descriptors() == before
