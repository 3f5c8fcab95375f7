"""Sites that talk to each other from containers without a network: programs of a hub and of nodes, and an engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.test_peers import FIXTURE, SENT_BYTES
from tests.engines import VANTAGE6_4, Engine
from tests.images import made
from tests.stage import federation, hub_program, until

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(180),
    pytest.mark.parametrize("engine", ["docker"], indirect=True),
]

NAME = "atoll-test-peers-talk"
FILES = {"/app/v6_talk/__init__.py": (FIXTURE / "v6_talk/__init__.py").read_text()}
LINES = (
    "ENV PKG_NAME=v6_talk PYTHONPATH=/app",
    "EXPOSE 8888",
    'LABEL p8888="exchange"',
    'CMD ["python", "-c", "from vantage6.algorithm.tools.wrap import wrap_algorithm; wrap_algorithm()"]',
)
OTHERS = [
    {"2": SENT_BYTES, "3": SENT_BYTES},
    {"1": SENT_BYTES, "3": SENT_BYTES},
    {"1": SENT_BYTES, "2": SENT_BYTES},
]


def test_containers_of_a_federation_talk_through_its_hub(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "runtime": engine.name,
        "containers": {"socket": str(engine.socket), "pull": "never"},
        "policies": {"algorithms": [f"{NAME}-*"], "peers": "listed", "peers_for": [f"{NAME}-*"]},
        "limits": {"disk_free": 1, "memory": "1GiB"},
        "slots": 2,
    }
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    with made(engine, NAME, VANTAGE6_4, FILES, *LINES) as image:
        with federation(tmp_path, [hub_program(tmp_path / "hub")], settings=settings) as there:
            run = there.client.runs.submit(
                collaboration="islands", algorithm=f"docker:{image}", function="central"
            )
            result = run.wait(90.0).result
            for node in there.nodes.values():
                node.end()
        until(lambda: engine.ask(f"/images/{image}?force=true", "DELETE")[0] == 404, "the image is removed")

    assert [each["received"] for each in result] == OTHERS
    assert {"exchange"} == {found["label"] for each in result for found in each["found"]}
