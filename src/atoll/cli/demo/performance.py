"""The demo from its beginning to its end: everything started, everything online, everything ended."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from atoll.cli.demo import founding, processes, stage
from atoll.cli.demo.material import LAGOON, Table, penguins, vantage6_tools
from atoll.cli.demo.processes import Child
from atoll.cli.demo.stage import State
from atoll.model.errors import Unusable
from atoll.runtimes import bubblewrap

#: Nodes that a demo may have: each is a process, and a laptop has so much memory.
SITES_MAX = 64


@dataclass(kw_only=True)
class _Begun:
    """What has been started so far."""

    folder: Path
    port: int
    url: str
    #: Says what is being done.
    say: Callable[[str], None]
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, *words: str | Path) -> Child:
        """Start one of Atoll's programs."""
        child = processes.start(name, [*stage.atoll(), *words], log=self.log(name))
        self.children.append(child)
        return child

    def log(self, name: str) -> Path:
        """What a process prints."""
        return self.folder / stage.LOGS / f"{name}.log"


def begin(folder: Path, sites: int, port: int, say: Callable[[str], None]) -> State:
    """Start a hub and its nodes, and wait until all of them are online.

    Args:
        folder: for all that it needs; it is made.
        sites: how many nodes have data.
        port: the hub's; 0 for one that is free.
        say: is told what is being done.

    Raises:
        Unusable: the folder is taken, or there can't be so many nodes.
        HubUnreachable: something didn't come up. Then nothing is left running.
    """
    if not 1 <= sites <= SITES_MAX:
        raise Unusable(f"a demo of {sites} sites can't be: expected 1 to {SITES_MAX}")
    rows = penguins(sites)
    _take(folder)
    port = port or _free_port()
    begun = _Begun(folder=folder, port=port, url=f"http://127.0.0.1:{port}", say=say)
    try:
        return _begin(begun, rows)
    except BaseException:
        processes.stop(begun.children)
        # The logs say why. All else would be in the way of the next attempt.
        for entry in folder.iterdir():
            if entry.name != stage.LOGS:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        raise


def end(folder: Path) -> State | None:
    """End what a demo has started, and remove its folder; None where there is no demo.

    Raises:
        Unusable: what is there says nothing that can be read.
    """
    state = stage.read_state(folder)
    if state is None:
        return None
    # The nodes first: they give back what they work at.
    nodes = [child for child in state.children if child.name != "hub"]
    processes.stop(nodes)
    processes.stop(state.children)
    shutil.rmtree(folder)
    return state


def _begin(begun: _Begun, rows: Mapping[str, Table]) -> State:
    reason = bubblewrap.probe()
    if reason is not None:
        begun.say(
            f"bubblewrap does not work here ({reason}), so algorithms run as ordinary processes: they can read what "
            "you can read, and use the network. To contain them: apt install bubblewrap"
        )
    begun.say(f"Starting a hub at {begun.url}.")
    hub = begun.start("hub", "hub", "start", "--config", stage.lay_out_hub(begun.folder, begun.port))
    office = founding.Office(begun.url)
    founding.wait_until(
        lambda: founding.answers(office),
        what="the hub",
        alive=lambda: hub.is_running,
        log=begun.log("hub"),
    )
    password = stage.new_password()
    founded = founding.found(office, begun.log("hub"), password, tuple(rows))
    begun.say(f"Starting {len(rows) + 1} nodes: {', '.join(rows)}, and {LAGOON} without data.")
    vantage6 = vantage6_tools()
    for name, key in founded.keys.items():
        settings = stage.lay_out_node(
            begun.folder, name, rows.get(name), url=begun.url, sandboxed=reason is None, vantage6=vantage6
        )
        stage.write_private(settings.parent / "node.key", f"{key}\n")
        begun.start(name, "node", "start", "--config", settings)
    state = State(
        url=begun.url,
        token=founded.token,
        username=stage.USERNAME,
        password=password,
        collaboration=stage.COLLABORATION,
        nodes=tuple(rows),
        dir=str(begun.folder),
        vantage6=vantage6 is not None,
        children=tuple(begun.children),
    )
    stage.write_state(begun.folder, state)
    _wait_for_nodes(begun, office)
    return state


def _wait_for_nodes(begun: _Begun, office: founding.Office) -> None:
    for child in begun.children[1:]:

        def is_online(name: str = child.name) -> bool:
            nodes = office.ask("GET", "/nodes?limit=200")["items"]
            return any(node["online"] for node in nodes if node["name"] == name)

        founding.wait_until(
            is_online,
            what=f"the node {child.name}",
            alive=lambda child=child: child.is_running,  # type: ignore[misc]  # bound while it is the loop's
            log=begun.log(child.name),
        )


def _take(folder: Path) -> None:
    """Make the demo's folder. Logs of an attempt that came to nothing may be there."""
    if folder.exists() and (not folder.is_dir() or {entry.name for entry in folder.iterdir()} - {stage.LOGS}):
        raise Unusable(f"{folder} holds something already: name another with --dir, or remove it")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.rmtree(folder / stage.LOGS, ignore_errors=True)
    (folder / stage.LOGS).mkdir(mode=0o700)


def _free_port() -> int:
    # Another may take it before the hub does; then the hub says so, and nothing is left running.
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
