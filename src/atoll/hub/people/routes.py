"""Organizations, people, roles and invitations, over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from atoll.hub.answers import Page, answer, decoded, nothing, wanted
from atoll.hub.described import ONCE, PAGED, described
from atoll.hub.once import once
from atoll.hub.parts import room
from atoll.hub.people.forms import (
    ChangedRole,
    ChangedUser,
    InvitationForm,
    Name,
    NewInvitation,
    NewRole,
    NewUser,
    OrganizationForm,
    RightForm,
    RoleForm,
    UserForm,
    invitation_form,
    organization_form,
    right_forms,
    role_form,
    user_form,
)
from atoll.hub.people.invitations import InvitationService
from atoll.hub.people.service import PeopleService, built_in
from atoll.hub.principal import AuthenticatedUser
from atoll.model.errors import Taken
from atoll.model.people import key_of
from atoll.model.scopes import ROLES

router = APIRouter(tags=["people"])


@router.get("/scopes", **described("self", answer=Page[RightForm]))
async def scopes(_: AuthenticatedUser) -> Response:
    """Everything that can be allowed."""
    return answer(Page(items=right_forms(), next=None))


# --- Organizations ----------------------------------------------------------------------------


@router.get("/organizations", **described("organization:view", answer=Page[OrganizationForm], queries=PAGED))
async def organizations(request: Request, who: AuthenticatedUser) -> Response:
    """Organizations, by name."""
    part = wanted(request)
    found = await room(request, PeopleService).organizations(who, part.text, part.limit + 1)
    return answer(part.page(found, lambda one: (key_of(one.name),), organization_form))


@router.post(
    "/organizations",
    **described("organization:create", body=Name, answer=OrganizationForm, status=201, headers=ONCE),
)
async def add_organization(request: Request, who: AuthenticatedUser) -> Response:
    """Add an organization."""
    sent = await decoded(request, Name)

    async def make() -> Response:
        made = await room(request, PeopleService).add_organization(who, sent.name)
        return answer(organization_form(made), 201)

    return await once(request, who, make)


@router.get("/organizations/{organization}", **described("organization:view", answer=OrganizationForm))
async def organization(request: Request, who: AuthenticatedUser, organization: str) -> Response:
    """An organization."""
    return answer(organization_form(await room(request, PeopleService).organization(who, organization)))


@router.patch(
    "/organizations/{organization}",
    **described("organization:edit", body=Name, answer=OrganizationForm, errors=(Taken,)),
)
async def rename_organization(request: Request, who: AuthenticatedUser, organization: str) -> Response:
    """Give an organization another name."""
    sent = await decoded(request, Name)
    return answer(
        organization_form(
            await room(request, PeopleService).rename_organization(who, organization, sent.name)
        )
    )


@router.delete("/organizations/{organization}", **described("organization:delete", errors=(Taken,)))
async def delete_organization(request: Request, who: AuthenticatedUser, organization: str) -> Response:
    """Remove an organization that has no people, no nodes and no collaborations."""
    await room(request, PeopleService).delete_organization(who, organization)
    return nothing()


# --- People -----------------------------------------------------------------------------------


@router.get(
    "/users",
    **described(
        "user:view",
        answer=Page[UserForm],
        queries={**PAGED, "organization": "The id of an organization; only its people."},
    ),
)
async def users(request: Request, who: AuthenticatedUser) -> Response:
    """People, by username."""
    part = wanted(request)
    of = request.query_params.get("organization", "")
    found = await room(request, PeopleService).users(who, of, part.text, part.limit + 1)
    return answer(part.page(found, lambda one: (key_of(one.username),), user_form))


@router.post("/users", **described("user:create", body=NewUser, answer=UserForm, status=201, headers=ONCE))
async def add_user(request: Request, who: AuthenticatedUser) -> Response:
    """Add a person with a first password. To let people choose their own, invite them."""
    sent = await decoded(request, NewUser)

    async def make() -> Response:
        made = await room(request, PeopleService).add_user(
            who,
            organization=sent.organization,
            username=sent.username,
            name=sent.name,
            password=sent.password,
            roles=sent.roles,
        )
        return answer(user_form(made), 201)

    return await once(request, who, make)


@router.get("/users/{user}", **described("user:view", answer=UserForm))
async def user(request: Request, who: AuthenticatedUser, user: str) -> Response:
    """A person."""
    return answer(user_form(await room(request, PeopleService).user(who, user)))


@router.patch("/users/{user}", **described("user:edit", body=ChangedUser, answer=UserForm, errors=(Taken,)))
async def change_user(request: Request, who: AuthenticatedUser, user: str) -> Response:
    """Change a person: what is shown, the roles, whether he is let in. Nobody changes who may more."""
    sent = await decoded(request, ChangedUser)
    changed = await room(request, PeopleService).change_user(
        who, user, name=sent.name, disabled=sent.disabled, roles=sent.roles
    )
    return answer(user_form(changed))


@router.delete("/users/{user}", **described("user:delete", errors=(Taken,)))
async def delete_user(request: Request, who: AuthenticatedUser, user: str) -> Response:
    """Remove a person. His runs stay."""
    await room(request, PeopleService).delete_user(who, user)
    return nothing()


@router.delete("/users/{user}/logins", **described("user:edit"))
async def end_logins(request: Request, who: AuthenticatedUser, user: str) -> Response:
    """End all logins and personal tokens of a person."""
    await room(request, PeopleService).end_logins(who, user)
    return nothing()


# --- Roles ------------------------------------------------------------------------------------


@router.get("/roles", **described("role:view", answer=Page[RoleForm], queries=PAGED))
async def roles(request: Request, who: AuthenticatedUser) -> Response:
    """Roles: first those that every hub has, then those that people made, by name."""
    part = wanted(request, (str, str))
    after = (str(part.after[0]), str(part.after[1])) if part.after else ("", "")
    found = [*await room(request, PeopleService).roles(who, after, part.limit + 1)]
    page = part.page(found, lambda one: (key_of(one.name), one.id), role_form)
    if not part.after:
        page = Page(items=[*(role_form(built_in(one)) for one in ROLES), *page.items], next=page.next)
    return answer(page)


@router.post("/roles", **described("role:create", body=NewRole, answer=RoleForm, status=201, headers=ONCE))
async def add_role(request: Request, who: AuthenticatedUser) -> Response:
    """Make a role of scopes that one has oneself."""
    sent = await decoded(request, NewRole)

    async def make() -> Response:
        made = await room(request, PeopleService).add_role(
            who, organization=sent.organization, name=sent.name, scopes=sent.scopes
        )
        return answer(role_form(made), 201)

    return await once(request, who, make)


@router.get("/roles/{role}", **described("role:view", answer=RoleForm))
async def role(request: Request, who: AuthenticatedUser, role: str) -> Response:
    """A role."""
    return answer(role_form(await room(request, PeopleService).role(who, role)))


@router.patch("/roles/{role}", **described("role:edit", body=ChangedRole, answer=RoleForm, errors=(Taken,)))
async def change_role(request: Request, who: AuthenticatedUser, role: str) -> Response:
    """Change a role, for everybody who has it."""
    sent = await decoded(request, ChangedRole)
    changed = await room(request, PeopleService).change_role(who, role, name=sent.name, scopes=sent.scopes)
    return answer(role_form(changed))


@router.delete("/roles/{role}", **described("role:delete", errors=(Taken,)))
async def delete_role(request: Request, who: AuthenticatedUser, role: str) -> Response:
    """Remove a role that nobody has."""
    await room(request, PeopleService).delete_role(who, role)
    return nothing()


# --- Invitations ------------------------------------------------------------------------------


@router.get("/invitations", **described("user:view", answer=Page[InvitationForm], queries=PAGED))
async def invitations(request: Request, who: AuthenticatedUser) -> Response:
    """Open invitations. Their codes are not kept."""
    part = wanted(request)
    found = await room(request, InvitationService).open(who, part.text, part.limit + 1)
    return answer(part.page(found, lambda one: (one.id,), invitation_form))


@router.post(
    "/invitations",
    **described("user:create", body=NewInvitation, answer=InvitationForm, status=201, headers=ONCE),
)
async def invite(request: Request, who: AuthenticatedUser) -> Response:
    """Invite somebody. The code is shown here and never again: pass it on."""
    sent = await decoded(request, NewInvitation)

    async def make() -> Response:
        made, code = await room(request, InvitationService).invite(
            who, organization=sent.organization, roles=sent.roles, name=sent.name, days=sent.days
        )
        return answer(invitation_form(made, code), 201)

    return await once(request, who, make, secret=True)


@router.delete("/invitations/{invitation}", **described("user:delete"))
async def withdraw(request: Request, who: AuthenticatedUser, invitation: str) -> Response:
    """Withdraw an invitation."""
    await room(request, InvitationService).withdraw(who, invitation)
    return nothing()
