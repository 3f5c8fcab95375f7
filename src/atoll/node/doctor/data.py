"""Looks at a site's databases: whether they can be reached. Nothing of what is in them is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec

from atoll.node.doctor.findings import Finding, doubt, fault, fine
from atoll.node.network.homes import server_of
from atoll.node.offer import Source
from atoll.node.settings import NodeSettings

#: Seconds that a server may take to answer.
_SECONDS = 15.0
_NO_SERVER = (
    "an algorithm in a sandbox reaches only what is named. Write the address with a host and a port, or name the "
    "server under 'network: services' in node.yaml"
)


async def databases(settings: NodeSettings) -> AsyncIterator[Finding]:
    """Whether each database can be reached from here."""
    if settings.holds_data and not settings.offer.databases:
        yield doubt("databases", "none is offered", "name some under 'databases' in node.yaml")
    for label, source in settings.offer.databases.items():
        subject = f"database {label}"
        found = await _file(subject, source) if source.path is not None else await _server(subject, source)
        yield found
        nowhere = source.path is None and server_of(source.url) is None
        if nowhere and settings.isolated and not source.url.startswith("sqlite:"):
            yield doubt(subject, "its address names no host and port that could be found", _NO_SERVER)


async def services(settings: NodeSettings) -> AsyncIterator[Finding]:
    """Whether each service that algorithms may reach is there."""
    known = {service.alias: service for each in settings.network.lists for service in each.services}
    for alias, service in known.items():
        subject, where = f"service {alias}", f"{service.host}, port {service.port}"
        try:
            async with asyncio.timeout(_SECONDS):
                _, writer = await asyncio.open_connection(service.host, service.port)
        except (OSError, TimeoutError) as error:
            said = getattr(error, "strerror", None) or f"no answer within {_SECONDS:g} seconds"
            yield doubt(subject, f"{where}: {said}", "check its host and port, and what stands in between")
        else:
            writer.transport.abort()
            yield fine(subject, where)


async def _file(subject: str, source: Source) -> Finding:
    assert source.path is not None
    path = source.path
    try:
        if path.is_dir():
            count = len(os.listdir(path))
            return fine(subject, f"a folder with {count} entries")
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        return fault(subject, f"{path} can't be read ({error.strerror})", f"let this user read {path}")
    if empty:
        return doubt(subject, f"{path} is empty", "put the data there, or take it out of node.yaml")
    if source.type == "duckdb" and find_spec("duckdb") is not None:
        return await _asked(subject, source, _open_duckdb)
    return fine(subject, f"{source.type}, {path}")


async def _server(subject: str, source: Source) -> Finding:
    if source.type != "sql":
        return fine(subject, f"{source.type}, by its address; it was not asked")
    if find_spec("sqlalchemy") is None:
        return doubt(subject, "it can't be tried without SQLAlchemy", "pip install 'atoll[node]'")
    return await _asked(subject, source, _open_sql)


async def _asked(subject: str, source: Source, open_: Callable[[Source], None]) -> Finding:
    try:
        async with asyncio.timeout(_SECONDS):
            await asyncio.to_thread(open_, source)
    except TimeoutError:
        return fault(
            subject,
            f"no answer within {_SECONDS:g} seconds",
            "check its address, and what stands between here and there",
        )
    except Exception as error:  # Each driver raises its own, and its words may hold a password.
        return fault(
            subject,
            f"it can't be opened ({type(getattr(error, 'orig', None) or error).__name__})",
            "check its address, its driver, the user and the password",
        )
    return fine(subject, f"{source.type}, and it answers")


def _open_sql(source: Source) -> None:
    # Imported here: of use to the doctor alone, and large.
    from sqlalchemy import create_engine

    engine = create_engine(source.url)
    try:
        with engine.connect():
            pass
    finally:
        engine.dispose()


def _open_duckdb(source: Source) -> None:
    # Imported here, as above.
    import duckdb

    duckdb.connect(str(source.path), read_only=True).close()
