"""What goes with every request: sizes, versions, rates, headers, errors, the log, keys; and the description."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.hub_app import HubApp, hub_app
from tests.hub_town import found, town

from atoll import __version__
from atoll.hub.collaborations.service import CollaborationService
from atoll.hub.envelope import ACCESS_LOG
from atoll.hub.principal import Principal
from atoll.hub.rates import Buckets
from atoll.model.errors import TooMany
from atoll.model.scopes import RIGHTS


def at(folder: Path, visit: Callable[[HubApp], Awaitable[Any]], **settings: Any) -> Any:
    """Visit a hub that nobody has been at."""

    async def whole() -> Any:
        async with hub_app(folder, **settings) as hub:
            return await visit(hub)

    return asyncio.run(whole())


def test_every_answer_has_headers_for_browsers_and_the_version(tmp_path: Path) -> None:
    async def visit(hub: HubApp) -> Any:
        return [(await hub.anybody.get(path)).headers for path in ("/v1/health", "/v1/me", "/none")]

    for headers in at(tmp_path, visit):
        assert __version__ == headers["atoll-version"]
        assert ("nosniff", "DENY") == (headers["x-content-type-options"], headers["x-frame-options"])
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "no-store" == headers["cache-control"]


def test_what_is_not_there_is_told_as_a_problem(tmp_path: Path) -> None:
    async def visit(hub: HubApp) -> Any:
        return await hub.anybody.get("/v1/none"), await hub.anybody.delete("/v1/health")

    none, method = at(tmp_path, visit)

    assert (404, "NotThere", "urn:atoll:error:NotThere") == (none.status, none.code, none.json["type"])
    assert (405, "NoSuchMethod", "GET") == (method.status, method.code, method.headers["allow"])


def test_a_number_that_no_column_holds_is_refused(tmp_path: Path) -> None:
    async def visit(hub: HubApp) -> Any:
        there = await town(hub)
        far = base64.urlsafe_b64encode(b"[1000000000000000000000]").decode()
        run = there.places["home"].ids["run"]
        return await there.founder_caller.get(f"/v1/runs/{run}/rounds?cursor={far}")

    reply = at(tmp_path, visit)

    assert (422, "Malformed") == (reply.status, reply.code)


def test_a_body_that_is_too_large_is_refused_before_and_while_it_comes(tmp_path: Path) -> None:
    async def visit(hub: HubApp) -> Any:
        told = await hub.anybody.post("/v1/login", b"x" * 1_001)
        untold = await hub.anybody.ask("POST", "/v1/login", b"x" * 1_001, content_length="1")
        return told, untold

    told, untold = at(tmp_path, visit, body_bytes_max=1_000)

    assert (413, 413) == (told.status, untold.status)
    assert ("TooLarge", "TooLarge") == (told.code, untold.code)


@pytest.mark.parametrize(
    "path", ["users/uploads", "collaborations/uploads/studies/x", "collaborations/x/uploads/y"]
)
def test_only_who_brings_a_file_may_send_more(tmp_path: Path, path: str) -> None:
    async def visit(hub: HubApp) -> Any:
        _, _, token = await found(hub)
        return await hub.anybody.as_(token).patch(f"/v1/{path}", b"x" * 1_001)

    assert 413 == at(tmp_path, visit, body_bytes_max=1_000).status


@pytest.mark.parametrize(
    ("said", "status"), [(__version__, 401), ("9.0.0", 426), ("0.9.0", 426), ("x", 426), ("0.2.7", 401)]
)
def test_another_version_is_refused_with_a_sentence(tmp_path: Path, said: str, status: int) -> None:
    async def visit(hub: HubApp) -> Any:
        return [
            (await hub.anybody.get(f"/v1/{path}", atoll_version=said)).status for path in ("me", "version")
        ]

    assert [status, 200] == at(tmp_path, visit)


def test_who_is_not_known_has_the_rate_of_his_address(tmp_path: Path) -> None:
    async def visit(hub: HubApp) -> Any:
        seen = [(await hub.anybody.get("/v1/me")).status for _ in range(7)]
        last = await hub.anybody.get("/v1/me")
        other = (await hub.anybody.from_("198.51.100.7").get("/v1/me")).status
        hub.clock.move(1)
        return seen, last.headers["retry-after"], other, (await hub.anybody.get("/v1/me")).status

    assert ([401] * 6 + [429], "1", 401, 401) == at(tmp_path, visit, address_rate=2)


def test_a_person_has_a_rate_of_his_own_wherever_he_comes_from(tmp_path: Path) -> None:
    async def visit(hub: HubApp) -> Any:
        _, _, token = await found(hub)
        caller = hub.anybody.as_(token)
        seen = [(await caller.from_(f"192.0.2.{number}").get("/v1/me")).status for number in range(5)]
        hub.clock.move(60)
        return seen, (await caller.get("/v1/me")).status

    seen, later = at(tmp_path, visit, person_rate=2)

    # One of the four that there is room for was taken when the hub was founded.
    assert ([200, 200, 200, 429, 429], 200) == (seen, later)


def test_buckets_that_are_full_are_not_kept() -> None:
    now = [0.0]
    buckets = Buckets(1, 2, lambda: now[0], "anybody")
    for number in range(50_000):
        buckets.take(str(number))
    now[0] = 3.0
    buckets.take("one more")

    assert 1 == len(buckets._levels)


def test_who_plays_many_does_not_fill_the_memory() -> None:
    buckets = Buckets(1, 2, lambda: 0.0, "anybody")
    for number in range(60_000):
        buckets.take(str(number))

    assert len(buckets._levels) <= 50_000
    buckets.take("59999")
    with pytest.raises(TooMany):
        buckets.take("59999")


def test_the_log_has_neither_a_token_nor_a_query(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def visit(hub: HubApp) -> str:
        _, _, token = await found(hub)
        await hub.anybody.as_(token).get("/v1/users?cursor=secretly&limit=2")
        await hub.anybody.post("/v1/login", {"username": "founder", "password": "not the password"})
        return token

    with caplog.at_level(logging.DEBUG, logger=ACCESS_LOG.name):
        token = at(tmp_path, visit)

    assert "GET /v1/users 422" in caplog.text
    assert "founder" in caplog.text
    assert not [word for word in (token, "secretly", "not the password") if word in caplog.text]


def test_nobody_writes_lines_of_his_own_into_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def visit(hub: HubApp) -> Any:
        return await hub.anybody.get("/v1/none\nINFO GET /v1/me 200 0.1 ms founder")

    with caplog.at_level(logging.INFO, logger=ACCESS_LOG.name):
        assert 404 == at(tmp_path, visit).status

    (line,) = [record.getMessage() for record in caplog.records if record.name == ACCESS_LOG.name]
    assert "\n" not in line


def test_a_fault_of_the_hub_is_logged_and_told_without_detail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("the table 'penguins' is gone")

    async def visit(hub: HubApp) -> Any:
        _, _, token = await found(hub)
        return await hub.anybody.as_(token).get("/v1/collaborations")

    monkeypatch.setattr(CollaborationService, "list", fail)
    reply = at(tmp_path, visit)

    assert (500, "Fault") == (reply.status, reply.code)
    assert "penguins" in caplog.text
    assert b"penguins" not in reply.body


# --- Sending again ----------------------------------------------------------------------------


def test_a_request_with_a_key_is_done_once(tmp_path: Path) -> None:
    async def visit(hub: HubApp) -> Any:
        _, _, token = await found(hub)
        caller = hub.anybody.as_(token)
        sent = {"name": "Dream"}
        first = await caller.post("/v1/organizations", sent, idempotency_key="a")
        second = await caller.post("/v1/organizations", sent, idempotency_key="a")
        other = await caller.post("/v1/organizations", {"name": "Other"}, idempotency_key="a")
        without = await caller.post("/v1/organizations", sent)
        hub.clock.move(86_401)
        return first, second, other.code, without.code

    first, second, other, without = at(tmp_path, visit)

    assert (201, first.body) == (second.status, second.body)
    assert ("Taken", "Taken") == (other, without)


def test_what_was_refused_is_not_kept(tmp_path: Path) -> None:
    async def visit(hub: HubApp) -> Any:
        _, _, token = await found(hub)
        caller = hub.anybody.as_(token)
        return [
            (await caller.post("/v1/organizations", {"name": name}, idempotency_key="a")).status
            for name in ("", "Dream")
        ]

    assert [422, 201] == at(tmp_path, visit)


def test_an_answer_with_a_secret_is_given_once(tmp_path: Path) -> None:
    async def visit(hub: HubApp) -> Any:
        _, _, token = await found(hub)
        caller = hub.anybody.as_(token)
        sent = {"name": "script", "scopes": []}
        replies = [await caller.post("/v1/tokens", sent, idempotency_key="a") for _ in range(2)]
        return [reply.status for reply in replies], len((await caller.get("/v1/tokens")).json["items"])

    assert ([201, 409], 1) == at(tmp_path, visit)


@pytest.mark.parametrize("key", ["x" * 201, "tab\t"])
def test_a_key_that_can_not_be_is_refused(tmp_path: Path, key: str) -> None:
    async def visit(hub: HubApp) -> Any:
        _, _, token = await found(hub)
        return (
            await hub.anybody.as_(token).post("/v1/organizations", {"name": "A"}, idempotency_key=key)
        ).code

    assert "Malformed" == at(tmp_path, visit)


# --- The description --------------------------------------------------------------------------


def test_the_description_says_who_may_use_what_and_shows_errors(tmp_path: Path) -> None:
    async def visit(hub: HubApp) -> Any:
        return (await hub.anybody.get("/v1/openapi.json")).json

    document = at(tmp_path, visit)

    operations = [one for path in document["paths"].values() for one in path.values()]
    assert document["openapi"].startswith("3.1")
    assert {"type": "http", "scheme": "bearer"} == {
        key: document["components"]["securitySchemes"]["token"][key] for key in ("type", "scheme")
    }
    names = {right.name for right in RIGHTS}
    assert all(
        one["x-atoll-access"] in {*names, "open", "self", "login", "known", "node"} for one in operations
    )
    assert all(
        ("security" in one) and (one["security"] == []) is (one["x-atoll-access"] == "open")
        for one in operations
    )
    submit = document["paths"]["/v1/runs"]["post"]
    assert "`run:create`" in submit["description"]
    examples = submit["responses"]["403"]["content"]["application/problem+json"]["examples"]
    assert "NotAllowed" == examples["NotAllowed"]["value"]["code"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_every_reference_of_the_description_leads_somewhere(tmp_path: Path) -> None:
    async def visit(hub: HubApp) -> Any:
        return (await hub.anybody.get("/v1/openapi.json")).json

    document = at(tmp_path, visit)
    wanted = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            wanted.update([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
            for one in value.values():
                look(one)
        elif isinstance(value, list):
            for one in value:
                look(one)

    look(document)

    assert wanted
    assert {reference.rpartition("/")[2] for reference in wanted} <= set(document["components"]["schemas"])


def test_a_principal_is_told_what_it_lacks() -> None:
    nobody = Principal(kind=None, id="usr_1", name="eve", organization_id="org_1")  # type: ignore[arg-type]  # it isn't asked about

    with pytest.raises(Exception, match="eve has no scope run:view"):
        nobody.require_some("run", "view")
