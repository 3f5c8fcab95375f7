"""A node asks the registries that its settings name, and others only where they are in the world."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.node.settings import read_settings
from atoll.node.sources import sources

SETTINGS = """
hub: https://hub.example
containers: {registries: {"10.0.0.1:0443": {plain: true}}}
environments: {stats: {image: "10.0.0.5/stats"}, own: {image: stats}}
policies:
  algorithms: ["10.0.0.2/group/*", "10.0.0.3*/x", mean, "functions:10.0.0.4/x", "vantage6:mean"]
  signers: {"registry.lan:5000/*": []}
"""


@pytest.mark.parametrize(
    ("host", "listed", "is_named"),
    [
        ("10.0.0.1", "", True),
        ("10.0.0.2", "", True),
        ("registry.lan:5000", "", True),
        ("10.0.0.5", "", True),
        ("registry.lan", "", False),
        ("10.0.0.3", "", False),
        ("10.0.0.4", "", False),
        ("docker.io", "", False),
        ("docker.io", "  registries: ['*', Index.Docker.IO:443]\n", True),
        ("10.0.0.2", "  registries: [docker.io]\n", True),
        ("one.hospital.example:5000", "  registries: ['*.Hospital.example:5000']\n", True),
        ("one.hospital.example", "  registries: ['*.hospital.example:443']\n", True),
        ("[::1]:5000", "  registries: ['[0::1]:5000']\n", True),
    ],
)
def test_a_node_means_the_registries_that_its_settings_name(
    tmp_path: Path, host: str, listed: str, *, is_named: bool
) -> None:
    (tmp_path / "node.yaml").write_text(SETTINGS + listed)

    assert sources(read_settings(tmp_path / "node.yaml")).names(host) is is_named
