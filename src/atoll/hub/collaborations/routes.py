"""Collaborations and studies, over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import UNSET, Meta, UnsetType

from atoll.hub.answers import Page, answer, decoded, nothing, time_text, wanted
from atoll.hub.collaborations.service import CollaborationService
from atoll.hub.described import ONCE, PAGED, described
from atoll.hub.once import once
from atoll.hub.parts import room
from atoll.hub.principal import AuthenticatedUser
from atoll.model.errors import Taken
from atoll.model.people import Collaboration, Study, key_of

router = APIRouter(tags=["collaborations"])

Text = Annotated[str, Meta(max_length=1_000)]
Ids = Annotated[list[Text], Meta(max_length=10_000)]


class NewCollaboration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A collaboration to found."""

    name: Text
    #: Ids of its members.
    organizations: Ids = []


class ChangedCollaboration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed of a collaboration; what isn't named stays, and null takes a bound away."""

    name: Text | UnsetType = UNSET
    #: The id of the node that aggregates where a run names none.
    default_aggregator: Text | UnsetType | None = UNSET
    #: Runs that may be active at a time.
    runs_active_max: int | UnsetType | None = UNSET
    #: Bytes that its runs may keep.
    bytes_max: int | UnsetType | None = UNSET
    #: Days that an ended run is kept.
    retention_days: int | UnsetType | None = UNSET


class CollaborationForm(msgspec.Struct, frozen=True, kw_only=True):
    """A collaboration."""

    id: str
    name: str
    #: Ids of its members.
    organizations: list[str]
    #: Ids of its data nodes, in its order.
    nodes: list[str]
    default_aggregator: str | None
    runs_active_max: int | None
    bytes_max: int | None
    retention_days: int | None
    created_at: str | None


def collaboration_form(collaboration: Collaboration) -> CollaborationForm:
    """A collaboration, as the API tells it."""
    return CollaborationForm(
        id=collaboration.id,
        name=collaboration.name,
        organizations=list(collaboration.organizations),
        nodes=list(collaboration.nodes),
        default_aggregator=collaboration.default_aggregator,
        runs_active_max=collaboration.runs_active_max,
        bytes_max=collaboration.bytes_max,
        retention_days=collaboration.retention_days,
        created_at=time_text(collaboration.created_at),
    )


class NewStudy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A study to make."""

    name: Text
    #: Ids of some of the collaboration's data nodes, in the study's order.
    nodes: Ids


class ChangedStudy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed of a study; what isn't named stays."""

    name: Text | None = None
    nodes: Ids | None = None


class StudyForm(msgspec.Struct, frozen=True, kw_only=True):
    """A study."""

    id: str
    #: The id of its collaboration.
    collaboration: str
    name: str
    #: Ids of its nodes, in its order.
    nodes: list[str]
    created_at: str | None


def study_form(study: Study) -> StudyForm:
    """A study, as the API tells it."""
    return StudyForm(
        id=study.id,
        collaboration=study.collaboration_id,
        name=study.name,
        nodes=list(study.nodes),
        created_at=time_text(study.created_at),
    )


@router.get(
    "/collaborations", **described("collaboration:view", answer=Page[CollaborationForm], queries=PAGED)
)
async def collaborations(request: Request, who: AuthenticatedUser) -> Response:
    """Collaborations, by name."""
    part = wanted(request)
    found = await room(request, CollaborationService).list(who, part.text, part.limit + 1)
    return answer(part.page(found, lambda one: (key_of(one.name),), collaboration_form))


@router.post(
    "/collaborations",
    **described(
        "collaboration:create", body=NewCollaboration, answer=CollaborationForm, status=201, headers=ONCE
    ),
)
async def add(request: Request, who: AuthenticatedUser) -> Response:
    """Found a collaboration."""
    sent = await decoded(request, NewCollaboration)

    async def make() -> Response:
        made = await room(request, CollaborationService).add(who, sent.name, sent.organizations)
        return answer(collaboration_form(made), 201)

    return await once(request, who, make)


@router.get("/collaborations/{collaboration}", **described("collaboration:view", answer=CollaborationForm))
async def collaboration(request: Request, who: AuthenticatedUser, collaboration: str) -> Response:
    """A collaboration."""
    return answer(collaboration_form(await room(request, CollaborationService).get(who, collaboration)))


