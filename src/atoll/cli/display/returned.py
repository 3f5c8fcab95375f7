"""Shows what functions returned: their authors say nothing of how, so that its shape decides."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from atoll.cli.display.layout import Labels, show
from atoll.cli.display.page import Page
from atoll.cli.escape import escape

#: Characters of a text in which JSON is looked for.
_JSON_CHARACTERS_MAX = 1_000_000


def render_value(console: Console, value: Any, *, title: str, whole: str = "result.json") -> None:
    """Print a value as text, tables or JSON, cut where it is long.

    Args:
        console: where to print. Without a terminal nothing is coloured.
        value: what a function returned, or what one returned at each site: anything that JSON can hold.
        title: the function's name.
        whole: what has the value as it is, where something is left out here.
    """
    page = Page(console, whole)
    console.print()
    console.print(Rule(Text(escape(title)[:200], style="bold"), align="left", style="dim"))
    within = _read(value)
    show(page, value if within is None else within, labels=Labels(items={}), heading="")
    if within is not None:
        page.remark("The function returned this as text; it is JSON.")
    page.close()
    console.print()


def _read(value: Any) -> Any:
    """The value that a text holds as JSON, as pandas' ``to_json`` writes it; else None."""
    if not isinstance(value, str) or len(value) > _JSON_CHARACTERS_MAX or not value.startswith(("{", "[")):
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
