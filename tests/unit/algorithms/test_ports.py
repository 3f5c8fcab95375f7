"""The ports that an algorithm declares for others of its run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from atoll.algorithms.describing import describe
from atoll.algorithms.manifest import Manifest, decode
from atoll.algorithms.ports import ports_in, ports_of
from atoll.engine.limits import PORTS_MAX
from atoll.engine.peers import Port
from atoll.model.errors import JobRefused

DOCKERFILE = """
FROM registry.example/base
EXPOSE 8888 8889/tcp 5353/udp $PORT
LABEL p8888="exchange of keys" \\
      p8889=results maintainer=somebody
expose 9000
LABEL p9000 the old way
LABEL p8888='not closed
EXPOSE 0 70000 8888
"""


def test_a_dockerfile_declares_ports_and_what_they_are_called() -> None:
    expected = (
        Port(number=8888, label="exchange of keys"),
        Port(number=8889, label="results"),
        Port(number=9000, label="the old way"),
    )

    assert expected == ports_in(DOCKERFILE)


def test_an_image_that_exposes_more_than_may_be_declared_has_the_first_of_them() -> None:
    assert PORTS_MAX == len(ports_of(range(100, 200), {}))
    assert (Port(number=1, label="x" * 100),) == ports_of([1], {"p1": "x" * 200})


def test_a_vantage6_algorithm_brings_its_ports_along(tmp_path: Path) -> None:
    package = tmp_path / "v6_talk"
    package.mkdir()
    (package / "__init__.py").write_text("from vantage6.algorithm.tools.decorators import data\n")
    (tmp_path / "Dockerfile").write_text('EXPOSE 8888\nLABEL p8888="exchange"\n')

    manifest = describe(tmp_path).manifest

    assert (Port(number=8888, label="exchange"),) == manifest.ports == decode(manifest.encode()).ports


@pytest.mark.parametrize(
    "ports",
    [
        (Port(number=1), Port(number=1)),
        tuple(Port(number=number) for number in range(1, PORTS_MAX + 2)),
        (Port(number=0),),
        (Port(number=65_536),),
        (Port(number=1, label="x" * 101),),
    ],
)
def test_a_bundle_with_other_ports_is_refused(ports: tuple[Port, ...]) -> None:
    manifest = Manifest(dialect="vantage6", name="talk", generation=4)

    with pytest.raises(JobRefused, match="port"):
        decode(replace(manifest, ports=ports).encode())
