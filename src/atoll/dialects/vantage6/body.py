r"""What a message to a vantage6 call holds.

A line of JSON says which function is called and with which data; the arguments stand behind it,
as the bytes that whoever asked has written. So a large argument is passed on without being read,
and what one language writes another gets to the letter.

::

    {"generation": 4, "method": "partial", "databases": [{"label": "default"}]}\n
    {"method": "partial", "kwargs": {"column": "age"}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from atoll.dialects.vantage6.built_in import PACKAGES
from atoll.model.errors import InputMissing, SpecInvalid

#: What can't be in a dataframe's name: the signs between names in a variable, and in a path.
_NOT_IN_A_NAME = frozenset(",;/\\\0")
#: A file of the workbench that is no dataframe.
_STATE = "session_state"


class Action(Enum):
    """What a function of generation 5 does, as its decorator says."""

    DATA_EXTRACTION = "data_extraction"
    PREPROCESSING = "preprocessing"
    FEDERATED_COMPUTE = "federated_compute"
    CENTRAL_COMPUTE = "central_compute"
    POSTPROCESSING = "postprocessing"  #: of which no published package has a decorator

    @property
    def makes_data(self) -> bool:
        """Whether it leaves a dataframe at the site, and tells nobody but its columns."""
        return self in (Action.DATA_EXTRACTION, Action.PREPROCESSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a call is asked.

    Raises:
        SpecInvalid: a name can't be one.
    """

    generation: int
    #: The function. Empty in a data extraction: the reader for the type of the site's database.
    method: str
    #: JSON. Generation 4: the whole input, with the method. Generation 5: arguments by name.
    arguments: bytes
    #: Generation 4: labels, each with what its reader needs. None: the site's first.
    databases: tuple[Mapping[str, Any], ...] | None = None
    #: Generation 5.
    action: Action | None = None
    #: Generation 5: names in groups, one group for each argument. None: the site's first dataframe.
    dataframes: tuple[tuple[str, ...], ...] | None = None
    #: Generation 5: the database that a data extraction reads. None: the site's first.
    database: str | None = None
    #: Generation 5: the name of what the call makes. None: that of what it reads.
    dataframe: str | None = None
    #: One of `PACKAGES`, where the function comes with generation 5. None: the algorithm's own.
    package: str | None = None

    def __post_init__(self) -> None:
        # A site agrees to an algorithm. Nobody may call another module's functions in its name.
        makes_data = self.action is not None and self.action.makes_data
        if self.package is not None and (self.package not in PACKAGES or not makes_data):
            raise SpecInvalid(
                f"a function of {self.package} can't be called: expected one of the algorithm's own, or in a "
                f"data step of generation 5 one of {', '.join(sorted(PACKAGES))}"
            )
        named = [name for group in self.dataframes or () for name in group]
        for name in (*named, *([] if self.dataframe is None else [self.dataframe])):
            check_dataframe(name)
        for one in self.databases or ():
            if not isinstance(one, dict) or not isinstance(one.get("label"), str):
                raise SpecInvalid(f'a database is asked for as {one!r}: expected {{"label": its label}}')

    def written(self) -> bytes:
        """The body of the message."""
        head = {
            "generation": self.generation,
            "method": self.method,
            "databases": self.databases,
            "action": self.action and self.action.value,
            "dataframes": self.dataframes,
            "database": self.database,
            "dataframe": self.dataframe,
            "package": self.package,
        }
        text = json.dumps({name: value for name, value in head.items() if value is not None})
        return b"%s\n%s" % (text.encode(), self.arguments)

    def told(self) -> bytes:
        """The call on one line of JSON, for the record of a run."""
        arguments = self.arguments
        if b"\n" in arguments or b"\r" in arguments:
            arguments = json.dumps(json.loads(arguments)).encode()
        head = replace(self, arguments=b"").written().strip()
        return b'%s,"input":%s}' % (head.removesuffix(b"}"), arguments)


def read(body: bytes) -> Call:
    """The call that a body asks for.

    Raises:
        InputMissing: it isn't one.
        SpecInvalid: a name can't be one.
    """
    head, _, arguments = body.partition(b"\n")
    try:
        return _call(json.loads(head), arguments)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputMissing(
            "the message that asks for this call is not one that a vantage6 algorithm can be called with: "
            f"{type(error).__name__} while it was read"
        ) from error


def _call(said: dict[str, Any], arguments: bytes) -> Call:
    action, databases, dataframes = said.get("action"), said.get("databases"), said.get("dataframes")
    return Call(
        generation=said["generation"],
        method=said["method"],
        arguments=arguments,
        databases=None if databases is None else tuple(databases),
        action=None if action is None else Action(action),
        dataframes=None if dataframes is None else tuple(map(tuple, dataframes)),
        database=said.get("database"),
        dataframe=said.get("dataframe"),
        package=said.get("package"),
    )


def opening_body_4(
    method: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    databases: Sequence[str | Mapping[str, Any]] | None = None,
) -> bytes:
    """What a submitter tells a site to call a function of generation 4.

    Args:
        method: the function's name.
        args: arguments by place, as JSON values.
        kwargs: arguments by name.
        databases: labels, or labels with what their readers need: ``{"label", "query"?,
            "sheet_name"?, "preprocessing"?}``. None: each site's first.

    Raises:
        SpecInvalid: a database is asked for in another way.
    """
    document = {"method": method, "args": list(args), "kwargs": dict(kwargs or {})}
    asked = [{"label": one} if isinstance(one, str) else dict(one) for one in databases or ()]
    return Call(
        generation=4,
        method=method,
        arguments=json.dumps(document).encode(),
        databases=None if databases is None else tuple(asked),
    ).written()


def opening_body_5(
    action: Action,
    method: str = "",
    arguments: Mapping[str, Any] | None = None,
    *,
    dataframes: Sequence[str | Sequence[str]] | None = None,
    database: str | None = None,
    dataframe: str | None = None,
    package: str | None = None,
) -> bytes:
    """What a submitter tells a site to call a function of generation 5.

    Args:
        action: what the function does. Its decorator says it.
        method: the function's name. Empty: the reader for the type of each site's database.
        arguments: by name, as JSON values.
        dataframes: one name, or a group of names, for each that the function takes. None: the
            first of each site.
        database: what a data extraction reads. None: the first of each site.
        dataframe: the name of what a data extraction or preprocessing makes. None: that of what
            it reads.
        package: one of `PACKAGES`, where the function comes with generation 5. None: the algorithm's own.

    Raises:
        SpecInvalid: a dataframe can't have such a name, or there is no function to call.
    """
    if not method and action is not Action.DATA_EXTRACTION:
        raise SpecInvalid(f"a call for {action.value} names no function: only data can be read without one")
    groups = [(one,) if isinstance(one, str) else tuple(one) for one in dataframes or ()]
    return Call(
        generation=5,
        method=method,
        arguments=json.dumps(dict(arguments or {})).encode(),
        action=action,
        dataframes=None if dataframes is None else tuple(groups),
        database=database,
        dataframe=dataframe,
        package=package,
    ).written()


def check_dataframe(name: Any) -> None:
    """Refuse what can't be a dataframe's name.

    Raises:
        SpecInvalid: with the name and what is wrong with it.
    """
    if not isinstance(name, str) or not name or name.startswith(".") or name == _STATE:
        raise SpecInvalid(f"a dataframe can't be named {name!r}: expected a word of its own")
    if found := _NOT_IN_A_NAME & set(name):
        raise SpecInvalid(f"a dataframe can't be named {name!r}: {min(found)!r} has another meaning there")
