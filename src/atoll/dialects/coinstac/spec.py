"""What a ``compspec.json`` says.

Two kinds of mistakes are told apart. What the original couldn't run either is a fault. What
it runs without looking (a hint for a form, a key that nobody reads) is a warning: the key is
passed over, and everything published keeps running.

The models say what Atoll understands. The JSON Schema for authors is made from them, so that
it can't say anything else.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    StrictBool,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from atoll.dialects.coinstac.document import (
    Document,
    Json,
    JsonPath,
    did_you_mean,
    found,
    read_document,
    short,
)
from atoll.model.errors import SpecInvalid
from atoll.model.work import Role

#: The types of an input variable that the original knows.
INPUT_TYPES = (
    "number", "string", "boolean", "select", "radio", "array", "range", "set", "matrix", "object",
    "users", "csv", "freesurfer", "files", "directory", "hidden",
)  # fmt: skip


def _expect(what: str) -> PydanticCustomError:
    return PydanticCustomError("expected", "{what}", {"what": what})


def _protocol(value: Json) -> Json:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value in (1, 2):
        return int(value)
    raise _expect("1 or 2")


def _command(value: Json) -> Json:
    """A command as a list of texts; a single text is split as a shell would."""
    if isinstance(value, str):
        try:
            value = list(shlex.split(value))
        except ValueError as error:
            raise _expect("a command whose quotes close") from error
    if not isinstance(value, list):
        raise _expect("a list of texts")
    if not value:
        raise _expect("a list of at least one text")
    return value


def _number(value: Json) -> Json:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _expect("a number")
    return value


def _extensions(value: Json) -> tuple[str, ...]:
    """Endings as a flat list without dots, in whichever of the three published forms they come."""
    groups = value if isinstance(value, list) else [value]
    endings = [ending for group in groups for ending in (group if isinstance(group, list) else [group])]
    texts = tuple(ending.removeprefix(".").lower() for ending in endings if isinstance(ending, str))
    if len(texts) != len(endings):
        raise _expect("a list of texts, or a list of such lists")
    return texts


def _display(value: Json) -> Json:
    return [value] if isinstance(value, dict) else value


Protocol: TypeAlias = Annotated[int | None, PlainValidator(_protocol, json_schema_input_type=Any)]
Command: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(_command, json_schema_input_type=list[str] | str)
]
Number: TypeAlias = Annotated[int | float, PlainValidator(_number, json_schema_input_type=float)]
Extensions: TypeAlias = Annotated[
    tuple[str, ...], PlainValidator(_extensions, json_schema_input_type=list[str | list[str]] | str)
]
Display: TypeAlias = Annotated[
    tuple[dict[str, Any], ...],
    BeforeValidator(_display, json_schema_input_type=list[dict[str, Any]] | dict[str, Any] | None),
]


class _Model(BaseModel):
    # Building validators costs more than reading a spec, and most commands read none.
    model_config = ConfigDict(
        frozen=True, extra="allow", defer_build=True, validate_by_name=False, validate_by_alias=True
    )


class Meta(_Model):
    """What an algorithm says of itself."""

    id: str | None = Field(None, description="Unique name: letters, digits and dashes.")
    name: str | None = Field(None, description="Name for people.")
    version: str | None = Field(None, description="Version, in any form.")
    repository: str | None = Field(None, description="Where its source lives.")
    description: str | None = Field(None, description="What it does.")
    tags: tuple[str, ...] = Field((), description="Words to find it by.")
    compspec_version: Protocol = Field(
        None,
        alias="compspecVersion",
        description="Protocol: 1 (also null or absent), a process per call; 2, a process per run.",
        json_schema_extra={"enum": [1, 2, None]},
    )
    preprocess: StrictBool | None = Field(None, description="Whether it prepares data for later steps.")
    controller: str | None = Field(None, description="Kept, and of no effect.")
    test_data: str | None = Field(None, alias="testData", description="Where test data is: text or address.")


class Seat(_Model):
    """How the algorithm is started at one kind of seat."""

    type: str | None = Field(None, description="Kind of image: docker or singularity.")
    docker_image: str | None = Field(None, alias="dockerImage", description="Name of a Docker image.")
    image: str | None = Field(None, description="Singularity image, relative to the compspec.")
    command: Command | None = Field(None, description="What is started for each call (protocol 1).")
    container_options: dict[str, Any] | None = Field(
        None, alias="containerOptions", description="Options for the container, in Docker's own words."
    )


class Conditional(_Model):
    """A variable's field is shown only while another variable has a value."""

    variable: str = Field(description="The other variable.")
    value: Any = Field(None, description="The value that shows the field.")


