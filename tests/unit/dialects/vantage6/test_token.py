"""A token says to the client who it is, and to its node only that it is the one."""

from __future__ import annotations

import jwt
import pytest
from tests.federation import seats
from tests.unit.dialects.vantage6.world import SECRET, ticket_of

from atoll.dialects.vantage6 import token

DATABASES = [{"label": "default", "query": "SELECT 1"}]


def test_the_claims_of_generation_4() -> None:
    issued = token.issue(ticket_of(seats(3)[1]), generation=4, secret=SECRET, databases=DATABASES)

    assert {
        "client_type": "container",
        "node_id": 2,
        "organization_id": 2,
        "collaboration_id": 1,
        "study_id": None,
        "store_id": None,
        "task_id": 3,
        "image": "v6-average",
        "databases": DATABASES,
    } == jwt.decode(issued, options={"verify_signature": False})["sub"]


def test_the_claims_of_generation_5() -> None:
    issued = token.issue(ticket_of(), generation=5, secret=SECRET, databases=[[]])

    claims = jwt.decode(issued, options={"verify_signature": False})["sub"]
    assert ("container", 1, [[]]) == (
        claims["vantage6_client_type"],
        claims["session_id"],
        claims["databases"],
    )
    assert "client_type" not in claims


def test_it_is_signed_with_the_calls_secret_and_always_the_same() -> None:
    first, second = (
        token.issue(ticket_of(), generation=4, secret=SECRET, databases=DATABASES) for _ in range(2)
    )

    assert first == second
    assert jwt.decode(first, SECRET, algorithms=["HS256"], options={"verify_sub": False})
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(first, SECRET[::-1], algorithms=["HS256"], options={"verify_sub": False})


@pytest.mark.parametrize("given", ["", "abc", "abcde", "abcd ", "ÄÖÜ", "\ud800"])
def test_nothing_else_is_taken_for_it(given: str) -> None:
    assert token.is_shown("abcd", "abcd")
    assert not token.is_shown(given, "abcd")
