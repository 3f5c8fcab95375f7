"""After a call: send what was left in the transfer folder, and a body that is too large.

Every blob is acknowledged before the message that names it is sent. So nobody ever waits for
a file that a message promised.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from io import FileIO

from atoll.engine.limits import (
    BODY_BYTES_INSIDE_MAX,
    CHUNK_BYTES,
    FILE_BYTES_PER_CALL_MAX,
    FILES_PER_CALL_MAX,
)
from atoll.engine.ports import Folder, HubLink
from atoll.model.errors import LimitReached
from atoll.model.work import Blob, Content, Message, MessageId, RunId, Seat
from atoll.node import guarded
from atoll.node.desk import Desk


async def message(
    link: HubLink,
    run_id: RunId,
    message_id: MessageId,
    *,
    sender: Seat,
    readers: tuple[Seat, ...],
    body: Content,
    blobs: tuple[Blob, ...] = (),
) -> Message:
    """A message, its body stored beside it where it is large and not held in memory."""
    large = None
    if isinstance(body, bytes) and len(body) > BODY_BYTES_INSIDE_MAX:
        digest = f"sha256:{(await asyncio.to_thread(hashlib.sha256, body)).hexdigest()}"
        large = Blob(name="body", digest=digest, size_bytes=len(body))
        await link.put_blob(run_id, large, _slices(body))
    return Message(
        id=message_id,
        sender=sender,
        readers=readers,
        body=b"" if large else body,
        body_blob=large,
        blobs=blobs,
    )


async def files(link: HubLink, run_id: RunId, desk: Desk) -> tuple[Blob, ...]:
    """Send every file in the transfer folder, then empty it.

    Raises:
        LimitReached: there are more files than one call may send, or larger ones.
        UnsafeName: something there is neither a file nor a folder.
    """
    folder = desk.folders[Folder.TRANSFER]
    if guarded.is_empty(folder):
        return ()
    blobs: list[Blob] = []
    room_bytes = FILE_BYTES_PER_CALL_MAX
    for name, file in guarded.regular_files(folder):
        if len(blobs) == FILES_PER_CALL_MAX:
            raise LimitReached(
                f"the transfer directory holds more than {FILES_PER_CALL_MAX} files, the most that one "
                "call may send. Send an archive"
            )
        unwanted = threading.Event()
        try:
            blob = await asyncio.to_thread(_described, name, file, room_bytes, unwanted)
        finally:
            unwanted.set()
        await link.put_blob(run_id, blob, _chunks(file, blob.size_bytes))
        room_bytes -= blob.size_bytes
        blobs.append(blob)
    guarded.empty(folder)
    return tuple(blobs)


def _described(name: str, file: FileIO, room_bytes: int, unwanted: threading.Event) -> Blob:
    """The blob of a file. Whoever still writes to it may not keep this thread: it stops at the bound."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    size_bytes = os.fstat(file.fileno()).st_size  # of a large file it says at once what reading would
    read_bytes = 0
    while size_bytes <= room_bytes and not unwanted.is_set() and (count := file.readinto(buffer)):
        digest.update(buffer[:count])
        read_bytes += count
        size_bytes = max(size_bytes, read_bytes)
    if size_bytes > room_bytes:
        raise LimitReached(
            f"the files in the transfer directory, with {name!r}, have more than {FILE_BYTES_PER_CALL_MAX} "
            "bytes, the most that one call may send. Send less, or in more calls"
        )
    file.seek(0)
    return Blob(name=name, digest=f"sha256:{digest.hexdigest()}", size_bytes=read_bytes)


async def _chunks(file: FileIO, size_bytes: int) -> AsyncIterator[bytes]:
    """A file's content, and a little more where it has grown: then it's another's than was said."""
    while size_bytes >= 0 and (chunk := file.read(CHUNK_BYTES)):
        size_bytes -= len(chunk)
        yield chunk


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), CHUNK_BYTES):
        yield bytes(view[start : start + CHUNK_BYTES])
