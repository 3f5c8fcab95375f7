from pathlib import Path

import pandas as pd
import pytest
from group_means import group_means, group_sums

from atoll.testing import RunFailed, federation

ISLANDS = Path(__file__).parents[2] / "islands"
NAMES = ("biscoe", "dream", "torgersen")
SITES = {
    name: {
        "birds": ISLANDS / f"{name}-birds.csv",
        "measurements": ISLANDS / f"{name}-measurements.csv",
    }
    for name in NAMES
}


@pytest.mark.parametrize("by", ["sex", "species"])
def test_the_means_are_those_of_all_rows(by):
    rows = pd.concat(pd.read_csv(ISLANDS / f"{name}.csv") for name in NAMES)

    found = federation(SITES).run(group_means, by=by, column="body_mass_g")

    assert found == pytest.approx(rows.groupby(by)["body_mass_g"].mean().to_dict(), rel=1e-12)


def test_a_site_takes_its_databases_by_their_labels():
    birds, measurements = (pd.read_csv(path) for path in SITES["biscoe"].values())

    found = group_sums(birds, measurements, by="species", column="body_mass_g")

    assert found["n"].to_dict() == {"Adelie": 44, "Gentoo": 123}


def test_a_site_with_a_small_group_sends_nothing():
    birds, measurements = (pd.read_csv(path) for path in SITES["dream"].values())
    few = pd.concat([birds[birds["sex"] == "male"], birds[birds["sex"] == "female"].head(4)])
    sites = federation({"dream": {"birds": few, "measurements": measurements}})

    with pytest.raises(RunFailed, match="a group of fewer than 5 birds"):
        sites.run(group_means, by="sex", column="body_mass_g")
