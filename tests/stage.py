"""A federation of real processes: a hub, its nodes, and whoever uses them. Nothing leaves this machine.

Every program is started as its admin starts it, from a file of settings, and can be killed and started
again. A test waits for what it can see, and never for a time to pass.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml
from tests import nursery

from atoll.cli.demo import founding
from atoll.cli.demo.material import ISLANDS, LAGOON
from atoll.cli.demo.stage import COLLABORATION, write_private
from atoll.client.client import Client, connect
from atoll.client.runs import Run
from atoll.runtimes import bubblewrap

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PASSWORD = "nobody guesses this one"
#: Seconds between two signs of life of a node: a lost one is found within some seconds.
HEARTBEAT = 0.5
#: Seconds that anything may take, on a machine that is busy with other tests.
PATIENCE = 60.0
#: A site's gate: the file that a call holds while it runs, and the file that lets it go on.
HELD, OPEN = "held", "open"
_LOOK = 0.01


def until(holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> float:
    """Look again and again until something holds; how many seconds it took.

    Raises:
        TimeoutError: it doesn't come to hold.
    """
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds:g} seconds: {what}")
        time.sleep(_LOOK)
    return time.monotonic() - began


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(
                int(path.parent.name)
            )
    found, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there, and not only what is left of it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def mentioned(text: str | Path) -> list[str]:
    """The command lines of all processes with a text in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(text) in line and is_running(int(path.parent.name)):
                found.append(line)
    return found


@dataclass(kw_only=True)
class Program:
    """One of Atoll's programs."""

    #: What it is started with, after ``atoll``.
    words: Sequence[str | Path]
    #: What it prints.
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: nursery.Started | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Its number."""
        assert self.process is not None
        return self.process.pid

    @property
    def said(self) -> str:
        """All that it has printed."""
        return self.log.read_text(errors="replace")

    def start(self) -> Self:
        """Start it, in a group of its own."""
        with self.log.open("ab") as output:
            self.process = nursery.start(
                *self.words,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        return self

    def kill(self) -> None:
        """End it at once: it can do nothing about it. What it has started isn't told."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self, seconds: float = PATIENCE) -> int:
        """Ask it to end; its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(seconds)

    def clear_away(self) -> None:
        """Leave nothing of it, nor of what it has started."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(kw_only=True)
