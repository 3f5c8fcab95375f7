"""Draws scatter and box plots as SVG files that need nothing else: no script, no style sheet, no font."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles

from atoll.cli.display.numbers import number_text
from atoll.cli.display.scale import Scale, fit
from atoll.cli.escape import escape

_WIDTH, _HEIGHT = 760, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 28, 58, 62
#: Series that have a colour and a line in the legend; the rest share the last.
SERIES_MAX = 8
#: Told apart by people who see no red or no green (after Okabe and Ito, darkened for white paper).
_COLOURS = ("#0b6e99", "#d1602b", "#2f8f5b", "#b0478c", "#8a6d1d", "#4a63c6", "#5b6770", "#a33b3b")
_INK, _QUIET, _GRID = "#1f2933", "#52606d", "#e4e7eb"
_TITLE_CHARACTERS_MAX = 70
_LABEL_CHARACTERS_MAX = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points that belong together."""

    #: Empty where the plot has only one.
    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The values behind one box."""

    name: str
    values: tuple[float, ...]


def draw_scatter(title: str, series: Sequence[Series], *, x: str, y: str) -> str:
    """A scatter plot; at least one series has a point."""
    points = [point for one in series for point in one.points]
    across = fit([point[0] for point in points], start=_LEFT, stop=_WIDTH - _RIGHT, ticks_max=8)
    up = fit([point[1] for point in points], start=_HEIGHT - _BOTTOM, stop=_TOP, ticks_max=7)
    radius, opacity = (3.5, 0.75) if len(points) <= 500 else (2, 0.5)
    shapes = [*_grid_up(up), *_grid_across(across), _axis_titles(x, y)]
    for number, one in enumerate(series):
        colour = _COLOURS[min(number, SERIES_MAX - 1)]
        shapes.append(f'<g fill="{colour}" fill-opacity="{opacity}">')
        shapes.extend(
            f'<circle cx="{across.at(a):.1f}" cy="{up.at(b):.1f}" r="{radius}"/>' for a, b in one.points
        )
        shapes.append("</g>")
    if len(series) > 1:
        shapes.extend(_legend([one.name for one in series]))
    return _document(title, shapes)


def draw_boxes(title: str, boxes: Sequence[Box], *, y: str) -> str:
    """A box plot: median, quartiles, and whiskers to the least and the greatest value."""
    up = fit(
        [value for box in boxes for value in box.values], start=_HEIGHT - _BOTTOM, stop=_TOP, ticks_max=7
    )
    slot = (_WIDTH - _LEFT - _RIGHT) / len(boxes)
    shapes = [*_grid_up(up), _axis_titles("", y)]
    for number, box in enumerate(boxes):
        middle = _LEFT + slot * (number + 0.5)
        shapes.extend(_box(box, middle=middle, half=min(26.0, slot * 0.32), up=up))
        characters = min(_LABEL_CHARACTERS_MAX, int(slot / 7))
        if characters >= 3 or number % max(1, round(24 / slot)) == 0:
            place = f'x="{middle:.1f}" y="{_HEIGHT - _BOTTOM + 22}"'
            shapes.append(_label(box.name, place=place, anchor="middle", characters_max=max(3, characters)))
    return _document(title, shapes)


def _box(box: Box, *, middle: float, half: float, up: Scale) -> Iterable[str]:
    low, high = min(box.values), max(box.values)
    quarters = quantiles(box.values, n=4, method="inclusive") if len(box.values) > 1 else [low] * 3
    y_low, y_first, y_median, y_third, y_high = (up.at(value) for value in (low, *quarters, high))
    colour = _COLOURS[0]
    said = ", ".join(number_text(value) for value in (low, *quarters, high))
    yield f'<g stroke="{colour}" stroke-width="1.5" fill="none">'
    yield f"<title>{_safe(box.name, 200)}: {said}</title>"
    yield f'<path d="M{middle:.1f} {y_low:.1f}V{y_first:.1f}M{middle:.1f} {y_third:.1f}V{y_high:.1f}"/>'
    for edge in (y_low, y_high):
        yield f'<path d="M{middle - half / 2:.1f} {edge:.1f}H{middle + half / 2:.1f}"/>'
    yield (
        f'<rect x="{middle - half:.1f}" y="{y_third:.1f}" width="{2 * half:.1f}" '
        f'height="{max(0.5, y_first - y_third):.1f}" rx="2" fill="{colour}" fill-opacity="0.16"/>'
    )
    yield f'<path stroke-width="2.5" d="M{middle - half:.1f} {y_median:.1f}H{middle + half:.1f}"/>'
    yield "</g>"


def _grid_up(up: Scale) -> Iterable[str]:
    for tick, label in zip(up.ticks, up.labels(), strict=True):
        y = up.at(tick)
        yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID}"/>'
        yield _label(label, place=f'x="{_LEFT - 10}" y="{y + 4:.1f}"', anchor="end")


def _grid_across(across: Scale) -> Iterable[str]:
    for tick, label in zip(across.ticks, across.labels(), strict=True):
        x = across.at(tick)
        yield f'<path d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="{_GRID}"/>'
        yield _label(label, place=f'x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 22}"', anchor="middle")


def _axis_titles(x: str, y: str) -> str:
    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    return (
        f'<g fill="{_INK}" text-anchor="middle"><text x="{middle_x}" y="{_HEIGHT - 16}">{_safe(x, 60)}</text>'
        f'<text transform="translate(18 {middle_y}) rotate(-90)">{_safe(y, 40)}</text></g>'
    )


def _legend(names: Sequence[str]) -> Iterable[str]:
    shown = list(names[:SERIES_MAX])
    if len(names) > SERIES_MAX:
        shown[-1] = f"{len(names) - SERIES_MAX + 1} others"
    texts = [escape(name)[:_LABEL_CHARACTERS_MAX] for name in shown]
    # 6.6 pixels for a character of 12 pixels' height; 26 for the dot and the gap.
    x = _WIDTH - _RIGHT - sum(len(text) * 6.6 + 26 for text in texts) + 12
    for number, text in enumerate(texts):
        yield f'<circle cx="{x:.1f}" cy="{_TOP - 14}" r="4.5" fill="{_COLOURS[number]}"/>'
        yield _label(text, place=f'x="{x + 9:.1f}" y="{_TOP - 10}"', anchor="start")
        x += len(text) * 6.6 + 26


def _label(text: str, *, place: str, anchor: str, characters_max: int = _LABEL_CHARACTERS_MAX) -> str:
    style = f'text-anchor="{anchor}" fill="{_QUIET}" font-size="12"'
    return f"<text {place} {style}>{_safe(text, characters_max)}</text>"


def _document(title: str, shapes: Iterable[str]) -> str:
    name = _safe(title, _TITLE_CHARACTERS_MAX)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
            f' width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{name}"',
            ' font-family="system-ui, sans-serif" font-size="13">',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
            f'<text x="{_LEFT}" y="26" fill="{_INK}" font-size="17" font-weight="600">{name}</text>',
            *shapes,
            "</svg>\n",
        )
    )


def _safe(text: str, characters_max: int) -> str:
    text = escape(text[: characters_max + 1])
    return html.escape(text if len(text) <= characters_max else f"{text[: characters_max - 1]}…")
