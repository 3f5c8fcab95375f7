"""Draws the progress of a simulation: one row per seat, or a summary where rows don't fit.

What is drawn depends on `Progress`, the time and the space alone. The height of all that lists
seats stays the same while a run goes on, so that nothing jumps. Calls that ask for calls of
their own are drawn last, as their number changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from atoll.cli.amounts import bytes_text, counted, duration_text, seconds_text
from atoll.cli.calls_picture import draw_calls
from atoll.cli.escape import escape, fitted
from atoll.cli.progress import Doing, Progress, SeatProgress, said
from atoll.model.work import Role

#: Sites that get a row each.
ROWS_MAX = 20
#: Seats that the summary names.
_SLOWEST_COUNT = 5
#: Lines of the view that are no rows of sites: heads, spaces, the aggregator, who is waited for.
_OTHER_LINES = 8
#: Lines of a summary, and of the slowest seats below it.
_SUMMARY_LINES, _SLOWEST_LINES = 4, _SLOWEST_COUNT + 3
#: Lines that calls which ask for calls are drawn on: a space, one that asks, and its last rounds.
_CALLS_LINES_MIN, _CALLS_LINES_MAX = 5, 20
#: Columns of a row beside the seat's name and what it says of its calls.
_ROW_WIDTH = 48
#: Widths of terminal from which a seat's bytes and its recent calls have room.
_SENT_WIDTH, _RECENT_WIDTH = 54, 72
_STRIP_MAX = 24

_BLOCKS = "▁▂▃▄▅▆▇█"
_MARKS = {
    Doing.NOT_CALLED: ("·", "dim"),
    Doing.WAITS: ("○", "dim"),
    Doing.WORKING: ("●", "cyan"),
    Doing.ASKS: ("▸", "cyan"),
    Doing.DONE: ("✓", "green"),
    Doing.FAILED: ("✗", "red"),
    Doing.STOPPED: ("■", "yellow"),
}


def draw(progress: Progress, *, now: float, width: int, height: int) -> RenderableType:
    """The whole view, for a terminal of this size."""
    seats = progress.seats()
    sites = [seat for seat in seats if seat.role is Role.SITE]
    asked_lines = _CALLS_LINES_MIN if progress.askers else 0
    body: list[RenderableType]
    if len(sites) <= ROWS_MAX and len(seats) + _OTHER_LINES + asked_lines <= height:
        body, body_lines = [_rows(progress, seats, now=now, width=width)], 1 + len(seats)
    else:
        roomy = height - asked_lines >= _OTHER_LINES + _SLOWEST_COUNT + 6
        body = list(_summary(progress, seats, now=now, width=width, roomy=roomy))
        body_lines = _SUMMARY_LINES + len(seats) - len(sites) + (_SLOWEST_LINES if roomy else 0)
    parts = [_head(progress, len(sites), now=now), Text(), *body, Text(), _foot(progress, seats)]
    # Of what is left: a space, and below the view a line for the cursor.
    room = min(height - body_lines - 4, _CALLS_LINES_MAX) - 2
    if asked_lines and room > 0:
        parts += [Text(), *draw_calls(progress, now=now, width=width - 2, lines_max=room)]
    return Padding(Group(*parts), (0, 1))


def _head(progress: Progress, site_count: int, *, now: float) -> RenderableType:
    """What runs, where, how far it is and for how long."""
    place = progress.round.step if progress.round else 0
    name = progress.steps[place] if place < len(progress.steps) else ""
    left = Text(no_wrap=True, overflow="ellipsis")
    left.append(escape(name)[:80], style="bold")
    step = f"step {place + 1} of {len(progress.steps)}" if len(progress.steps) > 1 else ""
    about = [part for part in (step, counted(site_count, "site"), escape(progress.runtime)) if part]
    left.append(f"{'  ' if name else ''}{' · '.join(about)}", style="dim")
    right = Text(no_wrap=True)
    if progress.asked_count or not progress.iterates:
        right.append(counted(progress.asked_count, "round") if progress.asked_count else "")
    elif progress.ended is not None:
        right.append(counted(progress.iteration_count, "iteration"))
    elif progress.round is not None:
        right.append(f"iteration {progress.round.iteration:,}")
    right.append(f"{'  ' if right else ''}{duration_text(progress.elapsed(now))}", style="bold")
    line = Table.grid(expand=True, padding=(0, 2, 0, 0))
    line.add_column(ratio=1, no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    line.add_row(left, right)
    return line


def _rows(progress: Progress, seats: Sequence[SeatProgress], *, now: float, width: int) -> Table:
    """A row per seat: its mark, its name, what it does, and its seconds."""
    table = Table.grid(padding=(0, 2, 0, 0))
    names = [_name(seat, width) for seat in seats]
    table.add_column(width=1)
    table.add_column(no_wrap=True, min_width=max(map(len, names), default=0))
    table.add_column(no_wrap=True, width=10)
    for _ in range(2):
        table.add_column(justify="right", no_wrap=True, width=8)
    heads = ["", "", "", "now", "last"]
    if width >= _SENT_WIDTH:
        table.add_column(justify="right", no_wrap=True, width=7)
        heads.append("sent")
    strip = min(_STRIP_MAX, width - _RECENT_WIDTH + 8) if width >= _RECENT_WIDTH else 0
    # What a call says of itself has all the room that there is.
    said_width = max(strip, width - _ROW_WIDTH - max(map(len, names), default=0)) if progress.told else strip
    if strip:
        table.add_column(no_wrap=True, width=said_width)
        heads.append("recent calls"[:strip])
    table.add_row(*(Text(head, style="dim") for head in heads))
    slowest = max((max(tuple(seat.recent), default=0.0) for seat in seats), default=0.0)
    for seat, name in zip(seats, names, strict=True):
        recent = Text(_strip(tuple(seat.recent)[-strip:] if strip else (), slowest), style="cyan")
        cells = _cells(progress, seat, name, recent, now=now, narrow=not strip)
        table.add_row(*cells[: len(heads)])
    return table


def _cells(
    progress: Progress, seat: SeatProgress, name: str, recent: Text, *, now: float, narrow: bool
) -> list[Text]:
    doing = progress.doing(seat)
    mark, style = _MARKS[doing]
    since = seat.busy_since() if doing in (Doing.WORKING, Doing.ASKS) else None
    call = seat.at_work() if doing is Doing.WORKING else None
    fraction, text = (call.fraction, call.text) if call else (None, "")
    text = said(fraction, text)
    return [
        Text(mark, style=style),
        Text(name, style="dim" if doing is Doing.NOT_CALLED else ""),
        Text(said(fraction, "") if narrow and fraction is not None else doing.value, style=style),
        Text(seconds_text(now - since) if since is not None else "", style="bold"),
        Text("" if seat.last_seconds is None else seconds_text(seat.last_seconds)),
        Text(bytes_text(seat.sent_bytes) if seat.sent_bytes or seat.last_seconds else "", style="dim"),
        Text(text, overflow="ellipsis") if text else recent,
    ]


def _summary(
    progress: Progress, seats: Sequence[SeatProgress], *, now: float, width: int, roomy: bool
) -> Iterable[RenderableType]:
    """Counts, a bar, and the slowest few."""
    sites = [seat for seat in seats if seat.role is Role.SITE]
    doings = [progress.doing(seat) for seat in sites]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    done, working = doings.count(Doing.DONE), doings.count(Doing.WORKING) + doings.count(Doing.ASKS)
    failed = doings.count(Doing.FAILED)
    sums = [f"{done:,} of {len(sites):,} done", f"{working:,} working" if progress.ended is None else ""]
    sums.append(f"{failed:,} failed" if failed else "")
    table.add_row("", _bar(done, working, failed, count=len(sites), width=min(48, width - 16)))
    table.add_row("sites", " · ".join(part for part in sums if part))
    for seat in (seat for seat in seats if seat.role is Role.AGGREGATOR):
        last = f" · last {seconds_text(seat.last_seconds)}" if seat.last_seconds is not None else ""
        table.add_row(_name(seat, width), f"{progress.doing(seat).value}{last}")
    lasts = sorted(seat.last_seconds for seat in sites if seat.last_seconds is not None)
    middle = (
        f"median {seconds_text(lasts[len(lasts) // 2])} · slowest {seconds_text(lasts[-1])}" if lasts else ""
    )
    table.add_row("calls", middle)
    recent = tuple(progress.recent)[-min(_STRIP_MAX, width - 16) :]
    table.add_row(
        "rounds" if progress.asked_count else "iterations",
        Text(_strip(recent, max(recent, default=0.0)), style="cyan"),
    )
    yield table
    if roomy:
        yield Text()
        slowest = sorted(sites, key=lambda seat: _slowness(seat, now), reverse=True)[:_SLOWEST_COUNT]
        yield Text("slowest now" if progress.ended is None else "slowest", style="dim")
        yield _rows(progress, slowest, now=now, width=width)


def _foot(progress: Progress, seats: Sequence[SeatProgress]) -> Text:
    """Whom the round waits for; at the end, what it all came to."""
    foot = Text(style="dim", no_wrap=True, overflow="ellipsis")
    sent = f"{counted(progress.call_count, 'call')} · {bytes_text(progress.sent_bytes)} sent"
    if progress.ended is not None:
        return foot.append(sent)
    late = [seat for seat in seats if progress.doing(seat) is Doing.WORKING]
    if not late:
        return foot.append(f"{sent} · waiting for the first call" if progress.round is None else sent)
    names = ", ".join(fitted(seat.seat, 24) for seat in late[:3])
    more = f" and {len(late) - 3:,} more" if len(late) > 3 else ""
    return foot.append(f"{sent} · waiting for {names}{more}")


def _slowness(seat: SeatProgress, now: float) -> tuple[bool, float]:
    """Who works comes first, the longest call before the others; then by the last call."""
    call = seat.at_work()
    since = call.began if call else None
    return (True, now - since) if since is not None else (False, seat.last_seconds or 0.0)


def _bar(done: int, working: int, failed: int, *, count: int, width: int) -> Text:
    # Rounded ends of each part, so that the parts add up to the width.
    ends = [
        round(width * part / max(count, 1)) for part in (done, done + failed, done + failed + working, count)
    ]
    bar = Text()
    for start, end, style in zip([0, *ends], ends, ("green", "red", "cyan", "bright_black"), strict=False):
        bar.append("━" * (end - start), style=style)
    return bar


def _strip(seconds: Sequence[float], slowest: float) -> str:
    """A block per call; the slowest of all is a full one."""
    top = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[min(top, int(value / slowest * top + 0.5)) if slowest > 0 else 0] for value in seconds
    )


def _name(seat: SeatProgress, width: int) -> str:
    return fitted(seat.seat, 28 if width >= _RECENT_WIDTH else 16)
