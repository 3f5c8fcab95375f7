"""How a site says what it offers: databases under labels, and variables for algorithms.

A simulation's federation.yaml and a node's node.yaml say it in the same words. Every fault is
noted with its place; nothing is read from a database here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atoll.model.errors import SpecInvalid
from atoll.node.documents import is_plain, kind, only
from atoll.node.offer import Offer, Source
from atoll.node.secrets import read_secret

#: Types of databases, and what each is: a file, a folder, an address, or either of the last two.
TYPES = {
    "csv": "file",
    "parquet": "file",
    "excel": "file",
    "duckdb": "file",
    "sql": "address",
    "sparql": "address",
    "omop": "address",
    "folder": "folder",
    "other": "any",
}
#: Types by the ending of a file, where none is given.
_ENDINGS = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".xls": "excel",
    ".xlsx": "excel",
    ".duckdb": "duckdb",
    ".sqlite": "sql",
    ".db": "sql",
}
_KEYS = ("uri", "type", "query", "sheet_name", "preprocessing", "env")


class Reader:
    """Reads what sites offer, and notes what is wrong with it.

    Args:
        folder: what paths are relative to.
        origin: the name of the document that is read, for sentences.
        secrets: whether a value may be ``{file: PATH}``: what is in that file.
    """

    def __init__(self, folder: Path, origin: str, *, secrets: bool = False) -> None:
        self._folder = folder
        self._origin = origin
        self._secrets = secrets
        self.faults: list[str] = []

    def offer(self, described: Mapping[Any, Any], where: str) -> Offer:
        """What a site offers, from its ``databases`` and its ``env``."""
        return Offer(
            databases=self._databases(described.get("databases"), where),
            environment=self.variables(described.get("env"), where),
        )

    def variables(self, described: Any, where: str) -> dict[str, str]:
        """Names and values of variables."""
        if described is None:
            return {}
        if not isinstance(described, dict):
            self.faults.append(f"{where}: its env is {kind(described)}: expected names and values")
            return {}
        variables: dict[str, str] = {}
        for name, given in described.items():
            value = self._revealed(given, f"{where}: the variable {name}")
            if value is _UNREADABLE:
                continue
            if not isinstance(name, str) or not name or "=" in name or not is_plain(name):
                self.faults.append(f"{where}: {name!r} can't be the name of a variable")
            elif isinstance(value, str) and not is_plain(value):
                self.faults.append(
                    f"{where}: the variable {name} holds what no variable can, such as a zero byte"
                )
            elif isinstance(value, bool) or not isinstance(value, str | int | float):
                self.faults.append(
                    f"{where}: the variable {name} is {kind(value)}: expected text; put it in quotes"
                )
            else:
                variables[name] = str(value)
        return variables

    def _databases(self, described: Any, where: str) -> dict[str, Source]:
        databases = {} if described is None else described
        if not isinstance(databases, dict):
            self.faults.append(
                f"{where}: its databases are {kind(databases)}: expected labels, each with a uri"
            )
            databases = {}
        sources: dict[str, Source] = {}
        for label, database in databases.items():
            at = f"{where}, database {label!r}" if where else f"database {label!r}"
            if not isinstance(label, str) or not label or "=" in label or not is_plain(label):
                self.faults.append(
                    f"{at} can't have this label: expected text without '='. Put a number in quotes"
                )
                continue
            source = self._source(database, at)
            if source is not None:
                sources[label] = source
        return sources

    def _source(self, database: Any, where: str) -> Source | None:
        if isinstance(database, str):
            database = {"uri": database}
        uri = self._revealed(database.get("uri"), where) if isinstance(database, dict) else None
        if uri is _UNREADABLE:
            return None
        if not isinstance(database, dict) or not isinstance(uri, str):
            self.faults.append(f"{where} has no uri: expected for example {{uri: patients.csv, type: csv}}")
            return None
        only(database, _KEYS, where, self.faults)
        type_ = database.get("type", _ENDINGS.get(Path(uri).suffix.lower()))
        if type_ is None:
            type_ = "folder" if os.path.isdir(self._folder / uri) else "csv"
        if not isinstance(type_, str) or type_ not in TYPES:
            self.faults.append(f"{where} has the type {type_!r}: expected one of {', '.join(TYPES)}")
            return None
        options = {key: database[key] for key in ("query", "sheet_name", "preprocessing") if key in database}
        parameters = self.variables(database.get("env"), where)
        if parameters:
            options["env"] = parameters
        if "://" in uri or (
            TYPES[type_] in ("address", "any") and uri.partition(":")[0].isalpha() and ":" in uri
        ):
            return Source(type=type_, url=uri, options=options)
        if not isinstance(database["uri"], str):  # Whatever it is, it is not told.
            self.faults.append(
                f"{where}: what is in the file of its uri is no address, such as postgresql://…"
            )
            return None
        return self._file(uri, type_, options, where)

    def _file(self, uri: str, type_: str, options: Mapping[str, Any], where: str) -> Source | None:
        path = self._folder / uri
        if not os.path.exists(path):  # also where there can be no file of such a name
            self.faults.append(
                f"{where}: {path} is not there. Paths are relative to the folder of the {self._origin}"
            )
            return None
        if (TYPES[type_] == "folder") != path.is_dir() and TYPES[type_] != "any":
            self.faults.append(
                f"{where}: {path} is {'a folder' if path.is_dir() else 'no folder'}, and its type is {type_}"
            )
            return None
        return Source(type=type_, path=path.resolve(), options=options)

    def _revealed(self, value: Any, where: str) -> Any:
        """A value as it is; what is in the file that it names, where secrets may lie in files."""
        if not (self._secrets and isinstance(value, dict) and set(value) == {"file"}):
            return value
        try:
            return read_secret(self._folder / str(value["file"]))
        except SpecInvalid as error:
            self.faults.append(f"{where}: {error}")
            return _UNREADABLE


#: Stands for a secret that can't be read, which has been told.
_UNREADABLE = object()
