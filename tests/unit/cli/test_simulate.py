"""``atoll simulate`` for functions: what its options ask for, and how a refusal is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from atoll.cli import simulate

MEAN = """
from atoll_algorithm import Sites, central, partial

@partial
def number(value: int) -> int:
    return value

@partial
def at_home(sites: Sites, secret: str) -> str:
    if sites.here == "beta":
        raise ValueError(secret)
    return sites.here

@central
def total(sites: Sites, value: int, times: int = 1) -> dict:
    homes = sites.call(at_home, secret="none of your business", on_failure="drop")
    return {"sum": sum(sites.call(number, value=value)) * times, "homes": list(homes)}
"""
FEDERATION = """
sites:
  alpha: {databases: {first: a.csv, second: b.csv}}
  beta: {databases: {first: a.csv, second: b.csv}}
  gamma: {databases: {first: a.csv, second: b.csv}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An algorithm and a federation beside it."""
    made = tmp_path / "algorithm"
    made.mkdir()
    (made / "sums.py").write_text(MEAN)
    (made / "federation.yaml").write_text(FEDERATION)
    for name in ("a.csv", "b.csv"):
        (made / name).write_text("n\n1\n")
    return made


def atoll(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder; what it prints has no terminal's width."""
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    return subprocess.run(
        [sys.executable, "-m", "atoll", "simulate", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"arg": ["column"]}, "--arg 'column': expected KEY=VALUE"),
        ({"arg": ["a=1", "a=2"]}, "--arg 'a' was given twice"),
        ({"args": Path("/nowhere/args.json")}, "--args /nowhere/args.json can't be read"),
        ({"database": ["a:{query}"]}, "--database 'a': what stands after the colon is not JSON"),
        ({"preprocess": ["filter:3"]}, "--preprocess 'filter': what stands after the colon is a number"),
        ({"extract": "read:["}, "--extract 'read': what stands after the colon is not JSON"),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_what_options_can_t_say_is_refused_before_anything_begins(
    options: dict[str, Any], fault: str, as_json: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "out"

    status = simulate.command(tmp_path, output=output, as_json=as_json, **options)

    printed = capsys.readouterr()
    assert 2 == status
    assert printed.err.startswith(f"error: {fault}")
    assert not output.exists()
    if as_json:
        document = json.loads(printed.out)
        assert ("failed", "SpecInvalid") == (document["status"], document["error"]["type"])
        assert document["error"]["message"].startswith(fault)
    else:
        assert "" == printed.out


@pytest.mark.acceptance
@pytest.mark.timeout(120)
def test_every_option_of_functions_reaches_the_run(folder: Path) -> None:
    (folder / "args.json").write_text('{"value": 1, "times": 10}')

    words = [".", "--federation", "federation.yaml", "--function", "total", "--args", "args.json"]
    words += ["--arg", "value=7", "--database", "second", "--database", 'first:{"query": "x"}']
    words += ["--at", "beta", "--package", "sums", "--dialect", "functions", "--runtime", "process"]
    ended = atoll(folder, *words, "--json", "--output", "out")

    assert 0 == ended.returncode, ended.stderr
    document = json.loads(ended.stdout)
    assert ("done", "functions", ["alpha", "beta", "gamma"]) == (
        document["status"],
        document["dialect"],
        document["sites"],
    )
    assert {"sum": 210, "homes": ["alpha", "gamma"]} == document["result"]
    assert {"beta": document["result"]} == document["results"]
    # What a function went on without is told to programs, too.
    (told,) = [text for text in document["warnings"] if text.startswith("at_home failed at beta: ")]
    assert "ValueError, at sums.py:11 in at_home" in told
    assert "none of your business" not in ended.stdout + ended.stderr
    asked = json.loads((folder / "out" / "run.json").read_text())["arguments"]
    assert {"value": 7, "times": 10} == asked["args"]
    assert ["second", 'first:{"query": "x"}'] == asked["databases"]
    assert (str(folder / "federation.yaml"), "total", "beta", "sums") == tuple(
        asked[key] for key in ("federation", "function", "at", "package")
    )


@pytest.mark.acceptance
@pytest.mark.timeout(120)
def test_the_end_of_a_run_names_what_its_function_went_on_without(folder: Path) -> None:
    ended = atoll(folder, ".", "--function", "total", "--arg", "value=7", "--runtime", "process")

    text = ended.stdout.replace("\n", "")
    assert 0 == ended.returncode, ended.stderr
    assert "  sum     21" in ended.stdout
    assert "at_home failed at beta. Its log: " in text
    assert "The run is done, after 7 calls at 3 sites in " in text
    # Values of data stay in the site's own log.
    assert "none of your business" not in ended.stdout + ended.stderr
    (run,) = (folder / "atoll-runs").iterdir()
    assert "none of your business" in (run / "logs" / "beta.log").read_text()


@pytest.mark.acceptance
@pytest.mark.timeout(120)
def test_a_failed_run_names_the_site_the_function_the_exception_and_the_line(folder: Path) -> None:
    words = ["--function", "at_home", "--arg", "secret=none of your business", "--runtime", "process"]
    ended = atoll(folder, ".", *words, "--output", "out")

    text = " ".join(ended.stdout.split())
    assert 1 == ended.returncode
    assert "The run failed at beta: AlgorithmFailed" in text
    assert "at_home failed with ValueError, at sums.py:11 in at_home" in text
    assert str(folder / "out" / "logs" / "beta.log") in ended.stdout.replace("\n", "")
    assert "at_home at beta failed after" in ended.stderr
    assert "none of your business" not in ended.stdout + ended.stderr


@pytest.mark.acceptance
@pytest.mark.timeout(120)
def test_what_each_site_returned_is_one_table(folder: Path) -> None:
    ended = atoll(folder, ".", "--function", "number", "--arg", "value=7", "--runtime", "process")

    assert 0 == ended.returncode, ended.stderr
    assert ["  alpha   7", "  beta    7", "  gamma   7"] == [
        line.rstrip() for line in ended.stdout.splitlines() if line.endswith("7")
    ]
