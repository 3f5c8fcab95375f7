"""Carrying out ``atoll run`` and its neighbours: what each verb does, for people and for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from atoll.algorithms.words import COMMAND
from atoll.cli.escape import escape
from atoll.cli.exits import DONE, FAILED, INTERRUPTED, UNUSABLE
from atoll.cli.login_kept import open_hub
from atoll.cli.output import console
from atoll.cli.refusal import print_document
from atoll.cli.run_asked import wanted_of
from atoll.client.client import Client
from atoll.client.runs import Run
from atoll.client.submitting import find_collaboration
from atoll.model.errors import AtollError, RunFailed, Unusable

_ENDED = ("done", "failed")
_STATUSES = ("active", *_ENDED)


def carry_out(
    verb: Callable[..., int], url: str | None, token: str | None, *, as_json: bool, **asked: Any
) -> int:
    """Do it at the hub. Errors are told as a sentence for each fault."""
    try:
        with open_hub(url, token) as client:
            return verb(client, as_json=as_json, **asked)
    except AtollError as error:
        return refused(error, as_json=as_json)


def refused(error: AtollError, *, as_json: bool) -> int:
    """Tell an error; the status that a command ends with."""
    for line in str(error).splitlines() or [""]:
        print(f"error: {escape(line)}", file=sys.stderr)
    if as_json:
        print_document(
            {"run": None, "error": {"type": type(error).__name__, "message": str(error), "site": None}}
        )
    return UNUSABLE if isinstance(error, Unusable) else FAILED


def submit(client: Client, *, as_json: bool, asked: Mapping[str, Any]) -> int:
    """Submit a run."""
    run = client.runs.begin(wanted_of(asked), COMMAND)
    for warning in run.warnings:
        print(f"warning: {escape(warning)}", file=sys.stderr)
    if asked["wait"]:
        print(f"run {run.id}", file=sys.stderr)
        return _await(run, as_json=as_json)
    if as_json:
        print_document({"run": run.id, "warnings": list(run.warnings)})
    else:
        print(run.id)
    return DONE


def watch(client: Client, *, as_json: bool, id_: str) -> int:
    """Watch a run until its end."""
    return _await(client.runs.get(id_), as_json=as_json)


def result(client: Client, *, as_json: bool, id_: str, folder: Path | None) -> int:
    """Show what a run has left."""
    run = client.runs.get(id_)
    if run.status == "active":
        run.results  # noqa: B018  # It says what the run waits for.
    if folder is not None and run.status == "done":
        for site in (*run.sites, *([run.form["aggregator"]] if run.form["aggregator"] else [])):
            for path in run.files(site, folder / site) if site in _settled(run) else ():
                print(path, file=sys.stderr)
    return _told_end(run, as_json=as_json)


def listed(client: Client, *, as_json: bool, narrowed: Mapping[str, Any]) -> int:
    """List runs."""
    status = narrowed["status"]
    if status not in (None, *_STATUSES):
        raise Unusable(f"--status {status}: expected {', '.join(_STATUSES)}")
    runs = [run.form for run in client.runs.list(**narrowed)]
    if as_json:
        print_document({"runs": [dict(form) for form in runs]})
        return DONE
    rows = [(form["id"], form["status"], form["name"], form["created_at"][:19]) for form in runs]
    _print_table(("run", "status", "name", "submitted"), rows)
    return DONE


def show(client: Client, *, as_json: bool, id_: str) -> int:
    """Show a run, and whom it waits for."""
    run = client.runs.get(id_)
    form = run.form
    waiting = [] if form["status"] in _ENDED else [asdict(one) for one in run.waiting_for]
    if as_json:
        print_document({**form, "waiting_for": waiting})
        return DONE
    failure = form["failure"] or {}
    rows: list[tuple[Any, ...]] = [
        ("run", form["id"]),
        ("name", form["name"]),
        ("status", form["status"]),
        ("sites", ", ".join(form["sites"])),
        ("dropped", ", ".join(form["dropped"])),
        ("steps", ", ".join(step["algorithm"]["name"] for step in form["steps"])),
        ("rounds", form["call_round_count"]),
        ("error", failure.get("message", "")),
        ("at", failure.get("site") or ""),
    ]
    rows += [("waits for", _waits(one)) for one in waiting]
    _print_table(("", ""), [row for row in rows if row[1] != ""])
    for one in waiting:
        if one["status"] == "held":
            words = f"to go on: atoll run decide {id_} {one['seat']} retry|drop|fail"
            print(escape(words), file=sys.stderr)
    return DONE


def _waits(one: Mapping[str, Any]) -> str:
    """What is waited for at a seat, and why."""
    seat, node = one["seat"], one["node"]
    where = seat if seat == node else f"{seat} ({node})"
    away = "" if one["online"] else ", its node is away"
    why = f", {one['failure']['message']}" if one["failure"] else ""
    said = f", {one['text']}" if one["text"] else ""
    return f"{where}: {one['status']}{said}{away}{why}"


def logs(client: Client, *, as_json: bool, id_: str, site: str | None) -> int:
    """Show what sites have let out of their logs."""
    lines = client.runs.get(id_).logs(site)
    if as_json:
        print_document({"logs": [asdict(line) for line in lines]})
    else:
        for line in lines:
            print(escape(f"{line.at[11:19]} {line.seat} {line.level}: {line.text}"))
        if not lines:
            print(
                "no site has let anything out of its logs: what algorithms print stays there", file=sys.stderr
            )
    return DONE


def cancel(client: Client, *, as_json: bool, id_: str, reason: str) -> int:
    """End a run."""
    client.runs.get(id_).cancel(reason)
    return _said(f"run {id_} is cancelled", {"run": id_}, as_json=as_json)


def decide(client: Client, *, as_json: bool, id_: str, site: str, decision: str) -> int:
    """Decide about a job that broke."""
    if decision not in ("retry", "drop", "fail"):
        raise Unusable(f"{decision!r} is no decision: expected retry, drop or fail")
    client.runs.get(id_).decide(site, decision)
    told = {"run": id_, "site": site, "decision": decision}
    return _said(f"run {id_}: {site} is told to {decision}", told, as_json=as_json)


def record(client: Client, *, as_json: bool, id_: str) -> int:  # noqa: ARG001  # It is JSON in any case.
    """Print how a run came about."""
    print_document(client.runs.get(id_).record())
    return DONE


def collaborations(client: Client, *, as_json: bool) -> int:
    """List the collaborations."""
    found = client.collaborations.list()
    if as_json:
        print_document({"collaborations": [asdict(one) for one in found]})
        return DONE
    names = {node.id: node.name for node in client.nodes.list()}
    rows = [(one.name, one.id, ", ".join(names.get(node, node) for node in one.nodes)) for one in found]
    _print_table(("collaboration", "id", "nodes with data"), rows)
    return DONE


def nodes(client: Client, *, as_json: bool, collaboration: str | None) -> int:
    """List nodes."""
    place = None
    if collaboration is not None:
        place = client.reach.background.run(find_collaboration(client.reach.core, collaboration)).id
    found = client.nodes.list(collaboration=place)
    if as_json:
        print_document({"nodes": [asdict(one) for one in found]})
        return DONE
    rows = [
        (one.name, "online" if one.online else "away", ", ".join(one.databases), one.version or "")
        for one in found
    ]
    _print_table(("node", "", "databases", "version"), rows)
    return DONE


def _await(run: Run, *, as_json: bool) -> int:
    try:
        run.progress()
    except RunFailed:
        pass  # It is told below, with all else.
    except KeyboardInterrupt:
        print(f"run {run.id} goes on: atoll run cancel {run.id} ends it", file=sys.stderr)
        if as_json:
            print_document(_document(run))
        return INTERRUPTED
    return _told_end(run, as_json=as_json)


def _told_end(run: Run, *, as_json: bool) -> int:
    """Tell how a run has ended."""
    form = run.form
    done = form["status"] == "done"
    if as_json:
        print_document(_document(run))
    elif done:
        # Late: a document needs none of it.
        from atoll.cli.display import render_value

        value = run.results if run.result is None else run.result
        render_value(console(error=False), value, title=form["name"], whole="--json")
    if not done:
        failure = form["failure"] or {"type": "RunFailed", "message": "it failed", "site": None}
        where = f" at {failure['site']}" if failure["site"] else ""
        print(f"error: the run failed{where}: {failure['type']}", file=sys.stderr)
        print(escape(failure["message"], keep_lines=True), file=sys.stderr)
    return DONE if done else FAILED


def _document(run: Run) -> dict[str, Any]:
    """What a program is told of a run that has ended: the same as of a simulation."""
    form = run.form
    done = form["status"] == "done"
    failure = form["failure"]
    last = form["steps"][-1]["algorithm"]["dialect"]
    return {
        "run": run.id,
        "status": form["status"],
        "dialect": last,
        "sites": list(form["sites"]),
        "rounds": form["call_round_count"],
        "iterations": run.iterations,
        "result": run.result if done else None,
        "results": dict(run.results) if done else {},
        "error": None
        if failure is None
        else {"type": failure["type"], "message": failure["message"], "site": failure["site"]},
        "seconds": _seconds(form),
        "output": None,
        "warnings": list(run.warnings),
    }


def _seconds(form: Mapping[str, Any]) -> float:
    if form["ended_at"] is None:
        return 0.0
    began, ended = (datetime.fromisoformat(form[name]) for name in ("created_at", "ended_at"))
    return round((ended - began).total_seconds(), 3)


def _settled(run: Run) -> set[str]:
    if run.form["steps"][-1]["aggregated"]:
        return {run.form["aggregator"]}
    return set(run.results)


def _said(words: str, document: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_document(document)
    else:
        print(escape(words), file=sys.stderr)
    return DONE


def _print_table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    target: Console = console(error=False)
    table = Table(box=None, show_header=any(heads), pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    target.print(table, markup=False)
