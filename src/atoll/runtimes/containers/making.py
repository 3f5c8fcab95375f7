"""Making images: the engine builds what it is given, and brings it to a registry."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import aiohttp
from aiodocker.exceptions import DockerError

from atoll.engine.limits import PULL_SECONDS_MAX
from atoll.model.errors import BuildFailed, RuntimeUnavailable
from atoll.runtimes.containers.engine import BREAKS, Engine
from atoll.runtimes.containers.pulling import Arrived, pull
from atoll.runtimes.containers.reference import read_reference

#: Who pushes without a name. What the library says for nobody is no answer to Podman.
_NOBODY = {"username": "", "password": ""}
#: Lines of a build's log that an error ends with.
_LINES_TOLD = 20
#: How both engines say, at the end, what a registry calls an image. Podman's own inspection says another.
_DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64})")
#: Characters of a line: a label may have thousands.
_LINE_MAX = 400
_ON_THE_WAY = re.compile(r" ?--->? |--> |Removing intermediate container |[0-9a-f]{64}$")
#: Colours and cursors, which some programs write even where no terminal is.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

Hear = Callable[[str], None]
"""Takes a line of what the engine says while it works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An image that an engine has made."""

    #: Its id: ``sha256:`` and 64 hexadecimal digits.
    id: str
    size_bytes: int


async def fetch_base(engine: Engine, base: str, *, hear: Hear) -> None:
    """See that the image which another is made on is there, or fetch it.

    Raises:
        RuntimeUnavailable: it can't be had, or the engine doesn't answer.
    """
    if await engine.facts(base) is not None:
        return
    hear(f"Fetching {base}")
    reference = read_reference(base)
    digest = base.partition("@")[2]
    name = reference.at(digest) if digest else f"{reference.repository}:{reference.tag or 'latest'}"
    try:
        await pull(await engine.open(), name, credentials=None, tell=_unheard)
    except RuntimeUnavailable as error:
        raise RuntimeUnavailable(f"the base {base} is not on this machine: {error}") from None


def _unheard(_: Arrived) -> None:
    """Hear nothing of how much has arrived."""


async def make_image(
    engine: Engine, context: BinaryIO, dockerfile: str, name: str, labels: Mapping[str, str], *, hear: Hear
) -> Made:
    """Let the engine build an image.

    Args:
        engine: builds it.
        context: the archive that it is built from.
        dockerfile: which of its files is the Dockerfile.
        name: what the image is called then.
        labels: what it says of itself.
        hear: hears what the engine says.

    Raises:
        BuildFailed: a step failed; with the last lines of its log.
        RuntimeUnavailable: the engine doesn't answer.
    """
    client = await engine.open()
    answer = client.images.build(
        fileobj=context,
        encoding="identity",
        path_dockerfile=dockerfile,
        tag=name,
        # In a Dockerfile, a long one would take an engine a minute.
        labels=labels,
        forcerm=True,
        stream=True,
    )
    await _heard(answer, f"the image {name} could not be built", hear)
    try:
        told = await client.images.inspect(name)
    except BREAKS as error:
        raise BuildFailed(
            f"the image {name} was built, and the engine can't say what it is ({type(error).__name__}): is it running?"
        ) from None
    identity = str(told["Id"])
    return Made(
        id=identity if identity.startswith("sha256:") else f"sha256:{identity}",
        size_bytes=int(told.get("Size") or 0),
    )


async def push_image(engine: Engine, name: str, *, credentials: Mapping[str, str] | None, hear: Hear) -> str:
    """Let the engine bring an image to the registry that its name says; its digest there.

    Args:
        engine: has the image.
        name: what it is called.
        credentials: ``username`` and ``password`` for the registry.
        hear: hears what the engine says.

    Raises:
        BuildFailed: the registry doesn't take it.
        RuntimeUnavailable: the engine doesn't answer.
    """
    client = await engine.open()
    reference = read_reference(name)
    answer = client.images.push(
        reference.repository,
        tag=reference.tag or "latest",
        auth=dict(credentials or (_NOBODY if engine.is_podman else {})) or None,
        stream=True,
    )
    failed = f"the image {name} could not be pushed"
    try:
        async with asyncio.timeout(PULL_SECONDS_MAX):
            return await _heard(answer, failed, hear)
    except TimeoutError:
        raise BuildFailed(f"{failed} within {PULL_SECONDS_MAX:g} seconds: try again") from None


async def _heard(answer: AsyncIterator[Mapping[str, Any]], failed: str, hear: Hear) -> str:
    """Listen to an engine until it is done; the digest that it named."""
    last: deque[str] = deque(maxlen=_LINES_TOLD)
    digest = ""
    try:
        async with aclosing(cast("AsyncGenerator[Mapping[str, Any]]", answer)) as said:
            async for told in said:
                for line in _lines(str(told.get("stream") or "")):
                    last.append(line)
                    hear(line)
                named = _DIGEST.search(str(told.get("status") or ""))
                digest = named[1] if named else digest
    except DockerError as error:
        words = [*last, *_lines(str(error.message))]
        raise BuildFailed("\n".join([f"{failed}. The engine's last words:", *words])) from None
    except (aiohttp.ClientError, OSError) as error:
        raise BuildFailed(f"{failed}: the engine broke off ({type(error).__name__})") from None
    return digest


def _lines(text: str) -> list[str]:
    """Lines for people: as a terminal would show them, and without the ids of what is made on the way."""
    # A bar that moves is written over itself.
    lines = (_ESCAPES.sub("", line.rpartition("\r")[2]).rstrip() for line in text.split("\n"))
    kept = [line for line in lines if line and not _ON_THE_WAY.match(line)]
    return [line if len(line) <= _LINE_MAX else f"{line[: _LINE_MAX - 1]}…" for line in kept]
