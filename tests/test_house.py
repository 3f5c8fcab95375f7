"""House rules that no linter knows. Each rule is a function from a source to its faults.

Every rule runs twice: over the tree, where it must find nothing, and over a source that breaks
it, where it must find something. So a rule that has gone blind fails too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
#: Where the packages lie: Atoll's, and the one that algorithms import.
SRC = (ROOT / "src", ROOT / "algorithm" / "src")
#: What Python's own files and every page, script and specification of the project lie in.
TREES = (".ci", "algorithm", "benchmarks", "changes", "docs", "examples", "requirements", "src", "tests")

BODY_LINES_MAX = 60
FILE_LINES_MAX = 500
#: Names that say nothing of what a module is for.
EMPTY_NAMES = {"common", "globals", "helpers", "manager", "misc", "util", "utils"}
#: The only modules that may read the environment: for a hub's settings, for the width of the terminal, for what an
#: algorithm's own environment is made from, and inside a sandbox, where it is the algorithm's.
ENVIRONMENT_READERS = {
    "atoll.cli.hub",
    "atoll.cli.output",
    "atoll.runtimes.conformance.acts",
    "atoll.runtimes.environment",
    "atoll.runtimes.guest",
    "atoll_algorithm._serving",
}
#: Nobody imports these: they are started. The guest runs inside a sandbox, under any interpreter,
#: Alembic runs the steps of a database, and Slurm what sits on a compute node.
STARTED = (
    "atoll.__main__",
    "atoll.cli.main",
    "atoll.runtimes.conformance.__main__",
    "atoll.runtimes.conformance.acts",
    "atoll.runtimes.conformance.owner",
    "atoll.runtimes.guest",
    "atoll.runtimes.slurm.seat",
    "atoll.stores.sql.migrations",
    "atoll.testing",
    "atoll_algorithm.__main__",
)
#: An ``__init__`` that holds a program. A published computation says ``from coinstac import …``
#: and expects one module of that name in the sandbox.
GUEST_PACKAGES = {"atoll.runtimes.guest.coinstac"}


@dataclass(frozen=True)
class Source:
    """One Python file, read and parsed."""

    module: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text)

    @cached_property
    def statements(self) -> list[ast.AST]:
        """Its statements, with those within them. Expressions are many times as many."""
        found: list[ast.AST] = [self.tree]
        for node in found:
            for name in ("body", "handlers", "orelse", "finalbody", "cases"):
                part = getattr(node, name, None)
                # The body of a lambda, and of a condition, is an expression.
                found += part if isinstance(part, list) else ()
        return found

    @cached_property
    def lines(self) -> list[str]:
        """Its lines; the first is at index 0."""
        return self.text.splitlines()

    def comment_at(self, number: int) -> str:
        """The words of the comment on a line, or of a comment that fills the line above.

        One above a block of imports speaks for the whole block.
        """
        here = self.lines[number - 1].partition("#")[2].strip()
        above = number - 2
        while above > 0 and self.lines[above].lstrip().startswith(("import ", "from ")):
            above -= 1
        before = self.lines[above].strip() if above >= 0 else ""
        return here or (before.lstrip("# ") if before.startswith("#") else "")


Rule = Callable[[Source], Iterator[str]]

#: The first that looks at all sources has them read.
pytestmark = pytest.mark.timeout(60)


def _is_one_of(module: str, names: set[str] | tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _has_words(comment: str) -> bool:
    """Whether a comment says something, and is not only a code or a word."""
    return len(re.findall(r"\b[A-Za-z']{2,}\b", comment)) >= 2


def _functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in source.statements:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """A body without its docstring."""
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *others]:
            return others
    return body


def short_bodies(source: Source) -> Iterator[str]:
    """A function's body fits 60 lines: it is read without scrolling."""
    for function in _functions(source):
        statements = _statements(function.body)
        if not statements:
            continue
        count = (statements[-1].end_lineno or 0) - statements[0].lineno + 1
        if count > BODY_LINES_MAX:
            yield f"{function.name} has {count} lines, and {BODY_LINES_MAX} is the bound"


def short_files(source: Source) -> Iterator[str]:
    """A file is one noun, and fits 500 lines."""
    if len(source.lines) > FILE_LINES_MAX:
        yield f"{len(source.lines)} lines, and {FILE_LINES_MAX} is the bound"


def telling_names(source: Source) -> Iterator[str]:
    """A module's name says what it is for."""
    for part in source.module.split("."):
        if set(part.split("_")) & EMPTY_NAMES:
            yield f"the name {part} says nothing of what the module is for"


