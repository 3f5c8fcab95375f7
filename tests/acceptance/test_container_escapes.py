"""What an algorithm can't do from inside its container, tried from inside.

What must be out of reach is there: files of another run, and machines with the addresses of a cloud's metadata,
of a hospital's network and of the world. Those are stand-ins in a network namespace of the test's own, and the
first test shows that the same attempts succeed where nothing keeps them in.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.engines import BOOKWORM, Engine, missing
from tests.images import made

from atoll.engine.running import Image, ImageKind, Launch, Mount, Request, Style
from atoll.model.work import Seat
from atoll.runtimes.containers.docker import DockerRuntime
from atoll.runtimes.containers.settings import ContainerSettings

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

ESCAPE = (Path(__file__).parent.parent / "fixtures" / "escapes" / "escape.py").read_text()
#: The networks' stand-ins: addresses that no route of this machine leads to, but for the test's own.
METADATA, LAN, OTHER_LAN, WORLD = "169.254.169.254", "10.213.7.5", "192.168.213.5", "203.0.113.9"
PORT = 8099
NETWORK = (
    "asks_the_clouds_metadata",
    "asks_a_machine_of_the_hospital",
    "asks_the_world",
    "sends_to_a_name_server",
)
#: Answers whoever comes, over TCP and UDP.
_SERVER = f"""\
import socket, threading
def tell(host):
    with socket.create_server((host, {PORT})) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"reached")
def answer(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind((host, {PORT}))
        while True:
            _, sender = line.recvfrom(100)
            line.sendto(b"reached", sender)
for host in {(METADATA, LAN, OTHER_LAN, WORLD)!r}:
    for work in (tell, answer):
        threading.Thread(target=work, args=(host,), daemon=True).start()
print("ready", flush=True)
input()
"""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """What lies outside, and where."""

    secret: Path
    data: Path
    given: dict[str, Any] = field(default_factory=dict)


@contextmanager
def stand_ins() -> Iterator[None]:
    """Machines at addresses that must be out of reach, which this machine itself can reach."""
    name, ours, theirs = f"atoll-{os.getpid()}", f"ae{os.getpid()}"[:15], f"ai{os.getpid()}"[:15]

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    with ExitStack() as stack:
        run("ip", "netns", "add", name)
        stack.callback(run, "ip", "netns", "delete", name)
        run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        run("ip", "address", "add", "10.213.255.1/32", "dev", ours)
        run("ip", "link", "set", ours, "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "link", "set", theirs, "up")
        for host in (METADATA, LAN, OTHER_LAN, WORLD):
            run("ip", "-n", name, "address", "add", f"{host}/32", "dev", theirs)
            run("ip", "route", "add", f"{host}/32", "dev", ours)
        run("ip", "-n", name, "route", "add", "10.213.255.1/32", "dev", theirs)
        server = stack.enter_context(
            subprocess.Popen(
                ["ip", "netns", "exec", name, sys.executable, "-c", _SERVER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        stack.callback(server.kill)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield


@contextmanager
def host_services(hidden: str) -> Iterator[int]:
    """A service of this machine at all its addresses, and one at an abstract socket."""
    with (
        socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        abstract.bind("\0" + hidden)
        abstract.listen()
        for each in (listener, abstract):
            threading.Thread(target=_tell, args=(each,), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            for each in (listener, abstract):
                each.shutdown(socket.SHUT_RDWR)


def _tell(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"reached")


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Outside]:
    """Everything that must be out of reach."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        missing("stand-ins for other machines need root, and ip of iproute2")
    folder = tmp_path_factory.mktemp("outside")
    secret, data = folder / "secret", folder / "data"
    secret.write_text("another run's")
    data.mkdir()
    (data / "rows.csv").write_text("age\n70\n")
    hidden = f"atoll-test-escapes-{os.getpid()}"
    with stand_ins(), host_services(hidden) as port:
        disk = os.stat("/").st_dev
        given = {
            "secret": str(secret),
            "data": "/data/alpha",
            "port": PORT,
            "host_port": port,
            "lan": LAN,
            "other_lan": OTHER_LAN,
            "world": WORLD,
            "bridge": _bridge(),
            "hidden": hidden,
            "engine": str(engine.socket),
            "disk": [os.major(disk), os.minor(disk)],
        }
        yield Outside(secret=secret, data=data, given=given)


def _bridge() -> str:
    """An address of this machine that containers on a bridge see it at."""
    told = subprocess.run(
        ["ip", "-4", "-brief", "address"], check=True, capture_output=True, text=True
    ).stdout
    addresses = {
        line.split()[0]: line.split()[2].partition("/")[0]
        for line in told.splitlines()
        if len(line.split()) > 2
    }
    return addresses.get("docker0") or next(address for name, address in addresses.items() if name != "lo")


@pytest.fixture(scope="module")
def image(engine: Engine) -> Iterator[str]:
    """An image with a program that makes whoever starts it root."""
    lines = (
        "USER root",
        "RUN cp $(readlink -f /usr/bin/python3) /usr/bin/privileged && chmod 4755 /usr/bin/privileged",
    )
    with made(engine, "atoll-test-escapes", BOOKWORM, {"/computation/local.py": ESCAPE}, *lines) as name:
        yield name


def test_the_attempts_succeed_where_nothing_keeps_them_in(outside: Outside) -> None:
    given = {**outside.given, "data": str(outside.data)}
    given["only"] = [
        *("reads_another_runs_file", "finds_a_way_out", "asks_the_engine", "asks_the_host_at_its_loopback"),
        *(
            "asks_the_host_at_its_bridge",
            "asks_the_host_at_a_hidden_socket",
            "asks_another_network_of_the_hospital",
        ),
        *NETWORK,
    ]
    done = subprocess.run(
        [sys.executable, "-c", ESCAPE], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert [name for name, found in told.items() if found is None] == []
    assert told["asks_the_clouds_metadata"] == "reached"


def test_nothing_gets_out_of_a_container(
    engine: Engine, image: str, outside: Outside, tmp_path: Path
) -> None:
    async def work() -> dict[str, Any]:
        runtime = DockerRuntime(
            ContainerSettings(engine=engine.name, socket=engine.socket),
            f"atoll-test-escapes-{engine.name}-{os.getpid()}",
        )
        facts = await runtime.facts(image)
        assert facts is not None
        (tmp_path / "temporary").mkdir()
        launch = Launch(
            seat=Seat("alpha"),
            style=Style.CALL,
            code=None,
            image=Image(kind=ImageKind.OCI, name=image, digest=facts.id),
            command=("python3", "/computation/local.py"),
            mounts=(Mount(source=outside.data, target="/data/alpha"),),
            temporary=tmp_path / "temporary",
            log=tmp_path / "log",
        )
        started = await runtime.start(launch)
        try:
            reply = await started.call(Request(body=json.dumps(outside.given).encode()))
            assert reply.exit_code == 0, reply.log_tail
            # It goes on: nothing that was tried has ended the box.
            again = await started.call(
                Request(body=json.dumps({**outside.given, "only": ["writes_to_the_root"]}).encode())
            )
            assert again.exit_code == 0
            return dict(json.loads(bytes(reply.output)))  # type: ignore[arg-type]  # small ones are bytes
        finally:
            await started.close()
            await runtime.close()

    told = asyncio.run(work())
    assert len(told) >= 50
    assert {name: found for name, found in told.items() if found is not None} == {}
    assert (outside.data / "rows.csv").read_text() == "age\n70\n"
