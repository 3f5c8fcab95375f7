"""Blobs in a folder: one file per digest, so that no file is ever held in memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from atoll.engine.limits import CHUNK_BYTES
from atoll.model.errors import BlobMismatch
from atoll.model.work import Blob


class FolderBlobStore:
    """Keeps content under `root`, which is made when the first blob comes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Written aside and renamed when it is whole: a reader never meets half a blob.
        handle, name = tempfile.mkstemp(dir=self._root, prefix=".arriving-")
        try:
            with open(handle, "wb", buffering=0) as file:
                digest, size_bytes = await self._copy(chunks, file.fileno())
            if (digest, size_bytes) != (blob.digest, blob.size_bytes):
                raise BlobMismatch(
                    f"what arrived of {blob.name!r} is {size_bytes} bytes with {digest}: "
                    f"expected {blob.size_bytes} bytes with {blob.digest}"
                )
            os.replace(name, self._path(blob))
        finally:
            Path(name).unlink(missing_ok=True)

    async def _copy(self, chunks: AsyncIterator[bytes], handle: int) -> tuple[str, int]:
        digest = hashlib.sha256()
        size_bytes = 0
        loop = asyncio.get_running_loop()
        async for chunk in chunks:
            # In a thread, beside the writing: digesting is the slowest part, and a gigabyte must
            # not keep the other seats waiting.
            digested = loop.run_in_executor(None, digest.update, chunk)
            size_bytes += os.write(handle, chunk)
            await digested
        return f"sha256:{digest.hexdigest()}", size_bytes

    async def get(self, blob: Blob) -> AsyncIterator[bytes]:
        try:
            file = self._path(blob).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise BlobMismatch(f"nothing is kept of {blob.name!r} under {blob.digest}") from error
        with file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    async def clear(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)

    def _path(self, blob: Blob) -> Path:
        kind, _, digits = blob.digest.partition(":")
        if kind != "sha256" or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
            raise BlobMismatch(f"{blob.digest!r} is not a digest: expected sha256: and 64 hexadecimal digits")
        return self._root / digits