def narrow_excepts(source: Source) -> Iterator[str]:
    """Everything is caught only at a loop's top, or to clean up and raise again."""
    for node in source.statements:
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        broad = [one for one in caught if one is None or ast.unparse(one) in ("Exception", "BaseException")]
        last = node.body[-1]
        raises_again = isinstance(last, ast.Raise) and last.exc is None
        if broad and not raises_again and not _has_words(source.comment_at(node.lineno)):
            yield f"line {node.lineno} catches everything and doesn't say why"


def reasoned_exceptions(source: Source) -> Iterator[str]:
    """A ``noqa`` or a ``type: ignore`` names its code and its reason."""
    for number, line in enumerate(source.lines, 1):
        if "#" not in line:
            continue
        quiet = re.search(r"#\s*noqa\b(?P<codes>:\s*[A-Z]+[0-9]+(,\s*[A-Z]+[0-9]+)*)?(?P<reason>.*)", line)
        untyped = re.search(r"#\s*type:\s*ignore\b(?P<codes>\[[a-z, -]+\])?(?P<reason>.*)", line)
        for found in filter(None, (quiet, untyped)):
            if found["codes"] is None:
                yield f"line {number} silences a check without naming it"
            elif not _has_words(found["reason"]):
                yield f"line {number} silences a check without a reason"


def settled_environment(source: Source) -> Iterator[str]:
    """Only programs read the environment."""
    if _is_one_of(source.module, ENVIRONMENT_READERS) or not re.search("environ|getenv", source.text):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"):
            yield f"line {node.lineno} reads the environment"


def empty_packages(source: Source) -> Iterator[str]:
    """An ``__init__`` re-exports, and holds no program."""
    if not source.module.endswith(".__init__"):
        return
    if source.module.removesuffix(".__init__") in GUEST_PACKAGES:
        return
    for statement in _statements(source.tree.body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        # The root brings the client in when it is first asked for: PEP 562 is a re-export that is late.
        if source.module == "atoll.__init__" and getattr(statement, "name", "") == "__getattr__":
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if not [1 for target in targets if ast.unparse(target) in ("__all__", "__version__")]:
            yield f"line {statement.lineno}: an __init__ only re-exports"


def honest_types(source: Source) -> Iterator[str]:
    """No import for type checkers only: it hides a circle."""
    if "TYPE_CHECKING" not in source.text:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node).endswith("TYPE_CHECKING"):
            yield f"line {node.lineno} imports for type checkers only: move the noun down instead"


def imports_on_top(source: Source) -> Iterator[str]:
    """An import inside a function says which start-up time it saves, or which extra it guards."""
    if not re.search(r"^[ \t]+(import|from)\s", source.text, re.MULTILINE):
        return
    for function in _functions(source):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom) and not _has_words(
                source.comment_at(node.lineno)
            ):
                yield f"line {node.lineno} imports inside {function.name} and doesn't say what that saves"


#: Each rule, the module name that its counter-example pretends to have, and that example.
RULES: list[tuple[Rule, str, str]] = [
    (short_bodies, "atoll.hub.hub", "def long():\n" + "    x = 1\n" * (BODY_LINES_MAX + 1)),
    (short_files, "atoll.hub.hub", "x = 1\n" * (FILE_LINES_MAX + 1)),
    (telling_names, "atoll.node.path_utils", ""),
    (narrow_excepts, "atoll.hub.hub", "try:\n    f()\nexcept Exception:\n    pass\n"),
    (narrow_excepts, "atoll.hub.hub", "try:\n    f()\nexcept (OSError, BaseException):  # why\n    pass\n"),
    (reasoned_exceptions, "atoll.hub.hub", "x = f()  # no" + "qa\n"),
    (reasoned_exceptions, "atoll.hub.hub", "x = f()  # no" + "qa: S101\n"),
    (reasoned_exceptions, "atoll.hub.hub", "x = f()  # type" + ": ignore[misc]\n"),
    (settled_environment, "atoll.hub.hub", "import os\nhome = os.environ['HOME']\n"),
    (empty_packages, "atoll.hub.__init__", '"""A hub."""\ndef serve(): ...\n'),
    (honest_types, "atoll.hub.hub", "import typing\nif typing.TYPE_CHECKING:\n    import json\n"),
    (imports_on_top, "atoll.hub.hub", "def f():\n    import json\n"),
]


@cache
def _sources(folder: Path) -> list[Source]:
    return [
        Source(module=".".join(path.relative_to(folder).with_suffix("").parts), text=path.read_text())
        for path in sorted(folder.rglob("*.py"))
    ]


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    """Every module of the product."""
    return [source for root in SRC for source in _sources(root)]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in RULES), ids=lambda rule: rule.__name__)
