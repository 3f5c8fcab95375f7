"""A site gives each algorithm what its rules say: databases, variables, what it has mapped."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.federation import make_ticket

from atoll.model.errors import SpecInvalid
from atoll.model.work import Algorithm, Seat, Ticket
from atoll.node.data_maps import DataMap, write_maps
from atoll.node.giving import Giving, roots
from atoll.node.offer import Offer, Source
from atoll.node.settings import NodeSettings, Policies

ALPHA = Seat("alpha")


def ticket(name: str, dialect: str = "functions", seat: Seat = ALPHA) -> Ticket:
    """A ticket for an algorithm."""
    algorithm = Algorithm(dialect=dialect, digest="sha256:1", name=name)
    return replace(make_ticket(seat), algorithm=algorithm)


def settings(root: Path) -> NodeSettings:
    """A node with two databases, of which some algorithms get one."""
    offer = Offer(
        databases={"a": Source(type="csv", path=root / "a.csv"), "b": Source(type="sql", url="db://b")},
        environment={"LEAST": "5", "MOST": "9"},
    )
    return NodeSettings(
        hub="http://localhost",
        key_file=root / "key",
        offer=offer,
        env_for={"mean": {"LEAST": "3"}, "m*": {"LEAST": "4", "SHARE": "1"}},
        policies=Policies(databases={"mean": ("a",), "me*": ()}),
        workspace=root / "work",
        data_maps=root / "maps.yaml",
    )


def test_an_algorithm_gets_the_databases_of_the_first_pattern_that_fits(tmp_path: Path) -> None:
    giving = Giving(settings(tmp_path), "alpha")

    assert list(giving.provision(ticket("mean")).offer.databases) == ["a"]
    assert list(giving.provision(ticket("median")).offer.databases) == []
    assert list(giving.provision(ticket("sum")).offer.databases) == ["a", "b"]


def test_variables_of_the_first_pattern_win(tmp_path: Path) -> None:
    giving = Giving(settings(tmp_path), "alpha")

    expected = {"LEAST": "3", "MOST": "9", "SHARE": "1"}
    assert giving.provision(ticket("mean")).offer.environment == expected
    assert giving.provision(ticket("sum")).offer.environment == {"LEAST": "5", "MOST": "9"}


def test_a_seat_that_is_not_the_nodes_own_has_no_data(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps.yaml", [DataMap(computation="ridge", inputs={"a": 1})])

    given = Giving(settings(tmp_path), "alpha").provision(ticket("ridge", "coinstac", Seat("remote")))

    assert (given.offer.databases, given.data, given.inputs) == ({}, None, None)


def test_a_computation_gets_what_was_mapped_to_it_while_the_node_runs(tmp_path: Path) -> None:
    giving = Giving(settings(tmp_path), "alpha")
    assert giving.provision(ticket("ridge", "coinstac")).inputs is None

    (tmp_path / "files").mkdir()
    maps = [DataMap(computation="ridge", inputs={"a": 1}, folder=tmp_path / "files")]
    write_maps(tmp_path / "maps.yaml", maps)
    given = giving.provision(ticket("ridge", "coinstac"))

    assert given.inputs == {"a": 1}
    assert given.data is not None
    assert given.data.folder == tmp_path / "files"
    assert giving.provision(ticket("ridge")).inputs is None
    assert roots(settings(tmp_path)) == [tmp_path / "work", tmp_path / "a.csv", tmp_path / "files"]


def test_maps_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    path = tmp_path / "maps.yaml"
    path.write_text("- 1")
    os.utime(path, ns=(1, 1))

    with pytest.raises(SpecInvalid, match="map 1 is a number"):
        Giving(settings(tmp_path), "alpha").provision(ticket("ridge", "coinstac"))
