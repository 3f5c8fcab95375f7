"""``atoll demo``: start a federation on this machine, show it, and end it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atoll.cli.demo.defaults import DEFAULT


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
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where everything lies.")] = DEFAULT,
    end: Annotated[bool, typer.Option("--stop", help="End a demo, and all that it has started.")] = False,
) -> int:
    """Start a hub and nodes with penguins of three islands on this machine, and run one example of each dialect."""
    # Imported here: --help answers at once.
    from atoll.cli.demo import acting

    if end:
        return acting.end(folder.absolute(), as_json=as_json)
    return acting.act(folder.absolute(), sites, port, as_json=as_json, detach=detach)
