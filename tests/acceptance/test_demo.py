"""``atoll demo``: a whole federation by one command, a run of each dialect on it, and its end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import statsmodels.formula.api as smf
from tests.acceptance.computations import atoll
from tests.acceptance.pooling import COLUMN, ISLANDS, mean_of, rows
from tests.acceptance.test_federation import EXACTLY, GATED, WAIT
from tests.stage import EXAMPLES, PATIENCE, descendants, is_running, mentioned, until

from atoll.cli.demo.stage import read_state
from atoll.client.client import Client, connect
from atoll.client.client import login as log_in
from atoll.client.runs import Step

#: Relative. A regression's normal equations lose some digits of their own.
CLOSELY = 1e-8
#: What the command prints.
TOLD = ("url", "token", "username", "password", "collaboration", "nodes", "dir")

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]


def demo(folder: Path, *options: object) -> dict[str, Any]:
    """What a command about the demo in a folder prints, which is one line.

    That it returns at all shows that nothing it has started holds its streams.
    """
    done = atoll("demo", "--json", "--dir", folder, *options)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    document: dict[str, Any] = json.loads(line)
    return document


def pids(folder: Path) -> dict[str, int]:
    """The processes of a demo, by what they are."""
    state = read_state(folder)
    assert state is not None
    return {child.name: child.pid for child in state.children}


@pytest.fixture(scope="module")
def islands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The demo as most people start it."""
    folder = tmp_path_factory.mktemp("demo") / "islands"
    try:
        yield demo(folder, "--detach")
    finally:
        atoll("demo", "--stop", "--dir", folder)


@pytest.fixture
def client(islands: dict[str, Any]) -> Iterator[Client]:
    """Its account."""
    with connect(islands["url"], token=islands["token"]) as client:
        yield client


def test_it_tells_how_it_is_reached_and_goes_on(islands: dict[str, Any]) -> None:
    assert TOLD == tuple(islands)
    assert ("keeper", "islands", list(ISLANDS)) == (
        islands["username"],
        islands["collaboration"],
        islands["nodes"],
    )
    assert {"hub", *ISLANDS, "Lagoon"} == set(pids(Path(islands["dir"])))
    with log_in(islands["url"], islands["username"], islands["password"]) as client:
        assert {*ISLANDS, "Lagoon"} == {node.name for node in client.nodes.list() if node.online}


def test_nobody_else_can_read_what_it_keeps(islands: dict[str, Any]) -> None:
    folder = Path(islands["dir"])

    assert 0o700 == folder.stat().st_mode & 0o777
    secret = [folder / "demo.json", *folder.glob("nodes/*/node.key"), *folder.glob("hub/*.db*")]
    assert len(secret) > len(ISLANDS)
    assert {0} == {path.stat().st_mode & 0o077 for path in secret}


def test_a_second_one_finds_the_first(islands: dict[str, Any]) -> None:
    assert islands == demo(Path(islands["dir"]), "--detach")


def test_a_function_equals_the_pooled_mean(client: Client) -> None:
    run = client.runs.submit(
        collaboration="islands",
        algorithm=EXAMPLES / "functions" / "mean",
        function="mean",
        args={"column": COLUMN},
    ).wait(WAIT)

    assert pytest.approx(mean_of(), rel=EXACTLY) == run.result


def test_a_coinstac_computation_equals_the_pooled_regression(client: Client) -> None:
    run = client.runs.submit(
        collaboration="islands",
        algorithm=EXAMPLES / "coinstac" / "ridge-one-shot",
        inputs={
            "outcome": {"value": "body_mass_g"},
            "predictors": {"value": ["bill_length_mm", "sex"]},
            "levels": {"value": {"sex": ["female", "male"]}},
            "lambda": {"value": 0},
        },
    ).wait(WAIT)

    pooled = smf.ols("body_mass_g ~ bill_length_mm + sex", data=rows()).fit()
    expected = {
        "Intercept": pooled.params["Intercept"],
        "bill_length_mm": pooled.params["bill_length_mm"],
        "sex_male": pooled.params["sex[T.male]"],
    }
    told = {term: numbers["estimate"] for term, numbers in run.result["coefficients"].items()}
    assert sorted(expected.values()) == pytest.approx(sorted(told.values()), rel=CLOSELY)
    assert set(ISLANDS) == set(run.results)


@pytest.mark.needs("vantage6-4")
def test_a_vantage6_algorithm_equals_the_pooled_mean(client: Client) -> None:
    run = client.runs.submit(
        collaboration="islands",
        algorithm=EXAMPLES / "vantage6" / "average-4",
        function="average",
        args={"column": COLUMN},
        databases=["penguins"],
    ).wait(WAIT)

    values = rows()[COLUMN].dropna()
    assert {"n": len(values), "average": pytest.approx(values.mean(), rel=EXACTLY)} == run.result


def test_a_pipeline_mixes_dialects(client: Client) -> None:
    run = client.runs.submit(
        collaboration="islands",
        steps=[
            Step(
                algorithm=EXAMPLES / "coinstac" / "pipeline" / "describe",
                inputs={"columns": {"value": ["flipper_length_mm"]}},
            ),
            Step(
                algorithm=EXAMPLES / "functions" / "mean",
                function="mean",
                args={"column": "flipper_length_mm"},
            ),
        ],
    ).wait(WAIT)

    assert pytest.approx(mean_of(column="flipper_length_mm"), rel=EXACTLY) == run.result


def test_five_sites_get_the_rows_in_turn_and_end_with_all_they_started(tmp_path: Path) -> None:
    folder = tmp_path / "five"
    started = demo(folder, "--detach", "--sites", 5)
    try:
        assert [f"site{number}" for number in range(1, 6)] == started["nodes"]
        dealt = [pd.read_csv(folder / "nodes" / name / "penguins.csv") for name in started["nodes"]]
        everything = rows()
        for number, table in enumerate(dealt):
            expected = everything.iloc[number::5].reset_index(drop=True)
            pd.testing.assert_frame_equal(expected, table, check_dtype=False)
        with connect(started["url"], token=started["token"]) as client:
            run = client.runs.submit(
                collaboration="islands",
                algorithm=GATED,
                function="moments",
                args={"column": COLUMN},
                databases=["penguins"],
            ).wait(WAIT)
            counts = {name: part["n"] for name, part in run.results.items()}
        assert {
            name: table[COLUMN].count() for name, table in zip(started["nodes"], dealt, strict=True)
        } == counts
        there = [pid for own in pids(folder).values() for pid in (own, *descendants(own))]
        # A node that is killed can't tell what it has started; a hub that is killed can't say good-bye.
        os.kill(pids(folder)["site3"], signal.SIGKILL)
        os.kill(pids(folder)["hub"], signal.SIGKILL)
    finally:
        stopped = demo(folder, "--stop")

    assert started["url"] == stopped["stopped"]
    assert not folder.exists()
    until(lambda: not any(map(is_running, there)), "no process of it is left", PATIENCE)
    assert mentioned(folder) == []


def test_where_there_is_none_nothing_can_be_ended(tmp_path: Path) -> None:
    done = atoll("demo", "--stop", "--json", "--dir", tmp_path)

    assert 2 == done.returncode
    assert "there is no demo" in json.loads(done.stdout)["error"]["message"]
