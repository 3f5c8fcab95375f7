"""Errors as the API tells them: RFC 9457, ``application/problem+json``.

An error crosses the wire by the name of its class, ``code``. What isn't raised on purpose is a fault
of the hub: it is logged, and told without any detail.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from atoll.model.errors import (
    AtollError,
    EventsGone,
    JobFailed,
    Malformed,
    NotAllowed,
    NotLoggedIn,
    NotThere,
    NotYours,
    QuotaReached,
    StaleEvent,
    Taken,
    TooLarge,
    TooMany,
    VersionMismatch,
)

_LOG = logging.getLogger(__name__)

#: Which status each error has. One that isn't here has its nearest ancestor's.
STATUSES: Mapping[type[AtollError], int] = {
    NotLoggedIn: 401,
    NotAllowed: 403,
    NotYours: 403,
    QuotaReached: 403,
    NotThere: 404,
    StaleEvent: 409,
    Taken: 409,
    EventsGone: 410,
    TooLarge: 413,
    Malformed: 422,
    JobFailed: 422,
    VersionMismatch: 426,
    TooMany: 429,
}
MEDIA_TYPE = "application/problem+json"
_TITLES = {
    401: "Not logged in",
    403: "Not allowed",
    404: "Not there",
    405: "No such method",
    409: "In the way of something else",
    410: "Not kept any longer",
    413: "Too large",
    422: "Not as expected",
    426: "Another version",
    429: "Too many requests",
    500: "A fault of the hub",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong."""

    #: The error's name as an address, ``urn:atoll:error:NAME``.
    type: str
    #: The kind of error in a few words.
    title: str
    #: The status of the answer.
    status: int
    #: What happened, to what, what was expected, and what to do.
    detail: str
    #: The error's name.
    code: str


def status_of(error: type[BaseException]) -> int:
    """The status that an error is told with."""
    return next((STATUSES[kind] for kind in error.__mro__ if kind in STATUSES), 500)


def problem(error: BaseException) -> Response:
    """The answer that tells an error."""
    status = status_of(type(error))
    headers = {}
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(max(1, round(error.seconds)))
    if isinstance(error, NotLoggedIn):
        headers["WWW-Authenticate"] = "Bearer"
    if status == 500:
        return _told("Fault", 500, "the hub failed at this request; its log says why", headers)
    return _told(type(error).__name__, status, str(error), headers)


def _told(code: str, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    told = Problem(
        type=f"urn:atoll:error:{code}",
        title=_TITLES.get(status, "Refused"),
        status=status,
        detail=detail,
        code=code,
    )
    return Response(msgspec.json.encode(told), status, dict(headers), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let an application tell its errors so."""
    app.add_exception_handler(AtollError, _raised)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _raised(request: Request, error: Exception) -> Response:
    if status_of(type(error)) == 500:
        _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(error)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Where it is and what was expected; never what was sent, which may be a password.
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    return problem(Malformed("; ".join(faults)))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers: dict[str, Any] = dict(error.headers or {})
    match error.status_code:
        case 404:
            return problem(
                NotThere(f"there is nothing at {request.url.path}; GET /v1/openapi.json says what is")
            )
        case 405:
            detail = f"{request.url.path} takes no {request.method}, but {headers.get('Allow', 'others')}"
            return _told("NoSuchMethod", 405, detail, headers)
    return _told("Malformed", error.status_code, str(error.detail), headers)
