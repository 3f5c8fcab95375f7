"""Source is read as the algorithm's own process would find it, without being run."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.dialects.functions.declared import Argument, Filled
from atoll.dialects.functions.manifest import Function, Manifest, read_manifest
from atoll_algorithm.inline import Algorithm


def _read(source: str, file: str = "mean.py") -> Manifest:
    return read_manifest({file: textwrap.dedent(source)})


def _function(source: str) -> Function:
    (function,) = _read(source).functions
    return function


def _unclear(source: str) -> list[tuple[int, str]]:
    return [(one.line, one.words) for one in _read(source).unclear]


MEAN = '''\
from atoll_algorithm import central, partial, Table, Sites

@partial(kind={"n": "frequencies", "sum": "linear_aggregations"})
def moments(data: Table, column: str, power: float = 1.0) -> dict[str, float]:
    """Count and sum of a column.

    More of it.
    """
    return {"n": len(data), "sum": float((data[column] ** power).sum())}

@central
def mean(sites: Sites, column: str) -> float:
    parts = sites.call(moments, column=column)
    return sum(p["sum"] for p in parts) / sum(p["n"] for p in parts)
'''


def test_a_function_is_told_by_its_parameters_and_by_what_leaves() -> None:
    moments, mean = _read(MEAN).functions

    assert moments == Function(
        name="moments",
        style="partial",
        file="mean.py",
        line=4,
        summary="Count and sum of a column.",
        arguments=(
            Argument(name="column", annotation="str"),
            Argument(name="power", annotation="float", default="1.0"),
        ),
        filled=(Filled(name="data", filler="pandas"),),
        kinds={"n": "frequencies", "sum": "linear_aggregations"},
        returns="dict[str, float]",
        returned_type="dict",
    )
    assert ("mean", "central", 12) == (mean.name, mean.style, mean.line)
    assert (False, True) == (moments.combines, mean.combines)
    assert (moments.filled, ()) == (moments.databases, mean.databases)


def test_nothing_is_run() -> None:
    assert ["f"] == [
        function.name
        for function in _read("""
            from atoll_algorithm import partial
            raise SystemExit("this was run")
            @partial
            def f(): ...
        """).functions
    ]


# --- As the algorithm's process finds it ------------------------------------------------------

STYLES = """
    from __future__ import annotations
    import random
    import atoll_algorithm as aa
    import numpy as np
    import pandas as pd
    from pathlib import Path
    from typing import Optional, Union
    from atoll_algorithm import Done, Parts, Sites, Table, all_reduce, central as middle, database, local, remote

    Frame = pd.DataFrame
    Number = float

    @aa.partial
    def a(data: Table, labs: Table = database("labs"), *, q: Number = 0.5, more=database("more")) -> int: ...

    @middle()
    def b(sites: "Sites", data: Optional[pd.DataFrame], path: Path | None = None, seed: int = 3, **rest): ...

    @local
    def c(data: Frame, weights: list, rng: np.random.Generator, other: random.Random): ...

    @remote(c, max_iterations=7)
    def d(parts, weights: Optional[list] = None): ...

    @aa.remote(local=c)
    def e(weights, found: "None | Parts"): ...

    @all_reduce
    def f(data: Table, sites: Sites, column: str = "age"): ...

    def _g(data: Table | None): ...
    g = aa.partial(kind="frequencies")(_g)

    if True:
        @aa.partial
        def h(): ...
    else:
        pass
    try:
        @aa.partial
        def i(data: dict[str, pd.DataFrame], x: Union[int, str], y: "not a type[", z: "", w: [Table] = 1): ...
    except ImportError:
        @aa.partial
        def j(): ...
    finally:
        k = i

    def plain(data: Table): ...
    class Thing: ...
