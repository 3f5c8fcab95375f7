"""Before a call: bring in what was sent, verified, and put files where the dialect says."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

from atoll.engine.limits import CHUNK_BYTES
from atoll.engine.ports import Convention, Folder, HubLink
from atoll.model.errors import BlobMismatch, InputMissing
from atoll.model.work import Blob, Content, Message, RunId, Ticket
from atoll.node import guarded
from atoll.node.desk import Desk


async def bodies(link: HubLink, ticket: Ticket) -> list[Content]:
    """The bodies of the ticket's messages, in their order.

    Raises:
        BlobMismatch: what arrived is not what was announced.
    """
    return [await body(link, ticket.job.run_id, message) for message in ticket.inbox]


async def body(link: HubLink, run_id: RunId, message: Message) -> Content:
    """The body of a message.

    Raises:
        BlobMismatch: what arrived is not what was announced.
    """
    if message.body_blob is None:
        return message.body
    return b"".join([chunk async for chunk in _verified(link, run_id, message.body_blob)])


async def files(link: HubLink, ticket: Ticket, convention: Convention, desk: Desk) -> int:
    """Put every file that came with the ticket's messages into its place; return how many.

    Raises:
        BlobMismatch: what arrived is not what was announced. Nothing is put in its place then.
        UnsafeName: a file's name would lead somewhere else.
    """
    count = 0
    for message in ticket.inbox:
        for blob in message.blobs:
            place = convention.place(ticket, message.sender, blob.name)
            with guarded.creating(desk.make(place.folder), place.name) as file:
                async for chunk in _verified(link, ticket.job.run_id, blob):
                    file.write(chunk)
            count += 1
    return count


def carry(names: Sequence[str], desk: Desk) -> None:
    """Copy files that an earlier step left in the output folder to where this step reads.

    Raises:
        InputMissing: a file or folder of this name is not there.
        UnsafeName: a name leads out of the output folder, or to something that is no file.
    """
    for wanted in names:
        try:
            for name, source in guarded.regular_files(desk.folders[Folder.OUTPUT], wanted):
                with guarded.creating(desk.folders[Folder.BASE], name) as file:
                    while chunk := source.read(CHUNK_BYTES):
                        file.write(chunk)
        except FileNotFoundError as error:
            raise InputMissing(
                f"an earlier step's output names a file {wanted!r}, which is not in the output directory of "
                "that step: expected the step to write it there"
            ) from error


async def _verified(link: HubLink, run_id: RunId, blob: Blob) -> AsyncIterator[bytes]:
    digest = hashlib.sha256()
    size_bytes = 0
    loop = asyncio.get_running_loop()
    async for chunk in link.get_blob(run_id, blob):
        digested = loop.run_in_executor(None, digest.update, chunk)  # while the reader writes it
        size_bytes += len(chunk)
        yield chunk
        await digested
    if (f"sha256:{digest.hexdigest()}", size_bytes) != (blob.digest, blob.size_bytes):
        raise BlobMismatch(f"what arrived as {blob.name!r} is not what was sent: its digest differs")