class HubProgram(Program):
    """A hub."""

    port: int

    @property
    def url(self) -> str:
        """Its own address."""
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Whether it answers."""
        return founding.answers(founding.Office(self.url))

    def come_up(self) -> Self:
        """Start it, and wait until it answers."""
        self.start()
        until(lambda: self.answers() or not self.is_running, "the hub answers")
        assert self.is_running, self.said
        return self


@dataclass(kw_only=True)
class NodeProgram(Program):
    """A node."""

    name: str
    #: Its folder.
    home: Path

    @property
    def gate(self) -> Path:
        """The folder of its database ``gate``."""
        return self.home / "gate"

    @property
    def is_held(self) -> bool:
        """Whether a call at this site holds its gate: whether any process of it is left."""
        with (self.gate / HELD).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def open(self) -> None:
        """Let whoever waits at the gate go on."""
        (self.gate / OPEN).touch()

    def shut(self) -> None:
        """Let nobody go on."""
        (self.gate / OPEN).unlink(missing_ok=True)

    def lay_out(self, url: str, key: str, rows: Path | None, settings: Mapping[str, Any]) -> None:
        """Write its settings, its key and its data."""
        self.gate.mkdir(parents=True)
        (self.gate / HELD).touch()
        sandboxed = bubblewrap.probe() is None
        document: dict[str, Any] = {
            "hub": url,
            "name": self.name,
            "runtime": "bubblewrap" if sandboxed else "process",
            "allow_unsandboxed": not sandboxed,
            "policies": {"bundles": "allow"},
            "slots": 2,
            "drain_seconds": 1.0,
            "limits": {"disk_free": 1},
            "holds_data": rows is not None,
        }
        if rows is not None:
            (self.home / "files").mkdir()
            shutil.copy(rows, self.home / "penguins.csv")
            shutil.copy(rows, self.home / "files" / "penguins.csv")
            document["databases"] = {
                "penguins": {"uri": "penguins.csv", "type": "csv"},
                "gate": {"uri": "gate", "type": "folder"},
            }
        (self.home / "node.yaml").write_text(yaml.safe_dump({**document, **settings}))
        write_private(self.home / "node.key", f"{key}\n")


@dataclass(kw_only=True)
class Federation:
    """A federation at work."""

    folder: Path
    #: Its hub, or replicas of it.
    hubs: Sequence[HubProgram]
    #: Where nodes and people reach it.
    url: str
    nodes: Mapping[str, NodeProgram]
    #: The first administrator's.
    token: str
    keys: Mapping[str, str]
    client: Client

    @property
    def hub(self) -> HubProgram:
        """Its hub, or the first replica."""
        return self.hubs[0]

    @property
    def sites(self) -> list[NodeProgram]:
        """The nodes with data, in their order."""
        return [self.nodes[name] for name in ISLANDS if name in self.nodes]

    def connect(self, url: str) -> Client:
        """The administrator's client, at an address of its own."""
        return connect(url, token=self.token)

    def online(self) -> set[str]:
        """The nodes that the hub has heard of lately."""
        return {node.name for node in self.client.nodes.list() if node.online}

    def mend(self) -> None:
        """Start what a test has ended, and shut every gate."""
        for node in self.nodes.values():
            node.shut()
        for hub in self.hubs:
            if not hub.is_running:
                hub.come_up()
        for node in self.nodes.values():
            if not node.is_running:
                node.start()
        until(lambda: self.online() >= set(self.nodes), "all nodes are online")

    def submit(self, algorithm: Path, **asked: Any) -> Run:
        """Submit a run of all sites."""
        return self.client.runs.submit(collaboration=COLLABORATION, algorithm=algorithm, **asked)

    def open_gates(self) -> None:
        """Let all calls go on."""
        for site in self.sites:
            site.open()

    def wait_at_gates(self) -> None:
        """Wait until a call waits at each site's gate."""
        for site in self.sites:
            until(lambda site=site: site.is_held, f"a call waits at {site.name}")  # type: ignore[misc]  # bound while it is the loop's


def hub_program(folder: Path, **settings: Any) -> HubProgram:
    """A hub that listens at a free port, not yet started. Its folder is made where it isn't there."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    document = {"folder": ".", "port": port, "heartbeat_seconds": HEARTBEAT, **settings}
    path = folder / "hub.yaml"
    path.write_text(yaml.safe_dump(document))
    words = ("hub", "start", "--config", path)
    return HubProgram(words=words, log=folder / "hub.log", port=port)


@contextmanager
def federation(
    folder: Path,
    hubs: Sequence[HubProgram],
    *,
    url: str | None = None,
    islands: Sequence[str] = ISLANDS,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Federation]:
    """A federation of islands, each with its penguins, and a node without data.

    Args:
        folder: for all that it needs.
        hubs: its hub, or replicas of it.
        url: where nodes and people reach it. None: the hub's own address.
        islands: the nodes with data.
        settings: of the nodes, beside those that they need.
    """
    with ExitStack() as stack:
        first, *others = hubs
        for hub in hubs:
            stack.callback(hub.clear_away)
        first.come_up()
        url = url or first.url
        founded = founding.found(founding.Office(first.url), first.log, PASSWORD, islands)
        nodes = {}
        for name, key in founded.keys.items():
            home = folder / "nodes" / name
            words = ("node", "start", "--config", home / "node.yaml")
            node = nodes[name] = NodeProgram(words=words, log=folder / f"{name}.log", name=name, home=home)
            table = EXAMPLES / "functions" / "islands" / f"{name.lower()}.csv"
            node.lay_out(url, key, None if name == LAGOON else table, settings or {})
            stack.callback(node.clear_away)
            node.start()
        # Now: they come up while the nodes do.
        for hub in others:
            hub.come_up()
        client = stack.enter_context(connect(url, token=founded.token))
        there = Federation(
            folder=folder,
            hubs=hubs,
            url=url,
            nodes=nodes,
            token=founded.token,
            keys=founded.keys,
            client=client,
        )
        until(lambda: there.online() >= set(nodes), "all nodes are online")
        yield there
        # Whatever was done to them, no node met what it didn't expect.
        for node in nodes.values():
            assert "Traceback" not in node.said, node.said
