"""Calls that ask for calls: what is known of them, and the picture of it, state by state."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from tests.unit.cli.playing import Clock, Play, seats

from atoll.cli.calls import ROUNDS_KEPT, SEATS_KEPT, Asking, Part
from atoll.cli.escape import fitted
from atoll.cli.live_picture import draw
from atoll.cli.plain import PlainView
from atoll.cli.progress import Doing, Progress, said
from atoll.model.work import Role, Seat

ISLANDS = ("alpha", "beta", "gamma")


def play(*names: str, function: str = "mean") -> tuple[Play, Progress, Clock]:
    clock = Clock()
    view = PlainView(Console(file=io.StringIO()), clock=clock, iterates=False)
    played = Play(view, clock, sites=seats(*(names or ISLANDS)), function=function)
    assert view.progress is not None
    return played, view.progress, clock


def lines(progress: Progress, clock: Clock, *, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True, color_system=None)
    console.print(draw(progress, now=clock.now, width=width, height=height))
    return [line.rstrip() for line in console.export_text().splitlines()]


def doing(progress: Progress) -> list[Doing]:
    return [progress.doing(seat) for seat in progress.seats()]


def asked(progress: Progress, seat: str = "alpha") -> Asking:
    return progress.askers[Seat(seat)]


# --- The picture, state by state ---------------------------------------------------------------


def test_a_central_function_that_has_not_asked_is_a_call_like_any_other() -> None:
    played, progress, clock = play()
    played.central()
    clock.now += 3

    assert [
        " mean  3 sites · bubblewrap                                                0:03",
        "",
        "                            now      last     sent  recent calls",
        " ●  alpha  working        3.0 s",
        " ·  beta   not called",
        " ·  gamma  not called",
        "",
        " 0 calls · 0 B sent · waiting for alpha",
    ] == lines(progress, clock)


def test_a_round_stands_below_the_call_that_asked_for_it() -> None:
    """The first site combines and is called, too: its row shows what works there."""
    played, progress, clock = play()
    played.central()
    clock.now += 1
    number = played.ask()
    played.start("alpha", "beta", number=number)
    clock.now += 1.2
    played.end("alpha", number=number)

    assert [
        " mean  3 sites · bubblewrap                                       1 round  0:02",
        "",
        "                            now      last     sent  recent calls",
        " ▸  alpha  asks           2.2 s    0.20 s   1.2 kB  █",
        " ●  beta   working        1.2 s",
        " ○  gamma  waits",
        "",
        " 1 call · 1.2 kB sent · waiting for beta",
        "",
        " ▸ mean at alpha  2.2 s  1 round · 3 calls",
        "   round 1 · moments  ✓●○  alpha beta gamma  1.2 s",
    ] == lines(progress, clock)


def test_a_site_that_combines_and_computes_shows_the_call_that_works() -> None:
    played, progress, clock = play()
    played.central()
    clock.now += 10
    number = played.ask()
    played.start("alpha", number=number)
    clock.now += 2

    assert " ●  alpha  working        2.0 s" == lines(progress, clock)[3]
    assert [Doing.WORKING, Doing.WAITS, Doing.WAITS] == doing(progress)

    played.end("alpha", number=number)

    assert " ▸  alpha  asks            12 s    0.20 s   1.2 kB  █" == lines(progress, clock)[3]


def test_of_many_rounds_the_last_few_are_drawn_and_all_are_summed_up() -> None:
    played, progress, clock = play()
    played.central()
    for number in range(2_000):
        played.round(*(["beta"] if number == 1_997 else []))
    last = played.ask(function="gradient")
    played.start(*ISLANDS, number=last)
    clock.now += 3

    assert [
        " ▸ mean at alpha  16:43  2,001 rounds · 6,003 calls · 1 without an answer",
        "   round 1,998 · moments   ✓✗✓  alpha beta gamma  0.50 s · 1 failed",
        "   round 1,999 · moments   ✓✓✓  alpha beta gamma  0.50 s",
        "   round 2,000 · moments   ✓✓✓  alpha beta gamma  0.50 s",
        "   round 2,001 · gradient  ●●●  alpha beta gamma  3.0 s",
    ] == lines(progress, clock)[9:]
    assert "2,001 rounds" in lines(progress, clock)[0]


def test_calls_that_ask_in_their_turn_are_set_back_below_their_round() -> None:
    played, progress, clock = play()
    played.central()
    outer = played.ask()
    played.start(*ISLANDS, number=outer)
    clock.now += 1
    inner = played.ask("alpha", "beta", asker="gamma", within=outer, function="count")
    played.start("alpha", number=inner)
    innermost = played.ask("beta", asker="alpha", within=inner, function="probe")
    clock.now += 1

    assert [
        " ▸ mean at alpha  2.0 s  1 round · 3 calls",
        "   round 1 · moments  ●●●  alpha beta gamma  2.0 s",
        "     ▸ moments at gamma  2.0 s  1 round · 2 calls",
        "       round 1 · count  ●○  alpha beta  1.0 s",
        "         ▸ count at alpha  1.0 s  1 round · 1 call",
        "           round 1 · probe  ○  beta  1.0 s",
    ] == lines(progress, clock)[9:]

    # A call takes what it asked for with it.
    played.answer(innermost)
    played.end("alpha", number=inner)
    played.end("gamma", number=outer)

    assert [
        " ▸ mean at alpha  2.0 s  1 round · 3 calls",
        "   round 1 · moments  ●●✓  alpha beta gamma  2.0 s",
    ] == lines(progress, clock)[9:]


def test_what_a_call_says_of_itself_stands_in_its_row_and_on_the_line_of_one_that_asks() -> None:
    played, progress, clock = play()
    played.central()
    played.tell("alpha", None, "fitting")
    number = played.ask()
    played.start("beta", "gamma", number=number)
    played.tell("beta", 0.42, "fold 3 of 10")
    played.tell("gamma", 1.0)
    clock.now += 1
    shown = lines(progress, clock)

    assert [
        " ▸  alpha  asks           1.0 s",
        " ●  beta   working        1.0 s                     42 %  fold 3 of 10",
        " ●  gamma  working        1.0 s                     100 %",
    ] == shown[3:6]
    assert " ▸ mean at alpha  1.0 s  fitting  1 round · 3 calls" == shown[9]

    # A narrow terminal has room for the fraction alone.
    assert " ●  beta   42 %           1.0 s" == lines(progress, clock, width=60)[4]

    # Silence follows the call, not the seat.
    played.end("beta", number=number)
    assert " ✓  beta   done                    0.20 s   1.2 kB  █" == lines(progress, clock)[4]


def test_a_failed_call_that_its_function_does_without_is_red_for_that_round() -> None:
    played, progress, clock = play()
    played.central()
    played.round("beta")

    assert [Doing.WORKING, Doing.FAILED, Doing.DONE] == doing(progress)

    played.round()

    assert [Doing.WORKING, Doing.DONE, Doing.DONE] == doing(progress)
    assert {("moments", "beta"): 1} == progress.failures
    assert [
        " ▸ mean at alpha  1.0 s  2 rounds · 6 calls · 1 without an answer",
        "   round 1 · moments  ✓✗✓  alpha beta gamma  0.50 s · 1 failed",
        "   round 2 · moments  ✓✓✓  alpha beta gamma  0.50 s",
    ] == lines(progress, clock)[9:]


def test_calls_that_nobody_waits_for_any_more_are_given_up() -> None:
    """A deadline went by: one had not begun, one worked, and its end comes later."""
    played, progress, clock = play()
    played.central()
    number = played.ask()
    played.start("alpha", "beta", number=number)
    played.end("alpha", number=number)
    clock.now += 2
    played.answer(number)
    played.end("beta", number=number, failed=True)

    assert [Doing.WORKING, Doing.STOPPED, Doing.NOT_CALLED] == doing(progress)
    assert {("moments", "beta"): 1, ("moments", "gamma"): 1} == progress.given_up
    assert {} == progress.failures
    assert [
        " ▸ mean at alpha  2.0 s  1 round · 3 calls · 2 without an answer",
        "   round 1 · moments  ✓■■  alpha beta gamma  2.0 s · 2 given up",
    ] == lines(progress, clock)[9:]


def test_a_run_that_has_ended_shows_how() -> None:
    played, progress, clock = play()
    played.central()
    played.round()
    played.central_ends()
    progress.ended = clock.now

    assert [
        " mean  3 sites · bubblewrap                                       1 round  0:01",
        "",
        "                            now      last     sent  recent calls",
        " ✓  alpha  done                    0.50 s   2.4 kB  █",
        " ✓  beta   done                    0.50 s   1.2 kB  █",
        " ✓  gamma  done                    0.50 s   1.2 kB  █",
        "",
        " 4 calls · 4.8 kB sent",
        "",
        " ✓ mean at alpha  0.50 s  1 round · 3 calls",
        "   round 1 · moments  ✓✓✓  alpha beta gamma  0.50 s",
    ] == lines(progress, clock)


def test_a_run_that_failed_shows_where() -> None:
    played, progress, clock = play()
    played.central()
    played.round("beta")
    played.central_ends(failed=True)
    progress.ended = clock.now
    shown = lines(progress, clock)

    assert [" ✗  alpha  failed", " ✗  beta   failed", " ✓  gamma  done"] == [
        line[:18].rstrip() for line in shown[3:6]
    ]
    assert " ✗ mean at alpha  0.50 s  1 round · 3 calls · 1 without an answer" == shown[9]


def test_a_run_that_was_interrupted_shows_what_was_stopped() -> None:
    played, progress, clock = play()
    played.central()
    number = played.ask()
    played.start("beta", number=number)
    progress.ended = clock.now
    shown = lines(progress, clock)

    assert [" ■  alpha  stopped", " ■  beta   stopped", " ·  gamma  not called"] == shown[3:6]
    assert " ■ mean at alpha  0 ms  1 round · 3 calls" == shown[9]


def test_several_rounds_at_a_time_are_drawn_in_their_order() -> None:
    played, progress, clock = play()
    played.central()
    for _ in range(6):
        played.ask("beta")
    clock.now += 1

    assert [
        " ▸ mean at alpha  1.0 s  6 rounds · 6 calls",
        "   round 1 · moments  ○  beta  1.0 s",
        "   round 2 · moments  ○  beta  1.0 s",
        "   round 3 · moments  ○  beta  1.0 s",
        "   round 4 · moments  ○  beta  1.0 s",
        "   … 2 more rounds under way",
    ] == lines(progress, clock)[9:]
    assert 6 == progress.seats()[1].queued


def test_functions_that_ask_at_every_site_are_drawn_and_the_rest_counted() -> None:
    names = [f"site{number}" for number in range(8)]
    played, progress, clock = play(*names)
    played.start(*names)
    for name in names:
        played.ask("site0", asker=name, function="share")
    played.end("site0")
    shown = lines(progress, clock, height=40)[14:]

    # Those that still ask come first.
    assert [f"▸ mean at site{number}" for number in range(1, 6)] == [
        line.partition("  ")[0].strip() for line in shown if "mean at" in line
    ]
    assert " … 3 more calls that asked" == shown[-1]


def test_many_sites_are_folded_into_a_bar() -> None:
    names = [f"site{number}" for number in range(100)]
    played, progress, clock = play(*names)
    played.central("site0")
    played.round("site7", asker="site0")
    number = played.ask(asker="site0")
    played.start(*names, number=number)
    played.end(*names[:60], number=number)
    clock.now += 4

    assert [
        " mean  100 sites · bubblewrap                                    2 rounds  0:05",
        "",
        "         ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        " sites   59 of 100 done · 41 working",
        " calls   median 0.20 s · slowest 0.50 s",
        " rounds  █",
    ] == lines(progress, clock, height=30)[:6]
    assert [
        " ▸ mean at site0  4.5 s  2 rounds · 200 calls · 1 without an answer",
        "   round 1 · moments  ━━━━━━━━━━━━━━━━  99 of 100  0.50 s · 1 failed",
        "   round 2 · moments  ━━━━━━━━━━━━━━━━  60 of 100  4.0 s",
    ] == lines(progress, clock, height=30)[-3:]


# --- Its bounds --------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "height"), [(3, 24), (3, 14), (3, 9), (20, 40), (1_000, 24), (1_000, 10)])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_view_fits_the_terminal(count: int, height: int, width: int) -> None:
    names = [f"a-site-with-a-long-name-{number}" for number in range(count)]
    played, progress, clock = play(*names, function="a_function_with_a_rather_long_name_that_goes_on")
    played.central(names[0])
    for _ in range(8):
        played.round(names[1], asker=names[0], function="another_function_with_a_rather_long_name")
    number = played.ask(asker=names[0])
    played.start(*names, number=number)
    for name in names[:9]:
        played.ask(*names[:3], asker=name, within=number)
        played.tell(name, 0.5, "words " * 50)
    clock.now += 100_000
    shown = lines(progress, clock, width=width, height=height)

    assert len(shown) <= height
    assert max(map(len, shown)) <= width


def test_names_and_words_of_algorithms_are_escaped() -> None:
    played, progress, clock = play("a\x1b[31m", "b", function="f\x07")
    played.central("a\x1b[31m")
    number = played.ask(asker="a\x1b[31m", function="[red]g\x1b]0;title\x07")
    played.start("b", number=number)
    played.tell("b", None, "over\rwritten \u202e")
    played.tell("a\x1b[31m", None, "\x1b[2J")
    text = "\n".join(lines(progress, clock, width=200))

    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(text)
    assert "f\\x07 at a\\x1b[31m" in text
    assert "[red]g\\x1b]0;title\\x07" in text
    assert "over\\rwritten \\u202e" in text
    assert "\\x1b[2J" in text


def test_long_names_that_begin_alike_can_be_told_apart() -> None:
    played, progress, clock = play("hospital-number-1", "hospital-number-2", function="f" * 60)
    played.central("hospital-number-1")
    played.round(asker="hospital-number-1")

    for width, names in ((60, ["hospita…number-1", "hospita…number-2"]), (80, ["hospital-number-1"])):
        text = "\n".join(lines(progress, clock, width=width))
        assert [] == [name for name in names if name not in text]


def test_what_is_kept_of_thousands_of_rounds_is_bounded() -> None:
    names = [f"site{number}" for number in range(SEATS_KEPT + 1)]
    played, progress, _ = play(*names)
    played.central("site0")
    for _ in range(1_000):
        played.round(asker="site0")

    asking = asked(progress, "site0")
    assert (1_000, 33_000) == (asking.round_count, asking.call_count)
    assert ROUNDS_KEPT == len(asking.rounds())
    # Of each of these only counts.
    assert [({}, len(names))] * ROUNDS_KEPT == [
        (round_.parts, round_.counts[Part.DONE]) for round_ in asking.rounds()
    ]


def test_the_failures_of_a_thousand_functions_are_bounded() -> None:
    played, progress, _ = play()
    played.central()
    for number in range(1_200):
        played.round("beta", function=f"f{number}")

    assert 1_000 == len(progress.failures)


def test_a_main_round_forgets_what_the_one_before_asked() -> None:
    """A step for each: of the first nothing is drawn while the second goes on."""
    played, progress, _ = play()
    played.central()
    played.round()
    played.central_ends()
    played.start("beta", number=9)

    assert {} == progress.askers


def test_a_picture_of_a_deep_tree_is_no_taller_than_the_screen() -> None:
    """Twenty branches at each of five levels: no more is laid out than fits."""
    names = [f"site{number}" for number in range(20)]
    played, progress, clock = play(*names)
    played.start(*names)
    level = [0]
    for _ in range(5):
        asked_now = [played.ask(asker=name, within=number) for number in level[:3] for name in names]
        for number in asked_now[:3]:
            played.start(*names, number=number)
        level = asked_now

    shown = lines(progress, clock, height=60)

    assert len(shown) <= 60
    assert " … and more" == shown[-1]


# --- What else is heard ------------------------------------------------------------------------


def test_events_of_calls_that_nobody_saw_begin_are_taken_calmly() -> None:
    played, progress, _ = play()
    played.answer(77)
    played.tell("beta", 0.5)
    number = played.ask(asker="beta", within=42)
    played.end("gamma", number=number)
    played.end("gamma", number=99)
    played.answer(number)

    assert 2 == progress.call_count
    assert [Seat("alpha"), Seat("beta"), Seat("gamma")] == [seat.seat for seat in progress.seats()]


def test_a_seat_that_is_no_site_of_the_run_gets_a_row_when_it_is_called() -> None:
    played, progress, _ = play()
    played.start("stranger", role=Role.AGGREGATOR)

    assert ("stranger", Role.AGGREGATOR) == (progress.seats()[-1].seat, progress.seats()[-1].role)
    assert (Seat("stranger"),) == progress.called()


def test_how_far_a_call_is_reads_well() -> None:
    assert ["", "0 %", "42 %", "100 %", "words", "7 %  words"] == [
        said(None, ""),
        said(0.0, ""),
        said(0.42, ""),
        said(1.0, ""),
        said(None, "words"),
        said(0.07, "words"),
    ]
    assert 200 == len(said(None, "x" * 10_000))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("alpha", "alpha"),
        ("0123456789", "0123456789"),
        ("0123456789a", "0123…6789a"),
        ("a" * 1_000_000 + "end", "aaaa…aaend"),
        ("\x1b" * 1_000_000, "\\x1b…b\\x1b"),
    ],
)
def test_of_a_long_name_the_middle_is_left_out(name: str, shown: str) -> None:
    assert shown == fitted(name, 10)
