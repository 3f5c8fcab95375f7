"""Draws calls that ask for calls of their own: each below the one that asked, the last few of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from rich.cells import cell_len
from rich.text import Text

from atoll.cli.amounts import counted, seconds_text
from atoll.cli.calls import Asking, ChildRound, Part
from atoll.cli.escape import fitted
from atoll.cli.progress import Progress, said
from atoll.model.work import Seat

#: Calls with rounds of their own that are drawn below one parent.
_ASKERS_MAX = 5
#: Rounds of one call that are drawn: those under way, and those before.
_OPEN_MAX, _ENDED_MAX = 4, 3
#: Seats that have a mark each; more are a bar.
_MARKS_MAX = 24
_BAR_WIDTH = 16
_NAME_MAX = 40
_SEAT_MAX = 16
#: Columns that a nested level is set back.
_INDENT = 2

_MARKS = {
    Part.QUEUED: ("○", "dim"),
    Part.WORKING: ("●", "cyan"),
    Part.DONE: ("✓", "green"),
    Part.FAILED: ("✗", "red"),
    Part.GIVEN_UP: ("■", "yellow"),
}


def draw_calls(progress: Progress, *, now: float, width: int, lines_max: int) -> list[Text]:
    """The tree of calls, in no more lines than there are.

    Args:
        progress: what is known.
        now: the time.
        width: columns of a line; what is longer is cut.
        lines_max: how many lines there may be.
    """
    askers = _in_order(progress.askers, [seat.seat for seat in progress.seats()])
    ended_max = _ENDED_MAX
    while True:
        drawer = _Drawer(
            now=progress.ended or now,
            width=width,
            ended_max=ended_max,
            stopped=progress.ended is not None,
        )
        # No more than what fits is laid out: a tree may have millions of branches.
        lines = list(islice(drawer.askers(askers, depth=0), lines_max + 1))
        if len(lines) <= lines_max or ended_max == 0:
            break
        ended_max -= 1
    if len(lines) > lines_max:
        lines = [*lines[: lines_max - 1], Text("… and more", style="dim")]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines[:lines_max]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawer:
    now: float
    width: int
    #: Rounds that have ended and are drawn.
    ended_max: int
    #: Whether the run has ended.
    stopped: bool

    def askers(self, askers: Sequence[Asking], *, depth: int) -> Iterable[Text]:
        # Those that still ask come first: they are what somebody waits for.
        ordered = sorted(askers, key=lambda asking: asking.ended is not None)
        for asking in ordered[:_ASKERS_MAX]:
            yield from self._asker(asking, depth=depth)
        if len(ordered) > _ASKERS_MAX:
            more = len(ordered) - _ASKERS_MAX
            yield _indented(depth, Text(f"… {counted(more, 'more call')} that asked", style="dim"))

    def _asker(self, asking: Asking, *, depth: int) -> Iterable[Text]:
        line = Text()
        if asking.ended is None:
            line.append("■ " if self.stopped else "▸ ", style="yellow" if self.stopped else "cyan")
        else:
            line.append("✗ " if asking.failed else "✓ ", style="red" if asking.failed else "green")
        line.append(
            f"{fitted(asking.name or 'call', _NAME_MAX)} at {fitted(asking.seat, _SEAT_MAX)}", style="bold"
        )
        ended = asking.ended if asking.ended is not None else self.now
        line.append(f"  {seconds_text(ended - asking.began)}")
        text = said(asking.fraction, asking.text) if asking.ended is None else ""
        if text:
            line.append(f"  {text}", style="cyan")
        line.append(f"  {_sums(asking)}", style="dim")
        if asking.failed_count:
            line.append(f" · {asking.failed_count:,} without an answer", style="red")
        yield _indented(depth, line)
        shown, left_out = self._rounds(asking)
        label_width = max((cell_len(_label(round_)) for round_ in shown), default=0)
        for round_ in shown:
            yield self._round(round_, depth=depth + 1, label_width=label_width)
            if round_.askers:
                yield from self.askers(_in_order(round_.askers, tuple(round_.parts)), depth=depth + 2)
        if left_out:
            more = f"… {counted(left_out, 'more round')} under way"
            yield _indented(depth + 1, Text(more, style="dim"))

    def _rounds(self, asking: Asking) -> tuple[list[ChildRound], int]:
        """The rounds that are drawn, in order, and how many under way are left out."""
        rounds = asking.rounds()
        ended = [round_ for round_ in rounds if round_.ended is not None]
        under_way = [round_ for round_ in rounds if round_.ended is None]
        ended = ended[max(0, len(ended) - self.ended_max) :]
        return [*ended, *under_way[:_OPEN_MAX]], max(0, len(under_way) - _OPEN_MAX)

    def _round(self, round_: ChildRound, *, depth: int, label_width: int) -> Text:
        label = _label(round_)
        line = Text(f"{label}{' ' * (label_width - cell_len(label))}  ")
        parts = tuple(round_.parts.items())
        if parts and len(parts) <= _MARKS_MAX:
            for _, part in parts:
                mark, style = _MARKS[part]
                line.append(mark, style=style)
        else:
            line.append_text(_bar(round_))
        tail = self._tail(round_)
        names = self._names(parts, self.width - _INDENT * depth - line.cell_len - tail.cell_len - 4)
        line.append_text(names if names is not None else _counted(round_))
        line.append_text(tail)
        return _indented(depth, line)

    def _names(self, parts: Sequence[tuple[Seat, Part]], room: int) -> Text | None:
        """The seats by name, where they have room."""
        names = [fitted(seat, _SEAT_MAX) for seat, _ in parts]
        if not names or sum(map(cell_len, names)) + len(names) - 1 > room:
            return None
        line = Text("  ")
        for number, (name, (_, part)) in enumerate(zip(names, parts, strict=True)):
            # What has gone well needs no colour: the mark has it.
            style = "red" if part is Part.FAILED else "yellow" if part is Part.GIVEN_UP else ""
            line.append(" " if number else "").append(name, style=style)
        return line

    def _tail(self, round_: ChildRound) -> Text:
        ended = round_.ended if round_.ended is not None else self.now
        line = Text(
            f"  {seconds_text(ended - round_.began)}", style="dim" if round_.ended is not None else ""
        )
        for part, style in ((Part.FAILED, "red"), (Part.GIVEN_UP, "yellow")):
            if round_.counts[part]:
                line.append(f" · {round_.counts[part]:,} {part.value}", style=style)
        return line


def _in_order(askers: Mapping[Seat, Asking], seats: Sequence[Seat]) -> list[Asking]:
    """Calls that ask, in the order of their seats."""
    return [asking for seat in seats if (asking := askers.get(seat)) is not None]


def _sums(asking: Asking) -> str:
    return f"{counted(asking.round_count, 'round')} · {counted(asking.call_count, 'call')}"


def _label(round_: ChildRound) -> str:
    return f"round {round_.place:,} · {fitted(round_.name or 'call', _NAME_MAX)}"


def _counted(round_: ChildRound) -> Text:
    return Text(f"  {round_.counts[Part.DONE]:,} of {round_.seat_count:,}")


def _bar(round_: ChildRound) -> Text:
    bar, drawn = Text(), 0
    total = 0
    for part in (Part.DONE, Part.FAILED, Part.GIVEN_UP, Part.WORKING, Part.QUEUED):
        total += round_.counts[part]
        end = round(_BAR_WIDTH * total / max(round_.seat_count, 1))
        bar.append("━" * (end - drawn), style=_MARKS[part][1] if part is not Part.QUEUED else "bright_black")
        drawn = end
    return bar


def _indented(depth: int, line: Text) -> Text:
    return Text(" " * (_INDENT * depth)).append_text(line)
