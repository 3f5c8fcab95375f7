"""Functions of the SDK on the real engine: one answer, whatever the seed, the values and the order."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.asking import Call, Federation
from tests.federation import Watched, seats

from atoll.model.work import Seat
from atoll.simulator.record import RunFolder, recording
from atoll.testing import federation
from atoll_algorithm import Sites, Table, all_reduce, central, partial

SEEDS = range(20)
NAMES = ("gamma", "alpha", "beta")

#: Whatever JSON can say; text without half surrogate pairs, which UTF-8 has no word for.
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**100), 2**100)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@partial
def echo(value: Any) -> Any:
    """What it was given."""
    return value


@central
def echoed(sites: Sites, value: Any) -> Any:
    """What every site made of it, by site."""
    parts = sites.call(echo, value=value)
    return {"value": value, "sites": parts.sites, "parts": list(parts)}


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same, to the type of each number."""
    return json.dumps(one) == json.dumps(other)


@given(json_values)
def test_any_json_value_may_be_an_argument_and_a_result(value: Any) -> None:
    result = federation(dict.fromkeys(NAMES)).run(echoed, value=value)

    assert list(NAMES) == result["sites"]
    assert same(value, result["value"])
    assert all(same(value, part) for part in result["parts"])


@partial
def first_value(data: Table) -> int:
    """The first value of the database that was asked for."""
    return int(data["n"].iloc[0])


labels = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0="), min_size=1, max_size=20)


@given(st.lists(labels, min_size=2, max_size=5, unique=True), st.data())
def test_a_database_is_found_by_its_label_whatever_the_label_is(
    given_: list[str], data: st.DataObject
) -> None:
    wanted = data.draw(st.sampled_from(given_))
    frames = {label: pd.DataFrame({"n": [number]}) for number, label in enumerate(given_)}

    results = federation({"alpha": frames, "beta": dict(reversed(frames.items()))}).run(
        first_value, databases=[wanted]
    )

    assert {"alpha": given_.index(wanted), "beta": given_.index(wanted)} == results


site_names = st.from_regex(r"[^\W_](?:[\w .-]{0,18}[\w-])?", fullmatch=True)


@given(st.lists(site_names, min_size=1, max_size=5, unique=True))
def test_sites_keep_their_names_and_their_order(names: list[str]) -> None:
    result = federation(dict.fromkeys(names)).run(echoed, value=None)

    assert names == result["sites"]


@partial
def moments(data: Table, column: str) -> dict[str, float]:
    """How many values there are, and their sum."""
    return {"n": len(data), "sum": float(data[column].sum())}


@central
def mean(sites: Sites, column: str) -> dict[str, Any]:
    """The mean over all rows, and how it came about."""
    parts = sites.call(moments, column=column)
    return {
        "mean": sum(part["sum"] for part in parts) / sum(part["n"] for part in parts),
        "order": parts.sites,
        "sums": [part["sum"] for part in parts],
    }


@all_reduce
def total(data: Table, sites: Sites, column: str) -> float:
    """The sum over all rows, known at every site."""
    return float(sites.sum(float(data[column].sum())))


FRAME = pd.DataFrame({"x": [float(2**number) for number in range(10)]})
ROWS = {"gamma": FRAME.iloc[:3], "alpha": FRAME.iloc[3:4], "beta": FRAME.iloc[4:]}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_gives_the_same_answer(seed: int) -> None:
    sites = federation(ROWS, seed=seed)

    expected = {"mean": 102.3, "order": list(NAMES), "sums": [7.0, 8.0, 1008.0]}
    assert expected == sites.run(mean, column="x"), f"seed {seed}"
    assert 1023.0 == sites.run(total, column="x"), f"seed {seed}"


@partial
def drawn(generator: random.Random) -> float:
    """A number that chance decides."""
    return generator.random()


@central
def drawn_twice(sites: Sites) -> list[list[float]]:
    """Two numbers of every site."""
    return [list(sites.call(drawn)) for _ in range(2)]


def test_chance_is_repeated_by_the_seed_and_is_another_at_every_site_and_call() -> None:
    sites = dict.fromkeys(NAMES)

    one, again, other = (federation(sites, seed=seed).run(drawn_twice) for seed in (3, 3, 4))

    assert one == again
    assert one != other
    assert 6 == len({number for call in one for number in call})


# --- What is written down ---------------------------------------------------------------------


async def rounds(call: Call) -> Any:
    """Three rounds, each of which needs the one before."""
    total_ = 0
    for _ in range(3):
        total_ = sum(await call.ask("add", n=total_))
    return total_


async def add(call: Call) -> Any:
    """One more than was given, after a while."""
    for _ in range(len(call.seat) * 3 % 7):
        await asyncio.sleep(0)
    return call.args["n"] + 1


def written(root: Path, seed: int | None, slots: int) -> tuple[bytes, Any]:
    """The events of a run, as they are kept, and its result."""
    folder = RunFolder(root)
    root.mkdir()
    federation_ = Federation(
        root=root / "work",
        functions={"central": rounds, "add": add},
        sites=[*seats(10), Seat("a site with a longer name")],
        slots=slots,
        seed=seed,
    )
    with recording(folder, Watched()) as recorder:
        federation_.recorder = recorder
        talked = federation_.run()
    return folder.events.read_bytes(), talked.result


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_a_seed_writes_the_same_events_to_the_byte(tmp_path: Path, seed: int | None) -> None:
    one, result = written(tmp_path / "one", seed, slots=2)
    other, same_result = written(tmp_path / "other", seed, slots=5)

    assert one == other, f"seed {seed}"
    assert result == same_result == 11 * (11 * (11 + 1) + 1), f"seed {seed}"


def test_other_seeds_are_other_orders(tmp_path: Path) -> None:
    histories = {written(tmp_path / str(seed), seed, slots=2)[0] for seed in SEEDS}

    assert len(SEEDS) == len(histories)


async def tree(call: Call) -> Any:
    """A number that chance decides for each call of a tree of calls, all of whose branches grow at a time."""
    depth = call.args.get("depth", 2)
    own = [call.head["seed"]]
    return own if depth == 0 else own + await call.ask("central", depth=depth - 1)


@pytest.mark.parametrize("seed", range(5))
def test_a_call_within_calls_draws_the_same_numbers_whoever_asks_first(tmp_path: Path, seed: int) -> None:
    """The numbers of rounds depend on that; who asked whom does not."""

    def numbers(name: str, slots: int, delays: int) -> Any:
        async def late(call: Call) -> Any:
            for _ in range(delays * len(call.seat)):
                await asyncio.sleep(0)
            return await tree(call)

        return (
            Federation(
                root=tmp_path / name,
                functions={"central": late},
                sites=[Seat(name) for name in ("a", "bb", "cccc")],
                slots=slots,
                seed=seed,
            )
            .run()
            .result
        )

    assert numbers("one", 1, 0) == numbers("other", 4, 3) == numbers("third", 2, 7)
