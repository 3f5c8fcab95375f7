from pathlib import Path

import pandas as pd
import pytest
import statsmodels.api as sm
from logistic_regression import logistic_regression

from atoll.testing import RunFailed, federation

ISLANDS = Path(__file__).parents[2] / "islands"
TABLES = [pd.read_csv(ISLANDS / f"{name}.csv") for name in ("biscoe", "dream", "torgersen")]
ASKED = {"outcome": "sex", "positive": "male", "predictors": ["bill_length_mm", "body_mass_g"]}


def test_the_regression_is_that_of_all_rows():
    rows = pd.concat(TABLES)[["sex", *ASKED["predictors"]]].dropna()
    x = sm.add_constant(rows[ASKED["predictors"]])
    pooled = sm.GLM(rows["sex"] == "male", x, family=sm.families.Binomial()).fit(tol=1e-14)

    found = federation(TABLES).run(logistic_regression, **ASKED)

    assert found["n"] == len(rows)
    assert list(found["estimate"].values()) == pytest.approx(pooled.params.tolist(), rel=1e-8)
    assert list(found["standard_error"].values()) == pytest.approx(pooled.bse.tolist(), rel=1e-8)
    assert found["log_likelihood"] == pytest.approx(pooled.llf, rel=1e-8)


def test_a_site_with_few_rows_sends_nothing():
    sites = federation({"large": TABLES[0], "small": TABLES[1].head(9)})

    with pytest.raises(RunFailed, match="fewer than 10 complete rows"):
        sites.run(logistic_regression, **ASKED)
