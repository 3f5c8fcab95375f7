"""Algorithms in images on a cluster of Kubernetes: a Job for each call, without a network.

What an algorithm would reach, and what would reach it, is refused: nothing leads into a pod but the
files of the volume that it shares with its node. So one that asks its node while it runs has no place
here, nor one that lives from call to call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from atoll.engine.running import Doorway, Image, ImageKind, Launch, Reply, Request, Session, Style
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes.boxes import hand_over
from atoll.runtimes.containers.settings import NOBODY
from atoll.runtimes.kubernetes.cluster import Cluster, ClusterSilentError
from atoll.runtimes.kubernetes.manifest import Manifests, closes, opens, owner_of
from atoll.runtimes.kubernetes.place import Pace, PodPlace, until_gone
from atoll.runtimes.kubernetes.settings import KubernetesSettings
from atoll.runtimes.sessions import CallSession
from atoll.runtimes.warm import ParentLost

_log = logging.getLogger(__name__)

#: Images of which it is remembered what they call volumes.
_IMAGES_KNOWN_MAX = 1_000

_CAVEATS = (
    "what keeps pods from the network is a policy, and only as good as the cluster's network plugin. Try it",
    "how many processes a call has is bounded by the cluster (podPidsLimit), and not by 'limits: processes'",
    "Atoll's questions to Kubernetes were tried against recorded answers, and on no cluster",
)


class KubernetesRuntime:
    """Runs algorithms that are packed in images, each call in a pod of its own.

    Args:
        settings: the cluster, and what pods get.
        folder: where calls' files lie; in the claim's volume, and this node's alone.
        check: looks whether the site runs an image at all; raises where it doesn't.
        look: says which folders an image calls volumes. None: they are left to the cluster.
        pace: how often the cluster is looked at.
    """

    name = "kubernetes"
    isolated = True

    def __init__(
        self,
        settings: KubernetesSettings,
        folder: Path,
        *,
        check: Callable[[Image], Awaitable[None]] | None = None,
        look: Callable[[Image], Awaitable[Sequence[str]]] | None = None,
        pace: Pace | None = None,
    ) -> None:
        assert settings.mounted_at is not None  # `why_not` has said so before.
        self._folder = folder
        self._check = check
        self._look = look
        #: What was found of images, by their digests.
        self._volumes: dict[str, Sequence[str]] = {}
        self._pace = pace or Pace()
        self._cluster = Cluster(settings)
        self._manifests = Manifests(
            settings=settings, owner=owner_of(settings.claim, settings.mounted_at, folder)
        )
        self._closing = asyncio.Lock()

    def caveats(self) -> Sequence[str]:
        """What a pod isn't kept from by Atoll, and what nobody has tried."""
        return _CAVEATS

    async def recover(self) -> None:
        """Remove the Jobs that an earlier life of this node has left, and their files.

        Raises:
            RuntimeUnavailable: the cluster doesn't answer.
        """
        await self._cluster.open()
        try:
            await self._cluster.end_all(self._manifests.selector)
            async with asyncio.timeout(self._pace.gone_seconds):
                await until_gone(self._cluster, self._manifests.selector, self._pace)
        except ClusterSilentError as error:
            raise RuntimeUnavailable(
                f"Jobs that an earlier start of this node has left in Kubernetes can't be removed: {error}"
            ) from None
        except TimeoutError:
            # A machine that is cut off keeps its pods until it is heard of again, or taken out of the cluster.
            _log.warning(
                "pods of an earlier start of this node are there still: %s", self._manifests.selector
            )
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def warm_up(self, launch: Launch) -> None:
        """See that the cluster is known."""
        await self._cluster.open()

    async def start(self, launch: Launch) -> Session:
        """See that pods have no network, and that a launch needs none. A pod starts with each call.

        Raises:
            RuntimeUnavailable: the launch needs what a pod hasn't, or nothing keeps pods from the network.
            JobRefused: the site doesn't run the image.
            AlgorithmFailed: nothing says what is to be started, or a folder can't be shown.
        """
        image = _image_of(launch)
        if self._check is not None and not launch.chosen_here:
            await self._check(image)
        volumes = await self._volumes_of(image)
        await self._cluster.open()
        async with self._closing:
            await self._close_network()
        user = NOBODY if os.geteuid() == 0 else None
        if user is not None:
            writable = [launch.temporary, *(mount.source for mount in launch.mounts if mount.writable)]
            await asyncio.to_thread(hand_over, writable, user)
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        place = PodPlace(launch, self._cluster, self._manifests, self._folder, user, self._pace, volumes)
        return PodSession(place)

    async def close(self) -> None:
        """Hang up."""
        await self._cluster.close()

    async def _volumes_of(self, image: Image) -> Sequence[str]:
        """The folders that an image calls volumes, where somebody looks.

        Raises:
            RuntimeUnavailable: they can't be found out, and so can't be covered.
        """
        if self._look is None:
            return ()
        if image.digest not in self._volumes:
            try:
                found = await self._look(image)
            except RuntimeUnavailable as error:
                raise RuntimeUnavailable(
                    f"{error}. So it isn't known for which folders this image wants room on a machine's disk: see that "
                    "this node can ask the registry (kubernetes: registries), or leave them unbounded (kubernetes: "
                    "volumes: left)"
                ) from None
            if len(self._volumes) >= _IMAGES_KNOWN_MAX:
                self._volumes.clear()
            self._volumes[image.digest] = found
        return self._volumes[image.digest]

    async def _close_network(self) -> None:
        """See that a policy leaves this node's pods no network, and that no other gives them one.

        Raises:
            RuntimeUnavailable: it can't be seen to.
        """
        wanted = self._manifests.policy()
        name, namespace = wanted["metadata"]["name"], self._manifests.settings.namespace
        try:
            ours = await self._closed(name, wanted)
            if ours is not True:
                await self._cluster.make_policy(wanted, instead=ours is False)
                ours = await self._closed(name, wanted)
        except ClusterSilentError as error:
            raise RuntimeUnavailable(
                f"nothing keeps algorithms in the namespace {namespace} from the network: Kubernetes doesn't make or "
                f"show the network policies there: {error}. No algorithm is run without one"
            ) from None
        if ours is not True:
            raise RuntimeUnavailable(
                f"nothing keeps algorithms in the namespace {namespace} from the network: the policy {name} was made, "
                "and is not there as it was made. No algorithm is run without it"
            )

    async def _closed(self, name: str, wanted: dict[str, object]) -> bool | None:
        """Whether the policy is there as it is wanted; None where there is none of its name."""
        found = None
        for policy in await self._cluster.policies():
            its_name = (policy.get("metadata") or {}).get("name")
            if its_name == name:
                found = closes(policy, wanted)
            elif opens(policy, self._manifests.labels):
                raise RuntimeUnavailable(
                    f"the network policy {its_name} of the namespace {self._manifests.settings.namespace} gives "
                    "algorithms a network, which no other policy can take from them. Give algorithms a namespace of "
                    "their own"
                )
        return found


