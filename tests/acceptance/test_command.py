"""``atoll simulate`` as its users meet it: what it prints, how it ends, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.acceptance.computations import (
    SUM_LOCAL,
    SUM_REMOTE,
    atoll,
    environment,
    script,
    write_computation,
)

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

KEYS = {
    "run",
    "status",
    "dialect",
    "sites",
    "rounds",
    "iterations",
    "result",
    "results",
    "error",
    "seconds",
    "output",
}


@pytest.fixture
def sum_folder(tmp_path: Path) -> Path:
    """The guide's example with two clients."""
    inputs = [{"start": {"value": 1}}, {"start": {"value": 1}}]
    spec = {
        "output": {"sum": {"type": "number", "label": "Decentralized Sum"}},
        "input": {"start": {"type": "number"}},
    }
    return write_computation(tmp_path / "sum", local=SUM_LOCAL, remote=SUM_REMOTE, inputs=inputs, spec=spec)


def test_json_is_one_document_on_standard_output(sum_folder: Path, tmp_path: Path) -> None:
    """All that product and programs rely on, and nothing else on standard output."""
    done = atoll("simulate", sum_folder, "--json", "--output", tmp_path / "out")

    document = json.loads(done.stdout)
    assert (0, 1) == (done.returncode, done.stdout.count("\n"))
    assert KEYS <= set(document)
    assert ("done", "coinstac", ["local0", "local1"]) == (
        document["status"],
        document["dialect"],
        document["sites"],
    )
    assert (10, 5, {"sum": 5}, None) == (
        document["rounds"],
        document["iterations"],
        document["result"],
        document["error"],
    )
    assert str(tmp_path / "out") == document["output"]


def test_the_current_folder_is_the_default_and_runs_are_kept(sum_folder: Path) -> None:
    """Without a path the computation lies here, and the run's folder below atoll-runs."""
    done = atoll("simulate", cwd=sum_folder)

    (folder,) = (sum_folder / "atoll-runs").iterdir()
    assert 0 == done.returncode, done.stderr
    assert "Decentralized Sum" in done.stdout
    assert str(folder) in done.stdout.replace("\n", "")
    assert {"result.json", "run.json", "events.jsonl", "calls.jsonl", "logs", "output"} == {
        path.name for path in folder.iterdir()
    }
    record = json.loads((folder / "run.json").read_text())
    assert record["steps"][0]["compspec_digest"].startswith("sha256:")
    assert 10 == sum(timing["work"] == "call" for timing in record["timings"])
    assert {"local0", "local1"} == set(record["timings"][0]["seats"])


@pytest.mark.parametrize(
    ("words", "kind", "sentence"),
    [
        (["nowhere"], "SpecInvalid", "nowhere/compspec.json is not there"),
        ([".", "--no-such-option"], "Usage", "No such option: --no-such-option"),
        ([".", "-c", "3"], "SpecInvalid", "has inputs for 2 sites, but 3 were asked for"),
        ([".", "-c", "0"], "Usage", "0 is not in the range x>=1"),
        ([".", "--output", "full"], "OutputTaken", "full holds files already"),
        ([".", "--runtime", "inline"], "RuntimeUnavailable", "--runtime inline calls functions"),
        ([".", "--runtime", "klingon"], "RuntimeUnavailable", "klingon"),
        ([".", "-d", "nowhere"], "SpecInvalid", "--directory nowhere is not a folder"),
        ([".", "--python", "/nowhere/python"], "RuntimeUnavailable", "/nowhere/python"),
        (["--resume", "full"], "SpecInvalid", "--resume FOLDER and --from ITERATION go together"),
        (["--resume", "full", "--from", "1"], "SpecInvalid", "full holds no kept run"),
    ],
)
def test_what_is_unusable_is_said_and_nothing_is_written(
    sum_folder: Path, words: list[str], kind: str, sentence: str
) -> None:
    """Exit status 2, a sentence, a document all the same, and no trace of a run."""
    (sum_folder / "full").mkdir()
    (sum_folder / "full" / "x").write_text("")

    done = atoll("simulate", *words, "--json", cwd=sum_folder)

    document = json.loads(done.stdout)
    assert (2, "failed", kind) == (done.returncode, document["status"], document["error"]["type"])
    assert KEYS <= set(document)
    assert sentence in document["error"]["message"]
    assert not (sum_folder / "atoll-runs").exists()


def test_strict_makes_warnings_errors(tmp_path: Path) -> None:
    """A value out of its range is a warning; with --strict it is refused."""
    folder = write_computation(
        tmp_path / "range",
        local=script("answer['success'] = True"),
        spec={"input": {"lambda": {"type": "number", "min": 0, "max": 1}}},
        inputs={"lambda": {"value": 5}},
    )

    tolerated = atoll("simulate", folder, "--output", tmp_path / "a")
    strict = atoll("simulate", folder, "--strict", "--output", tmp_path / "b")

    assert (0, 2) == (tolerated.returncode, strict.returncode)
    assert "lambda" in tolerated.stderr
    assert "lambda" in strict.stderr
    assert not (tmp_path / "b").exists()


