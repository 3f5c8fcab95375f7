"""A web application that does no more than it must: the floor of a read of ten rows.

It compares a token, reads ten rows of SQLite by an index, and answers with them as JSON.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_ROWS = 10
_SCHEMA = """
CREATE TABLE runs (id TEXT PRIMARY KEY, name TEXT, status TEXT, collaboration TEXT, created_at REAL, form TEXT);
CREATE INDEX newest ON runs (created_at DESC, id DESC);
"""
_READ = "SELECT id, name, status, collaboration, created_at, form FROM runs ORDER BY created_at DESC, id DESC LIMIT ?"


def fill(path: Path) -> None:
    """Write a database with rows that are as long as a run's."""
    with sqlite3.connect(path) as database:
        database.executescript("PRAGMA journal_mode=WAL;" + _SCHEMA)
        rows = [
            (f"run_{number:026}", f"run {number}", "done", "col_0123456789abcdef", 1.7e9 + number, "x" * 600)
            for number in range(_ROWS)
        ]
        database.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", rows)


def application() -> Starlette:
    """The application, for `uvicorn --factory`."""
    database = sqlite3.connect(os.environ["BENCHMARK_DATABASE"])
    known = hashlib.sha256(os.environ["BENCHMARK_TOKEN"].encode()).digest()
    encode = msgspec.json.Encoder().encode

    async def read(request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(hashlib.sha256(token.encode()).digest(), known):
            return Response(status_code=401)
        limit = int(request.query_params.get("limit", "10"))
        names = ("id", "name", "status", "collaboration", "created_at", "form")
        rows = [dict(zip(names, row, strict=True)) for row in database.execute(_READ, (limit,))]
        return Response(encode({"items": rows, "next": None}), media_type="application/json")

    return Starlette(routes=[Route("/runs", read)])
