"""A failure is told by its type and its place in the code, and by no word of what failed."""

from __future__ import annotations

import pytest

from atoll.dialects.vantage6.failing import last_traceback, why

HEAD = "Traceback (most recent call last):\n"
WRAPPER = (
    '  File "/v/lib/python3.11/site-packages/vantage6/algorithm/tools/wrap.py", line 126, in _run_algorithm_method\n'
    "    result = method(*args, **kwargs)\n"
    "             ^^^^^^^^^^^^^^^^^^^^^^^\n"
)
OWN = '  File "/computation/v6_average/__init__.py", line 42, in partial\n    return data["Smith"]\n'
DEEPER = '  File "/computation/v6_average/sums.py", line 7, in add\n    return data["Smith"]\n'
PANDAS = '  File "/v/lib/python3.11/site-packages/pandas/core/frame.py", line 9, in __getitem__\n    raise\n'


def told(log: str, exit_code: int = 1, *, package: str = "v6_average", printed: str = "") -> str:
    """What is told of a call of ``partial``."""
    return why(exit_code, function="partial", package=package, log=log, printed=printed)


def test_the_places_are_those_of_the_algorithms_own_code() -> None:
    log = "a line\n" + HEAD + WRAPPER + OWN + DEEPER + PANDAS + "KeyError: 'Smith'\nmore of it: 34\n"

    assert told(log) == (
        "partial failed with KeyError (v6_average/__init__.py:42 in partial, v6_average/sums.py:7 in add); "
        "the traceback is in this site's log"
    )


def test_the_last_of_several_tracebacks_is_the_one() -> None:
    first = HEAD + DEEPER + "KeyError: 'Smith'\n"
    between = "\nThe above exception was the direct cause of the following exception:\n\n"

    assert told(first + between + HEAD + WRAPPER + OWN + "pkg.errors.RuntimeError\n") == (
        "partial failed with RuntimeError (v6_average/__init__.py:42 in partial); "
        "the traceback is in this site's log"
    )


def test_a_function_that_calls_itself_is_shown_once_and_deep_code_by_its_end() -> None:
    many = "".join(f'  File "/computation/m{number}.py", line 1, in f\n' for number in range(5))

    assert "(v6_average/__init__.py:42 in partial)" in told(HEAD + OWN * 4 + "E: x\n")
    assert "(m2.py:1 in f, m3.py:1 in f, m4.py:1 in f)" in told(HEAD + many + "E: x\n")


def test_a_traceback_whose_beginning_was_cut_off_is_read_from_its_first_place() -> None:
    assert "partial failed with KeyError (v6_average/sums.py:7 in add)" in told(
        't.py", line 3\n    half of it\n' + DEEPER + "KeyError: 'Smith'\n"
    )


@pytest.mark.parametrize(
    ("file", "package", "shown"),
    [
        ("/home/me/algorithm/v6_average/a.py", "v6_average", "v6_average/a.py:1"),
        ("/v/lib/python3.11/site-packages/v6-average/a.py", "v6-average", "v6-average/a.py:1"),
        ("/v/lib/python3.11/site-packages/a/b/c.py", "a.b", "a/b/c.py:1"),
        ("/work/v6_average.py", "v6_average", "v6_average.py:1"),
        ("/a/b/c/d/e.py", "v6_average", "c/d/e.py:1"),
    ],
)
def test_a_place_is_named_from_its_package_on(file: str, package: str, shown: str) -> None:
    log = HEAD + f'  File "{file}", line 1\n    x = = 1\nSyntaxError: invalid syntax\n'

    assert f"partial failed with SyntaxError ({shown});" in told(log, package=package)


def test_where_only_a_library_failed_its_last_place_is_shown() -> None:
    log = HEAD + WRAPPER + PANDAS + "ValueError: 3\n"

    assert "partial failed with ValueError (pandas/core/frame.py:9 in __getitem__);" in told(log)
    assert told(HEAD + WRAPPER + "ValueError: 3\n") == (
        "partial failed with ValueError; the traceback is in this site's log"
    )


def test_what_is_no_result_is_told_as_that() -> None:
    write = WRAPPER.replace("_run_algorithm_method", "_write_output")
    log = (
        HEAD
        + write
        + '  File "/v/lib/python3.11/json/__init__.py", line 231, in dumps\n    raise\nTypeError: x\n'
    )

    assert told(log).startswith("partial returned what can't be written as a result (TypeError);")


def test_a_function_that_is_not_there_is_told_as_that() -> None:
    assert told(HEAD + WRAPPER + "AttributeError: module\n").startswith(
        "v6_average has no function named partial;"
    )
    # One from within is the algorithm's own.
    assert told(HEAD + WRAPPER + OWN + "AttributeError: x\n").startswith(
        "partial failed with AttributeError ("
    )
    assert told(HEAD + WRAPPER + PANDAS + "AttributeError: x\n").startswith(
        "partial failed with AttributeErr"
    )


