"""What a running vantage6 algorithm may ask over HTTP, in the words of its client.

A call may make tasks of its own, which are child rounds: the same algorithm at other sites. It may
ask how they are and what they left, and which organizations there are. It sees nothing of other
calls. Whatever else it asks for is refused, and the refusal is recorded.

Failed runs have null results, which the client leaves out, because published algorithms know no
other answer. ``GET /task/{id}/outcomes`` tells the whole truth.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from atoll.dialects.vantage6 import identity, token
from atoll.dialects.vantage6.addresses import described
from atoll.dialects.vantage6.asking import Refused, read_task
from atoll.dialects.vantage6.body import Call
from atoll.engine.gate import Child, Gate, Part
from atoll.engine.limits import STATUS_SECONDS_MAX
from atoll.engine.running import Head, HttpRequest, HttpResponse, whole
from atoll.model.errors import AtollError, LimitReached
from atoll.model.work import Content, JobStatus, Seat

_Item = TypeVar("_Item")

#: Whose words these are.
_VERSIONS = {4: "4.15.2", 5: "5.0.3"}
#: Items of a list that are answered at once, and at most: a page of results is held in memory.
_PAGE_ITEMS = 100
_RESOURCES = frozenset(
    ("version", "blobstream", "vpn", "organization", "collaboration", "study", "task", "run", "result")
)
_RUN_STATUS = {
    JobStatus.QUEUED: "pending",
    JobStatus.ACTIVE: "active",
    JobStatus.DONE: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A task that the call has made."""

    name: str
    description: str
    method: str
    #: The numbers of its runs, in the order of its organizations.
    runs: tuple[int, ...]


class NoFrames:
    """No frames: algorithms of vantage6 have no line to their node."""

    def __aiter__(self) -> NoFrames:
        return self

    async def __anext__(self) -> tuple[Head, Content]:
        """The end."""
        raise StopAsyncIteration


