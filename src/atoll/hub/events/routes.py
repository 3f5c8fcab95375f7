"""Events over HTTP: server-sent events with a cursor that can be taken up again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from atoll.hub.events.service import Events
from atoll.hub.parts import room
from atoll.hub.principal import AuthenticatedUser
from atoll.model.errors import Malformed
from atoll.model.work import RunId
from atoll.stores.sql.events import KeptEvent

router = APIRouter(tags=["events"])

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "A stream of events, each with the whole public form of one thing. `id` is the cursor to go on from, "
            "`event` is `run`, `round`, `job`, `log` or `node`. A comment is a sign of life."
        ),
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get("/v1/events", responses=_STREAM, summary="Follow what happens", response_class=Response)
async def follow(
    request: Request, who: AuthenticatedUser, after: int | None = None, collaboration: str | None = None
) -> Response:
    """Everything that the caller may hear of. Needs `event:receive`."""
    at = _after(request, after)
    stream = await room(request, Events).following(who, at, collaboration=collaboration)
    return StreamingResponse(_lines(stream), media_type="text/event-stream", headers=_HEADERS)


@router.get(
    "/v1/runs/{run}/events",
    responses=_STREAM,
    summary="Follow what happens in a run",
    response_class=Response,
)
async def follow_run(
    request: Request, who: AuthenticatedUser, run: str, after: int | None = None
) -> Response:
    """What happens in one run. Needs `event:receive`."""
    stream = await room(request, Events).following(who, _after(request, after), run=RunId(run))
    return StreamingResponse(_lines(stream), media_type="text/event-stream", headers=_HEADERS)


def _after(request: Request, after: int | None) -> int | None:
    """The cursor that a client goes on from: what it has seen last, or what it asks for."""
    last = request.headers.get("last-event-id")
    if last is None:
        if after is not None and not 0 <= after < 2**63:
            raise Malformed(f"after={after} is no cursor: expected a number that a header Atoll-Cursor said")
        return after
    if not (last.isascii() and last.isdigit() and len(last) < 19):
        raise Malformed("Last-Event-ID is no cursor: expected the id of an event")
    return int(last)


async def _lines(stream: AsyncIterator[Sequence[KeptEvent]]) -> AsyncIterator[bytes]:
    yield b": the events follow\n\n"
    async for events in stream:
        if not events:
            yield b": \n\n"
        else:
            yield "".join(
                f"id: {event.cursor}\nevent: {event.kind}\ndata: {event.form}\n\n" for event in events
            ).encode()
