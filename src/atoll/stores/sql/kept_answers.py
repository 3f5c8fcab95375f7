"""Answers to requests that made something, for whoever sends the same again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select

from atoll.stores.sql.database import Connection
from atoll.stores.sql.run_tables import idempotency_keys

_GET = select(
    idempotency_keys.c.request_digest,
    idempotency_keys.c.status,
    idempotency_keys.c.answer,
    idempotency_keys.c.created_at,
).where(
    idempotency_keys.c.principal_id == bindparam("principal"),
    idempotency_keys.c.key == bindparam("key"),
)
_ADD = insert(idempotency_keys)
_PRUNE = delete(idempotency_keys).where(idempotency_keys.c.created_at < bindparam("before"))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """What was answered to a request with a key."""

    #: Of the request.
    digest: str
    status: int
    #: None: it held a secret, and isn't kept.
    body: bytes | None
    created_at: float


async def get_answer(connection: Connection, principal: str, key: str) -> KeptAnswer | None:
    """What was answered to somebody's request with this key."""
    row = (await connection.execute(_GET, {"principal": principal, "key": key})).first
    if row is None:
        return None
    return KeptAnswer(digest=row[0], status=row[1], body=row[2], created_at=row[3])


async def keep_answer(
    connection: Connection, principal: str, key: str, kept: KeptAnswer, *, before: float
) -> None:
    """Keep an answer, and forget those from before a time."""
    await connection.execute(_PRUNE, {"before": before})
    row = {
        "principal_id": principal,
        "key": key,
        "request_digest": kept.digest,
        "status": kept.status,
        "answer": kept.body,
        "created_at": kept.created_at,
    }
    await connection.execute(_ADD, row)
