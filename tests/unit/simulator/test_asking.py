"""What is asked for with --at, --database and --federation, and what is told where it can't be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.algorithms.calling import seats_for
from atoll.model.errors import SpecInvalid
from atoll.model.work import Role, Seat
from atoll.node.offer import Offer, Source
from atoll.simulator.arguments import Arguments
from atoll.simulator.asking import (
    Wanted,
    default_databases,
    federation_of,
    wanted_databases,
    with_options,
)

A, B, C = SITES = tuple(map(Seat, ("gamma", "alpha", "beta site")))


def offer(*labels: str, **options: Any) -> Offer:
    """A site with these databases."""
    return Offer(
        databases={label: Source(type="csv", path=Path(f"{label}.csv"), options=options) for label in labels},
        environment={"LEAST": "3"},
    )


# --- Where it runs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "central", "seats", "role"),
    [
        (None, True, (A,), Role.AGGREGATOR),
        (None, False, SITES, Role.SITE),
        ("central", True, (A,), Role.AGGREGATOR),
        ("central", False, (A,), Role.AGGREGATOR),
        ("all", True, SITES, Role.AGGREGATOR),
        ("all", False, SITES, Role.SITE),
        ("alpha", True, (B,), Role.AGGREGATOR),
        ("alpha", False, (B,), Role.SITE),
        ("beta site,gamma", False, (A, C), Role.SITE),
        (" beta site , alpha ", True, (B, C), Role.AGGREGATOR),
    ],
)
def test_a_function_runs_where_it_is_asked_for_else_as_its_decorator_says(
    at: str | None, central: bool, seats: tuple[Seat, ...], role: Role
) -> None:
    assert (seats, role) == seats_for(at, central=central, sites=SITES)


@pytest.mark.parametrize("at", ["", "delta", "alpha,", "alpha,delta", "alpha,alpha", "all,alpha", "Alpha"])
def test_a_place_that_is_no_site_is_refused_with_those_that_are(at: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        seats_for(at, central=False, sites=SITES)

    assert str(refused.value) == (
        f"--at {at}: expected 'central', 'all', or names of sites, each once; there are gamma, alpha, beta site"
    )


# --- Databases --------------------------------------------------------------------------------


def test_databases_come_in_the_order_in_which_they_are_asked_for() -> None:
    offers = {A: offer("x", "y"), B: offer("z")}

    wanted = wanted_databases(Arguments(databases=("z", "x")), offers)

    assert (Wanted(label="z", options={}), Wanted(label="x", options={})) == wanted
    assert () == wanted_databases(Arguments(), offers)


def test_where_nobody_names_one_each_site_is_asked_for_its_first() -> None:
    wanted = (Wanted(label="x", options={}),)

    assert (Wanted(label="y", options={}),) == default_databases((), offer("y", "x"))
    assert wanted == default_databases(wanted, offer("y"))
    assert () == default_databases((), Offer())


def test_what_a_reader_is_told_wins_over_what_the_site_says() -> None:
    offers = {A: offer("x", "y", sheet_name="1", query="q"), B: offer("x")}
    asked = Arguments(databases=('x:{"sheet_name": "2024", "rows": [1]}',))

    changed = with_options(offers, wanted_databases(asked, offers))

    assert {"sheet_name": "2024", "query": "q", "rows": [1]} == changed[A].databases["x"].options
    assert {"sheet_name": "1", "query": "q"} == changed[A].databases["y"].options
    assert {"sheet_name": "2024", "rows": [1]} == changed[B].databases["x"].options
    assert ["x", "y"] == list(changed[A].databases)
    assert {"LEAST": "3"} == changed[A].environment
    assert Path("x.csv") == changed[A].databases["x"].path
    # What the sites offer is as it was.
    assert {"sheet_name": "1", "query": "q"} == offers[A].databases["x"].options


def test_a_label_that_looks_like_options_is_a_label() -> None:
    label = 'x:{"a": 1}'

    assert (Wanted(label=label, options={}),) == wanted_databases(
        Arguments(databases=(label,)), {A: offer(label)}
    )


@given(st.text(min_size=1))
def test_any_label_that_a_site_has_can_be_asked_for(label: str) -> None:
    assert (Wanted(label=label, options={}),) == wanted_databases(
        Arguments(databases=(label,)), {A: offer("other"), B: offer(label)}
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("patients", "--database patients: {} Did you mean patient?"),
        ("z", "--database z: {}"),
        ("", "--database : {}"),
        ('z:{"a": 1}', "--database z: {}"),
    ],
)
def test_a_label_that_no_site_has_is_refused_with_those_that_they_have(text: str, told: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        wanted_databases(Arguments(databases=(text,)), {A: offer("patient"), B: offer("default")})

    there = "no site has a database of this label (they have patient, default)."
    assert told.format(there) == str(refused.value)


@pytest.mark.parametrize("text", ["x:{", 'x:{"a": }', "x:{'a': 1}", "x:{} more", "x:{" + '"a":[' * 20_000])
def test_what_stands_behind_a_label_is_json_or_refused(text: str) -> None:
    with pytest.raises(SpecInvalid, match="what stands behind the label is not JSON") as refused:
        wanted_databases(Arguments(databases=(text,)), {A: offer("x")})

    assert str(refused.value).endswith('Expected for example x:{"sheet_name": "2024"}')


def test_where_no_site_has_a_database_that_is_told() -> None:
    with pytest.raises(SpecInvalid, match=r"\(they have none\)"):
        wanted_databases(Arguments(databases=("x",)), {A: Offer()})


# --- Sites ------------------------------------------------------------------------------------

TEXT = "sites: {beta: {}, alpha: {}}\n"


def test_a_federation_is_the_one_that_is_named_or_that_lies_beside_the_code(tmp_path: Path) -> None:
    (tmp_path / "federation.yaml").write_text(TEXT)
    (tmp_path / "mean.py").touch()
    other = tmp_path / "other.yaml"
    other.write_text("sites: {gamma: {}}\n")

    for path in (tmp_path, tmp_path / "mean.py"):
        found = federation_of(Arguments(path=path))
        assert found.offers == {"beta": Offer(), "alpha": Offer()}
        assert found.path == tmp_path / "federation.yaml"
    found = federation_of(Arguments(path=tmp_path, federation=other))
    assert (found.offers, found.path) == ({"gamma": Offer()}, other)


def test_without_a_federation_sites_have_numbers_and_no_data(tmp_path: Path) -> None:
    found = federation_of(Arguments(path=tmp_path))
    assert (found.offers, found.path) == ({"local0": Offer()}, None)
    named = federation_of(Arguments(path=tmp_path, clients=11)).offers
    assert [f"local{number}" for number in range(11)] == list(named)


def test_a_network_counts_only_where_somebody_names_the_file_that_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "federation.yaml"
    path.write_text("sites: {alpha: {network: {allow: [atlas.example.org]}}}\n")

    with pytest.raises(SpecInvalid, match="came with the algorithm, and would let it reach a network"):
        federation_of(Arguments(path=tmp_path))
    for asked in (Arguments(path=tmp_path, federation=path), Arguments(path=tmp_path, packed=True)):
        assert list(federation_of(asked).networks) == ["alpha"]


def test_another_number_of_sites_than_the_federation_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "federation.yaml"
    path.write_text(TEXT)

    assert 2 == len(federation_of(Arguments(path=tmp_path, clients=2)).offers)
    with pytest.raises(SpecInvalid) as refused:
        federation_of(Arguments(path=tmp_path, clients=3))
    assert str(refused.value) == f"--clients 3 and the 2 sites of {path} don't fit: leave --clients out"
