"""The host's end of a served process's socket: frames, each behind its length in eight bytes.

What comes is from an algorithm, and may be anything. Nothing is read that nobody waits for, no
more memory is taken than has arrived, and a descriptor that isn't asked for is closed.
"""

from __future__ import annotations

import asyncio
import socket
from array import array
from collections.abc import Sequence

from atoll.model.errors import JobFailed, LimitReached, ReplyInvalid
from atoll.runtimes.aside import ROOM, close_aside, descriptors_of, leave
from atoll.runtimes.held import MemoryFile
from atoll.runtimes.streams import too_large

#: Bytes of one read: more than a Unix socket holds.
_READ_BYTES = 256 * 1024
#: Reads of one frame before other work of the loop gets its turn.
_READS_AT_A_TIME = 16
_LENGTH_BYTES = 8
#: As numbers: each operation on an enum's member costs as much as a read.
_FLAGS, _CUT = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_CTRUNC)

#: A frame's content, and the file that came with it.
Frame = tuple[bytes, MemoryFile | None]


class Line:
    """Frames over a socket.

    Args:
        connection: this end of it; taken over.
        body_bytes_max: the most that a body may hold, in a frame or in a file that comes with it.
        around_bytes_max: the most that a frame may hold beside its body.
        files: whether a memory file may come with a frame.
    """

    def __init__(
        self, connection: socket.socket, *, body_bytes_max: int, around_bytes_max: int, files: bool
    ) -> None:
        self._connection = connection
        # The loop takes long to describe an object that it doesn't know yet.
        self._descriptor = connection.fileno()
        self._body_bytes_max = body_bytes_max
        self._around_bytes_max = around_bytes_max
        self._files = files
        self._loop = asyncio.get_running_loop()
        #: Who waits for a frame, and who for room to write.
        self._waiter: asyncio.Future[Frame | None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._watched = False
        self._length = bytearray()
        #: What came of the frame: all of it in one piece, or what is copied together.
        self._content: bytes | bytearray = b""
        #: Bytes of the frame that are still to come; None before its length is known.
        self._missing: int | None = None
        self._file: MemoryFile | None = None
        #: Whether the process has ended: what it said is there, and no more comes.
        self._ended = False
        self._open = True
        connection.setblocking(False)

    async def send(self, parts: Sequence[bytes], descriptor: int | None = None) -> None:
        """Send a frame whose content is these parts, one after another.

        Returns when all is sent, or nobody is there to read it.

        Args:
            parts: its content, without its length.
            descriptor: goes with its first byte.
        """
        length = sum(map(len, parts)).to_bytes(_LENGTH_BYTES, "big")
        rest = [memoryview(part) for part in (length, *parts) if part]
        extras = (
            [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))]
        )
        while rest and self._open and not self._ended:
            try:
                count = self._connection.sendmsg(rest, extras)
            except BlockingIOError:
                await self._until_writable()
                continue
            except OSError:
                return  # whoever reads the answer finds out what happened
            extras = []
            while rest and count >= len(rest[0]):
                count -= len(rest.pop(0))
            if count:
                rest[0] = rest[0][count:]

    async def receive(self) -> Frame | None:
        """The next frame's content, with the file that came with it; None where the process has gone.

        Raises:
            LimitReached: the frame, or its file, is larger than it may be.
            ReplyInvalid: a descriptor came that may not come.
        """
        if not self._open:
            return None
        waiter: asyncio.Future[Frame | None] = self._loop.create_future()
        self._waiter = waiter
        self._watch(on=True)
        if self._ended:
            self._read_to_end()
        return await waiter

    def finish(self, _ended: object = None) -> None:
        """The process has ended: what it still said can be received, and no more is waited for."""
        self._ended = True
        self._wake_writer()
        self._read_to_end()

    def close(self) -> None:
        """Close the line; who waits for a frame gets None."""
        if self._open:
            self._open = False
            self._watch(on=False)
            self._loop.remove_writer(self._descriptor)
            leave(self._connection)
            self._content = b""
            self._file = None
            self._wake_writer()
            self._settle(None)

    def _notice(self) -> None:
        """Something came, or the other end has closed."""
        if self._waiter is None or self._waiter.done():
            self._watch(on=False)  # nobody asked: it waits, and costs no turn of the loop
            return
        for _ in range(_READS_AT_A_TIME):
            if not self._advance():
                return

    def _read_to_end(self) -> None:
        """Read a frame for whoever waits, or tell that there is none."""
        while self._waiter is not None:
            if not self._advance() and self._waiter is not None:
                self.close()

    def _advance(self) -> bool:
        """Read once for whoever waits; whether there may be more for it."""
        try:
            came = self._read()
        except (LimitReached, ReplyInvalid) as error:
            self._settle(error)
            return False
        if self._missing == 0:
            content, file = self._content, self._file
            self._content, self._file, self._missing = b"", None, None
            self._settle((bytes(content), file))  # which copies nothing that came in one piece
        return came and self._waiter is not None

    def _settle(self, what: Frame | JobFailed | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if isinstance(what, JobFailed):
            waiter.set_exception(what)
        else:
            waiter.set_result(what)

    def _read(self) -> bool:
        """Read once; whether anything came."""
        within = self._missing is not None
        wanted = min(self._missing or 0, _READ_BYTES) if within else _LENGTH_BYTES - len(self._length)
        try:
            piece, extras, flags, _ = self._connection.recvmsg(wanted, ROOM, _FLAGS)
        except BlockingIOError:
            return False
        except OSError:
            piece, extras, flags = b"", [], 0
        if extras or flags & _CUT:
            whole = not flags & _CUT
            self._take_file(extras, expected=whole and not within and not self._length)
        if not piece:
            self.close()
            return False
        if self._missing is not None:
            self._missing -= len(piece)
            self._add(piece)
        else:
            self._length += piece
            if len(self._length) == _LENGTH_BYTES:
                self._begin(int.from_bytes(self._length, "big"))
        return True

    def _begin(self, size_bytes: int) -> None:
        self._length.clear()
        if size_bytes > self._body_bytes_max + self._around_bytes_max:
            raise too_large(self._body_bytes_max)
        self._missing = size_bytes

    def _add(self, piece: bytes) -> None:
        if not self._content:
            self._content = piece
            return
        # Pieces of a few bytes each would take many times their size if they were kept as such.
        if not isinstance(self._content, bytearray):
            self._content = bytearray(self._content)
        self._content += piece

    def _take_file(self, extras: Sequence[tuple[int, int, bytes]], *, expected: bool) -> None:
        files = descriptors_of(extras)
        if not self._files or not expected or len(files) != 1:
            close_aside(files)
            raise ReplyInvalid(
                "the algorithm sent descriptors that nobody expects: a frame may bring one, with its first byte, "
                "of a sealed memory file"
            )
        self._file = MemoryFile.received(files[0], self._body_bytes_max)

    async def _until_writable(self) -> None:
        self._writable = self._loop.create_future()
        self._loop.add_writer(self._descriptor, self._wake_writer)
        try:
            await self._writable
        finally:
            if self._open:
                self._loop.remove_writer(self._descriptor)

    def _watch(self, *, on: bool) -> None:
        if on != self._watched:
            self._watched = on
            if on:
                self._loop.add_reader(self._descriptor, self._notice)
            else:
                self._loop.remove_reader(self._descriptor)

    def _wake_writer(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
