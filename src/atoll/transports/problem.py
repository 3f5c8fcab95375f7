"""Errors as they cross the wire: RFC 9457, by the name of their class.

Who refuses raises an error of `atoll.model.errors`; at the other side the same class is raised with
the same sentence. Whatever isn't one of these crosses as nothing but the fact that it happened.
"""

from __future__ import annotations

import msgspec

from atoll.model import errors
from atoll.model.errors import (
    AlgorithmFailed,
    AtollError,
    EventsGone,
    HubUnreachable,
    JobFailed,
    Malformed,
    NotAllowed,
    NotLoggedIn,
    NotThere,
    NotYours,
    QuotaReached,
    Refused,
    RunFailed,
    SpecInvalid,
    StaleEvent,
    StreamBroken,
    Taken,
    TooLarge,
    TooMany,
    VersionMismatch,
)

CONTENT_TYPE = "application/problem+json"
#: What a `type` begins with; the class's name follows.
URN = "urn:atoll:error:"

#: The nearest class above an error says its status. What is not listed is an error of the hub itself.
_STATUS: dict[type[AtollError], int] = {
    Malformed: 422,
    NotLoggedIn: 401,
    NotAllowed: 403,
    NotThere: 404,
    Taken: 409,
    StaleEvent: 409,
    NotYours: 403,
    StreamBroken: 409,
    EventsGone: 410,
    TooLarge: 413,
    VersionMismatch: 426,
    TooMany: 429,
    QuotaReached: 403,
    SpecInvalid: 422,
    JobFailed: 422,
    RunFailed: 422,
    Refused: 400,
}


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The body of an answer that refuses."""

    #: ``urn:atoll:error:`` and the name of the class.
    type: str = "about:blank"
    #: What happened, in few words: the same for all errors of the class.
    title: str = ""
    status: int = 500
    #: What happened this time, to what, and what to do.
    detail: str = ""
    #: The name of the class, from `atoll.model.errors`.
    code: str = ""
    #: Of `SpecInvalid`: one sentence per fault.
    faults: list[str] = []
    #: Of `AlgorithmFailed`: the class name of what a function raised.
    raised: str | None = None
    #: Of `TooMany`: after how many seconds it is worth trying again.
    seconds: float | None = None
    #: Of `RunFailed`: what ended the run, in which words, and where.
    failure_type: str = ""
    failure_message: str = ""
    site: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Problem)


def status_of(error: AtollError) -> int:
    """The HTTP status that an error is told with."""
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def problem_of(error: AtollError) -> Problem:
    """What is told of an error."""
    name = type(error).__name__
    title = (type(error).__doc__ or name).partition("\n")[0].partition(". ")[0].rstrip(".")
    problem = Problem(type=f"{URN}{name}", title=title, status=status_of(error), detail=str(error), code=name)
    match error:
        case SpecInvalid(faults=faults):
            problem.faults = list(faults)
        case AlgorithmFailed(raised=raised):
            problem.raised = raised
        case TooMany(seconds=seconds):
            problem.seconds = seconds
        case RunFailed():
            problem.failure_type, problem.failure_message = error.type, error.message
            problem.site = error.site
        case _:
            pass  # Its sentence says it all.
    return problem


def encode(problem: Problem) -> bytes:
    """The body of an answer."""
    return _encoder.encode(problem)


def error_of(status: int, body: bytes) -> AtollError:
    """The error that an answer with this status and body tells.

    A class that this version doesn't know is `Refused`; so is a sentence without a class.
    An answer that is no hub's is `HubUnreachable`.
    """
    problem = _read(body)
    if problem is None:
        return HubUnreachable(
            f"what answered with status {status} is no Atoll hub, or a proxy before it: expected an answer that "
            "says why. Check the address, and what stands between"
        )
    kind = getattr(errors, problem.code, None)
    if not (isinstance(kind, type) and issubclass(kind, AtollError)):
        return Refused(problem.detail or problem.title or f"the hub answered with status {status}")
    if issubclass(kind, SpecInvalid):
        return kind(*(problem.faults or [problem.detail]))
    if issubclass(kind, AlgorithmFailed):
        return kind(problem.detail, raised=problem.raised)
    if issubclass(kind, TooMany):
        return kind(problem.detail, seconds=1.0 if problem.seconds is None else problem.seconds)
    if issubclass(kind, RunFailed):
        message = problem.failure_message or problem.detail
        return kind(message, type=problem.failure_type, site=problem.site)
    return kind(problem.detail)


def refusal_of(text: bytes) -> AtollError | None:
    """The error that a text tells; None where it tells none."""
    told = _read(text)
    return error_of(told.status, text) if told is not None and told.code else None


def _read(text: bytes) -> Problem | None:
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
