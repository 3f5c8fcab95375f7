"""A command that comes from the nursery is a process as any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests import nursery

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]


def test_it_says_and_returns_what_the_command_does() -> None:
    for words in (("--version",), ("simulate", "nowhere"), ("simulate", "--no-such-option", "--json")):
        command = [sys.executable, "-m", "atoll", *words]
        expected = subprocess.run(command, capture_output=True, text=True, check=False)

        done = nursery.run(*words)

        assert (expected.returncode, expected.stdout, expected.stderr) == (
            done.returncode,
            done.stdout,
            done.stderr,
        )


def test_its_folder_and_environment_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "compspec.json").write_text("{")

    narrow, wide = (
        nursery.run("simulate", "--help", env={**os.environ, "COLUMNS": columns}) for columns in ("40", "120")
    )
    here, there = (nursery.run("simulate", ".", cwd=folder) for folder in (tmp_path, Path("/")))

    assert len(narrow.stdout.splitlines()) > len(wide.stdout.splitlines())
    assert "holds no algorithm" in there.stderr
    assert "compspec.json:1:2: expected" in here.stderr


def test_what_an_interpreter_reads_at_its_start_is_refused() -> None:
    with pytest.raises(ValueError, match="LANG is read when an interpreter starts"):
        nursery.start("--version", env={**os.environ, "LANG": "klingon"})


def test_it_ends_by_a_signal(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text("import signal\n\ndef wait():\n    signal.pause()\n")
    words = ("simulate", tmp_path / "waits.py", "--function", "wait", "--output", tmp_path / "out")
    started = nursery.start(*words, "--runtime", "process", start_new_session=True)
    assert os.getsid(started.pid) == started.pid
    assert started.poll() is None

    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(0)
    started.kill()

    assert -signal.SIGKILL == started.wait()
    assert not Path(f"/proc/{started.pid}").exists()
    started.kill()  # It has ended: nobody else is meant.


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="can't be started with this folder"):
        nursery.start("--version", cwd=tmp_path / "nowhere")