"""


def _loaded(root: Path, texts: dict[str, str], target: str) -> Algorithm:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Algorithm.load(str(root / target))


def _told(manifest: Manifest) -> dict[str, Any]:
    return {
        function.name: (
            function.style,
            [argument.name for argument in function.arguments],
            {argument.name for argument in function.arguments if argument.default is not None},
            function.takes_any,
            {(one.name, one.filler, one.label, one.optional) for one in function.filled},
            function.local,
        )
        for function in manifest.functions
    }


def _found(algorithm: Algorithm) -> dict[str, Any]:
    """The same, as the package knows it that runs in the algorithm's process."""
    plans = {name: algorithm.plan_of(name) for name in algorithm.names}
    return {
        name: (
            plan.mark.style,
            list(plan.names),
            {argument for argument in plan.names if argument not in plan.required},
            plan.open,
            {
                (one.name, one.filler.replace("numpy_random", "numpy"), one.label, one.has_default)
                for one in plan.filled
            },
            plan.mark.local.__name__ if plan.mark.local else "",
        )
        for name, plan in plans.items()
    }


def test_a_module_is_read_as_it_is_loaded(tmp_path: Path) -> None:
    texts = {"styles.py": textwrap.dedent(STYLES)}

    manifest = read_manifest(texts, "styles.py")

    # What only stands in a branch that isn't taken is listed all the same.
    assert "j" in {function.name for function in manifest.functions}
    told = _told(manifest)
    del told["j"]
    assert _found(_loaded(tmp_path, texts, "styles.py")) == told
    assert () == manifest.unclear
    assert ("numpy", "pandas") == manifest.libraries


PACKAGE = {
    "pkg/__init__.py": "from .central import *\nfrom . import tools\nfrom .partials import moments as first\n",
    "pkg/central.py": (
        "from .sdk import central, Sites\nfrom pkg.deep.inner import Table\n"
        "@central\ndef mean(sites: Sites, data: Table): ...\n"
    ),
    "pkg/sdk.py": "from atoll_algorithm import *\n",
    "pkg/partials.py": (
        "from .sdk import partial\nimport pkg.deep.inner as inner\n"
        "@partial\ndef moments(data: inner.Table, wrong: inner.Nothing, no: other.Thing = 1): ...\n"
        "@partial\ndef _hidden(data: inner.tools.T): ...\n"
    ),
    "pkg/tools.py": "T = 1\nclass Table: ...\ndef f(): ...\n",
    "pkg/deep/__init__.py": "",
    "pkg/deep/inner.py": "from ...pkg import tools\nfrom atoll_algorithm import Table\n",
    "pkg/alone.py": "from atoll_algorithm import partial\n@partial\ndef lost(): ...\n",
}


def test_a_package_is_read_as_it_is_loaded(tmp_path: Path) -> None:
    texts = {**PACKAGE, "pkg/deep/inner.py": "from .. import tools\nfrom atoll_algorithm import Table\n"}

    manifest = read_manifest(texts)

    assert _found(
        _loaded(
            tmp_path,
            {
                **texts,
                "pkg/partials.py": texts["pkg/partials.py"]
                .replace("other.Thing", "1")
                .replace("inner.Nothing", "1"),
            },
            "pkg",
        )
    ) == _told(manifest)
    assert ["first", "mean", "moments", "_hidden"] == sorted(
        _told(manifest), key=["first", "mean", "moments", "_hidden"].index
    )
    assert [
        ("pkg/alone.py", 3, "lost can't be called: its module is not imported by the one that is loaded")
    ] == [(one.file, one.line, one.words) for one in manifest.unclear]


def test_a_module_beside_others_has_what_it_imports(tmp_path: Path) -> None:
    texts = {
        "mean.py": "from halves import moments\nimport halves\n",
        "halves.py": "from atoll_algorithm import partial\n@partial\ndef moments(): ...\n@partial\ndef other(): ...\n",
    }

    manifest = read_manifest(texts, "mean.py")

    assert _found(_loaded(tmp_path, texts, "mean.py")) == _told(manifest)
    assert ["moments"] == list(_told(manifest))


