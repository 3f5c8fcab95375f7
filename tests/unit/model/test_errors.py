"""Every error has its place in one tree, and the tree is drawn."""

import inspect
import re

from atoll.model import errors
from atoll.model.errors import AtollError, RunFailed, SpecInvalid

ERRORS = {
    name: error
    for name, error in vars(errors).items()
    if inspect.isclass(error) and issubclass(error, AtollError)
}


def _drawn() -> dict[str, str]:
    """From the docstring's tree: each error and the one that it stands under."""
    path: list[str] = []
    parents: dict[str, str] = {}
    for indent, name in re.findall(r"^( *)[*-] (\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 2
        path[depth:] = [name]
        parents[name] = path[depth - 1] if depth else "Exception"
    return parents


def test_the_drawn_tree_is_the_tree() -> None:
    real = {name: error.__base__.__name__ for name, error in ERRORS.items() if error.__base__}

    assert real == _drawn()


def test_every_error_says_when_it_is_raised() -> None:
    assert [] == [name for name, error in ERRORS.items() if not error.__doc__]


def test_a_wrong_specification_names_each_fault_on_a_line_of_its_own() -> None:
    error = SpecInvalid("a is not there", "b is too long")

    assert ("a is not there", "b is too long") == error.faults
    assert "a is not there\nb is too long" == str(error)


def test_a_failed_run_says_where_it_failed_if_that_was_at_one_site() -> None:
    at_a_site = RunFailed("the function raised KeyError", type="AlgorithmFailed", site="alpha")
    everywhere = RunFailed("it did not end", type="LimitReached", site=None)

    assert "alpha: the function raised KeyError" == str(at_a_site)
    assert ("AlgorithmFailed", "the function raised KeyError", "alpha") == (
        at_a_site.type,
        at_a_site.message,
        at_a_site.site,
    )
    assert "it did not end" == str(everywhere) == everywhere.message
