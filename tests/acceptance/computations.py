"""Small computations that tests write into a folder, and the ways to run them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tests import nursery

from atoll.model.work import Role, Seat
from atoll.simulator.arguments import Arguments
from atoll.simulator.simulation import Report, simulate

#: Every runtime that starts real processes.
RUNTIMES = ["process", pytest.param("bubblewrap", marks=pytest.mark.needs("bubblewrap"))]

#: The guide's example: each site adds one to the mean, until the mean is above four.
SUM_LOCAL = """
    import json, sys
    doc = json.loads(sys.stdin.read())
    if "start" in doc["input"]:
        sums = 1
    else:
        sums = doc["input"]["sum"] + 1
    sys.stdout.write(json.dumps({"output": {"sum": sums}}))
"""
SUM_REMOTE = """
    import json, sys
    doc = json.loads(sys.stdin.read())
    sums = 0
    for site, output in doc["input"].items():
        sums = sums + output["sum"]
    sums = sums / len(doc["input"])
    sys.stdout.write(json.dumps({"output": {"sum": sums}, "success": sums > 4}))
"""
#: Answers with what it was given, so that a test can look at it.
ECHO = """
    import json, sys
    print(json.dumps({"output": {"seen": json.load(sys.stdin)}, "success": True}))
"""


def script(body: str) -> str:
    """A protocol-1 script: `doc` is the request, and what `body` puts into `answer` is printed."""
    head = "import json, os, sys\ndoc = json.load(sys.stdin)\nstate = doc['state']\nanswer = {'output': {}}\n"
    return f"{head}{dedent(body)}\nprint(json.dumps(answer))\n"


def write_computation(
    folder: Path,
    *,
    local: str,
    remote: str | None = None,
    inputs: Any = None,
    spec: dict[str, Any] | None = None,
    version: int | None = None,
    files: dict[str, str | bytes] | None = None,
) -> Path:
    """Write a computation's folder; `spec` is laid over its ``computation`` section."""
    code = {"local.py": local, **({"remote.py": remote} if remote is not None else {})}
    computation: dict[str, Any] = {
        "type": "docker",
        "dockerImage": "x",
        "command": ["python", "/computation/local.py"],
    }
    if remote is not None:
        computation["remote"] = {
            "type": "docker",
            "dockerImage": "x",
            "command": ["python", "/computation/remote.py"],
        }
    meta = {"name": folder.name, "id": folder.name, "version": "1", "repository": "", "description": ""}
    if version is not None:
        meta["compspecVersion"] = version  # type: ignore[assignment]  # The one number among texts.
    computation |= {"input": {}, "output": {}, "display": {"type": "table"}} | (spec or {})
    texts: dict[str, str | bytes] = {
        **{name: dedent(text) for name, text in code.items()},
        "compspec.json": json.dumps({"meta": meta, "computation": computation}, indent=2),
        "test/inputspec.json": json.dumps({} if inputs is None else inputs),
        **(files or {}),
    }
    for name, content in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@dataclass
class Heard:
    """A watcher that remembers."""

    warnings: list[str] = field(default_factory=list)
    calls: list[tuple[str, int]] = field(default_factory=list)

    def begun(self, **_: Any) -> None:
        """Nothing to remember."""

    def asked(self, **_: Any) -> None:
        """Nothing to remember."""

    def answered(self, **_: Any) -> None:
        """Nothing to remember."""

    def broke(self, **_: Any) -> None:
        """Nothing to remember."""

    def progressed(self, **_: Any) -> None:
        """Nothing to remember."""

    def job_started(self, *, seat: Seat, role: Role, step: int, iteration: int, number: int) -> None:
        """Remember who was called."""
        del role, step, number
        self.calls.append((seat, iteration))

    def job_ended(self, **_: Any) -> None:
        """Nothing to remember."""

    def warned(self, text: str) -> None:
        """Remember the sentence."""
        self.warnings.append(text)

    def ended(self) -> None:
        """Nothing to remember."""


def run(path: Path, tmp_path: Path, *, heard: Heard | None = None, **asked: Any) -> Report:
    """Simulate in this process, into ``tmp_path/out``."""
    arguments = Arguments(path=path, output=asked.pop("output", tmp_path / "out"), **asked)
    _, report = asyncio.run(simulate(arguments, lambda: heard or Heard()))
    return report


def atoll(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, but for the time that its imports take."""
    return nursery.run(*words, cwd=cwd, env=environment())


def environment() -> dict[str, str]:
    """The environment of the command under test: no colours, a known width."""
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
