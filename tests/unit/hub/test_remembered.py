"""An answer is given again for as long as it is true, and to nobody else."""

from __future__ import annotations

from typing import Any, cast

from atoll.hub.parts import Rooms
from atoll.hub.principal import Kind, Principal
from atoll.hub.remembered import Remembered


def _remembered() -> Remembered:
    return Remembered(cast("Rooms", None))  # It asks nothing of them.


def _person(name: str, **about: Any) -> Principal:
    return Principal(kind=Kind.USER, id=f"usr_{name}", name=name, organization_id="org_1", **about)


def test_an_answer_is_found_until_something_is_told() -> None:
    remembered, ada = _remembered(), _person("ada")
    assert remembered.find(ada, "runs", b"limit=10", 7) is None
    remembered.keep(ada, "runs", b"limit=10", 7, b"[]")
    assert remembered.find(ada, "runs", b"limit=10", 7) == b"[]"
    assert remembered.find(ada, "runs", b"limit=10", 8) is None
    assert remembered.find(ada, "runs", b"limit=20", 7) is None


def test_nobody_gets_what_was_made_for_another() -> None:
    remembered, ada = _remembered(), _person("ada")
    remembered.keep(ada, "runs", b"", 7, b"hers")
    assert remembered.find(_person("bob"), "runs", b"", 7) is None


def test_who_is_known_anew_gets_a_new_answer() -> None:
    remembered, ada = _remembered(), _person("ada")
    remembered.keep(ada, "runs", b"", 7, b"hers")
    assert remembered.find(_person("ada"), "runs", b"", 7) is None


def test_an_answer_of_an_earlier_moment_takes_no_later_ones_place() -> None:
    remembered, ada = _remembered(), _person("ada")
    remembered.keep(ada, "runs", b"", 8, b"new")
    remembered.keep(ada, "runs", b"limit=1", 7, b"old")
    assert remembered.find(ada, "runs", b"", 8) == b"new"
    assert remembered.find(ada, "runs", b"limit=1", 7) is None


def test_answers_are_forgotten_before_they_fill_the_memory() -> None:
    remembered, ada = _remembered(), _person("ada")
    large = bytes(5 * 1024 * 1024)
    for number in range(4):
        remembered.keep(ada, "runs", str(number).encode(), 7, large)
    found = [remembered.find(ada, "runs", str(number).encode(), 7) is not None for number in range(4)]
    assert found == [False, False, False, True]
