"""Every runtime keeps what it promises: the suite that is shipped, over each of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from tests import sif
from tests.contract import scheduled
from tests.engines import BOOKWORM, Engine
from tests.slurm import Cluster

from atoll.engine.running import Image, ImageKind
from atoll.runtimes.conformance import CHECKS, Check, Subject, Verdict, examine
from atoll.runtimes.conformance.own import OWN


@dataclass(frozen=True)
class Maker:
    """How a runtime is had here."""

    #: Called before each check; a fixture may be asked for what it needs.
    make: Callable[[pytest.FixtureRequest], Subject]
    #: What it needs of this machine; see `tests/conftest.py`.
    needs: tuple[str, ...] = ()
    #: Whether it starts engines.
    heavy: bool = False
    #: The checks that it is examined with; none: all.
    only: tuple[str, ...] = ()

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        heavy = [pytest.mark.acceptance, pytest.mark.timeout(120)] if self.heavy else []
        return [*(pytest.mark.needs(need) for need in self.needs), *heavy]


def own(name: str) -> Callable[[pytest.FixtureRequest], Subject]:
    """A runtime of Atoll's that runs code of this machine."""
    return lambda _: Subject(name=name, make=OWN[name])


def containers(name: Literal["docker", "podman"]) -> Callable[[pytest.FixtureRequest], Subject]:
    """A runtime of Atoll's that runs images of an engine."""

    def make(request: pytest.FixtureRequest) -> Subject:
        engine = Engine(name=name, socket=request.getfixturevalue(f"{name}_socket"))
        status, body = engine.ask(f"/images/{BOOKWORM}/json")
        assert 200 == status, body
        digest = json.loads(body)["Id"]
        return Subject(
            name=name,
            make=OWN[name],
            options={"socket": str(engine.socket)},
            image=Image(kind=ImageKind.OCI, name=BOOKWORM, digest=f"sha256:{digest.removeprefix('sha256:')}"),
        )

    return make


def scheduled_by_slurm(request: pytest.FixtureRequest) -> Subject:
    """Sandboxes that a cluster starts."""
    cluster: Cluster = request.getfixturevalue("slurm")
    return Subject(name="slurm", make=scheduled.slurm, options={"conf": str(cluster.conf)})


MAKERS: dict[str, Maker] = {
    "process": Maker(own("process")),
    "bubblewrap": Maker(own("bubblewrap"), needs=("bubblewrap",)),
    "docker": Maker(containers("docker"), needs=("docker-images",), heavy=True),
    "podman": Maker(containers("podman"), needs=("podman-images",), heavy=True),
    "rootfs": Maker(lambda _: sif.subject(), needs=("bubblewrap", "mksquashfs"), heavy=True),
    # With a stand-in, which takes its time. What it shares with the one above is examined there.
    "apptainer": Maker(
        lambda request: sif.apptainer_subject(request.getfixturevalue("tmp_path_factory").mktemp("program")),
        needs=("bubblewrap", "mksquashfs"),
        heavy=True,
        only=(
            "answer",
            "folders",
            "served",
            "door",
            "outlet",
            "network",
            "fork-bomb",
            "left",
            "owner-killed",
        ),
    ),
    "slurm": Maker(scheduled_by_slurm, needs=("slurm", "bubblewrap"), heavy=True),
}


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{name}-{check.name}", marks=maker.marks)
        for name, maker in MAKERS.items()
        for check in CHECKS
        if not maker.only or check.name in maker.only
    ],
)
def test_promise_is_kept(name: str, check: Check, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A runtime keeps the promise that the check names, or says that it doesn't make it."""
    finding = asyncio.run(examine(check, MAKERS[name].make(request), tmp_path))

    if finding.verdict is Verdict.NOT_PROMISED:
        pytest.skip(f"not promised: {finding.why}")
    assert Verdict.KEPT is finding.verdict, f"{check.what} {finding.why}"
