"""``atoll hub``: what each verb says and leaves."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from atoll.cli.exits import DONE, FAILED, UNUSABLE
from atoll.cli.hub import hub_app

_HUB = "import sys; from atoll.cli.hub import hub_app; sys.exit(hub_app(sys.argv[1:], standalone_mode=False) or 0)"


def hub(*words: str | Path) -> int:
    """Run the command in this process; its exit status."""
    status = hub_app([str(word) for word in words], standalone_mode=False)
    assert isinstance(status, int)
    return status


@contextmanager
def started(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A hub in a process of its own, and where it listens."""
    command = [sys.executable, "-c", _HUB, "start", "--folder", str(folder), "--port", "0", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + (process.stderr.read() if process.stderr and process.poll() is not None else "")
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def ask(url: str, body: object = None) -> dict[str, object]:
    """One request."""
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, content), timeout=10) as answer:
        found: dict[str, object] = json.loads(answer.read())
        return found


@pytest.mark.timeout(120)
def test_a_hub_shows_its_set_up_code_once_and_ends_in_order(tmp_path: Path) -> None:
    with started(tmp_path / "hub") as (process, url):
        assert process.stdout is not None
        code = process.stdout.readline().removeprefix("Set-up code: ").strip()
        sent = {"code": code, "organization": "Lagoon", "username": "ada", "password": "seven small islands"}
        assert "user" in ask(f"{url}/v1/setup", sent)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=15)
    with started(tmp_path / "hub") as (process, url):
        health = ask(f"{url}/v1/health")
        process.send_signal(signal.SIGINT)
        again, _ = process.communicate(timeout=15)

    assert 0 == process.returncode
    assert out.endswith("The hub has ended.\n")
    assert "POST /v1/setup 201" in err
    assert "seven" not in err
    assert {"status": "ok"} == health
    assert "The hub has ended.\n" == again


@pytest.mark.timeout(120)
def test_a_new_password_ends_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert DONE == hub("setup-code", "--folder", tmp_path)
    code = capsys.readouterr().out.removeprefix("Set-up code: ").strip()
    with started(tmp_path) as (_, url):
        ask(
            f"{url}/v1/setup",
            {"code": code, "organization": "O", "username": "ada", "password": "seven small islands"},
        )
        monkeypatch.setattr(sys, "stdin", io.StringIO("eight larger islands\n"))
        assert DONE == hub("reset-password", "ADA", "--folder", tmp_path)
        tokens = ask(f"{url}/v1/login", {"username": "ada", "password": "eight larger islands"})
    assert "access_token" in tokens
    assert UNUSABLE == hub("setup-code", "--folder", tmp_path)


@pytest.mark.parametrize(("typed", "status"), [("", UNUSABLE), ("eight larger islands\n", FAILED)])
def test_a_password_that_can_not_be_replaced_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, status: int
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))

    assert status == hub("reset-password", "nobody", "--folder", tmp_path)


def test_a_hub_does_not_listen_beyond_its_machine_without_https(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert UNUSABLE == hub("start", "--folder", tmp_path / "hub", "--host", "0.0.0.0")
    assert "nothing speaks HTTPS" in capsys.readouterr().err
    assert not (tmp_path / "hub").exists()


@pytest.mark.timeout(120)
def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        command = [sys.executable, "-c", _HUB, "start", "--folder", str(tmp_path)]
        done = subprocess.run(
            [*command, "--port", str(taken.getsockname()[1])], capture_output=True, text=True, check=False
        )

    assert UNUSABLE == done.returncode
    assert "can't listen at 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_what_can_be_used_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = hub("check", "--folder", tmp_path / "hub", "--blobs", tmp_path / "blobs", "--json")

    findings = json.loads(capsys.readouterr().out)["findings"]
    assert DONE == status
    assert ["settings", "database", "blobs"] == [one["subject"] for one in findings]
    assert not (tmp_path / "hub").exists()


def test_check_tells_what_can_not_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "hub.yaml"
    config.write_text("database: mysql://ada:hidden@db/atoll\ntls_certificate: none.pem\ntls_key: none.pem\n")

    status = hub("check", "--config", config, "--folder", tmp_path)

    told = capsys.readouterr().out
    assert FAILED == status
    assert "fault database" in told
    assert "fault tls_certificate" in told
    assert "hidden" not in told


def test_a_fault_in_the_settings_is_told_to_programs_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "hub.yaml"
    config.write_text("prot: 1\n")

    status = hub("check", "--config", config, "--json")

    assert UNUSABLE == status
    assert "did you mean port" in json.loads(capsys.readouterr().out)["error"]["message"]


@pytest.mark.timeout(120)
def test_one_hub_alone_serves_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with started(tmp_path / "hub"):
        assert hub("start", "--folder", tmp_path / "hub", "--port", "0") == UNUSABLE
    told = capsys.readouterr().err
    assert f"another hub serves {tmp_path / 'hub' / 'hub.db'}" in told
    assert "PostgreSQL" in told
