"""What the API takes and tells about people."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from atoll.hub.answers import time_text
from atoll.hub.people.logins import Tokens
from atoll.model.people import Invitation, Login, Organization, PersonalToken, Role, User
from atoll.model.scopes import RIGHTS

Text = Annotated[str, Meta(max_length=1_000)]
Texts = Annotated[list[Text], Meta(max_length=500)]


class Sent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request sends. A field that isn't known is an error: it may be a slip of the pen."""


# --- Coming in --------------------------------------------------------------------------------


class SetUp(Sent, frozen=True, kw_only=True):
    """What the first administrator sends."""

    #: What the hub printed when it was started first.
    code: Text
    #: The name of his organization.
    organization: Text
    username: Text
    password: Text
    name: Text = ""


class Credentials(Sent, frozen=True, kw_only=True):
    """What somebody logs in with."""

    username: Text
    password: Text


class Refresh(Sent, frozen=True, kw_only=True):
    """What the next tokens are got with."""

    refresh_token: Text


class Accept(Sent, frozen=True, kw_only=True):
    """What somebody who was invited sends."""

    code: Text
    username: Text
    password: Text
    name: Text = ""


class TokensForm(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody shows from now on."""

    #: The login's id.
    login: str
    access_token: str
    #: When the access token ends.
    expires_at: str | None
    #: Gives the next tokens, once.
    refresh_token: str
    token_type: str = "Bearer"


def tokens_form(tokens: Tokens) -> TokensForm:
    """Tokens, as the API tells them."""
    return TokensForm(
        login=tokens.login,
        access_token=tokens.access_token,
        expires_at=time_text(tokens.expires_at),
        refresh_token=tokens.refresh_token,
    )


class NewPassword(Sent, frozen=True, kw_only=True):
    """What somebody changes his password with."""

    current: Text
    new: Text


class LoginForm(msgspec.Struct, frozen=True, kw_only=True):
    """A login."""

    id: str
    created_at: str | None
    last_used_at: str | None
    expires_at: str | None
    #: Where it came from, and what with.
    address: str
    agent: str
    #: Whether it is the one that asks.
    current: bool


def login_form(login: Login, current: str | None) -> LoginForm:
    """A login, as the API tells it."""
    return LoginForm(
        id=login.id,
        created_at=time_text(login.created_at),
        last_used_at=time_text(login.last_used_at),
        expires_at=time_text(login.expires_at),
        address=login.address,
        agent=login.agent,
        current=login.id == current,
    )


class NewToken(Sent, frozen=True, kw_only=True):
    """A personal token that somebody wants."""

    name: Text
    #: Texts of scopes, each of which he has himself.
    scopes: Texts
    #: Days that it is good for.
    days: int = 90


class TokenForm(msgspec.Struct, frozen=True, kw_only=True):
    """A personal token."""

    id: str
    name: str
    scopes: list[str]
    created_at: str | None
    expires_at: str | None
    last_used_at: str | None
    #: The secret, only where it was just made.
    token: str | None = None


def token_form(token: PersonalToken, secret: str | None = None) -> TokenForm:
    """A personal token, as the API tells it."""
    return TokenForm(
        id=token.id,
        name=token.name,
        scopes=list(token.scopes),
        created_at=time_text(token.created_at),
        expires_at=time_text(token.expires_at),
        last_used_at=time_text(token.last_used_at),
        token=secret,
    )


# --- Organizations, people, roles -------------------------------------------------------------


class Name(Sent, frozen=True, kw_only=True):
    """A name."""

    name: Text


class OrganizationForm(msgspec.Struct, frozen=True, kw_only=True):
    """An organization."""

    id: str
    name: str
    created_at: str | None


def organization_form(organization: Organization) -> OrganizationForm:
    """An organization, as the API tells it."""
    return OrganizationForm(
        id=organization.id, name=organization.name, created_at=time_text(organization.created_at)
    )


class NewUser(Sent, frozen=True, kw_only=True):
    """A person to add."""

    #: The id of the organization.
    organization: Text
    username: Text
    password: Text
    name: Text = ""
    #: Ids of roles.
    roles: Texts = []


class ChangedUser(Sent, frozen=True, kw_only=True):
    """What is to be changed of a person; what isn't named stays."""

    name: Text | None = None
    disabled: bool | None = None
    roles: Texts | None = None


class UserForm(msgspec.Struct, frozen=True, kw_only=True):
    """A person."""

    id: str
    #: The id of the organization.
    organization: str
    username: str
    name: str
    disabled: bool
    #: Ids of roles.
    roles: list[str]
    created_at: str | None


def user_form(user: User) -> UserForm:
    """A person, as the API tells him."""
    return UserForm(
        id=user.id,
        organization=user.organization_id,
        username=user.username,
        name=user.name,
        disabled=user.disabled,
        roles=list(user.roles),
        created_at=time_text(user.created_at),
    )


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    id: str
    username: str
    name: str
    organization: OrganizationForm
    roles: list[str]
    #: What he may, with what he shows now.
    scopes: list[str]
    #: Ids of the collaborations that his organization is a member of.
    collaborations: list[str]


class Newcomer(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who has just become a person of the hub."""

    user: UserForm
    tokens: TokensForm


class NewRole(Sent, frozen=True, kw_only=True):
    """A role to make."""

    name: Text
    scopes: Texts
    #: The id of the organization; null: a role of the hub.
    organization: Text | None = None


class ChangedRole(Sent, frozen=True, kw_only=True):
    """What is to be changed of a role; what isn't named stays."""

    name: Text | None = None
    scopes: Texts | None = None


class RoleForm(msgspec.Struct, frozen=True, kw_only=True):
    """A role."""

    id: str
    name: str
    #: The id of the organization; null: a role of the hub.
    organization: str | None
    scopes: list[str]
    #: Null: every hub has it, and it can't be changed.
    created_at: str | None


def role_form(role: Role) -> RoleForm:
    """A role, as the API tells it."""
    return RoleForm(
        id=role.id,
        name=role.name,
        organization=role.organization_id,
        scopes=list(role.scopes),
        created_at=time_text(role.created_at),
    )


class RightForm(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be allowed."""

    resource: str
    operation: str
    #: The reaches that it can be given with, the narrowest first.
    reaches: list[str]
    #: What it allows, as words after "may".
    allows: str


def right_forms() -> list[RightForm]:
    """Everything that can be allowed, as the API tells it."""
    return [
        RightForm(
            resource=right.resource,
            operation=right.operation,
            reaches=[reach.word for reach in right.reaches],
            allows=right.allows,
        )
        for right in RIGHTS
    ]


class NewInvitation(Sent, frozen=True, kw_only=True):
    """An invitation to make."""

    #: The id of the organization.
    organization: Text
    #: Ids of the roles that the person will have.
    roles: Texts = []
    #: Whom it is for, in your words.
    name: Text = ""
    #: Days that it is good for.
    days: int = 7


class InvitationForm(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation."""

    id: str
    organization: str
    roles: list[str]
    name: str
    #: The id of who invites.
    invited_by: str
    created_at: str | None
    expires_at: str | None
    #: What to pass on, only where it was just made.
    code: str | None = None


def invitation_form(invitation: Invitation, code: str | None = None) -> InvitationForm:
    """An invitation, as the API tells it."""
    return InvitationForm(
        id=invitation.id,
        organization=invitation.organization_id,
        roles=list(invitation.roles),
        name=invitation.name,
        invited_by=invitation.invited_by,
        created_at=time_text(invitation.created_at),
        expires_at=time_text(invitation.expires_at),
        code=code,
    )
