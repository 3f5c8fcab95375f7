"""A site gives each algorithm what its rules say: databases, variables, what it has mapped."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.federation import make_ticket

from atoll.algorithms.manifest import ImageNamed, Manifest
from atoll.model.errors import SpecInvalid
from atoll.model.work import Algorithm, Role, Seat, Ticket
from atoll.node.data_maps import DataMap, write_maps
from atoll.node.giving import Giving, roots
from atoll.node.network.network import Network
from atoll.node.network.permitted import Domain, NetworkRules, Permitted, Service
from atoll.node.network.reach import Reach
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


def test_an_algorithm_reaches_what_the_first_pattern_that_fits_names(tmp_path: Path) -> None:
    """In the place of what everybody reaches; and the servers of the databases that it gets."""
    registry = Source(type="sql", url="postgresql://10.1.2.3/x")
    rules = NetworkRules(
        permitted=Permitted(services=(Service(alias="omop", host="db", port=5432),)),
        for_={"m*": Permitted(), "mean": Permitted(domains=(Domain(name="x.example.org", ports=(443,)),))},
    )
    asked = replace(
        settings(tmp_path), network=rules, offer=Offer(databases={"a": Source(type="csv"), "b": registry})
    )
    giving = Giving(asked, "alpha", Network(rules))

    found = giving.provision(ticket("sum")).reach
    assert [(each.host, each.port, each.alias) for each in found.targets] == [
        ("127.0.0.2", 5432, "omop"),
        ("127.0.0.3", 5432, ""),
    ]
    assert found.databases["b"].url == "postgresql://127.0.0.3:5432/x"
    assert giving.provision(ticket("mean")).reach.targets == ()
    elsewhere = giving.provision(ticket("sum", seat=Seat("remote"))).reach
    assert [each.alias for each in elsewhere.targets] == ["omop"]
    assert Giving(asked, "alpha").provision(ticket("sum")).reach == Reach()


def test_an_algorithm_is_told_of_the_proxy_and_of_what_needs_none(tmp_path: Path) -> None:
    rules = NetworkRules(
        permitted=Permitted(
            domains=(Domain(name="x.example.org", ports=(443,)),),
            services=(Service(alias="omop", host="db", port=5432),),
        )
    )

    found = (
        Giving(replace(settings(tmp_path), network=rules), "alpha", Network(rules))
        .provision(ticket("sum"))
        .reach
    )

    assert [(each.host, each.port) for each in found.targets] == [("127.0.0.2", 5432), ("127.0.0.1", 3128)]
    assert found.environment == {
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:3128"),
        **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost,omop"),
    }


def test_an_image_is_meant_by_its_own_names_and_not_by_what_it_calls_itself(tmp_path: Path) -> None:
    named = ImageNamed(name="registry.example/mean:1", digest="sha256:" + 64 * "a")
    manifest = Manifest(dialect="functions", name="sum", target="sum.py", kind="image", image=named)
    asked = settings(tmp_path)
    policies = Policies(databases={"sum": ("a", "b"), "registry.example/*": ("a",)})
    giving = Giving(replace(asked, policies=policies), "alpha", described=lambda _: manifest)

    assert list(giving.provision(ticket("sum")).offer.databases) == ["a"]


def test_an_image_gets_nothing_for_another_that_runs_beside_it(tmp_path: Path) -> None:
    """Whoever submits an algorithm may name a trusted image at the aggregator, and their own at the sites."""
    own = ImageNamed(name="registry.example/own/sum", digest="sha256:" + 64 * "a")
    trusted = ImageNamed(name="registry.example/trusted/sum", digest="sha256:" + 64 * "b")
    manifest = Manifest(dialect="coinstac", name="sum", kind="image", image=own, aggregator_image=trusted)
    policies = Policies(databases={"registry.example/trusted/*": ("a",), "*": ()})
    asked = replace(settings(tmp_path), policies=policies)
    giving = Giving(asked, "alpha", described=lambda _: manifest)
    at_site = ticket("sum")

    assert list(giving.provision(at_site).offer.databases) == []
    aggregating = replace(at_site, role=Role.AGGREGATOR)
    assert list(giving.provision(aggregating).offer.databases) == ["a"]
