"""A process that puts a question before it answers.

A frame is its length in 8 bytes, the length of its head in 4, the head, which is JSON, and the body.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any, Tuple

line = socket.socket(fileno=int(os.environ["ATOLL_SERVE_FD"]))


def exactly(size: int) -> bytes:
    """So many bytes."""
    content = b""
    while len(content) < size:
        piece = line.recv(size - len(content))
        if not piece:
            sys.exit(0)
        content += piece
    return content


def receive() -> Tuple[Any, bytes]:
    """A frame's head and body."""
    content = exactly(int.from_bytes(exactly(8), "big"))
    end = 4 + int.from_bytes(content[:4], "big")
    return json.loads(content[4:end]), content[end:]


def send(head: Any, body: bytes = b"") -> None:
    """Say something."""
    text = json.dumps(head).encode()
    content = len(text).to_bytes(4, "big") + text + body
    line.sendall(len(content).to_bytes(8, "big") + content)


while True:
    asked, said = receive()
    send({"say": "call", "asked": asked["asked"]}, said)
    answer, told = receive()
    send({"say": "returned", "answer": answer["answer"]}, told)
