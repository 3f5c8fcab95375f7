"""Frames over a socket: a head, and a body that travels in the frame or as a sealed memory file.

::

    8 bytes L | 4 bytes H | H bytes of JSON | L - 4 - H bytes of body
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any, Dict, List, Optional, Tuple

from atoll_algorithm import _memory
from atoll_algorithm._body import size

#: From this size on a body travels as a memory file: it is then copied once, not thrice.
MEMORY_BYTES_MIN = 256 * 1024
_DESCRIPTOR_BYTES = 4
_dump = json.JSONEncoder(separators=(",", ":")).encode
_load = json.JSONDecoder().decode


class Line:
    """One end of the line."""

    def __init__(self, endpoint: socket.socket) -> None:
        self._endpoint = endpoint

    def send(self, head: Dict[str, Any], pieces: List[Any]) -> None:
        """Send a frame.

        Raises:
            OSError: The other end is gone.
        """
        words = _dump(head).encode("utf-8")
        length = size(pieces)
        if length >= MEMORY_BYTES_MIN:
            descriptor = _memory.write(pieces)
            if descriptor is not None:
                try:
                    self._send_with(_frame(words, 0) + words, descriptor)
                finally:
                    os.close(descriptor)
                return
        if length < MEMORY_BYTES_MIN:
            self._endpoint.sendall(b"".join([_frame(words, length), words, *pieces]))
            return
        self._endpoint.sendall(_frame(words, length) + words)
        for piece in pieces:
            self._endpoint.sendall(piece)

    def _send_with(self, content: bytes, descriptor: int) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor.to_bytes(4, _ORDER))]
        sent = self._endpoint.sendmsg([content], rights)
        if sent < len(content):
            self._endpoint.sendall(content[sent:])

    def receive(self) -> Optional[Tuple[Dict[str, Any], Any]]:
        """The next frame's head and body, or None: the other end has closed the line.

        Raises:
            ValueError: What came is no frame.
            OSError: The line broke within a frame.
        """
        start, descriptor = self._start()
        if not start:
            return None
        length, head_length = int.from_bytes(start[:8], "big"), int.from_bytes(start[8:], "big")
        if head_length + 4 > length:
            raise ValueError("a frame of %d bytes has a head of %d" % (length, head_length))
        head = _load(str(self._exactly(head_length), "utf-8"))
        body: Any = b""
        if length > head_length + 4:
            body = self._exactly(length - head_length - 4).toreadonly()
        if descriptor is not None:
            body = _memory.read(descriptor)
        return head, body

    def _start(self) -> Tuple[bytes, Optional[int]]:
        """The two lengths, and the descriptor that came with them."""
        space = socket.CMSG_SPACE(_DESCRIPTOR_BYTES)
        start, messages, _, _ = self._endpoint.recvmsg(12, space, socket.MSG_CMSG_CLOEXEC)
        descriptor = None
        for level, kind, content in messages:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptor = int.from_bytes(content[:_DESCRIPTOR_BYTES], _ORDER)
        if start and len(start) < 12:
            start += bytes(self._exactly(12 - len(start)))
        return start, descriptor

    def _exactly(self, length: int) -> memoryview:
        content = memoryview(bytearray(length))
        have = 0
        while have < length:
            got = self._endpoint.recv_into(content[have:])
            if not got:
                raise ConnectionError("the line ended within a frame")
            have += got
        return content


def _frame(words: bytes, length: int) -> bytes:
    return (4 + len(words) + length).to_bytes(8, "big") + len(words).to_bytes(4, "big")


_ORDER: Any = __import__("sys").byteorder
