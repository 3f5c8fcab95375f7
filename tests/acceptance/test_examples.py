"""Every example runs through the real command, and equals the same analysis of the pooled rows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression, Ridge
from tests import nursery

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "coinstac"
SITES = ["local0", "local1", "local2"]
#: Relative. Both sides do the same arithmetic in another order.
TOLERANCE = 1e-8

Document = dict[str, Any]
Simulate = Callable[..., Document]

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]


@pytest.fixture(params=["process", pytest.param("bubblewrap", marks=pytest.mark.needs("bubblewrap"))])
def simulate(request: pytest.FixtureRequest, tmp_path: Path) -> Simulate:
    """Run an example under each runtime, with other inputs where some are given."""

    def run(
        name: str, *options: str, change: Mapping[str, object] | None = None, status: int = 0
    ) -> Document:
        spec = json.loads((EXAMPLES / name / "test" / "inputspec.json").read_text())
        if change:
            for site in spec:
                site.update({key: {"value": value} for key, value in change.items()})
            (tmp_path / "inputspec.json").write_text(json.dumps(spec))
            options = ("--inputspec", str(tmp_path / "inputspec.json"), *options)
        given = ["--runtime", request.param, "--json", "--output", tmp_path / "run", *options]
        done = nursery.run("simulate", EXAMPLES / name, *given, cwd=tmp_path)
        assert status == done.returncode, done.stderr
        document: Document = json.loads(done.stdout)
        return document

    return run


def same(actual: Iterable[float]) -> Any:
    """What equals these numbers to the stated tolerance."""
    return pytest.approx(np.asarray(list(actual), dtype=float), rel=TOLERANCE, abs=0)


def column(coefficients: Mapping[str, Mapping[str, float]], key: str) -> Any:
    """One column of a table of coefficients."""
    return same(row[key] for row in coefficients.values())


def penguins() -> pd.DataFrame:
    """The rows of all three islands."""
    folder = EXAMPLES / "ridge-one-shot" / "test" / "input"
    tables = [pd.read_csv(folder / site / "simulatorRun" / "penguins.csv") for site in SITES]
    return pd.concat(tables, ignore_index=True)


def design(measurements: list[str], *, sex: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Complete rows, and their predictors in the order of the examples."""
    rows = penguins()[
        ["body_mass_g", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "sex", "species"]
    ]
    rows = rows.dropna()
    x = rows[measurements].astype(float)
    if sex:
        x["sex=male"] = (rows["sex"] == "male").astype(float)
    for species in ("Chinstrap", "Gentoo"):
        x[f"species={species}"] = (rows["species"] == species).astype(float)
    return rows, x


def linear() -> tuple[pd.DataFrame, pd.Series]:
    """Body mass and what explains it."""
    rows, x = design(["bill_length_mm", "bill_depth_mm", "flipper_length_mm"], sex=True)
    return x, rows["body_mass_g"].astype(float)


def logistic() -> tuple[pd.DataFrame, pd.Series]:
    """Sex and what explains it."""
    rows, x = design(["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"], sex=False)
    return x, (rows["sex"] == "male").astype(float)


def test_the_sum_reaches_five_after_five_iterations(simulate: Simulate) -> None:
    document = simulate("sum")

    assert ("done", "coinstac") == (document["status"], document["dialect"])
    assert ["local0", "local1"] == document["sites"]
    assert (5, 10) == (document["iterations"], document["rounds"])
    assert {"sum": 5} == document["result"]
    assert {"local0": {"sum": 5}, "local1": {"sum": 5}} == document["results"]


def test_an_object_is_cloned_for_each_site(simulate: Simulate, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"start": {"value": 1}}')

    document = simulate("sum", "--clients", "3", "--inputspec", str(tmp_path / "one.json"))

    assert SITES == document["sites"]
    assert {"sum": 5} == document["result"]


def test_one_shot_regression_equals_pooled_least_squares(simulate: Simulate) -> None:
    """So do its tests, and the rows of each site are counted."""
    x, y = linear()
    pooled = sm.OLS(y, sm.add_constant(x)).fit()

    result = simulate("ridge-one-shot")["result"]

    coefficients = result["coefficients"]
    assert ["Intercept", *x.columns] == list(coefficients)
    assert pooled.params.to_numpy() == column(coefficients, "estimate")
    assert pooled.bse.to_numpy() == column(coefficients, "standard_error")
    assert pooled.tvalues.to_numpy() == column(coefficients, "t")
    assert pooled.pvalues.to_numpy() == column(coefficients, "p")
    assert np.array([pooled.rsquared, pooled.df_resid, np.sqrt(pooled.scale)]) == same(
        [
            result["fit"]["r_squared"],
            result["fit"]["degrees_of_freedom"],
            result["fit"]["residual_standard_error"],
        ]
    )
    assert 333 == result["fit"]["n"]
    assert {
        "local0": {"n": 163, "dropped": 5},
        "local1": {"n": 123, "dropped": 1},
        "local2": {"n": 47, "dropped": 5},
    } == result["sites"]


