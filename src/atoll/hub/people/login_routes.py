"""Coming in and going out, over HTTP."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from atoll.hub.answers import Page, answer, decoded, nothing
from atoll.hub.described import ONCE, described
from atoll.hub.once import once
from atoll.hub.parts import room
from atoll.hub.people.forms import (
    Accept,
    Credentials,
    LoginForm,
    Me,
    Newcomer,
    NewPassword,
    NewToken,
    Refresh,
    SetUp,
    TokenForm,
    TokensForm,
    login_form,
    organization_form,
    token_form,
    tokens_form,
    user_form,
)
from atoll.hub.people.invitations import InvitationService
from atoll.hub.people.invitations import Newcomer as Wanting
from atoll.hub.people.logins import LoginService
from atoll.hub.people.service import PeopleService
from atoll.hub.principal import Anybody, AuthenticatedUser, Principal, address_of
from atoll.model.errors import NotAllowed, NotLoggedIn, NotThere, QuotaReached, Taken

router = APIRouter(tags=["logins"])


def _from(request: Request) -> dict[str, Any]:
    return {"address": address_of(request), "agent": request.headers.get("user-agent", "")}


def _in_a_login(who: Principal) -> Principal:
    """Refuse a personal token: a script that was stolen must not make itself another, or lock its owner out."""
    if who.login_id is None:
        raise NotAllowed("this takes a login, not a personal token: log in with the password")
    return who


@router.post("/setup", **described("open", body=SetUp, answer=Newcomer, status=201, errors=(NotAllowed,)))
async def set_up(request: Request, _: Anybody) -> Response:
    """Become the first administrator, with the code that the hub printed when it was started first."""
    sent = await decoded(request, SetUp)
    newcomer = Wanting(username=sent.username, password=sent.password, name=sent.name, **_from(request))
    user, tokens = await room(request, InvitationService).set_up(sent.code, sent.organization, newcomer)
    return answer(Newcomer(user=user_form(user), tokens=tokens_form(tokens)), 201)


@router.post(
    "/invitations/accept", **described("open", body=Accept, answer=Newcomer, status=201, errors=(NotAllowed,))
)
async def accept(request: Request, _: Anybody) -> Response:
    """Become a person of the organization that invited, with the code of the invitation."""
    sent = await decoded(request, Accept)
    newcomer = Wanting(username=sent.username, password=sent.password, name=sent.name, **_from(request))
    user, tokens = await room(request, InvitationService).accept(sent.code, newcomer)
    return answer(Newcomer(user=user_form(user), tokens=tokens_form(tokens)), 201)


@router.post("/login", **described("open", body=Credentials, answer=TokensForm, errors=(NotLoggedIn,)))
async def login(request: Request, _: Anybody) -> Response:
    """Log in. After some wrong passwords there are pauses, each longer than the one before."""
    sent = await decoded(request, Credentials)
    tokens = await room(request, LoginService).login(sent.username, sent.password, **_from(request))
    return answer(tokens_form(tokens))


@router.post("/login/refresh", **described("open", body=Refresh, answer=TokensForm, errors=(NotLoggedIn,)))
async def refresh(request: Request, _: Anybody) -> Response:
    """Get the next tokens of a login. A refresh token works once; used again, it ends its login."""
    sent = await decoded(request, Refresh)
    return answer(tokens_form(await room(request, LoginService).refresh(sent.refresh_token)))


@router.get("/me", **described("self", answer=Me))
async def me(request: Request, who: AuthenticatedUser) -> Response:
    """Who asks, and what he may."""
    user, organization = await room(request, PeopleService).me(who)
    told = Me(
        id=user.id,
        username=user.username,
        name=user.name,
        organization=organization_form(organization),
        roles=list(user.roles),
        scopes=sorted(f"{name}:{reach.word}" for name, reach in who.grants.items()),
        collaborations=sorted(who.collaborations),
    )
    return answer(told)


@router.post("/me/password", **described("login", body=NewPassword, errors=(NotLoggedIn,)))
async def set_password(request: Request, who: AuthenticatedUser) -> Response:
    """Change one's password. One's other logins end."""
    _in_a_login(who)
    sent = await decoded(request, NewPassword)
    await room(request, LoginService).set_password(who, sent.current, sent.new, address=address_of(request))
    return nothing()


@router.get("/logins", **described("self", answer=Page[LoginForm]))
async def logins(request: Request, who: AuthenticatedUser) -> Response:
    """One's logins, the newest first."""
    found = await room(request, LoginService).logins(who.id)
    return answer(Page(items=[login_form(one, who.login_id) for one in found], next=None))


@router.delete("/logins/{login}", **described("login", errors=(NotThere,)))
async def end_login(request: Request, who: AuthenticatedUser, login: str) -> Response:
    """End one of one's logins."""
    await room(request, LoginService).end(_in_a_login(who).id, login)
    return nothing()


@router.post("/logout", **described("login"))
async def log_out(request: Request, who: AuthenticatedUser) -> Response:
    """End the login that asks."""
    _in_a_login(who)
    await room(request, LoginService).end(who.id, who.login_id or "")
    return nothing()


@router.get("/tokens", **described("self", answer=Page[TokenForm]))
async def tokens(request: Request, who: AuthenticatedUser) -> Response:
    """One's personal tokens, the newest first."""
    found = await room(request, LoginService).tokens(who.id)
    return answer(Page(items=[token_form(one) for one in found], next=None))


@router.post(
    "/tokens",
    **described(
        "login", body=NewToken, answer=TokenForm, status=201, headers=ONCE, errors=(Taken, QuotaReached)
    ),
)
async def make_token(request: Request, who: AuthenticatedUser) -> Response:
    """Make a personal token. It is shown here and never again."""
    _in_a_login(who)
    sent = await decoded(request, NewToken)

    async def make() -> Response:
        made, secret = await room(request, LoginService).make_token(who, sent.name, sent.scopes, sent.days)
        return answer(token_form(made, secret), 201)

    return await once(request, who, make, secret=True)


@router.delete("/tokens/{token}", **described("login", errors=(NotThere,)))
async def end_token(request: Request, who: AuthenticatedUser, token: str) -> Response:
    """End one of one's personal tokens."""
    await room(request, LoginService).end_token(_in_a_login(who).id, token)
    return nothing()
