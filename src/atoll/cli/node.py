"""``atoll node``: the data station."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atoll.cli.exits import DONE, FAILED
from atoll.cli.refusal import tell_failure
from atoll.model.errors import AtollError, Unusable

node_app = typer.Typer(
    name="node",
    help="The data station: offers data to algorithms, under its own rules.",
    rich_markup_mode=None,
)

_Config = Annotated[
    Path, typer.Option("--config", "-c", envvar="ATOLL_NODE_CONFIG", help="The node's settings.")
]
_Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output, and nothing else.")
]
_CONFIG = Path("node.yaml")


@node_app.command("start")
def start(
    config: _Config = _CONFIG,
    register: Annotated[
        str | None, typer.Option(metavar="CODE", help="The first time: the code from the hub's people.")
    ] = None,
    hub: Annotated[str | None, typer.Option(help="The first time: the hub's address.")] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="The first time: certificates that vouch for the hub's.")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option(help="The first time: the proxy on the way to the hub.")
    ] = None,
) -> int:
    """Start the node, and serve until told to end."""
    # Imported here, as in all that follows: --help answers at once.
    from atoll.cli import stationed

    try:
        if register is not None:
            stationed.join(register, hub, config, ca_file=ca_file, proxy=proxy)
        elif hub is not None or ca_file is not None or proxy is not None:
            return tell_failure(
                Unusable("--hub, --ca-file and --proxy go with --register: else node.yaml says them")
            )
        stationed.serve(config)
    except AtollError as error:
        return tell_failure(error)
    return DONE


@node_app.command("doctor")
def doctor(config: _Config = _CONFIG, as_json: _Json = False) -> int:
    """Look at the data station, and say what is wrong and what to do."""
    from atoll.cli import stationed  # Late, as above.

    try:
        return FAILED if stationed.examine(config, as_json=as_json) else DONE
    except AtollError as error:
        return tell_failure(error, as_json=as_json)


@node_app.command("status")
def status(config: _Config = _CONFIG, as_json: _Json = False) -> int:
    """Say whether the node is at work, and what it keeps."""
    from atoll.cli import stationed  # Late, as above.

    try:
        stationed.show_status(config, as_json=as_json)
    except AtollError as error:
        return tell_failure(error, as_json=as_json)
    return DONE


@node_app.command("map")
def map_data(
    computation: Annotated[str, typer.Argument(help="What the computation calls itself.")],
    config: _Config = _CONFIG,
    given: Annotated[
        list[str] | None, typer.Option("--input", metavar="NAME=JSON", help="A value for one of its inputs.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="The folder whose files it finds in its base directory.")
    ] = None,
    digest: Annotated[str | None, typer.Option(help="Only for the code with this digest.")] = None,
) -> int:
    """Map this site's data to a COINSTAC computation."""
    from atoll.cli import stationed  # Late, as above.

    try:
        stationed.map_data(config, computation, given or [], folder=folder, digest=digest)
    except AtollError as error:
        return tell_failure(error)
    return DONE


@node_app.command("maps")
def maps(config: _Config = _CONFIG, as_json: _Json = False) -> int:
    """List what this site has mapped to computations."""
    from atoll.cli import stationed  # Late, as above.

    try:
        stationed.show_maps(config, as_json=as_json)
    except AtollError as error:
        return tell_failure(error, as_json=as_json)
    return DONE