class Door:
    """Answers the requests of one call."""

    def __init__(self, gate: Gate, *, call: Call, token: str, databases: Sequence[Any]) -> None:
        self._gate = gate
        self._call = call
        self._token = token
        self._databases = list(databases)
        #: By the number of the round.
        self._made: dict[int, _Made] = {}
        #: Tasks whose making the algorithm has not heard of, by what it asked.
        self._unheard: dict[bytes, list[int]] = {}
        #: How long the next question after a round is held open.
        self._patience: dict[int, float] = {}
        #: The round that was read last: its results may be asked for page by page.
        self._read: Child | None = None

    def answers(self, head: Head, body: Content) -> NoFrames:
        """None: a vantage6 algorithm speaks HTTP."""
        return NoFrames()

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """The answer to one request."""
        try:
            _check_token(request.token, self._token)
            return await self._respond(request)
        except Refused as refused:
            if refused.recorded:
                self._gate.refused(refused.sentence)
            return _json(refused.status, {"msg": refused.sentence})
        except AtollError as error:
            status = 403 if isinstance(error, LimitReached) else 409
            self._gate.refused(str(error))
            return _json(status, {"msg": str(error)})

    async def _respond(self, request: HttpRequest) -> HttpResponse:
        query = request.query
        parts = [part for part in request.path.split("/") if part]
        match request.method, parts:
            case "POST", ["task"]:
                return await self._make(request.body)
            case "GET", ["version"]:
                return _json(200, {"version": _VERSIONS[self._call.generation]})
            case "GET", ["blobstream", "status"]:
                return _json(200, {"blob_store_enabled": False})
            case "GET", ["vpn", "algorithm", "addresses"]:
                found = described(await self._gate.addresses(), self._gate.ticket, query)
                return _json(200, {"addresses": found})
            case "GET", ["organization"]:
                _check_collaboration(query)
                return _page([self._organization(seat) for seat in self._sites], request)
            case "GET", ["organization", text]:
                return _json(200, self._organization(self._site(text)))
            case "GET", ["collaboration", text]:
                if _number(text) != identity.COLLABORATION:
                    raise Refused(404, f"asked for collaboration {text}, which is not its own")
                return _json(200, _COLLABORATION)
            case "GET", ["study"]:
                return _page([], request)
            case "GET", ["task"]:
                numbers, links = _chosen(list(self._made), request)
                return _list([_text(await self._task(number)) for number in numbers], links)
            case "GET", ["task", text]:
                return _json(200, await self._any_task(text))
            case "GET", ["task", text, "status"]:
                return await self._status(text)
            case "GET", ["task", text, "outcomes"]:
                return await self._outcomes(self._round(text))
            case "GET", ["run" | "result" as kind]:
                return await self._runs(kind, request)
            case "GET", ["run" | "result" as kind, text]:
                return await self._run(kind, text)
        if parts and parts[0] == "study":
            raise Refused(404, "asked for a study, and a run has none")
        if parts and parts[0] in _RESOURCES:
            raise Refused(405, f"there is no {request.method} of {request.path[:80]}", recorded=False)
        raise Refused(404, f"there is no {request.path[:80]}", recorded=False)

    # --- Organizations ------------------------------------------------------------------------

    @property
    def _sites(self) -> tuple[Seat, ...]:
        return self._gate.ticket.sites

    def _site(self, text: str) -> Seat:
        number = _number(text)
        if not 1 <= number <= len(self._sites):
            raise Refused(404, f"asked for organization {text[:20]}, which is not in its collaboration")
        return self._sites[number - 1]

    def _organization(self, seat: Seat) -> dict[str, Any]:
        number = identity.organization_of(self._gate.ticket, seat)
        # The client reads a key that it encrypts nothing with.
        words = dict.fromkeys(("public_key", "domain", "address1", "address2", "zipcode", "country"), "")
        return {"id": number, "name": seat, **words}

    # --- Tasks --------------------------------------------------------------------------------

    async def _make(self, content: bytes) -> HttpResponse:
        """Make a task; or tell again of the one that was made for the same request.

        A client sends its request again where it has heard no answer. Two tasks that are asked for
        in the same words are two: only one whose answer was lost is told of again.
        """
        digest = hashlib.sha256(content).digest()
        if unheard := self._unheard.get(digest):
            number = unheard.pop(0)
            child = await self._slim(number)
        else:
            asked = read_task(content, self._gate.ticket, self._call, self._databases)
            number = await self._gate.ask(asked.method, asked.calls)
            child = await self._slim(number)
            self._made[number] = _Made(
                name=asked.name,
                description=asked.description,
                method=asked.method,
                runs=tuple(part.ordinal for part in child.parts),
            )
        lost = partial(self._lost, digest, number)
        return HttpResponse(status=201, body=_text(self._told(child)), lost=lost)

    def _lost(self, digest: bytes, number: int) -> None:
        self._unheard.setdefault(digest, []).append(number)

    def _round(self, text: str) -> int:
        """The round that one of the call's own tasks is."""
        number = identity.round_of(_number(text))
        if number not in self._made:
            raise Refused(404, f"asked for task {text[:20]}, which is not one of its own")
        return number

    async def _any_task(self, text: str) -> dict[str, Any]:
        own = self._gate.ticket.job.round_number
        if identity.round_of(_number(text)) != own:
            return await self._task(self._round(text))
        name = self._gate.ticket.algorithm.name
        waiting = {4: "active", 5: "awaiting"}[self._call.generation]
        return self._described(own, name=name, description="", method=self._call.method, status=waiting)

    async def _task(self, number: int) -> dict[str, Any]:
        return self._told(await self._slim(number))

    def _told(self, child: Child) -> dict[str, Any]:
        """One of the call's own tasks, as its round is now."""
        made = self._made[child.number]
        return self._described(
            child.number,
            name=made.name,
            description=made.description,
            method=made.method,
            status=self._word(child),
        )

    def _described(
        self, number: int, *, name: str, description: str, method: str, status: str
    ) -> dict[str, Any]:
        own = self._gate.ticket.job.round_number
        task = identity.task_of(number)
        parent = None if number == own else _link("task", identity.task_of(own))
        described = {
            "id": task,
            "name": name,
            "description": description,
            "image": self._gate.ticket.algorithm.name,
            "status": status,
            "collaboration": _link("collaboration", identity.COLLABORATION),
            "study": None,
            "job_id": 1,
            "parent": parent,
            "init_org": _link("organization", self._here),
            "init_user": None,
            "created_at": None,
            "finished_at": None,
            "algorithm_store": None,
            "databases": self._databases,
            "runs": f"/run?task_id={task}",
            "results": f"/result?task_id={task}",
            "children": f"/task?parent_id={task}",
        }
        if self._call.generation == 5:
            described |= {"method": method, "session": _link("session", identity.SESSION)}
        return described

    @property
    def _here(self) -> int:
        return identity.organization_of(self._gate.ticket, self._gate.ticket.job.seat)

    def _word(self, child: Child) -> str:
        """A task's status. Clients of generation 5 wait for ever on any but these."""
        if child.open_count:
            return {4: "active", 5: "awaiting"}[self._call.generation]
        done = all(part.status is JobStatus.DONE for part in child.parts)
        return "completed" if done else "failed"

    async def _status(self, text: str) -> HttpResponse:
        """Held open until the task has ended, or for as long as the call has asked after it so far.

        A client that hears of an open task sleeps before it asks again, each time longer. So each
        time it waits here, where it hears of the end at once, twice as long.
        """
        if identity.round_of(_number(text)) == self._gate.ticket.job.round_number:
            return _json(200, {"status": (await self._any_task(text))["status"]})
        number = self._round(text)
        seconds = self._patience.get(number, STATUS_SECONDS_MAX)
        self._patience[number] = 2 * seconds

        async def later() -> bytes:
            await self._gate.ended(number, seconds=seconds)
            return _text({"status": self._word(await self._slim(number))})

        return HttpResponse(status=200, body=b"", later=later)

    # --- Runs and results ---------------------------------------------------------------------

    async def _outcomes(self, number: int) -> HttpResponse:
        """What became of a task, organization by organization."""
        items = []
        for part in (await self._gate.child(number)).parts:
            told = {
                "organization_id": identity.organization_of(self._gate.ticket, part.seat),
                "site": part.seat,
                "run_id": part.ordinal,
                "status": part.status.value,
                "failure": part.failure
                and {"type": part.failure.type, "message": part.failure.message, "site": part.failure.site},
            }
            result = b"null" if part.body is None else whole(part.body)
            # Put together by hand: a result is JSON already.
            items.append(b'%s,"result":%s}' % (_text(told).removesuffix(b"}"), result))
        return HttpResponse(status=200, body=b'{"data":[%s]}' % b",".join(items))

    async def _runs(self, kind: str, request: HttpRequest) -> HttpResponse:
        wanted = request.query.get("task_id")
        numbers = list(self._made) if wanted is None else [self._round(wanted)]
        parts = [(number, position) for number in numbers for position in range(len(self._made[number].runs))]
        chosen, links = _chosen(parts, request)
        rounds = {number: await self._child(kind, number) for number in dict.fromkeys(n for n, _ in chosen)}
        items = [self._shown(kind, number, rounds[number].parts[position]) for number, position in chosen]
        # The last round of this page may go on on the next.
        goes_on = kind == "result" and "next" in links
        kept = [child for child in rounds.values() if goes_on and not child.open_count]
        self._read = kept[-1] if kept else None
        return _list(items, links)

    async def _run(self, kind: str, text: str) -> HttpResponse:
        wanted = _number(text)
        for number, made in self._made.items():
            if wanted in made.runs:
                child = await self._gate.child(number, bodies=kind == "result")
                part = child.parts[made.runs.index(wanted)]
                return HttpResponse(status=200, body=self._shown(kind, number, part))
        raise Refused(404, f"asked for {kind} {text[:20]}, which is not one of its own tasks'")

    async def _child(self, kind: str, number: int) -> Child:
        """A child round; the one that was read last isn't read again for the next page."""
        if self._read is not None and self._read.number == number:
            return self._read
        return await self._gate.child(number, bodies=kind == "result")

    async def _slim(self, number: int) -> Child:
        return await self._gate.child(number, bodies=False)

    def _shown(self, kind: str, number: int, part: Part) -> bytes:
        task = _link("task", identity.task_of(number))
        if kind == "run":
            return _text(self._run_document(task, part))
        document = {
            "id": part.ordinal,
            "blob_storage_used": False,
            "task": task,
            "run": _link("run", part.ordinal),
        }
        # Put together by hand: a result may be large.
        result = b"null" if part.body is None else b'"%s"' % base64.b64encode(whole(part.body))
        return b'%s,"result":%s}' % (_text(document).removesuffix(b"}"), result)

    def _run_document(self, task: Mapping[str, Any], part: Part) -> dict[str, Any]:
        organization = identity.organization_of(self._gate.ticket, part.seat)
        crashed = part.failure is not None and part.failure.type == "AlgorithmFailed"
        return {
            "id": part.ordinal,
            "status": "crashed" if crashed else _RUN_STATUS[part.status],
            "task": task,
            "organization": _link("organization", organization),
            "node": {"id": organization, "name": part.seat, "status": "online", "ip": None},
            "results": _link("result", part.ordinal),
            "log": part.failure and part.failure.message,
            "input" if self._call.generation == 4 else "arguments": None,
            "assigned_at": None,
            "started_at": None,
            "finished_at": None,
            "cleanup_at": None,
            "blob_storage_used": False,
            "ports": [],
        }


