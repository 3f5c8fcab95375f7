"""Algorithms in containers of Docker or Podman: one for each session, without a network.

A container's first process is Atoll's own program under the image's own Python; see ``boxes.py``.
An image that has none is served by the engine: each call is a process that the engine starts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from atoll.engine.running import Image, ImageKind, Launch, Session, Style
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.boxes import BoxPlace, NoPython, Plan, check_readable, hand_over
from atoll.runtimes.containers.cold import ColdPlace, ServicePlace
from atoll.runtimes.containers.engine import Engine, find_socket
from atoll.runtimes.containers.flags import Owned
from atoll.runtimes.containers.owners import is_of_the_dead
from atoll.runtimes.containers.service import PORT, ServiceSession
from atoll.runtimes.containers.settings import NOBODY, ContainerSettings, Service
from atoll.runtimes.containers.started import Maker, NotFound
from atoll.runtimes.facts import ImageFacts, ImageFiles
from atoll.runtimes.planning import plan_of, served_plan
from atoll.runtimes.served import seat


class DockerRuntime:
    """Runs algorithms that are packed in images.

    Args:
        settings: the engine, and what containers get.
        owner: by which this runtime's containers are known after its owner's death.
    """

    isolated = True

    def __init__(self, settings: ContainerSettings, owner: str) -> None:
        self.name = "podman" if settings.engine == "podman" else "docker"
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

    def files(self, facts: ImageFacts, /) -> AbstractAsyncContextManager[ImageFiles]:
        """Reads files of an image, for as long as the context lasts."""
        return self.engine.files(facts.id)

    async def recover(self) -> None:
        """Remove the containers that an earlier life of this runtime's owner has left.

        And those of simulations that have ended without removing theirs.
        """
        await self.engine.open()
        for container, owner in await self.engine.ours():
            if owner == self._owner or is_of_the_dead(owner):
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
            shown = [mount.source for mount in launch.mounts if not mount.writable]
            check_readable([*shown, *([launch.code] if launch.code else [])], user)
        plan = plan_of(launch, facts, user)
        # Functions can be spoken to in no other way.
        by_engine = self._service(launch) is Service.EXEC and launch.style is not Style.TALK
        if not by_engine and self._pythons.get(facts.id, "") is not None:
            place = BoxPlace(plan, self._maker(facts))
            try:
                await place.open()
            except NoPython:
                self._pythons[facts.id] = None
                await place.close()
            except BaseException:
                await asyncio.shield(place.close())
                raise
            else:
                return self._seat(place, launch, facts)
        return await self._without_python(launch, facts, plan)

    def _seat(self, place: BoxPlace, launch: Launch, facts: ImageFacts) -> Session:
        """A session in a box whose first process is Atoll's."""
        coinstac = launch.style is not Style.TALK and not launch.speaks_http
        asked = self._service(launch) is Service.WEBSOCKET and coinstac
        # A computation of protocol 2 that imports `coinstac` gets Atoll's, which needs no port.
        alien = launch.style is Style.SERVE and not launch.command and "coinstac" not in place.found
        if asked or alien:
            place.run(facts.started)
            return ServiceSession(place, launch)
        return seat(place, launch.style)

    async def _without_python(self, launch: Launch, facts: ImageFacts, plan: Plan) -> Session:
        """A session that the engine starts the processes of."""
        if launch.style is Style.TALK:
            raise RuntimeUnavailable(
                f"the image {facts.name} has no Python 3.8 or later, which functions need: put one in it"
            )
        may_serve = self._service(launch) is not Service.EXEC and not launch.chosen_here
        served = launch.style is Style.SERVE or (may_serve and _has_service(facts) and not launch.speaks_http)
        helped = None
        if served or launch.speaks_http or launch.outlets:
            helped = await self._helper_place(facts)
        kind = ServicePlace if served else ColdPlace
        place = kind(served_plan(plan, facts) if served else plan, self._maker(facts), helped)
        try:
            await place.open()
        except NotFound:
            await asyncio.shield(place.close())
            raise RuntimeUnavailable(
                f"the image {facts.name} has neither Python 3.8 or later nor /bin/sh: there is nothing in it that "
                "could start its calls"
            ) from None
        except BaseException:
            await asyncio.shield(place.close())
            raise
        return ServiceSession(place, launch) if served else seat(place, launch.style)

    async def _helper_place(self, facts: ImageFacts) -> Callable[[Launch], BoxPlace]:
        name = self._settings.helper_image
        helper = None if name is None else await self.engine.facts(name)
        if helper is None:
            raise RuntimeUnavailable(
                f"the image {facts.name} has no Python, and what it needs of its node takes one beside it: name an "
                "image with Python as containers.helper_image in node.yaml, or with --helper-image"
                f"{'' if name is None else f' ({name} is not here)'}"
            )
        maker = self._maker(helper)
        return lambda launch: BoxPlace(plan_of(launch, helper, self._user()), maker)

    def _maker(self, facts: ImageFacts) -> Maker:
        owned = Owned(
            owner=self._owner,
            user=self._user() or (os.geteuid(), os.getegid()),
            groups=() if os.geteuid() == 0 else tuple(os.getgroups()),
            gpus=self._settings.gpus,
            is_podman=self.engine.is_podman,
            is_rootless=self.engine.is_rootless,
        )
        return Maker(self.engine, facts, owned, self._pythons)

    async def close(self) -> None:
        """Hang up."""
        if self._engine is not None:
            await self._engine.close()

    def _service(self, launch: Launch) -> Service:
        """How an image is spoken to. One that the site has chosen for code serves no computation of its own."""
        return Service.AUTO if launch.chosen_here else self._settings.service

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


def _has_service(facts: ImageFacts) -> bool:
    """Whether an image seems to start the service of COINSTAC's base image."""
    program = facts.started[0].rpartition("/")[2] if facts.started else ""
    return PORT in facts.exposed_ports or program in ("node", "nodejs")


def _is(facts: ImageFacts, image: Image) -> bool:
    return image.digest == facts.id or any(digest.endswith(f"@{image.digest}") for digest in facts.digests)
