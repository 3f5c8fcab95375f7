"""A federation to measure: the demo's hub and nodes, as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

import atoll
from atoll import Client
from atoll.cli.demo.founding import Office
from atoll.cli.demo.processes import start, stop
from atoll.cli.demo.stage import LOGS, read_state, write_state
from atoll.cli.demo.stage import atoll as atoll_words
from benchmarks.command import ROOT, CommandFailed

#: One client asks for all that a hospital's people and a thousand nodes at a thousand addresses would.
_UNBOUNDED = {f"ATOLL_HUB_{name}": "0" for name in ("PERSON_RATE", "NODE_RATE", "ADDRESS_RATE")}
#: Seconds that nodes have to come up.
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The hub, or a node."""

    name: str
    pid: int

    @property
    def memory_bytes(self) -> int:
        """What it has in memory now."""
        return self._status("VmRSS")

    @property
    def peak_bytes(self) -> int:
        """The most that it ever had."""
        return self._status("VmHWM")

    @property
    def cpu_seconds(self) -> float:
        """The processor time that it has taken so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise CommandFailed(f"{self.name} has ended while it was measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """A hub and nodes that are online."""

    url: str
    token: str
    collaboration: str
    #: The names of the nodes with data.
    sites: tuple[str, ...]
    hub: Process
    nodes: Mapping[str, Process]
    client: Client

    @property
    def port(self) -> int:
        """The hub's."""
        return int(self.url.rpartition(":")[2])

    def run(self, algorithm: Path | str, **asked: Any) -> atoll.Run:
        """Run something, and wait for its end."""
        run = self.client.runs.submit(collaboration=self.collaboration, algorithm=algorithm, **asked)
        return run.wait(timeout=600)

    def rounds(self, run: str) -> Sequence[Mapping[str, Any]]:
        """All rounds of a run, as the hub tells them."""
        found: list[Mapping[str, Any]] = []
        cursor = ""
        while True:
            page = self._office().ask("GET", f"/runs/{run}/rounds?limit=200{cursor}")
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    def register(self, count: int) -> list[str]:
        """Register more nodes; their keys."""
        office = self._office()
        organization = office.ask("GET", "/me")["organization"]["id"]
        keys = []
        for number in range(count):
            node = {"name": f"idle{number}", "organization": organization, "holds_data": True}
            code = office.ask("POST", "/nodes", node)["code"]
            keys.append(office.nobody.ask("POST", "/nodes/register", {"code": code})["key"])
        return keys

    def _office(self) -> Office:
        return Office(self.url, self.token)


@contextmanager
def federation(
    folder: Path, *, sites: int, settings: Mapping[str, object] | None = None
) -> Iterator[Federation]:
    """Start a hub and nodes, and end them.

    Args:
        folder: where they work.
        sites: nodes with data.
        settings: of the nodes, instead of those that the demo's have.

    Raises:
        CommandFailed: they don't come up.
    """
    home = folder / "federation"
    document = json.loads(_demo("--detach", "--sites", str(sites), dir=home))
    try:
        if settings is not None:
            _change_nodes(home, settings)
        children = json.loads((home / "demo.json").read_text())["children"]
        processes = {child["name"]: Process(name=child["name"], pid=child["pid"]) for child in children}
        hub = processes.pop("hub")
        with atoll.connect(document["url"], token=document["token"]) as client:
            yield Federation(
                url=document["url"],
                token=document["token"],
                collaboration=document["collaboration"],
                sites=tuple(document["nodes"]),
                hub=hub,
                nodes=processes,
                client=client,
            )
    finally:
        _demo("--stop", dir=home)


def _change_nodes(home: Path, settings: Mapping[str, object]) -> None:
    """Start the nodes anew, with other settings.

    Raises:
        CommandFailed: one doesn't come up.
    """
    state = read_state(home)
    assert state is not None
    children, logs = [], []
    for child in state.children:
        if child.name == "hub":
            children.append(child)
            continue
        stop([child])
        path = home / "nodes" / child.name / "node.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))
        log = home / LOGS / f"{child.name}.log"
        log.unlink()
        logs.append(log)
        children.append(start(child.name, [*atoll_words(), "node", "start", "--config", path], log=log))
    write_state(home, replace(state, children=tuple(children)))
    until = time.monotonic() + _PATIENCE_SECONDS
    while not all("is at work" in log.read_text() for log in logs):
        if time.monotonic() > until or not all(child.is_running for child in children):
            said = "\n".join(log.read_text()[-500:] for log in logs)
            raise CommandFailed(f"nodes don't come up with {settings}:\n{said}")
        time.sleep(0.05)


def _demo(*words: str, dir: Path) -> str:  # noqa: A002  # the option's name
    command = [sys.executable, "-m", "atoll", "demo", "--json", *words, "--dir", str(dir)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | _UNBOUNDED, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
