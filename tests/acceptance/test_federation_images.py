"""Algorithms that are images, from a researcher's engine over the hub to sites that run them in containers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.acceptance.computations import atoll
from tests.acceptance.pooling import COLUMN, ISLANDS, asked, mean_of, pooling
from tests.engines import BOOKWORM, VANTAGE6_4, VANTAGE6_5, Engine
from tests.images import made
from tests.sif import make_image
from tests.stage import EXAMPLES, Federation, federation, hub_program, until

from atoll.algorithms.bundle import Bundle
from atoll.algorithms.manifest import Manifest
from atoll.algorithms.packing import pack_image
from atoll.client.runs import Run
from atoll.model.errors import RunFailed

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

EXACTLY = 1e-12
WAIT = 60.0
#: What the sites allow, by name.
LISTED = "atoll-test-algorithms"
#: What an engine does with an image is tried elsewhere, with each of them.
of_docker = pytest.mark.parametrize("engine", ["docker"], indirect=True)


@pytest.fixture(scope="module")
def contained(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A federation whose nodes run listed images alone."""
    folder = tmp_path_factory.mktemp("contained")
    settings = {
        "runtime": engine.name,
        "containers": {"socket": str(engine.socket), "pull": "never"},
        "policies": {"algorithms": [f"{LISTED}-*", "functions:mean", "functions:slow"], "bundles": "allow"},
        "limits": {"disk_free": 1, "memory": "1GiB", "processes": 100},
    }
    with (
        pytest.MonkeyPatch.context() as patch,
        federation(folder, [hub_program(folder / "hub")], settings=settings) as there,
    ):
        # The researcher's engine is that of the sites: no registry lies in between.
        patch.setenv("DOCKER_HOST", engine.url)
        yield there
        for node in there.nodes.values():
            node.end()
        assert not left_by(engine, folder), "nodes that end leave no container behind"


def left_by(engine: Engine, folder: Path) -> list[str]:
    """The containers of nodes whose workspaces lie in a folder."""
    owners = {path.read_text() for path in folder.rglob("containers-owner")}
    _, listed = engine.ask("/containers/json?all=true")
    return [
        str(one["Id"])
        for one in json.loads(listed)
        if (one.get("Labels") or {}).get("org.atoll.owner") in owners
    ]


@contextmanager
def image_of(engine: Engine, name: str, base: str, files: Mapping[str, str], *lines: str) -> Iterator[str]:
    """An image that is gone at the end, though nodes may still be removing containers of it."""
    with made(engine, name, base, files, *lines) as image:
        yield image
    until(lambda: engine.ask(f"/images/{image}?force=true", "DELETE")[0] == 404, f"{name} is removed")


def submitted(there: Federation, image: str, **more: object) -> Run:
    """A run of an image at all sites."""
    return there.client.runs.submit(collaboration="islands", algorithm=f"docker:{image}", **more)  # type: ignore[arg-type]  # as submit has it


def pooled(there: Federation, folder: Path) -> dict[str, str]:
    """The files of a computation as they lie in its image. All sites have mapped their data to it."""
    pooling(folder)
    for site in there.sites:
        done = atoll(
            *("node", "map", folder.name, "--config", site.home / "node.yaml"),
            *("--input", 'data=["penguins.csv"]', "--folder", site.home / "files"),
        )
        assert done.returncode == 0, done.stderr
    return {f"/computation/{path.name}": path.read_text() for path in folder.iterdir() if path.is_file()}


def test_a_computation_in_an_image_runs_at_all_sites(
    contained: Federation, engine: Engine, tmp_path: Path
) -> None:
    files = pooled(contained, tmp_path / "pooled")

    with image_of(engine, f"{LISTED}-pooled", BOOKWORM, files, "WORKDIR /computation") as image:
        run = submitted(contained, image, inputs=asked())
        result = run.wait(WAIT).result

    # Podman says by which digest a registry would know it, even where none does.
    assert ("was never pushed to a registry" in run.warnings[0]) is (engine.name == "docker")
    assert {"mean": pytest.approx(mean_of(), rel=EXACTLY), "sites": list(ISLANDS)} == result


