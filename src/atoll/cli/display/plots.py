"""Finds the plots of a result, draws them, and prints where they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from atoll.cli.amounts import counted
from atoll.cli.display.drawer import Drawer
from atoll.cli.display.numbers import is_number
from atoll.cli.display.page import Page
from atoll.cli.display.svg import Box, Series, draw_boxes, draw_scatter

#: Plots of one result.
PLOTS_MAX = 50
#: Points of one plot. More make an SVG that a browser draws for seconds, and a picture that is one blot.
POINTS_MAX = 10_000
#: Boxes of one plot; more are too narrow to read.
BOXES_MAX = 60
#: Values behind all boxes of one plot.
_BOX_VALUES_MAX = 1_000_000


def show_scatter(page: Page, drawer: Drawer, result: Any) -> bool:
    """Draw ``plots``: a list of ``{title, coordinates: [{x, y}]}``; a coordinate may have a ``name``.

    Returns:
        Whether there was anything to draw.

    Raises:
        OSError: the drawer can't be written to.
    """
    plots = result.get("plots") if isinstance(result, Mapping) else None
    drawn = 0
    for number, plot in enumerate(_listed(plots), start=1):
        coordinates = plot.get("coordinates") if isinstance(plot, Mapping) else None
        if not isinstance(coordinates, Sequence) or isinstance(coordinates, str):
            continue
        title = _words(plot, "title") or f"Plot {number}"
        if drawn >= PLOTS_MAX:
            page.remark(f"… only the first {counted(PLOTS_MAX, 'plot')} are drawn")
            break
        every = max(1, math.ceil(len(coordinates) / POINTS_MAX))
        series = list(_series(coordinates[::every]))
        if not series:
            page.remark(f"{title}: no point has a finite x and y, so there is nothing to draw")
            continue
        x, y = _words(plot, "x_label", "xlabel") or "x", _words(plot, "y_label", "ylabel") or "y"
        path = drawer.put(title, ".svg", draw_scatter(title, series, x=x, y=y).encode(), caption=title)
        page.path(path, title)
        points, looked = sum(len(one.points) for one in series), len(coordinates[::every])
        if every > 1:
            page.remark(f"one point in {every} is drawn, of {len(coordinates):,}")
        if points < looked:
            page.remark(f"{counted(looked - points, 'point')} without a finite x and y left out")
        drawn += 1
    return drawn > 0


def show_boxes(page: Page, drawer: Drawer, result: Any, *, title: str) -> bool:
    """Draw ``x``: lists of numbers, or objects with ``values`` and perhaps a ``label``.

    Returns:
        Whether there was anything to draw.

    Raises:
        OSError: the drawer can't be written to.
    """
    x = result.get("x") if isinstance(result, Mapping) else None
    boxes = list(_boxes(x))
    if not boxes:
        return False
    if len(boxes) > BOXES_MAX:
        page.remark(f"… {len(boxes) - BOXES_MAX:,} of {len(boxes):,} boxes are not drawn")
    path = drawer.put("box-plot", ".svg", draw_boxes(title, boxes[:BOXES_MAX], y="").encode(), caption=title)
    page.path(path, "Box plot")
    return True


def _series(coordinates: Sequence[Any]) -> Iterator[Series]:
    points: dict[str, list[tuple[float, float]]] = {}
    for place in coordinates:
        if isinstance(place, Mapping):
            x, y, name = place.get("x"), place.get("y"), _words(place, "name")
        elif isinstance(place, Sequence) and not isinstance(place, str) and len(place) == 2:
            (x, y), name = place, ""
        else:
            continue
        if _is_finite(x) and _is_finite(y):
            points.setdefault(name, []).append((float(x), float(y)))
    for name, placed in points.items():
        yield Series(name=name, points=tuple(placed))


def _boxes(x: Any) -> Iterator[Box]:
    if isinstance(x, Mapping):
        x = [{"label": str(name), "values": values} for name, values in x.items()]
    entries = _listed(x)
    if entries and all(is_number(entry) for entry in entries):
        entries = [entries]
    room = _BOX_VALUES_MAX
    for number, entry in enumerate(entries, start=1):
        values, name = entry, str(number)
        if isinstance(entry, Mapping):
            values, name = entry.get("values"), _words(entry, "label", "title", "name") or name
        finite = tuple(float(value) for value in _listed(values)[:room] if _is_finite(value))
        room -= len(finite)
        if finite:
            yield Box(name=name, values=finite)


def _words(entry: Any, *keys: str) -> str:
    """The first of these keys that has a text or a number."""
    found = (entry.get(key) for key in keys) if isinstance(entry, Mapping) else ()
    return next(
        (str(value) for value in found if value != "" and (isinstance(value, str) or is_number(value))), ""
    )


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else ()


def _is_finite(value: object) -> TypeGuard[float]:
    try:
        return is_number(value) and math.isfinite(float(value))
    except OverflowError:
        return False
