from pathlib import Path

import numpy as np
import pandas as pd
from federated_averaging import federated_averaging

from atoll.testing import federation

ISLANDS = Path(__file__).parents[2] / "islands"
TABLES = [pd.read_csv(ISLANDS / f"{name}.csv") for name in ("biscoe", "dream", "torgersen")]
FEATURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
CLASSES = ["Adelie", "Chinstrap", "Gentoo"]
ASKED = {"features": FEATURES, "target": "species", "classes": CLASSES}
ROWS = pd.concat(TABLES)[[*FEATURES, "species"]].dropna()


def test_with_one_step_a_round_it_is_gradient_descent_on_all_rows():
    one_site, three_sites = (
        federation(tables).run(federated_averaging, **ASKED, rounds=20, steps=1)
        for tables in ([pd.concat(TABLES)], TABLES)
    )

    np.testing.assert_allclose(three_sites["weights"], one_site["weights"], rtol=1e-10)


def test_with_five_steps_a_round_it_tells_species_apart():
    """No island has all species, so that the sites pull the model apart between the rounds."""
    model = federation(TABLES).run(federated_averaging, **ASKED)

    z = ((ROWS[FEATURES] - model["center"]) / model["scale"]).to_numpy()
    scores = np.column_stack([np.ones(len(z)), z]) @ model["weights"]
    assert (np.array(CLASSES)[scores.argmax(axis=1)] == ROWS["species"]).mean() > 0.98
