"""Nodes over HTTP: for people, and for a node that registers."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta

from atoll.hub.answers import Page, answer, decoded, nothing, time_text, wanted
from atoll.hub.described import ONCE, PAGED, described
from atoll.hub.once import once
from atoll.hub.parts import room
from atoll.hub.principal import Anybody, AuthenticatedNode, AuthenticatedUser
from atoll.hub.sites.service import SiteService
from atoll.model.errors import NotAllowed, NotLoggedIn, Taken
from atoll.model.people import Node, key_of

router = APIRouter(tags=["nodes"])

Text = Annotated[str, Meta(max_length=1_000)]


class NewNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node to add."""

    #: Unique at the hub; the name of its seat in every run. It never changes.
    name: Text
    #: The id of the organization.
    organization: Text
    #: False: it only aggregates.
    holds_data: bool = True


class ChangedNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed of a node."""

    holds_data: bool


class NodeForm(msgspec.Struct, frozen=True, kw_only=True):
    """A node."""

    id: str
    name: str
    #: The id of the organization.
    organization: str
    holds_data: bool
    created_at: str | None
    #: Null: it has not registered yet.
    registered_at: str | None
    #: Whether it was heard of within three heartbeats.
    online: bool
    last_seen_at: str | None
    #: What it said of itself when it came last.
    version: str | None
    #: Labels of its databases.
    databases: list[str]
    dialects: list[str]
    runtimes: list[str]
    #: What it registers with, only where it was just made.
    code: str | None = None


class Code(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a node registers with."""

    code: Text


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a node is known by for long."""

    key: Text


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A node that has registered."""

    #: Its id and its name.
    node: str
    name: str
    #: The id of its organization.
    organization: str
    #: What it is known by for long. It is shown here and never again.
    key: str


class NodeTokenForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a node shows for some minutes."""

    #: Its id and its name.
    node: str
    name: str
    #: The id of its organization.
    organization: str
    access_token: str
    expires_at: str | None
    token_type: str = "Bearer"


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A node's next key."""

    key: str


def node_form(node: Node, code: str | None = None) -> NodeForm:
    """A node, as the API tells it."""
    return NodeForm(
        id=node.id,
        name=node.name,
        organization=node.organization_id,
        holds_data=node.holds_data,
        created_at=time_text(node.created_at),
        registered_at=time_text(node.registered_at),
        online=node.online,
        last_seen_at=time_text(node.last_seen_at),
        version=node.version,
        databases=list(node.databases),
        dialects=list(node.dialects),
        runtimes=list(node.runtimes),
        code=code,
    )


@router.get(
    "/nodes",
    **described(
        "node:view",
        answer=Page[NodeForm],
        queries={
            **PAGED,
            "organization": "The id of an organization; only its nodes.",
            "collaboration": "The id of a collaboration; only its data nodes.",
        },
    ),
)
async def nodes(request: Request, who: AuthenticatedUser) -> Response:
    """Nodes, by name."""
    part = wanted(request)
    found = await room(request, SiteService).list(
        who,
        organization=request.query_params.get("organization", ""),
        collaboration=request.query_params.get("collaboration", ""),
        after=part.text,
        limit=part.limit + 1,
    )
    return answer(part.page(found, lambda one: (key_of(one.name),), node_form))


@router.post("/nodes", **described("node:create", body=NewNode, answer=NodeForm, status=201, headers=ONCE))
async def add(request: Request, who: AuthenticatedUser) -> Response:
    """Add a node. The code that it registers with is shown here and never again; it works once, for a day."""
    sent = await decoded(request, NewNode)

    async def make() -> Response:
        node, code = await room(request, SiteService).add(
            who, name=sent.name, organization=sent.organization, holds_data=sent.holds_data
        )
        return answer(node_form(node, code), 201)

    return await once(request, who, make, secret=True)


@router.post(
    "/nodes/register", **described("open", body=Code, answer=Registered, status=201, errors=(NotAllowed,))
)
async def register(request: Request, _: Anybody) -> Response:
    """Register a node with its code. It gets a key; keys that it had before end."""
    sent = await decoded(request, Code)
    node, key = await room(request, SiteService).register(sent.code)
    return answer(Registered(node=node.id, name=node.name, organization=node.organization_id, key=key), 201)


@router.get("/nodes/{node}", **described("node:view", answer=NodeForm))
async def node(request: Request, who: AuthenticatedUser, node: str) -> Response:
    """A node."""
    return answer(node_form(await room(request, SiteService).get(who, node)))


@router.patch("/nodes/{node}", **described("node:edit", body=ChangedNode, answer=NodeForm, errors=(Taken,)))
async def change(request: Request, who: AuthenticatedUser, node: str) -> Response:
    """Say whether a node has data of its own."""
    sent = await decoded(request, ChangedNode)
    return answer(node_form(await room(request, SiteService).change(who, node, holds_data=sent.holds_data)))


@router.post("/nodes/{node}/code", **described("node:edit", answer=NodeForm))
async def new_code(request: Request, who: AuthenticatedUser, node: str) -> Response:
    """Make another code for a node to register with. The one before ends; its key works until it registers."""
    found, code = await room(request, SiteService).new_code(who, node)
    return answer(node_form(found, code))


@router.delete("/nodes/{node}", **described("node:delete"))
async def delete(request: Request, who: AuthenticatedUser, node: str) -> Response:
    """Remove a node. Its keys end at once; jobs that it has are lost."""
    await room(request, SiteService).delete(who, node)
    return nothing()


@router.post("/node/token", **described("open", body=Key, answer=NodeTokenForm, errors=(NotLoggedIn,)))
async def token(request: Request, _: Anybody) -> Response:
    """Get an access token for a node's key."""
    made = await room(request, SiteService).token((await decoded(request, Key)).key)
    form = NodeTokenForm(
        node=made.node,
        name=made.name,
        organization=made.organization,
        access_token=made.access_token,
        expires_at=time_text(made.expires_at),
    )
    return answer(form)


@router.post("/node/key", **described("node", answer=NewKey))
async def new_key(request: Request, who: AuthenticatedNode) -> Response:
    """Get the next key. The one before works until the new one is used, and for ten minutes at most."""
    return answer(NewKey(key=await room(request, SiteService).new_key(who)))
