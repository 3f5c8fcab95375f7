"""What a spec's types and attributes say about a value.

The original shows these rules in its forms and checks none of them when it runs. So nothing
here refuses a value: a broken rule is something to tell, and the value is passed on as it is.
Cells and row names of a table are a site's data: words say what kind a cell is, never what it
holds, and the path is there to find a line with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from atoll.dialects.coinstac.document import Json, JsonPath, found, kind, short
from atoll.dialects.coinstac.spec import InputVariable

#: How far a number may lie beside a step and still count as on it, as a part of the step.
#: Steps such as 0.05 have no exact binary form, and a form adds them up.
STEP_TOLERANCE = 1e-6

#: Kinds of entries and cells that ``items`` can name, with their words. Other names say what
#: files are about (FreeSurfer, NiFTI) and not what a value looks like.
_KINDS = {
    "number": "a number",
    "float": "a number",
    "integer": "a whole number",
    "string": "a text",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
}


#: The kinds that a cell's type in Python shows by itself.
_TYPES = (
    ("number", int),
    ("number", float),
    ("float", int),
    ("float", float),
    ("string", str),
    ("boolean", bool),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A rule that a value breaks."""

    #: The attribute of the variable that is the rule.
    rule: str
    #: What was expected and found.
    words: str
    #: Where in the value.
    path: JsonPath = ()
    #: How often the rule is broken in this value.
    count: int = 1


def breaches(variable: InputVariable, value: Json) -> tuple[Breach, ...]:
    """The rules that a value breaks: each rule once, with its first place and how often."""
    check = _CHECKS.get(variable.type or "")
    first: dict[str, Breach] = {}
    for breach in check(variable, value) if check else ():
        before = first.get(breach.rule)
        first[breach.rule] = replace(before, count=before.count + 1) if before else breach
    return tuple(first.values())


def file_names(variable: InputVariable, value: Json) -> tuple[str, ...]:
    """The files in a site's folder that a value names; none where the type doesn't name files."""
    if variable.type in ("files", "directory"):
        return tuple(_texts(value))
    if variable.type in ("freesurfer", "array", "csv") and variable.extensions:
        # The older form is a list of lists, with the files first; newer ones list regions, or hold the
        # rows themselves. Only what ends as the spec says is certainly a file.
        names = value[0] if isinstance(value, list) and value and isinstance(value[0], list) else value
        return tuple(name for name in _texts(names) if _ends(name, variable.extensions))
    return ()