def test_a_package_that_is_not_there_is_told_as_that() -> None:
    frozen = '  File "<frozen importlib._bootstrap>", line 1140, in _find_and_load_unlocked\n'

    assert told(HEAD + WRAPPER + frozen + "ModuleNotFoundError: No module\n") == (
        "v6_average can't be imported, or a module that it imports is missing; "
        "the traceback is in this site's log"
    )


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (
            "error > Algorithm requires 2 databases but only 1 were provided. E",
            "it takes 2 tables and was given 1",
        ),
        (
            "error > User provided 0 databases, but algorithm requires 1 database connections. Exiting.",
            "it takes 1 database connections and was given fewer",
        ),
        ("error > Query is required for database type 'sql'", "a database was asked for without the query"),
        ("Method 'f' is not decorated with a vantage6 decorator.", "it has none of vantage6's decorators"),
        (
            "error > Token not found. Is the method",
            "it asks for a client, which only a central function gets",
        ),
    ],
)
def test_what_a_wrapper_counts_before_it_ends_is_told(printed: str, reason: str) -> None:
    assert told("", printed=f"info > x\n{printed}\n").startswith(
        f"partial ended with exit status 1: {reason}"
    )
    # A runtime may put everything into one log.
    assert reason in told(f"{printed}\n")


@pytest.mark.parametrize(
    "log", ["", "Smith is 34\n", HEAD, HEAD + OWN, HEAD + OWN + "\n", HEAD + OWN + "Mrs Smith: 3\n"]
)
def test_whatever_else_was_written_is_not_told(log: str) -> None:
    sentence = "partial ended with exit status 3; what it wrote is in this site's log"

    assert sentence == told(log, 3, printed="Smith is 34")
    assert last_traceback(log) is None


@pytest.mark.parametrize(("exit_code", "name"), [(-9, "SIGKILL"), (-11, "SIGSEGV"), (-40, "number 40")])
def test_a_signal_is_named(exit_code: int, name: str) -> None:
    assert f"partial was ended by the signal {name}; what it wrote is in this site's log" == told(
        "", exit_code
    )


TOOLS = (
    '  File "/v/lib/python3.11/site-packages/vantage6/algorithm/tools/decorators.py", line 108, in decorator\n'
    "    return func(client, *args, **kwargs)\n"
)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("partial() missing 1 required positional argument: 'column'", "it needs 'column'"),
        ("partial() missing 2 required positional arguments: 'a' and 'b'", "it needs 'a' and 'b'"),
        (
            "partial() missing 3 required keyword-only arguments: 'a', 'b', and 'c'",
            "it needs 'a', 'b', and 'c'",
        ),
        (
            "f.<locals>.partial() got an unexpected keyword argument 'colum'. Did you mean 'column'?",
            "it takes no argument 'colum'",
        ),
    ],
)
def test_a_call_that_does_not_fit_the_function_is_told_with_the_names_of_arguments(
    said: str, words: str
) -> None:
    told_of = told(f"{HEAD}{WRAPPER}{TOOLS}TypeError: {said}\nerror > None\n")

    assert told_of == f"partial can't be called like that: {words}; the traceback is in this site's log"


@pytest.mark.parametrize(
    "raised",
    [
        "TypeError: unsupported operand: 'Smith'",
        "ValueError: partial() missing 1 required positional argument: 'Smith'",
        "TypeError: partial() missing 1 required positional argument: 'Jane Smith'",
    ],
)
def test_of_any_other_error_no_word_is_told(raised: str) -> None:
    assert "Smith" not in told(f"{HEAD}{WRAPPER}{TOOLS}{raised}\n")
    # What the algorithm's own code calls in a wrong way is its own affair.
    installed = '  File "/v/lib/python3.11/site-packages/v6_average/sums.py", line 7, in add\n    f()\n'
    for frame in (OWN, installed):
        log = f"{HEAD}{WRAPPER}{frame}TypeError: add() got an unexpected keyword argument 'Smith'\n"
        assert "Smith" not in told(log, package="")


def test_a_package_that_an_image_names_itself_is_told_of_without_its_name() -> None:
    assert told(HEAD + WRAPPER + "ModuleNotFoundError: No module\n", package="").startswith(
        "its package can't be imported"
    )
    assert told(HEAD + WRAPPER + "AttributeError: module\n", package="").startswith(
        "its package has no function named partial"
    )


@pytest.mark.parametrize(("exit_code", "words"), [(127, "is not there"), (126, "can't be run")])
def test_a_program_that_could_not_be_started_is_told_as_that(exit_code: int, words: str) -> None:
    assert told("", exit_code) == (
        f"partial ended with exit status {exit_code}: the program that it starts {words}; what it wrote is in this "
        "site's log"
    )
