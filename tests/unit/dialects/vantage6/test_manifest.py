"""What a package offers is read from its source, whichever way its names come together."""

from __future__ import annotations

from textwrap import dedent

import pytest

from atoll.dialects.vantage6.body import Action
from atoll.dialects.vantage6.manifest import Argument, Function, Manifest, read_manifest


def read(package: str = "p", **files: str) -> Manifest:
    """The manifest of a package whose modules have these texts."""
    sources = {f"p/{name}.py": dedent(text) for name, text in files.items()}
    return read_manifest(package, sources)


def one(text: str) -> Function:
    """The only function of a package."""
    (function,) = read(__init__=text).functions
    return function


FOUR = "from vantage6.algorithm.tools.decorators import *\n"
FIVE = "from vantage6.algorithm.decorator import *\n"


# --- Generations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "generation"),
    [
        ("from vantage6.algorithm.tools.decorators import data", 4),
        ("from vantage6.algorithm.tools import decorators", 4),
        ("import vantage6.algorithm.tools.wrappers as w", 4),
        ("from vantage6.algorithm.decorator import central", 5),
        ("from vantage6.algorithm.decorator.data import dataframe", 5),
        ("from vantage6.algorithm import data_extraction", 5),
        ("def f():\n    from vantage6.algorithm.preprocessing.filtering import *", 5),
        ("from vantage6.algorithm.decorator import central\nimport vantage6.algorithm.tools.decorators", 5),
        ("from vantage6.algorithm.client import AlgorithmClient", None),
        ("from vantage6.algorithm.tools.util import info", None),
        ("from vantage6.algorithm.decorators import x", None),
        ("from . import decorators", None),
        ("", None),
    ],
)
def test_a_generation_is_known_by_what_only_it_has(text: str, generation: int | None) -> None:
    assert generation == read(__init__=text).generation


def test_a_generation_is_known_by_any_module_of_the_package_and_by_no_other() -> None:
    assert 4 == read(__init__="", partial=FOUR).generation
    assert (
        None is read_manifest("p", {"p/__init__.py": "", "q/__init__.py": FIVE, "test.py": FIVE}).generation
    )


# --- Functions of generation 4 ----------------------------------------------------------------


def test_a_function_says_what_it_is_given_and_what_it_asks_for() -> None:
    text = '''
        from typing import Any
        from vantage6.algorithm.tools.decorators import algorithm_client, data, metadata
        from vantage6.algorithm.client import AlgorithmClient

        @data(2)
        @metadata
        @algorithm_client
        def central(client: AlgorithmClient, meta, first, second, column: list[str], scale=1, *, flag: bool,
                    word="x", **others):
            """Average a column.

            Over all organizations.
            """
    '''

    function = one(text)

    assert (
        Function(
            name="central",
            decorators=("data", "metadata", "algorithm_client"),
            action=None,
            tables=(False, False),
            takes_client=True,
            arguments=(
                Argument(name="column", required=True, annotation="list[str]"),
                Argument(name="scale", required=False),
                Argument(name="flag", required=True, annotation="bool"),
                Argument(name="word", required=False),
            ),
            open=True,
            file="p/__init__.py",
            line=9,
            summary="Average a column.",
        )
        == function
    )
    assert function.central


def test_any_function_of_the_package_can_be_called() -> None:
    text = """
        import os
        from json import dumps
        from .elsewhere import *
        from .missing import something

        VALUE = 3

        class Model:
            def fit(self): ...

        def plain(a, /, b): ...
        def _hidden(): ...
        async def later(): ...
        if VALUE:
            def conditional(): ...
        else:
            def other(): ...
        try:
            from .fast import quick
        except ImportError:
            def quick(): ...
        with open("x") as f:
            def within(): ...
    """

    found = read(__init__=text).functions

    assert ["plain", "later", "conditional", "other", "quick", "within"] == [
        function.name for function in found
    ]
    assert ["a", "b"] == [argument.name for argument in found[0].arguments]
    assert not any(function.central or function.decorators for function in found)


@pytest.mark.parametrize(
    ("decorator", "tables", "left"),
    [
        ("@data()", (False,), "bcd"),
        ("@data", (False,), "bcd"),
        ("@data(3)", (False,) * 3, "d"),
        ("@data(number_of_databases=2)", (False,) * 2, "cd"),
        ("@data(N)", (False,), "bcd"),
        ('@database_connection(["OMOP"])', (), "cd"),
        ('@database_connection(types=["OMOP", "OMOP"], include_metadata=False)', (), "cd"),
        ("@database_connection(TYPES)", (), "cd"),
        ("@somebody_elses", (), "abcd"),
        ("@somebody.elses(1)", (), "abcd"),
    ],
)
def test_what_decorators_give_is_not_asked_for(decorator: str, tables: tuple[bool, ...], left: str) -> None:
    function = one(f"{FOUR}{decorator}\ndef f(a, b, c, d): ...")

    assert (tables, list(left)) == (function.tables, [argument.name for argument in function.arguments])


