"""The ``atoll`` command: finds the verb, and turns every error into a sentence and a status."""

from __future__ import annotations

import io
import re
import sys
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from atoll import __version__
from atoll.cli import check, login, simulate
from atoll.cli.demo import command as demo
from atoll.cli.exits import INTERRUPTED, UNUSABLE
from atoll.cli.hub import hub_app
from atoll.cli.image import image_app
from atoll.cli.node import node_app
from atoll.cli.refusal import refuse
from atoll.cli.run import collaboration_app, nodes, run_app


class _Verbs(TyperGroup):
    """The verbs. One that is interrupted says so: Typer would end it without a word."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # as Typer has it, which names a base of it
        """Carry out a verb."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None


app = typer.Typer(
    name="atoll",
    cls=_Verbs,
    add_completion=False,
    # Plain help: drawn boxes cut off what they have no room for, and take their time.
    rich_markup_mode=None,
    help="Analyse data where it lives: a small agreed computation travels, only the aggregate leaves.",
)
app.command("simulate", short_help="Run an algorithm on simulated sites.")(simulate.command)
app.command("check", short_help="Say what a site would object to.")(check.command)
app.command("demo", short_help="Start a federation on this machine, and show it.")(demo.command)
app.add_typer(hub_app, short_help="The server.")
app.add_typer(node_app, short_help="The data station.")
app.add_typer(image_app)
app.command("login", short_help="Log in at a hub.")(login.login)
app.command("logout", short_help="End the login.")(login.logout)
app.add_typer(run_app, short_help="Submit runs, and look at what they leave.")
app.add_typer(collaboration_app)
app.command("nodes", short_help="List nodes.")(nodes)
_VERBS = (
    *("simulate", "check", "demo", "hub", "node", "image", "login", "logout", "run", "collaboration"),
    "nodes",
)
#: A word that no option takes, and that is written as the value of an argument.
_VALUE_TOO_MANY = re.compile(r"unexpected extra argument\S* \((\w+=[^\s)]+)")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"atoll {__version__}")
        raise typer.Exit


@app.callback()
def _atoll(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Nothing to do before the verb; --version is eager."""


def run() -> NoReturn:
    """Run the command and leave with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no "…" shows a question mark, rather than ending the run.
            stream.reconfigure(errors="replace")
    try:
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except typer.TyperException as error:
        named = [word for word in sys.argv[1:2] if word in _VERBS]
        hint = f"Try '{' '.join(['atoll', *named])} --help'."
        message = error.format_message()
        values = _VALUE_TOO_MANY.search(message)
        if values and named == ["simulate"]:
            hint = f"An argument of a function is given as --arg {values[1]}. {hint}"
        refuse("Usage", f"{message} {hint}", as_json="--json" in sys.argv)
        status = UNUSABLE
    except (KeyboardInterrupt, typer.Abort):
        refuse("Interrupted", "the command was interrupted", as_json="--json" in sys.argv)
        status = INTERRUPTED
    sys.exit(status or 0)
