"""What a data station's admin says in node.yaml: the hub, the databases, the rules, the bounds.

All of it is read and checked before anything starts, and every fault is told with its place. What
is a secret lies in a file of its own, which only its owner can read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from atoll.engine.limits import CALL_SECONDS_MAX, LOG_BYTES_MAX, PROCESSES_MAX, REPLY_BYTES_MAX, CallLimits
from atoll.model.errors import SpecInvalid
from atoll.node.cluster import read_kubernetes, read_slurm
from atoll.node.containers import ENGINES, read_containers, read_signers, read_sources
from atoll.node.databases import Reader
from atoll.node.documents import load_yaml
from atoll.node.environment import IMAGES_ALONE, OF_FILES, Environment, read_environments
from atoll.node.network.permitted import NETWORK, NetworkRules, read_network
from atoll.node.offer import Offer
from atoll.node.sections import Section
from atoll.runtimes import outside
from atoll.runtimes.containers.settings import ContainerSettings
from atoll.runtimes.kubernetes.settings import KubernetesSettings
from atoll.runtimes.slurm import options as slurm_options
from atoll.runtimes.slurm.options import SlurmOptions

RUNTIMES = ("bubblewrap", "docker", "podman", "apptainer", "slurm", "kubernetes", "process", "inline")
#: The runtimes that keep an algorithm from the rest of the machine.
ISOLATED = frozenset({"bubblewrap", "docker", "podman", "apptainer", "slurm", "kubernetes"})
#: What is done with bundles of code, with images, and with algorithms that would talk to other sites.
BUNDLES = ("allow", "listed", "refuse")
_LEVELS = ("debug", "info", "warning", "error")
_WHAT = "the settings of a node"
_REMEDY = "Name it with --config, or make one with atoll node start --register CODE --hub URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """Which jobs the site does. An empty list means any."""

    #: Digests, patterns of names, or patterns of ``DIALECT:NAME``; of images their digests and names.
    algorithms: tuple[str, ...] = ()
    #: What is done with source code that somebody uploaded: all, only where its digest is listed, or none.
    bundles: str = "listed"
    #: What is done with images: all, only what is listed by digest or by name, or none.
    images: str = "listed"
    #: The registries that are asked for images and for their signatures: hosts, with their ports where they have
    #: any; ``*`` stands for anything, and alone for any that is in no private network.
    registries: tuple[str, ...] = ()
    #: Who must have signed an image: a pattern of names, and files with public keys, of which one must fit.
    signers: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    #: Ids or names.
    collaborations: tuple[str, ...] = ()
    submitters: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()
    #: Labels of the databases that an algorithm gets; the first pattern that fits it counts.
    databases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Whether algorithms may talk to other sites while they run: none, those that are listed, or any.
    peers: str = "refuse"
    #: The algorithms that may, where `peers` is ``listed``; as in `algorithms`.
    peers_for: tuple[str, ...] = ()
    #: How often a step may call this site. None: as often as it likes.
    rounds_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What algorithms may take of this machine."""

    #: Seconds of one call.
    seconds: float = CALL_SECONDS_MAX
    #: Bytes of memory of one call; None for as much as there is.
    memory: int | None = None
    #: Bytes that one call may answer.
    reply: int = REPLY_BYTES_MAX
    #: Bytes that one job may send: its message and its files. None: what Atoll itself bounds.
    sent: int | None = None
    #: Bytes that must be free on the workspace's disk for a job to begin.
    disk_free: int = 1024**3
    #: Bytes that the folders of a run which its algorithm can write to may hold. None: what the disk holds.
    disk: int | None = None
    #: Processes and threads of one call.
    processes: int = PROCESSES_MAX
    #: Processors that one call may keep busy, such as 1.5. None: all.
    processors: float | None = None
    #: Bytes that a session may print beside its answers.
    log: int = LOG_BYTES_MAX

    def of_a_call(self) -> CallLimits:
        """What a runtime is told."""
        return CallLimits(
            seconds=self.seconds,
            reply_bytes=self.reply,
            memory_bytes=self.memory,
            processors=self.processors,
            processes=self.processes,
            disk_bytes=self.disk,
            log_bytes=self.log,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What a node writes down, and what it tells."""

    level: str = "info"
    #: Whether the end of what an algorithm printed goes to the hub when its job fails. It may hold data.
    send: bool = False
    #: Days that the logs and outputs of runs are kept at the site.
    keep_days: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """A node.yaml, read and checked."""

    #: The hub's address.
    hub: str
    #: The file with the node's key.
    key_file: Path
    #: The file with the certificates of the authorities that the hub's is checked with; None: the system's.
    ca_file: Path | None = None
    #: The proxy on the way to the hub; None: what the environment says.
    proxy: str | None = None
    #: How the node is called, for its own people; the hub knows it by its key.
    name: str = ""
    #: Whether it has data; one that hasn't serves as the seat that combines.
    holds_data: bool = True
    #: Its databases, and the variables that it sets for all algorithms.
    offer: Offer = field(default_factory=Offer)
    #: Variables that it sets for some algorithms: of every pattern that fits; where two set the same, the first wins.
    env_for: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: What algorithms in sandboxes may reach.
    network: NetworkRules = field(default_factory=NetworkRules)
    #: What algorithms run in that need what is installed there.
    environments: tuple[Environment, ...] = ()
    runtime: str = "bubblewrap"
    #: Whether algorithms may run where nothing keeps them from the rest of the machine.
    allow_unsandboxed: bool = False
    #: The engine that runs images; None where the node runs none.
    containers: ContainerSettings | None = None
    #: The folder with images of Apptainer's format that algorithms may name; None: there is none.
    image_files: Path | None = None
    #: The cluster, where the runtime is Slurm.
    slurm: SlurmOptions = field(default_factory=SlurmOptions)
    #: The cluster, where the runtime is Kubernetes.
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    #: What a runtime that another package brings is told.
    runtime_options: Mapping[str, Any] = field(default_factory=dict)
    policies: Policies = field(default_factory=Policies)
    limits: Limits = field(default_factory=Limits)
    #: Calls at a time.
    slots: int = 2
    #: Seconds that jobs under way get when the node is told to end.
    drain_seconds: float = 30.0
    #: The folder for runs, algorithms, outputs and logs.
    workspace: Path
    #: What the site gives to computations.
    data_maps: Path
    log: Log = field(default_factory=Log)

    @property
    def isolated(self) -> bool:
        """Whether algorithms are kept from the rest of the machine; of another package's runtime that is seen later."""
        if self.runtime == "slurm":
            return self.slurm.inner in slurm_options.ISOLATED
        return self.runtime in ISOLATED or self.runtime not in RUNTIMES

    @property
    def runs_code(self) -> bool:
        """Whether code runs with the interpreters of this machine, and not in images alone."""
        if self.runtime == "slurm":
            return self.slurm.inner in slurm_options.RUNS_CODE
        return self.runtime not in IMAGES_ALONE

    @property
    def runs_files(self) -> bool:
        """Whether images run that are files."""
        if self.runtime == "slurm":
            return self.slurm.inner in slurm_options.RUNS_IMAGES
        return self.runtime in OF_FILES


def read_settings(path: Path) -> NodeSettings:
    """Read a node.yaml.

    Raises:
        SpecInvalid: with every fault that was found.
    """
    document = load_yaml(_text(path), path, expected=_WHAT)
    if not isinstance(document, dict):
        raise SpecInvalid(f"{path} holds no settings: expected 'hub:' and the others. {_REMEDY}")
    folder = path.parent.absolute()  # whatever folder the node is started in
    reader = Reader(folder, path.name, secrets=True)
    section = Section(document, str(path), reader.faults, folder=folder)
    settings = _settings(section, reader, path)
    section.close()
    if reader.faults:
        raise SpecInvalid(*reader.faults)
    return settings


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise SpecInvalid(f"{path} is not there: expected {_WHAT}. {_REMEDY}") from None
    except UnicodeDecodeError as error:
        raise SpecInvalid(f"{path} is not UTF-8 (at byte {error.start}): expected {_WHAT}") from None
    except OSError as error:
        raise SpecInvalid(f"{path} can't be read ({error.strerror}): expected {_WHAT}. {_REMEDY}") from None


def _settings(section: Section, reader: Reader, path: Path) -> NodeSettings:
    described = {key: section.take(key) for key in ("databases", "env")}
    # What other packages bring is looked for only where the word is none of Atoll's own.
    others = () if section.take("runtime") in (None, *RUNTIMES) else outside.names()
    runtime = section.choice("runtime", (*RUNTIMES, *others), "bubblewrap")
    offer = reader.offer(described, str(path))
    settings = NodeSettings(
        hub=_address(section),
        key_file=section.path("key_file", "node.key"),
        ca_file=section.file("ca_file"),
        proxy=section.optional("proxy"),
        name=section.text("name", ""),
        holds_data=section.flag("holds_data", default=True),
        offer=offer,
        env_for={
            pattern: reader.variables(described, f"{path}: env_for {pattern!r}")
            for pattern, described in section.mapping("env_for").items()
        },
        network=read_network(section.section("network")),
        runtime=runtime,
        allow_unsandboxed=section.flag("allow_unsandboxed", default=False),
        containers=_containers(section, runtime),
        image_files=None if not section.has("image_files") else section.path("image_files", ""),
        slurm=read_slurm(section.section("slurm")),
        kubernetes=read_kubernetes(section.section("kubernetes"), runtime),
        runtime_options=section.mapping("runtime_options"),
        policies=_policies(section.section("policies"), offer),
        limits=_limits(section.section("limits")),
        slots=section.whole("slots", max(1, len(os.sched_getaffinity(0))), least=1),
        drain_seconds=section.seconds("drain_seconds", 30.0),
        workspace=section.path("workspace", "workspace"),
        data_maps=section.path("data_maps", "data-maps.yaml"),
        log=_log(section.section("log")),
    )
    # Which of them can be used is known only now.
    settings = replace(settings, environments=_environments(section, settings))
    if not settings.isolated and not settings.allow_unsandboxed:
        section.fault(
            "runtime",
            f"is {runtime}, which keeps an algorithm from nothing on this machine: expected bubblewrap, or "
            "'allow_unsandboxed: true' beside it",
        )
    return settings


def _address(section: Section) -> str:
    hub = section.text("hub", "")
    if not hub.startswith(("https://", "http://")):
        section.fault("hub", "is no address: expected one such as https://hub.example.org")
    return hub


def _containers(section: Section, runtime: str) -> ContainerSettings | None:
    there = section.has("containers") or runtime in ENGINES
    containers = read_containers(section.section("containers"), runtime)
    return containers if there else None


def _environments(section: Section, settings: NodeSettings) -> tuple[Environment, ...]:
    return read_environments(
        section,
        settings.runtime,
        runs_code=settings.runs_code,
        contained=settings.containers is not None,
        files=settings.runs_files,
    )


def _policies(section: Section, offer: Offer) -> Policies:
    databases = {}
    for pattern, labels in section.mapping("databases").items():
        if not isinstance(labels, list) or not all(label in offer.databases for label in labels):
            there = ", ".join(offer.databases) or "none"
            section.fault("databases", f"gives {pattern!r} what isn't offered: expected a list of {there}")
        else:
            databases[pattern] = tuple(labels)
    policies = Policies(
        algorithms=section.words("algorithms"),
        bundles=section.choice("bundles", BUNDLES, "listed"),
        images=section.choice("images", BUNDLES, "listed"),
        registries=read_sources(section),
        signers=read_signers(section),
        collaborations=section.words("collaborations"),
        submitters=section.words("submitters"),
        organizations=section.words("organizations"),
        databases=databases,
        peers=section.choice("peers", BUNDLES, "refuse"),
        peers_for=section.words("peers_for"),
        rounds_max=section.whole("rounds_max", None, least=1),
    )
    section.close()
    return policies


def _limits(section: Section) -> Limits:
    default = Limits()
    limits = Limits(
        seconds=section.seconds("seconds", default.seconds),
        memory=section.size("memory", None),
        reply=section.size("reply", default.reply),
        sent=section.size("sent", None),
        disk_free=section.size("disk_free", default.disk_free),
        disk=section.size("disk", None),
        processes=section.whole("processes", default.processes, least=1),
        processors=section.number("processors"),
        log=section.size("log", default.log),
    )
    section.close()
    return limits


def _log(section: Section) -> Log:
    log = Log(
        level=section.choice("level", _LEVELS, "info"),
        send=section.flag("send", default=False),
        keep_days=section.whole("keep_days", 30, least=0),
    )
    section.close()
    return log


def setting_names() -> list[str]:
    """Every key of a node.yaml, those within another as ``limits.seconds``."""
    inner = {
        "containers": ContainerSettings,
        "slurm": SlurmOptions,
        "kubernetes": KubernetesSettings,
        "policies": Policies,
        "limits": Limits,
        "log": Log,
    }
    names = ["databases", "env"]
    for one in fields(NodeSettings):
        if one.name in inner:
            names += [f"{one.name}.{each.name}" for each in fields(inner[one.name])]
        elif one.name == "network":
            names += [f"network.{key}" for key in NETWORK]
        elif one.name != "offer":
            names.append(one.name)
    return names