def test_without_a_target_files_are_read_together() -> None:
    texts = {"a.py": MEAN, "b.py": "from atoll_algorithm import partial\n@partial\ndef other(): ...\n"}

    assert ["moments", "mean", "other"] == [function.name for function in read_manifest(texts).functions]


def test_of_two_packages_one_must_be_named() -> None:
    texts = {"a/__init__.py": MEAN, "b/__init__.py": MEAN.replace("mean", "median")}

    assert ["moments", "median"] == [function.name for function in read_manifest(texts, "b").functions]
    assert [] == list(read_manifest(texts, "c").functions)
    assert ["moments", "mean", "median"] == [function.name for function in read_manifest(texts).functions]


# --- Parameters and what leaves ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "kinds"),
    [
        ("@partial", ""),
        ("@partial()", ""),
        ("@partial(kind=None)", ""),
        ('@partial(kind="frequencies")', "frequencies"),
        ("@partial(kind=KIND)", "frequencies"),
        ("@partial(kind=KINDS)", {"n": "frequencies"}),
        ("@partial(kind={})", {}),
    ],
)
def test_the_kind_is_what_is_declared(written: str, kinds: Any) -> None:
    function = _function(f"""
        from atoll_algorithm import partial
        KIND = "frequencies"
        KINDS = {{"n": "frequencies"}}
        {written}
        def f(): ...
    """)

    assert kinds == function.kinds


@pytest.mark.parametrize(
    "written",
    [
        "kind=make()",
        "kind=KIND",
        "kind=TWICE",
        "**options",
        "kind={name: 'mode'}",
        "kind={**KINDS}",
        "kind=3",
    ],
)
def test_a_kind_that_is_worked_out_is_unclear(written: str) -> None:
    source = f"""
        from atoll_algorithm import partial
        TWICE = "mode"
        TWICE = "shape"
        @partial({written})
        def f(): ...
    """

    assert "" == _function(source).kinds
    assert [(6, "the kind of what f returns is known only when it runs")] == _unclear(source)


@pytest.mark.parametrize(
    ("annotation", "filler"),
    [
        ("Table", "pandas"), ("pd.DataFrame", "pandas"), ("pa.Table", "pyarrow"), ("pl.DataFrame", "polars"),
        ("Path", "path"), ("Sites | None", "sites"), ("'np.random.Generator'", "numpy"), ("Random", "random"),
    ],
)  # fmt: skip
def test_what_is_imported_for_type_checkers_only_is_known_by_how_it_is_written(
    annotation: str, filler: str
) -> None:
    function = _function(f"""
        from atoll_algorithm import partial
        @partial
        def f(data: {annotation}): ...
    """)

    assert (Filled(name="data", filler=filler),) == function.filled


def test_a_class_of_ones_own_is_no_database() -> None:
    function = _function("""
        from atoll_algorithm import partial
        class Table: ...
        @partial
        def f(data: Table, rest: Table.Row): ...
    """)

    assert ("data", "rest") == tuple(argument.name for argument in function.arguments)


def test_long_defaults_are_cut() -> None:
    function = _function(f"""
        from atoll_algorithm import partial
        @partial
        def f(words={["word"] * 100}): ...
    """)

    (argument,) = function.arguments
    assert argument.default is not None
    assert 80 == len(argument.default)
    assert argument.default.endswith("…")


def test_an_expression_that_is_too_deep_to_be_written_is_a_dot() -> None:
    deep = " + ".join(["1"] * 900)
    function = _function(f"from atoll_algorithm import partial\n@partial\ndef f(x={deep}): ...")

    (argument,) = function.arguments
    assert argument.default in ("…", f"{deep[:79]}…")


