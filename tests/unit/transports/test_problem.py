"""An error is of the same class at the other side."""

from __future__ import annotations

import inspect

import msgspec
import pytest

from atoll.model import errors
from atoll.model.errors import (
    AlgorithmFailed,
    AtollError,
    HubUnreachable,
    Refused,
    RunFailed,
    SpecInvalid,
    TooMany,
)
from atoll.transports import problem

CLASSES = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind not in {RunFailed, SpecInvalid}
]


def crossed(error: AtollError) -> AtollError:
    """The error as the other side raises it."""
    told = problem.problem_of(error)
    return problem.error_of(told.status, problem.encode(told))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_crosses_with_its_class_and_its_sentence(kind: type[AtollError]) -> None:
    arrived = crossed(kind("it is so"))

    assert (kind, "it is so") == (type(arrived), str(arrived))


def test_what_an_error_says_beside_its_sentence_crosses_too() -> None:
    spec = crossed(SpecInvalid("one", "two"))
    algorithm = crossed(AlgorithmFailed("it failed", raised="ValueError"))
    many = crossed(TooMany("wait", seconds=7.5))
    run = crossed(RunFailed("it failed", type="AlgorithmFailed", site="alpha"))

    assert isinstance(spec, SpecInvalid)
    assert ("one", "two") == spec.faults
    assert isinstance(algorithm, AlgorithmFailed)
    assert "ValueError" == algorithm.raised
    assert isinstance(many, TooMany)
    assert 7.5 == many.seconds
    assert isinstance(run, RunFailed)
    assert ("AlgorithmFailed", "it failed", "alpha") == (run.type, run.message, run.site)


def test_a_class_that_this_version_does_not_know_is_a_refusal() -> None:
    body = b'{"code":"TideTooHigh","detail":"come back later","status":418}'

    arrived = problem.error_of(418, body)

    assert (Refused, "come back later") == (type(arrived), str(arrived))


@pytest.mark.parametrize("name", ["AtollError.__init__", "annotations", "__doc__", "object"])
def test_no_other_name_of_the_module_is_taken_for_a_class(name: str) -> None:
    assert Refused is type(problem.error_of(400, msgspec.json.encode({"code": name})))


@pytest.mark.parametrize("said", [b"<html>Bad Gateway</html>", b'{"a":' * 100_000], ids=["HTML", "nested"])
def test_what_no_hub_said_is_no_refusal_of_one(said: bytes) -> None:
    arrived = problem.error_of(502, said)

    assert isinstance(arrived, HubUnreachable)
    assert "502" in str(arrived)
    assert problem.refusal_of(said) is None


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("Malformed", 422),
        ("NotLoggedIn", 401),
        ("NotAllowed", 403),
        ("NotThere", 404),
        ("Taken", 409),
        ("StaleEvent", 409),
        ("NotYours", 403),
        ("EventsGone", 410),
        ("TooLarge", 413),
        ("VersionMismatch", 426),
        ("TooMany", 429),
        ("QuotaReached", 403),
        ("LimitReached", 422),
        ("Unusable", 500),
    ],
)
def test_each_class_has_its_status_and_its_name(name: str, status: int) -> None:
    told = problem.problem_of(getattr(errors, name)("why"))

    assert (status, f"urn:atoll:error:{name}", name) == (told.status, told.type, told.code)
    assert told.title
