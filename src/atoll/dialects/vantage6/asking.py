"""What an algorithm asks for when it makes a task: checked, and put into bodies of calls."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from atoll.dialects.vantage6 import identity
from atoll.dialects.vantage6.body import Action, Call
from atoll.model.errors import SpecInvalid
from atoll.model.work import Seat, Ticket

#: Characters of a refusal: it quotes what the algorithm wrote.
_SENTENCE_MAX = 300


class Refused(Exception):
    """A request is refused.

    Attributes:
        status: of the answer.
        sentence: what it asked for, and what it was told.
        recorded: whether it asked for what it may not have, or only for what there is not.
    """

    def __init__(self, status: int, sentence: str, *, recorded: bool = True) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence[:_SENTENCE_MAX]
        self.recorded = recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A task that may be made."""

    #: The function that is called, for people.
    method: str
    #: What the algorithm calls it.
    name: str
    description: str
    #: Whom to call, and with what. Who is asked the same is given the same object.
    calls: tuple[tuple[Seat, bytes], ...]


def read_task(content: bytes, ticket: Ticket, parent: Call, claimed: Sequence[Any]) -> Asked:
    """What a request to make a task asks for.

    Args:
        content: the request's JSON.
        ticket: the call that asks.
        parent: what that call was asked itself.
        claimed: the data that its token names.

    Raises:
        Refused: it may not be made.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise _malformed("its request is not JSON") from None
    if not isinstance(document, dict):
        raise _malformed("its request is no JSON object")
    _check_scope(document, ticket, parent.generation)
    organizations = document.get("organizations")
    if not isinstance(organizations, list) or not organizations:
        raise _malformed("it names no organizations")
    try:
        call = _common(document, parent, claimed)
        bodies: dict[Any, tuple[str, bytes]] = {}
        calls = []
        for one in organizations:
            seat, text = _seat(one, ticket), _input(one, parent.generation)
            if text not in bodies:
                asked = _with_input(call, text)
                bodies[text] = asked.method, asked.written()
            calls.append((seat, bodies[text][1]))
    except SpecInvalid as error:
        raise _malformed(str(error)) from error
    return Asked(
        method=next(iter(bodies.values()))[0],
        name=_word(document, "name", "subtask"),
        description=_word(document, "description", ""),
        calls=tuple(calls),
    )


def _check_scope(document: Mapping[str, Any], ticket: Ticket, generation: int) -> None:
    """A task is of the same algorithm, in the same collaboration and session."""
    image = document.get("image")
    if image != ticket.algorithm.name:
        raise Refused(
            403,
            f"asked for a task of the image {str(image)[:80]!r}: it may use {ticket.algorithm.name!r} alone",
        )
    collaboration = document.get("collaboration_id", identity.COLLABORATION)
    if collaboration != identity.COLLABORATION or isinstance(collaboration, bool):
        raise Refused(
            403, f"asked for a task in collaboration {str(collaboration)[:20]}, which is not its own"
        )
    for name in ("study_id", "store_id"):
        if document.get(name) is not None:
            raise Refused(403, f"asked for a task with a {name}, and a run has none")
    if generation == 4:
        return
    action = document.get("action", Action.FEDERATED_COMPUTE.value)
    if action != Action.FEDERATED_COMPUTE.value:
        raise Refused(
            403,
            f"asked for a task with the action {str(action)[:40]!r}: functions may ask for "
            f"{Action.FEDERATED_COMPUTE.value!r} alone",
        )
    session = document.get("session_id", identity.SESSION)
    if session != identity.SESSION or isinstance(session, bool):
        raise Refused(403, f"asked for a task in session {str(session)[:20]}, which is not its own")


def _common(document: Mapping[str, Any], parent: Call, claimed: Sequence[Any]) -> Call:
    """The call that all organizations get, but for their arguments.

    A task that names the data which its parent's token names gets what the parent was asked for.
    That may be the first database of each site, whatever it is called there.
    """
    named = document.get("databases")
    inherited = named is None or named == list(claimed)
    if parent.generation == 4:
        databases = parent.databases if inherited else tuple(_list(named))
        return Call(generation=4, method="", arguments=b"", databases=databases)
    method = document.get("method")
    if not isinstance(method, str) or not method:
        raise _malformed("it names no method")
    return Call(
        generation=5,
        method=method,
        arguments=b"",
        action=Action.FEDERATED_COMPUTE,
        dataframes=parent.dataframes if inherited else tuple(_group(each) for each in _list(named)),
    )


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _malformed("its databases are no list")
    return value


def _group(value: Any) -> tuple[Any, ...]:
    """The dataframes of one argument: one, or a list of them."""
    members = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) and "label" in one for one in members):
        raise _malformed('its databases are not written as [[{"label": a dataframe\'s name}]]')
    return tuple(one["label"] for one in members)


def _seat(organization: Any, ticket: Ticket) -> Seat:
    number = organization.get("id") if isinstance(organization, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise _malformed("an organization in it has no number")
    if not 1 <= number <= len(ticket.sites):
        raise Refused(403, f"asked for a task at organization {number}, which is not in its collaboration")
    return ticket.sites[number - 1]


def _input(organization: Mapping[str, Any], generation: int) -> Any:
    text = organization.get("input" if generation == 4 else "arguments")
    if not isinstance(text, str):
        word = "input" if generation == 4 else "arguments"
        raise _malformed(f"an organization in it has no {word}: expected JSON in base64")
    return text


def _with_input(call: Call, text: str) -> Call:
    try:
        # Some languages break base64 into lines.
        arguments = base64.b64decode("".join(text.split()), validate=True)
        document = json.loads(arguments.decode())
    except (binascii.Error, ValueError, RecursionError):
        raise _malformed("the input for an organization is not JSON in base64") from None
    if call.generation == 5:
        if not isinstance(document, dict | None):
            raise _malformed("the arguments for an organization are no JSON object")
        return replace(call, arguments=arguments)
    method = document.get("method") if isinstance(document, dict) else None
    if not isinstance(method, str) or not method:
        raise _malformed("the input for an organization names no method")
    return replace(call, method=method, arguments=arguments)


def _word(document: Mapping[str, Any], name: str, default: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else default


def _malformed(what: str) -> Refused:
    return Refused(400, f"asked for a task that can't be made: {what}")
