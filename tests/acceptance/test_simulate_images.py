"""``atoll simulate`` over images: of COINSTAC, vantage6 and plain functions; of an engine, and in files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import nursery, sif
from tests.engines import BOOKWORM, BUSYBOX, VANTAGE6_4, VANTAGE6_5, Engine, missing
from tests.images import made

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SUM = EXAMPLES / "coinstac" / "sum"
WRAPPER = (
    'CMD ["python3", "-c", "from vantage6.algorithm.tools.wrap import wrap_algorithm; wrap_algorithm()"]'
)
#: Protocol 2: what a process remembers is there in the next iteration.
PERSISTENT = """\
import coinstac

seen = []

def local(argument):
    seen.append(argument["state"]["iteration"])
    return {"output": {"seen": list(seen)}}

def remote(argument):
    longest = max(len(output["seen"]) for output in argument["input"].values())
    return {"output": {"longest": longest}, "success": longest >= 3}

coinstac.start(local, remote)
"""


def simulate(*words: str | Path, engine: Engine | None = None, folder: Path) -> dict[str, Any]:
    """What ``atoll simulate --json`` tells."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(sif.ROOTS.parent)}
    if engine is not None:
        environment["DOCKER_HOST"] = engine.url
    done = nursery.run("simulate", *words, "--json", "--output", "run", cwd=folder, env=environment)
    document = json.loads(done.stdout)
    assert document["status"] == "done", (document["error"], done.stderr)
    return dict(document)


def files_of(folder: Path, at: str) -> dict[str, str]:
    """The files of an algorithm's folder, as they lie in an image."""
    return {
        f"{at}/{path.relative_to(folder).as_posix()}": path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in (".py", ".json") and "test" not in path.parts
    }


def federation(folder: Path) -> None:
    """Two sites with the ages of thirty people."""
    for site, first in (("alpha", 20), ("beta", 50)):
        rows = "".join(f"{first + number}\n" for number in range(15))
        (folder / f"{site}.csv").write_text(f"age\n{rows}")
    sites = {
        site: {"databases": {"default": {"uri": f"{site}.csv", "type": "csv"}}} for site in ("alpha", "beta")
    }
    (folder / "federation.yaml").write_text(json.dumps({"sites": sites}))


#: Of all thirty.
AVERAGE = (sum(range(20, 35)) + sum(range(50, 65))) / 30


@pytest.fixture(scope="module")
def guide(engine: Engine) -> Iterator[str]:
    """The guide's example in an image."""
    with made(
        engine, "atoll-test-simulate-sum", BOOKWORM, files_of(SUM, "/computation"), "WORKDIR /computation"
    ) as name:
        yield name


def test_the_guides_example_runs_in_its_image(engine: Engine, guide: str, tmp_path: Path) -> None:
    told = simulate(
        f"docker:{guide}", "-c", "2", "-i", SUM / "test" / "inputspec.json", engine=engine, folder=tmp_path
    )
    assert told["result"] == {"sum": 5}
    assert (told["iterations"], told["rounds"]) == (5, 10)


def test_a_folders_specification_names_the_image(engine: Engine, guide: str, tmp_path: Path) -> None:
    told = simulate(SUM, "--runtime", engine.name, "--image", guide, engine=engine, folder=tmp_path)
    assert told["result"] == {"sum": 5}


def test_a_persistent_computation_remembers(engine: Engine, tmp_path: Path) -> None:
    specification = json.loads((SUM / "compspec.json").read_text())
    specification["meta"]["compspecVersion"] = 2
    files = {"/computation/entry.py": PERSISTENT, "/computation/compspec.json": json.dumps(specification)}
    (tmp_path / "inputspec.json").write_text("{}")
    lines = (
        "WORKDIR /computation",
        'CMD ["python3", "./entry.py"]',
        "RUN mkdir -p /usr/lib/python3/dist-packages/coinstac",
    )
    with made(engine, "atoll-test-simulate-persistent", BOOKWORM, files, *lines) as name:
        told = simulate(f"docker:{name}", "-c", "3", "-i", "inputspec.json", engine=engine, folder=tmp_path)
    assert told["result"] == {"longest": 3}
    assert told["iterations"] == 3


