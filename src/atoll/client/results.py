"""What a run has left, read and shown: plain values, data frames, files."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atoll.algorithms.opening import REMOTE
from atoll.algorithms.reading import read_result
from atoll.model.errors import AtollError

#: Characters of a value that a notebook shows.
_SHOWN_CHARACTERS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The result of a run, and that of each site."""

    #: What the aggregator, or the only central function, has left; else None.
    result: Any
    #: By site, in their order.
    results: Mapping[str, Any]


def read_results(run: Mapping[str, Any], dialect: str, bodies: Mapping[str, bytes]) -> Results:
    """The results of a run that is done.

    Args:
        run: its public form.
        dialect: of its last step.
        bodies: what each settled seat has left.

    Raises:
        ReplyInvalid: it is not what the dialect's algorithms leave.
    """
    last, lost = run["steps"][-1], run.get("dropped", ())
    # Whoever is no more part of the run has received nothing.
    sites = [site for site in run["sites"] if site not in lost]
    if last["aggregated"]:
        result = read_result(dialect, bodies[REMOTE]) if REMOTE in bodies else None
        return Results(result=result, results=dict.fromkeys(sites, result) if bodies else {})
    results = {site: read_result(dialect, bodies[site]) for site in sites if site in bodies}
    alone = last["role"] == "aggregator" and len(results) == 1
    return Results(result=next(iter(results.values())) if alone else None, results=results)


def frame(value: Any) -> Any:
    """A value as a data frame of pandas.

    Columns by name, a list of objects, a list of lists whose first one names the columns, or an
    object of plain values, which is one row.

    Raises:
        AtollError: pandas is missing, or the value is no table.
    """
    try:
        # Imported here: only who wants a frame needs pandas.
        import pandas as pd
    except ImportError:
        raise AtollError("data frames need pandas: pip install pandas") from None
    if isinstance(value, Mapping) and value:
        columns = [one for one in value.values() if isinstance(one, list)]
        if len(columns) == len(value) and len({len(one) for one in columns}) == 1:
            return pd.DataFrame(dict(value))
        if not columns:
            return pd.json_normalize(dict(value))
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        if all(isinstance(one, Mapping) for one in value):
            return pd.DataFrame(list(value))
        head = value[0]
        if all(isinstance(row, list) and len(row) == len(head) for row in value) and _are_names(head):
            return pd.DataFrame(value[1:], columns=head)
    raise AtollError(
        f"the result is no table ({type(value).__name__}): expected columns by name, or a list of rows"
    )


def shown(value: Any) -> str:
    """A value as HTML for a notebook: every sign of it is text."""
    text = json.dumps(value, indent=1, ensure_ascii=False, default=str)
    more = " …" if len(text) > _SHOWN_CHARACTERS else ""
    return f"<pre>{html.escape(text[:_SHOWN_CHARACTERS])}{more}</pre>"


def table(rows: Sequence[tuple[str, Any]]) -> str:
    """Names and values as HTML for a notebook: every sign of them is text."""
    cells = (
        f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in rows
        if value not in (None, "")
    )
    return f"<table>{''.join(cells)}</table>"


def _are_names(head: Any) -> bool:
    return isinstance(head, list) and bool(head) and all(isinstance(one, str) for one in head)