@router.patch(
    "/collaborations/{collaboration}",
    **described("collaboration:edit", body=ChangedCollaboration, answer=CollaborationForm, errors=(Taken,)),
)
async def change(request: Request, who: AuthenticatedUser, collaboration: str) -> Response:
    """Change a collaboration: its name, its default aggregator, its quotas and how long it keeps runs."""
    sent = await decoded(request, ChangedCollaboration)
    given = {name: value for name in sent.__struct_fields__ if (value := getattr(sent, name)) is not UNSET}
    changed = await room(request, CollaborationService).change(who, collaboration, given)
    return answer(collaboration_form(changed))


@router.delete("/collaborations/{collaboration}", **described("collaboration:delete", errors=(Taken,)))
async def delete(request: Request, who: AuthenticatedUser, collaboration: str) -> Response:
    """End a collaboration without active runs. Its ended runs stay until somebody removes them."""
    await room(request, CollaborationService).delete(who, collaboration)
    return nothing()


@router.put(
    "/collaborations/{collaboration}/organizations/{organization}",
    **described("collaboration:edit", answer=CollaborationForm),
)
async def add_member(
    request: Request, who: AuthenticatedUser, collaboration: str, organization: str
) -> Response:
    """Make an organization a member."""
    service = room(request, CollaborationService)
    return answer(collaboration_form(await service.add_member(who, collaboration, organization)))


@router.delete(
    "/collaborations/{collaboration}/organizations/{organization}",
    **described("collaboration:edit", answer=CollaborationForm),
)
async def drop_member(
    request: Request, who: AuthenticatedUser, collaboration: str, organization: str
) -> Response:
    """Let an organization be a member no longer; its nodes go with it."""
    service = room(request, CollaborationService)
    return answer(collaboration_form(await service.drop_member(who, collaboration, organization)))


@router.put(
    "/collaborations/{collaboration}/nodes/{node}",
    **described("collaboration:edit", answer=CollaborationForm, errors=(Taken,)),
)
async def add_node(request: Request, who: AuthenticatedUser, collaboration: str, node: str) -> Response:
    """Make a node of a member a data node, the last in the collaboration's order."""
    return answer(
        collaboration_form(await room(request, CollaborationService).add_node(who, collaboration, node))
    )


@router.delete(
    "/collaborations/{collaboration}/nodes/{node}",
    **described("collaboration:edit", answer=CollaborationForm),
)
async def drop_node(request: Request, who: AuthenticatedUser, collaboration: str, node: str) -> Response:
    """Take a data node out of a collaboration, and out of its studies."""
    return answer(
        collaboration_form(await room(request, CollaborationService).drop_node(who, collaboration, node))
    )


@router.get(
    "/collaborations/{collaboration}/studies",
    **described("study:view", answer=Page[StudyForm], queries=PAGED),
)
async def studies(request: Request, who: AuthenticatedUser, collaboration: str) -> Response:
    """Studies of a collaboration, by name."""
    part = wanted(request)
    service = room(request, CollaborationService)
    found = await service.studies(who, collaboration, part.text, part.limit + 1)
    return answer(part.page(found, lambda one: (key_of(one.name),), study_form))


@router.post(
    "/collaborations/{collaboration}/studies",
    **described("study:create", body=NewStudy, answer=StudyForm, status=201, headers=ONCE),
)
async def add_study(request: Request, who: AuthenticatedUser, collaboration: str) -> Response:
    """Make a study of some of a collaboration's data nodes."""
    sent = await decoded(request, NewStudy)

    async def make() -> Response:
        service = room(request, CollaborationService)
        return answer(study_form(await service.add_study(who, collaboration, sent.name, sent.nodes)), 201)

    return await once(request, who, make)


@router.get("/collaborations/{collaboration}/studies/{study}", **described("study:view", answer=StudyForm))
async def study(request: Request, who: AuthenticatedUser, collaboration: str, study: str) -> Response:
    """A study."""
    return answer(study_form(await room(request, CollaborationService).study(who, collaboration, study)))


@router.patch(
    "/collaborations/{collaboration}/studies/{study}",
    **described("study:edit", body=ChangedStudy, answer=StudyForm, errors=(Taken,)),
)
async def change_study(request: Request, who: AuthenticatedUser, collaboration: str, study: str) -> Response:
    """Change a study: its name, its nodes."""
    sent = await decoded(request, ChangedStudy)
    service = room(request, CollaborationService)
    changed = await service.change_study(who, collaboration, study, name=sent.name, nodes=sent.nodes)
    return answer(study_form(changed))


@router.delete("/collaborations/{collaboration}/studies/{study}", **described("study:delete"))
async def delete_study(request: Request, who: AuthenticatedUser, collaboration: str, study: str) -> Response:
    """Remove a study. Its runs stay."""
    await room(request, CollaborationService).delete_study(who, collaboration, study)
    return nothing()
