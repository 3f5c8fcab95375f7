"""What the API's description says of an endpoint: who may use it, what it takes, what it answers.

An endpoint decodes and encodes by itself, which is fast; so it also says by itself what that is::

    @router.get("/runs", **described("run:view", answer=Page[RunForm], queries=PAGED))
    async def runs(request: Request, who: AuthenticatedUser) -> Response: ...

The first word is one of `ACCESS`, or the name of a right in `model.scopes`. The test of every
endpoint × role reads it from the description.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from atoll import __version__
from atoll.model.errors import (
    AtollError,
    Malformed,
    NotAllowed,
    NotLoggedIn,
    NotThere,
    Taken,
    TooLarge,
    TooMany,
)
from atoll.model.scopes import RIGHTS
from atoll.transports.problem import CONTENT_TYPE, URN, Problem, problem_of

#: Who may use an endpoint for which there is no right.
ACCESS: Mapping[str, str] = {
    "open": "Open to everybody.",
    "self": "For every person, about himself.",
    "login": "For every person, about himself, in a login: not with a personal token.",
    "known": "For every person and every node.",
    "node": "For nodes, about themselves and their jobs.",
}
_RIGHTS = {right.name: right for right in RIGHTS}

#: The query of a list that comes in pages.
PAGED: Mapping[str, str] = {
    "limit": "How many items a page has: 1 to 200, 50 by default.",
    "cursor": "The `next` of the page before; none for the first.",
}

#: The error classes that an endpoint may answer with whatever it does.
_ALWAYS = (TooMany, Malformed, TooLarge)
#: What an example of each says.
_EXAMPLES: Mapping[type[AtollError], str] = {
    NotLoggedIn: "nobody is known by this token: log in again, or make a new one",
    NotAllowed: "ada has no scope run:create; who gives out roles can give one",
    NotThere: "there is no collaboration col_x3k5q2m7r4t6",
    Taken: "there is an organization named 'Biscoe' already",
    Malformed: "the body is not what is expected: Object missing required field `name`",
    TooLarge: "the request has 70000000 bytes; the hub takes 67108864",
    TooMany: "too many requests of one person: at most 200 a second",
}
_KEY = "x-atoll-endpoint"
_DESCRIBED: dict[str, _Endpoint] = {}


class _Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    access: str
    body: Any
    answer: Any
    status: int
    media: str
    body_media: str
    errors: tuple[type[AtollError], ...]


def described(
    access: str,
    *,
    body: Any = None,
    answer: Any = None,
    status: int | None = None,
    queries: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    errors: tuple[type[AtollError], ...] = (),
    media: str = "application/json",
    body_media: str = "application/json",
) -> dict[str, Any]:
    """What is given to a router's decorator.

    Args:
        access: who may use it: one of `ACCESS`, or ``resource:operation``.
        body: the type that its body is decoded into, or `bytes`.
        answer: the type that is encoded, or `bytes`. None: it answers without a body.
        status: of its answer when it did what it was asked; else 200, or 204 without a body.
        queries: the words of its query, with a sentence for each.
        headers: those that it reads, with a sentence for each.
        errors: what it may answer beyond what every endpoint may.
        media: of its answer.
        body_media: of its body.
    """
    assert access in ACCESS or access in _RIGHTS, access
    key = f"{len(_DESCRIBED)}"
    _DESCRIBED[key] = _Endpoint(
        access=access,
        body=body,
        answer=answer,
        status=status or (204 if answer is None else 200),
        media=media,
        body_media=body_media,
        errors=errors,
    )
    parameters = [
        {"name": name, "in": place, "required": False, "description": text, "schema": {"type": "string"}}
        for place, named in (("query", queries), ("header", headers))
        for name, text in (named or {}).items()
    ]
    return {
        "response_model": None,
        "status_code": _DESCRIBED[key].status,
        "openapi_extra": {_KEY: key, **({"parameters": parameters} if parameters else {})},
    }


#: The header of an endpoint that creates something.
ONCE: Mapping[str, str] = {
    "Idempotency-Key": "Any text. The same request with the same key within 24 hours is done once, and gets the "
    "same answer."
}


def description(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application."""
    document = get_openapi(
        title="Atoll hub",
        version=__version__,
        summary="People, nodes, collaborations and runs of a federation.",
        description="Errors are RFC 9457 problems; `code` names the error. Times are RFC 3339, UTC.",
        routes=app.routes,
    )
    operations = [
        (operation, _DESCRIBED[operation.pop(_KEY)])
        for path in document["paths"].values()
        for operation in path.values()
        if _KEY in operation
    ]
    kinds = {
        kind
        for _, endpoint in operations
        for kind in (endpoint.body, endpoint.answer)
        if kind is not None and kind is not bytes
    }
    listed = sorted([*kinds, Problem], key=str)
    schemas, components = msgspec.json.schema_components(listed, ref_template="#/components/schemas/{name}")
    by_kind = dict(zip(map(str, listed), schemas, strict=True))
    for operation, endpoint in operations:
        _complete(operation, endpoint, by_kind)
    document["components"] = {
        "schemas": dict(sorted(components.items())),
        "securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "An access token or a personal token.",
            }
        },
    }
    return document


def _complete(operation: dict[str, Any], endpoint: _Endpoint, schemas: Mapping[str, Any]) -> None:
    """Say in one operation of the document what FastAPI doesn't know."""
    right = _RIGHTS.get(endpoint.access)
    if right is None:
        who = ACCESS[endpoint.access]
    else:
        reaches = ", ".join(reach.word for reach in right.reaches)
        who = f"Scope: `{right.name}` (reach: {reaches})."
    operation["description"] = f"{operation.get('description', '')}\n\n{who}".strip()
    operation["x-atoll-access"] = endpoint.access
    operation["security"] = [] if endpoint.access == "open" else [{"token": []}]
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {endpoint.body_media: {"schema": _schema(endpoint.body, schemas)}},
        }
    done: dict[str, Any] = {"description": "Done."}
    if endpoint.answer is not None:
        done["content"] = {endpoint.media: {"schema": _schema(endpoint.answer, schemas)}}
    responses: dict[str, Any] = {str(endpoint.status): done}
    errors: list[type[AtollError]] = [*_ALWAYS, *endpoint.errors]
    if endpoint.access != "open":
        errors += [NotLoggedIn, NotAllowed]
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        errors.append(NotThere)
    if endpoint.body is not None and endpoint.status == 201:
        errors.append(Taken)
    for error in dict.fromkeys(errors):
        _add_error(responses, error)
    operation["responses"] = dict(sorted(responses.items()))


def _add_error(responses: dict[str, Any], error: type[AtollError]) -> None:
    told = problem_of(error(_EXAMPLES.get(error, "what happened, to what, and what to do")))
    responses.setdefault(
        str(told.status),
        {
            "description": (error.__doc__ or "").partition("\n")[0],
            "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
        },
    )["content"][CONTENT_TYPE]["examples"][error.__name__] = {
        "value": {
            "type": f"{URN}{told.code}",
            "title": told.title,
            "status": told.status,
            "detail": told.detail,
            "code": told.code,
        }
    }


def _schema(kind: Any, schemas: Mapping[str, Any]) -> Any:
    return {"type": "string", "format": "binary"} if kind is bytes else schemas[str(kind)]
