"""How a run of functions ends: its result, who took part, what went wrong, and where all lies."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.unit.cli.playing import Clock, Play, seats

from atoll.cli import refusal
from atoll.cli.output import show
from atoll.cli.plain import PlainView
from atoll.cli.progress import Progress
from atoll.simulator.prepared import PreparedStep

ISLANDS = ("alpha", "beta", "gamma")


def step(*, aggregated: bool = True, name: str = "mean") -> PreparedStep:
    return PreparedStep(name=name, serves=True, aggregated=aggregated, function=name)


def document(folder: Path, **changed: Any) -> dict[str, Any]:
    return {
        "run": "run",
        "status": "done",
        "dialect": "functions",
        "sites": list(ISLANDS),
        "rounds": 1,
        "iterations": 0,
        "result": None,
        "results": {},
        "error": None,
        "seconds": 1.234,
        "output": str(folder),
        "warnings": [],
    } | changed


def failed(folder: Path, message: str, **changed: Any) -> dict[str, Any]:
    error = {"type": "AlgorithmFailed", "message": message, "site": "alpha", "round": 0, "log": None}
    return document(folder, status="failed", error=error, **changed)


def shown(
    ended: Mapping[str, Any],
    *,
    of: PreparedStep | None = None,
    heard: Progress | None = None,
    width: int = 100,
    with_result: bool = True,
) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True, color_system=None)
    show(of or step(), ended, console, with_result=with_result, heard=heard)
    return [line.rstrip() for line in console.export_text().splitlines()]


def body(value: Any, folder: Path) -> list[str]:
    """What stands between the heading of a central function's result and the last sentence."""
    lines = shown(document(folder, result=value))
    return [line for line in lines[2:-2] if line]


def heard(*failing: str, named: tuple[str, ...] = ISLANDS, rounds: int = 1, reason: str = "") -> Progress:
    clock = Clock()
    view = PlainView(Console(file=io.StringIO()), clock=clock, iterates=False)
    played = Play(view, clock, sites=seats(*named))
    played.central(named[0])
    for _ in range(rounds):
        played.round(*failing, asker=named[0], reason=reason)
    played.central_ends(named[0])
    view.ended()
    assert view.progress is not None
    return view.progress


# --- Results -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (4207.06, ["  4207.1", "  Numbers are rounded to 5 digits; result.json has them in full."]),
        (3, ["  3"]),
        (None, ["  null"]),
        (True, ["  true"]),
        ("all is well", ["  all is well"]),
        ({}, ["  {}"]),
        ([1, 2.5, 3], ["  [1, 2.5, 3]"]),
        ({"n": 333, "mean": 4207.0}, ["  n       333", "  mean   4207"]),
        (
            {"model": {"slope": 2, "intercept": 1}, "n": 3},
            ["  n   3", "model", "  slope       2", "  intercept   1"],
        ),
        (
            [{"name": "x", "value": 1.5}, {"name": "y", "value": 22}],
            ["  name   value", "  ────────────", "  x       1.5", "  y      22"],
        ),
        (
            {"age": [31, 47], "sex": ["f", "m"]},
            ["  age   sex", "  ─────────", "  31    f", "  47    m"],
        ),
        ([[1, 2], [3, 4]], ["  0   1", "  ─────", "  1   2", "  3   4"]),
        ({"dtype": "<f4", "shape": [10_000_000]}, ["  array of 10,000,000 float32"]),
        (
            {"weights": {"dtype": "<f8", "shape": [2_000, 300]}, "rounds": 7},
            ["  weights   array of 2,000 × 300 float64", "  rounds    7"],
        ),
        (
            '{"age":{"0":31,"1":47}}',
            ["age", "  0   31", "  1   47", "  The function returned this as text; it is JSON."],
        ),
        ("{not json", ["  {not json"]),
    ],
)
def test_what_a_function_returned_is_shown_by_its_shape(value: Any, lines: list[str], tmp_path: Path) -> None:
    assert lines == body(value, tmp_path)


@pytest.mark.parametrize(
    ("note", "text"),
    [
        ({"dtype": "|b1", "shape": [3]}, "array of 3 bool"),
        ({"dtype": "<i8", "shape": []}, "array of one int64"),
        ({"dtype": "<M8[ns]", "shape": [3]}, "array of 3 <M8[ns]"),
        ({"dtype": "<U5", "shape": [3]}, "array of 3 <U5"),
        ({"dtype": "\x1b[31m", "shape": [3]}, "array of 3 \\x1b[31m"),
        ({"dtype": "category", "shape": [3]}, "array of 3 category"),
    ],
)
def test_an_array_is_told_in_words(note: Any, text: str, tmp_path: Path) -> None:
    assert [f"  {text}"] == body(note, tmp_path)


