"""Whose a container is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.containers.owners import is_of_the_dead, owner_of, passing_owner


def test_a_node_has_the_same_id_ever_after_and_no_other_has_it(tmp_path: Path) -> None:
    first = owner_of(tmp_path / "one")
    assert owner_of(tmp_path / "one") == first
    assert owner_of(tmp_path / "two") != first
    assert not is_of_the_dead(first)


def test_a_workspace_that_keeps_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeUnavailable, match="Expected a folder"):
        owner_of(tmp_path / "file" / "within")


def test_a_process_is_dead_when_another_has_its_number_or_none() -> None:
    alive = passing_owner()
    kind, machine, pid, started = alive.split(".")
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert not is_of_the_dead(alive)
    assert is_of_the_dead(f"{kind}.{machine}.{pid}.{int(started) + 1}")
    assert is_of_the_dead(f"{kind}.{machine}.{ended.pid}.1")


@pytest.mark.parametrize(
    "owner", ["", "simulation", "simulation.1.2", "node.1.2.3", "simulation.elsewhere-1.1.2"]
)
def test_who_is_not_seen_from_here_is_not_taken_for_dead(owner: str) -> None:
    assert not is_of_the_dead(owner)