class PodSession(CallSession):
    """A pod for each call. One that the cluster takes away is started once more."""

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        try:
            return await self._call(request, seed, doorway)
        except ParentLost as error:
            _log.warning("the cluster has taken a call's pod away, which is started once more: %s", error)
        try:
            return await self._call(request, seed, doorway)
        except ParentLost as error:
            raise AlgorithmFailed(
                f"the cluster has taken the call's pod away, twice; the second time for this reason: {error}"
            ) from None


def _image_of(launch: Launch) -> Image:
    """The image of a launch that can be done in pods.

    Raises:
        RuntimeUnavailable: it can't.
        AlgorithmFailed: nothing says what is to be started.
    """
    image = launch.image
    if image is None or image.kind is not ImageKind.OCI:
        raise RuntimeUnavailable(
            f"runtime kubernetes runs images of a registry, and the algorithm at {launch.seat} is "
            f"{'code in a folder' if image is None else f'a file {image.name}'}. Build an image of it (atoll image "
            "build), or use another runtime"
        )
    needs = {
        "answers call after call in one process": launch.style is not Style.CALL,
        "speaks with its node while it runs": launch.speaks_http,
        "is given addresses that it may reach": bool(launch.outlets),
        "is lent modules of its node": bool(launch.modules),
    }
    for what, needed in needs.items():
        if needed:
            raise RuntimeUnavailable(
                f"the algorithm at {launch.seat} {what}, and a pod has no network, nor anything of its node but files. "
                "Expected a COINSTAC computation of protocol 1, at a site whose node.yaml lets algorithms reach "
                "nothing; or use another runtime"
            )
    if not launch.command:
        raise AlgorithmFailed(
            f"the algorithm's specification names no command, and what the image {image.name} starts by itself isn't "
            "known before it is fetched. Give the specification a command"
        )
    return image
