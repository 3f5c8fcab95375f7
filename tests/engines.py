"""Docker and Podman, as tests use them: real daemons on sockets, and images that `.ci/engines` makes.

``needs("docker")`` and ``needs("podman")`` ask for the engine alone, ``needs("docker-images")`` and
``needs("podman-images")`` for the images in `IMAGES`, too. The fixture `engine` gives a test each of both
with its images. Nothing is installed or made here.

Where Docker is installed and doesn't run, tests start it, and whoever needs it last ends it. Podman's
service is of one process of tests alone. What tests leave in either is theirs to remove.
"""

from __future__ import annotations

import fcntl
import grp
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOKWORM = "atoll-base:bookworm"
TRIXIE = "atoll-base:trixie"
#: A shell, and no Python.
BUSYBOX = "atoll-base:busybox"
#: On Debian 12 with Python 3.11, and on Debian 13 with Python 3.13.
VANTAGE6_4 = "atoll-vantage6:4"
VANTAGE6_5 = "atoll-vantage6:5"
IMAGES = (BOOKWORM, TRIXIE, BUSYBOX, VANTAGE6_4, VANTAGE6_5)

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atoll"
#: What `.ci/engines` makes images from, in the order in which it digests them.
_MADE_FROM = (
    ".ci/engines",
    ".ci/trixie",
    "requirements/closure.py",
    "requirements/vantage6-4.txt",
    "requirements/trixie.txt",
)
_LABEL = "org.atoll.made-from"
#: Seconds that a daemon may take until it answers.
_START_SECONDS = 60
#: Podman's own default asks for more than a container may be given in a container.
_PODMAN = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
"""
#: Docker knows by itself that nobody listens in on loopback.
_REGISTRIES = '[[registry]]\nprefix = "127.0.0.1"\nlocation = "127.0.0.1"\ninsecure = true\n'
#: What ends a daemon when nobody holds the lock any more, and waits for its end.
_ENDING = 'kill "$1"; while kill -0 "$1" 2>/dev/null; do sleep 0.1; done'


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that answers."""

    name: Literal["docker", "podman"]
    #: Where it speaks Docker's protocol.
    socket: Path

    @property
    def url(self) -> str:
        """Its address, as ``DOCKER_HOST`` has it."""
        return f"unix://{self.socket}"

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Ask its API something; the status and the answer."""
        return _ask(self.socket, path, method)


@cache
def why_missing(name: str) -> str | None:
    """A sentence about why an engine, or its images, can't be used here, or None where they can."""
    engine, _, images = name.partition("-")
    reason = _why_no_docker() if engine == "docker" else _why_no_podman()
    if reason or not images:
        return reason
    stale = [image for image in IMAGES if _made_from(engine, image) != _digest()]
    return f"{engine} has no {', '.join(stale)} of this checkout: run .ci/engines" if stale else None


NAMES = ("docker", "podman", "docker-images", "podman-images")


def _digest() -> str:
    digest = hashlib.sha256()
    for name in _MADE_FROM:
        lines = (ROOT / name).read_bytes().splitlines(keepends=True)
        digest.update(b"".join(line for line in lines if not line.lstrip(b" ").startswith(b"#")))
    return digest.hexdigest()


def _made_from(engine: str, image: str) -> str:
    """What an image says that it was made from; nothing, where there is no such image."""
    if engine == "docker":
        status, body = _ask(_docker_socket(), f"/images/{image}/json")
        document = json.loads(body) if status == 200 else {}
    else:
        said = subprocess.run(["podman", "image", "inspect", image], capture_output=True, check=False)
        document = json.loads(said.stdout)[0] if said.returncode == 0 else {}
    return str(((document.get("Config") or {}).get("Labels") or {}).get(_LABEL, ""))


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        """Connect to the path, rather than to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _ask(path: Path, what: str, method: str = "GET") -> tuple[int, bytes]:
    connection = _Connection(path)
    try:
        connection.request(method, what)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _answers(path: Path) -> bool:
    try:
        return _ask(path, "/_ping")[0] == 200
    except OSError:
        return False


def _waited_for(path: Path, daemon: subprocess.Popen[bytes]) -> bool:
    """Whether a daemon came to answer, before it ended or the time was up."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and daemon.poll() is None:
        if _answers(path):
            return True
        # Nothing tells of a daemon that it is ready but its answer.
        time.sleep(0.05)
    return False


