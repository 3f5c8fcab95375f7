"""What a site says of its cluster: where algorithms run, what they may have, and what holds the node's files."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atoll.engine.limits import QUEUED_SECONDS_MAX
from atoll.runtimes.containers.settings import Pull, Registry

#: A name of Kubernetes' own things.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z")
#: What a toleration may say.
_TOLERATION = frozenset({"key", "operator", "value", "effect", "tolerationSeconds"})
#: Where a program within a cluster finds who it is.
_OWN_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """A site's settings for its cluster."""

    #: Where algorithms run. No policy there may give them a network.
    namespace: str = ""
    #: The claim of a volume (PersistentVolumeClaim) that holds the node's workspace, and the site's data.
    claim: str = ""
    #: The folder in which this node sees that volume.
    mounted_at: Path | None = None
    #: How the cluster is reached; None where the node itself runs in it.
    kubeconfig: Path | None = None
    pull: Pull = Pull.MISSING
    #: The names of secrets with which the cluster fetches images.
    image_pull_secrets: tuple[str, ...] = ()
    #: By the registry's host, with its port: how this node itself asks it, for signatures and for what an image
    #: calls a volume.
    registries: Mapping[str, Registry] = field(default_factory=dict)
    #: What becomes of the folders that an image calls volumes: ``covered`` by memory that is bounded, or ``left``
    #: to the cluster, on a machine's disk that nobody bounds.
    volumes: str = "covered"
    #: Labels that a machine must have.
    node_selector: Mapping[str, str] = field(default_factory=dict)
    #: Taints of machines that don't keep algorithms away, as Kubernetes has them.
    tolerations: tuple[Mapping[str, Any], ...] = ()
    #: Graphics processors of NVIDIA for each call.
    gpus: int = 0
    #: Seconds that a call may wait for a machine. Then it is taken back, and its run is told.
    queued_seconds: float = QUEUED_SECONDS_MAX

    def faults(self) -> list[str]:
        """What is wrong with these settings, each as a sentence that begins with the setting's name."""
        return [*self._faults()]

    def _faults(self) -> Iterator[str]:
        for key in ("namespace", "claim"):
            if _NAME.match(getattr(self, key)) is None:
                yield f"{key} is {getattr(self, key)!r}: expected a name such as Kubernetes has them"
        if self.mounted_at is None or not self.mounted_at.is_absolute():
            yield "mounted_at is missing: expected the folder in which this node sees the claim's volume"
        if self.kubeconfig is not None and not self.kubeconfig.is_file():
            yield f"kubeconfig names {self.kubeconfig}, where no file is"
        for name in self.image_pull_secrets:
            if _NAME.match(name) is None:
                yield f"image_pull_secrets has {name!r}: expected names such as Kubernetes has them"
        if not all(isinstance(each, str) for pair in self.node_selector.items() for each in pair):
            yield "node_selector has what is no text: expected labels, each with its value, in quotes"
        for one in self.tolerations:
            if not isinstance(one, dict) or not set(one) <= _TOLERATION:
                yield f"tolerations has {one!r}: expected mappings with some of {', '.join(sorted(_TOLERATION))}"
        if self.gpus < 0:
            yield f"gpus is {self.gpus}: expected a whole number from 0"
        if not 0 < self.queued_seconds < math.inf:
            yield f"queued_seconds is {self.queued_seconds:g}: expected a number of seconds above 0"


def why_not(settings: KubernetesSettings, workspace: Path) -> str | None:
    """Why algorithms can't be run on a cluster from here, as a sentence; None where nothing stands against it.

    The cluster isn't asked.
    """
    if find_spec("kubernetes") is None:
        return (
            "the client kubernetes is not installed, which this takes. pip install 'atoll[node,kubernetes]'"
        )
    if (faults := settings.faults()) != []:
        return f"the section 'kubernetes' of node.yaml can't be used: {'; '.join(faults)}"
    assert settings.mounted_at is not None
    volume, folder = os.path.realpath(settings.mounted_at), os.path.realpath(workspace)
    if not folder.startswith(volume.rstrip("/") + "/"):
        return (
            f"the workspace {workspace} doesn't lie in the volume of the claim {settings.claim}, which this node sees "
            f"at {settings.mounted_at}. Set 'workspace' to a folder within it: algorithms find their files there"
        )
    if settings.kubeconfig is None and not _OWN_TOKEN.is_file():
        return (
            "no cluster is known: this node runs outside of one, and node.yaml names no file for it. Set 'kubernetes: "
            "kubeconfig', or run the node in the cluster, with a service account"
        )
    return None
