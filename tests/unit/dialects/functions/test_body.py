"""What people type becomes a call, and what functions return becomes what people read."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.dialects.functions import shown
from atoll.dialects.functions.body import Call, call_body, plain, read_call
from atoll.dialects.functions.container import pack
from atoll.model.errors import ReplyInvalid, SpecInvalid
from atoll.runtimes.held import MemoryFile
from atoll_algorithm import _body as theirs


def _written(value: Any) -> bytes:
    """As a function's own side writes a value."""
    return theirs.join(theirs.pack(value))


def _shown(value: Any) -> Any:
    read = plain(_written(value))
    json.dumps(read, allow_nan=False)
    return read


# --- Calls ------------------------------------------------------------------------------------

TYPED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("$x"), inner, max_size=3)
    ),
    max_leaves=15,
)


@given(
    args=st.dictionaries(st.text(max_size=5).filter(lambda name: name[:1] != "$"), TYPED, max_size=3),
    labels=st.none() | st.lists(st.text(), max_size=3),
)
def test_what_is_typed_arrives_as_it_is(args: dict[str, Any], labels: list[str] | None) -> None:
    body = call_body("mean", args, labels)

    # `repr` tells 1 from 1.0 and from True, and NaN is as NaN.
    arrived = theirs.unpack(body)
    assert repr({"function": "mean", "args": args, "databases": labels}) == repr(arrived)
    call = read_call(body)
    assert ("mean", None if labels is None else tuple(labels)) == (call.function, call.databases)
    assert repr(_without_nan(args)) == repr(call.args)


@pytest.mark.parametrize("name", ["$", "$map", "$x"])
def test_an_argument_is_not_called_as_the_bodys_own_words_are(name: str) -> None:
    with pytest.raises(SpecInvalid, match="expected a name without"):
        call_body("mean", {name: 1})


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return {key: _without_nan(one) for key, one in value.items()} if isinstance(value, dict) else value


def test_a_tuple_is_passed_on_as_a_list() -> None:
    assert {"function": "f", "args": {"x": [1, [2]]}, "databases": None} == theirs.unpack(
        call_body("f", {"x": (1, (2,))})
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1}, "the argument x is of type set: expected what JSON can say"),
        ({"a": [0, b""]}, r"the argument x\.a\[1\] is of type bytes"),
        ({1: 2}, "the argument x is of type dict"),
    ],
)
def test_an_argument_that_nobody_can_type_is_refused(value: Any, words: str) -> None:
    with pytest.raises(SpecInvalid, match=words):
        call_body("f", {"x": value})


def test_a_number_that_is_too_long_for_text_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="the arguments of f can't be written as JSON: Exceeds the limit"):
        call_body("f", {"x": 10**5000})


def test_an_argument_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(SpecInvalid, match="is nested more than 128 deep"):
        call_body("f", {"x": endless})


def test_arrays_among_arguments_are_told_by_their_shape() -> None:
    frame = pd.DataFrame({"age": [1.5, 2.5], "sex": pd.Categorical(["f", "m"]), "name": ["a", None]})
    zoned = pd.DataFrame({"at": pd.to_datetime(["2024-01-01"], utc=True)})
    args = {"w": np.zeros((3, 2)), "b": b"abc", "f": frame, "z": zoned, "n": np.zeros(0), "q": 1}

    call = read_call(_written({"function": "f", "args": args}))

    assert (
        Call(
            function="f",
            args={
                "w": {"dtype": "<f8", "shape": [3, 2]},
                "b": {"bytes": 3},
                "f": {
                    "age": {"dtype": "<f8", "shape": [2]},
                    "sex": {"dtype": "|i1", "shape": [2]},
                    "name": ["a", None],
                },
                "z": {"arrow": call.args["z"]["arrow"]},
                "n": {"dtype": "<f8", "shape": [0]},
                "q": 1,
            },
            databases=None,
        )
        == call
    )
    assert call.args["z"]["arrow"].endswith(" bytes")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "names no function"),
        ({"args": {}}, "names no function"),
        ({"function": 1, "args": {}}, "names no function"),
        ({"function": "f", "args": [1]}, "a call of 'f' has no arguments"),
        ({"function": "f", "args": {}, "databases": "a"}, "a call of 'f' names no databases"),
        ({"function": "f", "args": {}, "databases": [1]}, "a call of 'f' names no databases"),
    ],
)
def test_what_is_no_call_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ReplyInvalid, match=words):
        read_call(pack(value))


