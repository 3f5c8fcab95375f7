"""``atoll login`` and ``atoll logout``: a person's login at a hub, for the commands that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atoll.model.errors import AtollError

Url = Annotated[str, typer.Argument(help="The hub's address, such as https://hub.example.org.")]
Username = Annotated[str | None, typer.Option("--username", help="Asked for, where it isn't given.")]
TokenStdin = Annotated[
    bool, typer.Option("--token-stdin", help="Read a personal token from standard input, and no password.")
]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", help="Certificates that are trusted beside nobody else's.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def login(
    url: Url,
    username: Username = None,
    *,
    token_stdin: TokenStdin = False,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> int:
    """Log in at a hub. The login is kept in ~/.config/atoll/login.json, readable by its owner alone.

    ATOLL_URL and ATOLL_TOKEN in the environment go before it.
    """
    # Imported here and below: what speaks to a hub takes longer to load than all of --help.
    from atoll.cli.login_kept import log_in
    from atoll.cli.run_acting import refused

    try:
        return log_in(url, username, token_stdin=token_stdin, ca_file=ca_file, as_json=as_json)
    except AtollError as error:
        return refused(error, as_json=as_json)


def logout(*, as_json: Json = False) -> int:
    """End the login, at the hub too, and forget it."""
    # Imported here, as above.
    from atoll.cli.login_kept import log_out
    from atoll.cli.run_acting import refused

    try:
        return log_out(as_json=as_json)
    except AtollError as error:
        return refused(error, as_json=as_json)
