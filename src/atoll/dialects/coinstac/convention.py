"""How a COINSTAC script is called, and how it answers.

The request is ``{"input", "cache", "state"}``, the answer ``{"output", "cache"?, "success"?}``.
Bodies of messages are the JSON text of an `output`, already as JavaScript would write it, so
that a request is put together from texts and nothing is parsed twice.
"""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from atoll.dialects.coinstac import values
from atoll.dialects.coinstac.printed import answer_in
from atoll.engine.gate import Door, Gate
from atoll.engine.ports import Answer, Desk, Folder, Place
from atoll.engine.running import Reply, Request, Style, whole
from atoll.model.errors import AlgorithmFailed, InputMissing, JobRefused, ReplyInvalid
from atoll.model.work import Content, Role, Seat, Ticket, Work

#: What COINSTAC's simulator calls the folder of a run; scripts rebuild paths with it.
RUN_FOLDER = "simulatorRun"

#: What a site leaves out of the aggregator's input: JavaScript's falsy values.
_FALSY = frozenset({b"null", b"false", b"0", b'""'})


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """How one computation is called."""

    style: Style
    #: The command at the sites and at the aggregator; empty where there is no aggregator, and
    #: where an image starts by itself.
    site_command: tuple[str, ...]
    aggregator_command: tuple[str, ...] = ()
    #: Whether there is an aggregator, though it has no command.
    aggregated: bool = False

    def launch(self, ticket: Ticket) -> tuple[Style, tuple[str, ...]]:
        """The command for this ticket's role."""
        command = self.aggregator_command if ticket.role is Role.AGGREGATOR else self.site_command
        return self.style, command

    def targets(self, seat: Seat) -> Mapping[Folder, str]:
        """The paths that COINSTAC's containers have."""
        return {
            Folder.BASE: f"/input/{seat}/{RUN_FOLDER}",
            Folder.OUTPUT: f"/output/{seat}/{RUN_FOLDER}",
            Folder.TRANSFER: f"/transfer/{seat}/{RUN_FOLDER}",
        }

    def place(self, ticket: Ticket, sender: Seat, name: str) -> Place:
        """Under the sender's name at the aggregator; at a site as it is, at the end as output."""
        if ticket.role is Role.AGGREGATOR:
            return Place(folder=Folder.BASE, name=f"{sender}/{name}")
        delivered = ticket.work is Work.DELIVER
        return Place(folder=Folder.OUTPUT if delivered else Folder.BASE, name=name)

    def carried(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> Sequence[str]:
        """Files of earlier steps' output that this step's inputs name: the node copies them."""
        if not _opens(ticket):
            return ()
        names: list[str] = []
        for _, entry in json.loads(whole(bodies[0]))["inputs"]:
            if entry.get("files"):
                value = json.loads(_from_cache(entry["fromCache"], desk))
                names.extend(_within(name, desk) for name in _named(value) if isinstance(name, str) and name)
        return names

    def compose(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> Request:
        """The request document, as JSON text."""
        folders = (Folder.BASE, Folder.OUTPUT, Folder.TEMPORARY, Folder.TRANSFER)
        state = _state(*(desk.inside(folder) for folder in folders), desk.seat)
        data = [
            b'{"input":',
            *self._input(ticket, [whole(body) for body in bodies], desk),
            b',"cache":',
            *_object(list(desk.cache.items())),
            b',"state":',
            b"%s%d}}" % (state, ticket.iteration),
        ]
        if self.style is Style.SERVE:
            mode = b"remote" if ticket.role is Role.AGGREGATOR else b"local"
            data = [b'{"mode":"', mode, b'","data":', *data, b"}"]
        return Request(body=b"".join(data))

    def door(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk, gate: Gate) -> Door | None:
        """A computation asks for nothing while it runs."""
        return None

    def parse(self, ticket: Ticket, reply: Reply, desk: Desk) -> Answer:
        """Check the answer, merge its cache into the desk's, and make its output a body."""
        if reply.exit_code:
            raise AlgorithmFailed(_failed(self.launch(ticket)[1], reply))
        answer, warning = self._answer(reply)
        warnings = [warning] if warning else []
        cache = answer.get("cache")
        if isinstance(cache, dict):
            # Merged, not replaced: a key that was returned once stays.
            desk.cache.update((key, values.write(value)) for key, value in cache.items())
        elif cache is not None:
            warnings.append("answered with a cache that is not an object; it was left out")
        final = values.truthy(answer.get("success"))
        if final and ticket.role is Role.SITE and (self.aggregator_command or self.aggregated):
            final = False
            warnings.append(
                'answered with "success" at a site, where only the aggregator can end the run; '
                "it was passed over, and the output went on to the aggregator"
            )
        body = values.write(answer.get("output"))
        if final and ticket.role is Role.SITE:
            desk.outputs[ticket.step] = body
        return Answer(body=body, final=final, warnings=tuple(warnings))

    def receive(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> None:
        """Keep the aggregator's last output for later steps of this run."""
        desk.outputs[ticket.step] = whole(bodies[0])

    def _input(self, ticket: Ticket, bodies: Sequence[bytes], desk: Desk) -> Sequence[bytes]:
        if ticket.role is Role.AGGREGATOR:
            senders = [message.sender for message in ticket.inbox]
            return _object([(s, b) for s, b in zip(senders, bodies, strict=True) if b not in _FALSY])
        if not _opens(ticket):
            return bodies
        entries = json.loads(bodies[0])["inputs"]
        return _object([(name, _value(ticket, name, entry, desk)) for name, entry in entries])

    def _answer(self, reply: Reply) -> tuple[dict[str, Any], str | None]:
        if self.style is Style.CALL:
            return answer_in(whole(reply.output))
        try:
            document = values.read(whole(reply.output).decode(), what="the answer")
        except ValueError as error:  # Neither JSON nor UTF-8.
            raise ReplyInvalid(f"the answer is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise ReplyInvalid(
                f"the function returned {type(document).__name__}: expected a dictionary, "
                'such as {"output": {}}'
            )
        return document, None


def opening_body(inputs: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
    """What a submitter tells a site to open a step with.

    Args:
        inputs: names and entries in their order; an entry is ``{"value": ...}`` or
            ``{"fromCache": {"step": ..., "variable": ...}, "files": bool}``, or ``{"site": true}``
            for what each site's data map gives; with a ``value``, that where the map gives none.
    """
    # Read once as JavaScript would, so that 1.0 in an inputspec opens the step as 1.
    return values.write(values.read(json.dumps({"inputs": inputs}), what="the input"))


@lru_cache(maxsize=4096)
def _state(base: str, output: str, cache: str, transfer: str, client: str) -> bytes:
    """The state up to the number of the iteration: the same for all calls of a seat."""
    state = {
        "baseDirectory": base,
        "outputDirectory": output,
        "cacheDirectory": cache,
        "transferDirectory": transfer,
        "clientId": client,
        "iteration": 0,
    }
    return values.write(state).removesuffix(b"0}")


def _opens(ticket: Ticket) -> bool:
    return ticket.iteration == 1 and ticket.role is Role.SITE


def _value(ticket: Ticket, name: str, entry: Mapping[str, Any], desk: Desk) -> bytes:
    if "fromCache" in entry:
        return _from_cache(entry["fromCache"], desk)
    if entry.get("site"):
        return _mapped(ticket, name, entry, desk)
    return values.write(entry["value"])


def _mapped(ticket: Ticket, name: str, entry: Mapping[str, Any], desk: Desk) -> bytes:
    """What the site's own data map gives to an input."""
    given = {} if desk.inputs is None else desk.inputs
    if name in given:
        # Read once as JavaScript would, as the submitter's values were.
        return values.write(values.read(json.dumps(given[name]), what=f"the data map's {name!r}"))
    if "value" in entry:
        return values.write(entry["value"])
    # The site gives nothing to this computation: a run may go on without it, as where its rules say so.
    raise JobRefused(
        f"{ticket.algorithm.name!r} takes {name!r} from each site, and {desk.seat} has not mapped it. "
        f"At that node: atoll node map {shlex.quote(ticket.algorithm.name)} --input {shlex.quote(f'{name}=VALUE')}, "
        "with the value as JSON"
    )


def _from_cache(reference: Mapping[str, Any], desk: Desk) -> bytes:
    step, variable = reference["step"], reference["variable"]
    output = json.loads(desk.outputs.get(step, b"null"))
    if not isinstance(output, dict) or variable not in output:
        there = ", ".join(output) if isinstance(output, dict) and output else "nothing"
        raise InputMissing(
            f"fromCache asks for {variable!r} of step {step}, whose output has no such variable "
            f"(it has {there}). Check the names in inputspec-pipeline.json"
        )
    return values.write(output[variable])


def _named(value: Any) -> Sequence[Any]:
    """The files that an output names: one, a list, or the first cells of a table's rows.

    A preprocessing step gives its subjects' files as covariates: ``[[[head, row, ...]], ...]``.
    """
    if not isinstance(value, list):
        return [value]
    table = value[0][0] if value and isinstance(value[0], list) and value[0] else None
    if not isinstance(table, list):
        return value
    return [row[0] for row in table[1:] if isinstance(row, list) and row]


def _within(name: str, desk: Desk) -> str:
    """A file's or folder's name in the output folder; empty for that folder itself."""
    folder = desk.inside(Folder.OUTPUT)
    name = posixpath.normpath(name)
    if name == folder or name.startswith(f"{folder}/"):
        name = posixpath.relpath(name, folder)
    return "" if name == "." else name


def _object(items: Sequence[tuple[str, bytes]]) -> list[bytes]:
    """The pieces of a JSON object whose values are JSON text already."""
    pieces = [b"{"]
    for number, (key, text) in enumerate(items):
        pieces += (b"," if number else b"", values.write(key), b":", text)
    pieces.append(b"}")
    return pieces


def _failed(command: Sequence[str], reply: Reply) -> str:
    how = f"exit status {reply.exit_code}" if reply.exit_code > 0 else f"signal {-reply.exit_code}"
    tail = reply.log_tail.strip()
    ending = f"The end of its standard error:\n{tail}" if tail else "It wrote nothing to standard error"
    return f"{' '.join(command) or 'What the image starts'} ended with {how}. {ending}"
