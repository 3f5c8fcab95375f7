"""What a COINSTAC script is given and what it may answer, with real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.acceptance.computations import (
    ECHO,
    RUNTIMES,
    SUM_LOCAL,
    SUM_REMOTE,
    Heard,
    run,
    script,
    write_computation,
)

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60), pytest.mark.parametrize("runtime", RUNTIMES)]


def test_the_guides_example_ends_after_five_iterations(tmp_path: Path, runtime: str) -> None:
    """Two clients count to five; an iteration is two rounds."""
    inputs = [{"start": {"value": 1}}, {"start": {"value": 1.5}}]
    folder = write_computation(tmp_path / "sum", local=SUM_LOCAL, remote=SUM_REMOTE, inputs=inputs)

    report = run(folder, tmp_path, runtime=runtime)

    assert ("done", {"sum": 5}, 5, 10) == (report.status, report.result, report.iterations, report.rounds)
    assert {"local0": {"sum": 5}, "local1": {"sum": 5}} == report.results
    assert {"sum": 5} == json.loads((tmp_path / "out" / "result.json").read_text())


def test_a_script_gets_input_cache_and_state_in_this_order(tmp_path: Path, runtime: str) -> None:
    """The first request of a site, key by key; 1.0 arrives as 1, null as null, no value as no key."""
    inputs = {"start": {"value": 1.0, "fulfilled": True}, "novalue": {}, "nul": {"value": None}}
    folder = write_computation(tmp_path / "echo", local=ECHO, inputs=inputs)

    seen = run(folder, tmp_path, runtime=runtime).results["local0"]["seen"]

    assert ["input", "cache", "state"] == list(seen)
    assert {"start": 1, "nul": None} == seen["input"]
    assert "int" == type(seen["input"]["start"]).__name__
    assert {} == seen["cache"]
    directories = ["baseDirectory", "outputDirectory", "cacheDirectory", "transferDirectory"]
    assert [*directories, "clientId", "iteration"] == list(seen["state"])
    assert ("local0", 1) == (seen["state"]["clientId"], seen["state"]["iteration"])
    if runtime == "bubblewrap":
        assert "/input/local0/simulatorRun" == seen["state"]["baseDirectory"]
        assert "/output/local0/simulatorRun" == seen["state"]["outputDirectory"]
        assert "/transfer/local0/simulatorRun" == seen["state"]["transferDirectory"]


def test_the_remote_gets_outputs_in_site_order_without_falsy_ones(tmp_path: Path, runtime: str) -> None:
    """Twelve sites: local10 comes after local9, an empty object is kept, null and 0 are left out."""
    local = script("""
        number = int(state["clientId"].removeprefix("local"))
        answer["output"] = {3: None, 4: 0, 5: {}}.get(number, {"n": number})
    """)
    remote = script("answer = {'output': {'keys': list(doc['input'])}, 'success': True}")
    folder = write_computation(tmp_path / "order", local=local, remote=remote)

    report = run(folder, tmp_path, runtime=runtime, clients=12)

    assert {"keys": [f"local{n}" for n in range(12) if n not in (3, 4)]} == report.result


def test_big_integers_and_key_order_survive(tmp_path: Path, runtime: str) -> None:
    """What JavaScript would lose is kept; what it would write as an integer is one."""
    local = script(
        "answer['output'] = {'10': 2.0, '2': 12345678901234567890, 'e': 1e-7, 'u': 'é', 'f': 1e21, 'h': 1.5}"
    )
    remote = script("answer = {'output': {'text': json.dumps(doc['input']['local0'])}, 'success': True}")
    folder = write_computation(tmp_path / "numbers", local=local, remote=remote)

    report = run(folder, tmp_path, runtime=runtime)

    expected = '{"10": 2, "2": 12345678901234567890, "e": 1e-07, "u": "\\u00e9", "f": 1e+21, "h": 1.5}'
    assert expected == report.result["text"]


def test_the_cache_is_merged_and_stays_at_its_site(tmp_path: Path, runtime: str) -> None:
    """A key that was returned once stays, a later value of it wins, and the remote has its own."""
    local = script("""
        n = state["iteration"]
        answer["output"] = {"cache": doc["cache"]}
        answer["cache"] = {f"k{n}": n, "last": n, "of": state["clientId"]}
    """)
    remote = script("""
        answer = {"output": doc["input"], "success": state["iteration"] == 3, "cache": {"mine": 1}}
        answer["output"]["remote"] = doc["cache"]
    """)
    folder = write_computation(tmp_path / "cache", local=local, remote=remote)

    result = run(folder, tmp_path, runtime=runtime, clients=2).result

    assert {"k1": 1, "last": 2, "of": "local1", "k2": 2} == result["local1"]["cache"]
    assert {"mine": 1} == result["remote"]


def test_a_banner_before_the_answer_is_a_warning(tmp_path: Path, runtime: str) -> None:
    """A library that greets on standard output doesn't break the run."""
    local = script("print('Welcome to {lib} 1.0'); print('[1, 2]'); answer['success'] = True")
    folder = write_computation(tmp_path / "banner", local=local)
    heard = Heard()

    report = run(folder, tmp_path, runtime=runtime, heard=heard)

    assert "done" == report.status
    assert any("Welcome to {lib} 1.0" in text for text in heard.warnings)


