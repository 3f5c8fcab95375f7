"""How a function is called, and how it answers: one frame there, one frame back.

Arguments and results are passed on as they are. What is read here is what a site's own people
are told, and what must hold before a function is called.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from atoll.dialects.functions.body import Call, read_call
from atoll.dialects.functions.container import header_bytes
from atoll.dialects.functions.door import Door
from atoll.dialects.functions.failed import raised, told_of
from atoll.engine.gate import Gate
from atoll.engine.ports import Answer, Desk, Folder, Place
from atoll.engine.running import Reply, Request, Style
from atoll.model.errors import AlgorithmFailed, InputMissing, JobFailed, ReplyInvalid, UnsafeName
from atoll.model.work import Content, Seat, Ticket

#: Bytes of a call's header that is looked at. What is longer is numbers, and no reading for people;
#: the function itself checks what it is called with.
_READ_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """How one algorithm's functions are called."""

    #: The module or the package's folder, as its process sees it: ``/computation/mean.py``.
    target: str

    def launch(self, ticket: Ticket) -> tuple[Style, tuple[str, ...]]:
        """The same program for central and partial functions: a call names the one that is meant."""
        return Style.TALK, ("python", "-m", "atoll_algorithm", self.target)

    def targets(self, seat: Seat) -> Mapping[Folder, str]:
        """None: functions see databases, and a temporary folder as every process does."""
        return {}

    def place(self, ticket: Ticket, sender: Seat, name: str) -> Place:
        """Nowhere: functions send no files."""
        raise UnsafeName(f"{sender} sent a file, {name!r}: functions send what they return, and no files")

    def carried(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> Sequence[str]:
        """None: there are no output files."""
        return ()

    def compose(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> Request:
        """The call as it came, and what the site adds to it."""
        call, told = _read(bodies[0])
        if call is not None:
            _check_databases(call, desk)
        head = {
            "do": "call",
            "seat": desk.seat,
            "sites": ticket.sites,
            "seed": desk.seed,
            "databases": [
                {"label": each.label, "uri": each.uri, "type": each.type, "options": dict(each.options)}
                for each in desk.databases.values()
            ],
            "resume": _resumed(ticket),
        }
        return Request(
            body=bodies[0],
            head=head,
            told=told,
            tables={label: each.table for label, each in desk.databases.items() if each.table is not None},
        )

    def door(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk, gate: Gate) -> Door:
        """Every function may ask; whether it does is its own affair."""
        return Door(gate)

    def parse(self, ticket: Ticket, reply: Reply, desk: Desk) -> Answer:
        """What the function returned, unread; or why it didn't."""
        if not reply.head:
            raise AlgorithmFailed(_ended(self.target, reply, desk.seat))
        said = reply.head
        if said.get("say") == "failed":
            told = told_of(said, _function_of(ticket), desk.seat)
            raise AlgorithmFailed(told, raised=raised(said))
        if said.get("say") != "returned":
            raise ReplyInvalid(
                'a function\'s process answered with something else than "returned" or "failed". Is its '
                "atoll-algorithm of the same version as Atoll?"
            )
        header_bytes(reply.output)  # Where it is no container, this site is to blame, and not who reads it.
        return Answer(body=reply.output, final=True)

    def receive(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> None:
        """Nothing is delivered: a call's answer is the end."""


def _check_databases(call: Call, desk: Desk) -> None:
    missing = [label for label in call.databases or () if label not in desk.databases]
    if missing:
        there = ", ".join(desk.databases) or "none"
        raise InputMissing(
            f"{call.function} asks for the database {missing[0]!r}, which {desk.seat} doesn't offer: it has "
            f"{there}. Name another with --database, or add it at the site"
        )


def _resumed(ticket: Ticket) -> str | None:
    """What the function's process knows a paused function by: who paused it, and under which name."""
    return None if ticket.job.session is None else f"{ticket.parent}/{ticket.job.session}"


def _read(body: Content) -> tuple[Call | None, bytes]:
    """What is asked, where it is small enough to be read, and how the journal tells it."""
    if isinstance(body, bytes) and len(body) <= _READ_BYTES_MAX:
        return _read_small(body)
    if header_bytes(body) <= _READ_BYTES_MAX:
        call = read_call(body)
        return call, _told(call)
    return None, json.dumps({"bytes": len(body) if isinstance(body, bytes) else body.size_bytes}).encode()


@lru_cache(maxsize=32)
def _read_small(body: bytes) -> tuple[Call, bytes]:
    """The same for every site of a round."""
    call = read_call(body)
    return call, _told(call)


def _told(call: Call) -> bytes:
    told = {"function": call.function, "args": call.args, "databases": call.databases}
    return json.dumps(told).encode("ascii")


def _function_of(ticket: Ticket) -> str:
    try:
        return read_call(ticket.inbox[0].body).function
    except (JobFailed, IndexError):
        return "the function"  # Its call was too large to travel inside the message.


def _ended(target: str, reply: Reply, seat: Seat) -> str:
    how = "ended"
    if reply.exit_code:
        how += (
            f" with exit status {reply.exit_code}"
            if reply.exit_code > 0
            else f" by signal {-reply.exit_code}"
        )
    return f"python -m atoll_algorithm {target} {how} before it answered. What it wrote stays at {seat}, in its log"
