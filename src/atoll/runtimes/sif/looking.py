"""Looks into an image without unpacking all of it: what it says of itself, and single files."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from atoll.engine.running import ImageKind
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.facts import ImageFacts
from atoll.runtimes.sif import described, unsquashing
from atoll.runtimes.sif.kept import Roots
from atoll.runtimes.sif.layout import Layout, read_layout
from atoll.runtimes.sif.paths import read

#: What is taken out of an image to know how it is started, and how deep its folders are followed.
_LOOKED_AT, _DEEP = (described.FOLDER, described.COMPUTATION), 3


async def facts_of(path: Path, *, cache: Path) -> ImageFacts:
    """What an image says of itself.

    Args:
        path: its file, or a folder with an unpacked root file system.
        cache: where `Roots` are kept on this machine.

    Raises:
        RuntimeUnavailable: there is no such image, or it can't be run here.
    """
    digest = await Roots(cache).digest_of(path)
    async with _opened(path, _LOOKED_AT, _DEEP) as (root, layout):
        found = await asyncio.to_thread(
            described.describe, root, None if layout is None else layout.configuration
        )
    return ImageFacts(
        kind=ImageKind.SIF,
        id=digest,
        name=str(path),
        environment=found.environment,
        entrypoint=found.entrypoint,
        command=found.command,
        working_directory=found.working_directory,
        labels=found.labels,
        exposed_ports=found.exposed_ports,
        architecture="" if layout is None else layout.architecture,
    )


async def read_file(path: Path, inner: str) -> bytes | None:
    """The content of a file of an image; None where there is none, or a larger one than is read.

    Args:
        path: the image's file, or a folder with an unpacked root file system.
        inner: absolute.

    Raises:
        RuntimeUnavailable: there is no such image, or it can't be run here.
    """
    async with _opened(path, [inner]) as (root, _):
        return await asyncio.to_thread(read, root, inner)


@asynccontextmanager
async def _opened(
    path: Path, paths: Sequence[str], depth: int | None = None
) -> AsyncIterator[tuple[Path, Layout | None]]:
    """A folder that has what lies at these paths in an image, and where its file has the rest."""
    if path.is_dir():
        yield path, None
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise RuntimeUnavailable(f"the image {path} can't be read: {error.strerror}") from error
    with file:
        layout = read_layout(file, str(path))
        folder = Path(tempfile.mkdtemp(prefix="atoll-image-"))
        try:
            yield (
                await unsquashing.extract_some(file.fileno(), layout, str(path), folder, paths, depth),
                layout,
            )
        finally:
            await asyncio.to_thread(unsquashing.remove, folder)