def test_prints_without_an_answer_are_shown(tmp_path: Path, runtime: str) -> None:
    """Where nothing can be told apart, the error shows what was printed, and where."""
    folder = write_computation(tmp_path / "chatty", local="print('only words')")

    report = run(folder, tmp_path, runtime=runtime)

    assert report.error is not None
    assert ("failed", "ReplyInvalid", "local0") == (report.status, report.error["type"], report.error["site"])
    assert "It printed: 'only words'" in report.error["message"]


def test_nan_is_refused_with_its_path(tmp_path: Path, runtime: str) -> None:
    """The message names the place in the answer, not just the fault."""
    local = script("answer['output'] = {'regions': [{'p': 0.1}, {'p': float('nan')}]}")
    folder = write_computation(tmp_path / "nan", local=local)

    report = run(folder, tmp_path, runtime=runtime)

    assert report.error is not None
    assert "the answer.output.regions[1].p is NaN" in report.error["message"]


def test_a_failing_script_is_named_with_its_status_and_its_last_words(tmp_path: Path, runtime: str) -> None:
    """Which site, which iteration, the exit status, the end of standard error, and the log."""
    local = script("""
        if state["clientId"] == "local1" and state["iteration"] == 2:
            print("about to fail", file=sys.stderr)
            sys.exit(7)
    """)
    folder = write_computation(tmp_path / "fails", local=local, remote=script(""))

    report = run(folder, tmp_path, runtime=runtime, clients=3)

    assert report.error is not None
    assert ("failed", "AlgorithmFailed", "local1") == (
        report.status,
        report.error["type"],
        report.error["site"],
    )
    assert 2 == report.error["iteration"]
    assert "ended with exit status 7" in report.error["message"]
    assert "about to fail" in report.error["message"]
    assert "about to fail" in Path(report.error["log"]).read_text()


def test_a_traceback_shows_the_scripts_own_frames_only(tmp_path: Path, runtime: str) -> None:
    """An exception ends with status 1 and the traceback that Python prints."""
    folder = write_computation(tmp_path / "raises", local="def f():\n    return 1 / 0\nf()\n")

    report = run(folder, tmp_path, runtime=runtime)

    assert report.error is not None
    lines = Path(report.error["log"]).read_text().splitlines()
    assert "Traceback (most recent call last):" == lines[0]
    assert "ZeroDivisionError: division by zero" == lines[-1]
    assert 2 == sum("local.py" in line for line in lines)
    assert not any("runtimes/guest" in line for line in lines)


def test_local_computations_end_by_themselves(tmp_path: Path, runtime: str) -> None:
    """Without a remote each site loops on its own output; there is no joint result."""
    local = script("""
        n = doc["input"].get("n", 0) + 1
        answer = {"output": {"n": n}, "success": n == doc["cache"].get("until", 0) or None}
        answer["cache"] = {"until": 2 + int(state["clientId"][-1])}
    """)
    folder = write_computation(tmp_path / "alone", local=local)

    report = run(folder, tmp_path, runtime=runtime, clients=3)

    assert ("done", None) == (report.status, report.result)
    assert {"local0": {"n": 2}, "local1": {"n": 3}, "local2": {"n": 4}} == report.results


def test_a_sites_success_does_not_end_an_aggregated_run(tmp_path: Path, runtime: str) -> None:
    """It is reported, and the remote alone ends the run."""
    local = script("answer = {'output': {'n': 1}, 'success': True}")
    remote = script("answer = {'output': {'n': state['iteration']}, 'success': state['iteration'] == 2}")
    folder = write_computation(tmp_path / "eager", local=local, remote=remote)
    heard = Heard()

    report = run(folder, tmp_path, runtime=runtime, heard=heard)

    assert ("done", {"n": 2}) == (report.status, report.result)
    assert any('answered with "success" at a site' in text for text in heard.warnings)


def test_protocol_2_keeps_its_state_in_memory(tmp_path: Path, runtime: str) -> None:
    """One process per seat: a global counts on, prints are logs, and no cache is needed."""
    entry = """
        import coinstac
        calls = []
        def local(data):
            calls.append(1)
            print("call", len(calls))
            return {"output": {"calls": len(calls), "start": data["input"].get("start")}}
        def remote(data):
            return {"output": data["input"], "success": len(calls) == 0 and data["state"]["iteration"] == 3}
        coinstac.start(local, remote)
    """
    folder = write_computation(
        tmp_path / "warm",
        local="",
        remote="",
        version=2,
        inputs={"start": {"value": 7}},
        files={"entry.py": ""},
    )
    write = (folder / "entry.py").write_text
    write("\n".join(line[8:] for line in entry.splitlines()))

    report = run(folder, tmp_path, runtime=runtime, clients=2)

    assert {site: {"calls": 3, "start": None} for site in ("local0", "local1")} == report.result
    assert "call 1\ncall 2\ncall 3\n" == (tmp_path / "out" / "logs" / "local1.log").read_text()