def test_the_product_keeps_the_rule(rule: Rule, sources: list[Source]) -> None:
    faults = [f"{source.module}: {fault}" for source in sources for fault in rule(source)]

    assert [] == faults


@pytest.mark.parametrize(("rule", "module", "text"), RULES)
def test_the_rule_sees_what_breaks_it(rule: Rule, module: str, text: str) -> None:
    assert list(rule(Source(module=module, text=text)))


def test_a_reason_satisfies_the_rules_that_ask_for_one() -> None:
    text = (
        "try:\n    f()\nexcept Exception:  # the loop goes on, and logs it\n    pass\n"
        "try:\n    f()\nexcept BaseException:\n    close()\n    raise\n"
        "def f():\n    # rich takes 60 ms to load\n    import rich\n"
        "x = 1  # no" + "qa: S101 - the process is our own\n"
    )
    source = Source(module="atoll.hub.hub", text=text)

    assert [] == [*narrow_excepts(source), *imports_on_top(source), *reasoned_exceptions(source)]


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_tests_and_benchmarks_give_reasons_too(folder: str) -> None:
    faults = [
        f"{source.module}: {fault}"
        for source in _sources(ROOT / folder)
        if source.module != "test_house"
        for rule in (reasoned_exceptions, telling_names, short_bodies)
        for fault in rule(source)
    ]

    assert [] == faults


# --- Dead files -------------------------------------------------------------------------------


def _imported(source: Source) -> Iterator[str]:
    for node in source.statements:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dead_modules(sources: list[Source]) -> list[str]:
    """The modules that no other module imports and that nobody starts."""
    imported = {name for source in sources for name in _imported(source) if name != source.module}
    return [
        source.module
        for source in sources
        if not source.module.endswith("__init__")
        and source.module not in imported
        and not _is_one_of(source.module, STARTED)
    ]


def test_every_module_is_used(sources: list[Source]) -> None:
    assert [] == dead_modules(sources)


def test_a_module_that_nobody_imports_is_found() -> None:
    alive = Source(module="atoll.hub.hub", text="")
    dead = Source(module="atoll.hub.old", text="")
    program = Source(module="atoll.cli.main", text="from atoll.hub import hub\n")

    assert ["atoll.hub.old"] == dead_modules([alive, dead, program])


# --- The tree around the code -----------------------------------------------------------------

#: What belongs to the place where somebody builds Atoll, and not to Atoll. In pieces, so that this
#: file holds none of it: ``{0}`` vanishes.
FOREIGN = re.compile(
    r"/wo{0}rk/(main|shared|\.library)|/opt/(py{0}pi|whe{0}els)|\bpypi\.o{0}rg|python{0}hosted\.org"
    r"|registry\.npm{0}js|\bTO{0}DO\b|\bFIX{0}ME\b".replace("{0}", "")
)


def _texts() -> Iterator[tuple[str, str]]:
    """Every text of the project, with its path."""
    paths = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".coverage"]
    paths += [path for tree in TREES for path in (ROOT / tree).rglob("*") if path.is_file()]
    for path in sorted(paths):
        if "__pycache__" in path.parts or path.name.startswith(".coverage"):
            continue
        try:
            yield str(path.relative_to(ROOT)), path.read_text()
        except UnicodeDecodeError:
            continue  # A picture or an archive holds no sentence.


def test_the_project_speaks_of_itself_alone() -> None:
    faults = [
        f"{path}:{number}: {found[0]}"
        for path, text in _texts()
        for number, line in enumerate(text.splitlines(), 1)
        if (found := FOREIGN.search(line))
    ]

    assert [] == faults


def test_a_foreign_path_is_seen() -> None:
    assert FOREIGN.search("see /wo" + "rk/shared/notes.md")


def test_every_fragment_of_a_change_has_a_slug_a_kind_and_a_sentence() -> None:
    kinds = "added|changed|fixed|removed|security"
    named = re.compile(rf"\+[a-z0-9]+(-[a-z0-9]+)*\.({kinds})\.md|README\.md")
    fragments = sorted((ROOT / "changes").iterdir())

    assert [] == [path.name for path in fragments if not named.fullmatch(path.name)]
    assert [] == [path.name for path in fragments if not path.read_text().strip().endswith(".")]


def _nav_pages(entry: object) -> Iterator[str]:
    match entry:
        case str():
            yield entry
        case list():
            for child in entry:
                yield from _nav_pages(child)
        case dict():
            for child in entry.values():
                yield from _nav_pages(child)


def test_every_page_exists_and_can_be_found() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    listed = set(_nav_pages(config["nav"]))
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}

    assert sorted(listed) == sorted(written)
