"""Files of runs over HTTP: brought in parts from an offset, fetched whole or by range."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from atoll.hub.answers import answer
from atoll.hub.blobs.service import Blobs, Stretch
from atoll.hub.described import described
from atoll.hub.parts import room
from atoll.hub.principal import Authenticated
from atoll.hub.streams import is_gone
from atoll.model.errors import Malformed, NotThere, StaleEvent, Taken, TooLarge
from atoll.model.work import RunId
from atoll.stores.objects import OffsetWrong
from atoll.transports import forms
from atoll.transports.forms import Offset, Upload

router = APIRouter(tags=["files"])

#: Where a part of a file begins; in a refusal, where it should.
OFFSET_HEADER = "Upload-Offset"
#: Chunks that are sent between two looks at whether somebody reads them.
_LOOK_CHUNKS = 16
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")


@router.post(
    "/runs/{run}/uploads",
    **described("known", body=Upload, answer=Offset, errors=(StaleEvent, Taken)),
)
async def announce(request: Request, who: Authenticated, run: str) -> Response:
    """Announce a file of a run; the answer says how much of it is there."""
    wanted = forms.upload.decode(await request.body())
    here = await room(request, Blobs).announce(who, RunId(run), wanted.digest, wanted.size)
    return answer(Offset(offset=here.offset, whole=here.is_whole))


@router.patch(
    "/runs/{run}/uploads/{digest}",
    **described(
        "known",
        body=bytes,
        body_media="application/octet-stream",
        answer=Offset,
        headers={OFFSET_HEADER: "The byte that the part begins with."},
        errors=(Taken, TooLarge),
    ),
)
async def append(request: Request, who: Authenticated, run: str, digest: str) -> Response:
    """Bring the next part of a file. A refusal with status 409 says in `Upload-Offset` where it should begin."""
    begin = request.headers.get(OFFSET_HEADER, "")
    if not (begin.isascii() and begin.isdigit() and len(begin) < 19):
        raise Malformed(
            f"the header {OFFSET_HEADER} is no offset: expected the byte that the part begins with"
        )
    try:
        here = await room(request, Blobs).append(who, RunId(run), digest, int(begin), _body(request))
    except OffsetWrong as wrong:
        return answer(Offset(offset=wrong.offset), 409, {OFFSET_HEADER: str(wrong.offset)})
    except ClientDisconnect:
        return Response(status_code=499)  # Nobody reads it.
    return answer(Offset(offset=here.offset, whole=here.is_whole))


@router.get(
    "/runs/{run}/blobs/{digest}",
    **described(
        "known",
        answer=bytes,
        media="application/octet-stream",
        headers={"Range": "The bytes that are wanted, as `bytes=BEGIN-END` or `bytes=BEGIN-`."},
        errors=(NotThere,),
    ),
)
async def fetch(request: Request, who: Authenticated, run: str, digest: str) -> Response:
    """Fetch a file of a run. People need `result:view`; a node reads what a message for it names."""
    asked = request.headers.get("range")
    found = None if asked is None else _RANGE.fullmatch(asked)
    if asked is not None and found is None:
        raise Malformed("the header Range is not understood: expected bytes=BEGIN-END or bytes=BEGIN-")
    start = int(found[1]) if found else 0
    end = int(found[2]) + 1 if found and found[2] else None
    stretch = await room(request, Blobs).read(who, RunId(run), digest, start, end)
    return _Chunks(stretch, is_part=found is not None)


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


class _Chunks(Response):
    """An answer that sends a file as it is read. No task and no layer stand between."""

    def __init__(self, stretch: Stretch, *, is_part: bool) -> None:
        headers: Mapping[str, str] = {
            "Content-Length": str(stretch.length),
            "Content-Type": "application/octet-stream",
            "Content-Disposition": "attachment",
            "Accept-Ranges": "bytes",
        }
        if is_part:
            last = stretch.start + stretch.length - 1
            span = f"{stretch.start}-{last}" if stretch.length else "*"
            headers = {**headers, "Content-Range": f"bytes {span}/{stretch.size_bytes}"}
        self._chunks = stretch.chunks
        status = 200 if not is_part else 206 if stretch.length else 416
        super().__init__(status_code=status, headers=dict(headers))
        if stretch.length == 0:
            self.raw_headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
            self.raw_headers.append((b"content-length", b"0"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        count = 0
        async for chunk in self._chunks:
            count += 1
            # Who has gone is not noticed by sending.
            if count % _LOOK_CHUNKS == 0 and await is_gone(receive):
                return
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
