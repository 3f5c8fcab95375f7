"""Which runtime a node runs algorithms with: the one that its settings name, and never one with less isolation.

Code runs with the node's own interpreters, under the runtime that the settings name, or in an image that
they name for it. Images run in containers, where the settings have any: a node with ``runtime: bubblewrap``
may do both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from atoll.algorithms.manifest import Manifest
from atoll.engine.running import Image, ImageKind, Runtime
from atoll.model.errors import JobRefused, RuntimeUnavailable, SpecInvalid
from atoll.node.environment import IMAGES_ALONE, OF_FILES, NamedImage, no_image
from atoll.node.image_files import FileRuntime
from atoll.node.inventory import Inventories, Inventory
from atoll.node.settings import RUNTIMES, NodeSettings
from atoll.runtimes import outside
from atoll.runtimes.containers.reference import read_reference
from atoll.runtimes.containers.settings import ContainerSettings, Registry
from atoll.runtimes.outside import RuntimeContext


def why_not(settings: NodeSettings) -> str | None:
    """Why the runtime that the settings name can't be used here, with the remedy; None where it can."""
    if not settings.isolated and not settings.allow_unsandboxed:
        return (
            f"runtime {settings.runtime} keeps an algorithm from nothing on this machine. Say 'runtime: bubblewrap', "
            "or 'allow_unsandboxed: true' beside it"
        )
    if settings.runtime == "bubblewrap":
        # Imported here and below: a node loads the one runtime that it uses.
        from atoll.runtimes.bubblewrap import probe

        reason = probe()
        if reason is not None:
            return (
                f"{reason}. Install bubblewrap (apt install bubblewrap), and let users make namespaces "
                "(sysctl kernel.unprivileged_userns_clone=1; on Ubuntu also "
                "kernel.apparmor_restrict_unprivileged_userns=0). A node doesn't run algorithms with less isolation "
                "than its settings name"
            )
    if settings.runtime == "slurm":
        from atoll.runtimes.slurm.queue import why_not as why_no_slurm  # Late, as said above.

        if (reason := why_no_slurm(settings.slurm.conf)) is not None:
            return reason
    if settings.runtime == "kubernetes":
        from atoll.runtimes.kubernetes.settings import why_not as why_no_cluster  # Late, as said above.

        if (reason := why_no_cluster(settings.kubernetes, settings.workspace.absolute())) is not None:
            return reason
    return None if settings.containers is None else _why_no_engine(settings.containers)


def _why_no_engine(containers: ContainerSettings) -> str | None:
    try:
        # Late: it needs an extra, and most nodes run no images.
        from atoll.runtimes.containers.engine import find_socket
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed, which containers need. pip install 'atoll[node,containers]'"
    try:
        find_socket(containers)
    except RuntimeUnavailable as error:
        return str(error)
    return None


class _Contained(Runtime, Protocol):
    """Runs images, and keeps them for a while."""

    async def collect(self) -> Sequence[str]:
        """Remove the images that are kept no longer; their names."""
        ...

    async def digest_of(self, name: str) -> str:
        """The digest of the image that has a name here."""
        ...

    async def described(
        self, image: Image, manifest: Manifest, waits: Callable[[str], None] | None
    ) -> Manifest:
        """What an image says of itself."""
        ...


