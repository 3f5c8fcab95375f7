"""The variables that a vantage6 algorithm is called with.

Its wrapper decodes *every* variable of its process before the algorithm runs, and takes what
happens to be legal base32 for encoded: eight upper-case letters become five bytes of something
else. So everything that is set here is encoded, but for what is read before the wrapper is there,
and that is encoded only where the wrapper would change it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from atoll.engine.ports import Database
from atoll.model.errors import InputMissing

#: Where the module is that the wrapper imports. It is read as it is, before anything is decoded,
#: and belongs to the algorithm: no site may set it.
PACKAGE = "PKG_NAME"
#: What the system, the interpreter or a numeric library reads when it starts.
_READ_EARLY = frozenset({"PATH", "HOME", "TMPDIR", "TZ", "LANG"})
_READ_EARLY_BEGIN = ("LC_", "LD_", "PYTHON", "OPENBLAS_", "OMP_", "MKL_", "NUMEXPR_", "CUDA_", "NVIDIA_")
#: What a request for a database may say beside its label.
_READER_OPTIONS = ("query", "sheet_name", "preprocessing")


def encode(value: str) -> str:
    """A value as a wrapper's decoder gives it back."""
    return base64.b32encode(value.encode()).decode().replace("=", "!")


def survives(value: str) -> bool:
    """Whether a wrapper's decoder leaves a value that isn't encoded as it is."""
    try:
        return base64.b32decode(value.replace("!", "=").encode()) == value.encode()
    except binascii.Error:
        return True


def guarded(inherited: Mapping[str, str]) -> dict[str, str]:
    """What has to be set so that a wrapper's decoder leaves an inherited environment as it is."""
    return {name: encode(value) for name, value in inherited.items() if not survives(value)}


def generation_4(
    *,
    folder: str,
    temporary: str,
    address: tuple[str, int] | None,
    databases: Mapping[str, Database],
    requested: Sequence[Mapping[str, Any]],
    site: Mapping[str, str],
) -> dict[str, str]:
    """The variables of a call of generation 4.

    Args:
        folder: where the input, output and token files are.
        temporary: a folder of the algorithm's own.
        address: where the algorithm reaches its node.
        databases: what the site offers, in its order.
        requested: what the call asked for, in its order: labels, with what their readers need.
        site: what the site sets for algorithms. It goes before all else.

    Raises:
        InputMissing: the system can't hold such a variable.
    """
    variables = {
        "INPUT_FILE": f"{folder}/input",
        "OUTPUT_FILE": f"{folder}/output",
        "TOKEN_FILE": f"{folder}/token",
        "TEMPORARY_FOLDER": temporary,
        **_door(address),
        "USER_REQUESTED_DATABASE_LABELS": ",".join(one["label"] for one in requested),
        "DB_LABELS": ",".join(databases),
    }
    _check_labels(databases)
    for one in requested:
        given = {**databases[one["label"]].options, **_without_nothing(one)}
        for option in _READER_OPTIONS:
            if given.get(option) is not None:
                variables[f"{one['label'].upper()}_{option.upper()}"] = _text(given[option])
    for label, database in databases.items():
        variables[f"{label.upper()}_DATABASE_URI"] = _uri(database)
        variables[f"{label.upper()}_DATABASE_TYPE"] = database.type
        variables |= _parameters(f"{label.upper()}_DB_PARAM_", database)
    return _finished({**variables, **_settable(site)})


def generation_5(
    *,
    folder: str,
    workbench: str,
    address: tuple[str, int] | None,
    facts: Mapping[str, str],
    dataframes: Sequence[Sequence[str]] = (),
    database: Database | None = None,
    token: str | None = None,
    site: Mapping[str, str],
) -> dict[str, str]:
    """The variables of a call of generation 5.

    Args:
        folder: where the input and output files are.
        workbench: where the dataframes are.
        address: where the algorithm reaches its node.
        facts: the function, its action, and the numbers of what is called where.
        dataframes: the names that the call asked for, in groups: one for each argument.
        database: what a data extraction reads. No other action is told of databases.
        token: what a central function speaks to its node with. No other action has one.
        site: what the site sets for algorithms, where nothing of that name is set already.

    Raises:
        InputMissing: the system can't hold such a variable.
    """
    variables = {
        "INPUT_FILE": f"{folder}/input",
        "OUTPUT_FILE": f"{folder}/output",
        "SESSION_FOLDER": workbench,
        "SESSION_FILE": f"{workbench}/session_state.parquet",
        **_door(address),
        **facts,
    }
    plain = {}
    if database is None:
        variables["USER_REQUESTED_DATAFRAMES"] = ";".join(",".join(group) for group in dataframes)
    else:
        variables |= {"DATABASE_URI": _uri(database), "DATABASE_TYPE": database.type}
        plain = _parameters("DB_PARAM_", database)
    if token is not None:
        plain["CONTAINER_TOKEN"] = token
    taken = variables.keys() | plain.keys()
    theirs = {name: value for name, value in _settable(site).items() if not {name, name.upper()} & taken}
    return _finished({**theirs, **variables, **plain}, plain)


def _door(address: tuple[str, int] | None) -> dict[str, str]:
    if address is None:
        return {}
    return {"HOST": f"http://{address[0]}", "PORT": str(address[1]), "API_PATH": ""}


def _uri(database: Database) -> str:
    """Where the data are. Readers take a path for SQLite only where it ends in ``.sqlite``."""
    if database.type == "sql" and database.uri.startswith("/") and not database.uri.endswith(".sqlite"):
        return f"sqlite:///{database.uri}"
    return database.uri


def _parameters(prefix: str, database: Database) -> dict[str, str]:
    """What a site sets for one database: users, schemas, passwords."""
    return {f"{prefix}{key.upper()}": str(value) for key, value in database.options.get("env", {}).items()}


def _settable(site: Mapping[str, str]) -> dict[str, str]:
    return {name: str(value) for name, value in site.items() if name != PACKAGE}


def _without_nothing(request: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if value is not None}


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _check_labels(databases: Mapping[str, Database]) -> None:
    """Variables are named by labels in capitals: two that are then the same would be one."""
    labels: dict[str, str] = {}
    for label in databases:
        twin = labels.setdefault(label.upper(), label)
        if twin != label:
            raise InputMissing(
                f"this site's databases {twin!r} and {label!r} are the same to a vantage6 algorithm, which "
                "reads labels in capitals. Name one of them otherwise"
            )
        if "," in label:
            raise InputMissing(
                f"this site's database {label!r} can't be told to a vantage6 algorithm, which takes a comma "
                "for the end of a label. Name it otherwise"
            )


def _finished(variables: Mapping[str, str], plain: Collection[str] = ()) -> dict[str, str]:
    """The variables as a process gets them.

    Those that the contract has plain, and those that are read before anything decodes them, are
    encoded only where they must be.
    """
    finished = {}
    for name, value in variables.items():
        _check(name, value)
        early = name in plain or name in _READ_EARLY or name.startswith(_READ_EARLY_BEGIN)
        finished[name] = value if early and survives(value) and "\0" not in value else encode(value)
    return finished


def _check(name: str, value: str) -> None:
    try:
        name.encode()
        value.encode()
    except UnicodeEncodeError as error:
        raise InputMissing(
            f"the variable {name!r} can't be set for the algorithm: it, or its value, is not UTF-8"
        ) from error
    if not name or "=" in name or "\0" in name:
        raise InputMissing(
            f"the variable {name!r} can't be set for the algorithm: expected a name without '='. It comes "
            "from a database's label, or from what this site sets for algorithms"
        )
