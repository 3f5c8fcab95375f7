"""Plain code at sites that run images alone: it runs in an image that each site has named for code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.computations import atoll
from tests.acceptance.pooling import COLUMN, asked, mean_of, pooling
from tests.engines import BOOKWORM, BUSYBOX, VANTAGE6_4, Engine
from tests.sif import from_container, make_image
from tests.stage import EXAMPLES, Federation, federation, hub_program
from tests.stations import SITES as STATIONS
from tests.stations import federation as station_federation

from atoll.dialects.functions.body import plain
from atoll.engine.running import Image, ImageKind
from atoll.model.errors import RunFailed
from atoll.node.environment import Environment, NamedImage
from atoll.node.inventory import Inventory, ask
from atoll.node.settings import Limits, Policies
from atoll.runtimes.containers.docker import DockerRuntime
from atoll.runtimes.containers.owners import passing_owner
from atoll.runtimes.containers.settings import ContainerSettings, Service

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

EXACTLY = 1e-12
WAIT = 60.0
SITES = ("Biscoe", "Dream")
#: Says what it runs in, and that it can't write to its code.
WITNESS = """\
import os
import sys
from atoll_algorithm import partial

@partial
def witness() -> dict:
    with open("/etc/os-release") as file:
        system = file.read()
    try:
        open("/computation/new", "w").close()
    except OSError:
        kept = True
    else:
        kept = False
    return {"container": not os.path.exists("/root/.profile") or os.getuid() != 0, "kept": kept,
            "interfaces": sorted(os.listdir("/sys/class/net")), "system": "bookworm" in system}
"""


#: What an engine does with an image is tried elsewhere, with each of them.
of_docker = pytest.mark.parametrize("engine", ["docker"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def contained(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A federation whose nodes run images alone, and have named two for code."""
    folder = tmp_path_factory.mktemp("environments")
    settings = {
        "runtime": engine.name,
        "containers": {"socket": str(engine.socket), "pull": "never"},
        "environments": {"bare": {"image": BOOKWORM}, "stats": {"image": f"docker:{VANTAGE6_4}"}},
        "limits": {"disk_free": 1, "memory": "1GiB", "processes": 100},
    }
    with federation(folder, [hub_program(folder / "hub")], islands=SITES, settings=settings) as there:
        yield there


@of_docker
def test_a_computation_runs_in_the_first_image_that_has_what_it_requires(
    contained: Federation, tmp_path: Path
) -> None:
    folder = pooling(tmp_path / "pooled")
    for site in contained.sites:
        done = atoll(
            *("node", "map", folder.name, "--config", site.home / "node.yaml"),
            *("--input", 'data=["penguins.csv"]', "--folder", site.home / "files"),
        )
        assert done.returncode == 0, done.stderr

    result = contained.submit(folder, inputs=asked()).wait(WAIT).result

    assert {"mean": pytest.approx(mean_of(*SITES), rel=EXACTLY), "sites": list(SITES)} == result


@of_docker
@pytest.mark.parametrize("example", ["functions/mean", "vantage6/average-4"])
def test_code_runs_in_an_image_with_its_libraries(contained: Federation, example: str) -> None:
    run = contained.submit(EXAMPLES / example, args={"column": COLUMN}, databases=["penguins"])
    result = run.wait(WAIT).result

    assert pytest.approx(mean_of(*SITES), rel=EXACTLY) == (
        result["average"] if "vantage6" in example else result
    )


@of_docker
def test_code_in_an_image_has_the_walls_of_an_image(contained: Federation, tmp_path: Path) -> None:
    (tmp_path / "witness.py").write_text(WITNESS)

    results = contained.submit(tmp_path / "witness.py", function="witness").wait(WAIT).results

    assert {"kept": True, "container": True, "interfaces": ["lo"], "system": True} == results["Dream"]


@of_docker
def test_what_no_image_has_is_told(contained: Federation, tmp_path: Path) -> None:
    (tmp_path / "lost.py").write_text(f"import no_such_library\n{WITNESS}")

    with pytest.raises(RunFailed, match="bare lacks no_such_library; stats lacks no_such_library"):
        contained.submit(tmp_path / "lost.py", function="witness").wait(WAIT)


@of_docker
def test_the_doctor_says_what_python_an_image_has(contained: Federation) -> None:
    done = atoll("node", "doctor", "--config", contained.sites[0].home / "node.yaml", "--json")

    found = {one["subject"]: one for one in json.loads(done.stdout)["findings"]}
    assert "Python 3.11" in found["environment stats"]["words"]
    assert "ok" == found["environment stats"]["level"]


def test_an_engine_s_images_say_what_they_have(engine: Engine, tmp_path: Path) -> None:
    """However the site speaks to computations in images: this is none."""
    settings = ContainerSettings(engine=engine.name, socket=engine.socket, service=Service.WEBSOCKET)

    async def look() -> list[Inventory]:
        runtime = DockerRuntime(settings, passing_owner())
        found = []
        try:
            for name in (VANTAGE6_4, BUSYBOX):
                facts = await runtime.facts(name)
                assert facts is not None
                image = Image(kind=ImageKind.OCI, name=name, digest=facts.id)
                found.append(await ask(image, runtime, tmp_path))
        finally:
            await runtime.close()
        return found

    tools, shell = asyncio.run(look())

    assert (tools.python, tools.tools, "pandas" in tools.modules) == ((3, 11), 4, True)
    assert (shell.python, shell.modules, "sh" in shell.programs) == (None, frozenset(), True)
    assert not list(tmp_path.iterdir()), "nothing is left of it"


ONLY_HERE = """\
from atoll_algorithm import partial
import only_here

@partial
def answer() -> int:
    return only_here.ANSWER
"""


@pytest.mark.needs("mksquashfs")
@pytest.mark.needs("bubblewrap")
def test_code_runs_in_a_file_that_the_site_has_chosen(tmp_path: Path) -> None:
    """Nobody has signed it, and no folder of files that others may name holds it."""
    variables = from_container(environment={"PYTHONPATH": "/opt/libs"})
    file = make_image(tmp_path / "stats.sif", {**variables, "/opt/libs/only_here.py": "ANSWER = 42"})
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "answer.py").write_text(ONLY_HERE)
    named = Environment(name="stats", image=NamedImage(kind=ImageKind.SIF, name=str(file)))

    async def play() -> bytes:
        async with station_federation(
            tmp_path,
            runtime="bubblewrap",
            environments=(named,),
            policies=Policies(bundles="allow", images="refuse", signers={"*": ()}),
            limits=Limits(disk_free=1),
        ) as there:
            await there.nodes[STATIONS[0]].start()
            asked = await there.asked(tmp_path / "code", function="answer")
            found = await there.results(await there.submit(asked, sites=(STATIONS[0],)))
            await there.nodes[STATIONS[0]].end()
            return found[STATIONS[0]]

    assert 42 == plain(asyncio.run(play()))
