"""What a site sets for algorithms reaches its functions, and no other site's."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.computations import RUNTIMES, run

pytestmark = pytest.mark.acceptance

MODULE = """\
import os

from atoll_algorithm import partial


@partial
def told() -> list:
    return [os.environ.get("LEAST"), os.environ.get("ONLY_BETA")]
"""
FEDERATION = """\
sites:
  alpha: {env: {LEAST: 3}}
  beta: {env: {LEAST: 5, ONLY_BETA: "yes"}}
  gamma:
"""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_function_finds_what_its_own_site_sets(runtime: str, tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text(MODULE)
    (tmp_path / "sites.yaml").write_text(FEDERATION)

    report = run(tmp_path / "told.py", tmp_path, federation=tmp_path / "sites.yaml", runtime=runtime)

    assert "done" == report.status
    assert {"alpha": ["3", None], "beta": ["5", "yes"], "gamma": [None, None]} == report.results
