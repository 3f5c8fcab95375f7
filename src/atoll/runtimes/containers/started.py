"""Containers: made, started, watched and removed."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from atoll.engine.running import Launch
from atoll.model.errors import AlgorithmFailed
from atoll.runtimes.boxes import Boot, NoPython, new_name
from atoll.runtimes.containers.engine import Engine, talking
from atoll.runtimes.containers.flags import Flags, Owned, body_of
from atoll.runtimes.facts import ImageFacts
from atoll.runtimes.planning import told_at_start
from atoll.runtimes.view import hosts

#: How an engine says that an image has no such program.
_NOT_FOUND = ("executable file not found", "no such file or directory", "not found in $path")
#: Bytes of what a container printed that a person is shown.
_SHOWN_BYTES = 600
#: Bytes of what a control group tells of memory, and digits of a number in it, at most.
_TOLD_BYTES, _DIGITS = 64 * 1024, 18
#: What its end is called where nobody can tell.
_UNKNOWN = 1


def is_not_found(said: str) -> bool:
    """Whether an engine means that an image has no such program, and not that a folder can't be mounted."""
    said = said.lower()
    return any(words in said for words in _NOT_FOUND) and "mount" not in said.partition("exec")[0]


class NotFound(AlgorithmFailed):
    """An image has no such program."""


class Container:
    """A container that was made."""

    def __init__(self, engine: Engine, container: DockerContainer, user: str) -> None:
        self._engine = engine
        self.container = container
        #: Whose its processes are.
        self.user = user
        #: Is set when its first process has ended, with a sentence about why.
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        #: The exit status of its first process, once that has ended.
        self.status = _UNKNOWN
        self._waiting: asyncio.Task[None] | None = None
        self._removing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it.

        Raises:
            NotFound: its image has no such program.
            AlgorithmFailed: the engine refuses.
        """
        try:
            await self.container.start()
        except DockerError as error:
            await self.remove()
            if is_not_found(error.message):
                raise NotFound("the image has no such program as it is to start") from None
            raise self._engine.refusal("can't start the algorithm's container", error) from None
        except BaseException:
            await self.remove()
            raise
        self._waiting = asyncio.create_task(self._wait())

    async def memory_ran_out(self) -> bool:
        """Whether the system has ended a process of it because it needed too much memory."""
        told = await self.container.show()
        return bool((told.get("State") or {}).get("OOMKilled"))

    async def memory_kills(self) -> int:
        """How often the system has ended a process of it for its memory, as it is told inside; 0 where nobody tells."""
        for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
            process = await self.container.exec(["cat", path], stdout=True, stderr=False)
            text = b""
            async with talking(process) as stream:
                # What is started is the image's own: it may print anything, and for ever.
                while len(text) < _TOLD_BYTES and (message := await stream.read_out()) is not None:
                    text += message.data
            words = text.split()
            if b"oom_kill" in words[:-1] and (count := words[words.index(b"oom_kill") + 1]).isdigit():
                return int(count[:_DIGITS])
        return 0

    async def remove(self) -> None:
        """End it now with everything in it, and remove it. May be called twice."""
        if self._removing is None:
            self._removing = asyncio.create_task(self._remove())
            # Whoever waits for it is told; where nobody does any more, nobody has to be.
            self._removing.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Whoever is cancelled meanwhile has it removed all the same.
        await asyncio.shield(self._removing)

    async def _remove(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait({self._waiting})
        await self._engine.remove(self.container)
        self._tell("it was removed")

    async def _wait(self) -> None:
        try:
            self.status = await self._engine.wait(self.container)
            said = "".join(await self.container.log(stdout=True, stderr=True))[-_SHOWN_BYTES:].strip()
        except (DockerError, OSError, aiohttp.ClientError) as error:
            self._tell(f"the engine lost it ({type(error).__name__})")
        else:
            self._tell(f"its first process ended with status {self.status}" + (f": {said}" if said else ""))

    def _tell(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)


class Maker:
    """Makes the containers of one image.

    Args:
        engine: makes them.
        facts: of the image.
        owned: what all of one owner's have in common.
    """

    #: Words for the interpreter that an image is known to have; None where it has none. By its id.
    pythons: dict[str, str | None]

    def __init__(
        self, engine: Engine, facts: ImageFacts, owned: Owned, pythons: dict[str, str | None]
    ) -> None:
        self._engine = engine
        self._facts = facts
        self._owned = owned
        self.pythons = pythons

    async def start(self, boot: Boot) -> Container:
        """Start a box: see `atoll.runtimes.boxes.Driver`."""
        known = self.pythons.get(self._facts.id)
        for word in boot.pythons if known is None else (known,):
            try:
                container = await self.make(boot.launch, (word, *boot.arguments), "/", line=boot.line)
            except NotFound:
                continue
            self.pythons[self._facts.id] = word
            return container
        raise NoPython

    async def make(
        self,
        launch: Launch,
        command: tuple[str, ...],
        folder: str,
        *,
        line: Path | None,
        network_of: str | None = None,
    ) -> Container:
        """Make a container and start it.

        Args:
            launch: whose it is, what it is shown, and its bounds.
            command: its first process.
            folder: where that works.
            line: the folder of this machine through which the node is heard.
            network_of: the container whose network it has. None: one of its own, with nobody in it.

        Raises:
            NotFound: the image has no such program.
            AlgorithmFailed: the engine refuses.
        """
        with tempfile.NamedTemporaryFile("w", prefix="atoll-hosts-") as file:
            # It is there as long as the mount, also when it has no name any more.
            os.fchmod(file.fileno(), 0o444)
            file.write(hosts(launch.outlets))
            file.flush()
            flags = Flags(
                owned=self._owned,
                image=self._facts.id,
                volumes=self._facts.volumes,
                command=command,
                folder=folder,
                environment=told_at_start(launch),
                line=line,
                hosts=Path(file.name),
                network_of=network_of,
            )
            body: dict[str, Any] = body_of(launch, flags)
            container = Container(self._engine, await self._engine.create(body, new_name()), body["User"])
            await container.start()
        return container
