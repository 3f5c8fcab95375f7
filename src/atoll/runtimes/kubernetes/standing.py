"""What a pod's status says of the call that it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.engine.limits import CallLimits
from atoll.model.errors import AlgorithmFailed, AtollError, LimitReached, RuntimeUnavailable
from atoll.runtimes.kubernetes.manifest import CONTAINER

#: Why a container doesn't start, and won't.
_NO_IMAGE = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_NO_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
#: Why a program didn't start in its container.
_NO_PROGRAM = frozenset({"StartError", "ContainerCannotRun"})
#: What is added to the number of the signal that has ended a process.
_SIGNALS = 128
#: Characters of what a cluster says that are passed on.
_SAID_MAX = 300


@dataclass(frozen=True, slots=True)
class Waits:
    """It waits for a machine: why, in a sentence."""

    text: str


@dataclass(frozen=True, slots=True)
class Starts:
    """It has a machine, and starts there: in a sentence."""

    text: str


@dataclass(frozen=True, slots=True)
class Runs:
    """It is at work: where, in a sentence."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It has ended: its exit status, or minus the signal that ended it."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class Failed:
    """It can't be done, or was ended for what it took."""

    error: AtollError


@dataclass(frozen=True, slots=True)
class Lost:
    """The cluster has taken its place away: why. That says nothing of the call, which may be done again."""

    why: str


Standing = Waits | Starts | Runs | Ended | Failed | Lost


def read_pod(pod: Mapping[str, Any], limits: CallLimits) -> Standing:
    """Where a call stands, by its pod.

    Args:
        pod: as the cluster tells of it.
        limits: of the call.
    """
    status = pod.get("status") or {}
    name = (pod.get("metadata") or {}).get("name", "")
    container = _container(status)
    state = container.get("state") or {}
    phase = status.get("phase")
    if phase in ("Succeeded", "Failed"):
        return _ended(status, state.get("terminated") or {}, limits)
    if waiting := state.get("waiting"):
        reason, said = str(waiting.get("reason")), _said(waiting)
        if reason in _NO_IMAGE:
            return Failed(
                RuntimeUnavailable(
                    f"the cluster can't fetch the algorithm's image ({reason}{said}). Expected one that is in its "
                    "registry under this digest, and 'kubernetes: image_pull_secrets' where the registry asks for them"
                )
            )
        if reason in _NO_CONTAINER:
            return Failed(
                RuntimeUnavailable(
                    f"the cluster can't start the pod {name} ({reason}{said}). Look at its events"
                )
            )
    if phase == "Running" or "running" in state:
        return Runs(f"runs in Kubernetes as pod {name}")
    return _pending(status, name)


def _pending(status: Mapping[str, Any], name: str) -> Standing:
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "True":
        return Starts(f"starts in Kubernetes as pod {name}")
    reason = scheduled.get("reason")
    return Waits(f"queued in Kubernetes as pod {name}" + (f" (reason: {reason})" if reason else ""))


def _ended(status: Mapping[str, Any], terminated: Mapping[str, Any], limits: CallLimits) -> Standing:
    reason = str(status.get("reason") or "")
    if reason == "DeadlineExceeded":
        return Failed(too_long(limits))
    disrupted = _condition(status, "DisruptionTarget")
    if disrupted.get("status") == "True":
        return Lost(str(disrupted.get("reason")))
    # What Kubernetes gives a reason for as a whole was its own doing: Evicted, NodeLost, OutOfmemory, Shutdown.
    if reason or "exitCode" not in terminated:
        return Lost(reason or "no end of its container is told")
    if terminated.get("reason") == "OOMKilled":
        bound = limits.memory_bytes
        return Failed(
            LimitReached(
                f"the call needed more than {'the namespace allows' if bound is None else f'{bound} bytes'} of memory, "
                "the most that it may have, and was ended. Raise the bound, or work on the data in parts"
            )
        )
    if terminated.get("reason") in _NO_PROGRAM:
        return Failed(
            AlgorithmFailed(
                f"nothing can be started in the algorithm's image{_said(terminated)}. Expected an image with /bin/sh"
            )
        )
    code = int(terminated["exitCode"])
    return Ended(_SIGNALS - code if code > _SIGNALS else code)


def too_long(limits: CallLimits) -> LimitReached:
    """The error of a call that the cluster itself has ended for its time."""
    return LimitReached(
        f"the call took longer than {limits.seconds:g} seconds, the most that one call may take, and was ended by the "
        "cluster. Raise the bound, or do less in one call"
    )


def _container(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for each in status.get("containerStatuses") or ():
        if each.get("name") == CONTAINER:
            found: Mapping[str, Any] = each
            return found
    return {}


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    for each in status.get("conditions") or ():
        if each.get("type") == kind:
            found: Mapping[str, Any] = each
            return found
    return {}


def _said(state: Mapping[str, Any]) -> str:
    """What the cluster says beside a reason, in one line."""
    words = " ".join(str(state.get("message") or "").split())[:_SAID_MAX]
    return f": {words}" if words else ""
