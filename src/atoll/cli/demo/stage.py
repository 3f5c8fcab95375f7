"""Where the demo plays: its folder, its hub, its nodes, and the people who use them.

::

    DIR/demo.json        what there is: the processes, the address, the account
    DIR/hub/             the hub's database and files
    DIR/nodes/NAME/      a node: node.yaml, its key, its rows, its data maps, its workspace
    DIR/logs/NAME.log    what each process printed

All of it is for its owner alone. The rows are public; the key and the password are real ones.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from atoll.cli.demo.material import DATABASE, LAGOON, Table
from atoll.cli.demo.processes import Child
from atoll.model.errors import Unusable

STATE = "demo.json"
LOGS = "logs"
#: How the collaboration is called.
COLLABORATION = "islands"
#: The demo's only person, who may do everything.
USERNAME = "keeper"
#: The example computations that every node has mapped its rows to, and the inputs that it gives them.
MAPPED: Mapping[str, Mapping[str, Any]] = {
    "One-shot ridge regression": {"data": ["penguins.csv"]},
    "Means and standard deviations": {"data": ["penguins.csv"]},
    "Ridge regression on standardised columns": {"data": ["penguins.csv"]},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a demo has started, and how it is reached."""

    url: str
    token: str
    username: str
    password: str
    collaboration: str
    #: Those with data, in their order.
    nodes: tuple[str, ...]
    dir: str
    #: Whether the nodes can run vantage6 algorithms of generation 4.
    vantage6: bool
    children: tuple[Child, ...]

    @property
    def is_running(self) -> bool:
        """Whether all that was started is still there."""
        return bool(self.children) and all(child.is_running for child in self.children)

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        told = ("url", "token", "username", "password", "collaboration", "nodes", "dir")
        return {name: value for name, value in asdict(self).items() if name in told}


def read_state(folder: Path) -> State | None:
    """What was started in a folder; None where there is no demo.

    Raises:
        Unusable: what is there says nothing that can be read.
    """
    path = folder / STATE
    try:
        document = json.loads(path.read_text())
        children = tuple(Child(**child) for child in document.pop("children"))
        return State(**document | {"nodes": tuple(document["nodes"]), "children": children})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise Unusable(
            f"{path} is not what a demo leaves: remove {folder}, or name another with --dir"
        ) from error


def write_state(folder: Path, state: State) -> None:
    """Keep what was started; it appears when it is whole."""
    aside = folder / f".{STATE}"
    write_private(aside, json.dumps(asdict(state), indent=2) + "\n")
    os.replace(aside, folder / STATE)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)


def new_password() -> str:
    """A password that nobody guesses, and that can be typed."""
    return secrets.token_urlsafe(15)


def atoll() -> list[str]:
    """How the demo's processes are started: as this one was."""
    return [sys.executable, "-m", "atoll"]


def lay_out_hub(folder: Path, port: int) -> Path:
    """Write a hub's settings; where they are."""
    home = folder / "hub"
    home.mkdir(mode=0o700)
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "folder": str(home),
        "database": f"sqlite:///{home / 'hub.db'}",
        "blobs": str(home / "blobs"),
    }
    path = home / "hub.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def lay_out_node(
    folder: Path, name: str, rows: Table | None, *, url: str, sandboxed: bool, vantage6: Path | None
) -> Path:
    """Write a node's settings, its rows and its data maps; where the settings are.

    Args:
        folder: the demo's.
        name: the node's.
        rows: what it offers; None for a node without data.
        url: the hub's address.
        sandboxed: whether algorithms are kept from the rest of the machine.
        vantage6: an interpreter with the tools that algorithms of vantage6 4 import.
    """
    home = folder / "nodes" / name
    (home / "files").mkdir(parents=True, mode=0o700)
    settings: dict[str, Any] = {
        "hub": url,
        "name": name,
        "key_file": "node.key",
        "runtime": "bubblewrap" if sandboxed else "process",
        # Uploaded source code runs here: without that a demo shows nothing. A hospital lists digests.
        "policies": {"bundles": "allow"},
        "slots": 2,
    }
    if not sandboxed:
        settings["allow_unsandboxed"] = True
    if vantage6 is not None:
        settings["environments"] = {"vantage6-4": {"python": str(vantage6), "provides": ["vantage6-4"]}}
    if rows is None:
        settings["holds_data"] = False
    else:
        rows.write(home / "penguins.csv")
        # What a computation is shown is a folder of its own, and not the one with the node's key.
        rows.write(home / "files" / "penguins.csv")
        settings["databases"] = {DATABASE: {"uri": "penguins.csv", "type": "csv"}}
        maps = [
            {"computation": name, "inputs": dict(inputs), "folder": "files"}
            for name, inputs in MAPPED.items()
        ]
        (home / "data-maps.yaml").write_text(yaml.safe_dump(maps, sort_keys=False))
    path = home / "node.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def names(rows: Mapping[str, Table]) -> tuple[str, ...]:
    """All nodes of the demo: those with data, and the one that combines."""
    return (*rows, LAGOON)
