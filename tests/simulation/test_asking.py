"""A function asks for others: every site answers, whoever ends first, and nobody waits for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.asking import Call, Federation

from atoll.model.work import Seat

A, B, C = sites = tuple(map(Seat, ("alpha", "beta", "gamma")))


async def double(call: Call) -> Any:
    """Twice what was asked."""
    return [call.seat, 2 * call.args.get("n", 1)]


async def summed(call: Call) -> Any:
    """What all sites say, together."""
    parts = await call.ask("double", n=call.args.get("n", 1))
    return {"order": [seat for seat, _ in parts], "sum": sum(n for _, n in parts)}


def test_a_central_function_reads_the_sites_in_their_order(tmp_path: Path) -> None:
    talked = Federation(root=tmp_path, functions={"central": summed, "double": double}, sites=sites).run(n=7)

    assert {"order": ["alpha", "beta", "gamma"], "sum": 42} == talked.result


# --- Nobody waits for itself ------------------------------------------------------------------


async def nested(call: Call) -> Any:
    """Ask all sites to do the same, one level deeper each time."""
    depth = call.args["depth"]
    if depth == 0:
        return 1
    parts = await call.ask("central", depth=depth - 1)
    return 1 + sum(parts)


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_with_one_slot_nested_calls_of_every_site_end(tmp_path: Path, depth: int, slots: int) -> None:
    federation = Federation(root=tmp_path, functions={"central": nested}, sites=sites, slots=slots)

    assert sum(3**level for level in range(depth + 1)) == federation.run(depth=depth).result


@pytest.mark.parametrize("seed", range(10))
def test_a_site_that_is_done_early_serves_those_who_ask_later(tmp_path: Path, seed: int) -> None:
    """Some sites of a round ask all of them for more, while others are done and wait to say so."""

    async def central(call: Call) -> Any:
        return await call.ask("middle")

    async def middle(call: Call) -> Any:
        return len(await call.ask("double")) if call.seat != A else 0

    functions = {"central": central, "middle": middle, "double": double}

    talked = Federation(root=tmp_path, functions=functions, sites=sites, slots=1, seed=seed).run()

    assert [0, 3, 3] == talked.result


@pytest.mark.parametrize("seed", range(10))
def test_every_site_may_ask_every_site(tmp_path: Path, seed: int) -> None:
    async def each(call: Call) -> Any:
        if call.seat == B:
            return "done"
        return await call.ask("double", n=len(call.seat))

    functions = {"each": each, "double": double}

    talked = Federation(
        root=tmp_path, functions=functions, sites=sites, called=sites, slots=1, seed=seed
    ).run("each")

    assert {
        "alpha": [["alpha", 10], ["beta", 10], ["gamma", 10]],
        "beta": "done",
        "gamma": [["alpha", 10], ["beta", 10], ["gamma", 10]],
    } == talked.results
