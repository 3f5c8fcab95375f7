"""Shows a result as its computation asks: one part of the page per entry of its ``display``.

A display is a wish of an algorithm's author. One that can't be granted (an unknown type, a
source that the result lacks, a folder that can't be written to) costs a sentence, never the
result: that is shown as JSON then, and lies in result.json in any case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from atoll.cli.amounts import counted
from atoll.cli.display.drawer import Drawer, inside, plain_name
from atoll.cli.display.json_text import put_json
from atoll.cli.display.layout import Labels, show
from atoll.cli.display.page import Page
from atoll.cli.display.pictures import decoded, show_pictures
from atoll.cli.display.plots import show_boxes, show_scatter
from atoll.cli.display.tables import show_tables
from atoll.cli.escape import escape

#: Entries of a ``display`` that are shown.
TABS_MAX = 20
#: Pages of the algorithm whose paths are printed.
_PAGES_MAX = 12
#: Folders below the run's own in which an algorithm's page is looked for: output/SITE/RUN/.
_PAGE_DEPTH_MAX = 4

_NAMES = {
    "table": "Table",
    "scatter_plot": "Scatter plot",
    "box_plot": "Box plot",
    "images": "Pictures",
    "string": "Message",
    "iframe": "Page",
    "pipeline": "Pipeline",
}


def render(
    console: Console,
    *,
    result: Any,
    display: Sequence[Mapping[str, Any]],
    outputs: Mapping[str, Any],
    folder: Path,
    title: str,
    inputs: Mapping[str, Any] | None = None,
    part: str = "",
) -> tuple[Path, ...]:
    """Print a result, and write its pictures and plots into ``folder/display/``.

    Nothing of a result reaches the terminal or a file name unescaped. What is long is cut,
    with a sentence that says by how much.

    Args:
        console: where to print. Without a terminal nothing is coloured.
        result: what the computation returned: anything that JSON can hold.
        display: what its compspec asks for; one object alone is taken as a list of one.
        outputs: its compspec's ``output``, whose labels name rows and columns.
        folder: the run's folder.
        title: what the result is called.
        inputs: what it was asked; of these only ``results_html_path`` is looked at.
        part: whose result it is, where a run has several (a site's name): its files get a folder
            of their own below ``display/``, so that they don't replace each other.

    Returns:
        The files that were written, in order. The page that shows all pictures is the last.
    """
    page, drawer = Page(console), Drawer(folder=_drawer_folder(folder, part))
    heading = Text(escape(title)[:200], style="bold")
    console.print()
    console.print(Rule(heading, align="left", style="dim"))
    tabs = _tabs(display)
    if not tabs:
        put_json(page, result, why="The computation asks for no display")
    for tab in tabs[:TABS_MAX]:
        kind = str(tab.get("type", ""))
        if len(tabs) > 1:
            console.print()
            console.print(
                Rule(Text(_NAMES.get(kind, escape(kind)[:40])), align="left", style="dim", characters="╌")
            )
        try:
            _show_tab(
                page,
                drawer,
                kind,
                tab,
                result=result,
                outputs=outputs,
                folder=folder,
                title=title,
                inputs=inputs,
            )
        except OSError as error:
            page.remark(f"Pictures can't be written to {drawer.folder}: {error.strerror or error}")
    if len(tabs) > TABS_MAX:
        page.remark(f"… {counted(len(tabs) - TABS_MAX, 'more display')} not shown")
    _close(page, drawer, title)
    return tuple(drawer.paths)


def _drawer_folder(folder: Path, part: str) -> Path:
    return folder / "display" / plain_name(part) if part else folder / "display"


def _tabs(display: Any) -> list[Mapping[str, Any]]:
    """The entries of a display, as authors write it: a list, one object alone, or nothing."""
    entries = [display] if isinstance(display, Mapping) else display if isinstance(display, Sequence) else []
    return [entry for entry in entries if isinstance(entry, Mapping)]


def _show_tab(
    page: Page,
    drawer: Drawer,
    kind: str,
    tab: Mapping[str, Any],
    *,
    result: Any,
    outputs: Mapping[str, Any],
    folder: Path,
    title: str,
    inputs: Mapping[str, Any] | None,
) -> None:
    shown, lacks = True, ""
    match kind:
        case "table":
            show_tables(page, result, tab.get("tables"), outputs=outputs)
        case "scatter_plot":
            shown, lacks = show_scatter(page, drawer, result), "plots with coordinates"
        case "box_plot":
            shown, lacks = show_boxes(page, drawer, result, title=title), "lists of numbers named 'x'"
        case "images":
            shown, lacks = show_pictures(page, drawer, _statistics(result), folder=folder), "PNG pictures"
        case "string":
            _show_message(page, drawer, result, folder=folder)
        case "iframe":
            shown, lacks = (
                _show_pages(page, tab, result, inputs, folder=folder),
                "page, and the folder no index.html",
            )
        case "pipeline":
            show(page, result, labels=Labels(items=outputs), heading="")
        case _:
            name = f"The display type {escape(kind)[:40]!r} is unknown" if kind else "The display has no type"
            put_json(page, result, why=name)
    if not shown:
        put_json(page, result, why=f"The result has no {lacks}")


def _statistics(result: Any) -> Any:
    """Where COINSTAC looks for pictures; all of a result that has neither."""
    found = [
        key for key in ("global_stats", "local_stats") if isinstance(result, Mapping) and result.get(key)
    ]
    return {key: result[key] for key in found} if found else result


def _show_message(page: Page, drawer: Drawer, result: Any, *, folder: Path) -> None:
    if isinstance(result, str):
        page.text(result)
        return
    message = result.get("message") if isinstance(result, Mapping) else None
    if not isinstance(message, str):
        put_json(page, result, why="The result has no message")
        return
    page.text(message)
    picture = result.get("display")
    if isinstance(picture, str) and decoded(picture):
        show_pictures(page, drawer, {"display": picture}, folder=folder)
    download = result.get("download_outputs")
    if isinstance(download, str) and download:
        paths = _find(folder, download)
        for path in paths[:_PAGES_MAX]:
            page.path(path, "outputs")
        if not paths:
            page.remark(
                f"The message names the file {escape(download)[:200]!r}, which the run's folder doesn't have."
            )
    rest = {
        key: item for key, item in result.items() if key not in ("message", "display", "download_outputs")
    }
    if rest:
        page.console.print()
        put_json(page, rest)


def _show_pages(
    page: Page, tab: Mapping[str, Any], result: Any, inputs: Mapping[str, Any] | None, *, folder: Path
) -> bool:
    """Print the paths of an algorithm's own HTML pages. They are never opened or read here."""
    found = False
    for caption, name in _page_names(tab, result, inputs or {}):
        paths = _find(folder, name)
        for path in paths[:_PAGES_MAX]:
            page.path(path, caption)
        if len(paths) > _PAGES_MAX:
            page.remark(f"… {counted(len(paths) - _PAGES_MAX, 'more page')} of this name in {folder}")
        found = found or bool(paths)
    return found


def _page_names(tab: Mapping[str, Any], result: Any, inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Captions and paths of the pages that were asked for: else the folder's ``index.html``."""
    for source in (tab, inputs, result if isinstance(result, Mapping) else {}):
        asked = source.get("results_html_path")
        if isinstance(asked, Mapping) and "value" in asked:
            asked = asked["value"]
        entries = (
            [asked] if isinstance(asked, str | Mapping) else asked if isinstance(asked, Sequence) else []
        )
        pages = [
            entry if isinstance(entry, Mapping) else {"path": entry} for entry in islice(entries, _PAGES_MAX)
        ]
        named = [(entry.get("title") or "page", entry.get("path")) for entry in pages]
        if named:
            return [(str(caption), path) for caption, path in named if isinstance(path, str) and path]
    return [("page", "index.html")]


def _find(folder: Path, name: str) -> list[Path]:
    """The files of this name in the run's folder, or in its seats' folders; never outside."""
    name = name.lstrip("/")
    direct = inside(folder, name)
    if direct is not None:
        return [direct]
    root = folder.resolve()
    parents = (path for depth in range(1, _PAGE_DEPTH_MAX + 1) for path in root.glob("*/" * depth))
    found = (inside(root, str(path.relative_to(root) / name)) for path in parents if path.is_dir())
    own = root / "display"
    return sorted({path for path in found if path is not None and not path.is_relative_to(own)}, key=_natural)


def _natural(path: Path) -> tuple[tuple[int, str], ...]:
    """A key that puts ``local10`` after ``local9``."""
    parts = re.findall(r"\d+|\D+", str(path))
    return tuple((int(part[:18]), "") if part.isdigit() else (-1, part) for part in parts)


def _close(page: Page, drawer: Drawer, title: str) -> None:
    page.close()
    try:
        gallery = drawer.close(title)
    except OSError as error:
        page.remark(f"A page of all pictures can't be written to {drawer.folder}: {error.strerror or error}")
        return
    if gallery is not None:
        page.console.print()
        page.path(gallery, "All pictures")
