from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from correlations import correlations

from atoll.testing import federation

ISLANDS = Path(__file__).parents[2] / "islands"
TABLES = [pd.read_csv(ISLANDS / f"{name}.csv") for name in ("biscoe", "dream", "torgersen")]
COLUMNS = ["bill_length_mm", "flipper_length_mm", "body_mass_g"]


def test_they_are_those_of_all_rows():
    rows = pd.concat(TABLES)[COLUMNS].dropna()

    found = federation(TABLES).run(correlations, columns=COLUMNS)

    assert found["n"] == len(rows)
    assert found["mean"] == pytest.approx(rows.mean().to_dict(), rel=1e-12)
    assert found["standard_deviation"] == pytest.approx(rows.std().to_dict(), rel=1e-12)
    np.testing.assert_allclose(found["correlation"], rows.corr(), rtol=1e-12)


def test_one_site_is_a_federation_too():
    found = federation([TABLES[0]]).run(correlations, columns=COLUMNS)

    np.testing.assert_allclose(found["correlation"], TABLES[0][COLUMNS].corr(), rtol=1e-12)
