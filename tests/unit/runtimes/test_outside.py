"""Runtimes that other distributions bring, and the suite that examines them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.engine.running import Launch, Reply, Runtime, Session
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes import outside
from atoll.runtimes.conformance import CHECKS, Finding, Subject, Verdict, examine
from atoll.runtimes.conformance.__main__ import main
from atoll.runtimes.outside import RuntimeContext
from atoll.runtimes.process import ProcessRuntime

MODULE = """
from atoll.runtimes.process import ProcessRuntime

class Moored(ProcessRuntime):
    name = "moored"

def make(context):
    runtime = Moored(python=context.python)
    runtime.context = context
    return runtime

number = 5
"""
POINTS = """
[atoll.runtimes]
moored = moored:make
docker = moored:make
broken = moored_elsewhere:make
number = moored:number
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution on the import path that brings runtimes."""
    (tmp_path / "moored.py").write_text(MODULE)
    information = tmp_path / "moored-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: moored\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "moored", raising=False)


@pytest.mark.usefixtures("installed")
def test_installed_runtime_is_found_by_its_name() -> None:
    """Its factory is told who owns it, where launches lie and what an admin says."""
    context = RuntimeContext(owner="node", roots=(Path("/here"),), options={"speed": 3})
    runtime = outside.load("moored")(context)

    assert ("moored", context) == (runtime.name, runtime.context)  # type: ignore[attr-defined]  # the test's own
    assert ("broken", "moored", "number") == outside.names()


@pytest.mark.usefixtures("installed")
def test_own_words_are_nobody_elses() -> None:
    """A distribution can't put itself in place of a runtime of Atoll's."""
    with pytest.raises(RuntimeUnavailable, match="there is no runtime 'docker'"):
        outside.load("docker")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "sunken",
            r"there is no runtime 'sunken': expected apptainer, .*, slurm, broken, moored, number, or one",
        ),
        (
            "broken",
            r"'broken' is installed as 'moored_elsewhere:make' and can't be imported: ModuleNotFoundError",
        ),
        ("number", r"'number' is installed as 'moored:number', which is no function"),
    ],
)
def test_runtime_that_cannot_be_had_is_named(name: str, said: str) -> None:
    """Who asks for one hears what there is, or what is wrong with it."""
    with pytest.raises(RuntimeUnavailable, match=said):
        outside.load(name)


@pytest.mark.usefixtures("installed")
def test_suite_examines_an_installed_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    """Without any test framework: a line for each check, and a status."""
    status = main(["moored", "--option", "speed=3", "--check", "answer", "--check", "elsewhere"])

    first, second, why = capsys.readouterr().out.splitlines()
    assert 0 == status
    assert ["kept", "answer"] == first.split()[:2]
    assert ["not", "promised", "elsewhere"] == second.split()[:3]
    assert "this runtime doesn't isolate" == why.strip()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sunken"], "there is no runtime 'sunken'"),
        (["process", "--check", "flight"], "there is no check 'flight': expected one of again, answer,"),
    ],
)
def test_suite_says_what_it_does_not_know(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a name of a runtime nor one of a check is guessed."""
    assert 2 == main(words)
    assert said in capsys.readouterr().err


class Forgetful(ProcessRuntime):
    """Breaks some promises, and says of one that it doesn't make it."""

    async def start(self, launch: Launch) -> Session:
        session = await super().start(replace(launch, environment={}))
        call = session.call

        async def other(*words: object, **options: object) -> Reply:
            reply = await call(*words, **options)  # type: ignore[arg-type]  # as they came
            return replace(reply, exit_code=0)

        session.call = other  # type: ignore[method-assign]  # what it forgets
        return session

    async def recover(self) -> None:
        raise RuntimeError("it can't")

    def not_promised(self) -> Mapping[str, str]:
        return {"seed": "chance is chance"}


def forgetful(_context: RuntimeContext) -> Runtime:
    return Forgetful()


def found(name: str, folder: Path, **fields: object) -> Finding:
    check = next(check for check in CHECKS if check.name == name)
    subject = Subject(name="forgetful", make=forgetful, **fields)  # type: ignore[arg-type]  # as asked
    return asyncio.run(examine(check, subject, folder))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("environment", "expected ['1', \"call's\", '3', None], and it is [None, \"call's\", '3', None]"),
        ("status", "a reply: expected (3, b'', 'last words\\n'), and it is (0, b'', 'last words\\n')"),
        ("owner-killed", "RuntimeError: it can't"),
    ],
)
def test_broken_promise_is_told(name: str, why: str, tmp_path: Path) -> None:
    """A runtime that does something else, or raises something else, is found out."""
    finding = found(name, tmp_path)

    assert (Verdict.BROKEN, True) == (finding.verdict, why in finding.why)


def test_promise_that_is_not_made_is_not_kept(tmp_path: Path) -> None:
    """The runtime may say so, and so may whoever examines it."""
    said = found("seed", tmp_path)
    told = found("crash", tmp_path, not_promised={"crash": "nobody knows here"})

    assert (Verdict.NOT_PROMISED, "chance is chance") == (said.verdict, said.why)
    assert (Verdict.NOT_PROMISED, "nobody knows here") == (told.verdict, told.why)


def test_checks_have_names_of_their_own() -> None:
    """A name is how a check is asked for; what it promises is a sentence."""
    assert len(CHECKS) == len({check.name for check in CHECKS})
    assert all(check.what.endswith(".") for check in CHECKS)
