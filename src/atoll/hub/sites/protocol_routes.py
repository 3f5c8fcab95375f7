"""What nodes ask of the hub, over HTTP. Each endpoint decodes, calls one service, and encodes."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response
from starlette.types import Message, Receive, Scope, Send

from atoll.engine.limits import KEEP_ALIVE_SECONDS
from atoll.hub.answers import answer, nothing
from atoll.hub.described import described
from atoll.hub.parts import room
from atoll.hub.principal import AuthenticatedNode, Principal
from atoll.hub.sites.protocol import Nodes
from atoll.hub.streams import Woken, wait_for
from atoll.model.errors import Malformed, NotRepeatable, NotYours, StaleEvent
from atoll.model.work import JobId, RunId
from atoll.transports import forms, wire
from atoll.transports.forms import Claim, Ended, Heard, Heartbeat, Hello, Logs, Number, Signal, Welcome

router = APIRouter(prefix="/node", tags=["node"])

_CHILD = {
    "run": "The run.",
    "job": "The job that asked for the round.",
    "number": "The number of the round.",
}


@router.post("/hello", **described("node", body=Hello, answer=Welcome))
async def hello(request: Request, node: AuthenticatedNode) -> Response:
    """A node has come, or come back."""
    said = forms.hello.decode(await request.body())
    return answer(await room(request, Nodes).hello(node, said))


@router.post("/heartbeat", **described("node", body=Heartbeat, answer=Heard))
async def heartbeat(request: Request, node: AuthenticatedNode) -> Response:
    """A node is there; the answer names what it needn't work at any more."""
    said = forms.heartbeat.decode(await request.body())
    return answer(await room(request, Nodes).heartbeat(node, said))


@router.get("/events", **described("node", answer=bytes, media="application/x-ndjson"))
async def events(request: Request, node: AuthenticatedNode) -> Response:
    """What wakes a node: a line of JSON each, for as long as the node listens."""
    return _Signals(room(request, Nodes), node)


@router.post("/claim", **described("node", body=Claim, answer=bytes))
async def claim(request: Request, node: AuthenticatedNode) -> Response:
    """The next job of the node, as a ticket; without one, an answer with status 204.

    The header Atoll-More says whether there is another one.
    """
    nodes = room(request, Nodes)
    ticket = await nodes.claim(node, forms.claim.decode(await request.body()))
    if ticket is None:
        return nothing()
    more = "yes" if await nodes.has_more(node) else "no"
    return _said(wire.encode_ticket(ticket), {forms.MORE: more})


@router.post("/report", **described("node", body=bytes, errors=(StaleEvent, NotYours)))
async def report(request: Request, node: AuthenticatedNode) -> Response:
    """How a job ended."""
    await room(request, Nodes).report(node, wire.decode_report(await request.body()))
    return nothing()


@router.post("/lost", **described("node", body=bytes, errors=(StaleEvent, NotYours)))
async def lost(request: Request, node: AuthenticatedNode) -> Response:
    """The node doesn't work at a job any more: it may be claimed anew."""
    await room(request, Nodes).lost(node, wire.decode_lost(await request.body()))
    return nothing()


@router.post(
    "/ask", **described("node", body=bytes, answer=Number, errors=(StaleEvent, NotYours, NotRepeatable))
)
async def ask(request: Request, node: AuthenticatedNode) -> Response:
    """A job asks for a child round. Asking again changes nothing."""
    event, messages = wire.decode_ask(await request.body())
    return answer(Number(number=await room(request, Nodes).ask(node, event, messages)))


@router.get("/child", **described("node", answer=bytes, queries=_CHILD, errors=(StaleEvent, NotYours)))
async def child(request: Request, node: AuthenticatedNode) -> Response:
    """A child round, with what its jobs left."""
    state = await room(request, Nodes).child(node, *_child(request))
    return _said(wire.encode_child(state))


@router.get(
    "/child/ended",
    **described(
        "node",
        answer=Ended,
        queries={**_CHILD, "wait": "Seconds that the answer may take."},
        errors=(StaleEvent, NotYours),
    ),
)
async def child_ended(request: Request, node: AuthenticatedNode) -> Response:
    """Whether a child round has ended; waited for."""
    text = request.query_params.get("wait", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise Malformed("wait is no number of seconds: expected one such as 20")
    ended = await room(request, Nodes).child_ended(node, *_child(request), seconds=float(text))
    return answer(Ended(ended=ended))


@router.post("/give_up", **described("node", body=bytes, errors=(StaleEvent, NotYours)))
async def give_up(request: Request, node: AuthenticatedNode) -> Response:
    """A job waits no longer for a child round."""
    await room(request, Nodes).give_up(node, wire.decode_give_up(await request.body()))
    return nothing()


@router.post("/release", **described("node", body=forms.Child, errors=(StaleEvent, NotYours)))
async def release(request: Request, node: AuthenticatedNode) -> Response:
    """The messages of a child round were read for the last time."""
    said = forms.child.decode(await request.body())
    await room(request, Nodes).release(node, said.run, said.job, said.number)
    return nothing()


@router.post("/logs", **described("node", body=Logs))
async def logs(request: Request, node: AuthenticatedNode) -> Response:
    """Something about jobs, for people to read."""
    await room(request, Nodes).write_down(node, forms.logs.decode(await request.body()))
    return nothing()


def _child(request: Request) -> tuple[RunId, JobId, int]:
    query = request.query_params
    number = query.get("number", "")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Malformed("number is no round's: expected one such as 3")
    return RunId(query.get("run", "")), JobId(query.get("job", "")), int(number)


def _said(text: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(text, headers=headers, media_type="application/json")


def _lines(signals: Sequence[Signal]) -> Message:
    body = b"".join(forms.encode(signal) + b"\n" for signal in signals)
    return {"type": "http.response.body", "body": body, "more_body": True}


class _Signals(Response):
    """A stream of lines for one node. Thousands of them wait at a time: each is its request and no more."""

    def __init__(self, nodes: Nodes, node: Principal) -> None:
        super().__init__(media_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})
        self.raw_headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        self._nodes = nodes
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send lines until nobody reads them."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        listening = self._nodes.listening(self._node)
        try:
            # So that the node knows that it listens. What was told before it did, it is told now.
            await send(_lines([Signal()]))
            while await wait_for(listening.bell, receive, KEEP_ALIVE_SECONDS) is not Woken.GONE:
                if (signals := listening.signals()) is None:
                    break
                await send(_lines(signals))
        finally:
            listening.end()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
