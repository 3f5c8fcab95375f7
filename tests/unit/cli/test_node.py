"""``atoll node`` says what it does, and what is wrong, with an exit status."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from pathlib import Path

import pytest

from atoll.cli import main
from atoll.cli.stationed import Lines


def atoll(monkeypatch: pytest.MonkeyPatch, line: str) -> int:
    """Type a command; its exit status."""
    monkeypatch.setattr(sys, "argv", ["atoll", *shlex.split(line)])
    with pytest.raises(SystemExit) as left:
        main.run()
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A node.yaml."""
    path = tmp_path / "node.yaml"
    (tmp_path / "a.csv").write_text("n\n")
    path.write_text("hub: http://127.0.0.1:1\nname: Dream\ndatabases: {a: a.csv}\n")
    return path


def test_what_is_mapped_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    mapped = (
        f"node map Ridge --input 'data=[\"a.csv\"]' --input name=text --folder {config.parent} -c {config}"
    )

    assert atoll(monkeypatch, mapped) == 0
    assert atoll(monkeypatch, f"node map Ridge --input lambda=0.5 --digest sha256:1 -c {config}") == 0
    capsys.readouterr()
    assert atoll(monkeypatch, f"node maps --json -c {config}") == 0
    assert json.loads(capsys.readouterr().out)["maps"] == [
        {
            "computation": "Ridge",
            "digest": None,
            "inputs": {"data": ["a.csv"], "name": "text"},
            "folder": str(config.parent),
        },
        {"computation": "Ridge", "digest": "sha256:1", "inputs": {"lambda": 0.5}, "folder": None},
    ]
    assert atoll(monkeypatch, f"node maps -c {config}") == 0
    assert 'Ridge: data=["a.csv"], name="text" files of' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("map Ridge", "there is nothing to map"),
        ("map Ridge --input lambda", "expected NAME=JSON"),
        ("map Ridge --folder /no/such/folder", "is not a folder"),
        ("start --hub http://x", "go with --register"),
        ("start", "node.key can't be read"),
        ("doctor -c nowhere.yaml", "nowhere.yaml is not there"),
        ("status -c nowhere.yaml", "nowhere.yaml is not there"),
        ("maps -c nowhere.yaml", "nowhere.yaml is not there"),
        ("start --register CODE -c nowhere.yaml", "--register needs --hub URL too"),
    ],
)
def test_what_cannot_be_done_is_told_with_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path, line: str, words: str
) -> None:
    monkeypatch.chdir(config.parent)

    assert atoll(monkeypatch, f"node {line}") == 2
    assert words in capsys.readouterr().err


def test_a_hub_that_is_not_there_ends_a_registration_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    assert atoll(monkeypatch, f"node start --register CODE -c {config}") == 1
    assert "no hub answers at http://127.0.0.1:1" in capsys.readouterr().err


def test_status_says_whether_the_node_is_at_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    assert atoll(monkeypatch, f"node status -c {config}") == 0
    assert "not started" in capsys.readouterr().out
    assert atoll(monkeypatch, f"node status --json -c {config}") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["at_work"], found["databases"]) == ("Dream", False, ["a"])


def test_the_doctor_ends_with_status_1_where_there_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    assert atoll(monkeypatch, f"node doctor --json -c {config}") == 1
    found = {each["subject"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert found["database a"]["level"] == "ok"
    assert found["hub"]["level"] == "fault"
    assert atoll(monkeypatch, f"node doctor -c {config}") == 1
    assert "         -> check the address, the proxy, and that the hub runs" in capsys.readouterr().out


def test_with_json_what_is_wrong_is_a_document_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    config.write_text("hub: 1")

    assert atoll(monkeypatch, f"node status --json -c {config}") == 2
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "SpecInvalid"


def test_nobodys_name_looks_like_a_line_of_the_log() -> None:
    said = logging.LogRecord("node", logging.INFO, "", 1, "job of %s begins", ("a\nERROR \x1b[31m",), None)

    assert Lines("%(levelname)s %(message)s").format(said) == "INFO job of a\\nERROR \\x1b[31m begins"
