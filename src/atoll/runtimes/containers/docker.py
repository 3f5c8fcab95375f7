"""Algorithms in containers of Docker or Podman: one for each session, without a network.

A container's first process is Atoll's own program under the image's own Python; see ``boxes.py``.
An image that has none is served by the engine: each call is a process that the engine starts.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import aiodocker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from atoll.engine.running import Image, ImageKind, Launch, Session
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes.boxes import Boot, BoxPlace, NoPython, hand_over, new_name
from atoll.runtimes.containers.engine import Engine, find_socket
from atoll.runtimes.containers.flags import Flags, body_of
from atoll.runtimes.containers.planning import plan_of, told_at_start
from atoll.runtimes.containers.settings import NOBODY, ContainerSettings
from atoll.runtimes.facts import ImageFacts, ImageFiles
from atoll.runtimes.served import seat

_log = logging.getLogger(__name__)

#: How an engine says that an image has no such program.
_NOT_FOUND = ("executable file not found", "no such file or directory", "not found in $path")
#: What the owner of a simulation's containers begins with.
_SIMULATION = "simulation"
#: Bytes of what a container printed that a person is shown.
_SHOWN_BYTES = 600


class DockerRuntime:
    """Runs algorithms that are packed in images.

    Args:
        settings: the engine, and what containers get.
        owner: by which this runtime's containers are known after its owner's death.
    """

    name = "docker"
    isolated = True

    def __init__(self, settings: ContainerSettings, owner: str) -> None:
        self._settings = settings
        self._owner = owner
        self._engine: Engine | None = None
        #: Words for the interpreter that an image is known to have; None where it has none. By its id.
        self._pythons: dict[str, str | None] = {}

    def caveats(self) -> Sequence[str]:
        """What a container is not kept from."""
        return ()

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            RuntimeUnavailable: there is none on this machine.
        """
        if self._engine is None:
            self._engine = Engine(find_socket(self._settings))
        return self._engine

    async def facts(self, name: str) -> ImageFacts | None:
        """What an image says of itself; None where the engine hasn't it."""
        return await self.engine.facts(name)

    async def read(self, image: str, path: str) -> bytes | None:
        """A file of an image; None where there is none."""
        async with self.files(image) as read:
            return await read(path)

    def files(self, image: str) -> AbstractAsyncContextManager[ImageFiles]:
        """Reads files of an image, for as long as the context lasts."""
        return self.engine.files(image)

    async def recover(self) -> None:
        """Remove the containers that an earlier life of this runtime's owner has left.

        And those of simulations that have ended without removing theirs.
        """
        await self.engine.open()
        for container, owner in await self.engine.ours():
            if owner == self._owner or _is_of_the_dead(owner):
                await self.engine.remove(container)

    async def warm_up(self, launch: Launch) -> None:
        """See that the engine answers."""
        await self.engine.open()

    async def start(self, launch: Launch) -> Session:
        """Start a container for a session.

        Raises:
            RuntimeUnavailable: no engine answers, or the image isn't here.
            AlgorithmFailed: the engine refuses, or the container ends before its first call.
        """
        facts = await self._image(launch)
        user = self._user()
        if user is not None:
            writable = [launch.temporary, *(mount.source for mount in launch.mounts if mount.writable)]
            await asyncio.to_thread(hand_over, writable, user)
        plan = plan_of(launch, facts, user)
        place = BoxPlace(plan, _Containers(self, facts))
        if facts.id not in self._pythons or self._pythons[facts.id] is not None:
            try:
                await place.open()
            except NoPython:
                self._pythons[facts.id] = None
            except BaseException:
                await place.close()
                raise
            else:
                return seat(place, launch.style)
        raise RuntimeUnavailable("not yet")

    async def close(self) -> None:
        """Hang up."""
        if self._engine is not None:
            await self._engine.close()

    def _user(self) -> tuple[int, int] | None:
        """The user of boxes, where it isn't this process's."""
        if self._settings.user is not None:
            return None if self._settings.user == (os.geteuid(), os.getegid()) else self._settings.user
        return NOBODY if os.geteuid() == 0 else None

    async def _image(self, launch: Launch) -> ImageFacts:
        image = launch.image
        if image is None or image.kind is not ImageKind.OCI:
            raise RuntimeUnavailable(
                f"runtime {self.name} runs images of a container engine, and the algorithm at {launch.seat} is "
                f"{'code in a folder' if image is None else 'a file ' + image.name}. Build an image of it (atoll image "
                "build), or use another runtime"
            )
        await self.engine.open()
        for name in (image.digest, image.name):
            facts = await self.engine.facts(name)
            if facts is not None and _is(facts, image):
                return replace(facts, name=image.name)
        raise RuntimeUnavailable(
            f"the image {image.name} ({image.digest[:19]}…) is not on this machine. Fetch it, or build it"
        )

    def pythons_of(self, facts: ImageFacts, wanted: Sequence[str]) -> Sequence[str]:
        """Words for the interpreter of an image that are worth a try."""
        known = self._pythons.get(facts.id)
        return wanted if known is None else (known,)

    def remember(self, facts: ImageFacts, word: str) -> None:
        """An image has an interpreter of this name."""
        self._pythons[facts.id] = word

    def flags(self, launch: Launch, facts: ImageFacts, boot: Boot, word: str) -> Flags:
        """What a box's container is made with."""
        return Flags(
            owner=self._owner,
            image=facts.id,
            entrypoint=(word, *boot.arguments),
            command=(),
            folder="/",
            environment=told_at_start(launch),
            user=self._user() or (os.geteuid(), os.getegid()),
            groups=() if os.geteuid() == 0 else tuple(os.getgroups()),
            gpus=self._settings.gpus,
            line=boot.line,
        )


