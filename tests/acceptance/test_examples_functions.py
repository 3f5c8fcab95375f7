"""Every example written as functions runs as its page says, and equals the analysis of the pooled rows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression
from tests.acceptance.computations import RUNTIMES, atoll

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "functions"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md") if path.parent.name != "islands")
SITES = ["Biscoe", "Dream", "Torgersen"]
MEASUREMENTS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
#: Relative. Both sides do the same arithmetic in another order.
TOLERANCE = 1e-9

Document = dict[str, Any]
Simulate = Callable[..., Document]

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]


def command(name: str) -> list[str]:
    """The first command of an example's page, without ``atoll``."""
    text = (EXAMPLES / name / "README.md").read_text().replace("\\\n", " ")
    found = re.search(r"^\$ atoll (simulate .+)$", text, re.MULTILINE)
    assert found is not None
    return shlex.split(found[1])


@pytest.fixture(params=["inline", *RUNTIMES])
def simulate(request: pytest.FixtureRequest, tmp_path: Path) -> Simulate:
    """Run an example as its page says, under each runtime."""

    def run(name: str, *options: str) -> Document:
        given = ["--runtime", request.param, "--json", "--output", str(tmp_path / "run"), *options]
        done = atoll(*command(name), *given, cwd=ROOT)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        document: Document = json.loads(done.stdout)
        return document

    return run


def same(expected: Any, tolerance: float = TOLERANCE) -> Any:
    """What equals these numbers to a tolerance that is stated."""
    return pytest.approx(np.asarray(expected, dtype=float), rel=tolerance, abs=0)


def penguins() -> pd.DataFrame:
    """The rows of all three islands."""
    tables = [pd.read_csv(EXAMPLES / "islands" / f"{site.lower()}.csv") for site in SITES]
    return pd.concat(tables, ignore_index=True)


def test_the_mean_equals_that_of_all_rows(simulate: Simulate) -> None:
    document = simulate("mean")

    assert ("done", "functions", SITES) == (document["status"], document["dialect"], document["sites"])
    assert same(penguins()["body_mass_g"].mean()) == document["result"]


def test_logistic_regression_equals_pooled_maximum_likelihood(simulate: Simulate) -> None:
    rows = penguins()[["sex", *MEASUREMENTS]].dropna()
    x = sm.add_constant(rows[MEASUREMENTS])
    pooled = sm.GLM(rows["sex"] == "male", x, family=sm.families.Binomial()).fit(tol=1e-14)

    result = simulate("logistic-regression")["result"]

    assert ["Intercept", *MEASUREMENTS] == list(result["estimate"])
    assert len(rows) == result["n"]
    assert same(pooled.params) == list(result["estimate"].values())
    assert same(pooled.bse) == list(result["standard_error"].values())
    assert same(pooled.llf) == result["log_likelihood"]


def test_sums_over_all_sites_standardise_and_correlate_as_one_table(simulate: Simulate) -> None:
    rows = penguins()[MEASUREMENTS].dropna()

    result = simulate("standardize-all-reduce")["result"]

    assert len(rows) == result["n"]
    assert same(rows.mean()) == list(result["mean"].values())
    assert same(rows.std()) == list(result["standard_deviation"].values())
    assert same(rows.corr()) == np.asarray(result["correlation"])


def test_the_bootstrap_finds_the_standard_error_of_a_mean_over_strata(simulate: Simulate) -> None:
    """It is known without drawing. What 2,000 draws find of it is within 5 %, and the same every time."""
    rows = penguins().dropna(subset=["body_mass_g"])
    strata = rows.groupby("island")["body_mass_g"]
    known = float((strata.count() * strata.var(ddof=0)).sum() ** 0.5 / len(rows))

    result = simulate("bootstrap")["result"]

    assert same(rows["body_mass_g"].mean()) == result["mean"]
    assert same(known, 0.05) == result["standard_error"]
    assert same([4135.0091374269, 4268.859649122807]) == result["interval"]


def test_federated_averaging_tells_species_apart_as_a_pooled_model_does(simulate: Simulate) -> None:
    rows = penguins()[[*MEASUREMENTS, "species"]].dropna()
    x = rows[MEASUREMENTS]
    pooled = LogisticRegression().fit((x - x.mean()) / x.std(), rows["species"])

    model = {name: np.asarray(values) for name, values in simulate("federated-averaging")["result"].items()}

    assert same(x.mean()) == model["center"]
    assert same(x.std(ddof=0)) == model["scale"]
    z = ((x - model["center"]) / model["scale"]).to_numpy()
    found = pooled.classes_[(np.column_stack([np.ones(len(z)), z]) @ model["weights"]).argmax(axis=1)]
    assert 0.98 < (found == pooled.predict((x - x.mean()) / x.std())).mean()


def test_two_databases_are_one_table_at_their_site(simulate: Simulate) -> None:
    pooled = penguins().groupby("sex")["body_mass_g"].mean()

    result = simulate("several-databases")["result"]

    assert list(pooled.index) == list(result)
    assert same(pooled) == list(result.values())


def test_a_partial_function_answers_for_each_site(tmp_path: Path) -> None:
    words = [*command("mean"), "--json", "--output", str(tmp_path / "run")]
    words[words.index("mean")] = "moments"
    pooled = penguins().groupby("island")["body_mass_g"].agg(["count", "sum"])

    done = atoll(*words, cwd=ROOT)

    document = json.loads(done.stdout)
    assert document["result"] is None
    assert {
        site: {"n": int(row["count"]), "sum": float(row["sum"])} for site, row in pooled.iterrows()
    } == document["results"]


def test_an_author_runs_the_tests_in_the_folder_of_the_algorithm() -> None:
    _pass(["tests"], EXAMPLES / "mean")


def test_the_tests_that_authors_wrote_pass() -> None:
    """All at once: what they import takes longer than they do."""
    folders = [str(EXAMPLES / name) for name in NAMES]

    said = _pass(
        [f"{folder}/tests" for folder in folders], EXAMPLES, PYTHONPATH=os.pathsep.join([*folders, str(ROOT)])
    )

    assert all(f"{name}/tests" in said for name in NAMES), said


def _pass(words: list[str], folder: Path, **environment: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]

    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, **environment}
    )

    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_has_a_page_tests_and_a_line_in_the_list() -> None:
    folders = [path.parent for path in EXAMPLES.glob("*/*.py")]
    listed = (EXAMPLES / "README.md").read_text()

    assert sorted(path.name for path in folders) == NAMES
    assert [] == [path.name for path in folders if not list(path.glob("tests/test_*.py"))]
    assert [] == [path.name for path in folders if f"[`{path.name}`]({path.name}/README.md)" not in listed]


def test_both_federations_have_the_same_birds() -> None:
    """What lies in two databases is what lies in one, in another order."""
    for site in SITES:
        folder = EXAMPLES / "islands"
        birds, measurements = (
            pd.read_csv(folder / f"{site.lower()}-{part}.csv") for part in ("birds", "measurements")
        )
        joined = birds.merge(measurements, on="bird", validate="one_to_one")
        whole = pd.read_csv(folder / f"{site.lower()}.csv").drop(columns="island")

        assert not joined["bird"].equals(measurements["bird"])
        pd.testing.assert_frame_equal(joined[whole.columns], whole)