class InputVariable(_Model):
    """One variable of the input."""

    type: str | None = Field(
        None, description="Type of the value.", json_schema_extra={"examples": list(INPUT_TYPES)}
    )
    label: str | None = Field(None, description="Name for people.")
    description: str | None = Field(None, description="What it is for.")
    tooltip: str | None = Field(None, description="A longer hint beside the field.")
    source: str | None = Field(
        None,
        description="Who sets it: owner (once, for all sites) or member (each site; also 'user').",
        json_schema_extra={"examples": ["owner", "member", "user"]},
    )
    default: Any = Field(None, description="Value where none is given.")
    default_value: Any = Field(None, alias="defaultValue", description="Another name for default.")
    value: Any = Field(None, description="A value that is already set; of no effect.")
    required: StrictBool | None = Field(None, description="Whether a run without a value is worth a warning.")
    min: Number | None = Field(None, description="Smallest number, or fewest entries.")
    max: Number | None = Field(None, description="Largest number, or most entries.")
    step: Number | None = Field(None, description="Distance between allowed numbers of a range.")
    values: tuple[Any, ...] | None = Field(None, description="The values to choose from.")
    items: Annotated[
        tuple[Any, ...] | None,
        BeforeValidator(lambda value: [value] if isinstance(value, (str, dict)) else value),
    ] = Field(None, description="Kinds of the entries: number, string, boolean, FreeSurfer, …")
    extensions: Extensions | None = Field(None, description="Endings that file names may have.")
    count: Number | None = Field(None, description="How many files are expected.")
    limit: Number | None = Field(None, description="How many entries at most.")
    multi: StrictBool | None = Field(None, description="Whether several users may be named.")
    conditional: Conditional | None = Field(None, description="When the field is shown.")
    order: Number | None = Field(None, description="Place among the fields.")
    group: str | None = Field(None, description="Heading that the field stands under.")
    show_value: Any = Field(None, alias="showValue", description="Kept, and of no effect.")

    @property
    def has_default(self) -> bool:
        """Whether the spec gives a default. Null is one."""
        return not self.model_fields_set.isdisjoint(("default", "default_value"))

    @property
    def fallback(self) -> Json:
        """The default, whichever of its two names it has. ``default`` goes first, as in the original."""
        value: Json = self.default if "default" in self.model_fields_set else self.default_value
        return value


class OutputVariable(_Model):
    """One variable of the output."""

    type: str | None = Field(None, description="Type of the value; file, files or directory name files.")
    label: str | None = Field(None, description="Name for people.")
    description: str | None = Field(None, description="What it is.")
    items: dict[str, OutputVariable] | tuple[Any, ...] | str | None = Field(
        None, description="The parts of the value, by name, or the kinds of its entries."
    )


# Some languages write an empty object as an empty list.
_SECTION = BeforeValidator(lambda value: {} if value == [] else value)


class Computation(Seat):
    """How the algorithm is started, and what goes in and comes out."""

    remote: Seat | None = Field(
        None, description="The aggregator's side; its keys go before those beside it. Absent: local only."
    )
    preprocessing: Any = Field(None, description="Kept, and of no effect.")
    input: Annotated[dict[str, InputVariable] | None, _SECTION] = Field(None, description="What it takes.")
    output: Annotated[dict[str, OutputVariable] | None, _SECTION] = Field(None, description="What it gives.")
    display: Display | None = Field(None, description="How results are shown: an object per tab.")


