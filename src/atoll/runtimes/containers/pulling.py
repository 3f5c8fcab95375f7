"""One pull of an image for all who ask for it at the same time, and what its failure means.

An engine tells why a pull has failed in a sentence of its own, and Docker and Podman each have theirs.
Here each becomes an error with what to do about it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiodocker
import aiohttp

from atoll.engine.limits import PULL_SECONDS_MAX
from atoll.model.errors import AtollError, BlobMismatch, RuntimeUnavailable

#: Letters of an engine's own sentence that an error quotes.
_QUOTED_MAX = 300
#: What an engine says of a layer that is there.
_DONE = frozenset({"Download complete", "Pull complete", "Already exists"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """How much of an image has arrived."""

    #: The image's name with its digest.
    name: str
    #: Bytes, as far as the engine tells them: Docker does, Podman doesn't.
    bytes_done: int
    bytes_total: int
    #: Its layers, as far as they are known by now.
    layers_done: int
    layers_total: int


Told = Callable[[Arrived], None]


@dataclass(slots=True, kw_only=True)
class _Shared:
    """A pull under way."""

    task: asyncio.Task[str]
    #: Who is told how much has arrived, by the question that brought them.
    told: dict[object, Told] = field(default_factory=dict)
    #: What they were told last, which who comes later is told first.
    last: Arrived | None = None
    #: Questions that wait for it.
    waiting: int = 0


class SharedPulls:
    """Pulls under way. Each goes on as long as somebody waits for it."""

    def __init__(self) -> None:
        self._shared: dict[str, _Shared] = {}

    async def join(
        self, name: str, begin: Callable[[Told], Awaitable[str]], *, told: Told | None = None
    ) -> str:
        """Wait for the pull of an image, which is begun where none is under way.

        Args:
            name: of exactly one image.
            begin: pulls it, and gives its id.
            told: hears how much has arrived.
        """
        shared = self._shared.get(name)
        if shared is None:
            shared = self._begin(name, begin)
        question = object()
        shared.waiting += 1
        if told is not None:
            shared.told[question] = told
            if shared.last is not None:
                told(shared.last)
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            shared.told.pop(question, None)
            if not shared.waiting:
                await self._end(name, shared)

    def _begin(self, name: str, begin: Callable[[Told], Awaitable[str]]) -> _Shared:
        def tell(arrived: Arrived) -> None:
            shared.last = arrived
            for each in list(shared.told.values()):
                each(arrived)

        async def pull() -> str:
            return await begin(tell)

        shared = self._shared[name] = _Shared(task=asyncio.create_task(pull(), name=f"pull {name}"))
        return shared

    async def _end(self, name: str, shared: _Shared) -> None:
        """Nobody waits any more: who comes now begins anew."""
        if self._shared.get(name) is shared:
            del self._shared[name]
        shared.task.cancel()
        await asyncio.wait([shared.task])
        if not shared.task.cancelled():
            # Who waited has heard of its failure, or is gone.
            shared.task.exception()


async def pull(
    engine: aiodocker.Docker, name: str, *, credentials: Mapping[str, str] | None, tell: Told
) -> None:
    """Let an engine pull an image.

    Args:
        engine: pulls it.
        name: the image's, with its registry and its digest.
        credentials: ``username`` and ``password`` for the registry.
        tell: hears how much has arrived.

    Raises:
        BlobMismatch: the registry gives something else.
        RuntimeUnavailable: it can't be had.
    """
    layers: dict[str, tuple[int, int, bool]] = {}
    secret = (credentials or {}).get("password", "")
    try:
        async with asyncio.timeout(PULL_SECONDS_MAX), _asked(engine, name, credentials) as answer:
            if answer.status >= 400:
                raise pull_error(name, _said(await answer.read()), secret=secret)
            async for content in answer.content:
                line = _read(content)
                if line.get("error") or line.get("errorDetail"):
                    raise pull_error(name, _said(content), secret=secret)
                if _note(line, layers):
                    tell(_arrived(name, layers))
    except TimeoutError:
        raise RuntimeUnavailable(
            f"the image {name} did not arrive within {PULL_SECONDS_MAX:g} seconds: try again, or bring it to this "
            "machine's engine by hand"
        ) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise RuntimeUnavailable(
            f"the container engine broke off while it pulled {name} ({type(error).__name__}): look whether it runs, "
            "and try again"
        ) from None


@asynccontextmanager
async def _asked(
    engine: aiodocker.Docker, name: str, credentials: Mapping[str, str] | None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The engine's answer while it pulls.

    The library's own method leaves the connection open when it is broken off, by whose end an engine
    knows that nobody waits any more.
    """
    headers = {}
    if credentials:
        told = {**credentials, "serveraddress": name.partition("/")[0]}
        headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(told).encode()).decode()
    version = "" if engine.api_version == "auto" else f"/{engine.api_version}"
    answer = await engine.session.post(
        f"{engine.docker_host}{version}/images/create",
        params={"fromImage": name},
        headers=headers,
        timeout=aiohttp.ClientTimeout(),
    )
    try:
        yield answer
    finally:
        answer.close()


