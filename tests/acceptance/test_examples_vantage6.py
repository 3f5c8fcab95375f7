"""The examples that are written for vantage6 run as their pages say, in three languages."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.acceptance.computations import RUNTIMES, atoll

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "vantage6"
ISLANDS = ROOT / "examples" / "functions" / "islands"
SITES = ["Biscoe", "Dream", "Torgersen"]
#: Each with what it needs.
NEEDS = {
    "average-4": "vantage6-4",
    "average-5": "vantage6-5",
    "average-js": "node",
    "average-r": "Rscript",
}

Document = dict[str, Any]

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]


def command(name: str) -> list[str]:
    """The first command of an example's page, without ``atoll``."""
    text = (EXAMPLES / name / "README.md").read_text().replace("\\\n", " ")
    found = re.search(r"^\$ atoll (simulate .+)$", text, re.MULTILINE)
    assert found is not None
    return shlex.split(found[1])


def examples(*names: str) -> list[Any]:
    """Examples as parameters of a test."""
    return [pytest.param(name, marks=pytest.mark.needs(NEEDS[name])) for name in names]


def simulate(words: list[str], tmp_path: Path) -> Document:
    """Run the command, and read its document."""
    done = atoll(*words, "--json", "--output", str(tmp_path / "run"), cwd=ROOT)
    document: Document = json.loads(done.stdout)
    return document


def values() -> dict[str, pd.Series]:
    """What the sites are asked about."""
    return {site: pd.read_csv(ISLANDS / f"{site.lower()}.csv")["body_mass_g"].dropna() for site in SITES}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", examples(*NEEDS))
def test_the_average_equals_that_of_all_rows(name: str, runtime: str, tmp_path: Path) -> None:
    pooled = pd.concat(values().values())

    document = simulate([*command(name), "--runtime", runtime], tmp_path)

    assert ("done", "vantage6", SITES) == (document["status"], document["dialect"], document["sites"])
    assert {"n", "average"} == set(document["result"])
    assert len(pooled) == document["result"]["n"]
    assert pytest.approx(pooled.mean(), rel=1e-12) == document["result"]["average"]


@pytest.mark.parametrize("name", examples("average-js", "average-r"))
def test_a_partial_function_answers_for_each_site(name: str, tmp_path: Path) -> None:
    words = command(name)
    words[words.index("average")] = "sums"

    document = simulate([*words, "--at", "all", "--dialect", "vantage6"], tmp_path)

    assert {site: {"n": len(each), "sum": each.sum()} for site, each in values().items()} == document[
        "results"
    ]


@pytest.mark.parametrize("name", examples("average-4", "average-js"))
def test_an_average_without_a_site_is_none(name: str, tmp_path: Path) -> None:
    """vantage6 leaves failed runs out without a word; each example counts what came back."""
    (tmp_path / "few.csv").write_text("".join((ISLANDS / "dream.csv").read_text().splitlines(True)[:10]))
    lines = [f"  {site}: {{databases: {{penguins: {ISLANDS}/{site.lower()}.csv}}}}" for site in SITES]
    lines[1] = "  Dream: {databases: {penguins: few.csv}}"
    (tmp_path / "federation.yaml").write_text("\n".join(["sites:", *lines]))
    words = command(name)
    words[words.index("-f") + 1] = str(tmp_path / "federation.yaml")

    document = simulate(words, tmp_path)

    assert ("failed", "Biscoe", "AlgorithmFailed") == (
        document["status"],
        document["error"]["site"],
        document["error"]["type"],
    )
    assert document["error"]["message"].startswith("average ")


def test_every_example_has_a_page_and_a_line_in_the_list() -> None:
    folders = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    listed = (EXAMPLES / "README.md").read_text()

    assert folders == sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))
    assert folders == list(NEEDS)
    assert [] == [name for name in folders if f"[`{name}`]({name}/README.md)" not in listed]
