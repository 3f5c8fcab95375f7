"""A function asks other sites and gets their parts; what it may not ask is refused and recorded."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.federation import make_ticket

from atoll.dialects.functions.body import call_body
from atoll.dialects.functions.container import pack
from atoll.dialects.functions.door import Door
from atoll.engine import gate as engine_gate
from atoll.engine.gate import Child, Part
from atoll.engine.peers import Address
from atoll.engine.running import HttpRequest
from atoll.model.errors import AtollError, LimitReached, NotYours
from atoll.model.work import Content, Failure, JobStatus, Seat, Ticket

T = TypeVar("T")
SITES = tuple(map(Seat, ("alpha", "beta", "gamma")))
BODY = call_body("moments", {"column": "age"})


@dataclass
class Gate:
    """A gate behind which every site returns at once, but for those that fail or are late."""

    late: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    error: AtollError | None = None
    said: list[Any] = field(default_factory=list)
    bodies: list[Content] = field(default_factory=list)
    _rounds: list[tuple[str, list[Seat]]] = field(default_factory=list)

    @property
    def ticket(self) -> Ticket:
        """The job."""
        return replace(make_ticket(SITES[0]), sites=SITES)

    async def ask(
        self, name: str, calls: Sequence[tuple[Seat, Content]], *, session: str | None = None
    ) -> int:
        """Take a question."""
        if self.error is not None:
            raise self.error
        self.said.append(("ask", name, [seat for seat, _ in calls], session))
        self.bodies += [body for _, body in calls]
        self._rounds.append((name, [seat for seat, _ in calls]))
        return len(self._rounds)

    async def addresses(self) -> Sequence[Address]:
        """Nobody is there."""
        return ()

    async def child(self, number: int, *, bodies: bool = True) -> Child:
        """What a round's jobs have left."""
        assert bodies
        name, seats = self._rounds[number - 1]
        parts = tuple(self._part(seat, position) for position, seat in enumerate(seats))
        return Child(number=number, name=name, open_count=0, parts=parts)

    def _part(self, seat: Seat, position: int) -> Part:
        if seat in self.late:
            return Part(seat=seat, ordinal=position, status=JobStatus.CANCELLED)
        if seat in self.failing:
            failure = Failure(type="AlgorithmFailed", message="moments failed", site=seat)
            return Part(seat=seat, ordinal=position, status=JobStatus.FAILED, failure=failure)
        return Part(seat=seat, ordinal=position, status=JobStatus.DONE, body=pack(seat))

    async def ended(self, number: int, *, seconds: float | None = None) -> bool:
        """Wait."""
        self.said.append(("ended", number, seconds))
        return not self.late

    async def give_up(self, number: int) -> None:
        """End what is open."""
        self.said.append(("give up", number))

    async def release(self, number: int) -> None:
        """Forget what was read."""
        self.said.append(("release", number))

    def progress(self, fraction: float | None, text: str) -> None:
        """Hear how far the job is."""
        self.said.append(("progress", fraction, text))

    def log(self, text: str) -> None:
        """Hear a line for the log."""
        self.said.append(("log", text))

    def refused(self, sentence: str) -> None:
        """Hear of a refusal."""
        self.said.append(("refused", sentence))


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what never has to wait; an event loop for each question would take most of the time."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return cast("T", ended.value)
    raise AssertionError("it waited")


def _ask(door: Door, question: Any, body: Content = BODY) -> list[tuple[dict[str, Any], Content]]:
    async def frames() -> list[tuple[dict[str, Any], Content]]:
        return [(dict(head), content) async for head, content in door.answers(question, body)]

    return _run(frames())


def _call(**changes: Any) -> dict[str, Any]:
    return {"say": "call", "function": "moments", "sites": None, "deadline": None, "keep": None, **changes}


def _done(site: str) -> tuple[dict[str, Any], bytes]:
    return {"do": "part", "site": site, "status": "done", "failure": None}, pack(site)


END = ({"do": "end"}, b"")


def test_all_sites_are_asked_and_their_parts_come_in_order() -> None:
    gate = Gate()
    stands_at: engine_gate.Gate = gate

    frames = _ask(Door(stands_at), _call())

    assert [*map(_done, SITES), END] == frames
    assert [("ask", "moments", list(SITES), None), ("ended", 1, None)] == gate.said


def test_every_site_is_sent_the_same_object() -> None:
    gate = Gate()

    _ask(Door(gate), _call())

    assert 3 == len(gate.bodies)
    assert all(body is BODY for body in gate.bodies)


def test_some_sites_are_asked_in_the_order_that_was_asked_for() -> None:
    gate = Gate()

    frames = _ask(Door(gate), _call(sites=["gamma", "alpha"], keep="key", deadline=2))

    assert [_done("gamma"), _done("alpha"), END] == frames
    assert [("ask", "moments", ["gamma", "alpha"], "key"), ("ended", 1, 2.0)] == gate.said


