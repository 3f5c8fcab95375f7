"""The engines that tests use, and the images that they use them with."""

from __future__ import annotations

import json

import pytest
from tests.engines import IMAGES, Engine

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]


def test_an_engine_speaks_docker_s_protocol_and_has_every_image(engine: Engine) -> None:
    status, body = engine.ask("/version")
    found = [engine.ask(f"/images/{image}/json")[0] for image in IMAGES]

    assert (200, True, [200] * len(IMAGES)) == (status, "ApiVersion" in json.loads(body), found)
