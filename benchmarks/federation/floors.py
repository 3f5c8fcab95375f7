"""What a federation costs at the least: a hop, a read, a commit, without Atoll."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.command import ROOT, CommandFailed
from benchmarks.federation import plain
from benchmarks.federation.ports import free_port, wait_for_port
from benchmarks.figures import Floor

_CHUNK_BYTES = 1024 * 1024


def loaded(port: int, path: str, token: str, *, seconds: float, connections: int = 16) -> dict[str, Any]:
    """Ask again and again from a process of its own; what it found.

    Raises:
        CommandFailed: an answer wasn't 200, or a connection was cut.
    """
    words = ["--port", port, "--path", path, "--connections", connections, "--seconds", seconds]
    command = [sys.executable, "-m", "benchmarks.federation.load", *map(str, words)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"BENCHMARK_TOKEN": token},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandFailed(f"asking for {path} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    if set(found["statuses"]) != {"200"} or found["lost"]:
        raise CommandFailed(f"asking for {path} was answered with {found['statuses']}: {found['said']}")
    return found


def reads(folder: Path, *, seconds: float) -> Floor:
    """Authenticated reads of ten rows from a bare application, per second."""
    database, token, port = folder / "floor.db", secrets.token_urlsafe(32), free_port()
    plain.fill(database)
    words = [
        "--factory",
        "benchmarks.federation.plain:application",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    environment = os.environ | {"BENCHMARK_DATABASE": str(database), "BENCHMARK_TOKEN": token}
    with _process([sys.executable, "-m", "uvicorn", *words, "--no-access-log"], environment):
        wait_for_port(port)
        found = loaded(port, "/runs?limit=10", token, seconds=seconds)
    return Floor(what="Starlette, a token, ten rows of SQLite", value=found["per_second"])


def commits(folder: Path, *, times: int = 200) -> Floor:
    """Insert a row and commit, with full durability, in seconds."""
    database = sqlite3.connect(folder / "commits.db", isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        database.execute(f"PRAGMA {pragma}").fetchall()
    database.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, text TEXT)")
    took = []
    for number in range(times):
        started = time.perf_counter()
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO kept VALUES (?, ?)", (number, "x" * 400))
        database.execute("COMMIT")
        took.append(time.perf_counter() - started)
    database.close()
    return Floor(what="insert and commit in SQLite, full durability", value=statistics.median(took))


def hop(folder: Path, source: Path, *, digested: bool) -> Floor:
    """Send a file to a process that keeps it, and fetch it from there into another file, in seconds.

    Args:
        folder: where there is room for two copies.
        source: the file.
        digested: whether both ends take its sha256 meanwhile.
    """
    kept, arrived = folder / "hop-kept", folder / "hop-arrived"
    with _process(
        [sys.executable, "-m", "benchmarks.federation.hop", str(kept)], dict(os.environ)
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        started = time.perf_counter()
        sent = _send(source, port, digested=digested)
        fetched = _fetch(arrived, port, digested=digested)
        seconds = time.perf_counter() - started
    assert (sent, arrived.stat().st_size) == (fetched, source.stat().st_size)
    kept.unlink()
    arrived.unlink()
    what = "the same file through a plain process" + (", sha256 at both ends" if digested else "")
    return Floor(what=what, value=seconds)


def _send(source: Path, port: int, *, digested: bool) -> str:
    digest = hashlib.sha256()

    def chunks() -> Iterator[bytes]:
        with source.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                if digested:
                    digest.update(chunk)
                yield chunk

    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("PUT", "/file", chunks(), {"Content-Length": str(source.stat().st_size)})
    assert connection.getresponse().status == 204
    connection.close()
    return digest.hexdigest()


def _fetch(target: Path, port: int, *, digested: bool) -> str:
    digest = hashlib.sha256()
    connection = http.client.HTTPConnection("127.0.0.1", port, blocksize=_CHUNK_BYTES)
    connection.request("GET", "/file")
    answer = connection.getresponse()
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with target.open("wb", buffering=0) as file:
        while count := answer.readinto(buffer):
            file.write(buffer[:count])
            if digested:
                digest.update(buffer[:count])
    connection.close()
    return digest.hexdigest()


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()
