"""The engine that runs containers: where it is found, and what it is asked.

Docker's API, as Docker 20.10 and Podman 4 and later speak it over a Unix socket of this machine. What an
engine says of an error is for the log: it may name whatever lies on the machine.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiodocker.execs import Exec
from aiodocker.stream import Stream

from atoll.engine.running import ImageKind
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes import environment
from atoll.runtimes.boxes import new_name
from atoll.runtimes.containers.owners import passing_owner
from atoll.runtimes.containers.settings import ContainerSettings
from atoll.runtimes.facts import ImageFacts, ImageFiles

_log = logging.getLogger(__name__)

_DOCKER = ("/var/run/docker.sock", "/run/docker.sock")
_PODMAN = ("/run/podman/podman.sock",)
#: The newest version of Docker's API that Atoll speaks. Docker 29 speaks none that is older; what speaks none so
#: new, such as Docker 20.10 (1.41) and Podman, is spoken to in its own.
_API_VERSION = (1, 44)
#: Where Podman 4 and later have an API of their own, and how often it looks whether a container has ended.
_LIBPOD, _LOOK = "v4.0.0/libpod", "50ms"
#: Seconds that an engine may take to say who it is.
_SECONDS_MAX = 30.0
#: Seconds that an engine may take to do what isn't expected to last, such as to make a container or to remove it; it
#: takes tenths, and minutes where it copies a large image. Nobody waits for ever for one that is stuck.
_ANSWER_SECONDS = 600.0
#: The status that the library gives to an engine which it can't reach.
_NO_ANSWER = 900
#: How often an engine is asked to remove a container that it doesn't remove.
_TRIES = 3
#: How an engine says that it removes a container for somebody else.
_IN_PROGRESS = "already in progress"
#: Bytes of a file that is read out of an image. A specification, or a module.
_FILE_BYTES_MAX = 4 * 1024 * 1024
#: What stands around a file in the archive that it comes in.
_AROUND_BYTES = 1024 * 1024
#: How this program calls the containers that it makes.
_OURS = re.compile(r"/?atoll-[0-9a-f]{12}")
#: Connections to the engine at a time: one for each call that the engine itself runs, and some to ask.
_CONNECTIONS_MAX = 1_000

#: What asking an engine ends with where it refuses, or is not there any more.
BREAKS = (DockerError, aiohttp.ClientError, OSError)


def sockets(settings: ContainerSettings) -> list[Path]:
    """Where the socket of an engine may lie, the likeliest first."""
    if settings.socket is not None:
        return [settings.socket]
    named, own = environment.named_engine()
    if named is not None:
        return [named]  # whoever names one means no other
    docker = [*map(Path, _DOCKER), own / "docker.sock"]
    podman = [*map(Path, _PODMAN), own / "podman" / "podman.sock"]
    return {"docker": docker, "podman": podman}.get(settings.engine, [*docker, *podman])


def find_socket(settings: ContainerSettings) -> Path:
    """The socket of an engine.

    Raises:
        RuntimeUnavailable: there is none that this user may use.
    """
    looked = sockets(settings)
    there = [path for path in looked if path.is_socket()]
    for path in there:
        if os.access(path, os.R_OK | os.W_OK):
            return path
    if there:
        raise RuntimeUnavailable(
            f"{there[0]} may not be used by this user. Add the user to the group that owns it (often: usermod -aG "
            "docker USER; that is as good as root on this machine), or use rootless Podman"
        )
    raise RuntimeUnavailable(
        f"no container engine answers on this machine: there is no socket at {', '.join(map(str, looked))}. Start "
        "Docker, or Podman's (systemctl --user start podman.socket), or name its socket (DOCKER_HOST=unix:///PATH)"
    )


class _Client(aiodocker.Docker):
    """The library's client, whose own leaves the connection open where an answer is not read to its end."""

    async def _do_query(self, *args: Any, **options: Any) -> aiohttp.ClientResponse:
        try:
            return await super()._do_query(*args, **options)
        except TimeoutError:
            raise DockerError(_NO_ANSWER, f"it did not answer within {_ANSWER_SECONDS:g} seconds") from None
        except DockerError as error:
            if error.status != _NO_ANSWER:
                raise
            # The library's own words are about addresses that nobody has given.
            raise DockerError(_NO_ANSWER, "it can't be reached at its socket") from None

    @asynccontextmanager
    async def _query(self, *args: Any, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        answer = await self._do_query(*args, **options)
        try:
            yield answer
        finally:
            answer.close()  # what was read to its end is kept for the next question

    async def wait(self, container: DockerContainer) -> int:
        """Podman's own way to wait for the end of a container; the exit status of its first process."""
        path = f"{_LIBPOD}/containers/{container.id}/wait"
        timeout = aiohttp.ClientTimeout()
        asked = {"interval": _LOOK}
        return int(await self._query_json(path, "POST", params=asked, timeout=timeout, versioned_api=False))


@asynccontextmanager
async def talking(process: Exec) -> AsyncIterator[Stream]:
    """Start what an engine was told to run, and talk with it; the line is closed whatever happens.

    The library leaves it open where it is broken off while it begins.
    """
    stream = process.start(detach=False)
    try:
        async with stream:
            yield stream
    finally:
        answer = stream._resp  # noqa: SLF001 -- as said
        if answer is not None and not stream._closed:  # noqa: SLF001 -- as said
            stream._closed = True  # noqa: SLF001 -- as said
            answer.close()


class Engine:
    """An engine that answers.

    Args:
        socket: its socket.
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.client: _Client | None = None
        self.is_podman = False
        self._opening = asyncio.Lock()
        self._connector: aiohttp.UnixConnector | None = None

    @property
    def is_rootless(self) -> bool:
        """Whether it is this user's own, and runs without root: its socket is, too."""
        return self.socket.stat().st_uid == os.geteuid() != 0

    async def open(self) -> aiodocker.Docker:
        """The client, once it is known that the engine answers.

        Raises:
            RuntimeUnavailable: it doesn't.
        """
        async with self._opening:
            if self.client is None:
                self.client = await self._connect()
        return self.client

    async def _connect(self) -> _Client:
        connector = aiohttp.UnixConnector(path=str(self.socket), limit=_CONNECTIONS_MAX)
        try:
            async with (
                asyncio.timeout(_SECONDS_MAX),
                aiohttp.ClientSession(connector=connector, connector_owner=False) as session,
                session.get("http://localhost/_ping") as answer,
            ):
                answer.raise_for_status()
                self.is_podman = "Libpod-API-Version" in answer.headers
                version = spoken(answer.headers.get("Api-Version", ""))
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            await connector.close()
            raise RuntimeUnavailable(
                f"the container engine at {self.socket} does not answer ({type(error).__name__}). Is it running?"
            ) from None
        except BaseException:
            await connector.close()
            raise
        self._connector = connector
        bound = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        return _Client(url="unix://localhost", connector=connector, api_version=version, timeout=bound)

    async def close(self) -> None:
        """Hang up."""
        client, self.client = self.client, None
        if client is not None:
            await client.close()
            assert self._connector is not None
            await self._connector.close()

    async def facts(self, name: str) -> ImageFacts | None:
        """What an image says of itself; None where the engine has none of that name or id.

        Raises:
            RuntimeUnavailable: no engine answers.
            AlgorithmFailed: it refuses, or doesn't answer any more.
        """
        client = await self.open()
        try:
            told = await client.images.inspect(name)
        except DockerError as error:
            if error.status == 404:
                return None
            raise self.refusal(f"can't say what the image {name} is", error) from None
        return facts_of(name, told)

    async def create(self, body: Mapping[str, Any], name: str) -> DockerContainer:
        """Make a container.

        Raises:
            AlgorithmFailed: the engine refuses.
        """
        client = await self.open()
        making = asyncio.ensure_future(client.containers.create(dict(body), name=name))
        try:
            return await asyncio.shield(making)
        except DockerError as error:
            raise self.refusal("can't make the algorithm's container", error) from None
        except asyncio.CancelledError:
            # The engine makes it all the same, and nobody else will ever know of it.
            await asyncio.wait({making}, timeout=_SECONDS_MAX)
            if not making.done():
                making.cancel()
            elif making.exception() is None:
                await self.remove(making.result())
            raise

    async def wait(self, container: DockerContainer) -> int:
        """Wait until the first process of a container has ended; its exit status.

        Raises:
            DockerError: the engine knows no such container any more.
        """
        if self.is_podman:
            # In Docker's way it would look without a pause, with all of a processor, for as long as a session lives.
            assert self.client is not None
            return await self.client.wait(container)
        told = await container.wait(timeout=None)
        return int(told.get("StatusCode") or 0)

    async def remove(self, container: DockerContainer) -> None:
        """End a container at once, and remove it. It may be gone already.

        Where the engine doesn't do it, this is logged: nobody who wants a container removed can do more.
        """
        for _ in range(_TRIES):
            try:
                await container.delete(force=True, v=True)
            except BREAKS as error:
                if isinstance(error, DockerError) and error.status == 404:
                    return
                why = error.message if isinstance(error, DockerError) else str(error)
                # Somebody is removing it already, or it is just being started.
                with suppress(*BREAKS):
                    await container.kill()
            else:
                return
        if _IN_PROGRESS not in why:
            _log.warning("the container %s was not removed, and may still run: %s", container.id[:12], why)

    async def ours(self) -> list[tuple[DockerContainer, str]]:
        """The containers that Atoll has made here and not removed, each with its owner.

        Raises:
            RuntimeUnavailable: no engine answers.
        """
        client = await self.open()
        try:
            found = await client.containers.list(all=True, filters={"label": [OWNER]})
        except BREAKS as error:
            raise RuntimeUnavailable(
                f"the container engine at {self.socket} can't say which containers it has ({type(error).__name__}): "
                "is it running?"
            ) from None
        # An image may have any label, and then its containers have it, whoever makes them. No image names them.
        made = [one for one in found if any(map(_OURS.fullmatch, one["Names"] or ()))]
        return [(container, str((container["Labels"] or {}).get(OWNER, ""))) for container in made]

    @asynccontextmanager
    async def files(self, image: str) -> AsyncIterator[ImageFiles]:
        """Read files of an image, whose code isn't started for that."""
        body = {
            "Image": image,
            "Entrypoint": ["/nothing"],
            "NetworkDisabled": True,
            "Labels": {OWNER: passing_owner()},
        }
        container = await self.create(body, new_name())
        try:
            yield partial(self._read, container)
        finally:
            await asyncio.shield(self.remove(container))

    async def _read(self, container: DockerContainer, path: str, /) -> bytes | None:
        client = await self.open()
        try:
            answer = await client.session.get(
                f"{client.docker_host}/{client.api_version}/containers/{container.id}/archive",
                params={"path": path},
            )
            async with answer:
                if answer.status == 404:
                    return None
                content = await _some_of(answer)
        except (aiohttp.ClientError, OSError) as error:
            raise RuntimeUnavailable(
                f"the container engine broke off while {path} of an image was read ({type(error).__name__})"
            ) from None
        if answer.status >= 400:
            said = content.decode("utf-8", "replace")
            raise self.refusal(f"can't read {path} of an image", DockerError(answer.status, said))
        return await asyncio.to_thread(_file_in, content)

    def refusal(self, what: str, error: DockerError) -> AlgorithmFailed:
        """What a person is told of an engine's refusal."""
        _log.info("the engine at %s %s: %s", self.socket, what, error.message)
        return AlgorithmFailed(f"the container engine {what}: {str(error.message)[:300]}")


async def _some_of(answer: aiohttp.ClientResponse) -> bytes:
    """As much of an archive as a file has that is read. It may go on for ever: an image may have any file."""
    content = bytearray()
    async for piece in answer.content.iter_any():
        content += piece
        if len(content) > _FILE_BYTES_MAX + _AROUND_BYTES:
            break
    return bytes(content)


def _file_in(archive: bytes) -> bytes | None:
    """The file that an archive holds; None where there is none, or a larger one than is read."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            for member in members:
                if member.isfile() and member.size <= _FILE_BYTES_MAX and not member.issparse():
                    file = members.extractfile(member)
                    return None if file is None else file.read()
    except tarfile.TarError:
        pass
    return None


def spoken(told: str) -> str:
    """The version of the API that an engine is spoken to in, which tells the newest that it knows."""
    major, _, minor = told.partition(".")
    known = (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else _API_VERSION
    return "v{}.{}".format(*min(known, _API_VERSION))


#: Labels of a container: who has made it, and for whom.
OWNER, SEAT = "org.atoll.owner", "org.atoll.seat"


def facts_of(name: str, told: Mapping[str, Any]) -> ImageFacts:
    """What an engine tells of an image, in our words."""
    config: Mapping[str, Any] = told.get("Config") or {}
    variables = (str(line).partition("=") for line in config.get("Env") or [])
    ports = (str(port).partition("/") for port in config.get("ExposedPorts") or {})
    identity = str(told.get("Id", ""))
    return ImageFacts(
        kind=ImageKind.OCI,
        id=identity if identity.startswith("sha256:") else f"sha256:{identity}",
        digests=tuple(map(str, told.get("RepoDigests") or [])),
        name=name,
        environment={key: value for key, _, value in variables},
        entrypoint=tuple(map(str, config.get("Entrypoint") or [])),
        command=tuple(map(str, config.get("Cmd") or [])),
        working_directory=str(config.get("WorkingDir") or "/"),
        labels={str(key): str(value) for key, value in (config.get("Labels") or {}).items()},
        exposed_ports=tuple(
            sorted(int(port) for port, _, kind in ports if port.isdecimal() and kind in ("", "tcp"))
        ),
        volumes=tuple(map(str, config.get("Volumes") or {})),
        user=str(config.get("User") or ""),
        architecture=str(told.get("Architecture") or ""),
    )