@pytest.mark.parametrize("penalty", [0.5, 1000])
def test_one_shot_regression_equals_pooled_ridge(simulate: Simulate, penalty: float) -> None:
    """The intercept is not penalised, and the penalty is in the units of the columns."""
    x, y = linear()
    pooled = Ridge(alpha=penalty).fit(x, y)

    result = simulate("ridge-one-shot", change={"lambda": penalty})["result"]

    assert np.array([pooled.intercept_, *pooled.coef_]) == column(result["coefficients"], "estimate")
    assert np.array([pooled.score(x, y)]) == same([result["fit"]["r_squared"]])


@pytest.mark.parametrize("penalty", [0, 10])
def test_iterative_regression_equals_pooled_ridge(simulate: Simulate, penalty: float) -> None:
    x, y = linear()
    pooled = Ridge(alpha=penalty).fit(x, y)

    result = simulate("ridge-iterative", change={"lambda": penalty})["result"]

    assert ["Intercept", *x.columns] == list(result["coefficients"])
    assert np.array([pooled.intercept_, *pooled.coef_]) == same(result["coefficients"].values())
    assert np.array([pooled.score(x, y)]) == same([result["fit"]["r_squared"]])


def test_an_iteration_that_does_not_converge_fails_and_says_how_far_it_came(simulate: Simulate) -> None:
    document = simulate("ridge-iterative", change={"iterations_max": 2}, status=1)

    assert ("failed", "remote", None) == (document["status"], document["error"]["site"], document["result"])
    assert "not converged after 2 steps" in document["error"]["message"]


def test_logistic_regression_equals_pooled_maximum_likelihood(simulate: Simulate) -> None:
    x, y = logistic()
    pooled = sm.GLM(y, sm.add_constant(x), family=sm.families.Binomial()).fit(tol=1e-14)

    result = simulate("logistic-iterative")["result"]

    assert ["Intercept", *x.columns] == list(result["coefficients"])
    assert pooled.params.to_numpy() == column(result["coefficients"], "estimate")
    assert pooled.bse.to_numpy() == column(result["coefficients"], "standard_error")
    assert pooled.pvalues.to_numpy() == column(result["coefficients"], "p")
    assert np.array([pooled.llf]) == same([result["fit"]["log_likelihood"]])


def test_penalised_logistic_regression_equals_the_pooled_one(simulate: Simulate) -> None:
    x, y = logistic()
    pooled = LogisticRegression(C=1 / 2, tol=1e-13, max_iter=1000, solver="newton-cholesky").fit(x, y)

    result = simulate("logistic-iterative", change={"lambda": 2})["result"]

    assert np.array([*pooled.intercept_, *pooled.coef_[0]]) == column(result["coefficients"], "estimate")


def test_regional_volumes_regress_as_if_pooled_and_as_each_site_alone(simulate: Simulate) -> None:
    result = simulate("freesurfer-regression")["result"]

    assert ["Left-Hippocampus", "Right-Hippocampus", "5th-Ventricle"] == [
        row["ROI"] for row in result["regressions"]
    ]
    for row in result["regressions"]:
        subjects = {site: volumes(site, row["ROI"]) for site in SITES}
        assert_same_fit(pd.concat(subjects.values()), row["global_stats"])
        for site, own in subjects.items():
            assert_same_fit(own, row["local_stats"][site])


def volumes(site: str, region: str) -> pd.DataFrame:
    """A site's subjects: covariates from the inputspec, the region's volume from their files."""
    folder = EXAMPLES / "freesurfer-regression" / "test"
    spec = json.loads((folder / "inputspec.json").read_text())
    table = pd.DataFrame.from_dict(spec[SITES.index(site)]["covariates"]["value"], orient="index").astype(
        float
    )
    for subject in table.index:
        lines = (folder / site / "simulatorRun" / subject).read_text().splitlines()
        table.loc[subject, "volume"] = float(dict(line.split("\t") for line in lines)[region])
    return table


def assert_same_fit(subjects: pd.DataFrame, found: Document) -> None:
    """Compare one row of the table with statsmodels."""
    pooled = sm.OLS(subjects["volume"], sm.add_constant(subjects[["isControl", "age"]])).fit()
    assert ["Intercept", "isControl", "age"] == found["covariates"]
    assert len(subjects) == found["n"]
    assert pooled.params.to_numpy() == same(found["beta"])
    assert pooled.bse.to_numpy() == same(found["standard_error"])
    assert pooled.tvalues.to_numpy() == same(found["t"])
    assert pooled.pvalues.to_numpy() == same(found["p"])
    assert np.array([pooled.rsquared, pooled.df_resid]) == same(
        [found["r_squared"], found["degrees_of_freedom"]]
    )


