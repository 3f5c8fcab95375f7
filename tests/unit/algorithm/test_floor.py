"""The package lives among other people's pins: old interpreters, no dependencies, a quick import."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import atoll_algorithm

PACKAGE = Path(atoll_algorithm.__file__).parent
SOURCES = sorted([*PACKAGE.glob("*.py"), *PACKAGE.glob("*.pyi")])
#: What functions import when a value, an annotation or a database says that it is there.
OPTIONAL = {"numpy", "pandas", "annotationlib"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_file_is_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.suffix == ".py"], ids=lambda path: path.name
)
def test_nothing_but_the_standard_library_is_needed(path: Path) -> None:
    assert set() == _imports(path) - set(sys.stdlib_module_names) - {"atoll_algorithm"} - OPTIONAL


def test_importing_it_imports_little() -> None:
    code = (
        f"import sys, json; sys.path.insert(0, {str(PACKAGE.parent)!r}); before = set(sys.modules); "
        "import atoll_algorithm; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    words = [sys.executable, "-S", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    slow = {
        "numpy",
        "pandas",
        "dataclasses",
        "inspect",
        "socket",
        "decimal",
        "datetime",
        "traceback",
        "queue",
    }

    assert "atoll_algorithm" in loaded
    assert set() == loaded & slow


def test_every_public_name_is_there_and_described() -> None:
    for name in atoll_algorithm.__all__:
        assert getattr(atoll_algorithm, name).__doc__, name


def test_every_error_is_drawn_in_the_tree() -> None:
    errors = atoll_algorithm.errors
    drawn = {line.split()[1] for line in errors.__doc__.splitlines() if line.strip()[:1] in ("├", "└")}

    assert drawn == {one.__name__ for one in atoll_algorithm.AlgorithmError.__subclasses__()}
