"""``atoll hub``: the server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from atoll.cli.exits import DONE, FAILED
from atoll.cli.refusal import tell_failure
from atoll.model.errors import AtollError, Unusable

hub_app = typer.Typer(
    name="hub",
    help="The server: keeps people, nodes and runs, and passes messages on.",
    rich_markup_mode=None,
)

_Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="ATOLL_HUB_CONFIG", help="The hub's settings, a hub.yaml."),
]
_Database = Annotated[str | None, typer.Option(metavar="URL", help="Where everything but files is kept.")]
_Blobs = Annotated[str | None, typer.Option(metavar="PLACE", help="Where files are kept.")]
_Folder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where what has no place of its own is kept.")
]
_Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output, and nothing else.")
]


@hub_app.command("start")
def start(
    config: _Config = None,
    host: Annotated[str | None, typer.Option(help="Where it listens.")] = None,
    port: Annotated[int | None, typer.Option(help="Where it listens; 0 for a port that is free.")] = None,
    url: Annotated[str | None, typer.Option(help="What people and nodes reach it by.")] = None,
    folder: _Folder = None,
    database: _Database = None,
    blobs: _Blobs = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Speak HTTPS with this.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate's key.")] = None,
    behind_proxy: Annotated[
        bool | None, typer.Option("--behind-proxy", help="A proxy stands before it and speaks HTTPS.")
    ] = None,
) -> int:
    """Start the hub, and serve until told to end. The first time it shows the set-up code."""
    flags = {
        "host": host,
        "port": port,
        "url": url,
        "folder": folder,
        "database": database,
        "blobs": blobs,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "behind_proxy": behind_proxy,
    }
    return _do("start", config, flags)


@hub_app.command("check")
def check(
    config: _Config = None,
    folder: _Folder = None,
    database: _Database = None,
    blobs: _Blobs = None,
    as_json: _Json = False,
) -> int:
    """Look at the settings, the database and the files, and change nothing."""
    flags = {"folder": folder, "database": database, "blobs": blobs}
    return _do("check", config, flags, as_json=as_json)


@hub_app.command("reset-password")
def reset_password(
    username: Annotated[str, typer.Argument(help="Whose password is replaced.")],
    config: _Config = None,
    folder: _Folder = None,
    database: _Database = None,
) -> int:
    """Give somebody a new password, read from standard input, and end all of his logins and tokens."""
    flags = {"folder": folder, "database": database}
    return _do("reset_password", config, flags, username=username)


@hub_app.command("setup-code")
def setup_code(config: _Config = None, folder: _Folder = None, database: _Database = None) -> int:
    """Make another set-up code, where nobody is known yet and the first one was lost."""
    return _do("setup_code", config, {"folder": folder, "database": database})


def _do(verb: str, config: Path | None, flags: dict[str, Any], **more: Any) -> int:
    try:
        # Imported here: --help answers at once, and who has no hub needs no server's libraries.
        from atoll.cli import hosting
        from atoll.hub.settings import read_settings
    except ModuleNotFoundError as error:
        lacking = Unusable(f"a hub needs {error.name}, which is not installed: run pip install 'atoll[hub]'")
        return tell_failure(lacking, as_json=more.get("as_json", False))
    try:
        settings = read_settings(config, os.environ, flags)
        done: bool = getattr(hosting, verb)(settings, **more)
    except AtollError as error:
        return tell_failure(error, as_json=more.get("as_json", False))
    return DONE if done else FAILED
