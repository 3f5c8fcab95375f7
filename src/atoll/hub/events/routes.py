"""Events over HTTP: server-sent events with a cursor that can be taken up again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from atoll.hub.described import described
from atoll.hub.events.service import Events
from atoll.hub.parts import room
from atoll.hub.principal import AuthenticatedUser, Authenticator, Principal, token_of
from atoll.model.errors import EventsGone, Malformed
from atoll.model.work import RunId
from atoll.stores.sql.events import KeptEvent

router = APIRouter(tags=["events"])

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_AFTER = {"after": "The cursor to go on from: what a header Atoll-Cursor said. Default: from now on."}
_LAST = {"Last-Event-ID": "The id of the last event that was seen; before `after`."}
_STREAM = "text/event-stream"


@router.get(
    "/events",
    **described(
        "event:receive",
        answer=bytes,
        media=_STREAM,
        queries={**_AFTER, "collaboration": "Only what happens in the collaboration with this id."},
        headers=_LAST,
        errors=(EventsGone,),
    ),
)
async def follow(request: Request, who: AuthenticatedUser) -> Response:
    """Follow all that the caller may hear of.

    Each event has the whole public form of one thing as `data`, the cursor to go on from as `id`, and is
    called `run`, `round`, `job` or `log`. A comment is a sign of life.
    """
    collaboration = request.query_params.get("collaboration")
    stream = await room(request, Events).following(
        who, _after(request), collaboration=collaboration, again=_again(request)
    )
    return StreamingResponse(_lines(stream), media_type=_STREAM, headers=_HEADERS)


@router.get(
    "/runs/{run}/events",
    **described(
        "event:receive", answer=bytes, media=_STREAM, queries=_AFTER, headers=_LAST, errors=(EventsGone,)
    ),
)
async def follow_run(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """Follow what happens in one run."""
    stream = await room(request, Events).following(
        who, _after(request), run=RunId(run), again=_again(request)
    )
    return StreamingResponse(_lines(stream), media_type=_STREAM, headers=_HEADERS)


def _again(request: Request) -> Callable[[], Awaitable[Principal]]:
    """Asks anew who follows: he may be known no longer, or may less than when he began."""
    authenticator, token = room(request, Authenticator), token_of(request)
    return lambda: authenticator.known(token)


def _after(request: Request) -> int | None:
    """The cursor that a client goes on from: what it has seen last, or what it asks for.

    Raises:
        Malformed: it is none.
    """
    text = request.headers.get("last-event-id") or request.query_params.get("after")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Malformed("this is no cursor: expected what a header Atoll-Cursor said, or the id of an event")
    return int(text)


async def _lines(stream: AsyncIterator[Sequence[KeptEvent]]) -> AsyncIterator[bytes]:
    yield b": the events follow\n\n"
    async for events in stream:
        if not events:
            yield b": \n\n"
        else:
            yield "".join(
                f"id: {event.cursor}\nevent: {event.kind}\ndata: {event.form}\n\n" for event in events
            ).encode()