@pytest.mark.parametrize(
    "value", [{"dtype": "<f4", "shape": 3}, {"dtype": 1, "shape": [1]}, {"dtype": "<f4", "shape": ["1"]}]
)
def test_an_object_that_only_looks_like_an_array_is_an_object(value: Any, tmp_path: Path) -> None:
    assert "dtype" in body(value, tmp_path)[0]


def test_long_values_are_cut_with_a_sentence(tmp_path: Path) -> None:
    numbers = " ".join(body(list(range(1_000)), tmp_path))
    rows = body([{"n": number} for number in range(1_000)], tmp_path)

    assert "… 960 more in result.json]" in numbers
    assert "  … 960 more rows in result.json" == rows[-1]


def test_the_results_of_all_sites_are_one_table(tmp_path: Path) -> None:
    records = {site: {"n": 10 * number, "sum": 1.5} for number, site in enumerate(ISLANDS)}
    lines = shown(document(tmp_path, results=records), of=step(aggregated=False))

    assert [
        "           n   sum",
        "  ────────────────",
        "  alpha    0   1.5",
        "  beta    10   1.5",
        "  gamma   20   1.5",
    ] == lines[2:7]


def test_single_values_of_all_sites_are_one_table(tmp_path: Path) -> None:
    ended = document(tmp_path, results={"alpha": 1.5, "gamma": 22})
    lines = shown(ended, of=step(aggregated=False))

    assert ["  alpha    1.5", "  gamma   22"] == lines[2:4]


def test_a_result_and_a_name_can_t_steer_the_terminal(tmp_path: Path) -> None:
    ended = document(tmp_path, result={"\x1b[2J": "\x1b]0;title\x07"})
    text = "\n".join(shown(ended, of=step(name="f\x1b[31m"), heard=heard("b\x07", named=("a", "b\x07"))))

    assert not {"\x1b", "\x07"} & set(text)
    assert "f\\x1b[31m" in text
    assert "b\\x07" in text


# --- Who took part -----------------------------------------------------------------------------


def test_the_end_says_how_many_calls_were_made_at_which_sites(tmp_path: Path) -> None:
    lines = shown(document(tmp_path, result=1), heard=heard(rounds=2), width=200)

    assert (
        f"The run is done, after 7 calls at 3 sites in 1.23 s. All of it: {tmp_path / 'run.json'}"
        == lines[-1]
    )


def test_sites_that_took_no_part_are_told_apart(tmp_path: Path) -> None:
    ended = document(tmp_path, result=1, sites=[*ISLANDS, "delta"])
    lines = shown(ended, heard=heard(rounds=0), width=200)

    assert "The run is done, after 1 call at alpha of 4 sites in 1.23 s." == lines[-1].partition(" All")[0]


def test_what_nobody_heard_is_not_told(tmp_path: Path) -> None:
    lines = shown(document(tmp_path, result=1), width=200)

    assert "The run is done, at 3 sites in 1.23 s." == lines[-1].partition(" All")[0]


# --- What went wrong ---------------------------------------------------------------------------


def test_calls_that_the_function_went_on_without_are_named_with_their_log(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "beta.log").write_text("")
    lines = shown(document(tmp_path, result=1), heard=heard("beta", "gamma", rounds=2), width=200)

    assert [
        f"moments failed at beta, 2 times. Its log: {tmp_path / 'logs' / 'beta.log'}",
        "moments failed at gamma, 2 times",
    ] == lines[-3:-1]


def test_why_calls_failed_is_told_once_where_all_failed_alike(tmp_path: Path) -> None:
    reason = "moments failed with KeyError, at mean.py:6 in moments. Its message stays at {}"
    told = heard("beta", "gamma", reason=reason)

    assert [
        "moments failed at beta",
        f"  {reason.format('beta')}",
        "moments failed at gamma",
    ] == shown(document(tmp_path, result=1), heard=told, width=200)[-4:-1]
    assert [reason.format("beta"), reason.format("gamma")] == [
        one.reason for one in told.unanswered(late=True)
    ]


