from pathlib import Path

import pandas as pd
import pytest
from bootstrap import bootstrap_mean, resample

from atoll.testing import federation

ISLANDS = Path(__file__).parents[2] / "islands"
TABLES = [pd.read_csv(ISLANDS / f"{name}.csv") for name in ("biscoe", "dream", "torgersen")]


def test_the_standard_error_is_that_of_a_mean_over_strata():
    """Known without drawing. With 2,000 draws it is found to 5 %: three standard errors of its own."""
    values = [table["body_mass_g"].dropna() for table in TABLES]
    n = sum(map(len, values))
    known = sum(len(each) * each.var(ddof=0) for each in values) ** 0.5 / n

    found = federation(TABLES, seed=1).run(bootstrap_mean, column="body_mass_g")

    assert found["mean"] == pytest.approx(pd.concat(values).mean(), rel=1e-12)
    assert found["standard_error"] == pytest.approx(known, rel=0.05)
    assert found["interval"][0] < found["mean"] < found["interval"][1]


def test_the_same_seed_draws_the_same_and_another_does_not():
    first, again, other = (
        federation(TABLES, seed=seed).run(bootstrap_mean, column="body_mass_g", replicates=50)
        for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_two_sites_with_the_same_rows_draw_different_ones():
    found = federation([TABLES[0], TABLES[0]], seed=1).run(resample, column="body_mass_g", replicates=50)

    assert found["local0"]["sum"] == found["local1"]["sum"]
    assert (found["local0"]["sums"] != found["local1"]["sums"]).any()
