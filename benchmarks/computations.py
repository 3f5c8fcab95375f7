"""The computations that are measured, as small as they can be, written into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

#: A script of protocol 1: what `body` puts into `answer` is printed.
_SCRIPT = """\
import json, os, sys
{imports}
doc = json.load(sys.stdin)
state = doc["state"]
answer = {{"output": {{}}}}
{body}
print(json.dumps(answer))
"""
#: Protocol 2: every site sends a sum and a count, the aggregator their mean.
_SERVED = """\
import coinstac

def local(doc):
    return {{"output": {{"sum": doc["state"]["iteration"], "count": 1}}}}

def remote(doc):
    outputs = doc["input"].values()
    mean = sum(output["sum"] for output in outputs) / sum(output["count"] for output in outputs)
    return {{"output": {{"mean": mean}}, "success": doc["state"]["iteration"] >= {iterations}}}

coinstac.start(local, remote)
"""


def script(body: str, *, imports: str = "") -> str:
    """A script of protocol 1."""
    return _SCRIPT.format(imports=dedent(imports).strip(), body=dedent(body).strip())


def until(iterations: int) -> str:
    """The aggregator's line that ends a run."""
    return f'answer["success"] = state["iteration"] >= {iterations}'


def scripts(folder: Path, *, local: str, remote: str) -> Path:
    """A computation of protocol 1, whose two scripts are started for every call."""
    commands = [["python", f"/computation/{name}.py"] for name in ("local", "remote")]
    return _write(folder, 1, commands, {"local.py": local, "remote.py": remote})


def served(folder: Path, *, iterations: int) -> Path:
    """A computation of protocol 2: a mean, in processes that stay."""
    commands = [["python", "/computation/entry.py"]] * 2
    return _write(folder, 2, commands, {"entry.py": _SERVED.format(iterations=iterations)})


def _write(folder: Path, version: int, commands: list[list[str]], files: dict[str, str]) -> Path:
    local, remote = ({"type": "docker", "dockerImage": "none", "command": command} for command in commands)
    meta = {"name": folder.name, "id": folder.name, "version": "1", "repository": "", "description": ""}
    computation = local | {"remote": remote, "input": {}, "output": {}, "display": {"type": "table"}}
    spec = {"meta": meta | {"compspecVersion": version}, "computation": computation}
    texts = {**files, "compspec.json": json.dumps(spec, indent=2), "test/inputspec.json": "{}"}
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