# Generation 5 takes a container more at each site, and so one site is enough.
@pytest.mark.parametrize(
    ("generation", "base", "sites"), [(4, VANTAGE6_4, ISLANDS), (5, VANTAGE6_5, ["Dream"])]
)
@of_docker
def test_a_vantage6_image_asks_all_sites(
    contained: Federation, engine: Engine, generation: int, base: str, sites: Sequence[str]
) -> None:
    folder = EXAMPLES / "vantage6" / f"average-{generation}" / "averages"
    files = {f"/app/averages/{path.name}": path.read_text() for path in folder.glob("*.py")}
    lines = (
        "ENV PKG_NAME=averages PYTHONPATH=/app",
        'CMD ["python3", "-c", "from vantage6.algorithm.tools.wrap import wrap_algorithm; wrap_algorithm()"]',
    )

    with image_of(engine, f"{LISTED}-averages-{generation}", base, files, *lines) as image:
        # That of generation 5 counts rows, also those without a value: every row has a year.
        asked_for = {"args": {"column": "year"}, "databases": ["penguins"], "sites": sites}
        run = submitted(contained, image, function="average", **asked_for)
        result = run.wait(WAIT).result

    assert pytest.approx(mean_of(*sites, column="year"), rel=EXACTLY) == result["average"]


@of_docker
def test_an_image_that_no_site_lists_runs_nowhere(contained: Federation, engine: Engine) -> None:
    with image_of(engine, "atoll-test-others-averages", VANTAGE6_4, {}, "ENV PKG_NAME=averages") as image:
        run = submitted(contained, image, function="average", args={"column": COLUMN})
        with pytest.raises(RunFailed, match="is not among the images that this site allows"):
            run.wait(WAIT)


@of_docker
def test_an_image_that_a_site_lists_is_started_with_no_command_of_a_stranger(
    contained: Federation, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def harmful(manifest: Manifest, folder: Path) -> Bundle:
        return pack_image(replace(manifest, command=("python3", "-c", "import sys; sys.exit(3)")), folder)

    monkeypatch.setattr("atoll.client.algorithms.pack_image", harmful)
    with image_of(engine, f"{LISTED}-harmless", VANTAGE6_4, {}, "ENV PKG_NAME=averages") as image:
        run = submitted(contained, image, function="average", args={"column": COLUMN})
        with pytest.raises(RunFailed, match="start something that the image doesn't name itself"):
            run.wait(WAIT)


@of_docker
def test_code_runs_in_an_image_that_it_names(contained: Federation, engine: Engine) -> None:
    with image_of(engine, f"{LISTED}-pandas", VANTAGE6_4, {}) as image:
        run = contained.submit(
            EXAMPLES / "functions" / "mean", image=image, args={"column": COLUMN}, databases=["penguins"]
        )
        result = run.wait(WAIT).result

    assert pytest.approx(mean_of(), rel=EXACTLY) == result


SLOW = """\
import time
from atoll_algorithm import partial

@partial
def slow(seconds: float) -> str:
    time.sleep(seconds)
    return "done"
"""


@of_docker
def test_a_node_that_was_killed_removes_its_containers_and_goes_on(
    contained: Federation, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    node = contained.nodes["Dream"]

    with image_of(engine, f"{LISTED}-bare", BOOKWORM, {}) as image:
        run = contained.submit(
            tmp_path / "slow.py", image=image, function="slow", args={"seconds": 5}, at="Dream"
        )
        until(lambda: bool(left_by(engine, node.home)), "a container is there")
        (before,) = left_by(engine, node.home)
        node.kill()
        node.start()
        results = run.wait(WAIT).results

    assert {"Dream": "done"} == results
    assert before not in left_by(engine, contained.folder)


@pytest.mark.needs("mksquashfs")
@pytest.mark.needs("bubblewrap")
def test_an_image_that_is_a_file_runs_where_no_engine_is(tmp_path: Path) -> None:
    settings = {
        "image_files": str(tmp_path / "images"),
        "policies": {"algorithms": ["*.sif"]},
    }
    (tmp_path / "images").mkdir()
    with federation(tmp_path, [hub_program(tmp_path / "hub")], settings=settings) as there:
        file = make_image(tmp_path / "images" / "pooled.sif", pooled(there, tmp_path / "pooled"))
        run = there.client.runs.submit(collaboration="islands", algorithm=f"sif:{file}", inputs=asked())
        result = run.wait(WAIT).result

    assert {"mean": pytest.approx(mean_of(), rel=EXACTLY), "sites": list(ISLANDS)} == result
