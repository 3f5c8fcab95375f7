"""Which libraries a warm parent imports ahead of an algorithm."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.runtimes.imports import find_libraries
from atoll.runtimes.interpreter import Interpreter


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    """An interpreter with four libraries."""
    libraries = tmp_path / "site-packages"
    for name in ("alpha", "beta/part"):
        (libraries / name).mkdir(parents=True)
    (libraries / "gamma.py").touch()
    (libraries / "delta.cpython-311-x86_64-linux-gnu.so").touch()
    return Interpreter(
        executable=Path("/usr/bin/python3"), version=(3, 11), folders=(), links=(), libraries=(libraries,)
    )


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def test_only_installed_libraries_are_found(code: Path, interpreter: Interpreter) -> None:
    """Packages, modules and extensions count; the standard library and what is missing don't."""
    write(code / "local.py", "import os, json, alpha, gamma as g, delta, missing\nfrom . import x")

    assert ("alpha", "delta", "gamma") == find_libraries(code, (), interpreter)


def test_names_within_a_package_are_tried(code: Path, interpreter: Interpreter) -> None:
    """``from beta import part`` may name a module, so that both are tried."""
    write(code / "local.py", "from beta import part, Thing as T\nimport beta.other\nfrom alpha import *")

    expected = ("alpha", "beta", "beta.Thing", "beta.other", "beta.part")
    assert expected == find_libraries(code, (), interpreter)


def test_imports_within_functions_count(code: Path, interpreter: Interpreter) -> None:
    """What a function imports when it is called is imported by most calls."""
    write(
        code / "local.py",
        """
        try:
            import alpha
        except ImportError:
            alpha = None
        def work():
            import gamma
        """,
    )

    assert ("alpha", "gamma") == find_libraries(code, (), interpreter)


def test_code_comes_before_libraries_of_its_name(code: Path, interpreter: Interpreter) -> None:
    """A module of the algorithm's own is never taken for an installed one."""
    write(code / "local.py", "import alpha, beta, gamma")
    write(code / "gamma.py", "")
    write(code / "scripts" / "alpha" / "__init__.py", "")

    assert ("beta",) == find_libraries(code, (), interpreter)


def test_masked_and_foreign_folders_are_not_read(code: Path, interpreter: Interpreter) -> None:
    """Data, hidden folders, environments and broken files are passed over."""
    write(code / "test" / "a.py", "import alpha")
    write(code / ".git" / "a.py", "import alpha")
    write(code / "venv" / "pyvenv.cfg", "")
    write(code / "venv" / "a.py", "import alpha")
    write(code / "secret.py", "import alpha")
    write(code / "broken.py", "import alpha as")
    write(code / "fine.py", "import gamma")

    assert ("gamma",) == find_libraries(code, ("test", "secret.py"), interpreter)


@pytest.mark.parametrize(
    "change",
    [
        "os.environ['OMP_NUM_THREADS'] = '1'",
        "os.environ.setdefault('A', 'b')",
        "os.environ.update(A='b')",
        "environ['A'] = 'b'",
        "del os.environ['A']",
        "os.environ |= {}",
        "os.putenv('A', 'b')",
        "if True:\n    os.environ['A'] = 'b'",
        "try:\n    os.environ.pop('A')\nexcept KeyError:\n    pass",
    ],
)
def test_environment_that_changes_before_an_import_stops_it(
    code: Path, interpreter: Interpreter, change: str
) -> None:
    """Libraries read the environment when they are imported: a script that sets it comes first."""
    write(code / "a.py", "import alpha")
    write(code / "local.py", f"import os\nfrom os import environ\n{change}\nimport gamma\n")

    assert () == find_libraries(code, (), interpreter)


def test_environment_that_is_read_or_changes_later_stops_nothing(
    code: Path, interpreter: Interpreter
) -> None:
    """Reading it is harmless, and so is a change in a function or behind the last import."""
    write(
        code / "local.py",
        """
        import os
        here = os.environ["HOME"] + os.environ.get("A", "")
        def work():
            os.environ["A"] = "b"
        import gamma
        os.environ["A"] = "b"
        """,
    )

    assert ("gamma",) == find_libraries(code, (), interpreter)


def test_some_names_are_never_imported_ahead(code: Path, interpreter: Interpreter) -> None:
    """A name that Atoll provides itself is left out, whatever is installed."""
    write(code / "local.py", "import alpha, gamma.x")

    assert ("alpha",) == find_libraries(code, (), interpreter, without=("gamma",))


def test_code_on_the_import_path_is_not_installed(code: Path, interpreter: Interpreter) -> None:
    """An algorithm that is installed as editable has no module that is imported ahead of its calls."""
    installed = interpreter.libraries[0]
    # `space` is a package without a file of its own: a part of it is installed, a part is the author's.
    for path in (
        code / "src/deep/inner/x.py",
        code / "build/y.py",
        code / "src/space/z.py",
        installed / "space/w.py",
    ):
        write(path, "")
    write(code / "local.py", "import deep.inner.x, build.y, code.local, space.z, alpha")
    libraries = (installed, code / "src", code, code.parent)

    assert ("alpha",) == find_libraries(code, (), replace(interpreter, libraries=libraries))


def test_code_that_no_parser_takes_costs_only_time(code: Path, interpreter: Interpreter) -> None:
    """Text that is nested too deeply for Python is passed over."""
    write(code / "bomb.py", "-" * 100_000 + "1")
    write(code / "local.py", "import alpha")

    assert ("alpha",) == find_libraries(code, (), interpreter)


def test_single_file_is_read(code: Path, interpreter: Interpreter) -> None:
    """Code may be one file: what lies beside it is not looked at."""
    write(code / "mean.py", "import alpha, mean")
    write(code / "other.py", "import gamma")
    (interpreter.libraries[0] / "mean.py").touch()

    assert ("alpha",) == find_libraries(code / "mean.py", (), interpreter, name="mean.py")
    assert () == find_libraries(write_text(code / "table.csv"), (), interpreter, name="table.csv")


def write_text(path: Path) -> Path:
    write(path, "import alpha")
    return path


def test_package_hides_only_its_own_name(code: Path, interpreter: Interpreter) -> None:
    """A part of a package is imported by the package's name, and hides no library."""
    write(code / "gamma.py", "import alpha.x, code, named, gamma")
    for name in ("code", "named"):
        (interpreter.libraries[0] / name).mkdir()

    assert ("alpha.x", "code", "gamma") == find_libraries(code, (), interpreter, name="named")


def test_libraries_may_be_named_beside(code: Path, interpreter: Interpreter) -> None:
    """What is named counts as if the code imported it, if it is installed; parts of it do, too."""
    write(code / "local.py", "import gamma, beta")
    write(code / "delta.py", "")
    write(interpreter.libraries[0] / "space" / "part" / "__init__.py", "")
    beside = ("alpha.tools.wrap", "missing.x", "delta", "space.part.wrap")

    found = find_libraries(code, (), interpreter, beside=beside)

    assert ("alpha.tools.wrap", "beta", "gamma", "space.part.wrap") == found
    write(code / "late.py", "import os\nos.environ['A'] = 'b'\nimport alpha\n")
    assert () == find_libraries(code, (), interpreter, beside=beside)
