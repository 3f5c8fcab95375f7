"""Errors as the API tells them: RFC 9457, ``application/problem+json``.

What isn't raised on purpose is a fault of the hub: it is logged, and told without any detail.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, IntegrityError
from starlette.exceptions import HTTPException

from atoll.model.errors import AtollError, Malformed, NotLoggedIn, NotThere, Taken, TooMany
from atoll.transports.problem import CONTENT_TYPE, URN, Problem, encode, problem_of

_LOG = logging.getLogger(__name__)


def problem(error: BaseException) -> Response:
    """The answer that tells an error."""
    if isinstance(error, IntegrityError):
        error = Taken("somebody else made or removed the same at this moment: look, and try again")
    if isinstance(error, DataError):
        error = Malformed(
            "something that was sent can't be kept or looked for: expected texts without zero bytes, and whole numbers "
            "of at most nine digits"
        )
    if not isinstance(error, AtollError):
        return _told(_of("Fault", 500, "A fault of the hub", "the hub failed at this; its log says why"))
    told = problem_of(error)
    if told.status == 500:
        return problem(RuntimeError())
    headers = {}
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(max(1, round(error.seconds)))
    if isinstance(error, NotLoggedIn):
        headers["WWW-Authenticate"] = "Bearer"
    return _told(told, headers)


def is_fault(error: BaseException) -> bool:
    """Whether an error is the hub's own, and not told on purpose."""
    if isinstance(error, AtollError):
        return problem_of(error).status == 500
    return not isinstance(error, IntegrityError | DataError)


def _of(code: str, status: int, title: str, detail: str) -> Problem:
    return Problem(type=f"{URN}{code}", title=title, status=status, detail=detail, code=code)


def _told(told: Problem, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode(told), told.status, dict(headers or {}), CONTENT_TYPE)


def install(app: FastAPI) -> None:
    """Let an application tell its errors so."""
    app.add_exception_handler(AtollError, _raised)
    app.add_exception_handler(IntegrityError, _raised)
    app.add_exception_handler(DataError, _raised)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _raised(request: Request, error: Exception) -> Response:
    if is_fault(error):
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
            return _told(_of("NoSuchMethod", 405, "No such method", detail), headers)
    return _told(_of("Malformed", error.status_code, "Not as expected", str(error.detail)), headers)