def test_a_call_may_leave_out_what_is_empty() -> None:
    assert Call(function="f", args={}, databases=None) == read_call(pack({"function": "f", "args": None}))


# --- What functions return --------------------------------------------------------------------


@dataclasses.dataclass
class Fit:
    """A result with fields."""

    weights: Any
    done: bool


MAP = {"1": "a", "[1, 2]": "b", "null": "c", "1 (2)": "d", "null (2)": "e"}
ZONE = dt.timezone(dt.timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"a": [1, 2.5, "x", None, True]}, {"a": [1, 2.5, "x", None, True]}),
        ([math.nan, math.inf, -math.inf], [None, None, None]),
        ((1, (2,)), [1, [2]]),
        ({3}, [3]),
        (1 - 2j, [1.0, -2.0]),
        (complex(math.nan, 1), [None, 1.0]),
        (decimal.Decimal("1.50"), "1.50"),
        (dt.datetime(2024, 2, 29, 1, 2, tzinfo=ZONE), "2024-02-29T01:02:00+02:00"),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (dt.time(1, 2), "01:02:00"),
        (dt.timedelta(days=1, milliseconds=5), "86400.005000"),
        (b"abc", "YWJj"),
        ({1: "a", (1, 2): "b", None: "c", "1": "d", math.nan: "e"}, MAP),
        ({"$array": 1}, {"$array": 1}),
        (Fit(weights=np.array([1.5, np.nan]), done=False), {"weights": [1.5, None], "done": False}),
        (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (np.float32(0.5), 0.5),
        (np.array(7), 7),
        (np.zeros((2, 0)), [[], []]),
        (np.array(["2024-02-29", "NaT"], "M8[D]"), ["2024-02-29", None]),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.longdouble(1), {"dtype": np.dtype(np.longdouble).str, "shape": []}),
    ],
)  # fmt: skip
def test_a_value_is_shown_in_what_json_can_say(value: Any, read: Any) -> None:
    assert read == _shown(value)


FRAME = pd.DataFrame({"n": [1, 2], "name": ["a", None], "sex": pd.Categorical(["f", None])})


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (FRAME, {"n": [1, 2], "name": ["a", None], "sex": ["f", None]}),
        (FRAME.iloc[:0], {"n": [], "name": [], "sex": []}),
        (FRAME[["n"]].set_axis(["x", "y"]), {"index": ["x", "y"], "n": [1, 2]}),
        (FRAME[["n", "name"]].set_index("name"), {"name": ["a", None], "n": [1, 2]}),
        (FRAME[["n", "n"]], {"n": [1, 2], "n (2)": [1, 2]}),
        (FRAME[["n"]].set_axis([5], axis=1), {"5": [1, 2]}),
        (pd.DataFrame({"at": pd.to_datetime(["2024-02-29"], utc=True)}), {"at": ["2024-02-29T00:00:00Z"]}),
        (pa.table({"x": [1, None]}), {"x": [1, None]}),
        (FRAME["n"], [1, 2]),
        (FRAME["sex"], ["f", None]),
        (pd.Series([0.5, 2.0], index=["mean", "max"]), {"mean": 0.5, "max": 2.0}),
        (pd.Series([1, 2, 3], index=["a", "a", "a"]), {"a": 1, "a (2)": 2, "a (3)": 3}),
        (pd.Series([1, 2, 3], index=["a", "a (2)", "a"]), {"a": 1, "a (2)": 2, "a (3)": 3}),
        (pd.Series([1, 2], index=pd.CategoricalIndex(["u", "v"], name="w")), {"u": 1, "v": 2}),
    ],
)
def test_a_frame_is_its_columns_and_a_series_a_list_or_an_object(value: Any, read: Any) -> None:
    found = _shown(value)

    assert read == found
    if isinstance(read, dict):
        assert list(read) == list(found)


def test_what_was_returned_in_memory_that_others_share_is_read_too() -> None:
    assert [0.0, 1.0] == plain(MemoryFile.of(_written(np.arange(2.0))))


# --- Bounds -----------------------------------------------------------------------------------


