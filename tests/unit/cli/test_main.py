"""The command before any verb: its help, its version, and words that it doesn't know."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer

from atoll import __version__
from atoll.cli import main


def atoll(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "atoll", *words], capture_output=True, text=True, check=False, timeout=20
    )


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["frobnicate"], "No such command 'frobnicate'. Try 'atoll --help'."),
        (["--nope"], "No such option: --nope Try 'atoll --help'."),
        (["simulate", "--nope"], "Try 'atoll simulate --help'."),
        (["check", "a", "b"], "Try 'atoll check --help'."),
        (["simulate", "--dialect", "klingon"], "Try 'atoll simulate --help'."),
        (["simulate", "--arg"], "Try 'atoll simulate --help'."),
        (
            ["simulate", ".", "column=age"],
            "An argument of a function is given as --arg column=age. Try 'atoll simulate --help'.",
        ),
    ],
)
def test_a_wrong_word_is_answered_with_where_the_right_ones_are(words: list[str], hint: str) -> None:
    done = atoll(*words, "--json") if words != ["simulate", "--arg"] else atoll("simulate", "--json", "--arg")

    assert 2 == done.returncode
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(f"{hint}\n")
    assert "Usage" == json.loads(done.stdout)["error"]["type"]


@pytest.mark.parametrize("words", [["--help"], []])
def test_the_help_lists_the_verbs(words: list[str]) -> None:
    done = atoll(*words)

    assert 0 == done.returncode
    assert [
        "simulate",
        "check",
        "demo",
        "login",
        "logout",
        "nodes",
        "hub",
        "node",
        "image",
        "run",
        "collaboration",
    ] == [line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line.strip()]
    assert "..." not in done.stdout.partition("Commands:")[2]


def test_the_version_is_told() -> None:
    assert f"atoll {__version__}\n" == atoll("--version").stdout


def test_the_help_imports_nothing_that_takes_long() -> None:
    """What draws, what checks and the event loop take some fifty milliseconds each."""
    code = "import sys, atoll.cli.main; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )

    assert set() == {"asyncio", "pydantic", "rich", "yaml"} & set(done.stdout.split())


def test_a_verb_that_is_interrupted_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    app = typer.Typer(cls=main._Verbs)
    app.command("simulate")(interrupted)
    app.command("other")(interrupted)
    monkeypatch.setattr(main, "app", app)
    monkeypatch.setattr(sys, "argv", ["atoll", "simulate"])
    with pytest.raises(SystemExit) as left:
        main.run()

    assert left.value.code == 130
    assert capsys.readouterr().err == "error: the command was interrupted\n"