def test_what_the_error_says_is_not_told_again(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "alpha.log"
    log.write_text("Traceback (most recent call last):\n  File\natoll_algorithm.errors.TooFewSites: 1 of 3\n")
    reason = "moments failed with KeyError. Its message stays at {}"
    ended = failed(tmp_path, f"mean failed: TooFewSites: 1 of 3. The first: {reason.format('beta')}")
    ended["error"]["log"] = str(log)
    target = Console(file=io.StringIO(), width=200, record=True, force_terminal=True)
    show(step(), ended, target, with_result=True, heard=heard("beta", "gamma", reason=reason))

    assert [
        f"The full log: {log}",
        "moments failed at beta",
        "moments failed at gamma",
    ] == [line.rstrip() for line in target.export_text().splitlines()][2:5]


def test_many_that_gave_no_answer_are_counted(tmp_path: Path) -> None:
    names = tuple(f"site{number}" for number in range(15))
    lines = shown(document(tmp_path, result=1), heard=heard(*names[1:], named=names), width=200)

    assert f"… and 4 more. Every call is in {tmp_path / 'events.jsonl'}" == lines[-2]


def test_a_failed_run_names_the_site_the_function_and_the_frames_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "beta.log").write_text("")
    ended = failed(tmp_path, "mean failed, at mean.py:15 in mean: SiteFailed: moments failed at beta")
    ended["error"]["log"] = "/somewhere/alpha.log"

    assert [
        "The run failed at alpha: AlgorithmFailed",
        "mean failed, at mean.py:15 in mean: SiteFailed: moments failed at beta",
        "The full log: /somewhere/alpha.log",
        f"moments failed at beta. Its log: {tmp_path / 'logs' / 'beta.log'}",
        "To look closer: the same command with --runtime inline, and a breakpoint() in the function.",
        f"What was kept of the run: {tmp_path}",
    ] == shown(ended, heard=heard("beta"), width=200)


def test_at_a_terminal_each_exception_of_the_logs_is_told_once(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    raised = "Traceback (most recent call last):\n  File ...\nKeyError: 'wt'\n"
    (logs / "alpha.log").write_text(f"{raised}\nTraceback (most recent call last):\n  File\nm.Odd: \x1b1\n")
    (logs / "beta.log").write_text(raised)
    ended = failed(tmp_path, "mean failed")
    ended["error"]["log"] = str(logs / "alpha.log")

    def told(*, terminal: bool) -> list[str]:
        target = Console(file=io.StringIO(), width=200, record=True, force_terminal=terminal)
        show(step(), ended, target, with_result=True, heard=heard("beta"))
        return [line.rstrip() for line in target.export_text().splitlines()]

    assert [
        f"The full log: {logs / 'alpha.log'}",
        "  KeyError: 'wt'",
        "  m.Odd: \\x1b1",
        f"moments failed at beta. Its log: {logs / 'beta.log'}",
    ] == told(terminal=True)[2:6]
    assert "KeyError" not in "".join(told(terminal=False))


def test_a_failure_without_lines_of_code_has_no_use_for_a_debugger(tmp_path: Path) -> None:
    lines = shown(failed(tmp_path, "mean asks for the database 'x', which alpha doesn't offer"))

    assert not [line for line in lines if "breakpoint" in line]


def test_a_failure_of_another_dialect_is_not_sent_to_the_inline_runtime(tmp_path: Path) -> None:
    lines = shown(failed(tmp_path, "f failed, at f.py:1 in f: E", dialect="vantage6"))

    assert not [line for line in lines if "breakpoint" in line]


def test_what_the_end_of_a_run_cut_short_was_not_late(tmp_path: Path) -> None:
    clock = Clock()
    view = PlainView(Console(file=io.StringIO()), clock=clock, iterates=False)
    played = Play(view, clock, sites=seats(*ISLANDS))
    played.central()
    number = played.ask()
    played.start("beta", number=number)
    played.answer(number)
    assert view.progress is not None

    late = shown(document(tmp_path, result=1), heard=view.progress, width=200)
    cut = shown(failed(tmp_path, "interrupted"), heard=view.progress, width=200)

    assert [f"moments was late at {site}" for site in ISLANDS] == late[-4:-1]
    assert not [line for line in cut if "late" in line]


def test_beside_a_document_only_the_end_is_told(tmp_path: Path) -> None:
    ended = document(tmp_path, result={"n": 1})

    assert 1 == len(shown(ended, with_result=False, width=300))


# --- COINSTAC's ends ---------------------------------------------------------------------------


def test_a_computation_tells_its_iterations(tmp_path: Path) -> None:
    ended = document(tmp_path, dialect="coinstac", iterations=5, result={"sum": 5})
    lines = shown(ended, width=200)

    assert "The run is done, after 5 iterations at 3 sites in 1.23 s." == lines[-1].partition(" All")[0]
    assert "  The computation asks for no display; the result as JSON follows." in lines


def test_a_computation_that_failed_says_in_which_iteration(tmp_path: Path) -> None:
    ended = failed(tmp_path, "ended with exit status 1", dialect="coinstac")
    ended["error"] |= {"step": 1, "iteration": 3}

    assert "The run failed at alpha (step 1, iteration 3): AlgorithmFailed" == shown(ended)[0]


# --- Documents ---------------------------------------------------------------------------------


def test_a_document_is_strict_json(capsys: pytest.CaptureFixture[str]) -> None:
    refusal.print_document({"a": math.nan, "b": [math.inf, {"c": (-math.inf, 1.5)}], "d": "NaN"})

    printed = capsys.readouterr().out
    assert {"a": None, "b": [None, {"c": [None, 1.5]}], "d": "NaN"} == json.loads(
        printed, parse_constant=pytest.fail
    )
    assert 1 == printed.count("\n")
