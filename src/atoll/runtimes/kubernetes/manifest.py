"""What the cluster is asked to make: a call's Job and its Secret, and the policy that leaves them no network.

All that keeps an algorithm in stands here. Nothing here asks a cluster.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.engine.limits import PULL_SECONDS_MAX, START_SECONDS_MAX, CallLimits
from atoll.engine.running import Launch
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes.command import CODE, code_at
from atoll.runtimes.containers.reference import read_reference
from atoll.runtimes.containers.settings import Pull
from atoll.runtimes.kubernetes.settings import KubernetesSettings

#: Labels by which Atoll's things are found.
OWNER, SEAT, CALL = "org.atoll/owner", "org.atoll/seat", "org.atoll/call"
#: The container with the algorithm; a cluster may put others beside it.
CONTAINER = "algorithm"
#: The files of a call, which lie in its folder under these names.
IN, OUT, LOG, BLANK = "in", "out", "log", "blank"
_FILES = "/run/atoll/call"
_TEMPORARY = "/tmp"  # noqa: S108 -- the pod's own
#: The command is handed over as words, none of which the shell reads.
_SCRIPT = f'exec "$@" < {_FILES}/{IN} > {_FILES}/{OUT} 2>> {_FILES}/{LOG}'
_VOLUME, _EMPTY = "claim", "nothing"
#: Bytes that a pod may take of its machine's own disk: what it writes lies in the claim's volume.
_DISK_BYTES = 256 * 1024**2
#: Bytes of each folder that the image calls a volume. They count as memory.
_ROOM_BYTES = 256 * 1024**2
#: Seconds after its end when a Job removes itself, where its node didn't.
_KEPT_SECONDS = 600
#: Seconds between the word to end and the end. With 0 a pod counts as gone before it is.
_GRACE_SECONDS = 1
_PULL = {Pull.ALWAYS: "Always", Pull.MISSING: "IfNotPresent", Pull.NEVER: "Never"}
_LABEL_MAX = 63
#: Labels that the cluster itself gives the pods of a Job, with values that aren't known before.
_GIVEN = re.compile(r"(batch\.kubernetes\.io/.*|job-name|controller-uid)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of an algorithm."""

    #: What all of it is called in the cluster.
    name: str
    launch: Launch
    #: Its own folder, with its files.
    folder: Path
    #: Variables that it gets. Their values may be secret.
    environment: Mapping[str, str]
    #: The user and the group that it runs as, neither of them root's; and further groups.
    user: tuple[int, int]
    groups: tuple[int, ...] = ()
    #: Folders for which a cluster would make room on a machine's disk, which nobody bounds.
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """Writes down what is made for one owner."""

    settings: KubernetesSettings
    #: Who owns it: a node, by its claim and its folder in it.
    owner: str
    #: The labels of everything.
    labels: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", {OWNER: self.owner})

    @property
    def selector(self) -> str:
        """What is asked for to find everything."""
        return f"{OWNER}={self.owner}"

    def policy(self) -> dict[str, Any]:
        """The policy that leaves the owner's pods no network."""
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": f"atoll-{self.owner}", "labels": dict(self.labels)},
            # Directions that are named and for which no rule stands are closed.
            "spec": {
                "podSelector": {"matchLabels": dict(self.labels)},
                "policyTypes": ["Ingress", "Egress"],
            },
        }

    def secret(self, call: Call) -> dict[str, Any]:
        """The values of a call's variables."""
        values = {
            _key(number): base64.b64encode(os.fsencode(value)).decode()
            for number, value in enumerate(call.environment.values())
        }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": self._named(call),
            "type": "Opaque",
            "immutable": True,
            "data": values,
        }

    def job(self, call: Call) -> dict[str, Any]:
        """A call's Job.

        Raises:
            AlgorithmFailed: a folder can't be shown to the algorithm.
            RuntimeUnavailable: a folder doesn't lie in the claim's volume.
        """
        lasts = math.ceil(call.launch.limits.seconds + PULL_SECONDS_MAX + START_SECONDS_MAX)
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": self._named(call),
            "spec": {
                "backoffLimit": 0,
                "completions": 1,
                "parallelism": 1,
                # Never two pods of one call at a time: both would write its answer.
                "podReplacementPolicy": "Failed",
                "activeDeadlineSeconds": lasts + math.ceil(self.settings.queued_seconds),
                "ttlSecondsAfterFinished": _KEPT_SECONDS,
                "template": {
                    "metadata": {"labels": self._labels(call)},
                    "spec": {**self._pod(call), "activeDeadlineSeconds": lasts},
                },
            },
        }

    def _named(self, call: Call) -> dict[str, Any]:
        return {"name": call.name, "labels": self._labels(call)}

    def _labels(self, call: Call) -> dict[str, str]:
        return {**self.labels, CALL: call.name, SEAT: label_of(str(call.launch.seat))}

    def _pod(self, call: Call) -> dict[str, Any]:
        settings, (user, group) = self.settings, call.user
        mounts = [*self._mounts(call)]
        volumes: list[dict[str, Any]] = [
            {"name": _VOLUME, "persistentVolumeClaim": {"claimName": settings.claim}}
        ]
        if any(mount["name"] == _EMPTY for mount in mounts):
            volumes.append({"name": _EMPTY, "emptyDir": {"medium": "Memory", "sizeLimit": "4Ki"}})
        for name, target in _room(call, mounts):
            mounts.append({"name": name, "mountPath": target})
            volumes.append({"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": str(_ROOM_BYTES)}})
        pod = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "hostNetwork": False,
            "hostPID": False,
            "hostIPC": False,
            "shareProcessNamespace": False,
            "terminationGracePeriodSeconds": _GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": user,
                "runAsGroup": group,
                "supplementalGroups": list(call.groups),
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [self._container(call, mounts)],
            "volumes": volumes,
        }
        if settings.image_pull_secrets:
            pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
        if settings.node_selector:
            pod["nodeSelector"] = dict(settings.node_selector)
        if settings.tolerations:
            pod["tolerations"] = [dict(each) for each in settings.tolerations]
        return pod

    def _container(self, call: Call, mounts: list[dict[str, Any]]) -> dict[str, Any]:
        launch = call.launch
        assert launch.image is not None
        resources = _resources(launch.limits, self.settings.gpus)
        container = {
            "name": CONTAINER,
            "image": read_reference(launch.image.name).at(launch.image.digest),
            "imagePullPolicy": _PULL[self.settings.pull],
            "command": ["/bin/sh", "-c", unexpanded(_SCRIPT), "sh"],
            "args": [unexpanded(word) for word in launch.command],
            "env": [*_variables(call)],
            "resources": {"limits": resources, "requests": resources},
            "securityContext": {
                "privileged": False,
                "runAsNonRoot": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumeMounts": mounts,
        }
        if launch.code is not None:
            container["workingDir"] = CODE
        return container

    def _mounts(self, call: Call) -> Iterator[dict[str, Any]]:
        launch = call.launch
        yield self._mount(launch.temporary, _TEMPORARY, writable=True)
        if launch.code is not None:
            yield self._mount(launch.code, code_at(launch))
            yield from self._covers(call)
        for mount in launch.mounts:
            target = os.path.normpath(mount.target)
            if not target.startswith("/") or target == "/":
                raise AlgorithmFailed(
                    f"a folder can't be shown to the algorithm at {mount.target!r}: expected an absolute path"
                )
            yield self._mount(mount.source, target, writable=mount.writable)
        # File by file: an algorithm that could put a link in their place would have its node read what that means.
        yield self._mount(call.folder / IN, f"{_FILES}/{IN}")
        yield self._mount(call.folder / OUT, f"{_FILES}/{OUT}", writable=True)
        yield self._mount(call.folder / LOG, f"{_FILES}/{LOG}", writable=True)

    def _covers(self, call: Call) -> Iterator[dict[str, Any]]:
        """Nothing, over each part of the code that the algorithm must not see."""
        launch = call.launch
        code = Path(os.path.realpath(launch.code or "/"))
        for part in launch.masked:
            real = Path(os.path.realpath(code / part))
            if code not in real.parents or not real.exists():
                continue
            target = f"{code_at(launch)}/{real.relative_to(code)}"
            if real.is_dir():
                yield {"name": _EMPTY, "mountPath": target, "readOnly": True}
            else:
                yield self._mount(call.folder / BLANK, target)

    def _mount(self, source: Path, target: str, *, writable: bool = False) -> dict[str, Any]:
        if not source.exists():
            raise AlgorithmFailed(
                f"{str(source)!r} can't be shown to the algorithm: there is no such file or folder"
            )
        assert self.settings.mounted_at is not None
        volume, real = os.path.realpath(self.settings.mounted_at), os.path.realpath(source)
        within = real.removeprefix(volume.rstrip("/") + "/")
        if within == real:
            raise RuntimeUnavailable(
                f"{str(source)!r} can't be shown to the algorithm: it doesn't lie within the volume of the claim "
                f"{self.settings.claim}, which this node sees at {self.settings.mounted_at}. Put it there"
            )
        return {"name": _VOLUME, "mountPath": target, "subPath": within, "readOnly": not writable}


def _room(call: Call, mounts: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Folders that the image calls volumes, but for those over which something lies already."""
    shown = {str(mount["mountPath"]) for mount in mounts}
    # A path that begins with two strokes keeps both of them.
    targets = {"/" + os.path.normpath(f"/{volume}").lstrip("/") for volume in call.volumes} - shown
    for number, target in enumerate(sorted(targets - {"/"})):
        yield f"room{number}", target


def owner_of(claim: str, mounted_at: Path, folder: Path) -> str:
    """Who owns what is made: the node whose folder this is. Another node's of the same path has another claim."""
    within = os.path.relpath(os.path.realpath(folder), os.path.realpath(mounted_at))
    return hashlib.sha256(f"{claim}\0{within}".encode()).hexdigest()[:16]


def label_of(text: str) -> str:
    """A text as a label's value, as far as it can be one."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:_LABEL_MAX].strip("._-") or "seat"


def unexpanded(word: str) -> str:
    """A word in which Kubernetes puts in no variable's value: it reads two dollars as one."""
    return word.replace("$", "$$")


def closes(policy: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a policy, as the cluster has it, closes what it was made to close."""
    spec = policy.get("spec") or {}
    return (
        (spec.get("podSelector") or {}) == wanted["spec"]["podSelector"]
        and set(spec.get("policyTypes") or ()) == {"Ingress", "Egress"}
        and not spec.get("ingress")
        and not spec.get("egress")
    )


def opens(policy: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a policy may let pods with these labels through. What one policy allows, no other forbids."""
    spec = policy.get("spec") or {}
    if not spec.get("ingress") and not spec.get("egress"):
        return False
    selector = spec.get("podSelector") or {}
    named = [
        {"key": key, "operator": "In", "values": [value]}
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    return all(_fits(each, labels) for each in (*named, *(selector.get("matchExpressions") or ())))


def _fits(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether an expression of a selector may fit these labels."""
    key, operator = str(expression["key"]), expression["operator"]
    values = expression.get("values") or ()
    if _GIVEN.match(key) or key in (SEAT, CALL):
        return True  # each pod has another value
    has = key in labels
    if operator in ("In", "NotIn"):
        has = has and labels[key] in values
    return has if operator in ("In", "Exists") else not has


def _key(number: int) -> str:
    """Under what a variable's value lies in the Secret, where fewer names are possible than for variables."""
    return f"v{number}"


def _variables(call: Call) -> Iterator[dict[str, Any]]:
    for name in ("HOME", "TMPDIR"):
        if name not in call.environment:
            yield {"name": name, "value": _TEMPORARY}
    for number, name in enumerate(call.environment):
        yield {"name": name, "valueFrom": {"secretKeyRef": {"name": call.name, "key": _key(number)}}}


def _resources(limits: CallLimits, gpus: int) -> dict[str, str]:
    resources = {"ephemeral-storage": str(_DISK_BYTES)}
    if limits.memory_bytes is not None:
        resources["memory"] = str(limits.memory_bytes)
    if limits.processors is not None:
        resources["cpu"] = f"{math.ceil(limits.processors * 1000)}m"
    if gpus:
        resources["nvidia.com/gpu"] = str(gpus)
    return resources
