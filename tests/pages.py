"""The tables of the reference that are made from the code: ``python -m tests.pages`` writes them.

A test compares each with its page. What stands around a table is written by hand.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

from fastapi.routing import APIRoute

from atoll.hub.api import PREFIX, ROUTERS
from atoll.hub.described import _DESCRIBED
from atoll.hub.settings import PREFIX as VARIABLES
from atoll.hub.settings import HubSettings
from atoll.model.scopes import RIGHTS, ROLES, Reach, grants

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rights() -> str:
    """Everything that can be allowed."""
    rows: list[tuple[str, ...]] = []
    for right in RIGHTS:
        reaches = ["yes" if reach in right.reaches else "" for reach in Reach]
        rows.append((f"`{right.name}`", f"May {right.allows}.", *reaches))
    return _table(("scope", "what it allows", *(reach.word for reach in Reach)), rows)


def roles() -> str:
    """What the roles that every hub has hold."""
    held = {name: grants(scopes) for name, scopes in ROLES.items()}
    rows: list[tuple[str, ...]] = [
        (f"`{right.name}`", *(one[right.name].word if right.name in one else "" for one in held.values()))
        for right in RIGHTS
    ]
    return _table(("scope", *(name.replace("-", " ") for name in ROLES)), rows)


def settings() -> str:
    """Every setting of a hub."""
    rows: list[tuple[str, ...]] = []
    for one in fields(HubSettings):
        default = one.default
        if default is None or default == "":
            shown = ""
        elif isinstance(default, bool):
            shown = "yes" if default else "no"
        elif isinstance(default, tuple):
            shown = f"`{', '.join(default)}`"
        else:
            shown = f"`{default}`"
        rows.append(
            (
                f"`{one.name}`",
                f"`{VARIABLES}{one.name.upper()}`",
                one.metadata["unit"],
                shown,
                one.metadata["help"],
            )
        )
    return _table(("setting", "variable", "unit", "default", "what it is"), rows)


def endpoints() -> str:
    """Every endpoint of the API."""
    rows: list[tuple[str, ...]] = []
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            assert route.openapi_extra is not None
            access = _DESCRIBED[route.openapi_extra["x-atoll-endpoint"]].access
            text = " ".join((inspect.getdoc(route.endpoint) or "").partition("\n\n")[0].split())
            rows += [
                (f"`{method}`", f"`{PREFIX}{route.path}`", f"`{access}`", text)
                for method in sorted(route.methods or ())
            ]
    return _table(("method", "path", "who", "what it does"), rows)


#: Each page with its tables, by the word in the comment that stands before each.
PAGES = {
    "scopes.md": {"rights": rights, "roles": roles},
    "hub-settings.md": {"settings": settings},
    "rest-api.md": {"endpoints": endpoints},
}


def written(text: str, name: str, table: str) -> str:
    """A page's text with a table as it is now."""
    pattern = re.compile(rf"(<!-- {name}: made by tests/pages.py -->\n\n).*?(?=\n\n|\n?\Z)", re.DOTALL)
    assert pattern.search(text), f"the page has no place for {name}"
    return pattern.sub(lambda found: found[1] + table, text)


if __name__ == "__main__":
    for page, tables in PAGES.items():
        path = REFERENCE / page
        content = path.read_text()
        for name, table in tables.items():
            content = written(content, name, table())
        path.write_text(content)