def equal(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON: 1 is 1.0, but not true."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _texts(value: Json) -> Iterator[str]:
    """The texts of a text, a list, or a list of lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)


def _ends(name: str, extensions: Iterable[str]) -> bool:
    return name.lower().endswith(tuple(f".{extension}" for extension in extensions))


def _wrong_type(expected: str, value: Json, path: JsonPath = ()) -> Breach:
    return Breach(rule="type", words=f"expected {expected}, found {found(value)}", path=path)


def _check_number(variable: InputVariable, value: Json) -> Iterator[Breach]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        yield _wrong_type("a number", value)
        return
    if variable.min is not None and value < variable.min:
        yield Breach(rule="min", words=f"expected at least {short(variable.min)}, found {short(value)}")
    if variable.max is not None and value > variable.max:
        yield Breach(rule="max", words=f"expected at most {short(variable.max)}, found {short(value)}")


def _check_range(variable: InputVariable, value: Json) -> Iterator[Breach]:
    yield from _check_number(variable, value)
    if (
        variable.step is None
        or variable.step <= 0
        or isinstance(value, bool)
        or not isinstance(value, (int, float))
    ):
        return
    start = variable.min or 0
    try:
        steps = (value - start) / variable.step
    except OverflowError:
        # A whole number beyond every float: steps mean nothing there.
        return
    # Far from the start even neighbouring floats are more than a step apart.
    if math.isfinite(steps) and abs(steps - round(steps)) > max(STEP_TOLERANCE, abs(steps) * 1e-12):
        words = f"expected {short(start)} and a multiple of {short(variable.step)}, found {short(value)}"
        yield Breach(rule="step", words=words)


def _check_string(variable: InputVariable, value: Json) -> Iterator[Breach]:
    if not isinstance(value, str):
        yield _wrong_type("a text", value)
    elif variable.values:
        yield from _check_choice(variable, value)


def _check_boolean(_: InputVariable, value: Json) -> Iterator[Breach]:
    if not isinstance(value, bool):
        yield _wrong_type("true or false", value)


def _check_choice(variable: InputVariable, value: Json, path: JsonPath = ()) -> Iterator[Breach]:
    if variable.values and not any(equal(value, choice) for choice in variable.values):
        choices = ", ".join(short(choice) for choice in variable.values)
        yield Breach(rule="values", words=f"expected one of {choices}; found {short(value)}", path=path)


def _check_array(variable: InputVariable, value: Json) -> Iterator[Breach]:
    kinds = _kinds(variable)
    if isinstance(value, dict) and kinds:
        # The older type of what is now csv.
        yield from _check_cells(variable, value)
        return
    if not isinstance(value, list):
        yield _wrong_type("a list", value)
        return
    yield from _check_length(variable, value, "entries")
    for position, entry in enumerate(value):
        yield from _check_choice(variable, entry, (position,))
    # Lists in the list are the older form of a table: files or rows, then columns, then their types.
    if kinds and not any(isinstance(entry, list) for entry in value):
        for position, entry in enumerate(value):
            if not any(_is(entry, name) for name in kinds):
                words = f"expected {_either(kinds)}, found {kind(entry)}"
                yield Breach(rule="items", words=words, path=(position,))


def _check_set(variable: InputVariable, value: Json) -> Iterator[Breach]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        yield _wrong_type("a list of texts", value)
    else:
        yield from _check_length(variable, value, "entries")


def _check_matrix(_: InputVariable, value: Json) -> Iterator[Breach]:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        yield _wrong_type("a list of lists", value)


def _check_users(_: InputVariable, value: Json) -> Iterator[Breach]:
    if not isinstance(value, str) and not (
        isinstance(value, list) and all(isinstance(name, str) for name in value)
    ):
        yield _wrong_type("a user or a list of users", value)


def _check_csv(variable: InputVariable, value: Json) -> Iterator[Breach]:
    if isinstance(value, dict):
        yield from _check_cells(variable, value)
    elif not isinstance(value, (list, str)):
        yield _wrong_type("an object with a row of covariates for each name", value)
    elif variable.extensions:
        # A text, or a list that starts with texts, names tables in the site's folder.
        names = value[0] if isinstance(value, list) and value and isinstance(value[0], list) else value
        named = [names] if isinstance(names, str) else names
        yield from _check_endings(variable, [name for name in named if isinstance(name, str)])


def _check_cells(variable: InputVariable, rows: dict[str, Json]) -> Iterator[Breach]:
    kinds = _kinds(variable)
    # Tables have millions of cells, and nearly all are of a right type.
    right = {type_ for name, type_ in _TYPES if name in kinds}
    for name, row in rows.items():
        if not isinstance(row, dict):
            words = f"expected an object with a row of covariates for each name, found {kind(row)}"
            yield Breach(rule="type", words=words, path=(name,))
            continue
        for column, cell in row.items():
            if kinds and type(cell) not in right and not any(_is(cell, wanted) for wanted in kinds):
                words = f"expected {_either(kinds)} in column {short(column)}, found {kind(cell)}"
                yield Breach(rule="items", words=words, path=(name, column))


def _check_freesurfer(variable: InputVariable, value: Json) -> Iterator[Breach]:
    if not isinstance(value, list):
        yield _wrong_type("a list", value)
        return
    for position, entry in enumerate(value):
        if isinstance(entry, dict):
            regions = entry.get("value")
            if not isinstance(entry.get("type"), str) or not isinstance(regions, list):
                yield Breach(
                    rule="type",
                    words='expected an object with a text "type" and a list "value"',
                    path=(position,),
                )
        elif not isinstance(entry, (str, list)):
            yield _wrong_type("an object, a text or a list", entry, (position,))
    if variable.extensions:
        # The older form starts with the list of files. Texts alone may be files or regions.
        names = value[0] if value and isinstance(value[0], list) else []
        yield from _check_endings(variable, list(_texts(names)))


def _check_files(variable: InputVariable, value: Json) -> Iterator[Breach]:
    names = list(_texts(value))
    if not isinstance(value, (str, list)) or not _only_texts(value):
        yield _wrong_type("a list of file names", value)
        return
    yield from _check_length(variable, names, "files")
    yield from _check_endings(variable, names)


def _check_directory(_: InputVariable, value: Json) -> Iterator[Breach]:
    if not isinstance(value, str):
        yield _wrong_type("a folder's name", value)


def _check_endings(variable: InputVariable, names: list[str]) -> Iterator[Breach]:
    endings = variable.extensions or ()
    for name in names:
        if endings and not _ends(name, endings):
            words = (
                f"expected a name that ends in {_or('.' + ending for ending in endings)}, found {short(name)}"
            )
            yield Breach(rule="extensions", words=words)


def _check_length(variable: InputVariable, value: list[Json] | list[str], what: str) -> Iterator[Breach]:
    length = len(value)
    if variable.min is not None and length < variable.min:
        yield Breach(rule="min", words=f"expected at least {short(variable.min)} {what}, found {length}")
    for rule, most in ("max", variable.max), ("limit", variable.limit):
        if most is not None and length > most:
            yield Breach(rule=rule, words=f"expected at most {short(most)} {what}, found {length}")
    if variable.count is not None and length != variable.count:
        yield Breach(rule="count", words=f"expected {short(variable.count)} {what}, found {length}")


def _only_texts(value: Json) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(map(_only_texts, value)))


def _kinds(variable: InputVariable) -> tuple[str, ...]:
    """The kinds that entries may have; none where ``items`` names something else as well."""
    items = variable.items or ()
    return items if all(isinstance(item, str) and item in _KINDS for item in items) else ()


def _is(value: Json, name: str) -> bool:
    if name == "integer":
        whole = isinstance(value, float) and value.is_integer()
        return whole or (isinstance(value, int) and not isinstance(value, bool))
    return kind(value) == _KINDS[name]


def _either(kinds: Iterable[str]) -> str:
    return _or(dict.fromkeys(_KINDS[name] for name in kinds))


def _or(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


_CHECKS: dict[str, Callable[[InputVariable, Json], Iterator[Breach]]] = {
    "number": _check_number,
    "string": _check_string,
    "boolean": _check_boolean,
    "select": _check_choice,
    "radio": _check_choice,
    "array": _check_array,
    "range": _check_range,
    "set": _check_set,
    "matrix": _check_matrix,
    "users": _check_users,
    "csv": _check_csv,
    "freesurfer": _check_freesurfer,
    "files": _check_files,
    "directory": _check_directory,
}
