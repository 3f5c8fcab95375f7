"""What every test stands on: how a real engine is asked for, and how examples are generated."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import cache

import hypothesis
import pytest
from tests import engines, environments, strangers
from tests import postgres as servers
from tests import slurm as clusters
from tests.engines import docker_socket, engine, podman_socket
from tests.postgres import Postgres
from tests.slurm import Cluster

from atoll.node.network import squid
from atoll.runtimes import bubblewrap

# A failing example is printed and kept; a slow machine is no failure, pytest-timeout is the limit.
hypothesis.settings.register_profile("atoll", deadline=None, print_blob=True)
hypothesis.settings.load_profile("atoll")

#: What any test may ask for.
__all__ = ["docker_socket", "engine", "podman_socket", "postgres"]


@cache
def _why_missing(name: str) -> str | None:
    """A sentence about why an engine can't be used here, or None where it can."""
    if name == "bubblewrap":
        # A container often has the program, and not the right to make a namespace.
        return bubblewrap.probe()
    if name == "postgresql":
        return servers.why_missing()
    if name == "squid":
        return squid.why_missing()
    if name == "strangers":
        return strangers.why_missing()
    if name == "slurm":
        return clusters.why_missing()
    if name in engines.NAMES:
        return engines.why_missing(name)
    if name in environments.MADE_BY:
        return environments.why_missing(name)
    return None if shutil.which(name) else f"{name} is not installed: there is no program of that name"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many workers as half again the processors: for some 40 % of their time tests wait for what others do."""
    return max(1, (os.cpu_count() or 1) * 3 // 2)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs an engine that this machine lacks; fail it where real engines are a must."""
    for mark in item.iter_markers("needs"):
        reason = _why_missing(mark.args[0])
        if reason and os.environ.get("ATOLL_REQUIRE_REAL"):
            pytest.fail(reason, pytrace=False)
        if reason:
            pytest.skip(reason)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A cluster of this session's own; ask for it where ``needs("slurm")`` stands."""
    with clusters.serving() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of this session's own; ask for it where ``needs("postgresql")`` stands."""
    with servers.serving() as server:
        yield server