def _is(facts: ImageFacts, image: Image) -> bool:
    return image.digest == facts.id or any(digest.endswith(f"@{image.digest}") for digest in facts.digests)


def simulation_owner() -> str:
    """Who owns the containers of a simulation: this process, and no later one of its number."""
    return f"{_SIMULATION}.{os.getpid()}.{_started(os.getpid())}"


def _is_of_the_dead(owner: str) -> bool:
    kind, _, process = owner.partition(".")
    pid, _, started = process.partition(".")
    return kind == _SIMULATION and pid.isdecimal() and _started(int(pid)) != started


def _started(pid: int) -> str:
    """When a process of this machine has started, in its own count since its boot; empty where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return ""


class _Containers:
    """Starts containers of one image."""

    def __init__(self, runtime: DockerRuntime, facts: ImageFacts) -> None:
        self._runtime = runtime
        self._facts = facts

    async def start(self, boot: Boot) -> Container:
        engine = self._runtime.engine
        for word in self._runtime.pythons_of(self._facts, boot.pythons):
            flags = self._runtime.flags(boot.launch, self._facts, boot, word)
            container = Container(engine, await engine.create(body_of(boot.launch, flags), new_name()))
            try:
                await container.start()
            except DockerError as error:
                await container.remove()
                if any(words in error.message.lower() for words in _NOT_FOUND):
                    continue
                raise engine.refusal("can't start the algorithm's container", error) from None
            except BaseException:
                await asyncio.shield(container.remove())
                raise
            self._runtime.remember(self._facts, word)
            return container
        raise NoPython


class Container:
    """A container that was made."""

    def __init__(self, engine: Engine, container: DockerContainer) -> None:
        self._engine = engine
        self.container = container
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting: asyncio.Task[None] | None = None
        self._removed = False

    async def start(self) -> None:
        await self.container.start()
        self._waiting = asyncio.create_task(self._wait())

    def settle(self) -> None:
        """Its first process is known to work: its end is noticed in another way."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def memory_ran_out(self) -> bool:
        told = await self.container.show()
        return bool((told.get("State") or {}).get("OOMKilled"))

    async def remove(self) -> None:
        self.settle()
        if not self._removed:
            self._removed = True
            await self._engine.remove(self.container)

    async def _wait(self) -> None:
        try:
            told = await self.container.wait(timeout=None)
            said = "".join(await self.container.log(stdout=True, stderr=True))[-_SHOWN_BYTES:].strip()
        except (DockerError, OSError, aiodocker.exceptions.DockerContainerError) as error:
            self._tell(f"the engine lost it ({type(error).__name__})")
        else:
            self._tell(
                f"its first process ended with status {told.get('StatusCode')}"
                + (f": {said}" if said else "")
            )

    def _tell(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)


__all__ = ["AlgorithmFailed", "ContainerSettings", "DockerRuntime"]
