"""Tables that came as Arrow streams are shown by their columns, and bombs are not set off."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.dialects.functions.arrow import columns
from atoll.model.errors import ReplyInvalid


def _stream(table: pa.Table, compression: str | None = None) -> memoryview:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def _budget(elements: int) -> Callable[[int], bool]:
    left = elements

    def afford(count: int) -> bool:
        nonlocal left
        left -= count
        return left >= 0

    return afford


def _columns(table: pa.Table, elements: int = 1000) -> dict[str, Any]:
    found = columns(_stream(table), _budget(elements))
    assert found is not None
    return dict(found)


MOMENT = dt.datetime.fromisoformat("2024-02-29T01:02:03.5")
VALUES: list[tuple[Any, Any]] = [
    (pa.array([1, None, -3], pa.int32()), [1, None, -3]),
    (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
    (pa.array([True, None]), [True, None]),
    (pa.array([0.5, float("nan"), float("inf"), None]), [0.5, None, None, None]),
    (pa.array([0.5], pa.float32()), [0.5]),
    (pa.array(["a", "", None]), ["a", "", None]),
    (pa.array(["a", None], pa.large_string()), ["a", None]),
    (pa.array(["a", "b" * 50], pa.string_view()), ["a", "b" * 50]),
    (pa.array([b"ab", None]), ["YWI=", None]),
    (pa.array([b"ab"], pa.large_binary()), ["YWI="]),
    (pa.array([b"ab"], pa.binary(2)), ["YWI="]),
    (pa.array(["p", "q", None, "p"]).dictionary_encode(), ["p", "q", None, "p"]),
    (pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["a", None])), ["a", None, None]),
    (pa.array([decimal.Decimal("1.50"), None]), ["1.50", None]),
    (pa.array([MOMENT, None], pa.timestamp("ns")), ["2024-02-29T01:02:03.5", None]),
    (pa.array([MOMENT], pa.timestamp("s", tz="Europe/Berlin")), ["2024-02-29T01:02:03Z"]),
    (pa.array([MOMENT.date(), None]), ["2024-02-29", None]),
    (pa.array([MOMENT.date()], pa.date64()), ["2024-02-29"]),
    (pa.array([MOMENT.time(), None], pa.time64("us")), ["01:02:03.5", None]),
    (pa.array([dt.timedelta(seconds=-1.5), None]), ["-1.5", None]),
    (pa.nulls(2), [None, None]),
    (pa.array([[1], [2]]), {"dtype": "list<item: int64>", "shape": [2]}),
    (pa.array([{"a": 1}]), {"dtype": "struct<a: int64>", "shape": [1]}),
    (
        pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([[1]])),
        {"dtype": "dictionary<values=list<item: int64>, indices=int64, ordered=0>", "shape": [1]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("array", "shown"), VALUES, ids=[str(array.type) for array, _ in VALUES])
def test_a_column_is_shown_as_plain_values(array: Any, shown: Any) -> None:
    assert {"x": shown} == _columns(pa.table({"x": array}))


def test_batches_are_joined() -> None:
    table = pa.concat_tables([pa.table({"x": [1, 2]}), pa.table({"x": [3]})])

    assert {"x": [1, 2, 3]} == _columns(table)


def test_a_frame_of_polars_is_shown() -> None:
    sink = io.BytesIO()
    frame = pl.DataFrame({"s": ["a", None], "c": pl.Series(["p", "q"], dtype=pl.Categorical)})
    frame.write_ipc_stream(sink)

    assert [("s", ["a", None]), ("c", ["p", "q"])] == columns(sink.getbuffer(), _budget(100))


# --- A frame's index --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "shown"),
    [
        (pd.DataFrame({"x": [1, 2]}), {"x": [1, 2]}),
        (pd.DataFrame({"x": [1, 2]}, index=["a", "b"]), {"index": ["a", "b"], "x": [1, 2]}),
        (pd.DataFrame({"x": [1, 2]}, index=pd.Index([5, 3], name="id")), {"id": [5, 3], "x": [1, 2]}),
        (pd.DataFrame({"x": [1, 2]}, index=pd.RangeIndex(5, 9, 2)), {"index": [5, 7], "x": [1, 2]}),
        (pd.DataFrame({"x": [1]}, index=pd.RangeIndex(7, 8, name="n")), {"n": [7], "x": [1]}),
    ],
)
def test_the_index_of_a_frame_comes_first_unless_it_only_counts(
    frame: pd.DataFrame, shown: dict[str, Any]
) -> None:
    found = _columns(pa.Table.from_pandas(frame))

    assert list(shown.items()) == list(found.items())


@pytest.mark.parametrize(
    "note",
    [
        b"{", b"[]", b'{"index_columns": 3}', b'{"index_columns": [3, null]}', b"[" * 100_000,
        b'{"index_columns": [{"start": 1, "stop": "2", "step": 1}]}',
        b'{"index_columns": [{"start": 1, "stop": 2, "step": 0}]}',
        b'{"index_columns": [{"start": 1, "stop": 1000000000000, "step": 1}]}',
    ],
)  # fmt: skip
def test_what_else_stands_where_pandas_notes_an_index_is_passed_over(note: bytes) -> None:
    table = pa.table({"x": [1, 2]}).replace_schema_metadata({b"pandas": note})

    assert {"x": [1, 2]} == _columns(table)


# --- Bounds -----------------------------------------------------------------------------------


def test_what_can_not_be_afforded_is_shown_by_type_and_rows() -> None:
    table = pa.table({"x": range(10), "y": range(10), "z": range(10)})

    shown = _columns(table, elements=20)

    assert [list(range(10)), list(range(10)), {"dtype": "int64", "shape": [10]}] == list(shown.values())


def test_one_long_word_is_not_written_a_thousand_times() -> None:
    codes = pa.array([0] * 1000, pa.int16())
    table = pa.table({"x": pa.DictionaryArray.from_arrays(codes, pa.array(["w" * 10_000]))})

    (shown,) = _columns(table, elements=5000).values()

    assert [1000] == shown["shape"]


def test_a_long_name_of_a_type_is_cut() -> None:
    fields = pa.struct([(f"field{number}", pa.int64()) for number in range(1000)])

    (shown,) = _columns(pa.table({"x": pa.nulls(1, fields)})).values()

    assert 100 == len(shown["dtype"])


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("array", [pa.array([0] * 1000), pa.array(["a"] * 1000).dictionary_encode()])
def test_what_is_compressed_is_not_unpacked(compression: str, array: Any) -> None:
    """Nobody can tell how large it will be."""
    stream = _stream(pa.table({"x": array}), compression)

    assert columns(stream, _budget(10_000)) is None


def test_without_pyarrow_or_with_one_that_is_not_sound_nothing_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = _stream(pa.table({"x": [1]}))
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pyarrow", SimpleNamespace(__version__="14.0.0"))
        assert columns(stream, _budget(10)) is None
        # So Python takes a module that isn't installed.
        patched.setitem(sys.modules, "pyarrow", None)
        assert columns(stream, _budget(10)) is None
    assert [("x", [1])] == columns(stream, _budget(10))


# --- Damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xff\xff\xff\0\0\0\x10" + bytes(8), bytes(64)])
def test_what_is_no_stream_is_refused(content: bytes) -> None:
    with pytest.raises(ReplyInvalid, match=r"a table's Arrow data are damaged \(\w+\)"):
        columns(memoryview(content), _budget(100))


def test_text_that_is_no_text_is_refused() -> None:
    table = pa.table({"x": pa.array([b"\xff\xfe"]).view(pa.string())})

    with pytest.raises(ReplyInvalid, match="damaged"):
        columns(_stream(table), _budget(100))


@given(st.data())
def test_a_stream_that_was_changed_anywhere_is_shown_or_refused(data: st.DataObject) -> None:
    table = pa.table({"x": [1, None], "s": ["a", "b"], "d": pa.array(["p", "q"]).dictionary_encode()})
    sound = bytearray(_stream(table))
    for _ in range(data.draw(st.integers(1, 4))):
        sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    try:
        shown = columns(memoryview(bytes(sound)), _budget(1000))
    except ReplyInvalid:
        return
    assert shown is None or len(json.dumps(shown)) < 100_000
