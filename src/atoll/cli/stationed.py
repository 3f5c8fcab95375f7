"""Carrying out ``atoll node``: what each of its verbs does."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atoll.cli.escape import escape
from atoll.cli.refusal import print_document
from atoll.model.errors import SpecInvalid, Unusable
from atoll.node.data_maps import DataMap, changed, read_maps, write_maps
from atoll.node.doctor.findings import Finding, Level
from atoll.node.secrets import read_secret
from atoll.node.settings import NodeSettings, read_settings
from atoll.node.workspace import Workspace

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def join(code: str, hub: str | None, config: Path, *, ca_file: Path | None, proxy: str | None) -> None:
    """Register a node, and write what it needs for its next start.

    Raises:
        AtollError: it can't be registered.
    """
    # Imported here: a node that has joined has no more use for it.
    from atoll.node.joining import Joining, join

    key_file = config.parent / "node.key"
    if config.exists():
        settings = read_settings(config)
        hub, key_file = hub or settings.hub, settings.key_file
        ca_file, proxy = ca_file or settings.ca_file, proxy or settings.proxy
    if hub is None:
        raise Unusable("--register needs --hub URL too: the hub's address, such as https://hub.example.org")
    joining = Joining(code=code, hub=hub, config=config, key_file=key_file, ca_file=ca_file, proxy=proxy)
    name = asyncio.run(join(joining))
    _say(f"registered as {name}; the key is in {key_file}, the settings are in {config}")


def serve(config: Path) -> None:
    """Serve until a signal says that the node is to end; a second one ends it at once.

    Raises:
        AtollError: the node can't start, or the hub doesn't take it any more.
    """
    settings = read_settings(config)
    read_secret(settings.key_file)
    printing = logging.StreamHandler(sys.stderr)
    printing.setFormatter(Lines("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=_LEVELS[settings.log.level], handlers=[printing])
    asyncio.run(_serve(settings))


class Lines(logging.Formatter):
    """Writes each remark on a line of its own: what others call themselves must not look like a remark."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # as the library calls it
        """The line, with harmful characters as visible escapes."""
        return escape(super().formatMessage(record))


async def _serve(settings: NodeSettings) -> None:
    # Imported here: what only looks at a node doesn't load what makes one work.
    from atoll.node.joining import renew_key
    from atoll.node.station import Station
    from atoll.transports.connection import Connection
    from atoll.transports.http import Facts, HttpLink

    connection = Connection(
        settings.hub,
        lambda: read_secret(settings.key_file),
        ca_file=settings.ca_file,
        proxy=settings.proxy,
    )

    async def renew() -> None:
        await renew_key(connection, settings.key_file)

    facts = Facts(
        databases=tuple(settings.offer.databases),
        dialects=("coinstac", "functions", "vantage6"),
        runtimes=(settings.runtime,),
        holds_data=settings.holds_data,
    )
    stop = asyncio.Event()
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, end)
    station = Station(settings, HttpLink(connection, facts), renew)
    try:
        await station.serve(stop, lambda name: _say(f"{name} is at work for {settings.hub}"))
    except asyncio.CancelledError:
        if not stop.is_set():
            raise


def examine(config: Path, *, as_json: bool) -> bool:
    """Look at a data station, and say what is found; whether there is a fault.

    Raises:
        SpecInvalid: its settings can't be read.
    """
    # Imported here: of use to this verb alone.
    from atoll.node.doctor.doctor import examine as look

    settings = read_settings(config)

    async def all_findings() -> list[Finding]:
        found = []
        async for finding in look(settings):
            found.append(finding)
            if not as_json:
                _show(finding)
        return found

    found = asyncio.run(all_findings())
    if as_json:
        print_document({"findings": [finding.document() for finding in found]})
    return any(finding.level is Level.FAULT for finding in found)


def _show(finding: Finding) -> None:
    print(escape(f"{finding.level.value:8} {finding.subject}: {finding.words}"))
    if finding.remedy:
        print(escape(f"         -> {finding.remedy}"))


def show_status(config: Path, *, as_json: bool) -> None:
    """Say whether a node is at work, and what it keeps.

    Raises:
        SpecInvalid: its settings can't be read.
    """
    settings = read_settings(config)
    workspace = Workspace(settings.workspace)
    document: dict[str, Any] = {
        "name": settings.name,
        "hub": settings.hub,
        "at_work": workspace.is_taken(),
        "runs": [str(run_id) for run_id in workspace.kept_runs()],
        "algorithms": workspace.kept_algorithms(),
        "databases": list(settings.offer.databases),
    }
    if as_json:
        print_document(document)
        return
    print(escape(f"{settings.name or config} for {settings.hub}"))
    print("at work" if document["at_work"] else "not started")
    for what in ("runs", "algorithms", "databases"):
        print(escape(f"{what}: {', '.join(document[what]) or 'none'}"))


def map_data(
    config: Path, computation: str, given: Sequence[str], *, folder: Path | None, digest: str | None
) -> None:
    """Keep what a site gives to a computation.

    Raises:
        SpecInvalid: a value is none, or the folder isn't there.
    """
    settings = read_settings(config)
    inputs: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise SpecInvalid(f"--input {text}: expected NAME=JSON, such as lambda=0.5")
        try:
            inputs[name] = json.loads(value)
        except ValueError:
            inputs[name] = value
    if folder is not None and not folder.is_dir():
        raise SpecInvalid(f"--folder {folder} is not a folder")
    if not inputs and folder is None:
        raise SpecInvalid("there is nothing to map: give --input NAME=JSON, or --folder DIR, or both")
    new = DataMap(
        computation=computation,
        digest=digest,
        inputs=inputs,
        folder=None if folder is None else folder.absolute(),
    )
    write_maps(settings.data_maps, changed(read_maps(settings.data_maps), new))
    _say(f"mapped to {computation}, in {settings.data_maps}")


def show_maps(config: Path, *, as_json: bool) -> None:
    """List what a site has mapped.

    Raises:
        SpecInvalid: the settings or the maps can't be read.
    """
    found = read_maps(read_settings(config).data_maps)
    if as_json:
        print_document({"maps": [_map_document(each) for each in found]})
        return
    for each in found:
        inputs = ", ".join(f"{name}={json.dumps(value)}" for name, value in each.inputs.items())
        only = f" ({each.digest})" if each.digest else ""
        place = f" files of {each.folder}" if each.folder else ""
        print(escape(f"{each.computation}{only}: {inputs}{place}"))


def _map_document(found: DataMap) -> dict[str, Any]:
    return {
        "computation": found.computation,
        "digest": found.digest,
        "inputs": dict(found.inputs),
        "folder": None if found.folder is None else str(found.folder),
    }


def _say(text: str) -> None:
    print(escape(text), file=sys.stderr, flush=True)
