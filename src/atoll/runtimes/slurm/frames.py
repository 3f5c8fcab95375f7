"""What a job and its node say to each other, in frames: a head that JSON can say, and a body.

::

    frame   head's length (4) | head | body
    piece   last or not (1) | a part of a frame | proof (32)

A frame travels in pieces, so that nobody waits long for a sign of life. Each piece is proven by a key that
both sides have made of the session's secret, with its number and its direction: nothing can be added, left
out, repeated or changed by whoever sits between them. What it says can be read there: the site's own network
carries it, as it carries the workspace's files.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from atoll.engine.limits import CHUNK_BYTES
from atoll.engine.running import whole
from atoll.model.errors import AtollError
from atoll.model.work import Content
from atoll.runtimes.held import MemoryFile

#: Bytes of a head: that of a function's frame, and what stands around it.
HEAD_BYTES_MAX = 2 * 1024 * 1024
#: The word of a head that says that the body is held in memory by a file.
_HELD = "held"
_LENGTH_BYTES = 4
_PROOF_BYTES = 32
#: Bytes of a piece: a part of a frame, and what stands around it.
PIECE_BYTES_MAX = CHUNK_BYTES + 1 + _PROOF_BYTES
#: Bytes of a secret, and of what each side draws for a connection.
SECRET_BYTES = 32
# A federation's file may hold dates, which JSON has no word for.
_write = json.JSONEncoder(default=str).encode


class LineBrokenError(AtollError):
    """The other side is gone, silent, or not who it should be."""


class Pieces(Protocol):
    """Carries pieces between a job and its node, each as it is and in their order."""

    async def send(self, piece: bytes) -> None:
        """Send one.

        Raises:
            LineBrokenError: nobody is there.
        """
        ...

    async def receive(self) -> bytes:
        """The next one.

        Raises:
            LineBrokenError: the other side has gone.
        """
        ...

    async def close(self) -> None:
        """Send nothing any more. May be called twice."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What the two sides prove their pieces with."""

    node: bytes
    seat: bytes

    @classmethod
    def of(cls, secret: bytes, drawn: bytes) -> Keys:
        """The keys of one connection: with what both sides have drawn for it."""
        return cls(node=prove(secret, b"from node", drawn), seat=prove(secret, b"from seat", drawn))


def prove(secret: bytes, *parts: bytes) -> bytes:
    """What only who knows the secret can say of these."""
    proof = hmac.new(secret, digestmod=hashlib.sha256)
    for part in parts:  # Not put together first: a part may be large.
        proof.update(len(part).to_bytes(8, "big"))
        proof.update(part)
    return proof.digest()


class Frames:
    """One side's end of a line of frames.

    Args:
        pieces: carries them.
        own: proves what is sent.
        others: proves what comes.
        body_bytes_max: the most that a frame's body may hold.
    """

    def __init__(self, pieces: Pieces, *, own: bytes, others: bytes, body_bytes_max: int) -> None:
        self._pieces = pieces
        self._own = own
        self._others = others
        self._bytes_max = body_bytes_max + HEAD_BYTES_MAX + _LENGTH_BYTES
        self._sent = 0
        self._received = 0
        self._sending = asyncio.Lock()
        self._closed = False
        #: When the other side was last heard of.
        self.heard = time.monotonic()

    async def send(self, head: Mapping[str, Any], body: Content = b"") -> None:
        """Send a frame. A body that is held arrives as one that is held there.

        Raises:
            LineBrokenError: nobody is there.
        """
        words = head if isinstance(body, bytes) else {**head, _HELD: True}
        text = _write(words).encode("ascii")
        rest = memoryview(b"".join((len(text).to_bytes(_LENGTH_BYTES, "big"), text, whole(body))))
        # Whoever stops to wait has sent a part of it: what would come next is no frame any more.
        async with self._sending:
            if self._closed:
                raise LineBrokenError("the line is closed")
            try:
                while True:
                    part, rest = rest[:CHUNK_BYTES], rest[CHUNK_BYTES:]
                    await self._send_piece(bytes(part), last=not rest)
                    if not rest:
                        return
            except asyncio.CancelledError:
                if rest:
                    self._closed = True
                raise

    async def receive(self) -> tuple[dict[str, Any], Content]:
        """The next frame.

        Raises:
            LineBrokenError: the other side has gone, or says what it should not.
        """
        parts: list[bytes] = []
        size_bytes = 0
        last = False
        while not last:
            last, part = self._checked(await self._pieces.receive())
            parts.append(part)
            size_bytes += len(part)
            if size_bytes > self._bytes_max:
                raise LineBrokenError(
                    f"a frame has more than {self._bytes_max} bytes, the most that it may have"
                )
        frame = parts[0] if len(parts) == 1 else b"".join(parts)
        end = _LENGTH_BYTES + int.from_bytes(frame[:_LENGTH_BYTES], "big")
        try:
            head = json.loads(frame[_LENGTH_BYTES:end])
        except (ValueError, RecursionError):
            head = None
        if not isinstance(head, dict) or end > len(frame):
            raise LineBrokenError("a frame has no head that is a JSON object")
        body = frame[end:]
        return head, MemoryFile.of(body) if head.pop(_HELD, False) else body

    async def close(self) -> None:
        """Say nothing any more. May be called twice."""
        self._closed = True
        await self._pieces.close()

    async def _send_piece(self, part: bytes, *, last: bool) -> None:
        text = (b"\x01" if last else b"\x00") + part
        number, self._sent = self._sent, self._sent + 1
        await self._pieces.send(text + prove(self._own, number.to_bytes(8, "big"), text))

    def _checked(self, piece: bytes) -> tuple[bool, bytes]:
        text, proof = piece[:-_PROOF_BYTES], piece[-_PROOF_BYTES:]
        number, self._received = self._received, self._received + 1
        if not text or not hmac.compare_digest(prove(self._others, number.to_bytes(8, "big"), text), proof):
            raise LineBrokenError("what came is not proven by the session's secret")
        self.heard = time.monotonic()
        return text[0] == 1, text[1:]


async def keep_alive(frames: Frames, *, beat_seconds: float, silent_seconds: float) -> None:
    """Give signs of life, and return when there were none of the other side for too long, or it has gone."""
    while (left_seconds := frames.heard + silent_seconds - time.monotonic()) > 0:
        try:
            # Where the other side takes nothing any more, nothing can be sent either.
            async with asyncio.timeout(left_seconds):
                await frames.send({"say": "beat"})
        except LineBrokenError:
            return
        except TimeoutError:
            continue
        await asyncio.sleep(beat_seconds)
