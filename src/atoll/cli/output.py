"""How the command tells its end, to people and to programs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from atoll.cli.amounts import counted
from atoll.cli.escape import escape
from atoll.cli.live import LiveView
from atoll.cli.logged import exceptions
from atoll.cli.plain import PlainView
from atoll.cli.progress import Progress
from atoll.simulator.prepared import PreparedStep

#: Columns where the output is no terminal that says how wide it is.
_WIDTH = 100
#: Sites whose own results are shown, where each has one.
_SITES_SHOWN_MAX = 10
#: A line of a function's code, in the words of an error.
_FRAME = re.compile(r"\.py:[0-9]+ in ")
#: Functions at sites that gave no answer and are named.
_UNANSWERED_SHOWN_MAX = 10


def console(*, error: bool) -> Console:
    """Where a run is shown: standard output, or standard error beside a document."""
    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else _WIDTH
    return Console(stderr=error, width=width, highlight=False)


def watcher(*, inline: bool, iterates: bool) -> LiveView | PlainView:
    """What shows a run while it goes on: on standard error, so that results can be piped.

    Inline code may stop in a debugger, which a picture that redraws itself would paint over.

    Args:
        inline: whether code runs in this process.
        iterates: whether iterations are counted: a function is called once.
    """
    target = console(error=True)
    kind = LiveView if target.is_terminal and not inline else PlainView
    return kind(target, iterates=iterates)


def show(
    step: PreparedStep,
    document: Mapping[str, Any],
    target: Console,
    *,
    with_result: bool,
    heard: Progress | None = None,
) -> None:
    """Show a run's end: the result as its last step asks, or why there is none; and where all lies.

    Args:
        step: the last step.
        document: what a program is told.
        target: where it is shown.
        with_result: whether the result is shown, and not only where it lies.
        heard: what was heard of the run while it went on.
    """
    folder = Path(document["output"])
    done = document["status"] == "done"
    if done and with_result:
        _show_result(step, document, folder, target)
    told = _Told()
    if not done:
        told.error = document["error"]["message"]
        _show_error(document["error"], _where(document), target)
        if _has_functions(document) and document["error"].get("log"):
            _show_exceptions(Path(document["error"]["log"]), told, target)
    _show_unanswered(heard, folder, target, done=done, told=told)
    if done:
        name = "result.json" if (folder / "result.json").exists() else "run.json"
        target.print(_line("", f"The run is done, {_extent(document, heard)}. All of it: {folder / name}"))
        return
    if document["dialect"] == "functions" and _FRAME.search(document["error"]["message"]):
        remedy = "To look closer: the same command with --runtime inline, and a breakpoint() in the function."
        target.print(_line("", remedy))
    target.print(_line("", f"What was kept of the run: {folder}"))


def _show_error(error: Mapping[str, Any], where: str, target: Console) -> None:
    target.print(_line("bold red", f"The run failed{where}: {error['type']}"))
    target.print(Text(escape(error["message"], keep_lines=True)))
    if error.get("log"):
        target.print(_line("", f"The full log: {error['log']}"))


class _Told:
    """What a person has been told of why calls failed: once is enough."""

    def __init__(self) -> None:
        self.error = ""
        self._words: set[str] = set()

    def is_new(self, words: str, seat: str = "") -> bool:
        """Whether it is, and now no longer. Sites that fail alike differ in their names."""
        alike = words.replace(seat, "") if seat else words
        known = alike in self._words or words in self.error
        self._words.add(alike)
        return not known


def _show_exceptions(log: Path, told: _Told, target: Console) -> None:
    """What a log says was raised, each exception once: to a person at a terminal.

    Its words may hold data. A file or a program that reads along gets the log's place alone.
    """
    for words in exceptions(log) if target.is_terminal else ():
        # The library's own words are in the error already.
        if not words.startswith("atoll_algorithm.errors.") and told.is_new(words):
            target.print(_line("", f"  {words}"))


def _show_unanswered(
    heard: Progress | None, folder: Path, target: Console, *, done: bool, told: _Told
) -> None:
    """Calls that functions asked for and got no answer to: where a run is done, it went on without."""
    unanswered = heard.unanswered(late=done) if heard is not None else []
    for one in unanswered[:_UNANSWERED_SHOWN_MAX]:
        log = folder / "logs" / f"{one.seat}.log"
        where = f". Its log: {log}" if log.exists() else ""
        target.print(_line("yellow", f"{one.sentence}{where}"))
        if one.reason and told.is_new(one.reason, one.seat):
            target.print(_line("", f"  {one.reason}"))
        _show_exceptions(log, told, target)
    if len(unanswered) > _UNANSWERED_SHOWN_MAX:
        more = len(unanswered) - _UNANSWERED_SHOWN_MAX
        target.print(_line("yellow", f"… and {more:,} more. Every call is in {folder / 'events.jsonl'}"))


def _show_result(step: PreparedStep, document: Mapping[str, Any], folder: Path, target: Console) -> None:
    # Imported here for the start-up time of commands that only print a document.
    from atoll.cli.display import render, render_value

    if _has_functions(document):
        value = document["result"] if step.aggregated else document["results"]
        render_value(target, value, title=step.name)
        return
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


def _has_functions(document: Mapping[str, Any]) -> bool:
    """Whether the algorithm is written as functions: then it has results, and no wishes about them."""
    return bool(document["dialect"] != "coinstac")


def _extent(document: Mapping[str, Any], heard: Progress | None) -> str:
    """How much was done, where and in what time."""
    seconds, sites = f"{document['seconds']:.2f} s", document["sites"]
    if not _has_functions(document):
        iterations = counted(document["iterations"], "iteration")
        return f"after {iterations} at {counted(len(sites), 'site')} in {seconds}"
    took = set(heard.called()) if heard is not None else set(sites)
    called = [site for site in sites if site in took]
    took_part = counted(len(sites), "site")
    if len(called) < len(sites):
        named = ", ".join(called) if len(called) <= _SITES_SHOWN_MAX else f"{len(called):,}"
        took_part = f"{named} of {took_part}"
    calls = f"after {counted(heard.call_count, 'call')} " if heard is not None else ""
    return f"{calls}at {took_part} in {seconds}"


def _where(document: Mapping[str, Any]) -> str:
    error = document["error"]
    if error.get("site") is None:
        return ""
    if _has_functions(document):
        return f" at {error['site']}"
    step = f"step {error['step']}, " if error.get("step") else ""
    return f" at {error['site']} ({step}iteration {error['iteration']})"


def _line(style: str, text: str) -> Text:
    return Text(escape(text), style=style)
