"""Figures as Markdown, for a file and for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.figures import Figure, Measure
from benchmarks.machine import QUIET_SHARE

_HEAD = (
    ("what", "runs", "median", "min", "max", "target", "met", "floor", "× floor", "processor time"),
    ("---", "--:", "--:", "--:", "--:", "--:", "---", "---", "--:", "--:"),
)
_ABOUT = """\
`make bench` wrote this file; [how to measure](../docs/how-to/measure.md) says how to read it. What counts is the
median. A floor is the least that this machine needed for the same, in the same run; *processor time* is the median
of user and system time over all processes of the command.
"""
_BUSY = """\
> **This machine was busy.** Others took {share:.0f} % of its processors ({before:.0f} % just before the start), so the
> times below are longer than Atoll needs. Compare processor times and ratios, not seconds, and measure again.
"""
_QUIET = "Others took {share:.0f} % of the processors while this was measured.\n"


def write(
    machine: Sequence[tuple[str, str]],
    taken: Mapping[Measure, Sequence[Figure]],
    *,
    before: float,
    during: float,
    quick: bool,
) -> str:
    """The whole page."""
    said = _BUSY if max(before, during) > QUIET_SHARE else _QUIET
    parts = ["# Results\n", _ABOUT, said.format(share=100 * during, before=100 * before)]
    if quick:
        parts.append("Measured with `--quick`: with few runs each.\n")
    parts.append(
        "\n".join(["| machine | |", "|---|---|", *(f"| {key} | {value} |" for key, value in machine)])
    )
    for measure, figures in taken.items():
        parts.append(section(measure, figures))
    cold = [pair for figures in taken.values() for pair in _pairs(figures)]
    if cold:
        parts.append("\n".join(_bought(cold)))
    return "\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts)


def section(measure: Measure, figures: Sequence[Figure]) -> str:
    """One measure with its figures."""
    lines = [f"## {measure.name}\n", f"{measure.about}\n"]
    lines += [_row(cells) for cells in (*_HEAD, *map(_cells, figures))]
    return "\n".join(lines)


def line(figure: Figure) -> str:
    """A figure in a line for the terminal."""
    target = (
        ""
        if figure.target is None
        else f", target {_number(figure.target)} {'met' if figure.met else 'MISSED'}"
    )
    ratio = "" if figure.ratio is None else f", {_number(figure.ratio)} × floor"
    return f"  {figure.what}: {_with_unit(figure.median, figure.unit)}{target}{ratio}"


def _cells(figure: Figure) -> list[str]:
    target, floor, ratio = figure.target, figure.floor, figure.ratio
    cpu = sorted(figure.cpu_seconds)
    return [
        figure.what,
        str(len(figure.values)),
        _with_unit(figure.median, figure.unit),
        _number(min(figure.values)),
        _number(max(figure.values)),
        "" if target is None else f"{'≥' if figure.is_least else '≤'} {_with_unit(target, figure.unit)}",
        {None: "", True: "yes", False: "**no**"}[figure.met],
        "" if floor is None else f"{floor.what}: {_with_unit(floor.value, figure.unit)}",
        "" if ratio is None else _number(ratio),
        f"{_number(cpu[len(cpu) // 2])} s" if cpu else "",
    ]


def _pairs(figures: Sequence[Figure]) -> Iterable[tuple[Figure, Figure]]:
    by_name = {figure.what: figure for figure in figures}
    return [(by_name[figure.cold_of], figure) for figure in figures if figure.cold_of is not None]


def _bought(pairs: Sequence[tuple[Figure, Figure]]) -> list[str]:
    rows = [
        _row(
            [
                warm.what,
                _with_unit(warm.median, warm.unit),
                _with_unit(cold.median, cold.unit),
                f"{_number(cold.median / warm.median)} ×",
            ]
        )
        for warm, cold in pairs
    ]
    return [
        "## What warm parents buy\n",
        "A warm parent imports a computation's libraries once and forks every call from there.\n",
        "| work | forked | started anew | gain |",
        "|---|--:|--:|--:|",
        *rows,
    ]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _with_unit(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}"


def _number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