def test_an_array_above_the_bound_is_shown_by_type_and_shape() -> None:
    most = shown.ELEMENTS_MAX

    assert {"dtype": "|u1", "shape": [most + 1]} == _shown(np.zeros(most + 1, np.uint8))
    assert most == len(_shown(np.zeros(most, np.uint8)))


def test_all_arrays_together_have_a_bound() -> None:
    read = _shown([np.zeros(shown.ELEMENTS_MAX, np.uint8)] * 5)

    assert [list, list, list, dict, dict] == [type(one) for one in read]


def test_empty_lists_are_counted_too() -> None:
    assert {"dtype": "|u1", "shape": [10**12, 0]} == plain(_tagged({"$array": ["|u1", [10**12, 0], 0]}, b""))


def test_bytes_beyond_the_bound_are_counted() -> None:
    large = bytes(shown.SHOWN_MAX * 16)

    assert {"bytes": len(large)} == _shown(large)


def test_one_long_category_is_not_written_a_million_times() -> None:
    codes = np.zeros(100_000, np.int8)
    frame = pd.DataFrame({"x": pd.Categorical.from_codes(codes, ["w" * 1000])})

    assert {"x": {"dtype": "category", "shape": [100_000]}} == _shown(frame)


def test_categories_that_are_numbers_weigh_as_numbers() -> None:
    frame = pd.DataFrame({"x": pd.Categorical([2.5, 1.5, None])})

    assert {"x": [2.5, 1.5, None]} == _shown(frame)


def test_a_series_or_categories_with_more_rows_than_are_shown_are_a_shape() -> None:
    rows = shown.ELEMENTS_MAX + 1
    summary = {"dtype": "|u1", "shape": [rows]}
    numbers = pd.Series(np.zeros(rows, np.uint8), index=pd.Index(range(1, rows + 1), dtype="int64"))

    assert summary == _shown(numbers)
    assert {"dtype": "|i1", "shape": [rows]} == _shown(pd.Series(pd.Categorical(["a"]).repeat(rows)))


def test_more_categories_than_are_shown_are_a_shape() -> None:
    many = {"$array": ["|u1", [shown.ELEMENTS_MAX + 1], 0]}
    body = _tagged(
        {"$series": [None, {"$categories": [{"$array": ["|i1", [1], 1]}, many, False]}, None]},
        bytes(shown.ELEMENTS_MAX + 1),
        b"\0",
    )

    assert {"dtype": "category", "shape": [1]} == plain(body)


# --- Damage -----------------------------------------------------------------------------------


def _tagged(value: Any, *buffers: bytes) -> bytes:
    """A container as nobody's function would write it."""
    places: list[list[int]] = []
    header = b""
    for _ in range(3):  # Until the header's length, which the places depend on, no longer changes.
        start = 8 + len(header)
        places = []
        for buffer in buffers:
            start += -start % 64
            places.append([start, len(buffer)])
            start += len(buffer)
        header = json.dumps({"value": value, "buffers": places}).encode()
    content = b"ATO1" + len(header).to_bytes(4, "big") + header
    for (start, _), buffer in zip(places, buffers, strict=True):
        content = content.ljust(start, b"\0") + buffer
    return content


