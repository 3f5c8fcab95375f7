"""``atoll run``: a researcher's verbs; and what there is to run at: ``atoll collaboration``, ``atoll nodes``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

run_app = typer.Typer(
    name="run", help="Submit runs to a hub, and look at what they leave.", rich_markup_mode=None
)
collaboration_app = typer.Typer(
    name="collaboration", help="The collaborations of a hub.", rich_markup_mode=None
)

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
_Url = Annotated[
    str | None, typer.Option("--url", envvar="ATOLL_URL", help="The hub. Default: that of the login.")
]
_Token = Annotated[str | None, typer.Option("--token", envvar="ATOLL_TOKEN", hidden=True)]
_Run = Annotated[str, typer.Argument(help="The run's id.")]


def _do(name: str, url: str | None, token: str | None, *, as_json: bool, **asked: Any) -> int:
    """Carry a verb out; every error is a sentence and a status."""
    # Imported here: what speaks to a hub takes longer to load than all of --help.
    from atoll.cli import run_acting

    verb: Callable[..., int] = getattr(run_acting, name)
    return run_acting.carry_out(verb, url, token, as_json=as_json, **asked)


@run_app.command("submit")
def submit(
    algorithm: Annotated[
        str | None,
        typer.Argument(
            help="A folder, a module, a compspec.json, an image (docker:NAME), a digest, or an algorithm's name."
        ),
    ] = None,
    *,
    collaboration: Annotated[str, typer.Option("--collaboration", help="Its name or id.")],
    function: Annotated[str | None, typer.Option("--function", help="The function that is called.")] = None,
    arg: Annotated[list[str] | None, typer.Option("--arg", metavar="KEY=VALUE", help="An argument.")] = None,
    args: Annotated[Path | None, typer.Option("--args", help="A JSON file with arguments.")] = None,
    database: Annotated[
        list[str] | None, typer.Option("--database", metavar="LABEL", help="Default: each site's first.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="central, all, or SITE,… Default: its decorator's.")
    ] = None,
    inputspec: Annotated[
        Path | None, typer.Option("--inputspec", "-i", help="COINSTAC: the owner's inputs.")
    ] = None,
    pipeline: Annotated[
        Path | None,
        typer.Option(
            "--pipeline",
            "-p",
            help="A list of compspecs, or of objects with algorithm, function, args, inputs.",
        ),
    ] = None,
    site: Annotated[list[str] | None, typer.Option("--site", help="A site. Default: all.")] = None,
    study: Annotated[str | None, typer.Option("--study", help="Only its sites.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="What the run is called.")] = None,
    aggregator: Annotated[
        str | None, typer.Option("--aggregator", help="The node of the aggregator.")
    ] = None,
    min_sites: Annotated[int | None, typer.Option("--min-sites", help="How many are enough.")] = None,
    on_failure: Annotated[str | None, typer.Option("--on-failure", help="fail, drop or ask.")] = None,
    on_refusal: Annotated[str | None, typer.Option("--on-refusal", help="fail, drop or ask.")] = None,
    deadline: Annotated[float | None, typer.Option("--deadline", help="Seconds until it ends.")] = None,
    package: Annotated[str | None, typer.Option("--package", help="The importable package.")] = None,
    entry: Annotated[str | None, typer.Option("--entry", help="COINSTAC protocol 2: its script.")] = None,
    extract: Annotated[str | None, typer.Option("--extract", help="vantage6 5: a function.")] = None,
    preprocess: Annotated[
        list[str] | None, typer.Option("--preprocess", help="vantage6 5: functions.")
    ] = None,
    dialect: Annotated[
        str,
        typer.Option("--dialect", help="auto, coinstac, vantage6 (or vantage6-4, vantage6-5), functions."),
    ] = "auto",
    image: Annotated[
        str | None,
        typer.Option("--image", help="What a folder's code runs in: NAME, or compspec for what that names."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, and show what it leaves.")] = False,
    as_json: _Json = False,
    url: _Url = None,
    token: _Token = None,
) -> int:
    """Submit a run. A local path is bundled, and brought to the hub once."""
    asked = {key: value for key, value in locals().items() if key not in ("url", "token", "as_json")}
    return _do("submit", url, token, as_json=as_json, asked=asked)


@run_app.command("list")
def list_(
    collaboration: Annotated[str | None, typer.Option("--collaboration", help="Only of one.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="active, done or failed.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only those with this in their name.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="How many at most.")] = 20,
    *,
    as_json: _Json = False,
    url: _Url = None,
    token: _Token = None,
) -> int:
    """List runs, the newest first."""
    narrowed = {"collaboration": collaboration, "status": status, "name": name, "limit": limit}
    return _do("listed", url, token, as_json=as_json, narrowed=narrowed)


@run_app.command("show")
def show(run: _Run, *, as_json: _Json = False, url: _Url = None, token: _Token = None) -> int:
    """Show a run, and whom it waits for."""
    return _do("show", url, token, as_json=as_json, id_=run)


@run_app.command("watch")
def watch(run: _Run, *, as_json: _Json = False, url: _Url = None, token: _Token = None) -> int:
    """Watch a run until its end; its exit status is the run's."""
    return _do("watch", url, token, as_json=as_json, id_=run)


@run_app.command("result")
def result(
    run: _Run,
    files: Annotated[Path | None, typer.Option("--files", help="A folder for the files that came.")] = None,
    *,
    as_json: _Json = False,
    url: _Url = None,
    token: _Token = None,
) -> int:
    """Show what a run has left."""
    return _do("result", url, token, as_json=as_json, id_=run, folder=files)


@run_app.command("logs")
def logs(
    run: _Run,
    site: Annotated[str | None, typer.Option("--site", help="Only of one site.")] = None,
    *,
    as_json: _Json = False,
    url: _Url = None,
    token: _Token = None,
) -> int:
    """Show what sites have let out of their logs."""
    return _do("logs", url, token, as_json=as_json, id_=run, site=site)


@run_app.command("cancel")
def cancel(
    run: _Run,
    reason: Annotated[str, typer.Option("--reason", help="For people to read.")] = "",
    *,
    as_json: _Json = False,
    url: _Url = None,
    token: _Token = None,
) -> int:
    """End a run before its time."""
    return _do("cancel", url, token, as_json=as_json, id_=run, reason=reason)


@run_app.command("decide")
def decide(
    run: _Run,
    site: Annotated[str, typer.Argument(help="The site where a job broke, or is waited for.")],
    decision: Annotated[str, typer.Argument(help="retry, drop or fail.")],
    *,
    as_json: _Json = False,
    url: _Url = None,
    token: _Token = None,
) -> int:
    """Say what is to be done about a job that broke."""
    return _do("decide", url, token, as_json=as_json, id_=run, site=site, decision=decision)


@run_app.command("record")
def record(run: _Run, *, as_json: _Json = False, url: _Url = None, token: _Token = None) -> int:
    """Print how a run came about, as JSON."""
    return _do("record", url, token, as_json=as_json, id_=run)


@collaboration_app.command("list")
def collaborations(*, as_json: _Json = False, url: _Url = None, token: _Token = None) -> int:
    """List the collaborations that may be seen."""
    return _do("collaborations", url, token, as_json=as_json)


def nodes(
    collaboration: Annotated[str | None, typer.Option("--collaboration", help="Only of one.")] = None,
    *,
    as_json: _Json = False,
    url: _Url = None,
    token: _Token = None,
) -> int:
    """List nodes: what they offer, and whether they are there."""
    return _do("nodes", url, token, as_json=as_json, collaboration=collaboration)