def test_a_protocol_1_script_starts_anew_for_each_call(tmp_path: Path, runtime: str) -> None:
    """No global, module attribute, working directory or environment survives a call."""
    local = script("""
        import random
        json.leaked = getattr(json, "leaked", 0) + 1
        os.environ["LEAKED"] = os.environ.get("LEAKED", "") + "x"
        answer["output"] = {
            "module": json.leaked, "environment": os.environ["LEAKED"], "main": __name__,
            "cwd": os.path.basename(os.getcwd()), "argv": sys.argv[1:], "draw": random.random(),
        }
        os.chdir("/")
    """)
    remote = script("""
        answer = {"output": doc["input"]["local0"], "success": state["iteration"] == 3}
        answer["cache"] = {"draws": [*doc["cache"].get("draws", []), doc["input"]["local0"]["draw"]]}
        answer["output"]["different"] = len(set(answer["cache"]["draws"])) == len(answer["cache"]["draws"])
    """)
    spec = {"command": ["python", "/computation/local.py", "--flag", "a b"]}
    folder = write_computation(tmp_path / "fresh", local=local, remote=remote, spec=spec)

    result = run(folder, tmp_path, runtime=runtime).result

    assert (1, "x", "__main__") == (result["module"], result["environment"], result["main"])
    assert ["--flag", "a b"] == result["argv"]
    assert result["cwd"] == ("computation" if runtime == "bubblewrap" else "fresh")
    assert result["different"]


def test_an_endless_run_stops_at_its_bound(tmp_path: Path, runtime: str) -> None:
    """A stopping rule that never holds fails the run with a sentence about it."""
    folder = write_computation(tmp_path / "endless", local=script(""), remote=script(""))

    report = run(folder, tmp_path, runtime=runtime, max_iterations=4)

    assert report.error is not None
    assert ("failed", "LimitReached", 4) == (report.status, report.error["type"], report.iterations)


def test_a_call_that_takes_too_long_is_ended(tmp_path: Path, runtime: str) -> None:
    """The bound on a call holds for a script that waits for ever."""
    folder = write_computation(tmp_path / "stuck", local="import signal; signal.pause()")

    report = run(folder, tmp_path, runtime=runtime, call_seconds=1.0)

    assert report.error is not None
    assert ("LimitReached", "local0") == (report.error["type"], report.error["site"])


def test_a_seed_repeats_what_scripts_draw(tmp_path: Path, runtime: str) -> None:
    """With --seed two runs agree to the event and to the random number; sites still differ."""
    local = script("import random; answer['output'] = {'draw': random.random()}")
    remote = script("answer = {'output': doc['input'], 'success': state['iteration'] == 2}")
    folder = write_computation(tmp_path / "dice", local=local, remote=remote)

    first = run(folder, tmp_path, runtime=runtime, clients=3, seed=5, output=tmp_path / "a")
    second = run(folder, tmp_path, runtime=runtime, clients=3, seed=5, output=tmp_path / "b")
    other = run(folder, tmp_path, runtime=runtime, clients=3, seed=6, output=tmp_path / "c")

    assert first.result == second.result
    assert first.result != other.result
    assert 3 == len({value["draw"] for value in first.result.values()})
    events = [(tmp_path / name / "events.jsonl").read_bytes() for name in ("a", "b")]
    assert events[0] == events[1]


@pytest.mark.needs("node")
def test_a_script_may_be_written_in_javascript(tmp_path: Path, runtime: str) -> None:
    """Whatever reads standard input and writes JSON is a computation."""
    script_text = (
        'const doc = JSON.parse(require("fs").readFileSync(0));\n'
        "console.log(JSON.stringify({output: {n: doc.input.n + 1, at: process.cwd()}, success: true}));\n"
    )
    folder = write_computation(
        tmp_path / "js",
        local="",
        inputs={"n": {"value": 1}},
        spec={"command": ["node", "/computation/local.js"]},
        files={"local.js": script_text},
    )

    result = run(folder, tmp_path, runtime=runtime).results["local0"]

    assert 2 == result["n"]


def test_a_script_may_be_a_shell_script(tmp_path: Path, runtime: str) -> None:
    """A command in one text is split as a shell would."""
    folder = write_computation(
        tmp_path / "shell",
        local="",
        spec={"command": "sh /computation/local.sh 'two words'"},
        files={"local.sh": 'cat > /dev/null\nprintf \'{"output": {"said": "%s"}, "success": true}\' "$1"\n'},
    )

    assert {"said": "two words"} == run(folder, tmp_path, runtime=runtime).results["local0"]


def test_a_command_that_is_not_there_is_named(tmp_path: Path, runtime: str) -> None:
    """The sentence says which program was looked for."""
    spec = {"command": ["no-such-program-at-all", "x"]}
    folder = write_computation(tmp_path / "nothing", local="", spec=spec)

    report = run(folder, tmp_path, runtime=runtime)

    assert report.error is not None
    assert ("failed", "local0") == (report.status, report.error["site"])
    assert "no-such-program-at-all" in report.error["message"]
