"""A real PostgreSQL for tests: a server of this session's own, on a socket in a temporary folder.

What needs it is marked ``needs("postgresql")``. The server keeps nothing on a disk for sure, as nobody
needs it after the tests: so a commit takes as long as it does in memory.

PostgreSQL refuses to run as root. There it runs as the user that its package has made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

#: Debian keeps the server's programs out of the path.
_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
_USER = "postgres"
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A running server."""

    #: Where its socket lies.
    folder: Path
    _made: set[str] = field(default_factory=set)

    def url(self, database: str) -> str:
        """What Atoll is told to use one of its databases."""
        return f"postgresql://{_USER}@/{database}?host={self.folder}"

    def ask(self, database: str, words: str | sql.Composed) -> list[tuple[object, ...]]:
        """Ask one of its databases something, outside of any transaction."""
        with psycopg.connect(
            dbname=database, user=_USER, host=str(self.folder), autocommit=True
        ) as connection:
            answer = connection.execute(words)
            return answer.fetchall() if answer.description else []

    def made(self, database: str) -> str:
        """What Atoll is told to use a database, which is made when it is first asked for."""
        if database not in self._made:
            self.make(database)
            self._made.add(database)
        return self.url(database)

    def make(self, database: str) -> str:
        """Make an empty database; what Atoll is told to use it."""
        self.drop(database)
        self.ask(
            "postgres", sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(database))
        )
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, whoever uses it."""
        self.ask(
            "postgres", sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
        )


def _program(name: str) -> str | None:
    return shutil.which(name) or next((str(each / name) for each in _FOLDERS if (each / name).exists()), None)


def _as_server(*words: str) -> list[str]:
    """A command as the user that the server runs as."""
    if os.geteuid() != 0:
        return list(words)
    return ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *words]


@cache
def why_missing() -> str | None:
    """A sentence about why there can be no server here, or None where there can."""
    missing = [name for name in ("initdb", "pg_ctl", "postgres") if _program(name) is None]
    if missing:
        return f"PostgreSQL's {', '.join(missing)} not found: install the package postgresql"
    tried = subprocess.run(_as_server("true"), capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"PostgreSQL can't run as root, nor as {_USER}: {tried.stderr.strip()}"
    return None


@contextmanager
def serving() -> Iterator[Postgres]:
    """A server, for as long as it is needed."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    assert initdb is not None
    assert pg_ctl is not None
    # A socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="atoll-pg-", dir="/tmp") as name:
        folder, data = Path(name), Path(name, "data")
        if os.geteuid() == 0:
            shutil.chown(folder, _USER, _USER)
        _do(initdb, "-D", str(data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        settings = " ".join(f"-c {key}={value!r}" for key, value in _SETTINGS.items())
        options = f"{settings} -k {folder}"
        log = str(folder / "log")
        _do(pg_ctl, "-D", str(data), "-l", log, "-w", "-t", "60", "-o", options, "start")
        try:
            yield Postgres(folder=folder)
        finally:
            _do(pg_ctl, "-D", str(data), "-m", "immediate", "-w", "stop")


def _do(*words: str) -> None:
    # Away from a folder that the server's user may not look into.
    done = subprocess.run(
        _as_server(*words), cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"{words[0]} failed: {done.stderr.strip()}", pytrace=False)
