"""Algorithms in images, run by Docker: what a container costs, and what a call in one."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from atoll.engine.running import Image, ImageKind, Launch, Request, Style
from atoll.model.work import Seat
from atoll.runtimes.containers.docker import DockerRuntime
from atoll.runtimes.containers.settings import ContainerSettings
from benchmarks import computations
from benchmarks.command import ROOT, CommandFailed, python
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Simulated, Workshop, cpu_of, seconds_of

#: Made by `.ci/engines`: Debian with Python, and with numpy and pandas.
_BARE, _WITH_PANDAS = "atoll-base:bookworm", "atoll-vantage6:4"
_SITES = 5
_ITERATIONS = 40
_ARRAYS = 'answer["output"] = {"sum": float(np.arange(100.0).sum()), "count": 100}\n'
_TRIVIAL = 'answer["output"] = {"sum": 1, "count": 1}\n'
_MEAN = """\
outputs = doc["input"].values()
answer["output"] = {"mean": sum(output["sum"] for output in outputs) / len(outputs)}
"""
#: As the runtime makes its containers.
_FLAGS = (
    *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--user", "65532:65532", "--ipc", "private", "--pids-limit", "1024", "--ulimit", "core=0"),
)


def take(workshop: Workshop) -> Sequence[Figure]:
    example = _image(ROOT / "examples" / "coinstac" / "sum", _BARE)
    whole = workshop.repeat(
        lambda: workshop.simulate(Path(example), "-c", 10, "-i", _inputs(workshop)), times=5, quick=2
    )
    return [
        Figure(
            what="sum, 10 sites, docker",
            unit="s",
            values=seconds_of(whole),
            target=12.0,
            cpu_seconds=cpu_of(whole),
        ),
        _per_iteration(workshop, "trivial", "", _TRIVIAL, _BARE, target=25.0),
        _per_iteration(
            workshop,
            "numpy and pandas",
            "import numpy as np\nimport pandas as pd",
            _ARRAYS,
            _WITH_PANDAS,
            target=40.0,
        ),
        _cold(workshop),
    ]


def _inputs(workshop: Workshop) -> Path:
    path = workshop.folder / "inputspec.json"
    path.write_text('{"start": {"value": 1}}')
    return path


def _per_iteration(
    workshop: Workshop, what: str, imports: str, site: str, base: str, *, target: float
) -> Figure:
    computation = computations.scripts(
        workshop.folder / f"docker-{what.partition(' ')[0]}",
        local=computations.script(site, imports=imports),
        remote=computations.script(f"{_MEAN}{computations.until(_ITERATIONS)}", imports=imports),
    )
    image = _image(computation, base)
    runs = workshop.repeat(
        lambda: workshop.simulate(Path(image), "-c", _SITES, "-i", _inputs(workshop)), times=5, quick=2
    )
    return Figure(
        what=f"per site and iteration, docker, {what}",
        unit="ms",
        values=[1000 * _seconds_per_iteration(run) for run in runs],
        target=target,
        cpu_seconds=cpu_of(runs),
    )


def _seconds_per_iteration(run: Simulated) -> float:
    iterations: int = run.record["iterations"]
    return sum(run.rounds(first=2)) / _SITES / (iterations - 1)


def _image(folder: Path, base: str) -> str:
    tag = f"atoll-bench-{folder.name}".lower()
    python("-m", "atoll", "image", "build", folder, "--base", base, "--tag", tag)
    return f"docker:{tag}"


def _cold(workshop: Workshop) -> Figure:
    """From nothing to the answer of a first call, beside the same by Docker's own command."""
    plain = sorted(workshop.repeat(_docker_run, times=9, quick=5))
    own = workshop.repeat(lambda: asyncio.run(_first_call()), times=9, quick=5)
    floor = plain[len(plain) // 2]
    return Figure(
        what="container: from nothing to a first answer",
        unit="s",
        values=own,
        target=1.3 * floor,
        floor=Floor(what="docker run with the same flags", value=floor),
    )


def _docker_run() -> float:
    began = time.perf_counter()
    done = subprocess.run(
        ["docker", "run", "--rm", *_FLAGS, _BARE, "python3", "-c", "print(1)"],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise CommandFailed(f"docker run: {done.stderr.decode()[-300:]}")
    return time.perf_counter() - began


async def _first_call() -> float:
    runtime = DockerRuntime(ContainerSettings(), "bench")
    facts = await runtime.facts(_BARE)
    if facts is None:
        raise CommandFailed(f"there is no image {_BARE}: run .ci/engines")
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as folder:
        temporary = Path(folder, "temporary")
        temporary.mkdir()
        launch = Launch(
            seat=Seat("alpha"),
            style=Style.CALL,
            code=None,
            image=Image(kind=ImageKind.OCI, name=_BARE, digest=facts.id),
            command=("python3", "-c", "print(1)"),
            temporary=temporary,
            log=Path(folder, "log"),
        )
        began = time.perf_counter()
        session = await runtime.start(launch)
        await session.call(Request())
        await session.close()
        seconds = time.perf_counter() - began
    await runtime.close()
    return seconds


CONTAINERS = Measure(
    name="containers",
    about=(
        f"Images under Docker: the guide's example at 10 sites, the whole command; scripts at {_SITES} sites × "
        f"{_ITERATIONS} iterations, all rounds after the first iteration by sites and iterations; and a container from "
        "nothing to its first answer and its removal, beside `docker run --rm` with the same flags."
    ),
    take=take,
)
