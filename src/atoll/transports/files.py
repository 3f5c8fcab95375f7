"""Files over a connection: in parts, each sent again where it was cut off; fetched from where it was.

Memory is constant: what is not acknowledged is one part, and what is fetched is a chunk.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from atoll.engine.limits import CHUNK_BYTES, PART_BYTES
from atoll.model.errors import BlobMismatch, NotThere, Taken
from atoll.model.work import Blob, RunId
from atoll.transports import forms
from atoll.transports.connection import AGAIN, Connection
from atoll.transports.forms import Offset, Upload

OFFSET_HEADER = "Upload-Offset"
_HEADERS = {"Content-Type": "application/octet-stream"}


async def bring(connection: Connection, run_id: RunId, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
    """Bring a file to the hub; it is kept when this returns.

    Raises:
        BlobMismatch: the content has another digest or size.
    """
    announced = await connection.call(
        "POST",
        f"/runs/{run_id}/uploads",
        forms.encode(Upload(digest=blob.digest, size=blob.size_bytes)),
    )
    here = forms.offset.decode(announced.body)
    content = _Parts(chunks)
    while not here.whole:
        # What arrived before, when this node was cut off or another brought the same, isn't sent again.
        part = await content.part(here.offset)
        if content.end <= here.offset and content.end != blob.size_bytes:
            raise BlobMismatch(
                f"what was to be sent of {blob.name!r} has {content.end} bytes: expected {blob.size_bytes} bytes "
                f"with {blob.digest}. Was it written to meanwhile?"
            )
        here = await _send(connection, f"/runs/{run_id}/uploads/{blob.digest}", here.offset, part)
    if await content.has_more(blob.size_bytes):
        raise BlobMismatch(
            f"what was to be sent of {blob.name!r} has more bytes than were announced: expected {blob.size_bytes}"
        )


async def fetch(connection: Connection, run_id: RunId, blob: Blob) -> AsyncIterator[bytes]:
    """A file's content, in chunks. Who reads it verifies it.

    Raises:
        BlobMismatch: there is no such file for this node.
    """
    try:
        async with aclosing(fetch_path(connection, f"/runs/{run_id}/blobs/{blob.digest}")) as chunks:
            async for chunk in chunks:
                yield chunk
    except NotThere as error:
        raise BlobMismatch(f"nothing is kept of {blob.name!r} under {blob.digest}") from error


async def fetch_path(connection: Connection, path: str) -> AsyncGenerator[bytes]:
    """The content at a path. Where it is cut off, it goes on from there."""
    position = 0
    tries = connection.tries()
    while True:
        headers = {"Range": f"bytes={position}-"} if position else None
        try:
            async with connection.request("GET", path, headers=headers, accept=(416,)) as response:
                if response.status == 416:  # It ended just where it was cut off.
                    return
                # Who doesn't know ranges begins anew.
                skip = position if response.status == 200 else 0
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    new = chunk[skip:]
                    skip -= len(chunk) - len(new)
                    if new:
                        position += len(new)
                        tries.begin_anew()
                        yield new
                return
        except AGAIN as error:
            await tries.wait(error)


async def _send(connection: Connection, path: str, offset: int, part: list[bytes]) -> Offset:
    """Send a part until the hub says how much it has."""
    size_bytes = sum(map(len, part))
    headers = {**_HEADERS, OFFSET_HEADER: str(offset), "Content-Length": str(size_bytes)}

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in part:
            yield chunk

    tries = connection.tries()
    while True:
        try:
            async with connection.request(
                "PATCH", path, data=chunks if part else b"", headers=headers, accept=(409,)
            ) as response:
                here = forms.offset.decode(await response.read())
        except AGAIN as error:
            await tries.wait(error)
        else:
            if here.offset < offset:
                raise Taken(
                    f"the hub has lost the first {offset} bytes of a file on its way: "
                    "expected it to keep them. Do the job anew"
                )
            return here


class _Parts:
    """The content of a file, cut into parts that begin where they are asked for."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        #: What was read, from `_begin` on.
        self._kept: list[bytes] = []
        self._begin = 0
        #: How much was read so far.
        self.end = 0

    async def part(self, offset: int) -> list[bytes]:
        """The next part from here on; empty at the end."""
        self._forget(offset)
        while self.end < offset + PART_BYTES - CHUNK_BYTES:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                break
            self._kept.append(chunk)
            self.end += len(chunk)
            self._forget(offset)
        return self._kept

    async def has_more(self, size_bytes: int) -> bool:
        """Whether there is more than so many bytes."""
        if not self.end:
            return False  # The hub had it before, and nothing was read.
        async for chunk in self._chunks:
            self.end += len(chunk)
            if self.end > size_bytes:
                break
        return self.end > size_bytes

    def _forget(self, offset: int) -> None:
        """What lies before an offset isn't asked for again."""
        while self._kept and self._begin + len(self._kept[0]) <= offset:
            self._begin += len(self._kept.pop(0))
        if self._kept and self._begin < offset:
            self._kept[0] = self._kept[0][offset - self._begin :]
            self._begin = offset