_COLLABORATION = {
    "id": identity.COLLABORATION,
    "name": "run",
    "encrypted": False,
    "organizations": f"/organization?collaboration_id={identity.COLLABORATION}",
    "tasks": "/task",
}


def _check_token(given: str, expected: str) -> None:
    if not token.is_shown(given, expected):
        shown = "another token than its own" if given else "no token"
        raise Refused(401, f"spoke to its node with {shown}")


def _check_collaboration(query: Mapping[str, str]) -> None:
    asked = query.get("collaboration_id", str(identity.COLLABORATION))
    if asked != str(identity.COLLABORATION):
        raise Refused(404, f"asked for the organizations of collaboration {asked[:20]}, which is not its own")
    if "study_id" in query:
        raise Refused(404, "asked for the organizations of a study, and a run has none")


def _number(text: str) -> int:
    """A number in a path; -1, which nothing has, for what is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1


def _link(kind: str, number: int) -> dict[str, Any]:
    return {"id": number, "link": f"/{kind}/{number}", "methods": ["GET"]}


def _text(value: Any) -> bytes:
    return json.dumps(value).encode()


def _json(status: int, value: Any) -> HttpResponse:
    return HttpResponse(status=status, body=_text(value))


def _page(items: Sequence[Any], request: HttpRequest) -> HttpResponse:
    chosen, links = _chosen(items, request)
    return _list([_text(item) for item in chosen], links)


def _list(items: Sequence[bytes], links: Mapping[str, str]) -> HttpResponse:
    return HttpResponse(status=200, body=b'{"data":[%s],"links":%s}' % (b",".join(items), _text(links)))


def _chosen(items: Sequence[_Item], request: HttpRequest) -> tuple[Sequence[_Item], dict[str, str]]:
    """A page of a list, and links to the others, which the client follows by number."""
    query = request.query
    size = min(max(_number(query.get("per_page", str(_PAGE_ITEMS))), 1), _PAGE_ITEMS)
    page = max(_number(query.get("page", "1")), 1)
    last = max(-(-len(items) // size), 1)
    others = {name: value for name, value in query.items() if name not in ("page", "per_page")}
    kept = "".join(f"&{name}={value}" for name, value in others.items())
    numbers = {"first": 1, "self": page, "last": last}
    if page > 1:
        numbers["prev"] = page - 1
    if page < last:
        numbers["next"] = page + 1
    links = {name: f"{request.path}?page={number}&per_page={size}{kept}" for name, number in numbers.items()}
    return items[(page - 1) * size : page * size], links
