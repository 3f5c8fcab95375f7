"""The federations that acceptance tests use: each is started once, and mended for every test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from tests.postgres import Postgres
from tests.relays import Balancer
from tests.stage import Federation, federation, hub_program


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicated:
    """A federation whose hub has two replicas, behind one address."""

    federation: Federation
    balancer: Balancer


@pytest.fixture(scope="session")
def _islands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("islands")
    with federation(folder, [hub_program(folder / "hub")]) as there:
        yield there


@pytest.fixture(scope="session")
def _replicated(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Replicated]:
    server: Postgres = request.getfixturevalue("postgres")
    folder = tmp_path_factory.mktemp("replicated")
    # Any replica gives out what was brought to another: they have one place for files.
    shared = {"database": server.make("islands"), "blobs": str(folder / "blobs")}
    hubs = [hub_program(folder / name, **shared) for name in ("one", "two")]
    with ExitStack() as stack:
        balancer = stack.enter_context(Balancer(*(hub.port for hub in hubs)).serving())
        url = f"http://127.0.0.1:{balancer.port}"
        there = stack.enter_context(federation(folder, hubs, url=url))
        yield Replicated(federation=there, balancer=balancer)


@pytest.fixture
def islands(_islands: Federation) -> Federation:
    """A federation whose hub keeps everything in a file."""
    _islands.mend()
    return _islands


@pytest.fixture
def replicated(_replicated: Replicated) -> Replicated:
    """A federation whose hub has two replicas over PostgreSQL."""
    _replicated.balancer.ports = tuple(hub.port for hub in _replicated.federation.hubs)
    _replicated.federation.mend()
    return _replicated


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql"))])
def either(request: pytest.FixtureRequest) -> Federation:
    """A federation over each database."""
    if request.param == "sqlite":
        there: Federation = request.getfixturevalue("islands")
        return there
    found: Replicated = request.getfixturevalue("replicated")
    return found.federation
