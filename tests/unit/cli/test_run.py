"""``atoll login`` and ``atoll run``, at a real hub: documents for programs, sentences for people, statuses."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.landing import PASSWORD, Landing, landing

from atoll.cli.login_kept import Kept, kept
from atoll.cli.main import app
from atoll.dialects.functions.body import read_call
from atoll.dialects.functions.container import pack
from atoll.model.errors import Unusable

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
MEAN = str(EXAMPLES / "functions/mean")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document that it printed."""
        return json.loads(self.out)


Command = Callable[..., Ended]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landing]:
    with landing(tmp_path_factory.mktemp("hub")) as there:
        yield there


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command of somebody who is not logged in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ATOLL_URL", "ATOLL_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def ask(*words: str) -> Ended:
        capsys.readouterr()
        status = app([*words], standalone_mode=False)
        told = capsys.readouterr()
        return Ended(status=int(status or 0), out=told.out, err=told.err)

    return ask


@pytest.fixture
def atoll(hub: Landing, nobody: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command of somebody whom the environment names."""
    monkeypatch.setenv("ATOLL_URL", hub.url)
    monkeypatch.setenv("ATOLL_TOKEN", hub.token)
    return nobody


def _submitted(atoll: Command, *more: str) -> str:
    ended = atoll("run", "submit", MEAN, "--collaboration", "islands", "--arg", "column=x", "--json", *more)
    assert ended.status == 0, ended.err
    return str(ended.json["run"])


def test_a_run_is_submitted_watched_and_shown(hub: Landing, atoll: Command) -> None:
    run = _submitted(atoll, "--name", "weights")
    assert "waits for" in atoll("run", "show", run).out
    hub.play("Biscoe", 4201.5)

    watched = atoll("run", "watch", run, "--json")
    assert watched.status == 0
    assert {**watched.json, "seconds": 0.0} == {
        "run": run,
        "status": "done",
        "dialect": "functions",
        "sites": ["Biscoe", "Dream", "Torgersen"],
        "rounds": 1,
        "iterations": 0,
        "result": 4201.5,
        "results": {"Biscoe": 4201.5},
        "error": None,
        "seconds": 0.0,
        "output": None,
        "warnings": [],
    }
    assert "4201.5" in atoll("run", "result", run).out.replace(",", "")
    assert run in [one["id"] for one in atoll("run", "list", "--name", "weigh", "--json").json["runs"]]
    assert "weights" in atoll("run", "list").out
    assert atoll("run", "record", run).json["run"]["id"] == run
    assert atoll("run", "logs", run, "--json").json == {"logs": []}
    assert "no site has let anything out" in atoll("run", "logs", run).err
    assert "expected active, done, failed" in atoll("run", "list", "--status", "over").err


def test_a_run_that_fails_ends_the_command_with_1_and_a_document(hub: Landing, atoll: Command) -> None:
    run = _submitted(atoll)
    hub.break_("Biscoe", "no such column")

    ended = atoll("run", "watch", run, "--json")
    assert ended.status == 1
    assert ended.json["error"] == {
        "type": "AlgorithmFailed",
        "message": "no such column",
        "site": "Biscoe",
    }
    assert "error: the run failed at Biscoe" in ended.err
    assert atoll("run", "result", run).status == 1


def test_a_result_of_a_run_that_goes_on_says_whom_it_waits_for(atoll: Command) -> None:
    run = _submitted(atoll)
    ended = atoll("run", "result", run)

    assert ended.status == 1
    assert "waits for Biscoe" in ended.err
    assert atoll("run", "cancel", run, "--reason", "enough").status == 0
    assert atoll("run", "cancel", run).status == 1


def test_somebody_decides_about_a_job_that_broke(hub: Landing, atoll: Command) -> None:
    run = _submitted(atoll, "--function", "moments", "--site", "Dream", "--on-failure", "ask")
    hub.break_("Dream")
    assert atoll("run", "decide", run, "Dream", "despair").status == 2
    shown = atoll("run", "show", run)
    assert "Dream: held" in shown.out
    assert f"atoll run decide {run} Dream retry|drop|fail" in shown.err

    assert atoll("run", "decide", run, "Dream", "fail", "--json").json["decision"] == "fail"
    assert atoll("run", "watch", run).status == 1


def test_files_of_a_result_are_brought_to_a_folder(hub: Landing, atoll: Command, tmp_path: Path) -> None:
    run = _submitted(atoll)
    hub.report("Biscoe", hub.claim("Biscoe"), pack(1), {"plot.svg": b"<svg/>"})

    assert atoll("run", "result", run, "--files", str(tmp_path / "files"), "--json").json["result"] == 1
    assert (tmp_path / "files/Biscoe/plot.svg").read_bytes() == b"<svg/>"


def test_a_pipeline_of_two_dialects_is_read_from_a_file(hub: Landing, atoll: Command, tmp_path: Path) -> None:
    steps = [
        {"algorithm": str(EXAMPLES / "coinstac/sum"), "inputs": {"start": {"value": 1}}},
        {"algorithm": MEAN, "function": "mean", "args": {"column": "x"}},
    ]
    (tmp_path / "pipeline.json").write_text(json.dumps(steps))

    ended = atoll("run", "submit", "-p", str(tmp_path / "pipeline.json"), "--collaboration", "islands")
    form = atoll("run", "show", ended.out.strip(), "--json").json
    assert [step["algorithm"]["dialect"] for step in form["steps"]] == ["coinstac", "functions"]
    assert hub.claim("Dream").algorithm.dialect == "coinstac"
    atoll("run", "cancel", form["id"])


def test_databases_and_arguments_are_passed_on(hub: Landing, atoll: Command) -> None:
    run = _submitted(atoll, "--database", "penguins", "--at", "Dream")
    call = read_call(hub.claim("Dream").inbox[0].body)

    assert (call.args, call.databases) == ({"column": "x"}, ("penguins",))
    atoll("run", "cancel", run)


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ((), 2, "no algorithm is named"),
        ((MEAN,), 2, "give --arg column=…"),
        ((MEAN, "--function", "median"), 2, "name one with --function"),
        ((MEAN, "--pipeline", "x.json"), 2, "leave the other one out"),
        (("--pipeline", "nowhere.json"), 2, "can't be read"),
        (("nowhere",), 2, "is no path here"),
        ((MEAN, "--on-failure", "panic"), 2, "expected one of fail, drop, ask"),
    ],
)
def test_what_can_not_be_begun_ends_with_2(
    atoll: Command, words: tuple[str, ...], status: int, sentence: str
) -> None:
    ended = atoll("run", "submit", *words, "--collaboration", "islands", "--json")

    assert ended.status == status
    assert sentence in ended.err
    assert sentence in ended.json["error"]["message"]


def test_what_the_hub_refuses_ends_with_1(atoll: Command) -> None:
    ended = atoll("run", "show", "run_nowhere", "--json")

    assert (ended.status, ended.json["error"]["type"]) == (1, "NotThere")


def test_places_are_listed(atoll: Command) -> None:
    assert "Lagoon" in atoll("nodes").out
    names = [node["name"] for node in atoll("nodes", "--collaboration", "islands", "--json").json["nodes"]]
    assert names == ["Biscoe", "Dream", "Torgersen"]
    assert "Biscoe, Dream, Torgersen" in atoll("collaboration", "list").out
    assert atoll("collaboration", "list", "--json").json["collaborations"][0]["name"] == "islands"


def test_a_login_is_kept_for_its_owner_alone_until_he_logs_out(
    hub: Landing, nobody: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "log in with atoll login" in nobody("nodes").err
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "no password stands on standard input" in nobody("login", hub.url, "--username", "keeper").err
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))

    ended = nobody("login", hub.url, "--username", "keeper", "--json")
    assert ended.json == {"url": hub.url, "username": "keeper"}
    assert kept().path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in kept().path.read_text()
    assert nobody("nodes").status == 0
    hub.app.clock.move(16 * 60)
    assert nobody("nodes").status == 0
    assert nobody("nodes", "--url", "http://127.0.0.1:9").status == 2
    assert nobody("logout").status == 0
    assert not kept().path.exists()
    assert nobody("logout").status == 1


def test_a_token_is_read_from_standard_input(
    hub: Landing, nobody: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{hub.token}\n"))

    assert "as keeper" in nobody("login", hub.url, "--token-stdin").err
    assert nobody("nodes").status == 0
    assert nobody("logout").status == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("atp_forged\n"))
    ended = nobody("login", hub.url, "--token-stdin")
    assert ended.status == 1
    assert "atp_forged" not in ended.err
    assert not kept().path.exists()


def test_a_login_that_others_may_read_is_refused(tmp_path: Path) -> None:
    login = Kept(path=tmp_path / "login.json")
    login.write({"url": "x"})
    login.path.chmod(0o644)

    with pytest.raises(Unusable, match="others may read"):
        login.read()
    login.path.chmod(0o600)
    login.path.write_text("{")
    with pytest.raises(Unusable, match="log in again"):
        login.read()
