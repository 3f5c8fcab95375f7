"""How an engine is found, and spoken to."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.containers.engine import find_socket, sockets, spoken
from atoll.runtimes.containers.settings import ContainerSettings


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ("1.41", "v1.41"),
        ("1.44", "v1.44"),
        ("1.52", "v1.44"),
        ("2.0", "v1.44"),
        ("", "v1.44"),
        ("new", "v1.44"),
    ],
)
def test_an_engine_is_spoken_to_in_a_version_that_both_know(told: str, version: str) -> None:
    assert spoken(told) == version


def test_the_socket_that_the_environment_names_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///there/docker.sock")
    assert sockets(ContainerSettings()) == [Path("/there/docker.sock")]
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    assert sockets(ContainerSettings())[0] == Path("/var/run/docker.sock")


def test_where_no_engine_is_all_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=rf"there is no socket at {tmp_path}/docker\.sock"):
        find_socket(ContainerSettings(socket=tmp_path / "docker.sock"))
