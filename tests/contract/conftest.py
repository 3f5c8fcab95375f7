"""What the suites over all runtimes share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contract.runtime_bench import KINDS, Bench, make_bench


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return make_bench(request.param, tmp_path)
