"""Algorithms over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from atoll.hub.algorithms.service import Algorithms, shown
from atoll.hub.answers import Page, answer, nothing, time_text, wanted
from atoll.hub.described import PAGED, described
from atoll.hub.parts import room
from atoll.hub.principal import Authenticated, AuthenticatedUser
from atoll.model.errors import BlobMismatch, Malformed, QuotaReached, Taken
from atoll.stores.sql.algorithms import Kept

router = APIRouter(tags=["algorithms"])

_WHERE = {"collaboration": "The id of the collaboration."}


class AlgorithmForm(msgspec.Struct, frozen=True, kw_only=True):
    """An algorithm at a collaboration."""

    #: Of its bundle.
    digest: str
    #: How it is written: ``coinstac``, ``functions`` or ``vantage6``.
    dialect: str
    #: What it calls itself.
    name: str
    #: ``bundle``, or ``image``: then its code is in the image that the manifest names.
    kind: str
    size_bytes: int
    collaboration: str
    #: Who brought it there.
    uploader: str
    organization: str
    created_at: str | None
    #: What its bundle says of it.
    manifest: msgspec.Raw


class _Kind(msgspec.Struct):
    kind: str = "bundle"


class Manifests(msgspec.Struct, frozen=True, kw_only=True):
    """An algorithm, wherever who asks may see it."""

    digest: str
    manifest: msgspec.Raw
    places: list[AlgorithmForm]


@router.put(
    "/algorithms/{digest}",
    **described(
        "algorithm:create",
        body=bytes,
        body_media="application/x-tar",
        answer=AlgorithmForm,
        queries=_WHERE,
        errors=(BlobMismatch, QuotaReached, Taken),
    ),
)
async def bring(request: Request, who: AuthenticatedUser, digest: str) -> Response:
    """Bring a bundle to a collaboration. Bringing it again changes nothing; status 201 where it is new."""
    kept, new = await room(request, Algorithms).bring(who, digest, _collaboration(request), request.stream())
    return answer(_form(kept), 201 if new else 200)


@router.get(
    "/algorithms", **described("algorithm:view", answer=Page[AlgorithmForm], queries={**_WHERE, **PAGED})
)
async def listed(request: Request, who: AuthenticatedUser) -> Response:
    """The algorithms that may be used, newest first."""
    asked = wanted(request, (float, str, str))
    collaboration = request.query_params.get("collaboration")
    found = await room(request, Algorithms).listed(who, collaboration, asked.after, asked.limit + 1)
    return answer(asked.page(found, _key, _form))


@router.head("/algorithms/{digest}", **described("algorithm:view", status=200, queries=_WHERE))
async def has(request: Request, who: AuthenticatedUser, digest: str) -> Response:
    """Whether a collaboration has an algorithm: status 200, or 404."""
    there = await room(request, Algorithms).has(who, digest, request.query_params.get("collaboration"))
    return Response(status_code=200 if there else 404)


@router.get("/algorithms/{digest}", **described("algorithm:view", answer=Manifests))
async def one(request: Request, who: AuthenticatedUser, digest: str) -> Response:
    """What an algorithm says of itself."""
    found = await room(request, Algorithms).get(who, digest)
    return answer(Manifests(digest=digest, manifest=shown(found[0]), places=[_form(kept) for kept in found]))


@router.get("/algorithms/{digest}/bundle", **described("known", answer=bytes, media="application/x-tar"))
async def bundle(request: Request, who: Authenticated, digest: str) -> Response:
    """Fetch a bundle. People need `algorithm:view`; a node gets what a job of its own needs."""
    size, chunks = await room(request, Algorithms).bundle(who, digest)
    return _file(size, chunks)


@router.delete("/algorithms/{digest}", **described("algorithm:delete", queries=_WHERE, errors=(Taken,)))
async def remove(request: Request, who: AuthenticatedUser, digest: str) -> Response:
    """Take an algorithm from a collaboration, unless a run that goes on uses it."""
    await room(request, Algorithms).remove(who, digest, _collaboration(request))
    return nothing()


def _file(size: int, chunks: AsyncIterator[bytes]) -> Response:
    headers = {"Content-Length": str(size), "Content-Disposition": "attachment"}
    return StreamingResponse(chunks, media_type="application/x-tar", headers=headers)


def _collaboration(request: Request) -> str:
    collaboration = request.query_params.get("collaboration")
    if not collaboration:
        raise Malformed("this is done at a collaboration: add ?collaboration=ID")
    return collaboration


def _key(kept: Kept) -> tuple[float, str, str]:
    return kept.created_at, kept.digest, kept.collaboration


def _form(kept: Kept) -> AlgorithmForm:
    return AlgorithmForm(
        digest=kept.digest,
        dialect=kept.dialect,
        name=kept.name,
        kind=msgspec.json.decode(kept.manifest, type=_Kind).kind,
        size_bytes=kept.size_bytes,
        collaboration=kept.collaboration,
        uploader=kept.uploader,
        organization=kept.organization,
        created_at=time_text(kept.created_at),
        manifest=shown(kept),
    )
