"""``atoll demo``: start a federation on this machine, show it, and end it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from atoll.cli.demo import performance, stage
from atoll.cli.exits import DONE, FAILED, UNUSABLE
from atoll.cli.refusal import print_document
from atoll.model.errors import AtollError, Unusable

_DEFAULT = Path("atoll-demo")


def command(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on standard output.")
    ] = False,
    detach: Annotated[
        bool,
        typer.Option("--detach", help="Run no example: leave everything running, and say how it is reached."),
    ] = False,
    sites: Annotated[
        int, typer.Option(metavar="N", help="Nodes with data. Default: one for each island.")
    ] = 3,
    port: Annotated[int, typer.Option(metavar="P", help="The hub's port. Default: a free one.")] = 0,
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where everything lies.")] = _DEFAULT,
    end: Annotated[bool, typer.Option("--stop", help="End a demo, and all that it has started.")] = False,
) -> int:
    """Start a hub and nodes with penguins of three islands on this machine, and run one example of each dialect."""
    folder = folder.absolute()
    try:
        if end:
            return _end(folder, as_json=as_json)
        state = _running(folder) or performance.begin(folder, sites, port, _say)
    except Unusable as error:
        return _refused(error, UNUSABLE, as_json=as_json)
    except AtollError as error:
        return _refused(error, FAILED, as_json=as_json)
    if detach:
        if as_json:
            print_document(state.document())
        else:
            _tell(state, folder)
        return DONE
    # Imported here: a demo that shows nothing needs no client.
    from atoll.cli.demo.tour import tour

    status = tour(state, as_json=as_json)
    _tell(state, folder)
    return status


def _running(folder: Path) -> stage.State | None:
    """The demo that runs in a folder already."""
    state = stage.read_state(folder)
    if state is not None and not state.is_running:
        raise Unusable(
            f"a demo in {folder} has lost some of its processes: end it with 'atoll demo --stop{_named(folder)}', and "
            "begin anew"
        )
    if state is not None:
        _say(f"A demo is running already at {state.url}.")
    return state


def _end(folder: Path, *, as_json: bool) -> int:
    state = performance.end(folder)
    if state is None:
        raise Unusable(f"there is no demo in {folder}: name its folder with --dir")
    if as_json:
        print_document({"stopped": state.url, "dir": state.dir})
    else:
        print(f"The demo at {state.url} has ended, and {folder} is gone.")
    return DONE


def _tell(state: stage.State, folder: Path) -> None:
    """Say how the demo is reached, and how it ends."""
    _say(
        f"\nThe federation goes on.\n"
        f"  hub        {state.url}\n"
        f"  account    {state.username}, password {state.password}\n"
        f"  token      {state.token}\n"
        f"  nodes      {', '.join(state.nodes)}\n"
        f"  logs       {folder / 'logs'}\n"
        f"In Python:   atoll.connect({state.url!r}, token=…)\n"
        f"To end it:   atoll demo --stop{_named(folder)}"
    )


def _named(folder: Path) -> str:
    return "" if folder == _DEFAULT.absolute() else f" --dir {folder}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _refused(error: AtollError, status: int, *, as_json: bool) -> int:
    for line in str(error).splitlines():
        _say(f"error: {line}")
    if as_json:
        print_document({"error": {"type": type(error).__name__, "message": str(error)}})
    return status
