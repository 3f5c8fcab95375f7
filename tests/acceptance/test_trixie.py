"""What a user installs works on Debian 13, and with the Python that generation 5 of vantage6 declares."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from requirements.environments import ROOT
from tests.environments import HERE, SRC, inside_trixie

FEDERATION = "examples/functions/islands/federation.yaml"
ISLANDS = (ROOT / FEDERATION).parent

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240), pytest.mark.needs("trixie")]

Inside = Callable[..., str]
Document = dict[str, Any]


@pytest.fixture
def inside(tmp_path: Path) -> Inside:
    """Run a command there, in a folder of this test, and give back what it prints."""

    def run(*words: str | Path) -> str:
        command = inside_trixie(*words, folder=tmp_path)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_wheels_lie_beside_the_tools_of_generation_5_under_python_3_13(inside: Inside) -> None:
    code = """if True:
        import json, sys, atoll, atoll_algorithm, vantage6.algorithm.tools.wrap
        from importlib.metadata import version
        tools = version("vantage6-algorithm-tools")
        print(json.dumps([sys.version_info[:2], tools, atoll.__file__, atoll_algorithm.__file__]))
    """
    python, tools, *installed = json.loads(inside("python", "-c", code))

    assert python == [3, 13]
    assert tools.startswith("5.")
    assert all("/site-packages/" in path for path in installed)


def simulated(inside: Inside, *words: str | Path) -> Document:
    """What `atoll simulate` says of a run."""
    printed = inside("atoll", "simulate", *words, "--runtime", "process", "--json", "--output", HERE / "run")
    document: Document = json.loads(printed)
    return document


def pooled_mean(column: str) -> Any:
    """The mean over all islands."""
    tables = [pd.read_csv(ISLANDS / f"{island}.csv") for island in ("biscoe", "dream", "torgersen")]
    return pytest.approx(pd.concat(tables)[column].mean())


def test_a_computation_runs_there(inside: Inside) -> None:
    document = simulated(inside, SRC / "examples" / "coinstac" / "sum")

    assert document["status"] == "done"
    assert document["iterations"] == 5


def test_functions_run_there(inside: Inside) -> None:
    document = simulated(
        inside,
        *(SRC / "examples" / "functions" / "mean" / "mean.py", "--function", "mean"),
        *("--federation", SRC / FEDERATION, "--arg", "column=body_mass_g"),
    )

    assert document["result"] == pooled_mean("body_mass_g")


def test_an_algorithm_of_generation_5_runs_there(inside: Inside) -> None:
    """It asks with the published client, over its own sessions and dataframes."""
    document = simulated(
        inside,
        *(SRC / "examples" / "vantage6" / "average-5", "--function", "average"),
        *("--federation", SRC / FEDERATION, "--arg", "column=body_mass_g"),
        *("--extract", "read", "--preprocess", 'complete:{"column": "body_mass_g"}'),
    )

    assert document["result"]["average"] == pooled_mean("body_mass_g")
    assert document["result"]["n"] == 342
