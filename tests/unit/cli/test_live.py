"""The views of a simulation that goes on: what they show, what they escape, how they end."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest
from rich.console import Console, RenderableType

from atoll.cli.amounts import bytes_text, counted, duration_text, seconds_text
from atoll.cli.live import LiveView
from atoll.cli.live_picture import draw
from atoll.cli.plain import PlainView
from atoll.cli.progress import Progress
from atoll.cli.warned import WARNINGS_MAX
from atoll.model.work import Role, Seat
from atoll.simulator.watch import Watcher


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def sites(count: int) -> list[Seat]:
    return [Seat(f"local{number}") for number in range(count)]


def begin(progress: Progress, *names: str, iteration: int = 1, now: float = 0.0, step: int = 0) -> None:
    for name in names:
        role = Role.AGGREGATOR if name == "remote" else Role.SITE
        number = 2 * iteration + (role is Role.AGGREGATOR)
        progress.job_started(
            seat=Seat(name), role=role, step=step, iteration=iteration, number=number, now=now
        )


def end(
    progress: Progress, *names: str, iteration: int = 1, seconds: float = 0.5, failed: bool = False
) -> None:
    for name in names:
        role = Role.AGGREGATOR if name == "remote" else Role.SITE
        progress.job_ended(
            seat=Seat(name),
            role=role,
            seconds=seconds,
            sent_bytes=1_200,
            failed=failed,
            number=2 * iteration + (role is Role.AGGREGATOR),
            now=0.0,
        )


def hear(view: LiveView | PlainView, name: str, *, iteration: int = 1, step: int = 0) -> None:
    role = Role.AGGREGATOR if name == "remote" else Role.SITE
    view.job_started(seat=Seat(name), role=role, step=step, iteration=iteration, number=2 * iteration)


def hear_end(
    view: LiveView | PlainView,
    name: str,
    *,
    iteration: int = 1,
    seconds: float = 0.1,
    sent_bytes: int = 0,
    failed: bool = False,
) -> None:
    role = Role.AGGREGATOR if name == "remote" else Role.SITE
    view.job_ended(
        seat=Seat(name),
        role=role,
        seconds=seconds,
        sent_bytes=sent_bytes,
        failed=failed,
        number=2 * iteration,
    )


def lines(picture: RenderableType, *, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True, color_system=None)
    console.print(picture)
    return [line.rstrip() for line in console.export_text().splitlines()]


def plain() -> tuple[PlainView, Clock, Callable[[], list[str]]]:
    clock, file = Clock(), io.StringIO()
    view = PlainView(Console(file=file, width=80), clock=clock)
    return view, clock, lambda: file.getvalue().splitlines()


def terminal() -> tuple[LiveView, Clock, io.StringIO]:
    clock, file = Clock(), io.StringIO()
    return LiveView(Console(file=file, force_terminal=True, width=80, height=40), clock=clock), clock, file


def test_both_views_are_watchers() -> None:
    watchers: list[Watcher] = [terminal()[0], plain()[0]]

    assert 2 == len(watchers)


def test_every_seat_has_a_row_with_what_it_does_and_its_seconds() -> None:
    progress = Progress(sites=sites(3), steps=["ridge"], runtime="inline", now=0.0)
    begin(progress, "local0", "local1", "local2")
    end(progress, "local0", "local1", "local2", seconds=0.5)
    begin(progress, "remote", now=1.0)
    end(progress, "remote", seconds=0.02)
    begin(progress, "local0", "local1", iteration=2, now=2.0)
    end(progress, "local0", iteration=2, seconds=1.0)

    assert [
        " ridge  3 sites · inline                                      iteration 2  0:05",
        "",
        "                             now      last     sent  recent calls",
        " ✓  local0  done                     1.0 s   2.4 kB  ▅█",
        " ●  local1  working        3.0 s    0.50 s   1.2 kB  ▅",
        " ○  local2  waits                   0.50 s   1.2 kB  ▅",
        " ○  remote  waits                   0.02 s   1.2 kB  ▁",
        "",
        " 5 calls · 6.0 kB sent · waiting for local1",
    ] == lines(draw(progress, now=5.0, width=80, height=24), width=80)


def test_a_view_that_has_ended_says_what_it_came_to_and_who_was_stopped() -> None:
    progress = Progress(sites=sites(2), steps=["a", "b"], runtime="inline", now=0.0)
    begin(progress, "local0", "local1")
    end(progress, "local0", failed=True)
    progress.ended = 65.0

    assert [
        " a  step 1 of 2 · 2 sites · inline                            1 iteration  1:05",
        "",
        "                             now      last     sent  recent calls",
        " ✗  local0  failed                  0.50 s   1.2 kB  █",
        " ■  local1  stopped",
        "",
        " 1 call · 1.2 kB sent",
    ] == lines(draw(progress, now=99.0, width=80, height=24), width=80)


def test_many_sites_are_summed_up_and_the_slowest_named() -> None:
    progress = Progress(sites=sites(100), steps=["ridge"], runtime="inline", now=0.0)
    names = [f"local{number}" for number in range(100)]
    begin(progress, *names)
    end(progress, *names[:75], seconds=2.0)

    assert [
        " ridge  100 sites · inline                                    iteration 1  0:08",
        "",
        "             ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        " sites       75 of 100 done · 25 working",
        " calls       median 2.0 s · slowest 2.0 s",
        " iterations",
        "",
        " slowest now",
        "                              now      last     sent  recent calls",
        " ●  local75  working        8.0 s",
        " ●  local76  working        8.0 s",
        " ●  local77  working        8.0 s",
        " ●  local78  working        8.0 s",
        " ●  local79  working        8.0 s",
        "",
        " 75 calls · 90 kB sent · waiting for local75, local76, local77 and 22 more",
    ] == lines(draw(progress, now=8.0, width=80, height=24), width=80)


@pytest.mark.parametrize(("count", "height"), [(3, 24), (20, 40), (20, 12), (1000, 24), (1000, 10)])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_view_fits_the_terminal(count: int, height: int, width: int) -> None:
    progress = Progress(
        sites=sites(count), steps=["a rather long name of a step"] * 3, runtime="inline", now=0.0
    )
    begin(progress, *(f"local{number}" for number in range(count)), iteration=12_345)
    begin(progress, "remote", iteration=12_345)
    shown = lines(draw(progress, now=100_000.0, width=width, height=height), width=width)

    assert len(shown) <= height
    assert max(map(len, shown)) <= width
    assert "iteration 12,345" in shown[0]


def test_the_height_stays_while_a_round_goes_on() -> None:
    progress = Progress(sites=sites(3), steps=["ridge"], runtime="inline", now=0.0)
    heights = {len(lines(draw(progress, now=0.0, width=80, height=24), width=80))}
    for name in ("local0", "local1", "local2"):
        begin(progress, name)
        heights.add(len(lines(draw(progress, now=0.1, width=80, height=24), width=80)))
        end(progress, name)
        heights.add(len(lines(draw(progress, now=0.2, width=80, height=24), width=80)))

    assert 1 == len(heights)


def test_names_of_seats_and_steps_are_escaped() -> None:
    progress = Progress(sites=[Seat("\x1b[31m[red]x")], steps=["\x07[b]"], runtime="in\nline", now=0.0)
    shown = lines(draw(progress, now=0.0, width=80, height=24), width=80)

    assert " \\x07[b]  1 site · in\\nline" in shown[0]
    assert " ·  \\x1b[31m[red]x  not called" == shown[3]


def test_a_warning_is_printed_once_and_escaped() -> None:
    view, _, shown = plain()
    view.warned("[bold]odd[/bold] \x1b]0;title\x07 :smile:")
    view.warned("[bold]odd[/bold] \x1b]0;title\x07 :smile:")

    assert ["warning: [bold]odd[/bold] \\x1b]0;title\\x07 :smile:"] == shown()


def test_warnings_beyond_a_bound_are_counted() -> None:
    view, _, shown = plain()
    for number in range(WARNINGS_MAX + 3):
        view.warned(f"number {number}")
    view.ended()

    assert WARNINGS_MAX + 1 == len(shown())
    assert "warning: … and 3 more warnings" == shown()[-1]


def test_a_warning_stands_above_the_live_view_once() -> None:
    view, _, file = terminal()
    view.begun(sites=sites(1), steps=["ridge"], runtime="inline")
    view.warned("odd")
    view.warned("odd")
    view.ended()
    written = file.getvalue()

    assert 1 == written.count("warning: odd")
    assert written.index("warning: odd") < written.rindex("ridge")


def test_a_warning_before_the_beginning_is_printed_at_once() -> None:
    view, _, file = terminal()
    view.warned("odd")

    assert "warning: odd" in file.getvalue()


def test_the_terminal_is_given_back_after_an_interruption() -> None:
    """The cursor is shown again, once, and no thread goes on drawing."""
    view, _, file = terminal()
    view.begun(sites=sites(1), steps=["ridge"], runtime="inline")
    hear(view, "local0")
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        stack.callback(view.ended)
        stack.callback(view.ended)
        raise KeyboardInterrupt

    assert (1, 1) == (file.getvalue().count("\x1b[?25l"), file.getvalue().count("\x1b[?25h"))
    assert "stopped" in file.getvalue()
    assert "atoll-live-view" not in {thread.name for thread in threading.enumerate()}


def test_views_that_never_began_hear_and_end() -> None:
    for view, written in ((terminal()[0], terminal()[2]), (plain()[0], io.StringIO())):
        hear(view, "local0")
        hear_end(view, "local0")
        view.ended()

        assert "" == written.getvalue()


def test_the_end_of_a_call_that_nobody_saw_begin_is_counted() -> None:
    progress = Progress(sites=sites(1), steps=["ridge"], runtime="inline", now=0.0)
    end(progress, "local0", "stranger")

    assert (2, 2_400) == (progress.call_count, progress.sent_bytes)


def test_seconds_durations_and_bytes_read_well() -> None:
    assert ["0 ms", "4 ms", "0.01 s", "0.82 s", "1.0 s", "9.9 s", "10 s", "1:00", "3:05"] == [
        seconds_text(seconds) for seconds in (0, 0.004, 0.0123, 0.82, 0.9996, 9.94, 9.96, 59.7, 185)
    ]
    assert ["0:00", "0:12", "12:05", "1:02:03"] == [duration_text(seconds) for seconds in (-1, 12, 725, 3723)]
    assert ["0 B", "999 B", "1.0 kB", "1.2 kB", "34 MB", "1.0 GB", "5000 TB"] == [
        bytes_text(count) for count in (0, 999, 1_000, 1_234, 34_000_000, 999_900_000, 5 * 10**15)
    ]
    assert ["0 calls", "1 call", "1,000 calls"] == [counted(number, "call") for number in (0, 1, 1_000)]