def _read(content: bytes) -> dict[str, Any]:
    """A line of an engine's answer, which is JSON."""
    try:
        line = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}


def _said(content: bytes) -> str:
    """The sentence in which an engine says what went wrong."""
    line = _read(content)
    detail = line.get("errorDetail")
    said = detail.get("message") if isinstance(detail, dict) else None
    return str(said or line.get("error") or line.get("message") or "it doesn't say why")


def _note(line: Mapping[str, Any], layers: dict[str, tuple[int, int, bool]]) -> bool:
    """Note what a line of an engine says of a layer; whether it says something."""
    layer, status = line.get("id"), line.get("status")
    if not isinstance(layer, str) or not isinstance(status, str) or "/" in layer:
        return False
    done, total, is_there = layers.get(layer, (0, 0, False))
    detail = line.get("progressDetail")
    if status == "Downloading" and isinstance(detail, dict):
        with suppress(TypeError, ValueError):
            done, total = int(detail.get("current") or 0), int(detail.get("total") or 0)
    if status in _DONE:
        done, is_there = total, True
    noted = (done, max(total, 0), is_there)
    is_new = layers.get(layer) != noted
    layers[layer] = noted
    return is_new


def _arrived(name: str, layers: Mapping[str, tuple[int, int, bool]]) -> Arrived:
    return Arrived(
        name=name,
        bytes_done=sum(done for done, _, _ in layers.values()),
        bytes_total=sum(total for _, total, _ in layers.values()),
        layers_done=sum(is_there for _, _, is_there in layers.values()),
        layers_total=len(layers),
    )


#: What engines say when a pull fails, and what that means. The first that is found counts.
_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded")
_OTHER_MACHINE = re.compile(r"no matching manifest for|no image found in (manifest list|image index)")
_DIFFERS = re.compile(
    r"verification failed|digest did not match|does not match provided manifest digest|mismatched digest|"
    r"unexpected commit digest|invalid checksum"
)
_BUSY = re.compile(r"toomanyrequests|429 too many")
_REFUSED = re.compile(
    r"unauthorized|no basic auth credentials|authentication required|access (to the resource )?(is )?denied|"
    r"denied: |incorrect username or password|invalid username/password|40[13] (unauthorized|forbidden)"
)
_NOT_THERE = re.compile(
    r"manifest unknown|name unknown|repository .*not found|manifest for .* not found|404 not found"
)
_AWAY = re.compile(
    r"dial tcp|no such host|connection refused|connection reset|i/o timeout|tls|x509|\beof\b|"
    r"server gave http response|network is unreachable|deadline exceeded|proxyconnect|server misbehaving|"
    r"50[0234] |bad gateway|service unavailable"
)


def pull_error(name: str, said: str, *, secret: str = "") -> AtollError:
    """What the failure of a pull means, and what to do.

    Args:
        name: the image's, with its registry and its digest.
        said: the engine's own sentence.
        secret: what must not be told on, if the engine should repeat it.
    """
    if secret:
        said = said.replace(secret, "…")
    # A name that somebody has made up must not decide what is found.
    plain = said.replace(name, "").lower()
    quoted = said[:_QUOTED_MAX]
    host = name.partition("/")[0]
    if _NO_SPACE.search(plain):
        return RuntimeUnavailable(
            f"there is no space for the image {name} on the disk of the container engine: remove what isn't needed "
            "(docker system df), or give it a larger one"
        )
    if _OTHER_MACHINE.search(plain):
        return RuntimeUnavailable(
            f"the image {name} is not made for this machine's kind of processor ({quoted}): ask its author for one "
            "that is"
        )
    if _DIFFERS.search(plain):
        return BlobMismatch(
            f"what the registry {host} gives as {name} is something else ({quoted}): try again. If it stays, tell "
            "who runs the registry"
        )
    if _BUSY.search(plain):
        return RuntimeUnavailable(
            f"the registry {host} wants fewer requests from this site: try {name} again later, or name a user and a "
            "password_file for it"
        )
    if _NOT_THERE.search(plain):
        return RuntimeUnavailable(
            f"the registry {host} has no image {name}: was it pushed there, and is the digest the registry's own?"
        )
    if _REFUSED.search(plain):
        return RuntimeUnavailable(
            f"the registry {host} refuses {name} to this site ({quoted}): name a user and a password_file for it "
            "that may read it"
        )
    if _AWAY.search(plain):
        return RuntimeUnavailable(
            f"the registry {host} can't be reached for {name} ({quoted}): try again later, or look at the way there "
            "from the container engine"
        )
    return RuntimeUnavailable(f"the container engine can't pull {name} ({quoted}): its log may say more")
