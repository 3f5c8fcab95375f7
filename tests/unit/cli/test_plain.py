"""The lines that stand in for the live view in logs and pipes: few, and in words."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console
from tests.unit.cli.playing import Clock, Play, seats

from atoll.cli.plain import PlainView
from atoll.model.work import Role, Seat


def plain(*, iterates: bool = True) -> tuple[PlainView, Clock, Callable[[], list[str]]]:
    clock, file = Clock(), io.StringIO()
    view = PlainView(Console(file=file, width=80), clock=clock, iterates=iterates)
    return view, clock, lambda: file.getvalue().splitlines()


def functions(*names: str) -> tuple[Play, Clock, Callable[[], list[str]]]:
    view, clock, shown = plain(iterates=False)
    return Play(view, clock, sites=seats(*(names or ("alpha", "beta", "gamma")))), clock, shown


def sites(count: int) -> list[Seat]:
    return [Seat(f"local{number}") for number in range(count)]


def hear(view: PlainView, name: str, *, iteration: int = 1, step: int = 0) -> None:
    view.job_started(seat=Seat(name), role=Role.SITE, step=step, iteration=iteration, number=iteration)


def hear_end(
    view: PlainView,
    name: str,
    *,
    iteration: int = 1,
    seconds: float = 0.1,
    sent_bytes: int = 0,
    failed: bool = False,
) -> None:
    view.job_ended(
        seat=Seat(name),
        role=Role.SITE,
        seconds=seconds,
        sent_bytes=sent_bytes,
        failed=failed,
        number=iteration,
    )


def test_a_short_run_has_two_plain_lines() -> None:
    view, clock, shown = plain()
    view.begun(sites=sites(12), steps=["ridge"], runtime="inline")
    for iteration in (1, 2, 3):
        hear(view, "local0", iteration=iteration)
        hear_end(view, "local0", iteration=iteration, sent_bytes=400)
    clock.now += 3
    view.ended()
    view.ended()

    named = "local0, local1, local2, local3, local4, local5, local6, local7, local8, local9 and 2 more"
    assert [
        f"ridge: 12 sites ({named}), runtime inline",
        "ended after 3 iterations and 0:03, 1.2 kB sent",
    ] == shown()


def test_plain_lines_come_every_five_seconds_and_then_more_rarely() -> None:
    view, clock, shown = plain()
    view.begun(sites=sites(1), steps=["ridge"], runtime="inline")
    for iteration in range(1, 86_401):
        clock.now += 1
        hear(view, "local0", iteration=iteration)

    assert "iteration 5 begins after 0:05, 0 B sent" == shown()[1]
    assert "iteration 10 begins after 0:10, 0 B sent" == shown()[2]
    assert len(shown()) < 200


def test_a_new_step_and_a_failure_have_a_plain_line() -> None:
    view, _, shown = plain()
    view.begun(sites=sites(1), steps=["a", "b"], runtime="inline")
    hear(view, "local0")
    hear(view, "local0", step=1)
    hear_end(view, "local0", seconds=2.5, failed=True)

    assert [
        "1 site (local0), runtime inline",
        "step 2 of 2: b",
        "local0 failed after 2.5 s",
    ] == shown()


def test_a_short_run_of_functions_has_two_plain_lines() -> None:
    played, clock, shown = functions()
    played.central()
    played.round()
    played.round()
    played.central_ends()
    clock.now += 2
    played.view.ended()

    assert [
        "mean: 3 sites (alpha, beta, gamma), runtime bubblewrap",
        "ended after 2 rounds and 0:03, 8.4 kB sent",
    ] == shown()


def test_a_function_that_asks_for_nothing_has_no_rounds_to_count() -> None:
    played, _, shown = functions()
    played.start("alpha", "beta", "gamma")
    played.end("alpha", "beta", "gamma")
    played.view.ended()

    assert "ended after 0:00, 3.6 kB sent" == shown()[-1]


def test_thousands_of_child_rounds_print_few_lines() -> None:
    played, _, shown = functions()
    played.central()
    for _ in range(86_400):
        played.round(seconds=1.0)

    assert "round 6 begins after 0:05, 18 kB sent: moments at 3 sites, for alpha" == shown()[1]
    assert len(shown()) < 200


def test_failures_have_a_line_each_until_there_are_many() -> None:
    played, _, shown = functions()
    played.central()
    for _ in range(12):
        played.round("beta")
    played.view.ended()

    assert ["moments at beta failed after 0.50 s"] * 10 == [
        line for line in shown() if "failed after" in line
    ]
    assert "… and 2 more calls failed" == shown()[-2]


def test_a_call_that_nobody_waits_for_any_more_ends_without_a_line() -> None:
    played, _, lines = functions("alpha", "beta")
    played.central()
    number = played.ask(asker="alpha")
    played.start("beta", number=number)
    played.answer(number)
    played.end("beta", number=number, failed=True)
    played.central_ends(failed=True)

    assert ["mean at alpha failed after 5.0 s"] == lines()[1:]


def test_progress_is_said_where_the_last_line_is_old_enough() -> None:
    played, clock, shown = functions()
    played.central()
    played.tell("alpha", 0.1, "soon")
    clock.now += 5
    played.tell("alpha", 0.5, "half")
    played.tell("alpha", 0.6, "a moment later")

    assert ["alpha after 0:05, 0 B sent: 50 %  half"] == shown()[1:]


@pytest.mark.parametrize("name", ["a\x1b[31m", "[red]b", ":smile:", "a\nb"])
def test_names_and_words_are_escaped(name: str) -> None:
    view, clock, shown = plain(iterates=False)
    played = Play(view, clock, sites=seats(name), function=name)
    played.start(name)
    clock.now += 5
    number = played.ask(asker=name, function=name)
    played.start(name, number=number)
    played.end(name, number=number, failed=True)
    played.start(name, number=number)
    clock.now += 5
    played.tell(name, None, name)
    escaped = name.replace("\x1b", "\\x1b").replace("\n", "\\n")

    assert [
        f"{escaped}: 1 site ({escaped}), runtime bubblewrap",
        f"round 1 begins after 0:05, 0 B sent: {escaped} at 1 site, for {escaped}",
        f"{escaped} at {escaped} failed after 0.20 s",
        f"{escaped} after 0:10, 1.2 kB sent: {escaped}",
    ] == shown()
