"""A function's process says numbers that no machine has: they are no fault of the node's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from tests.federation import make_ticket

from atoll.dialects.functions.body import call_body
from atoll.dialects.functions.door import Door
from atoll.dialects.functions.failed import told_of
from atoll.engine.gate import Gate
from atoll.model.work import Content, Seat, Ticket

#: JSON has it, and it is larger than any number that is not whole.
HUGE = 10**400


@dataclass
class Deaf:
    """The part of a gate that takes remarks."""

    ticket: Ticket = field(default_factory=make_ticket)
    shown: list[tuple[float | None, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def progress(self, fraction: float | None, text: str) -> None:
        """Note how far the job is."""
        self.shown.append((fraction, text))

    def refused(self, sentence: str) -> None:
        """Note a refusal."""
        self.refusals.append(sentence)


def ask(gate: Deaf, question: dict[str, Any]) -> list[Any]:
    """Say something to a node, and hear its answers."""
    body: Content = call_body("count", {})

    async def frames() -> list[Any]:
        return [dict(head)["do"] async for head, _ in Door(cast("Gate", gate)).answers(question, body)]

    return asyncio.run(frames())


@pytest.mark.parametrize("fraction", [HUGE, -HUGE], ids=["above", "below"])
def test_a_huge_fraction_is_none(fraction: int) -> None:
    gate = Deaf()

    assert [] == ask(gate, {"say": "progress", "fraction": fraction, "text": "far"})
    assert [(None, "far")] == gate.shown


@pytest.mark.parametrize("deadline", [HUGE, -HUGE], ids=["above", "below"])
def test_a_huge_deadline_is_refused(deadline: int) -> None:
    gate = Deaf()

    assert ["refused"] == ask(gate, {"say": "call", "function": "count", "deadline": deadline})
    (refusal,) = gate.refusals
    assert "deadline" in refusal


def test_the_number_of_a_line_carries_no_data() -> None:
    """Thousands of digits would hold a table's column, in a sentence that leaves the site."""
    said = {"type": "ValueError", "frames": [["mean.py", 12, "moments"], ["mean.py", HUGE, "values"]]}

    told = told_of(said, "moments", Seat("alpha"))

    assert "mean.py:12 in moments" in told
    assert "000" not in told
