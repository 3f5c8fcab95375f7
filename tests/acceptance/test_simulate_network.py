"""``atoll simulate`` lets algorithms reach what their site allows, as a node does; and bounds them as one does."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.federation import Watched

from atoll.model.errors import RuntimeUnavailable
from atoll.node.network import squid
from atoll.simulator.arguments import Arguments
from atoll.simulator.simulation import Report, simulate

pytestmark = [pytest.mark.acceptance, pytest.mark.needs("bubblewrap")]

ASK = """\
import os, socket
from atoll_algorithm import partial


@partial
def ask(port: int) -> str:
    try:
        with socket.create_connection(("omop", port)) as line:
            return line.recv(100).decode()
    except OSError:
        return "nobody"


@partial
def knock(where: str) -> str:
    host, port = os.environ["https_proxy"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(f"CONNECT {where} HTTP/1.1\\r\\n\\r\\n".encode())
        return line.recv(100).decode().split("\\r")[0]


@partial
def flood() -> str:
    print("x" * 100_000)
    return "done"
"""


@contextmanager
def greeting() -> Iterator[int]:
    """The port of a server of this machine that says hello."""

    class Hello(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"hello")

    with socketserver.TCPServer(("127.0.0.1", 0), Hello) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            serving.join()


def simulated(folder: Path, networks: dict[str, Any], **asked: Any) -> Report:
    """How a run of these functions ended, over sites with these networks."""
    (folder / "ask.py").write_text(ASK)
    sites = {site: {} if network is None else {"network": network} for site, network in networks.items()}
    (folder / "sites.yaml").write_text(yaml.safe_dump({"sites": sites}, sort_keys=False))
    arguments = Arguments(
        path=folder / "ask.py",
        federation=folder / "sites.yaml",
        output=folder / "out",
        **{"runtime": "bubblewrap", **asked},
    )
    _, report = asyncio.run(simulate(arguments, Watched))
    return report


def test_a_service_is_found_at_the_site_that_has_it_and_nowhere_else(tmp_path: Path) -> None:
    with greeting() as port:
        service = {"services": {"omop": {"host": "127.0.0.1", "port": port}}}
        networks = {"alpha": service, "beta": None, "gamma": {"for": {"functions:ask": service}}}
        report = simulated(tmp_path, networks, function="ask", args={"port": port})

    assert report.results == {"alpha": "hello", "beta": "nobody", "gamma": "hello"}


@pytest.mark.needs("squid")
def test_each_site_has_a_list_of_its_own(tmp_path: Path) -> None:
    with greeting() as port:
        networks = {
            "alpha": {"allow": [{"address": "127.0.0.1", "ports": [port]}]},
            "beta": {"allow": [{"address": "127.0.0.1", "ports": [port + 1]}]},
        }
        report = simulated(tmp_path, networks, function="knock", args={"where": f"127.0.0.1:{port}"})

    assert report.results == {
        "alpha": "HTTP/1.1 200 Connection established",
        "beta": "HTTP/1.1 403 Forbidden",
    }


def test_a_network_is_refused_where_nothing_keeps_an_algorithm_from_the_rest(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="under --runtime process they reach whatever you do"):
        simulated(tmp_path, {"alpha": {"services": {}}}, function="flood", runtime="process")
    assert not (tmp_path / "out").exists()


def test_without_squid_a_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squid, "_program", lambda: None)

    with pytest.raises(RuntimeUnavailable, match="apt install squid"):
        simulated(tmp_path, {"alpha": {"allow": ["atlas.example.org"]}}, function="flood")
    assert not (tmp_path / "out").exists()


def test_an_algorithm_that_prints_more_than_was_asked_for_is_ended(tmp_path: Path) -> None:
    report = simulated(tmp_path, {"alpha": None}, function="flood", log=10_000)

    assert report.error is not None
    assert report.error["type"] == "LimitReached"
    assert "printed more than 10000 bytes" in report.error["message"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["arguments"]["log"] == 10_000
