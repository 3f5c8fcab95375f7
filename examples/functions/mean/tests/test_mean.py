from pathlib import Path

import pandas as pd
import pytest
from mean import mean, moments

from atoll.testing import federation

ISLANDS = Path(__file__).parents[2] / "islands"
TABLES = [pd.read_csv(ISLANDS / f"{name}.csv") for name in ("biscoe", "dream", "torgersen")]


def test_the_mean_is_that_of_all_rows():
    pooled = pd.concat(TABLES)["body_mass_g"].mean()

    assert federation(TABLES).run(mean, column="body_mass_g") == pytest.approx(pooled, rel=1e-12)


def test_a_site_sends_a_count_and_a_sum():
    table = pd.DataFrame({"age": [41.0, 59.0, None]})

    assert moments(table, column="age") == {"n": 2, "sum": 100.0}