@pytest.mark.parametrize(("generation", "base"), [(4, VANTAGE6_4), (5, VANTAGE6_5)])
def test_a_vantage6_algorithm_runs_in_its_image(
    engine: Engine, tmp_path: Path, generation: int, base: str
) -> None:
    federation(tmp_path)
    example = EXAMPLES / "vantage6" / f"average-{generation}" / "averages"
    lines = ("ENV PYTHONPATH=/app", "ENV PKG_NAME=averages", WRAPPER)
    with made(
        engine, f"atoll-test-simulate-average-{generation}", base, files_of(example, "/app/averages"), *lines
    ) as name:
        told = simulate(f"docker:{name}", "--arg", "column=age", engine=engine, folder=tmp_path)
    assert told["dialect"] == "vantage6"
    assert told["result"]["average"] == pytest.approx(AVERAGE, abs=1e-12)
    assert told["warnings"] == []


def test_functions_run_in_an_image_that_has_what_they_need(engine: Engine, tmp_path: Path) -> None:
    federation(tmp_path)
    told = simulate(
        EXAMPLES / "functions" / "mean" / "mean.py",
        *("--function", "mean", "--arg", "column=age", "-f", "federation.yaml"),
        *("--runtime", engine.name, "--image", VANTAGE6_4),
        engine=engine,
        folder=tmp_path,
    )
    assert told["dialect"] == "functions"
    assert told["result"] == pytest.approx(AVERAGE, abs=1e-12)


@pytest.mark.needs("bubblewrap")
def test_a_computation_in_a_file_runs_without_any_engine(tmp_path: Path) -> None:
    reason = sif.why_missing()
    if reason:
        missing(reason)
    image = sif.make_image(tmp_path / "sum.sif", files_of(SUM, "/computation"))
    told = simulate(f"sif:{image}", "-c", "2", "-i", SUM / "test" / "inputspec.json", folder=tmp_path)
    assert told["result"] == {"sum": 5}


def test_an_image_that_is_not_there_is_named(engine: Engine, tmp_path: Path) -> None:
    words = ("simulate", "docker:atoll-test/nowhere", "--json")
    done = nursery.run(*words, cwd=tmp_path, env={**os.environ, "DOCKER_HOST": engine.url})
    assert done.returncode == 2
    assert "atoll-test/nowhere is not on this machine" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize("engine", ["docker"], indirect=True)
def test_an_iteration_is_repeated_in_its_image_and_another_image_is_told(
    engine: Engine, tmp_path: Path
) -> None:
    files = files_of(SUM, "/computation")

    def again() -> dict[str, Any]:
        done = nursery.run(
            *("simulate", "--resume", "run", "--from", "2", "--json"),
            cwd=tmp_path,
            env={**os.environ, "DOCKER_HOST": engine.url},
        )
        assert "Unclosed" not in done.stderr
        return dict(json.loads(done.stdout))

    changed = {**files, "/computation/local.py": f"{files['/computation/local.py']}\n# Looked at again.\n"}
    name = f"atoll-test-simulate-again-{os.getpid()}"
    inputs = SUM / "test" / "inputspec.json"
    with (
        made(engine, "atoll-test-simulate-one", BOOKWORM, files, "WORKDIR /computation") as one,
        made(engine, "atoll-test-simulate-other", BOOKWORM, changed, "WORKDIR /computation") as other,
    ):
        engine.ask(f"/images/{one}/tag?repo={name}", "POST")
        simulate(f"docker:{name}", "-c", "2", "-i", inputs, engine=engine, folder=tmp_path)
        first = again()
        engine.ask(f"/images/{other}/tag?repo={name}", "POST")
        second = again()
        engine.ask(f"/images/{name}", "DELETE")
    gone = again()

    assert (first["status"], first["result"], first["warnings"]) == ("done", {"sum": 2}, [])
    assert second["status"] == "done"
    assert "it was made anew meanwhile" in " ".join(second["warnings"])
    assert "is not on this machine" in gone["error"]["message"]


@pytest.mark.parametrize("engine", ["docker"], indirect=True)
def test_an_image_without_python_speaks_with_its_node_by_a_helper(engine: Engine, tmp_path: Path) -> None:
    """It ends without an answer, but it was started: what it needs beside it was there."""
    words = ("simulate", f"docker:{BUSYBOX}", "--dialect", "vantage6", "--function", "mean", "--json")
    env = {**os.environ, "DOCKER_HOST": engine.url}

    without = json.loads(nursery.run(*words, "--output", "one", cwd=tmp_path, env=env).stdout)
    helped = nursery.run(*words, "--helper-image", BOOKWORM, "--output", "two", cwd=tmp_path, env=env)

    assert "or with --helper-image" in without["error"]["message"]
    assert "left no output" in json.loads(helped.stdout)["error"]["message"]