CELLS = {"$array": ["|u1", [1], 0]}
WRONG: list[Any] = [
    {"$float": "NaN"},
    {"$tuple": {}},
    {"$set": 1},
    {"$complex": [1]},
    {"$complex": [1, "2"]},
    {"$complex": 1},
    {"$decimal": 1.5},
    {"$time": ["datetime"]},
    {"$time": ["moment", "1"]},
    {"$time": "datetime"},
    {"$time": ["date", 1]},
    {"$map": {}},
    {"$map": [[1]]},
    {"$map": [1]},
    {"$data": ["m:C"]},
    {"$data": ["m:C", []]},
    {"$data": {}},
    {"$bytes": 7},
    {"$bytes": None},
    {"$array": ["|u1", [1]]},
    {"$array": {}},
    {"$array": [1, [1], 0]},
    {"$array": ["|u1", 1, 0]},
    {"$array": ["|u1", [1] * 65, 0]},
    {"$array": ["|u1", [-1], 0]},
    {"$array": ["|u1", [1.0], 0]},
    {"$array": ["|u1", [True], 0]},
    {"$array": ["|u1", [2**63], 0]},
    {"$array": ["|u1", [2], 0]},
    {"$array": ["<f8", [], 0]},
    {"$array": ["|u1", [1], 1]},
    {"$frame": []},
    {"$frame": {}},
    {"$frame": {"columns": [1]}},
    {"$frame": {"columns": [["x"]]}},
    {"$frame": {"columns": [["x", {}]]}},
    {"$frame": {"columns": [["x", []]]}},
    {"$frame": {"columns": [["x", {"$tuple": []}]]}},
    {"$frame": {"columns": [["x", {"$array": 1}]]}},
    {"$frame": {"columns": [["x", {"$array": ["|u1", 1, 0]}]]}},
    {"$frame": {"columns": [["x", {"$array": ["|u1", [], 0]}]]}},
    {"$frame": {"columns": [["x", {"$text": "a"}]]}},
    {"$frame": {"columns": [["x", {"$text": [1]}]]}},
    {"$frame": {"columns": [["x", {"$categories": [CELLS, CELLS]}]]}},
    {"$frame": {"columns": [["x", {"$categories": {}}]]}},
    {"$frame": {"columns": [["x", {"$categories": [CELLS, {"$text": []}, False]}]]}},
    {"$frame": {"columns": [["x", {"$categories": [{"$text": ["a"]}, CELLS, False]}]]}},
    {"$series": [None, CELLS]},
    {"$series": {}},
    {"$series": [None, CELLS, None, None, None]},
    {"$series": [None, CELLS, {"$text": ["a", "b"]}]},
    {"$arrow": 1},
    {"$arrow": ["pandas"]},
    {"$arrow": ["pandas", 0]},
    {"$pickle": 0},
    {"$": 0},
]  # fmt: skip


@pytest.mark.parametrize("value", WRONG, ids=json.dumps)
def test_what_no_function_can_have_written_is_refused(value: Any) -> None:
    with pytest.raises(ReplyInvalid, match=r"tag|buffer|bytes|Arrow"):
        plain(_tagged([value], b"\0"))


def test_a_tag_that_is_not_known_asks_about_versions() -> None:
    with pytest.raises(
        ReplyInvalid, match=r"has the tag '\$new', which Atoll doesn't know. Is the algorithm's"
    ):
        plain(_tagged({"$new": 1}))


@pytest.mark.parametrize("depth", [127, 129, 400, 100_000])
def test_nesting_has_a_bound(depth: int) -> None:
    header = b'{"value":' + b"[" * depth + b"]" * depth + b"}"
    body = b"ATO1" + len(header).to_bytes(4, "big") + header
    if depth == 127:
        json.dumps(plain(body))
        return
    with pytest.raises(ReplyInvalid, match="nested"):
        plain(body)


def test_numbers_that_json_makes_infinite_are_null() -> None:
    header = b'{"value":[1e999,{"$complex":[-1e999,1]}]}'

    assert [None, [None, 1]] == plain(b"ATO1" + len(header).to_bytes(4, "big") + header)


TAGS = st.sampled_from([
    "$float", "$tuple", "$set", "$complex", "$decimal", "$time", "$map", "$data", "$bytes", "$array", "$frame",
    "$series", "$arrow", "$text", "$categories", "columns", "index", "index_name", "x",
])  # fmt: skip
ANYTHING = st.recursive(
    st.none()
    | st.integers(-2, 70)
    | st.floats()
    | st.sampled_from(["nan", "date", "|u1", "<f8", "<U1", "|i1", "<M8[s]", "m:C", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TAGS, inner, min_size=1, max_size=2),
    max_leaves=20,
)


@given(ANYTHING, st.lists(st.binary(max_size=20), max_size=3))
def test_whatever_a_container_holds_it_is_shown_or_refused(value: Any, buffers: list[bytes]) -> None:
    try:
        body = _tagged(json.loads(json.dumps(value).replace("NaN", "0").replace("Infinity", "1")), *buffers)
        read = plain(body)
    except ReplyInvalid:
        return
    json.dumps(read, allow_nan=False)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_has_no_word_for_travel_as_arguments(value: float) -> None:
    body = call_body("mean", {"limits": [0.0, value]}, None)
    got = theirs.unpack(body)["args"]["limits"]

    assert repr([0.0, value]) == repr(got)