def test_a_failed_run_has_status_1_and_says_where(tmp_path: Path) -> None:
    """The site, the iteration, the exit status, and where the full log lies."""
    folder = write_computation(tmp_path / "bad", local="raise SystemExit('no data today')")

    done = atoll("simulate", folder, "--output", tmp_path / "out")

    text = done.stdout.replace("\n", " ")
    assert 1 == done.returncode
    assert "The run failed at local0 (iteration 1): AlgorithmFailed" in text
    assert "ended with exit status 1" in text
    assert "no data today" in text
    assert "logs/local0.log" in done.stdout.replace("\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Status 130, no process, no scratch folder; what was kept says that it was interrupted."""
    mark = f"atoll-test-{os.getpid()}-{number}"
    local = script(f"""
        open(os.path.join(state["outputDirectory"], "started"), "w").close()
        import subprocess
        subprocess.run([sys.executable, "-c", "import signal; signal.pause()", {mark!r}])
    """)
    folder = write_computation(tmp_path / "waits", local=local)
    command = [
        sys.executable,
        "-m",
        "atoll",
        "simulate",
        str(folder),
        "-c",
        "2",
        "--json",
        "--output",
        str(tmp_path / "out"),
    ]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    )
    started = [tmp_path / "out" / "output" / site / "started" for site in ("local0", "local1")]
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in started):
        assert running.poll() is None
        assert time.monotonic() < deadline

    running.send_signal(number)
    printed, _ = running.communicate(timeout=30)

    assert 130 == running.returncode
    assert ("failed", "Interrupted") == (json.loads(printed)["status"], json.loads(printed)["error"]["type"])
    assert "Interrupted" == json.loads((tmp_path / "out" / "run.json").read_text())["error"]["type"]
    assert not (tmp_path / "out" / ".scratch").exists()
    assert [] == _processes_with(mark)


def test_an_iteration_of_a_kept_run_can_be_repeated(tmp_path: Path) -> None:
    """Edit the script, and call it again with the input and the cache that it had."""
    local = script(
        "answer = {'output': {'n': doc['input'].get('n', 0) + 1}, 'cache': {'c': state['iteration']}}"
    )
    remote = script(
        "answer = {'output': {'n': doc['input']['local0']['n']}, 'success': state['iteration'] == 3}"
    )
    folder = write_computation(tmp_path / "kept", local=local, remote=remote)
    assert 0 == atoll("simulate", folder, "-c", "2", "--output", tmp_path / "out").returncode
    (folder / "local.py").write_text(
        script("answer['output'] = {'input': doc['input'], 'cache': doc['cache']}")
    )

    again = atoll("simulate", "--resume", tmp_path / "out", "--from", "2", "--json")

    document = json.loads(again.stdout)
    assert 0 == again.returncode, again.stderr
    seen = {"input": {"n": 1}, "cache": {"c": 1}}
    assert {"local0": seen, "local1": seen} == document["results"]
    assert {"n": 2} == document["result"]
    assert (2, 1) == (document["rounds"], document["iterations"])


def test_a_session_is_led_to_the_iteration_that_is_repeated(tmp_path: Path) -> None:
    """Protocol 2 keeps its state in memory: the calls before are made again."""
    entry = (
        "import coinstac\nseen = []\n"
        "def local(data):\n    seen.append(1)\n    return {'output': {'calls': len(seen)}}\n"
        "def remote(data):\n    return {'output': {}, 'success': data['state']['iteration'] == 4}\n"
        "coinstac.start(local, remote)\n"
    )
    folder = write_computation(tmp_path / "kept", local="", remote="", version=2, files={"entry.py": entry})
    assert 0 == atoll("simulate", folder, "--output", tmp_path / "out").returncode

    again = atoll("simulate", "--resume", tmp_path / "out", "--from", "3", "--json")

    assert {"local0": {"calls": 3}} == json.loads(again.stdout)["results"]


def test_an_iteration_that_never_was_is_refused(sum_folder: Path, tmp_path: Path) -> None:
    """The message says which iterations there are."""
    atoll("simulate", sum_folder, "--output", tmp_path / "out")

    again = atoll("simulate", "--resume", tmp_path / "out", "--from", "9")

    assert 2 == again.returncode
    assert "kept no iteration 9: it has 1 to 5" in again.stderr


def test_inline_prints_stay_off_the_document(tmp_path: Path) -> None:
    """What a function prints goes to standard error where standard output is the document."""
    entry = (
        "import coinstac\ncoinstac.start(lambda data: print('hello') or {'output': 1}, "
        "lambda data: {'output': {'n': 1}, 'success': True})\n"
    )
    folder = write_computation(tmp_path / "inline", local="", remote="", version=2, files={"entry.py": entry})

    done = atoll("simulate", folder, "--runtime", "inline", "--json", "--output", tmp_path / "out")

    assert {"n": 1} == json.loads(done.stdout)["result"]
    assert "hello" in done.stderr


def _processes_with(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue  # It ended while we looked.
            if mark.encode() in words:
                found.append(folder.name)
    return found


def test_texts_and_names_that_are_not_utf_8_are_kept(tmp_path: Path) -> None:
    """Half a surrogate pair in an answer, and a folder named in another encoding."""
    local = script("answer = {'output': {'half': '\\ud800'}, 'success': True}")
    folder = write_computation(tmp_path / "caf\udce9", local=local)

    ended = atoll("simulate", folder, "--output", tmp_path / "out", "--json")

    assert 0 == ended.returncode, ended.stderr
    assert {"local0": {"half": "\ud800"}} == json.loads((tmp_path / "out" / "result.json").read_text())
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert str(folder / "compspec.json") == record["steps"][0]["compspec"]
