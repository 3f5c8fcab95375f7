"""Requests that are made up from the API's own description: whatever is sent, the hub has no fault."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from tests.hub_app import hub_app
from tests.hub_town import Town, town

pytestmark = pytest.mark.timeout(300)

#: Requests per endpoint and kind of caller.
_EXAMPLES = 5


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A town, which need not stay as it is."""
    with ExitStack() as kept, asyncio.Runner() as runner:
        opened = hub_app(
            tmp_path_factory.mktemp("hub"), person_rate=0, node_rate=0, address_rate=0, login_rate=0
        )
        hub = runner.run(opened.__aenter__())
        kept.callback(lambda: asyncio.run(opened.__aexit__(None, None, None)))
        yield runner.run(town(hub))


def _path(case: Any, there: Town) -> str:
    """Where a made-up request goes: to things that are there as often as to others."""
    path = str(case.path)
    ids = there.places["home"].ids
    for number, (name, value) in enumerate((case.path_parameters or {}).items()):
        known = ids.get(name) if number % 2 == 0 or len(str(value)) % 2 else None
        path = path.replace("{" + name + "}", urllib.parse.quote(str(known or value), safe=""))
    query = urllib.parse.urlencode(case.query or {}, doseq=True)
    return f"{urllib.parse.unquote(path)}?{query}" if query else urllib.parse.unquote(path)


def _body(case: Any) -> bytes | None:
    if isinstance(case.body, bytes):
        return case.body
    if type(case.body).__name__ == "NotSet":
        return None
    return json.dumps(case.body).encode()


def test_the_hub_has_no_fault_whatever_is_sent(there: Town) -> None:
    # What an archive is, schemathesis doesn't know; bytes it does.
    text = json.dumps(there.hub.app.openapi()).replace("application/x-tar", "application/octet-stream")
    document = json.loads(text)
    callers = [there.founder_caller, there.node, there.hub.anybody, there.people["researcher"].caller]
    faults = []

    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()

        @settings(
            max_examples=_EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def try_(case: Any) -> None:
            for caller in callers:
                headers = {
                    str(name): str(value)
                    for name, value in (case.headers or {}).items()
                    if str(value).isascii() and str(value).isprintable()
                }
                reply = asyncio.run(caller.ask(case.method, _path(case, there), _body(case), **headers))
                if reply.status >= 500:
                    faults.append(f"{case.method} {case.path}: {_body(case)!r} {reply.body!r}")

        try_()

    assert [] == faults
