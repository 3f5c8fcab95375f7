"""The federation.yaml of a simulation: its sites, their databases, what they set for algorithms."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from atoll.model.errors import SpecInvalid
from atoll.model.work import Seat
from atoll.node.offer import Offer, Source
from atoll.simulator.sources import read

#: Types of databases, and what each is: a file, a folder, an address, or either of the last two.
TYPES = {
    "csv": "file",
    "parquet": "file",
    "excel": "file",
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
    ".sqlite": "sql",
    ".db": "sql",
}
_KEYS = ("uri", "type", "query", "sheet_name", "preprocessing", "env")
#: The key ``<<``, which stands for those of another mapping.
_MERGE = "tag:yaml.org,2002:merge"
#: A site's name is a folder's and a file's, and stands in JSON and on command lines.
_NAME = re.compile(r"[^\W_](?:[\w .-]*[\w-])?\Z")
#: What file systems allow, less what is added to it.
_NAME_BYTES_MAX = 200
#: What a thousand sites say of themselves is a tenth of it.
_VALUES_MAX = 1_000_000
#: Seats that Atoll itself has names for.
_TAKEN = frozenset({"remote", "submitter"})


def read_federation(path: Path) -> dict[Seat, Offer]:
    """What each site of a federation.yaml offers, in its order.

    Raises:
        SpecInvalid: with every fault that was found.
    """
    text = read(
        path,
        "a federation.yaml with the sites and their databases",
        "Name one with --federation, or leave it out to simulate sites without data",
    )
    try:
        document = yaml.load(text, Loader=_OnlyOnce)  # noqa: S506  # It is the safe loader, and stricter.
    except yaml.YAMLError as error:
        raise SpecInvalid(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:  # What looks like a date is none, or a number has thousands of digits.
        raise SpecInvalid(f"{path} can't be read: {error}. Put such a value in quotes") from None
    except RecursionError:
        raise SpecInvalid(f"{path} can't be read: it is nested too deeply") from None
    if _has_too_much(document):
        raise SpecInvalid(f"{path} holds more than {_VALUES_MAX} values: expected sites and their databases")
    faults: list[str] = []
    offers = _sites(document, path, faults)
    if faults:
        raise SpecInvalid(*faults)
    return offers


def _has_too_much(document: Any) -> bool:
    """Whether a document is very large once what is shared in it is written out, as JSON writes it."""
    waiting, count = [document], 0
    while waiting and count <= _VALUES_MAX:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set):
            waiting.extend(value)
    return count > _VALUES_MAX


class _OnlyOnce(yaml.SafeLoader):
    """Refuses a key that comes twice: one of the two would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  # as the library has it
        seen = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            # Lists that hold each other ten times over would take for ever to be written out.
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    "while constructing a mapping", node.start_mark, "a key is no text", key.start_mark
                )
            name = repr(self.construct_object(key, deep=True))
            if name in seen:
                where = key.start_mark
                raise yaml.constructor.ConstructorError(None, None, f"the key {name} comes twice", where)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _sites(document: Any, path: Path, faults: list[str]) -> dict[Seat, Offer]:
    sites = document.get("sites") if isinstance(document, dict) else None
    if not isinstance(sites, dict) or not sites:
        faults.append(
            f"{path} names no sites: expected 'sites:' and below it each site's name with its databases"
        )
        return {}
    _only(document, ("sites",), str(path), faults)
    offers: dict[Seat, Offer] = {}
    for name, described in sites.items():
        where = f"{path}: site {name!r}"
        if not isinstance(name, str) or not _is_name(name):
            faults.append(
                f"{where} can't have this name: expected letters, digits, spaces, '.', '_' and '-', at most "
                f"{_NAME_BYTES_MAX} bytes of them, beginning with a letter or a digit and not ending with a space "
                "or '.', and neither 'remote' nor 'submitter'. Put a number in quotes"
            )
            continue
        offers[Seat(name)] = _offer(described, path.parent, where, faults)
    return offers