# --- Functions of generation 5 ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("decorators", "action", "tables", "left"),
    [
        ("@central\n@algorithm_client", Action.CENTRAL_COMPUTE, (), "bcd"),
        ("@federated\n@dataframe()", Action.FEDERATED_COMPUTE, (False,), "bcd"),
        ("@federated\n@dataframe(2, 'Multiple')", Action.FEDERATED_COMPUTE, (False, False, True), "d"),
        ("@federated\n@dataframe(N)", Action.FEDERATED_COMPUTE, (False,), "bcd"),
        ("@dataframes\n@federated\n@metadata", Action.FEDERATED_COMPUTE, (True,), "cd"),
        ("@handle_data_errors\n@preprocessing", Action.PREPROCESSING, (False,), "bcd"),
        ("@data_extraction", Action.DATA_EXTRACTION, (), "bcd"),
        ("@omop_data_extraction()", Action.DATA_EXTRACTION, (), "cd"),
        ("@omop_data_extraction(include_metadata=False)", Action.DATA_EXTRACTION, (), "bcd"),
    ],
)
def test_a_functions_action_is_that_of_its_decorator(
    decorators: str, action: Action, tables: tuple[bool, ...], left: str
) -> None:
    function = one(f"{FIVE}{decorators}\ndef f(a, b, c, d): ...")

    assert (action, tables) == (function.action, function.tables)
    assert list(left) == [argument.name for argument in function.arguments]
    assert (action is Action.CENTRAL_COMPUTE) == function.central


def test_a_function_of_generation_5_without_an_action_can_not_be_called() -> None:
    text = FIVE + "@federated\ndef f(): ...\ndef g(): ...\n@dataframe(1)\ndef h(df): ...\n"

    assert ["f"] == [function.name for function in read(__init__=text).functions]


# --- Names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "from vantage6.algorithm.decorator import federated\n@federated\ndef f(): ...",
        "from vantage6.algorithm.decorator import federated as x\n@x\ndef f(): ...",
        "from vantage6.algorithm.decorator.action import federated\n@federated\ndef f(): ...",
        "import vantage6.algorithm.decorator\n@vantage6.algorithm.decorator.federated\ndef f(): ...",
        "import vantage6.algorithm.decorator as d\n@d.federated\ndef f(): ...",
        "from vantage6.algorithm import decorator\n@decorator.federated\ndef f(): ...",
        "from json import *\nfrom vantage6.algorithm.decorator import *\n@federated\ndef f(): ...",
        "from .names import federated\n@federated\ndef f(): ...",
        "from p.names import *\n@federated\ndef f(): ...",
        "from . import names\n@names.federated\ndef f(): ...",
    ],
)
def test_a_decorator_is_known_by_any_name(text: str) -> None:
    (function,) = read(__init__=text, names="from vantage6.algorithm.decorator import federated").functions

    assert Action.FEDERATED_COMPUTE is function.action


@pytest.mark.parametrize(
    "text",
    [
        "from elsewhere import federated\n@federated\ndef f(): ...",
        "from vantage6.algorithm.decorator import federated\ndef federated(f): ...\n@federated\ndef f(): ...",
        "from vantage6.algorithm.decorator import something\n@something\ndef f(): ...",
        "import vantage6.algorithm.decorator\n@(lambda f: f)\ndef f(): ...",
    ],
)
def test_a_decorator_of_that_name_may_be_another(text: str) -> None:
    assert () == read(__init__=text, marks=FIVE).functions


def test_functions_are_followed_through_imports_to_where_they_are_defined() -> None:
    found = read(
        __init__="from .api import *\nfrom p.deep.partial import sums as total\nfrom .api import _private\n",
        api="from .central import central\nfrom .deep import other\nfrom . import api\n_private = 1\n",
        central=f"{FIVE}@central\ndef central(): ...\ndef unseen(): ...\n",
        **{
            "deep/__init__": "from .partial import other, missing\nfrom ..central import central as upwards\n",
            "deep/partial": f"{FIVE}\n@federated\ndef sums(): ...\n@federated\ndef other(): ...\n",
        },
    )

    assert [
        ("central", "p/central.py"),
        ("other", "p/deep/partial.py"),
        ("total", "p/deep/partial.py"),
    ] == [(function.name, function.file) for function in found.functions]


def test_imports_that_go_in_a_circle_end() -> None:
    found = read(
        __init__="from .a import *\nfrom .a import lost\ndef f(): ...",
        a="from .b import *\nfrom .b import lost",
        b="from .a import *\nfrom .a import lost\nfrom . import f",
    )

    assert ["f"] == [function.name for function in found.functions]


def test_a_package_may_be_one_file_and_its_name_may_be_none_for_a_statement() -> None:
    assert ["f"] == [one.name for one in read_manifest("a", {"a.py": "def f(): ..."}).functions]
    assert ["f"] == [
        one.name for one in read_manifest("v6-a", {"v6-a/__init__.py": "def f(): ..."}).functions
    ]


def test_what_is_not_there_offers_nothing() -> None:
    assert Manifest(generation=None, functions=()) == read("q", __init__="def f(): ...")


def test_a_file_that_is_no_python_is_named() -> None:
    found = read(__init__="def f(): ...", old="print 'x'", null="a\0b", deep="(" * 10_000)

    assert ("p/old.py", "p/null.py", "p/deep.py") == found.unreadable
    assert ["f"] == [function.name for function in found.functions]
