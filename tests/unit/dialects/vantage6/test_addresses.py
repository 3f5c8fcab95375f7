"""Which addresses an algorithm is told when it asks for those of its children, parent, or siblings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.federation import seats
from tests.unit.dialects.vantage6.world import ticket_of

from atoll.dialects.vantage6.addresses import described
from atoll.engine.peers import Address, Peer, Port
from atoll.model.work import JobId, Seat, Ticket

FIRST, SECOND, THIRD = seats(3)
CENTRAL, OTHER = JobId("run.0.0"), JobId("run.0.1")


def peer(job: str, seat: Seat, round_number: int, parent: JobId | None, parent_round: int | None) -> Peer:
    """A job that listens."""
    return Peer(
        job_id=JobId(job),
        seat=seat,
        round_number=round_number,
        parent=parent,
        parent_round=parent_round,
        ports=(Port(number=8888),),
    )


PEERS = (
    peer("run.0.0", FIRST, 0, None, None),
    peer("run.1.0", FIRST, 1, CENTRAL, 0),
    peer("run.1.1", SECOND, 1, CENTRAL, 0),
    peer("run.2.0", THIRD, 2, CENTRAL, 0),
    peer("run.3.0", THIRD, 3, JobId("run.1.1"), 1),
    # Whoever tells of it: it is none of the run's sites.
    peer("run.1.9", Seat("elsewhere"), 1, CENTRAL, 0),
)
ADDRESSES = tuple(
    Address(host=f"127.1.0.{number}", port=28_000 + each, label=label, peer=one)
    for number, one in enumerate(PEERS)
    for each, label in enumerate(("exchange", "results"))
)


def at(job: str, seat: Seat, round_number: int, parent: JobId | None) -> Ticket:
    """Whoever asks."""
    ticket = ticket_of(seat)
    return replace(ticket, job=replace(ticket.job, id=JobId(job), round_number=round_number), parent=parent)


PARTIAL = at("run.1.1", SECOND, 1, CENTRAL)
MAIN = at("run.0.0", FIRST, 0, None)


@pytest.mark.parametrize(
    ("ticket", "query", "expected"),
    [
        (PARTIAL, {}, [1, 2, 3]),
        (PARTIAL, {"only_children": "1"}, [4]),
        (PARTIAL, {"only_parent": "1"}, [0]),
        (PARTIAL, {"only_siblings": "1"}, [1, 3]),
        (PARTIAL, {"only_self": "1"}, [2]),
        (PARTIAL, {"include_children": "1"}, [1, 2, 3, 4]),
        (PARTIAL, {"include_parent": "1"}, [0, 1, 2, 3]),
        (MAIN, {}, [0]),
        (MAIN, {"only_parent": "1"}, []),
        (MAIN, {"only_children": "1"}, [1, 2, 3]),
        (MAIN, {"only_siblings": "1"}, []),
    ],
)
def test_an_algorithm_is_told_of_those_that_it_asks_for(
    ticket: Ticket, query: dict[str, str], expected: list[int]
) -> None:
    told = described(ADDRESSES, ticket, {**query, "label": "results"})

    assert [f"127.1.0.{number}" for number in expected] == [each["ip"] for each in told]


def test_an_address_says_whose_it_is() -> None:
    told: list[dict[str, Any]] = described(ADDRESSES, PARTIAL, {"include_parent": "1"})

    assert [(1, 1, None), (1, 1, None), (1, 2, 1), (1, 2, 1), (2, 2, 1), (2, 2, 1), (3, 3, 1), (3, 3, 1)] == [
        (each["organization_id"], each["task_id"], each["parent_id"]) for each in told
    ]
    assert ({"exchange", "results"}, {28_000, 28_001}) == (
        {each["label"] for each in told},
        {each["port"] for each in told},
    )
