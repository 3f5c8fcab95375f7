"""What a running function may say to its node, and what it is answered.

::

    call       the same algorithm at other sites; a part for each, then the end
    progress   how far it is; no answer
    log        a line for the site's log; no answer

Anything else is refused, and recorded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from math import isfinite
from typing import Any

from atoll.dialects.functions.container import header_bytes
from atoll.engine.gate import Gate, Part
from atoll.engine.running import Head, HttpRequest, HttpResponse
from atoll.model.errors import LimitReached, NotYours, ReplyInvalid
from atoll.model.work import Content, JobStatus, Seat

Frame = tuple[Head, Content]

#: Characters of a function's name, and of a name for a session.
_NAME_CHARACTERS_MAX = 200
_END: Head = {"do": "end"}


class _Refused(Exception):
    """A question that is not answered, with the sentence that says why."""


class Door:
    """Stands at the gate of one call."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        #: The round whose answers were read last. They are given back when the next question comes:
        #: until then the function may still be reading.
        self._read: int | None = None

    async def answers(self, head: Head, body: Content) -> AsyncIterator[Frame]:
        """The frames that answer a question; none for a remark."""
        try:
            async for frame in self._answers(head, body):
                yield frame
        except (_Refused, LimitReached, NotYours) as refusal:
            self._gate.refused(str(refusal))
            yield _frame({"do": "refused", "message": str(refusal)})

    async def _answers(self, question: Mapping[str, Any], body: Content) -> AsyncIterator[Frame]:
        match question.get("say"):
            case "call":
                async for frame in self._call(question, body):
                    yield frame
            case "progress":
                self._gate.progress(_fraction(question.get("fraction")), str(question.get("text", "")))
            case "log":
                self._gate.log(str(question.get("text", "")))
            case _:
                raise _Refused('a function may say "call", "progress" or "log", and said something else')

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Nothing: functions speak through their own socket."""
        self._gate.refused("a function asked over HTTP, where nothing is answered")
        return HttpResponse(status=404, body=b'{"msg": "nothing is here"}')

    async def _call(self, question: Mapping[str, Any], body: Content) -> AsyncIterator[Frame]:
        function, keep = question.get("function"), question.get("keep")
        if not _is_name(function) or not (keep is None or _is_name(keep)):
            raise _Refused("a function asked for a call without a name: expected that of a function")
        seats = self._seats(question.get("sites"))
        deadline = _deadline(question.get("deadline"))
        try:
            header_bytes(body)
        except ReplyInvalid as error:
            raise _Refused(str(error)) from None
        if self._read is not None:
            read, self._read = self._read, None
            await self._gate.release(read)
        number = await self._gate.ask(str(function), [(seat, body) for seat in seats], session=keep)
        if not await self._gate.ended(number, seconds=deadline):
            await self._gate.give_up(number)
        child = await self._gate.child(number)
        self._read = number
        for part in child.parts:
            yield _part(part)
        yield _END, b""

    def _seats(self, named: Any) -> tuple[Seat, ...]:
        sites = self._gate.ticket.sites
        if named is None:
            return sites
        if not isinstance(named, list) or not named or not all(isinstance(name, str) for name in named):
            raise _Refused(
                "a function asked for a call of no site: expected a list of names, or null for all"
            )
        strange = sorted(set(named) - set(sites))
        if strange or len(set(named)) < len(named):
            about = strange[0] if strange else next(name for name in named if named.count(name) > 1)
            raise _Refused(
                f"a function asked for a call of {about[:_NAME_CHARACTERS_MAX]!r}: expected sites of this "
                f"run, each once: {', '.join(sites)}"
            )
        return tuple(Seat(name) for name in named)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _NAME_CHARACTERS_MAX


def _deadline(seconds: Any) -> float | None:
    if seconds is None:
        return None
    if not _is_finite(seconds) or seconds <= 0:
        raise _Refused(
            "a function set a deadline that is none: expected a number of seconds above 0, or null"
        )
    return float(seconds)


def _fraction(value: Any) -> float | None:
    """How far a function says that it is, from 0 to 1; None where it doesn't know."""
    return min(max(float(value), 0.0), 1.0) if _is_finite(value) else None


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # A whole number of hundreds of digits.
        return False


def _part(part: Part) -> Frame:
    head: dict[str, Any] = {"do": "part", "site": part.seat, "status": "late", "failure": None}
    if part.status is JobStatus.DONE:
        assert part.body is not None  # What is done has left something.
        return _frame({**head, "status": "done"}, part.body)
    if part.status is JobStatus.FAILED:
        assert part.failure is not None  # What failed says why.
        told = {"type": part.failure.raised or part.failure.type, "message": part.failure.message}
        return _frame({**head, "status": "failed", "failure": told})
    return _frame(head)


def _frame(head: Mapping[str, Any], body: Content = b"") -> Frame:
    return head, body