class Compspec(_Model):
    """A whole ``compspec.json``."""

    meta: Meta = Field(description="What the algorithm says of itself.")
    computation: Computation = Field(description="How it is started, what goes in and comes out.")
    top_display: Display | None = Field(
        None, alias="display", description="Another place for computation.display."
    )

    _document: Document | None = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        """Keep the document, so that a rule can be quoted with its line."""
        self._document = context

    def place(self, *path: str) -> str:
        """Where the spec says something, as ``compspec.json:14``."""
        if self._document is None:
            return "the compspec"
        return f"{self._document.origin}:{self._document.line_of(path)}"

    @property
    def name(self) -> str:
        """What to call the algorithm: its name, else its id."""
        return self.meta.name or self.meta.id or "computation"

    @property
    def version_of_protocol(self) -> int:
        """1: a process per call, JSON through its streams. 2: a process per run."""
        return 2 if self.meta.compspec_version == 2 else 1

    @property
    def decentralized(self) -> bool:
        """Whether an aggregator combines what the sites send."""
        return self.computation.remote is not None

    def command_for(self, role: Role) -> tuple[str, ...]:
        """What is started at a seat of this role. Empty where protocol 2 needs none."""
        return self._remote_first(role, "command") or ()

    def image_for(self, role: Role) -> str | None:
        """The image for a seat of this role: Singularity's where the type says so, else Docker's."""
        docker: str | None = self._remote_first(role, "docker_image")
        singularity: str | None = self._remote_first(role, "image")
        if self._remote_first(role, "type") == "singularity":
            return singularity or docker
        return docker or singularity

    def container_options_for(self, role: Role) -> Mapping[str, Any]:
        """What the spec asks of the container at a seat of this role, in Docker's words."""
        return self._remote_first(role, "container_options") or {}

    @property
    def inputs(self) -> Mapping[str, InputVariable]:
        """The variables that the algorithm takes, in the spec's order."""
        return self.computation.input or {}

    @property
    def outputs(self) -> Mapping[str, OutputVariable]:
        """The variables that the algorithm gives, in the spec's order."""
        return self.computation.output or {}

    @property
    def display(self) -> tuple[Mapping[str, Any], ...]:
        """How results are shown, one object per tab; from whichever of the two places has any."""
        return self.computation.display or self.top_display or ()

    def _remote_first(self, role: Role, key: str) -> Any:
        remote = self.computation.remote
        if role is Role.AGGREGATOR and remote is not None and getattr(remote, key) is not None:
            return getattr(remote, key)
        return getattr(self.computation, key)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``compspec.json``, for editors and for authors."""
    schema = Compspec.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


#: A sentence, and the line that it is about: sentences are told in the order of the file.
_Remark: TypeAlias = tuple[int, str]


def parse_compspec(text: str, origin: str) -> tuple[Compspec, tuple[str, ...]]:
    """Read a ``compspec.json``: the spec, and a warning for each thing that is passed over.

    Raises:
        SpecInvalid: with every fault, in the order of the file; not only with the first.
    """
    document = read_document(text, origin)
    value = document.value
    faults, warnings = list(_command_faults(document)), list[_Remark]()
    while True:
        try:
            spec = Compspec.model_validate(value, context=document)
            break
        except ValidationError as error:
            passed, wrong = _sort_errors(document, error)
            # Each turn takes keys out of the document, so that the turns come to an end.
            value = reduce(_without, passed, value)
            warnings += (
                _remark(document, path, f"{words}; Atoll passes over it") for path, words in passed.values()
            )
            if wrong:
                faults += (_remark(document, path, words) for path, words in wrong.items())
                raise SpecInvalid(*_in_order(faults)) from None
    if faults:
        raise SpecInvalid(*_in_order(faults))
    warnings += (_remark(document, path, words) for path, words in _unknown_keys(spec, ()))
    warnings += (_remark(document, path, words) for path, words in _advice(spec, document))
    return spec, document.warnings + _in_order(warnings)


def _remark(document: Document, path: JsonPath, words: str) -> _Remark:
    return document.line_of(path), document.sentence(path, words)


def _in_order(remarks: list[_Remark]) -> tuple[str, ...]:
    return tuple(sentence for _, sentence in sorted(remarks, key=lambda remark: remark[0]))


def _command_faults(document: Document) -> Iterator[_Remark]:
    """Protocol 1 starts a command, so there must be one. What is there but wrong, the model finds."""
    computation = document.value.get("computation") if isinstance(document.value, dict) else None
    if not isinstance(computation, dict) or _protocol_ignores_command(document.value):
        return
    if computation.get("command") is None:
        # A slip in the key is the likeliest reason.
        slips = (key for key in computation if did_you_mean(key, ["command"]) and key != "command")
        slip = next(
            (f'; "{key}" in line {document.line_of(("computation", key))} looks like it' for key in slips), ""
        )
        words = f'is missing; expected a list of texts, such as ["python", "local.py"]{slip}'
        yield _remark(document, ("computation", "command"), words)


def _protocol_ignores_command(value: Json) -> bool:
    meta = value.get("meta") if isinstance(value, dict) else None
    return isinstance(meta, dict) and meta.get("compspecVersion") == 2


def _sort_errors(
    document: Document, error: ValidationError
) -> tuple[dict[JsonPath, tuple[JsonPath, str]], dict[JsonPath, str]]:
    """What can be passed over (by the key to take out: place and words), and what can't (by its place)."""
    ignores_command = _protocol_ignores_command(document.value)
    passed: dict[JsonPath, tuple[JsonPath, str]] = {}
    wrong: dict[JsonPath, str] = {}
    for detail in error.errors(include_url=False, include_context=False):
        path: JsonPath = detail["loc"]
        hint = _hint(path, ignores_command=ignores_command)
        if hint is None:
            wrong[path] = _words(detail)
        elif path[1:2] == ("output",) and path[3:4] == ("items",):
            # It may be one of several types, and the errors are those of each.
            passed.setdefault(hint, (hint, "expected parts by name, or a list"))
        elif detail["type"] == "missing":
            passed.setdefault(hint, (hint, f"expected an object with {short(str(path[-1]))}"))
        else:
            passed.setdefault(hint, (path, _words(detail)))
    return passed, wrong