@pytest.mark.parametrize(
    ("written", "label", "is_clear"),
    [
        ('database("labs")', "labs", True),
        ('database(label="labs")', "labs", True),
        ("database(LABEL)", "?", False),
        ('database("a", "b")', "?", False),
    ],
)
def test_a_database_may_be_asked_for_by_its_label(written: str, label: str, is_clear: bool) -> None:
    source = f"""
        from atoll_algorithm import partial, database
        @partial
        def f(labs={written}, *, other=dict()): ...
    """

    assert (Filled(name="labs", filler="pandas", label=label),) == _function(source).filled
    assert is_clear == (_unclear(source) == [])


# --- What can't be seen -----------------------------------------------------------------------


def test_functions_that_are_made_when_it_runs_are_pointed_to() -> None:
    source = """
        from atoll_algorithm import partial, central
        for name in names:
            globals()[name] = partial(make(name))
        mean = central(imported)
        first, second = partial(kind="mode"), 3
        def outer():
            @partial
            def inner(): ...
            @functools.cache
            def other(): ...
        class Many:
            @central(kind="mode")
            def method(self): ...
    """

    made = "what {}(...) makes a function of is known only when it runs"
    inside = "{} is declared within a function or a class: when that runs, and how, isn't seen"
    assert [] == list(_read(source).functions)
    assert [
        (4, made.format("partial")),
        (5, made.format("central")),
        (6, made.format("partial")),
        (9, inside.format("inner")),
        (14, inside.format("method")),
    ] == _unclear(source)


def test_other_decorators_are_passed_over() -> None:
    function = _function("""
        import functools
        from atoll_algorithm import partial
        @functools.cache
        @partial
        @(lambda f: f)
        def f(): ...
        @functools.cache
        def g(): ...
        x = functools.partial(g)
    """)

    assert ("f", "partial") == (function.name, function.style)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("x = 1\ndef f(:\n", 2, "is not Python: invalid syntax"),
        ("x = '\0'", 1, "is not Python"),
        ("(" * 5000, 1, "is not Python"),
        ("-" * 100_000 + "1", 1, "is nested too deeply to be read"),
    ],
)
def test_a_file_that_can_not_be_read_is_named(text: str, line: int, words: str) -> None:
    manifest = read_manifest({"bad.py": text, "mean.py": MEAN})

    (unclear,) = manifest.unclear
    assert ("bad.py", line) == (unclear.file, unclear.line)
    assert unclear.words.startswith(words)
    assert 2 == len(manifest.functions)


def test_many_branches_in_a_row_are_read() -> None:
    branches = "\n".join(f"elif x == {number}:\n    pass" for number in range(900))
    source = f"from atoll_algorithm import partial\nif x:\n    pass\n{branches}\nelse:\n    @partial\n    def f(): ..."

    try:
        compile(source, "mean.py", "exec")
    except RecursionError:  # This version of Python reads no such file itself.
        return
    assert ["f"] == [function.name for function in _read(source).functions]


def test_names_that_stand_for_one_another_come_to_an_end() -> None:
    texts = {
        "pkg/__init__.py": "from .a import *\nfrom .a import f\nfrom .c import central\n@central\ndef g(x: f): ...\n",
        "pkg/c.py": "from atoll_algorithm import central\n",
        "pkg/a.py": "from .b import f\nfrom .b import *\n",
        "pkg/b.py": "from .a import f\nfrom .a import *\n",
    }

    assert ["g"] == [function.name for function in read_manifest(texts).functions]


SNIPPETS = st.sampled_from(
    textwrap.dedent(STYLES).splitlines(keepends=True) + MEAN.splitlines(keepends=True) + ["\n", "    pass\n"]
)


@given(st.lists(SNIPPETS, max_size=25), st.lists(SNIPPETS, max_size=10))
def test_whatever_stands_in_a_file_it_is_read(first: list[str], second: list[str]) -> None:
    manifest = read_manifest({"pkg/__init__.py": "".join(first), "pkg/a.py": "".join(second)})

    assert len(manifest.functions) + len(manifest.unclear) <= 100