def test_norms_and_comparison_equal_those_of_pooled_rows(simulate: Simulate) -> None:
    """The last round's files lie in each site's output, beside the list that only the site has."""
    rows = penguins().dropna(subset=["sex"])
    groups = rows.groupby(["species", "sex"])["bill_depth_mm"]
    z = (rows["bill_depth_mm"] - groups.transform("mean")) / groups.transform("std")

    document = simulate("file-transfer")

    result = document["result"]
    norms = [row for row in result["norms"] if row["measurement"] == "bill_depth_mm"]
    assert list(groups.groups) == [(row["species"], row["sex"]) for row in norms]
    assert list(groups.count()) == [row["n"] for row in norms]
    assert groups.mean().to_numpy() == same(row["mean"] for row in norms)
    assert groups.std().to_numpy() == same(row["sd"] for row in norms)
    compared = [row for row in result["comparison"] if row["measurement"] == "bill_depth_mm"]
    islands = z.groupby(rows["island"])
    assert SITES == [row["site"] for row in compared]
    assert islands.mean().to_numpy() == same(row["mean_z"] for row in compared)
    assert islands.std().to_numpy() == same(row["sd_z"] for row in compared)
    output = Path(document["output"]) / "output"
    for name, versions in {"index.html": 1, "norms.csv": 1, "far-from-norm.csv": 3}.items():
        assert [output / site / name for site in SITES] == sorted(output.rglob(name))
        assert versions == len({path.read_text() for path in output.rglob(name)})


def test_the_second_step_standardises_by_what_the_first_found(simulate: Simulate) -> None:
    columns = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    rows = penguins()[columns].dropna()
    z = (rows - rows.mean()) / rows.std()
    pooled = Ridge(alpha=1).fit(z[columns[:-1]], z["body_mass_g"])

    result = simulate("pipeline")["result"]

    assert 342 == result["fit"]["n"]
    assert [0.0, *pooled.coef_] == pytest.approx(
        [row["estimate"] for row in result["coefficients"].values()], rel=TOLERANCE, abs=1e-13
    )
    assert np.array([pooled.score(z[columns[:-1]], z["body_mass_g"])]) == same([result["fit"]["r_squared"]])


def test_a_site_refuses_to_share_a_group_of_a_few_rows(simulate: Simulate, tmp_path: Path) -> None:
    """One Chinstrap on Torgersen would be read off the sums; the message doesn't tell more."""
    for site in SITES:
        folder = tmp_path / "data" / "input" / site / "simulatorRun"
        folder.mkdir(parents=True)
        source = EXAMPLES / "ridge-one-shot" / "test" / "input" / site / "simulatorRun" / "penguins.csv"
        (folder / "penguins.csv").write_text(source.read_text())
    with (folder / "penguins.csv").open("a") as file:
        file.write("Chinstrap,Torgersen,46.5,17.9,192,3512,female,2009\n")

    document = simulate(
        "ridge-one-shot",
        *("--directory", str(tmp_path / "data")),
        *("--inputspec", str(EXAMPLES / "ridge-one-shot" / "test" / "inputspec.json")),
        status=1,
    )

    assert ("failed", "local2") == (document["status"], document["error"]["site"])
    assert "'species' has a level with fewer than 5 rows" in document["error"]["message"]
    assert "3512" not in json.dumps(document)


def test_what_a_site_sends_does_not_grow_with_its_rows(tmp_path: Path) -> None:
    example = EXAMPLES / "ridge-one-shot"
    spec = json.loads((example / "test" / "inputspec.json").read_text())[0]
    source = example / "test" / "input" / "local0" / "simulatorRun" / "penguins.csv"
    sent = []
    for share in (1, 2):
        folder = tmp_path / str(share)
        folder.mkdir()
        pd.read_csv(source).iloc[::share].to_csv(folder / "penguins.csv", index=False)
        given = {name: entry["value"] for name, entry in spec.items()}
        document = {"input": given, "cache": {}, "state": {"baseDirectory": str(folder), "iteration": 1}}
        done = subprocess.run(
            [sys.executable, "-B", "local.py"],
            input=json.dumps(document),
            capture_output=True,
            text=True,
            check=True,
            cwd=example,
        )
        sent.append(shape(json.loads(done.stdout)["output"]))

    assert sent[0] == sent[1]


def shape(value: object) -> object:
    """A document without its numbers."""
    if isinstance(value, dict):
        return {key: shape(child) for key, child in value.items()}
    if isinstance(value, list):
        return [shape(child) for child in value]
    return value if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize("name", ["design.py", "ridge.py"])
def test_the_copies_of_a_shared_file_are_one_text(name: str) -> None:
    """A computation's folder is complete in itself, so that what two share is there twice."""
    texts = {path.read_text() for path in EXAMPLES.rglob(name)}

    assert 1 == len(texts)


def test_every_example_has_a_page_and_declares_what_it_is_given() -> None:
    for path in EXAMPLES.rglob("compspec.json"):
        declared = json.loads(path.read_text())["computation"]["input"]
        for spec in path.parent.glob("test/inputspec*.json"):
            for site in json.loads(spec.read_text()):
                assert list(site) == [name for name in declared if name in site], spec
        assert all({"label", "type", "source"} <= set(variable) for variable in declared.values()), path
    pages = [path.parent for path in EXAMPLES.glob("*/README.md")]
    assert sorted(path for path in EXAMPLES.iterdir() if path.is_dir()) == sorted(pages)
