"""How an algorithm of vantage6 is called, and how it answers.

A call is a process of its own. What it is asked lies in a file, what surrounds it in variables;
it leaves its answer in another file, and asks for tasks of its own over HTTP. Both generations
work so. They differ in where things are, and in how data come in:

* generation 4 is told of all databases of the site, and reads those that it was asked for;
* generation 5 extracts data first, prepares them, and computes on dataframes. These stay at the
  site's workbench. Only the names and types of their columns are told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from atoll.dialects.vantage6 import body, environment, failing, identity, token
from atoll.dialects.vantage6.body import Action, Call
from atoll.dialects.vantage6.built_in import default_extraction
from atoll.dialects.vantage6.rest import Door
from atoll.dialects.vantage6.wrapping import COLUMNS, WRAPPER, completed, is_wrapper
from atoll.engine.gate import Gate
from atoll.engine.limits import LOG_TAIL_BYTES
from atoll.engine.ports import Answer, Database, Desk, Folder, Place
from atoll.engine.running import Reply, Request, Style, whole
from atoll.model.errors import AlgorithmFailed, InputMissing, ReplyInvalid
from atoll.model.work import Content, Seat, Ticket

#: How a file of tables in the format of Parquet begins, and ends.
_PARQUET = b"PAR1"
#: What is told of a dataframe, by its keys.
_TOLD = ["columns", "dataframe", "version"]
#: Where a desk remembers between request and answer what was called.
_REMEMBERED = "call "


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """How one algorithm is called."""

    #: 4 or 5.
    generation: int
    #: The importable package that holds its functions. Empty where they are in another language.
    package: str = ""
    #: What its image starts.
    command: tuple[str, ...] = WRAPPER
    #: What calls inherit from their node: what the wrapper would change of it is guarded.
    inherited: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.generation not in (4, 5):
            raise ValueError(f"there is no generation {self.generation} of vantage6")

    def launch(self, ticket: Ticket) -> tuple[Style, tuple[str, ...]]:
        """The same command for every role."""
        if is_wrapper(self.command):
            return Style.CALL, completed(self.command, self.generation)
        return Style.CALL, self.command

    def targets(self, seat: Seat) -> Mapping[Folder, str]:
        """The paths that vantage6's containers have."""
        if self.generation == 4:
            return {Folder.JOB: "/mnt/data"}
        return {Folder.JOB: "/app/vantage6/task", Folder.WORKBENCH: "/app/vantage6/task/session"}

    def place(self, ticket: Ticket, sender: Seat, name: str) -> Place:
        """Algorithms of vantage6 send no files. What came with a message lies by its sender."""
        return Place(folder=Folder.BASE, name=f"{sender}/{name}")

    def carried(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> Sequence[str]:
        """Nothing: no call names files of an earlier step."""
        return ()

    def compose(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> Request:
        """Write the input, and the token of generation 4, and put the variables together."""
        call = self._read(bodies)
        variables = dict(environment.guarded(self.inherited))
        if self.generation == 4:
            variables |= self._compose_4(ticket, call, desk)
        else:
            call = _settled(call, desk)
            variables |= self._compose_5(ticket, call, desk)
        if package := call.package or self.package:
            variables[environment.PACKAGE] = package
        desk.cache[f"{_REMEMBERED}{ticket.job.id}"] = replace(call, arguments=b"").written()
        return Request(environment=variables, told=call.told())

    def door(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk, gate: Gate) -> Door | None:
        """REST, for what has a token: every function of generation 4, central ones of generation 5."""
        call = self._read(bodies)
        if self.generation == 5 and call.action is not Action.CENTRAL_COMPUTE:
            return None
        claimed = self._claimed(call, desk)
        issued = token.issue(ticket, generation=self.generation, secret=desk.token, databases=claimed)
        return Door(gate, call=call, token=issued, databases=claimed)

    def parse(self, ticket: Ticket, reply: Reply, desk: Desk) -> Answer:
        """The output as the algorithm wrote it; of a data step, the columns that it left."""
        call = body.read(desk.cache.pop(f"{_REMEMBERED}{ticket.job.id}"))
        if reply.exit_code:
            raise AlgorithmFailed(
                failing.why(
                    reply.exit_code,
                    function=call.method,
                    package=call.package or self.package,
                    log=reply.log_tail,
                    printed=whole(reply.output)[-LOG_TAIL_BYTES:].decode("utf-8", "replace"),
                )
            )
        if call.action is not None and call.action.makes_data:
            return self._parse_table(ticket, call, desk)
        output = desk.read(Folder.JOB, f"{self._folder(ticket)}output")
        if not output:
            raise ReplyInvalid(
                f"{call.method} ended without an error and left no output: expected JSON in the file that "
                "OUTPUT_FILE names. A function that ends its process leaves nothing"
            )
        _check_json(output, call.method)
        return Answer(body=output, final=True)

    def receive(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> None:
        """Nothing is delivered: what a function returned stays with who asked."""

    def _read(self, bodies: Sequence[Content]) -> Call:
        call = body.read(whole(bodies[0]))
        if call.generation != self.generation:
            raise InputMissing(
                f"generation {call.generation} of vantage6 was asked for, and the algorithm is of "
                f"generation {self.generation}"
            )
        return call

    def _folder(self, ticket: Ticket) -> str:
        """Where the files of a call are, in the job's folder: empty, or ending in a slash."""
        return f"task-{ticket.job.ordinal:09d}/" if self.generation == 4 else ""

    def _claimed(self, call: Call, desk: Desk) -> list[Any]:
        """The data that a call was asked for, as its token says it."""
        if self.generation == 4:
            return list(_requested(call, desk))
        known = _known(desk)
        return [
            [
                {"label": name, "type": "dataframe", "dataframe_id": known.index(name) + 1}
                for name in group
                if name in known
            ]
            for group in _groups(call, desk)
        ]

    def _compose_4(self, ticket: Ticket, call: Call, desk: Desk) -> dict[str, str]:
        folder = self._folder(ticket)
        requested = _requested(call, desk)
        for one in requested:
            _database(one["label"], desk)
        desk.write(Folder.JOB, f"{folder}input", call.arguments)
        issued = token.issue(ticket, generation=4, secret=desk.token, databases=requested)
        desk.write(Folder.JOB, f"{folder}token", issued.encode())
        return environment.generation_4(
            folder=f"{desk.inside(Folder.JOB)}/{folder.rstrip('/')}",
            temporary=desk.inside(Folder.TEMPORARY),
            address=desk.address,
            databases=desk.databases,
            requested=requested,
            site=desk.environment,
        )

    def _compose_5(self, ticket: Ticket, call: Call, desk: Desk) -> dict[str, str]:
        assert call.action is not None  # `_read` has seen that it is a call of this generation.
        desk.write(Folder.JOB, "input", call.arguments)
        here = str(identity.organization_of(ticket, ticket.job.seat))
        facts = {
            "ALGORITHM_METHOD": call.method,
            "FUNCTION_ACTION": call.action.value,
            "TASK_ID": str(identity.task_of(ticket.job.round_number)),
            "NODE_ID": here,
            "ORGANIZATION_ID": here,
            "COLLABORATION_ID": str(identity.COLLABORATION),
        }
        if call.dataframe is not None:
            facts["ATOLL_DATAFRAME"] = call.dataframe
        issued = None
        if call.action is Action.CENTRAL_COMPUTE:
            claimed = self._claimed(call, desk)
            issued = token.issue(ticket, generation=5, secret=desk.token, databases=claimed)
        extracts = call.action is Action.DATA_EXTRACTION
        return environment.generation_5(
            folder=desk.inside(Folder.JOB),
            workbench=desk.inside(Folder.WORKBENCH),
            address=desk.address,
            facts=facts,
            dataframes=call.dataframes or (),
            database=_database(call.database, desk) if extracts else None,
            token=issued,
            site=desk.environment,
        )

    def _parse_table(self, ticket: Ticket, call: Call, desk: Desk) -> Answer:
        """Keep the table that a data step left; its columns are the answer."""
        assert call.dataframe is not None  # `compose` has settled it.
        wrapped = is_wrapper(self.command)
        columns: list[Any] | None = None
        if wrapped:
            columns = _columns(desk.read(Folder.JOB, COLUMNS))
            left = columns is not None
        else:
            output = desk.read(Folder.JOB, "output") or b""
            left = len(output) > 8 and output[:4] == output[-4:] == _PARQUET
        try:
            version = desk.keep(f"{call.dataframe}.parquet", "output") if left else 0
        except FileNotFoundError:
            version = 0  # Whoever wrote the columns has taken the table away.
        if not version:
            raise ReplyInvalid(
                f"{call.method} left unexpected output: expected a table in the format of Parquet in the file that "
                "OUTPUT_FILE names"
            )
        told = json.dumps({"dataframe": call.dataframe, "version": version, "columns": columns}).encode()
        desk.outputs[ticket.step] = told
        warning = "left a table whose columns only its own language can tell"
        return Answer(body=told, final=True, warnings=() if wrapped else (warning,))


def _settled(call: Call, desk: Desk) -> Call:
    """A call of generation 5, with what this site decides where nobody else did."""
    if call.action is Action.DATA_EXTRACTION:
        database = _database(call.database, desk)
        if not call.method:
            given = json.loads(call.arguments) or {}
            offered = replace(database, options={**database.options, **given})
            package, method, arguments = default_extraction(offered)
            text = json.dumps({**arguments, **given}).encode()
            call = replace(call, package=package, method=method, arguments=text)
        return replace(call, database=database.label, dataframe=call.dataframe or database.label)
    groups = _groups(call, desk)
    known = _known(desk)
    for name in (name for group in groups for name in group):
        if name not in known:
            raise InputMissing(
                f"this site has no dataframe {name!r}: it has {', '.join(map(repr, known)) or 'none'}. Extract it "
                "in an earlier step"
            )
    if call.action is Action.PREPROCESSING:
        if not groups or not groups[0]:
            raise InputMissing(f"{call.method} prepares a dataframe, and this site has none")
        return replace(call, dataframes=groups, dataframe=call.dataframe or groups[0][0])
    return replace(call, dataframes=groups)


def _requested(call: Call, desk: Desk) -> tuple[Mapping[str, Any], ...]:
    """The databases that a call of generation 4 was asked for."""
    if call.databases is not None:
        return call.databases
    return tuple({"label": label} for label in list(desk.databases)[:1])


def _groups(call: Call, desk: Desk) -> tuple[tuple[str, ...], ...]:
    """The dataframes that a call of generation 5 was asked for."""
    if call.dataframes is not None:
        return call.dataframes
    return tuple((name,) for name in _known(desk)[:1])


def _known(desk: Desk) -> list[str]:
    """The dataframes that earlier steps made at this site, in the order of their first step."""
    left = [json.loads(desk.outputs[step]) for step in sorted(desk.outputs)]
    # Steps of other dialects leave other things.
    made = [one["dataframe"] for one in left if isinstance(one, dict) and sorted(one) == _TOLD]
    return list(dict.fromkeys(made))


def _database(label: str | None, desk: Desk) -> Database:
    """A database of the site; without a label, its first."""
    label = next(iter(desk.databases), None) if label is None else label
    if label is None or label not in desk.databases:
        offered = ", ".join(map(repr, desk.databases)) or "none"
        wanted = "database" if label is None else f"database {label!r}"
        raise InputMissing(f"this site has no {wanted}: it offers {offered}")
    return desk.databases[label]


def _check_json(output: bytes, function: str) -> None:
    """Refuse what no client could read. Python's own words for what is no number are let through."""
    try:
        json.loads(output.decode())
    except (ValueError, RecursionError) as error:
        # The error's text would quote the output.
        raise ReplyInvalid(
            f"{function} left output that is not JSON ({type(error).__name__}): expected a JSON text in UTF-8 in "
            "the file that OUTPUT_FILE names"
        ) from error


def _columns(text: bytes | None) -> list[dict[str, str]] | None:
    """The columns that a data step tells of; None where that is no list of columns."""
    try:
        columns = json.loads(text or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(columns, list):
        return None
    for column in columns:
        if not isinstance(column, dict) or sorted(column) != ["dtype", "name"]:
            return None
        if not all(isinstance(value, str) for value in column.values()):
            return None
    return columns
