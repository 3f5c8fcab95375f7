"""What a running algorithm shows its node, and reads who it is from.

The client reads the token's claims without checking its signature. The node doesn't read them at
all: it knows the one token that this call was given, and takes no other.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

from atoll.dialects.vantage6 import identity
from atoll.model.work import Ticket


def issue(ticket: Ticket, *, generation: int, secret: str, databases: Sequence[Any]) -> str:
    """The token of one call. The same call always gets the same.

    Args:
        ticket: the call.
        generation: whose claims it holds.
        secret: known to this call's node alone; at least 32 bytes.
        databases: what the call was asked for: what its own tasks get, too.
    """
    # Imported here: with the cryptography that it knows it takes a tenth of a second to load.
    import jwt

    here = identity.organization_of(ticket, ticket.job.seat)
    claims = {
        "client_type" if generation == 4 else "vantage6_client_type": "container",
        "node_id": here,
        "organization_id": here,
        "collaboration_id": identity.COLLABORATION,
        "study_id": None,
        "store_id": None,
        "task_id": identity.task_of(ticket.job.round_number),
        "image": ticket.algorithm.name,
        "databases": list(databases),
    }
    if generation == 5:
        claims["session_id"] = identity.SESSION
    return jwt.encode({"sub": claims}, secret, algorithm="HS256")


def is_shown(given: str, token: str) -> bool:
    """Whether what was shown is the token, in a time that says nothing of where it differs."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode())