class Runtimes:
    """One runtime for each interpreter, made when it is first needed.

    Args:
        settings: name the kind.
        roots: folders under which all that algorithms are shown lies.
    """

    def __init__(self, settings: NodeSettings, roots: Sequence[Path]) -> None:
        self._settings = settings
        self._roots = roots
        self._made: dict[Path | None, Runtime] = {}
        self._contained: _Contained | None = None
        self._of_files: Runtime | None = None
        self._in_pods: Runtime | None = None
        self._inventories = Inventories(settings.workspace.absolute() / "images" / "inventories")

    @property
    def runs_code(self) -> bool:
        """Whether code runs with the interpreters of this machine, too."""
        return self._settings.runs_code

    @property
    def runtime(self) -> str:
        """What the settings name."""
        return self._settings.runtime

    def of(self, python: Path | None) -> Runtime:
        """The runtime with this interpreter; None for Atoll's own.

        Raises:
            RuntimeUnavailable: it doesn't work here, or can't use another interpreter.
        """
        if python not in self._made:
            self._made[python] = self._make(python)
        return self._made[python]

    def for_image(self, image: Image, *, chosen_here: bool = False) -> Runtime:
        """The runtime that runs an image.

        Args:
            image: which.
            chosen_here: whether the settings name it, as the environment of code.

        Raises:
            JobRefused: this node runs no images of this kind.
            RuntimeUnavailable: it can't at this time.
        """
        if image.kind is ImageKind.SIF:
            return self._files(image, chosen_here=chosen_here)
        if self._settings.runtime == "kubernetes":
            return self._pods()
        if self._settings.containers is None:
            raise JobRefused(
                f"{image.name} is an image, and this node runs none of its kind: its node.yaml has no section "
                "'containers' for Docker or Podman"
            )
        return self._containers(self._settings.containers)

    async def pin(self, named: NamedImage) -> Image:
        """Which image is meant by the name that node.yaml gives.

        Raises:
            RuntimeUnavailable: it isn't here, and has no digest by which it could be fetched.
        """
        digest = named.digest
        if digest is None and named.kind is ImageKind.SIF:
            from atoll.runtimes.sif.kept import Roots  # Late, as said above.

            digest = await Roots(self._settings.workspace.absolute() / "images").digest_of(Path(named.name))
        elif digest is None:
            assert self._settings.containers is not None  # the settings have been checked
            digest = await self._containers(self._settings.containers).digest_of(named.name)
        return Image(kind=named.kind, name=named.name, digest=digest)

    async def inventory(self, image: Image, waits: Callable[[str], None] | None) -> Inventory:
        """What an image has that code may need.

        Raises:
            AtollError: it can't be had, or can't be asked.
        """
        return await self._inventories.of(image, self.for_image(image, chosen_here=True), waits)

    async def described(
        self, image: Image, manifest: Manifest, waits: Callable[[str], None] | None
    ) -> Manifest | None:
        """What an image says of itself, in a dialect; None where it says nothing that is known here.

        Raises:
            JobRefused: it can't be had here, or not be looked into.
            RuntimeUnavailable: it can't be had at this time.
        """
        runtime = self.for_image(image)
        if isinstance(runtime, FileRuntime):
            told = runtime.described(image, manifest)
        elif self._contained is not None and runtime is self._contained:
            told = self._contained.described(image, manifest, waits)
        else:
            raise JobRefused(
                f"the image {image.name} ({image.digest}) is one that this site allows, and what is started in it is "
                f"said by whoever submits it: under runtime {self._settings.runtime} nobody can look whether the image "
                "says so, too. Ask the site's people to list the algorithm by its own digest"
            )
        try:
            return await told
        except SpecInvalid:
            return None

    async def recover(self) -> None:
        """Remove what an earlier life of this node has left in the engine and elsewhere.

        Raises:
            RuntimeUnavailable: the engine doesn't answer.
        """
        await asyncio.to_thread(self._inventories.sweep)
        if self._settings.containers is not None:
            await self._containers(self._settings.containers).recover()
        if self._settings.runtime == "kubernetes":
            await self._pods().recover()
        if self._settings.runtime not in IMAGES_ALONE:
            await self.of(None).recover()

    async def collect(self) -> Sequence[str]:
        """Remove the images that the settings keep no longer; their names.

        Raises:
            RuntimeUnavailable: the engine doesn't answer.
        """
        return () if self._contained is None else await self._contained.collect()

    async def close(self) -> None:
        """End what outlives sessions."""
        if self._contained is not None:
            await self._contained.close()
            self._contained = None
        if self._of_files is not None:
            await self._of_files.close()
            self._of_files = None
        if self._in_pods is not None:
            await self._in_pods.close()
            self._in_pods = None
        while self._made:
            _, runtime = self._made.popitem()
            await runtime.close()

    def _containers(self, containers: ContainerSettings) -> _Contained:
        if self._contained is None:
            reason = why_not(self._settings)
            if reason is not None:
                raise RuntimeUnavailable(reason)
            from atoll.node.fetching import FetchingRuntime  # Late, as said above.
            from atoll.node.sources import sources  # Late, as said above.
            from atoll.runtimes.containers.owners import owner_of  # Late, as said above.

            workspace = self._settings.workspace.absolute()
            self._contained = FetchingRuntime(
                containers,
                owner_of(workspace),
                signers=self._settings.policies.signers,
                sources=sources(self._settings),
                folder=workspace / "images",
                proxy=self._settings.proxy,
                kept=self._named_digests(),
            )
        return self._contained

    def _named_digests(self) -> frozenset[str]:
        """The digests of the images that the settings name for code."""
        named = (each.image for each in self._settings.environments)
        return frozenset(each.digest for each in named if each is not None and each.digest is not None)

    def _pods(self) -> Runtime:
        """Runs images on a cluster, of which it fetches them itself."""
        if self._in_pods is None:
            if (reason := why_not(self._settings)) is not None:
                raise RuntimeUnavailable(reason)
            from atoll.runtimes.kubernetes.runtime import KubernetesRuntime  # Late, as said above.

            folder = self._settings.workspace.absolute() / "kubernetes"
            look = self._volumes_of if self._settings.kubernetes.volumes == "covered" else None
            self._in_pods = KubernetesRuntime(
                self._settings.kubernetes, folder, check=self._fetched_elsewhere(), look=look
            )
        return self._in_pods

    async def _volumes_of(self, image: Image) -> Sequence[str]:
        """The folders that an image of a registry calls volumes."""
        from atoll.node.sources import sources  # Late, as said above.
        from atoll.runtimes.containers.registry import Repository  # Late, as said above.

        reference = read_reference(image.name)
        known = self._settings.kubernetes.registries.get(reference.host, Registry())
        repository = Repository(reference, known, proxy=self._settings.proxy, sources=sources(self._settings))
        async with repository:
            return await repository.volumes(image.digest)

    def _fetched_elsewhere(self) -> Callable[[Image], Awaitable[None]]:
        """Checks an image that somebody else fetches for this node."""
        from atoll.node.sources import sources  # Late, as said above.

        signed, asked = self._signed(), sources(self._settings)

        async def check(image: Image) -> None:
            asked.check(read_reference(image.name).host)
            if signed is not None:
                await signed(image)

        return check

    def _files(self, image: Image, *, chosen_here: bool) -> Runtime:
        """Runs images that are files, in the way that the settings name."""
        settings = self._settings
        if settings.runtime not in OF_FILES or (settings.image_files is None and not chosen_here):
            raise JobRefused(
                f"{image.name} is an image that is a file, and this node runs none: its node.yaml names no folder of "
                f"such files ('image_files'), or a runtime that is none of {', '.join(OF_FILES)}"
            )
        if self._of_files is None:
            if (reason := why_not(settings)) is not None:
                raise RuntimeUnavailable(reason)
            self._of_files = FileRuntime(self._file_runtime(), settings.image_files, self._signed())
        return self._of_files

    def _signed(self) -> Callable[[Image], Awaitable[None]] | None:
        """Checks the signatures of images that no engine fetches for this node, where the site wants any."""
        if not self._settings.policies.signers:
            return None
        from atoll.node.sources import sources  # Late, as said above.
        from atoll.runtimes.containers.signed import SignatureCheck  # Late, as said above.

        folder = self._settings.workspace.absolute() / "images" / "signatures"
        return SignatureCheck(
            self._settings.policies.signers,
            registries=self._settings.kubernetes.registries,
            sources=sources(self._settings),
            folder=folder,
            proxy=self._settings.proxy,
        ).check

    def _file_runtime(self) -> Runtime:
        cache = self._settings.workspace.absolute() / "images"
        if self._settings.runtime == "bubblewrap":
            from atoll.runtimes.rootfs import RootfsRuntime  # Late, as said above.

            return RootfsRuntime(cache=cache)
        if self._settings.runtime == "apptainer":
            from atoll.runtimes.apptainer import ApptainerRuntime  # Late, as said above.

            return ApptainerRuntime(cache=cache)
        return self._slurm(None)

    def _slurm(self, python: Path | None) -> Runtime:
        from atoll.runtimes.slurm.runtime import SlurmRuntime  # Late, as said above.

        folder = self._settings.workspace.absolute() / "slurm"
        return SlurmRuntime(folder=folder, options=self._settings.slurm, python=python, roots=self._roots)

    def _outside(self, python: Path | None) -> Runtime:
        """A runtime that another package brings."""
        settings = self._settings
        context = RuntimeContext(
            owner=str(settings.workspace.absolute()),
            roots=tuple(self._roots),
            python=python,
            options=settings.runtime_options,
        )
        runtime = outside.load(settings.runtime)(context)
        if not runtime.isolated and not settings.allow_unsandboxed:
            raise RuntimeUnavailable(
                f"runtime {settings.runtime} doesn't keep algorithms from this machine. Say 'allow_unsandboxed: true' "
                "beside it, or name another"
            )
        return runtime

    def _make(self, python: Path | None) -> Runtime:
        reason = why_not(self._settings)
        if reason is not None:
            raise RuntimeUnavailable(reason)
        if self._settings.runtime == "bubblewrap":
            from atoll.runtimes.bubblewrap import BubblewrapRuntime  # Late, as said above.

            return BubblewrapRuntime(python=python, roots=self._roots)
        if self._settings.runtime == "slurm":
            return self._slurm(python)
        if self._settings.runtime not in RUNTIMES:
            return self._outside(python)
        if self._settings.runtime in IMAGES_ALONE:
            raise JobRefused(no_image(self._settings.runtime))
        if self._settings.runtime == "process":
            from atoll.runtimes.process import ProcessRuntime  # Late, as said above.

            return ProcessRuntime(python=python)
        if python is not None:
            raise RuntimeUnavailable(
                "runtime inline calls functions in the node's own process, and can't use another environment"
            )
        from atoll.runtimes.inline import InlineRuntime  # Late, as said above.

        return InlineRuntime()
