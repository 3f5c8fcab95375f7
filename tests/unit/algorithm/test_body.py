"""Whatever may travel arrives as it left; what may not is named; damaged bodies are refused."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import enum
import json
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll_algorithm import BodyInvalid, CantTravel
from atoll_algorithm._body import join, pack, peek, unpack
from atoll_algorithm.inline import Algorithm

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "body"


@dataclasses.dataclass
class Model:
    """What a fit gives."""

    weights: Any
    steps: int = 0


@dataclasses.dataclass(frozen=True)
class Checked:
    """It says no to what is wrong."""

    n: int
    twice: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError(self.n)


class Level(enum.IntEnum):
    """A number with a name."""

    LOW = 1


class Colour(enum.Enum):
    """A name alone."""

    RED = 1


def make(name: str, fields: dict[str, Any]) -> Any:
    return Model(**fields) if name.endswith(":Model") else fields


def there_and_back(value: Any) -> Any:
    return unpack(join(pack(value)), make)


def container(header: Any, buffers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return b"ATO1" + len(text).to_bytes(4, "big") + text + bytes(-(8 + len(text)) % 64) + buffers


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary(max_size=200)
    | st.complex_numbers(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.none() | st.just(dt.UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
)
keys = st.none() | st.booleans() | st.integers() | st.text() | st.binary(max_size=9) | st.tuples(st.text())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.builds(Model, inner, st.integers())
    ),
    max_leaves=12,
)


def alike(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(
            alike(a, b) for a, b in zip(one.values(), other.values(), strict=True)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


@given(values)
def test_a_value_arrives_as_it_left(value: Any) -> None:
    assert alike(value, there_and_back(value))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_plain_json_is_written_as_it_is(value: Any) -> None:
    assert value == peek(join(pack(value)))


def test_numbers_that_are_none_arrive() -> None:
    nan, *others = there_and_back([float("nan"), float("inf"), float("-inf"), -0.0])

    assert nan != nan  # noqa: PLR0124 - NaN alone differs from itself
    assert ["inf", "-inf", "-0.0"] == list(map(str, others))


def test_half_a_surrogate_pair_arrives() -> None:
    assert {"a": "\ud800"} == there_and_back({"a": "\ud800"})


def test_what_stands_for_a_simple_value_travels_as_that() -> None:
    value = {"np": np.float32(0.5), "whole": np.int64(3), "yes": np.bool_(True), "level": Level.LOW}

    assert {"np": 0.5, "whole": 3, "yes": True, "level": 1} == there_and_back(value)


def test_the_same_set_is_the_same_bytes() -> None:
    assert join(pack({b"a", b"b", b"c", b"d"})) == join(pack({b"d", b"c", b"b", b"a"}))
    assert join(pack({1, "a", None})) == join(pack({None, "a", 1}))


def test_a_dataclass_checks_what_arrives() -> None:
    algorithm = Algorithm({}, [__name__], None, print)
    whole = join(pack(Checked(3)))

    assert Checked(3) == unpack(whole, algorithm.make)
    with pytest.raises(BodyInvalid, match="a Checked can't be made from what a body holds"):
        unpack(whole.replace(b'{"n":3', b'{"m":3'), algorithm.make)


def test_a_dataclass_of_another_module_is_its_fields() -> None:
    algorithm = Algorithm({}, ["elsewhere"], None, print)

    assert {"n": 3, "twice": 0} == unpack(join(pack(Checked(3))), algorithm.make)


def test_a_dataclass_is_its_fields_where_its_class_is_not_at_hand() -> None:
    assert {"weights": [1], "steps": 2} == unpack(join(pack(Model([1], 2))))


def test_keys_that_look_like_tags_are_only_keys() -> None:
    looks: list[dict[str, Any]] = [
        {"$tuple": []},
        {"$": 1},
        {"a": {"$array": [1]}},
        {"$a": 1, "b": 2},
        {"x$": {"$b": 3}},
    ]

    assert looks == list(map(there_and_back, looks))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"model": [1, 2, 3, socket.socket]}, "result['model'][3] is a type"),
        ({"a": {7: object()}}, "result['a'][7] is a object"),
        (Model(weights=(1, Colour.RED)), "result.weights[1] is a "),
        (iter([]), "result is a list_iterator"),
        ((x for x in "ab"), "result is a generator: expected a list, as list(...) makes it"),
        (np.array([object()]), "result is a numpy array of dtype object"),
        ([np.ma.array([1, 2], mask=[False, True])], "result[0] is a masked array, with data behind its mask"),
        pytest.param(10**5000, "result can't be written as JSON (ValueError)", id="huge"),
    ],
)
def test_what_cant_travel_is_named_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(CantTravel) as caught:
        pack(value)

    assert str(caught.value).startswith(path)


def test_keys_that_the_author_did_not_write_are_left_out_of_what_is_sent() -> None:
    with pytest.raises(CantTravel) as caught:
        pack({"groups": {"Smith": {42: object()}}}, words=frozenset(["groups"]))

    assert str(caught.value).startswith("result['groups']['Smith'][42] is a object")
    assert caught.value.sendable.startswith("result['groups'][…][…] is a object")


@pytest.mark.parametrize("width", [1, 2])
def test_what_holds_itself_is_refused_soon(width: int) -> None:
    circle: list[Any] = []
    circle.extend([circle] * width)

    with pytest.raises(CantTravel, match="result is nested more than 100 deep"):
        pack(circle)


def test_what_is_nested_too_deeply_is_refused_on_both_sides() -> None:
    deep: Any = 1
    for _ in range(99):
        deep = [deep]

    assert deep == there_and_back(deep)
    with pytest.raises(BodyInvalid, match="nested too deeply"):
        unpack(container(b'{"value":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "0 bytes are no body"),
        (b"ATO2\0\0\0\0", "8 bytes are no body"),
        (b"ATO1\0\0\1\0{}", "a body of 10 bytes says that its header ends at 264"),
        (container(b"\xff"), "isn't UTF-8"),
        (container(b"{"), "is no JSON"),
        (container(b""), "is no JSON"),
        (container(b'{"value":NaN}'), "NaN"),
        (container({"buffers": []}), "has no value"),
        (container([]), "has no value"),
        (container({"value": {"$new": 1}}), "a tag that this version doesn't know: '\\$new'"),
        (container({"value": {"$bytes": 0}}), "a buffer that it doesn't have"),
        (container({"value": {"$bytes": 0}, "buffers": [[64, 1]]}), "has a buffer of 1 at 64"),
        (container({"value": {"$bytes": 0}, "buffers": [[63, 1]]}, bytes(64)), "buffer of 1 at 63"),
        (container({"value": {"$bytes": 0}, "buffers": [[0, 1]]}, bytes(64)), "buffer of 1 at 0"),
        (container({"value": {"$bytes": 0}, "buffers": [["a", 1]]}, bytes(64)), "offset and length"),
        (container({"value": {"$bytes": 0}, "buffers": 3}, bytes(64)), "buffers are no list"),
        (
            container({"value": [{"$bytes": 0}, {"$bytes": 0}], "buffers": [[128, 1]]}, bytes(128)),
            "or twice",
        ),
        (container({"value": {"$array": ["<f8", [2], 0]}, "buffers": [[128, 8]]}, bytes(64)), "8 bytes for"),
        (container({"value": {"$array": ["|O", [1], 0]}, "buffers": [[128, 8]]}, bytes(64)), "can't hold"),
        (container({"value": {"$array": ["f8,f8", [0], 0]}, "buffers": [[128, 0]]}), "can't hold|buffer of"),
        (container({"value": {"$array": ["|S0", [1 << 60], 0]}, "buffers": [[128, 0]]}, bytes(64)), "hold"),
        (container({"value": {"$array": ["?!", [1], 0]}, "buffers": [[128, 1]]}, bytes(64)), "is damaged"),
        (container({"value": {"$map": [[[], 1]]}}), "is damaged"),
        (container({"value": {"$float": "1"}}), "can't hold"),
        (container({"value": {"$time": ["date", "yesterday"]}}), "is damaged"),
        (container({"value": {"$time": ["now", "x"]}}), "can't hold"),
        (container({"value": {"$decimal": "x"}}), "is damaged"),
        (container({"value": {"$data": ["a:b"]}}), "can't hold"),
        (
            container({"value": {"$frame": {"columns": [["a", {"$array": ["<f8", [1, 1], 0]}]]}}}),
            "damaged|hold|doesn't",
        ),
        (container({"value": {"$categories": []}}), "doesn't know"),
        (container({"value": {"$tuple": 1}}), "can't hold"),
    ],
)
def test_a_damaged_body_is_refused_with_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(BodyInvalid, match=sentence):
        unpack(data)


@given(st.data())
def test_a_body_with_a_wrong_byte_is_read_or_refused(data: st.DataObject) -> None:
    value = {"a": np.arange(5.0), "b": b"xyz", "c": ("é", 1.5), "d": {1: dt.date(2020, 1, 1)}}
    whole = bytearray(join(pack(value)))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] = data.draw(st.integers(0, 255))
    length = data.draw(st.sampled_from([len(whole), position]))

    with contextlib.suppress(BodyInvalid):  # any other exception fails the test
        unpack(bytes(whole[:length]))


# --- Golden files: the same bytes, whoever wrote them -------------------------------------------

_VALUES: dict[str, Any] = {
    "plain": {"n": 3, "sum": 4.5, "name": "Île", "none": None, "yes": True, "list": [1, [2, {}]]},
    "call": {"function": "moments", "args": {"column": "age"}, "databases": ["default"]},
    "special": {
        "tuple": (1, "a"),
        "set": {3, 1, 2},
        "map": {1: "one", "$x": 2},
        "floats": [float("inf"), float("-inf")],
        "complex": 1 + 2j,
        "decimal": Decimal("1.50"),
        "bytes": b"\x00\xff",
        "times": [
            dt.datetime(2020, 2, 29, 12, 30, 0, 5),  # noqa: DTZ001 - without a zone, as data often are
            dt.date(2020, 2, 29),
            dt.time(23, 59),
            dt.timedelta(days=-1, microseconds=7),
        ],
    },
    "arrays": {
        "f4": np.array([[1.5, 2.5], [3.5, 4.5]], "<f4"),
        "i8": np.arange(3, dtype="<i8"),
        "big": np.array([1, 2], ">i2"),
        "truth": np.array([True, False]),
        "text": np.array(["a", "bc"]),
        "none": np.zeros((0, 2), "<f8"),
        "single": np.array(7, "<u1"),
    },
    "dataclass": Model([1, 2], 3),
}


@pytest.mark.parametrize("name", _VALUES)
def test_what_is_written_is_the_golden_file(name: str) -> None:
    value = _VALUES[name]
    packed = join(pack(value)).replace(__name__.encode() + b":", b"model:")

    if name == "dataclass":  # this module's name is not the golden file's: the header's length differs
        assert value == unpack((GOLDEN / "dataclass.bin").read_bytes(), make)
    else:
        assert (GOLDEN / f"{name}.bin").read_bytes() == packed


def _view(value: Any) -> Any:
    """A value as plain JSON, by the rules of the golden files' index."""
    if hasattr(value, "to_pydict"):
        return value.to_pydict()
    if hasattr(value, "columns"):
        return {str(name): _view(list(value[name])) for name in value.columns}
    if hasattr(value, "index") and hasattr(value, "dtype"):
        return _view(value.tolist())
    match value:
        case np.ndarray() | np.generic():
            return _view(value.tolist())
        case bytes():
            return value.hex()
        case tuple() | list():
            return [_view(one) for one in value]
        case set():
            return [_view(one) for one in sorted(value)]
        case dict() if all(isinstance(key, str) and key[:1] != "$" for key in value):
            return {key: _view(one) for key, one in value.items()}
        case dict():
            return [[_view(key), _view(one)] for key, one in value.items()]
        case complex():
            return [value.real, value.imag]
        case Decimal() | dt.datetime() | dt.date() | dt.time():
            return str(value) if isinstance(value, Decimal) else value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case float() if value != value:  # noqa: PLR0124 - NaN alone differs from itself
            return None
        case float() if value in (float("inf"), float("-inf")):
            return str(value)
    return value


_INDEX: dict[str, Any] = json.loads((GOLDEN / "index.json").read_text())["files"]


@pytest.mark.parametrize("name", _INDEX)
def test_a_golden_file_is_read_as_its_view(name: str) -> None:
    if _INDEX[name]["needs"]:
        pytest.importorskip(_INDEX[name]["needs"])

    assert _INDEX[name]["view"] == _view(unpack((GOLDEN / name).read_bytes()))


def test_every_golden_file_is_listed() -> None:
    assert sorted(_INDEX) == sorted(path.name for path in GOLDEN.glob("*.bin"))