def _offer(described: Any, folder: Path, where: str, faults: list[str]) -> Offer:
    described = {} if described is None else described
    if not isinstance(described, dict):
        faults.append(f"{where} is {_kind(described)}: expected 'databases:' and, if need be, 'env:'")
        return Offer()
    _only(described, ("databases", "env"), where, faults)
    databases = described.get("databases")
    databases = {} if databases is None else databases
    if not isinstance(databases, dict):
        faults.append(f"{where}: its databases are {_kind(databases)}: expected labels, each with a uri")
        databases = {}
    sources: dict[str, Source] = {}
    for label, database in databases.items():
        at = f"{where}, database {label!r}"
        if not isinstance(label, str) or not label or "=" in label or not _is_plain(label):
            faults.append(f"{at} can't have this label: expected text without '='. Put a number in quotes")
            continue
        source = _source(database, folder, at, faults)
        if source is not None:
            sources[label] = source
    return Offer(databases=sources, environment=_environment(described.get("env"), where, faults))


def _source(database: Any, folder: Path, where: str, faults: list[str]) -> Source | None:
    if isinstance(database, str):
        database = {"uri": database}
    if not isinstance(database, dict) or not isinstance(database.get("uri"), str):
        faults.append(f"{where} has no uri: expected for example {{uri: patients.csv, type: csv}}")
        return None
    _only(database, _KEYS, where, faults)
    uri = database["uri"]
    kind = database.get("type", _ENDINGS.get(Path(uri).suffix.lower()))
    if kind is None:
        kind = "folder" if os.path.isdir(folder / uri) else "csv"
    if not isinstance(kind, str) or kind not in TYPES:
        faults.append(f"{where} has the type {kind!r}: expected one of {', '.join(TYPES)}")
        return None
    options = {key: database[key] for key in ("query", "sheet_name", "preprocessing") if key in database}
    parameters = _environment(database.get("env"), where, faults)
    if parameters:
        options["env"] = parameters
    if "://" in uri or (TYPES[kind] in ("address", "any") and uri.partition(":")[0].isalpha() and ":" in uri):
        return Source(type=kind, url=uri, options=options)
    path = folder / uri
    if not os.path.exists(path):  # also where there can be no file of such a name
        faults.append(
            f"{where}: {path} is not there. Paths are relative to the folder of the federation.yaml"
        )
        return None
    if (TYPES[kind] == "folder") != path.is_dir() and TYPES[kind] != "any":
        faults.append(
            f"{where}: {path} is {'a folder' if path.is_dir() else 'no folder'}, and its type is {kind}"
        )
        return None
    return Source(type=kind, path=path.resolve(), options=options)


def _environment(described: Any, where: str, faults: list[str]) -> Mapping[str, str]:
    if described is None:
        return {}
    if not isinstance(described, dict):
        faults.append(f"{where}: its env is {_kind(described)}: expected names and values")
        return {}
    variables: dict[str, str] = {}
    for name, value in described.items():
        if not isinstance(name, str) or not name or "=" in name or not _is_plain(name):
            faults.append(f"{where}: {name!r} can't be the name of a variable")
        elif isinstance(value, str) and not _is_plain(value):
            faults.append(f"{where}: the variable {name} holds what no variable can, such as a zero byte")
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            faults.append(f"{where}: the variable {name} is {_kind(value)}: expected text; put it in quotes")
        else:
            variables[name] = str(value)
    return variables


def _only(document: Mapping[Any, Any], known: tuple[str, ...], where: str, faults: list[str]) -> None:
    for key in document:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Expected {', '.join(known)}."
            faults.append(f"{where}: nothing is known of {key!r}.{hint}")


def _is_name(name: str) -> bool:
    return bool(_NAME.match(name)) and name not in _TAKEN and len(name.encode()) <= _NAME_BYTES_MAX


def _is_plain(text: str) -> bool:
    """Whether a text can be passed on to a process."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half a pair of surrogates
        return False


def _kind(value: Any) -> str:
    names = {list: "a list", dict: "a mapping", bool: "true or false", type(None): "nothing", str: "text"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "a date")