def test_what_is_late_is_given_up_and_what_failed_is_told() -> None:
    gate = Gate(late=("beta",), failing=("gamma",))

    frames = _ask(Door(gate), _call(deadline=0.5))

    failure = {"type": "AlgorithmFailed", "message": "moments failed"}
    assert [
        _done("alpha"),
        ({"do": "part", "site": "beta", "status": "late", "failure": None}, b""),
        ({"do": "part", "site": "gamma", "status": "failed", "failure": failure}, b""),
        END,
    ] == frames
    assert [("ended", 1, 0.5), ("give up", 1)] == gate.said[1:]


def test_answers_are_given_back_when_the_next_question_comes_and_not_before() -> None:
    """The function may still be reading them."""
    gate = Gate()
    door = Door(gate)

    _ask(door, _call())
    _ask(door, {"say": "progress", "fraction": 0.5, "text": "half"})
    before = list(gate.said)
    _ask(door, _call())
    _ask(door, _call())

    assert ("release", 1) not in before
    assert [("release", 1), ("release", 2)] == [said for said in gate.said if said[0] == "release"]
    assert gate.said.index(("release", 1)) < gate.said.index(("ended", 2, None))


@pytest.mark.parametrize("error", [LimitReached("one round too many"), NotYours("not a site of the run")])
def test_what_the_platform_refuses_is_told_to_the_function(error: AtollError) -> None:
    gate = Gate(error=error)

    assert [({"do": "refused", "message": str(error)}, b"")] == _ask(Door(gate), _call())
    assert [("refused", str(error))] == gate.said


REFUSED: list[tuple[Any, str]] = [
    ({}, 'may say "call", "progress" or "log"'),
    ({"say": "returned"}, 'may say "call", "progress" or "log"'),
    (_call(function=None), "without a name"),
    (_call(function=""), "without a name"),
    (_call(function="f" * 201), "without a name"),
    (_call(keep=1), "without a name"),
    (_call(sites=[]), "a call of no site"),
    (_call(sites="alpha"), "a call of no site"),
    (_call(sites=[1]), "a call of no site"),
    (_call(sites=["alpha", "delta"]), "'delta': expected sites of this run, each once: alpha, beta, gamma"),
    (_call(sites=["beta", "alpha", "beta"]), "'beta': expected sites of this run, each once"),
    (_call(deadline=0), "a deadline that is none"),
    (_call(deadline=-1), "a deadline that is none"),
    (_call(deadline=True), "a deadline that is none"),
    (_call(deadline="5"), "a deadline that is none"),
    (_call(deadline=float("nan")), "a deadline that is none"),
    (_call(deadline=float("inf")), "a deadline that is none"),
]


@pytest.mark.parametrize(("question", "words"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_what_may_not_be_asked_is_refused_and_recorded(question: Any, words: str) -> None:
    gate = Gate()

    ((answer, body),) = _ask(Door(gate), question)

    assert "refused" == answer["do"]
    assert words in answer["message"]
    assert b"" == body
    assert [("refused", answer["message"])] == gate.said


def test_a_call_without_a_container_is_refused_before_any_site_is_asked() -> None:
    gate = Gate()

    ((answer, _),) = _ask(Door(gate), _call(), b"{}")

    assert answer["message"].startswith("2 bytes are no container")
    assert [("refused", answer["message"])] == gate.said


@pytest.mark.parametrize(
    ("fraction", "heard"),
    [
        (0.25, 0.25),
        (1, 1.0),
        (-3, 0.0),
        (7, 1.0),
        (None, None),
        ("x", None),
        (True, None),
        (float("nan"), None),
    ],
)
def test_progress_is_shown_and_not_answered(fraction: Any, heard: float | None) -> None:
    gate = Gate()

    assert [] == _ask(Door(gate), {"say": "progress", "fraction": fraction, "text": "fold 3"})
    assert [("progress", heard, "fold 3")] == gate.said


def test_a_line_for_the_log_is_not_answered() -> None:
    gate = Gate()

    assert [] == _ask(Door(gate), {"say": "log", "text": "starting"})
    assert [("log", "starting")] == gate.said


def test_over_http_nothing_is_answered() -> None:
    gate = Gate()
    request = HttpRequest(method="GET", path="/task/1", query={}, token="")

    response = _run(Door(gate).respond(request))

    assert 404 == response.status
    assert json.loads(response.body)
    assert ["refused"] == [said[0] for said in gate.said]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(SITES),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {"say": st.sampled_from(["call", "progress", "log", "x"])},
        optional=dict.fromkeys(("function", "sites", "deadline", "keep", "fraction", "text"), ANYTHING),
    )
)
def test_whatever_a_function_says_it_is_answered_or_heard_or_refused(question: dict[str, Any]) -> None:
    gate = Gate()

    frames = _ask(Door(gate), question)

    assert ([] == frames) == (question["say"] in ("progress", "log"))
    if frames:
        assert frames[-1][0]["do"] in ("end", "refused")