def _docker_socket() -> Path:
    said = os.environ.get("DOCKER_HOST", "")
    return Path(said.removeprefix("unix://")) if said.startswith("unix://") else Path("/var/run/docker.sock")


@cache
def _why_no_docker() -> str | None:
    path = _docker_socket()
    if not _starts_docker():
        return (
            None if _answers(path) else f"no Docker answers at {path}: install docker.io, and start dockerd"
        )
    _CACHE.mkdir(parents=True, exist_ok=True)
    _use_docker()
    with (_CACHE / "dockerd.starting").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if _answers(path):
            return None
        with (_CACHE / "dockerd.log").open("wb") as log:
            daemon = subprocess.Popen(
                ["dockerd", "--group", grp.getgrgid(os.getegid()).gr_name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not _waited_for(path, daemon):
            daemon.terminate()
            daemon.wait()
            return f"dockerd doesn't answer; {log.name} says why"
        _end_after_use(daemon)
    return None


def _starts_docker() -> bool:
    """Whether tests may start a daemon of their own, where none runs."""
    return os.geteuid() == 0 and shutil.which("dockerd") is not None and "DOCKER_HOST" not in os.environ


#: Held open for as long as this process lives, which is how long it may need the daemon.
_USED: list[int] = []


def _use_docker() -> None:
    _USED.append(os.open(_CACHE / "dockerd.used", os.O_RDWR | os.O_CREAT, 0o600))
    fcntl.flock(_USED[0], fcntl.LOCK_SH)


def _end_after_use(daemon: subprocess.Popen[bytes]) -> None:
    """Leave somebody behind who ends a daemon once no process of tests may need it."""
    ending = subprocess.Popen(
        ["flock", "--exclusive", _CACHE / "dockerd.used", "sh", "-c", _ENDING, "sh", str(daemon.pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # Both outlive this process. Without a status Python would say that it forgot them.
    daemon.returncode = ending.returncode = 0


@cache
def _why_no_podman() -> str | None:
    if shutil.which("podman") is None:
        return "podman is not installed: there is no program of that name"
    tried = subprocess.run(["podman", "info"], capture_output=True, text=True, check=False)
    return f"podman doesn't work: {tried.stderr.strip()}" if tried.returncode else None


@contextmanager
def podman_serving() -> Iterator[Path]:
    """The socket of a Podman that serves Docker's protocol, for as long as it is needed."""
    # A socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="atoll-podman-", dir="/tmp") as name:
        folder = Path(name)
        runtime = '[engine]\nruntime = "runc"\n' if shutil.which("runc") else ""
        (folder / "containers.conf").write_text(_PODMAN + runtime)
        (folder / "registries.conf").write_text(_REGISTRIES)
        settings = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        }
        path = folder / "socket"
        with (folder / "log").open("wb") as log:
            service = subprocess.Popen(
                ["podman", "system", "service", "--time=0", f"unix://{path}"],
                env={**settings, **os.environ},
                # What watches its containers leaves a file where it works, if one has too little memory.
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            if not _waited_for(path, service):
                pytest.fail(f"podman's service doesn't answer: {(folder / 'log').read_text()}", pytrace=False)
            yield path
        finally:
            service.terminate()
            service.wait()


def require(name: str) -> None:
    """Go on where an engine or its images are there. Else skip, or fail where real engines are a must."""
    reason = why_missing(name)
    if reason:
        missing(reason)


def missing(reason: str) -> NoReturn:
    """Skip a test that needs what isn't here, or fail it where real engines are a must."""
    if os.environ.get("ATOLL_REQUIRE_REAL"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def docker_socket() -> Path:
    """Where Docker answers."""
    require("docker")
    return _docker_socket()


@pytest.fixture(scope="session")
def podman_socket() -> Iterator[Path]:
    """Where a Podman of this process of tests answers."""
    require("podman")
    with podman_serving() as path:
        yield path


@pytest.fixture(scope="session", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn, with the images that `.ci/engines` makes."""
    require(f"{request.param}-images")
    return Engine(name=request.param, socket=request.getfixturevalue(f"{request.param}_socket"))
