"""Carrying out ``atoll hub``: what each of its verbs does."""

from __future__ import annotations

import asyncio
import getpass
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop

from atoll.cli.escape import escape
from atoll.cli.refusal import print_document
from atoll.hub.parts import Rooms
from atoll.hub.people.invitations import InvitationService
from atoll.hub.people.logins import LoginService
from atoll.hub.serving import looked_into, parts_of, serve
from atoll.hub.settings import HubSettings
from atoll.model.errors import Unusable
from atoll.stores.sql.database import Database
from atoll.stores.sql.migrating import migrate


def start(settings: HubSettings) -> bool:
    """Serve until a signal says that the hub is to end.

    Raises:
        AtollError: the hub can't start.
    """
    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    # No line names them, and each request has a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    if not settings.access_log:
        logging.getLogger("atoll.hub.access").setLevel(logging.WARNING)
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    uvloop.run(serve(settings, _say))
    _say("The hub has ended.")
    return True


def check(settings: HubSettings, *, as_json: bool) -> bool:
    """Say whether the database and the files can be used; whether all is well."""
    findings = asyncio.run(looked_into(settings))
    if as_json:
        print_document(
            {"findings": [{"subject": one.subject, "ok": one.ok, "text": one.text} for one in findings]}
        )
    else:
        for one in findings:
            _say(f"{'ok   ' if one.ok else 'fault'} {one.subject}: {escape(one.text)}")
    return all(one.ok for one in findings)


def reset_password(settings: HubSettings, *, username: str) -> bool:
    """Give somebody the password that stands on standard input.

    Raises:
        AtollError: nobody has this name, or the password is not taken.
    """
    password = (
        getpass.getpass("New password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    )
    if not password:
        raise Unusable("no password stands on standard input: type it there, or write it there with a pipe")
    asyncio.run(_replace_password(settings, username, password))
    _say(f"{escape(username)} has a new password; the logins and tokens that there were have ended.")
    return True


def setup_code(settings: HubSettings) -> bool:
    """Make another set-up code.

    Raises:
        Unusable: somebody is known already.
    """
    code = asyncio.run(_new_code(settings))
    if code is None:
        raise Unusable("the hub is set up already: 'atoll hub reset-password' helps who can't log in")
    _say(f"Set-up code: {code}")
    return True


async def _replace_password(settings: HubSettings, username: str, password: str) -> None:
    async with _rooms(settings) as rooms:
        await rooms.of(LoginService).replace_password(username, password)


async def _new_code(settings: HubSettings) -> str | None:
    async with _rooms(settings) as rooms:
        return await rooms.of(InvitationService).setup_code(anew=True)


@asynccontextmanager
async def _rooms(settings: HubSettings) -> AsyncIterator[Rooms]:
    """The services of a hub that isn't served from here."""
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings.database_url)
    try:
        await migrate(database)
        yield Rooms(parts_of(settings, database))
    finally:
        await database.close()


def _say(line: str) -> None:
    print(line, flush=True)
