"""An image that is here is the one that is meant, where it has the digest and the name."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.runtimes.containers.reference import read_reference
from atoll.runtimes.containers.store import _is_meant

DIGEST, OTHER = "sha256:" + 64 * "a", "sha256:" + 64 * "b"


def is_meant(name: str, digest: str, **image: Any) -> bool:
    return _is_meant({"Id": OTHER, **image}, read_reference(name), digest)


@pytest.mark.parametrize("name", ["registry.example/mean", "Registry.Example:0443/mean:3"])
def test_what_came_from_a_registry_has_its_name_there(name: str) -> None:
    assert is_meant(
        name, DIGEST, RepoDigests=[f"registry.example/mean@{OTHER}", f"registry.example/mean@{DIGEST}"]
    )
    assert is_meant(name, OTHER, RepoDigests=[f"registry.example/mean@{DIGEST}"])


@pytest.mark.parametrize(
    "name", ["other.example/mean", "registry.example/other", "registry.example:5000/mean", "mean"]
)
@pytest.mark.parametrize("digest", [DIGEST, OTHER])
def test_what_came_by_another_name_is_not_meant(name: str, digest: str) -> None:
    here = {"RepoDigests": [f"registry.example/mean@{DIGEST}"], "RepoTags": ["registry.example/mean:1"]}

    assert not is_meant(name, digest, **here)


@pytest.mark.parametrize("tag", ["mean:latest", "docker.io/library/mean:2", "localhost/mean:latest"])
def test_what_was_built_here_has_its_id_and_the_name_that_somebody_gave_it(tag: str) -> None:
    """Podman calls it ``localhost/mean``, whoever named no registry."""
    assert is_meant("mean", OTHER, RepoTags=["<none>:<none>", tag])
    assert not is_meant("mean", DIGEST, RepoTags=[tag])
    assert not is_meant("other", OTHER, RepoTags=[tag])
    assert not is_meant("registry.example/mean", OTHER, RepoTags=[tag])


@pytest.mark.parametrize(
    "names", [{}, {"RepoTags": None, "RepoDigests": None}, {"RepoDigests": ["<none>@<none>", "no name"]}]
)
def test_what_nobody_has_named_is_not_meant(names: dict[str, Any]) -> None:
    assert not is_meant("mean", OTHER, **names)


def test_an_id_is_the_same_with_and_without_the_name_of_its_hash() -> None:
    assert is_meant("mean", OTHER, Id=64 * "b", RepoTags=["mean:1"])
