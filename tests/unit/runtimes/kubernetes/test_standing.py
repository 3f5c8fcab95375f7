from __future__ import annotations

import pytest
from tests.unit.runtimes.kubernetes.playback import golden

from atoll.engine.limits import CallLimits
from atoll.model.errors import AlgorithmFailed, LimitReached, RuntimeUnavailable
from atoll.runtimes.kubernetes.standing import Ended, Failed, Lost, Runs, Starts, Waits, read_pod

_PODS = golden("pods")
_LIMITS = CallLimits(seconds=60)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("made", Waits("queued in Kubernetes as pod atoll-0123456789ab-x7k2p")),
        (
            "unschedulable",
            Waits("queued in Kubernetes as pod atoll-0123456789ab-x7k2p (reason: Unschedulable)"),
        ),
        ("creating", Starts("starts in Kubernetes as pod atoll-0123456789ab-x7k2p")),
        ("running", Runs("runs in Kubernetes as pod atoll-0123456789ab-x7k2p")),
        ("succeeded", Ended(0)),
        ("with-others", Ended(0)),
        ("exited-3", Ended(3)),
        ("killed", Ended(-11)),
        ("evicted", Lost("TerminationByKubelet")),
        ("taken", Lost("DeletionByTaintManager")),
        ("shut-down", Lost("NodeShutdown")),
        ("without-end", Lost("no end of its container is told")),
    ],
)
def test_a_pod_says_where_its_call_stands(name: str, expected: object) -> None:
    assert expected == read_pod(_PODS[name], _LIMITS)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("no-image", RuntimeUnavailable, "ErrImagePull: failed to pull"),
        ("backoff", RuntimeUnavailable, "ImagePullBackOff"),
        ("no-config", RuntimeUnavailable, "CreateContainerConfigError: failed to prepare subPath"),
        ("no-shell", AlgorithmFailed, "Expected an image with /bin/sh"),
        ("oom", LimitReached, "than the namespace allows of memory"),
        ("deadline", LimitReached, "longer than 60 seconds"),
    ],
)
def test_a_pod_says_why_its_call_has_failed(name: str, error: type[Exception], words: str) -> None:
    standing = read_pod(_PODS[name], _LIMITS)

    assert isinstance(standing, Failed)
    assert isinstance(standing.error, error)
    assert words in str(standing.error)
