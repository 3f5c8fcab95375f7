"""Interpreters of every kind, told apart and made to work where little else is."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from atoll.engine.running import Launch, Reply, Request, Runtime, Style, whole
from atoll.model.errors import RuntimeUnavailable
from atoll.model.work import Seat
from atoll.runtimes import interpreter
from atoll.runtimes.bubblewrap import BubblewrapRuntime
from atoll.runtimes.interpreter import describe, link_chain
from atoll.runtimes.process import ProcessRuntime


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment under /tmp, with links, a path file and libraries of its own."""
    folder = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder / "real")
    (folder / "link").symlink_to("real")
    libraries = next((folder / "real" / "lib").glob("python*")) / "site-packages"
    (folder / "source").mkdir()
    (folder / "source" / "editable.py").write_text("NAME = 'editable'")
    (libraries / "editable.pth").write_text(f"# a comment\n{folder / 'source'}\nimport sys\n")
    (libraries / "plain.py").write_text("NAME = 'plain'; import time; IMPORTED = time.monotonic()")
    (libraries / "space").mkdir()  # without a file that makes it a package
    (libraries / "space" / "part.py").write_text("import time; IMPORTED = time.monotonic()")
    (libraries / "threaded.py").write_text(
        "import threading, signal\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    # What a package index has under this name expects another world.
    (libraries / "coinstac.py").write_text("raise ImportError('the published one')")
    (libraries / "framework.py").write_text("import coinstac\nSTART = coinstac.start")
    return folder


@pytest.fixture(
    params=[
        "process-cold",
        "process-warm",
        pytest.param("bubblewrap-cold", marks=pytest.mark.needs("bubblewrap")),
        pytest.param("bubblewrap-warm", marks=pytest.mark.needs("bubblewrap")),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(kind: str, folder: Path, python: Path) -> Runtime:
    warm = kind.endswith("warm")
    if kind.startswith("process"):
        return ProcessRuntime(python=python, warm=warm)
    return BubblewrapRuntime(python=python, warm=warm, roots=[folder])


def calls(runtime: Runtime, folder: Path, script: str, *requests: bytes, **fields: Any) -> list[Reply]:
    for name in ("code", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "code" / "local.py").write_text(script)
    defaults: dict[str, Any] = {
        "seat": Seat("local0"),
        "style": Style.CALL,
        "code": folder / "code",
        "command": ("python", "local.py"),
        "temporary": folder / "tmp",
        "log": folder / "log",
    }

    async def go() -> list[Reply]:
        try:
            session = await runtime.start(Launch(**(defaults | fields)))
            try:
                return [await session.call(Request(body=request)) for request in requests]
            finally:
                await session.close()
        finally:
            await runtime.close()

    return asyncio.run(go())


def test_own_interpreter_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Atoll's own interpreter is described without a process."""
    monkeypatch.setattr(interpreter, "_known", {})
    monkeypatch.setattr(interpreter.subprocess, "run", None)  # type: ignore[attr-defined] # as far as this module sees

    own = describe(None)

    assert (Path(sys.executable), sys.version_info[:2]) == (own.executable, own.version)
    assert own is describe(Path(sys.executable))


def test_another_interpreter_is_asked_once(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another interpreter tells what it needs, and is remembered."""
    python = environment / "link" / "bin" / "python"

    first = describe(python)
    monkeypatch.setattr(interpreter.subprocess, "run", None)  # type: ignore[attr-defined] # as far as this module sees

    assert first is describe(python)
    assert {environment / "real", environment / "source"} <= set(first.folders)
    assert environment / "link" in dict(first.links)
    assert any(path.name == "site-packages" for path in first.libraries)


def test_own_description_equals_the_asked_one() -> None:
    """What Atoll knows of its own interpreter is what that would say if it were asked."""
    own = describe(None)

    asked = interpreter._understand(*interpreter._ask(Path(sys.executable)))

    assert set(asked.folders) == set(own.folders)  # pytest may have put one of them before others
    assert asked.links == own.links
    assert set(asked.libraries) <= {*own.libraries, *asked.libraries}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#!/bin/sh\necho no python", "can't be used as a Python interpreter"),
        ("#!/bin/sh\nexit 3", "can't be used as a Python interpreter"),
        (
            "#!/bin/sh\necho \"((3, 7), '/x', [], ['/x'])\"",
            r"is Python 3\.7; Atoll runs algorithms on Python 3\.8",
        ),
        ("#!/bin/sh\necho \"((3, 9), '/x', ['/'], ['/'])\"", "installed in '/'"),
    ],
)
def test_unusable_interpreter_is_told(tmp_path: Path, text: str, reason: str) -> None:
    """What isn't Python, or is too old, is refused with a sentence."""
    program = tmp_path / "python"
    program.write_text(text)
    program.chmod(0o755)

    with pytest.raises(RuntimeUnavailable, match=reason):
        describe(program)


def test_missing_interpreter_is_told(tmp_path: Path) -> None:
    """A path that leads nowhere is refused with a sentence."""
    with pytest.raises(RuntimeUnavailable, match="No such file"):
        describe(tmp_path / "none")


def test_link_chain_follows_every_link(tmp_path: Path) -> None:
    """Links of folders and of files are found, relative and absolute ones, and circles end."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "python").touch()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "a").symlink_to(tmp_path / "folder" / ".." / "b")
    (tmp_path / "b").symlink_to("folder/python")
    (tmp_path / "circle").symlink_to("circle")

    chain = link_chain(tmp_path / "a")

    found = [path.name for path in chain if tmp_path in path.parents]
    assert ["a", "folder", "b"] == found
    assert link_chain(tmp_path / "circle")


def test_environment_under_tmp_works(kind: str, environment: Path, tmp_path: Path) -> None:
    """A virtual environment under /tmp runs scripts with its own libraries, through its links."""
    script = """
import json, sys, plain, editable
print(json.dumps([plain.NAME, editable.NAME, sys.prefix, sys.executable]))
"""
    python = environment / "link" / "bin" / "python"

    (reply,) = calls(make(kind, tmp_path, python), tmp_path, script, b"")

    assert reply.exit_code == 0, reply.log_tail
    plain, editable, prefix, executable = json.loads(whole(reply.output))
    assert ("plain", "editable") == (plain, editable)
    assert os.path.realpath(prefix) == str(environment / "real")
    assert os.path.dirname(executable) in (
        str(environment / "real" / "bin"),
        str(environment / "link" / "bin"),
    )


def test_libraries_are_imported_once(kind: str, environment: Path, tmp_path: Path) -> None:
    """A warm parent imports what is installed for all calls; a cold start does it for each."""
    python = environment / "real" / "bin" / "python"

    replies = calls(make(kind, tmp_path, python), tmp_path, "import plain; print(plain.IMPORTED)", b"", b"")

    assert (1 if kind.endswith("warm") else 2) == len({reply.output for reply in replies})


def test_libraries_are_imported_ahead_where_a_launch_names_them(
    kind: str, environment: Path, tmp_path: Path
) -> None:
    """A launch may know better than its code what calls will import."""
    python = environment / "real" / "bin" / "python"
    script = "print(__import__('pl' + 'ain').IMPORTED, __import__('space.part').part.IMPORTED)"
    names = ("plain", "space.part", "missing")

    replies = calls(make(kind, tmp_path, python), tmp_path, script, b"", b"", libraries=names)

    assert (1 if kind.endswith("warm") else 2) == len({reply.output for reply in replies})


def test_library_with_a_thread_is_never_forked(kind: str, environment: Path, tmp_path: Path) -> None:
    """A thread does not survive a fork: where an import starts one, calls start cold."""
    script = "import threaded, threading, sys; print(threading.active_count())"
    python = environment / "real" / "bin" / "python"

    replies = calls(make(kind, tmp_path, python), tmp_path, script, b"", b"")

    assert [b"2\n"] * 2 == [reply.output for reply in replies]


@pytest.mark.parametrize("library", ["coinstac", "framework"])
def test_atolls_coinstac_comes_first(kind: str, environment: Path, tmp_path: Path, library: str) -> None:
    """A served process gets Atoll's module, whatever is installed under its name."""
    name = "coinstac.start" if library == "coinstac" else "framework.START"
    script = f"import {library}; {name}(lambda data: data, None)"
    python = environment / "real" / "bin" / "python"
    request = json.dumps({"mode": "local", "data": "served"}).encode()

    (reply,) = calls(make(kind, tmp_path, python), tmp_path, script, request, style=Style.SERVE)

    assert b'"served"' == reply.output, reply.log_tail


@pytest.mark.needs("bubblewrap")
def test_data_on_the_import_path_stays_hidden(environment: Path, tmp_path: Path) -> None:
    """Where the author's environment has the computation's folder on its path, test data is masked there too."""
    code = environment / "source"
    (code / "test").mkdir(exist_ok=True)
    (code / "test" / "secret").touch()
    (code / "show.py").write_text(f"import os; print(os.listdir({str(code / 'test')!r}))")
    python = environment / "real" / "bin" / "python"
    for warm in (False, True):
        runtime = BubblewrapRuntime(python=python, warm=warm, roots=[tmp_path, code])

        (reply,) = calls(
            runtime, tmp_path, "", b"", code=code, masked=("test",), command=("python", "show.py")
        )

        assert b"[]\n" == reply.output, reply.log_tail
