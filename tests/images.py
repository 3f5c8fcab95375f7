"""Images that a test makes for itself, of a base image and a few files. Nothing is fetched."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import aiodocker
import aiohttp
from tests.engines import Engine
from tests.stage import until

#: Seconds that a container may take to be removed which is being removed.
_PATIENCE = 10.0


@contextmanager
def made(engine: Engine, name: str, base: str, files: Mapping[str, str], *lines: str) -> Iterator[str]:
    """An image of a base with files in it, for as long as the context lasts.

    Args:
        engine: where it is made.
        name: what its own name, which is given, begins with.
        base: what it is made of.
        files: its further files, by their absolute paths.
        lines: further lines of its Dockerfile.
    """
    # Another process of tests may make, and remove, the same at this moment.
    name = f"{name}-{os.getpid()}"
    asyncio.run(_make(engine, name, base, files, lines))
    own = json.loads(engine.ask(f"/images/{name}/json")[1])["Id"]
    try:
        yield name
    finally:
        engine.ask(f"/images/{name}?force=true", "DELETE")
        # What a container runs on keeps its content, without a name, for as long as that.
        with suppress(TimeoutError):
            until(lambda: _is_gone(engine, own), f"{name} is removed", _PATIENCE)


def _is_gone(engine: Engine, own: str) -> bool:
    """Remove an image that has no name any more; whether it is gone, or somebody else's, too."""
    status, told = engine.ask(f"/images/{own}/json")
    if status != 200 or json.loads(told).get("RepoTags"):
        return True
    return engine.ask(f"/images/{own}", "DELETE")[0] != 409


async def _make(
    engine: Engine, name: str, base: str, files: Mapping[str, str], lines: tuple[str, ...]
) -> None:
    copied = [f"COPY files{path} {path}" for path in files]
    texts = {f"files{path}": text for path, text in files.items()}
    texts["Dockerfile"] = "\n".join([f"FROM {base}", *copied, *lines])
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for path, text in texts.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(text.encode()), 0o755
            archive.addfile(member, io.BytesIO(text.encode()))
    context.seek(0)
    connector = aiohttp.UnixConnector(path=str(engine.socket))
    client = aiodocker.Docker(url="unix://localhost", connector=connector)
    try:
        told = await client.images.build(
            fileobj=context, tag=name, encoding="identity", rm=True, forcerm=True
        )
        failures = [line["error"] for line in told if "error" in line]
        assert not failures, failures
    finally:
        await client.close()
        await connector.close()
