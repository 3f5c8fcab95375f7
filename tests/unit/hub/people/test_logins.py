"""Coming in and going out: passwords, logins, tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from tests.hub_app import Caller, HubApp, Reply, hub_app
from tests.hub_town import PASSWORD, found

from atoll.hub.people.passwords import check
from atoll.model.errors import Malformed
from atoll.stores.sql.tables import metadata

Visit = Callable[[HubApp, Caller], Awaitable[Any]]


def at(folder: Path, visit: Visit) -> Any:
    """Visit a hub as its founder."""

    async def whole() -> Any:
        async with hub_app(folder, login_rate=0, address_rate=0) as hub:
            _, _, token = await found(hub)
            return await visit(hub, hub.anybody.as_(token))

    return asyncio.run(whole())


async def log_in(caller: Caller, username: str = "founder", password: str = PASSWORD) -> Reply:
    """Try to log in."""
    return await caller.post("/v1/login", {"username": username, "password": password})


def test_who_knows_the_password_is_let_in_whatever_the_case_of_his_name(tmp_path: Path) -> None:
    async def visit(hub: HubApp, _: Caller) -> Any:
        tokens = (await log_in(hub.anybody, "FOUNDER")).json
        return (await hub.anybody.as_(tokens["access_token"]).get("/v1/me")).json

    me = at(tmp_path, visit)

    assert ("founder", "Lagoon", ["administrator"]) == (
        me["username"],
        me["organization"]["name"],
        me["roles"],
    )


def test_a_wrong_name_and_a_wrong_password_are_told_alike(tmp_path: Path) -> None:
    async def visit(hub: HubApp, _: Caller) -> Any:
        return await log_in(hub.anybody, "nobody"), await log_in(hub.anybody, password="wrong but long")

    nobody, wrong = at(tmp_path, visit)

    assert (401, nobody.body) == (wrong.status, wrong.body)


def test_after_five_wrong_passwords_there_are_pauses_that_grow(tmp_path: Path) -> None:
    async def visit(hub: HubApp, _: Caller) -> Any:
        seen = [(await log_in(hub.anybody, password="wrong")).status for __ in range(5)]
        # From another address, and with the right password: the name itself has a pause.
        refused = await log_in(hub.anybody.from_("198.51.100.7"))
        waits = [int(refused.headers["retry-after"])]
        for __ in range(3):
            hub.clock.move(waits[-1] + 0.1)
            assert 401 == (await log_in(hub.anybody, password="wrong")).status
            waits.append(int((await log_in(hub.anybody)).headers["retry-after"]))
        hub.clock.move(waits[-1] + 0.1)
        return (
            seen,
            refused.code,
            waits,
            (await log_in(hub.anybody)).status,
            await log_in(hub.anybody, password="x"),
        )

    seen, code, waits, at_last, after = at(tmp_path, visit)

    assert ([401] * 5, "TooMany", [2, 4, 8, 16], 200) == (seen, code, waits, at_last)
    assert 401 == after.status


def test_names_that_nobody_has_have_pauses_too(tmp_path: Path) -> None:
    async def visit(hub: HubApp, _: Caller) -> list[str]:
        return [(await log_in(hub.anybody, "nobody")).code for __ in range(6)]

    assert [*["NotLoggedIn"] * 5, "TooMany"] == at(tmp_path, visit)


def test_an_address_that_tries_many_names_has_pauses(tmp_path: Path) -> None:
    async def visit(hub: HubApp, _: Caller) -> Any:
        codes = [(await log_in(hub.anybody, f"name{number}")).code for number in range(51)]
        return (
            codes[-1],
            (await log_in(hub.anybody)).code,
            (await log_in(hub.anybody.from_("198.51.100.7"))).status,
        )

    assert ("TooMany", "TooMany", 200) == at(tmp_path, visit)


def test_a_refresh_token_works_once_and_its_copy_ends_the_login(tmp_path: Path) -> None:
    async def visit(hub: HubApp, _: Caller) -> Any:
        first = (await log_in(hub.anybody)).json
        second = (await hub.anybody.post("/v1/login/refresh", {"refresh_token": first["refresh_token"]})).json
        me = await hub.anybody.as_(second["access_token"]).get("/v1/me")
        replayed = await hub.anybody.post("/v1/login/refresh", {"refresh_token": first["refresh_token"]})
        later = [
            (await hub.anybody.as_(tokens["access_token"]).get("/v1/me")).code for tokens in (first, second)
        ]
        last = await hub.anybody.post("/v1/login/refresh", {"refresh_token": second["refresh_token"]})
        return me.status, replayed.code, "has ended" in replayed.json["detail"], later, last.code

    assert (200, "NotLoggedIn", True, ["NotLoggedIn"] * 2, "NotLoggedIn") == at(tmp_path, visit)


def test_a_refresh_token_ends_after_thirty_days(tmp_path: Path) -> None:
    async def visit(hub: HubApp, _: Caller) -> list[int]:
        token = (await log_in(hub.anybody)).json["refresh_token"]
        seen = []
        for days in (29, 29, 31):
            hub.clock.move(days * 86_400)
            reply = await hub.anybody.post("/v1/login/refresh", {"refresh_token": token})
            seen.append(reply.status)
            token = reply.json.get("refresh_token")
        return seen

    assert [200, 200, 401] == at(tmp_path, visit)


def test_logins_are_listed_and_end_one_by_one(tmp_path: Path) -> None:
    async def visit(hub: HubApp, founder: Caller) -> Any:
        other = (
            await hub.anybody.from_("198.51.100.7").ask(
                "POST", "/v1/login", {"username": "founder", "password": PASSWORD}, user_agent="a browser\x7f"
            )
        ).json
        listed = (await founder.get("/v1/logins")).json["items"]
        shown = [(one["address"], one["agent"], one["current"]) for one in listed]
        ended = await founder.delete(f"/v1/logins/{other['login']}")
        out = (await hub.anybody.as_(other["access_token"]).get("/v1/me")).code
        again = await founder.delete(f"/v1/logins/{other['login']}")
        gone = await founder.post("/v1/logout")
        return sorted(shown), ended.status, out, again.code, gone.status, (await founder.get("/v1/me")).code

    shown, *rest = at(tmp_path, visit)

    assert [("192.0.2.1", "", True), ("198.51.100.7", "a browser", False)] == shown
    assert [204, "NotLoggedIn", "NotThere", 204, "NotLoggedIn"] == rest


def test_a_new_password_ends_the_other_logins(tmp_path: Path) -> None:
    new = "eight larger islands"

    async def visit(hub: HubApp, founder: Caller) -> Any:
        other = hub.anybody.as_((await log_in(hub.anybody)).json["access_token"])
        wrong = await founder.post("/v1/me/password", {"current": "no", "new": new})
        short = await founder.post("/v1/me/password", {"current": PASSWORD, "new": "short"})
        done = await founder.post("/v1/me/password", {"current": PASSWORD, "new": new})
        return (
            [wrong.code, short.code, done.status],
            [(await other.get("/v1/me")).status, (await founder.get("/v1/me")).status],
            [(await log_in(hub.anybody)).status, (await log_in(hub.anybody, password=new)).status],
        )

    assert (["NotLoggedIn", "Malformed", 204], [401, 200], [401, 200]) == at(tmp_path, visit)


@pytest.mark.parametrize("password", ["short", "a" * 12, "FounderFounder1", "x" * 1_001])
def test_a_password_that_is_easy_to_guess_is_refused(password: str) -> None:
    with pytest.raises(Malformed):
        check(password, "founder")


def test_a_personal_token_may_what_it_names_and_no_more(tmp_path: Path) -> None:
    async def visit(_: HubApp, founder: Caller) -> Any:
        made = await founder.post("/v1/tokens", {"name": "script", "scopes": ["user:view:own"], "days": 1})
        script = founder.as_(made.json["token"])
        scopes = (await script.get("/v1/me")).json["scopes"]
        refused = [
            (await script.get("/v1/organizations")).code,
            (await script.post("/v1/tokens", {"name": "more", "scopes": []})).code,
            (await script.post("/v1/me/password", {"current": PASSWORD, "new": "x"})).code,
        ]
        listed = (await founder.get("/v1/tokens")).json["items"]
        await founder.delete(f"/v1/tokens/{made.json['id']}")
        return scopes, refused, [one["token"] for one in listed], (await script.get("/v1/me")).code

    assert (["user:view:own"], ["NotAllowed"] * 3, [None], "NotLoggedIn") == at(tmp_path, visit)


def test_a_personal_token_ends_in_its_time(tmp_path: Path) -> None:
    async def visit(hub: HubApp, founder: Caller) -> Any:
        made = await founder.post("/v1/tokens", {"name": "script", "scopes": [], "days": 2})
        script = founder.as_(made.json["token"])
        seen = []
        for __ in range(2):
            hub.clock.move(86_399)
            seen.append((await script.get("/v1/me")).status)
        hub.clock.move(3)
        return [*seen, (await script.get("/v1/me")).status]

    assert [200, 200, 401] == at(tmp_path, visit)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"name": "x", "scopes": ["run:fly:own"]}, "Malformed"),
        ({"name": "x", "scopes": [], "days": 0}, "Malformed"),
        ({"name": "x", "scopes": [], "days": 367}, "Malformed"),
        ({"name": "", "scopes": []}, "Malformed"),
        ({"name": "x"}, "Malformed"),
        ({"name": "x", "scopes": [], "more": 1}, "Malformed"),
    ],
)
def test_a_personal_token_that_can_not_be_is_refused(tmp_path: Path, sent: Any, code: str) -> None:
    async def visit(_: HubApp, founder: Caller) -> str:
        return (await founder.post("/v1/tokens", sent)).code

    assert code == at(tmp_path, visit)


def test_no_secret_stands_in_the_database(tmp_path: Path) -> None:
    async def visit(hub: HubApp, founder: Caller) -> Any:
        tokens = (await log_in(hub.anybody)).json
        organization = (await founder.get("/v1/me")).json["organization"]["id"]
        made = [
            await founder.post("/v1/tokens", {"name": "script", "scopes": []}, idempotency_key="a"),
            await founder.post("/v1/invitations", {"organization": organization}, idempotency_key="b"),
            await founder.post("/v1/nodes", {"name": "n", "organization": organization}, idempotency_key="c"),
        ]
        registered = await hub.anybody.post("/v1/nodes/register", {"code": made[2].json["code"]})
        node = await hub.anybody.post("/v1/node/token", {"key": registered.json["key"]})
        secrets = [
            *(PASSWORD, founder.token, tokens["access_token"], tokens["refresh_token"]),
            *(made[0].json["token"], made[1].json["code"], made[2].json["code"]),
            *(registered.json["key"], node.json["access_token"]),
        ]
        async with hub.parts.database.reading() as connection:
            kept = [
                str(row)
                for table in metadata.sorted_tables
                for row in (await connection.execute(sqlalchemy.select(table))).rows
            ]
        return secrets, "\n".join(kept)

    secrets, kept = at(tmp_path, visit)

    assert "founder" in kept
    assert [] == [secret for secret in secrets if secret in kept]
