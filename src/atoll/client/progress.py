"""How far a run is, drawn as bars in a terminal and as text in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from atoll.client.records import Event, Waiting


def show(events: Iterable[Event], waiting: Iterable[Waiting] = ()) -> None:
    """Draw what happens until it ends: on standard error, so that results can be piped.

    Args:
        events: what happens.
        waiting: what was waited for before: whoever begins to watch hasn't heard it.
    """
    # Imported here: who only submits and waits draws nothing.
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=False) as bars:
        task = bars.add_task("waits for the first job", total=None)
        for one in waiting:
            words = [*([one.text] if one.text else []), *([] if one.online else ["its node is away"])]
            if words:
                bars.console.print(escape(f"{one.seat}: {', '.join(words)}"))
        for event in events:
            form = event.form
            if event.kind == "run":
                if form["status"] != "active":
                    # What the last round was about is settled with the run: a site need not be told.
                    total = bars.tasks[task].total if form["status"] == "done" else None
                    bars.update(
                        task, description=escape(f"{form['name']}: {form['status']}"), completed=total
                    )
            elif event.kind == "round":
                what = form["name"] or ("aggregator" if form["role"] == "aggregator" else "sites")
                done = form["job_count"] - form["open_count"]
                text = f"step {form['step'] + 1}, {what}, {form['iteration']}"
                bars.update(task, description=escape(text), total=form["job_count"], completed=done)
            elif event.kind == "job" and form["status"] == "held":
                why = (form["failure"] or {}).get("message", "")
                bars.console.print(
                    escape(f"{form['seat']} waits for a decision (retry, drop or fail): {why}")
                )
            elif event.kind == "job" and form.get("text"):
                bars.console.print(escape(f"{form['seat']}: {form['text']}"))
