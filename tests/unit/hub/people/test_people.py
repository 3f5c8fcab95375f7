"""Organizations, people, roles and invitations: who may give what to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.hub_app import HubApp, hub_app
from tests.hub_town import PASSWORD, Town, found, town

from atoll.hub.people.invitations import InvitationService

Visit = Callable[[Town], Awaitable[Any]]


def at(folder: Path, visit: Visit) -> Any:
    """Visit a town."""

    async def whole() -> Any:
        async with hub_app(folder, address_rate=0) as hub:
            return await visit(await town(hub))

    return asyncio.run(whole())


def test_an_organizations_administrator_adds_people_and_gives_them_what_he_has(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        admin, home = there.people["organization-administrator"].caller, there.places["home"].ids
        new = {"organization": home["organization"], "password": PASSWORD}
        return [
            (await admin.post("/v1/users", {**new, "username": f"new{number}", "roles": roles})).code
            for number, roles in enumerate((["researcher"], [home["role"]], ["administrator"], ["rol_none"]))
        ]

    assert ["", "", "NotAllowed", "NotThere"] == at(tmp_path, visit)


def test_a_role_of_another_organization_can_not_be_given(tmp_path: Path) -> None:
    async def visit(there: Town) -> str:
        sent = {"roles": [there.places["away"].ids["role"]]}
        user = there.places["home"].ids["user"]
        return (await there.founder_caller.patch(f"/v1/users/{user}", sent)).code

    assert "NotThere" == at(tmp_path, visit)


def test_nobody_changes_who_may_more_than_himself(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        admin = there.people["organization-administrator"].caller
        above = there.people["administrator"].id
        return [
            (await admin.patch(f"/v1/users/{above}", {"disabled": True})).code,
            (await admin.delete(f"/v1/users/{above}")).code,
            (await admin.delete(f"/v1/users/{above}/logins")).code,
        ]

    assert ["NotAllowed"] * 3 == at(tmp_path, visit)


def test_who_is_disabled_is_out_at_once_with_his_invitations(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        viewer = there.people["viewer"]
        before = (await viewer.caller.get("/v1/me")).status
        changed = await there.founder_caller.patch(f"/v1/users/{viewer.id}", {"disabled": True})
        after = (await viewer.caller.get("/v1/me")).code
        login = await there.hub.anybody.post("/v1/login", {"username": "viewer", "password": PASSWORD})
        invitations = (await there.founder_caller.get("/v1/invitations?limit=200")).json["items"]
        return (
            before,
            changed.json["disabled"],
            after,
            login.code,
            viewer.id in {one["invited_by"] for one in invitations},
        )

    assert (200, True, "NotLoggedIn", "NotLoggedIn", False) == at(tmp_path, visit)


def test_a_change_of_roles_counts_at_once(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        viewer = there.people["viewer"]
        before = (await viewer.caller.get("/v1/runs")).status
        await there.founder_caller.patch(f"/v1/users/{viewer.id}", {"roles": []})
        return before, (await viewer.caller.get("/v1/runs")).code, (await viewer.caller.get("/v1/me")).status

    assert (200, "NotAllowed", 200) == at(tmp_path, visit)


def test_the_last_administrator_stays(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        founder, other = there.founder.id, there.people["administrator"].id
        caller = there.founder_caller
        first = (await caller.delete(f"/v1/users/{other}")).status
        refused = [
            (await caller.patch(f"/v1/users/{founder}", sent)).code
            for sent in ({"disabled": True}, {"roles": ["viewer"]})
        ]
        return (
            first,
            refused,
            (await caller.delete(f"/v1/users/{founder}")).code,
            (await caller.get("/v1/me")).status,
        )

    assert (204, ["Taken", "Taken"], "Taken", 200) == at(tmp_path, visit)


def test_a_role_is_made_changed_and_removed_when_nobody_has_it(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        caller, viewer = there.founder_caller, there.people["viewer"]
        made = await caller.post("/v1/roles", {"name": "Auditor", "scopes": ["log:view:global"]})
        role = made.json["id"]
        same = await caller.post("/v1/roles", {"name": "AUDITOR", "scopes": []})
        await caller.patch(f"/v1/users/{viewer.id}", {"roles": [role]})
        has = (await viewer.caller.get("/v1/me")).json["scopes"]
        await caller.patch(f"/v1/roles/{role}", {"name": "Listener", "scopes": ["log:view:own"]})
        has_now = (await viewer.caller.get("/v1/me")).json["scopes"]
        in_use = (await caller.delete(f"/v1/roles/{role}")).code
        await caller.patch(f"/v1/users/{viewer.id}", {"roles": []})
        return same.code, has, has_now, in_use, (await caller.delete(f"/v1/roles/{role}")).status

    assert ("Taken", ["log:view:global"], ["log:view:own"], "Taken", 204) == at(tmp_path, visit)


def test_nobody_makes_or_changes_a_role_with_more_than_he_has(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        admin, home = there.people["organization-administrator"].caller, there.places["home"].ids
        theirs = {"organization": home["organization"]}
        strong = await there.founder_caller.post(
            "/v1/roles", {**theirs, "name": "strong", "scopes": ["node:view:global"]}
        )
        return [
            (await admin.post("/v1/roles", {**theirs, "name": "x", "scopes": ["node:view:global"]})).code,
            (
                await admin.post("/v1/roles", {**theirs, "name": "x", "scopes": ["node:view:organization"]})
            ).code,
            (await admin.post("/v1/roles", {"name": "of the hub", "scopes": []})).code,
            (await admin.patch(f"/v1/roles/{home['role']}", {"scopes": ["node:view:global"]})).code,
            (await admin.patch(f"/v1/roles/{strong.json['id']}", {"scopes": []})).code,
            (await admin.delete(f"/v1/roles/{strong.json['id']}")).code,
        ]

    refused = ["NotAllowed"] * 4
    assert ["NotAllowed", "", *refused] == at(tmp_path, visit)


def test_the_roles_that_every_hub_has_stay_as_they_are(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        viewer = there.people["viewer"].caller
        return [
            (await viewer.get("/v1/roles/researcher")).json["name"],
            (await there.founder_caller.patch("/v1/roles/researcher", {"scopes": []})).code,
            (await there.founder_caller.delete("/v1/roles/researcher")).code,
        ]

    assert ["researcher", "Taken", "Taken"] == at(tmp_path, visit)


def test_an_organization_that_something_depends_on_stays(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        caller = there.founder_caller
        refused = await caller.delete(f"/v1/organizations/{there.places['away'].ids['organization']}")
        made = (await caller.post("/v1/organizations", {"name": "Empty"})).json
        same = await caller.post("/v1/organizations", {"name": "empty"})
        renamed = await caller.patch(f"/v1/organizations/{made['id']}", {"name": "EMPTY"})
        taken = await caller.patch(f"/v1/organizations/{made['id']}", {"name": "biscoe"})
        done = await caller.delete(f"/v1/organizations/{made['id']}")
        return refused.code, refused.json["detail"], same.code, renamed.json["name"], taken.code, done.status

    code, detail, *rest = at(tmp_path, visit)

    assert ("Taken", ["Taken", "EMPTY", "Taken", 204]) == (code, rest)
    assert "1 people, 1 nodes, 1 collaborations" in detail


def test_a_list_comes_in_pages_that_miss_nothing(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        pages, cursor = [], ""
        while cursor is not None:
            page = (await there.founder_caller.get(f"/v1/users?limit=3&cursor={cursor}")).json
            pages.append([user["username"] for user in page["items"]])
            cursor = page["next"]
        home = there.places["home"].ids["organization"]
        of_home = (await there.founder_caller.get(f"/v1/users?organization={home}")).json["items"]
        return pages, len(of_home)

    pages, of_home = at(tmp_path, visit)

    names = [name for page in pages for name in page]
    assert [3, 3, 3] == [len(page) for page in pages]
    assert sorted(names) == names
    assert 6 == of_home


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=²", "cursor=x", "cursor=WzFd"])
def test_a_page_that_can_not_be_is_refused(tmp_path: Path, query: str) -> None:
    async def visit(there: Town) -> str:
        return (await there.founder_caller.get(f"/v1/users?{query}")).code

    assert "Malformed" == at(tmp_path, visit)


# --- Becoming a person ------------------------------------------------------------------------


def test_the_first_administrator_comes_with_a_code_that_works_once(tmp_path: Path) -> None:
    async def visit() -> Any:
        async with hub_app(tmp_path) as hub:
            invitations = hub.rooms.of(InvitationService)
            lost, again = await invitations.setup_code(), await invitations.setup_code()
            code = await invitations.setup_code(anew=True)
            sent = {"organization": "Lagoon", "username": "ada", "password": PASSWORD}
            tried = [
                (await hub.anybody.post("/v1/setup", {**sent, "code": one})).status
                for one in (lost, code, code)
            ]
            return again, tried, await invitations.setup_code(anew=True)

    assert (None, [403, 201, 403], None) == asyncio.run(visit())


def test_a_set_up_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    async def visit() -> Any:
        async with hub_app(tmp_path) as hub:
            code = await hub.rooms.of(InvitationService).setup_code()
            sent = {"code": code, "organization": "Lagoon", "username": "ada"}
            refused = await hub.anybody.post("/v1/setup", {**sent, "password": "short"})
            done = await hub.anybody.post("/v1/setup", {**sent, "password": PASSWORD})
            return refused.code, done.status

    assert ("Malformed", 201) == asyncio.run(visit())


def invited(folder: Path, then: Callable[[HubApp, str, dict[str, Any]], Awaitable[Any]]) -> Any:
    """Invite somebody, and go on with the invitation."""

    async def whole() -> Any:
        async with hub_app(folder, address_rate=0) as hub:
            _, organization, token = await found(hub)
            sent = {"organization": organization, "roles": ["viewer"], "name": "Bob of the lab"}
            reply = await hub.anybody.as_(token).post("/v1/invitations", sent)
            return await then(hub, token, reply.json)

    return asyncio.run(whole())


async def accept(hub: HubApp, code: str, username: str = "bob") -> Any:
    """Accept an invitation."""
    return await hub.anybody.post(
        "/v1/invitations/accept", {"code": code, "username": username, "password": PASSWORD}
    )


def test_an_invitation_is_accepted_once(tmp_path: Path) -> None:
    async def then(hub: HubApp, token: str, invitation: dict[str, Any]) -> Any:
        taken = await accept(hub, invitation["code"], "FOUNDER")
        first = await accept(hub, invitation["code"])
        second = await accept(hub, invitation["code"], "eve")
        me = await hub.anybody.as_(first.json["tokens"]["access_token"]).get("/v1/me")
        left = (await hub.anybody.as_(token).get("/v1/invitations")).json["items"]
        return taken.code, me.json["roles"], second.code, left

    assert ("Taken", ["viewer"], "NotAllowed", []) == invited(tmp_path, then)


def test_an_invitation_ends_in_its_time_and_when_it_is_withdrawn(tmp_path: Path) -> None:
    async def then(hub: HubApp, token: str, invitation: dict[str, Any]) -> Any:
        founder = hub.anybody.as_(token)
        other = (await founder.post("/v1/invitations", {"organization": invitation["organization"]})).json
        await founder.delete(f"/v1/invitations/{other['id']}")
        withdrawn = (await accept(hub, other["code"])).code
        hub.clock.move(7 * 86_400)
        return withdrawn, (await accept(hub, invitation["code"])).code

    assert ("NotAllowed", "NotAllowed") == invited(tmp_path, then)


@pytest.mark.parametrize("left", [[], ["organization-administrator"]])
def test_who_may_less_than_before_has_nobody_made_what_he_was(tmp_path: Path, left: list[str]) -> None:
    async def visit() -> Any:
        async with hub_app(tmp_path, address_rate=0) as hub:
            there = await town(hub)
            administrator = there.people["administrator"]
            organization = there.places["home"].ids["organization"]
            sent = {"organization": organization, "roles": ["administrator"]}
            invitation = (await administrator.caller.post("/v1/invitations", sent)).json
            founder = there.founder_caller
            assert 200 == (await founder.patch(f"/v1/users/{administrator.id}", {"roles": left})).status
            return await accept(hub, invitation["code"])

    reply = asyncio.run(visit())

    assert (403, "NotAllowed") == (reply.status, reply.code)
    assert "may not give any more" in reply.json["detail"]


def test_an_invitation_with_a_role_that_is_gone_gives_the_others(tmp_path: Path) -> None:
    async def then(hub: HubApp, token: str, invitation: dict[str, Any]) -> Any:
        founder = hub.anybody.as_(token)
        role = (await founder.post("/v1/roles", {"name": "helper", "scopes": []})).json["id"]
        sent = {"organization": invitation["organization"], "roles": ["viewer", role]}
        code = (await founder.post("/v1/invitations", sent)).json["code"]
        await founder.delete(f"/v1/roles/{role}")
        return (await accept(hub, code)).json["user"]["roles"]

    assert ["viewer"] == invited(tmp_path, then)


@pytest.mark.parametrize("sent", [{"days": 0}, {"days": 31}, {"roles": ["no"]}, {"organization": "org_no"}])
def test_an_invitation_that_can_not_be_is_refused(tmp_path: Path, sent: dict[str, Any]) -> None:
    async def then(hub: HubApp, token: str, invitation: dict[str, Any]) -> Any:
        body = {"organization": invitation["organization"], **sent}
        return (await hub.anybody.as_(token).post("/v1/invitations", body)).code

    assert invited(tmp_path, then) in ("Malformed", "NotThere")
