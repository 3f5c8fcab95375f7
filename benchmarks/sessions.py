"""``python -m benchmarks.sessions RUNTIME TIMES``: sessions in boxes, started and called from this process.

Prints as JSON, in seconds: from nothing to a first answer and the box's removal; the same by the
engine's own command with the same flags, in turns; and later calls, without and with libraries.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from atoll.engine.limits import CallLimits
from atoll.engine.running import Image, Launch, Request, Style
from atoll.model.work import Seat
from atoll.runtimes.containers.docker import DockerRuntime
from atoll.runtimes.containers.settings import ContainerSettings
from atoll.runtimes.rootfs import RootfsRuntime
from benchmarks.command import CommandFailed

#: Made by `.ci/engines`: Debian with Python, the same with numpy and pandas, and the first one's unpacked root.
BARE, WITH_PANDAS = "atoll-base:bookworm", "atoll-vantage6:4"
_ROOT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atoll" / "bookworm"
_LIBRARIES = ("numpy", "pandas")
#: Calls of a session that count, and that come before them.
_CALLS, _WARM = 60, 5
_LIMITS = CallLimits(memory_bytes=1024**3, processes=1024)
_PRINTS = ("python3", "-c", "print(1)")
#: Seconds that Podman's service has to come up.
_PATIENCE_SECONDS = 30.0
#: A machine that is a container itself may give its own containers no more than this.
_PODMAN = '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'

Runtime: TypeAlias = DockerRuntime | RootfsRuntime


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to start boxes, and the command that does so without Atoll."""

    runtime: Runtime
    #: The image's name, without libraries and with them; None where there is none with them.
    bare: str
    with_pandas: str | None
    #: Runs a command in the image, given a folder that appears as ``/tmp``.
    plain: Callable[[Path], Sequence[str]]


def _flags(folder: Path) -> list[str]:
    """As the runtime makes its containers."""
    files = min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    return [
        *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--user", "65532:65532", "--ipc", "private", "--hostname", "atoll", "--shm-size", "256m"),
        *("--pids-limit", str(_LIMITS.processes), "--memory", "1g", "--memory-swap", "1g"),
        *("--ulimit", "core=0", "--ulimit", f"nofile={files}:{files}"),
        *("--sysctl", "net.ipv4.ip_unprivileged_port_start=0", "--volume", f"{folder}:/tmp"),
    ]


@contextmanager
def _docker() -> Iterator[Way]:
    options = ("--log-driver", "json-file", "--log-opt", "max-size=1m", "--log-opt", "max-file=1")
    yield Way(
        runtime=DockerRuntime(ContainerSettings(engine="docker"), "bench"),
        bare=BARE,
        with_pandas=WITH_PANDAS,
        plain=lambda folder: ["docker", "run", "--rm", *options, *_flags(folder), BARE, *_PRINTS],
    )


@contextmanager
def _podman() -> Iterator[Way]:
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as name:
        folder = Path(name)
        engine = '[engine]\nruntime = "runc"\n' if shutil.which("runc") else ""
        (folder / "containers.conf").write_text(_PODMAN + engine)
        os.environ.setdefault("CONTAINERS_CONF", str(folder / "containers.conf"))
        socket = folder / "socket"
        service = subprocess.Popen(
            ["podman", "system", "service", "--time=0", f"unix://{socket}"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + _PATIENCE_SECONDS
            while not socket.is_socket() and service.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
            yield Way(
                runtime=DockerRuntime(ContainerSettings(engine="podman", socket=socket), "bench"),
                bare=BARE,
                with_pandas=WITH_PANDAS,
                # Podman forgets what its site has set of a process's bounds where any is asked for.
                plain=lambda folder: ["podman", "run", "--rm", *_without_ulimits(folder), BARE, *_PRINTS],
            )
        finally:
            service.terminate()
            service.wait()


def _without_ulimits(folder: Path) -> list[str]:
    flags = _flags(folder)
    while "--ulimit" in flags:
        at = flags.index("--ulimit")
        del flags[at : at + 2]
    return flags


@contextmanager
def _bubblewrap() -> Iterator[Way]:
    """An image as a file, as a `.sif` is one: it is unpacked once."""
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as name:
        folder = Path(name)
        image = folder / "image.sqsh"
        # Not compressed: how long it takes to be unpacked is not what is measured.
        words = [
            "mksquashfs",
            str(_ROOT),
            str(image),
            "-quiet",
            "-no-progress",
            "-noI",
            "-noD",
            "-noF",
            "-noX",
        ]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise CommandFailed(f"mksquashfs: {done.stderr.decode(errors='replace')[-300:]}")
        shown = ("--ro-bind", str(_ROOT), "/", "--proc", "/proc", "--dev", "/dev")
        yield Way(
            runtime=RootfsRuntime(cache=folder / "roots"),
            bare=str(image),
            with_pandas=None,
            plain=lambda temporary: [
                *("bwrap", "--unshare-all", "--die-with-parent", *shown, "--bind", str(temporary), "/tmp"),
                *_PRINTS,
            ],
        )


async def _launch(way: Way, image: str, folder: Path, code: str, libraries: Sequence[str]) -> Launch:
    facts = await way.runtime.facts(image)
    if facts is None:
        raise CommandFailed(f"there is no image {image}: run .ci/engines")
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    temporary.chmod(0o777)
    return Launch(
        seat=Seat("alpha"),
        style=Style.CALL,
        code=None,
        image=Image(kind=facts.kind, name=image, digest=facts.id),
        command=("python3", "-c", code),
        temporary=temporary,
        log=folder / "log",
        limits=_LIMITS,
        libraries=tuple(libraries),
    )


async def _first(way: Way, launch: Launch) -> float:
    began = time.perf_counter()
    session = await way.runtime.start(launch)
    try:
        await session.call(Request())
    finally:
        await session.close()
    return time.perf_counter() - began


def _plainly(way: Way, folder: Path) -> float:
    command = way.plain(folder)
    began = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.decode(errors='replace')[-300:]}")
    return seconds


async def _calls(way: Way, launch: Launch) -> float:
    """The median call of a session."""
    session = await way.runtime.start(launch)
    took = []
    try:
        for _ in range(_WARM + _CALLS):
            began = time.perf_counter()
            await session.call(Request())
            took.append(time.perf_counter() - began)
    finally:
        await session.close()
    return statistics.median(took[_WARM:])


async def _measure(way: Way, times: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"first": [], "plain": [], "calls": [], "calls_pandas": []}
    try:
        with tempfile.TemporaryDirectory(prefix="atoll-bench-") as name:
            folder = Path(name)
            launch = await _launch(way, way.bare, folder, _PRINTS[-1], ())
            await _first(way, launch)  # what is found out once of an image
            for _ in range(times):
                # In turns: a machine that others use is as busy for the one as for the other.
                found["plain"].append(_plainly(way, launch.temporary))
                found["first"].append(await _first(way, launch))
            for _ in range(max(2, times // 3)):
                found["calls"].append(await _calls(way, launch))
            if way.with_pandas is not None:
                imports = "import numpy, pandas"
                warm = await _launch(way, way.with_pandas, folder, imports, _LIBRARIES)
                for _ in range(max(2, times // 3)):
                    found["calls_pandas"].append(await _calls(way, warm))
    finally:
        await way.runtime.close()
    return found


def main() -> None:
    name, times = sys.argv[1:]
    with {"docker": _docker, "podman": _podman, "bubblewrap": _bubblewrap}[name]() as way:
        print(json.dumps(asyncio.run(_measure(way, int(times)))))


if __name__ == "__main__":
    main()
