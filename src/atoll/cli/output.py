"""How the command tells its end, to people and to programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from atoll.cli.escape import escape
from atoll.cli.live import LiveView, PlainView
from atoll.simulator.prepared import PreparedStep

#: Columns where the output is no terminal that says how wide it is.
_WIDTH = 100
#: Sites whose own results are shown, where each has one.
_SITES_SHOWN_MAX = 10


def console(*, error: bool) -> Console:
    """Where a run is shown: standard output, or standard error beside a document."""
    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else _WIDTH
    return Console(stderr=error, width=width, highlight=False)


def watcher(*, inline: bool) -> LiveView | PlainView:
    """What shows a run while it goes on: on standard error, so that results can be piped.

    Inline code may stop in a debugger, which a picture that redraws itself would paint over.
    """
    target = console(error=True)
    return LiveView(target) if target.is_terminal and not inline else PlainView(target)


def show(step: PreparedStep, document: Mapping[str, Any], target: Console, *, with_result: bool) -> None:
    """Show a run's end: the result as its last step asks, or why there is none; and where all lies."""
    folder = Path(document["output"])
    if document["status"] == "done":
        if with_result:
            _show_result(step, document, folder, target)
        name = "result.json" if (folder / "result.json").exists() else "run.json"
        target.print(_line("", f"The run is done, after {_extent(document)}. All of it: {folder / name}"))
        return
    error = document["error"]
    target.print(_line("bold red", f"The run failed{_where(error)}: {error['type']}"))
    target.print(Text(escape(error["message"], keep_lines=True)))
    if error.get("log"):
        target.print(_line("", f"The full log: {error['log']}"))
    target.print(_line("", f"What was kept of the run: {folder}"))


def _show_result(step: PreparedStep, document: Mapping[str, Any], folder: Path, target: Console) -> None:
    # Imported here for the start-up time of commands that only print a document.
    from atoll.cli.display import render

    options: dict[str, Any] = {"display": step.display, "outputs": step.outputs, "folder": folder}
    options["inputs"] = step.inputs
    if step.aggregated:
        render(target, result=document["result"], title=step.name, **options)
        return
    results = document["results"]
    for site, result in list(results.items())[:_SITES_SHOWN_MAX]:
        render(target, result=result, title=f"{step.name}: {site}", part=site, **options)
    if len(results) > _SITES_SHOWN_MAX:
        target.print(_line("", f"{len(results) - _SITES_SHOWN_MAX} more sites have results in result.json."))


def _extent(document: Mapping[str, Any]) -> str:
    iterations = document["iterations"]
    sites = len(document["sites"])
    return (
        f"{iterations} iteration{'s' * (iterations != 1)} at {sites} site{'s' * (sites != 1)} "
        f"in {document['seconds']:.2f} s"
    )


def _where(error: Mapping[str, Any]) -> str:
    if error.get("site") is None:
        return ""
    step = f"step {error['step']}, " if error.get("step") else ""
    return f" at {error['site']} ({step}iteration {error['iteration']})"


def _line(style: str, text: str) -> Text:
    return Text(escape(text), style=style)