def _hint(path: JsonPath, *, ignores_command: bool) -> JsonPath | None:
    """The part of a path that can be taken out without changing what runs; None where there is none."""
    if path[:1] == ("meta",) and len(path) > 1 and path[1] != "compspecVersion":
        return path[:2]
    if path[:1] == ("display",) or path[:2] == ("computation", "display"):
        return path[: path.index("display") + 1]
    if path[:2] in (("computation", "input"), ("computation", "output")) and len(path) > 3:
        return path[:4]
    if path[:1] == ("computation",) and path[-1] == "type":
        return path
    if ignores_command and "command" in path[1:3]:
        return path[: path.index("command") + 1]
    return None


_EXPECTED = {
    "string_type": "a text",
    "bool_type": "true or false",
    "dict_type": "an object",
    "model_type": "an object",
    "tuple_type": "a list",
}


def _words(detail: ErrorDetails) -> str:
    if detail["type"] == "missing":
        return "is missing; expected an object"
    expected = _EXPECTED.get(detail["type"], detail["msg"])
    return f"expected {expected}, found {found(detail['input'])}"


def _without(value: Any, path: JsonPath) -> Json:
    """A copy of a document that lacks one key."""
    copy: dict[Any, Any] = dict(value)
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _without(copy[path[0]], path[1:])
    return copy


def _unknown_keys(model: BaseModel, path: JsonPath) -> Iterator[tuple[JsonPath, str]]:
    fields = {field.alias or name: name for name, field in type(model).model_fields.items()}
    for key in model.model_extra or ():
        yield (*path, key), f"is not a key that Atoll knows{did_you_mean(key, fields)}"
    for key, name in fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _unknown_keys(value, (*path, key))
        elif isinstance(value, dict):
            for part, inner in value.items():
                if isinstance(inner, BaseModel):
                    yield from _unknown_keys(inner, (*path, key, part))


def _advice(spec: Compspec, document: Document) -> Iterator[tuple[JsonPath, str]]:
    """What is likely to be a slip although it can be run."""
    raw: Any = document.value
    if not (spec.meta.name or spec.meta.id):
        yield ("meta",), 'has no "name"; Atoll says "computation" instead'
    if spec.computation.display and spec.top_display:
        yield ("display",), "is given twice; Atoll shows the one inside computation"
    for path, seat in (
        (("computation",), spec.computation),
        (("computation", "remote"), spec.computation.remote),
    ):
        if seat is None:
            continue
        if seat.type not in (None, "docker", "singularity"):
            yield (
                (*path, "type"),
                f'expected "docker" or "singularity", found {short(seat.type)}; Atoll passes over it',
            )
        written = raw["computation"] if len(path) == 1 else raw["computation"]["remote"]
        if isinstance(written.get("command"), str) and spec.version_of_protocol == 1:
            as_list = "[" + ", ".join(short(part) for part in seat.command or ()) + "]"
            yield (*path, "command"), f"is one text, which Atoll splits as a shell would; write {as_list}"
    remote = spec.computation.remote
    if remote and remote.command is None and spec.version_of_protocol == 1:
        yield ("computation", "remote"), "has no command; the aggregator runs the command of the sites"
    for name, variable in spec.inputs.items():
        for key, words in _advice_on_input(spec, variable):
            yield ("computation", "input", name, *key), words


def _advice_on_input(spec: Compspec, variable: InputVariable) -> Iterator[tuple[JsonPath, str]]:
    if variable.type is None:
        yield (), "has no type; Atoll does not check its values"
    elif variable.type not in INPUT_TYPES:
        hint = did_you_mean(variable.type, INPUT_TYPES)
        yield (
            ("type",),
            f"{short(variable.type)} is not a type that Atoll knows; its values are not checked{hint}",
        )
    if variable.source not in (None, "owner", "member", "user"):
        yield (
            ("source",),
            f'expected "owner" or "member", found {short(variable.source)}; Atoll passes over it',
        )
    if variable.conditional and variable.conditional.variable not in spec.inputs:
        yield (
            ("conditional", "variable"),
            f"{short(variable.conditional.variable)} is not an input of this spec",
        )
    if variable.min is not None and variable.max is not None and variable.min > variable.max:
        yield ("min",), f"{short(variable.min)} is above max ({short(variable.max)})"
