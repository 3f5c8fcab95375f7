"""Arrays and frames arrive with their values, their types and their names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll_algorithm import CantTravel
from atoll_algorithm._body import join, pack, unpack

numbers = ["?", "i1", "<i4", "<i8", "u2", "<f2", "<f4", "<f8", ">f8", "<c16", "M8[s]", "m8[ms]", "S3", "U2"]


def there_and_back(value: Any) -> Any:
    return unpack(join(pack(value)))


@given(
    st.sampled_from(numbers),
    st.lists(st.integers(0, 3), max_size=3),
    st.binary(min_size=27 * 16, max_size=27 * 16),
    st.booleans(),
)
def test_an_array_arrives_bit_for_bit(kind: str, shape: list[int], content: bytes, across: bool) -> None:
    count = int(np.prod(shape))
    if np.dtype(kind).kind == "U":
        array = np.array([chr(65 + one % 26) for one in content[:count]], kind).reshape(shape)
    else:
        array = np.frombuffer(content, kind, count).reshape(shape)
    array = np.asfortranarray(array) if across else array

    back = there_and_back({"array": array})["array"]

    assert (array.dtype, array.shape, array.tobytes()) == (back.dtype, back.shape, back.tobytes())


def test_an_array_is_read_where_it_lies_and_not_written_to() -> None:
    whole = join(pack({"weights": np.arange(4.0)}))

    weights = unpack(whole)["weights"]

    assert np.shares_memory(weights, np.frombuffer(whole, "u1"))
    with pytest.raises(ValueError, match="read-only"):
        weights += 1


def test_an_array_read_from_memory_that_could_be_written_is_not_written_to_either() -> None:
    assert not unpack(bytearray(join(pack(np.arange(4.0))))).flags.writeable


def _frames() -> dict[str, pd.DataFrame]:
    plain = pd.DataFrame({"n": [1, 2, 3], "x": [0.5, float("nan"), 2.0], "b": [True, False, True]})
    text = pd.DataFrame({"name": ["a", None, "ü"], "empty": [None, None, None], 7: ["x", "y", "z"]})
    kinds = pd.Categorical(["b", None, "a"], categories=["b", "a"], ordered=True)
    return {
        "plain": plain,
        "text": text,
        "categories": pd.DataFrame({"kind": kinds, "number": pd.Categorical([3, 1, 3])}),
        "times": pd.DataFrame({"on": pd.to_datetime(["2020-01-01", None]), "for": pd.to_timedelta([1, 2])}),
        "grouped": plain.groupby("b")[["n", "x"]].sum(),
        "sliced": plain[plain["n"] > 1],
        "crossed": pd.crosstab(plain["n"], plain["b"]),
        "dated": plain.set_index(pd.date_range("2020-01-01", periods=3)),
        "twice": pd.DataFrame([[1, "a"], [2, "b"]], columns=["same", "same"]),
        "no rows": plain.iloc[:0],
        "no columns": plain[[]],
        "nothing": pd.DataFrame(),
        "described": plain.describe(),
    }


@pytest.mark.parametrize("name", _frames())
def test_a_frame_arrives_without_arrow(name: str) -> None:
    frame = _frames()[name]
    whole = join(pack(frame))

    assert b"$arrow" not in whole
    pd.testing.assert_frame_equal(
        frame, unpack(whole), check_freq=False, check_index_type=False, check_column_type=False
    )


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"n": pd.array([1, None], dtype="Int64")}),
        pd.DataFrame({"on": pd.to_datetime(["2020-01-01"]).tz_localize("Europe/Amsterdam")}),
        pd.DataFrame({"n": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "v"])),
        pd.DataFrame({("a", "x"): [1], ("a", "y"): [2]}),
    ],
    ids=["missing", "zone", "rows", "columns"],
)
def test_a_frame_that_needs_arrow_arrives_as_it_left(frame: pd.DataFrame) -> None:
    pytest.importorskip("pyarrow")

    pd.testing.assert_frame_equal(frame, there_and_back(frame))


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1.5, 2.5], index=["a", "b"], name="mean"),
        pd.Series(["x", None]),
        pd.Series(["b", "a", "b"]).value_counts(),
        pd.Series([], dtype="float64"),
        pd.Series(pd.Categorical(["b", "a"])),
    ],
    ids=["named", "text", "counts", "empty", "categories"],
)
def test_a_series_arrives_as_it_left(series: pd.Series[Any]) -> None:
    pd.testing.assert_series_equal(series, there_and_back(series))


def test_a_frame_that_arrived_is_its_users_own() -> None:
    frame = there_and_back(pd.DataFrame({"n": [1, 2]}))

    frame.loc[0, "n"] = 9
    frame["n"] += 1

    assert [10, 3] == frame["n"].tolist()


def test_pandas_own_numbers_and_times_travel() -> None:
    value = {"when": pd.Timestamp("2020-01-02 03:04:05"), "gone": pd.NaT, "none": pd.NA}

    assert {"when": pd.Timestamp("2020-01-02 03:04:05"), "gone": None, "none": None} == there_and_back(value)
    with pytest.raises(CantTravel, match=r"result\['t'\] is a time with nanoseconds"):
        pack({"t": pd.Timestamp(1)})


def test_a_column_of_mixed_things_is_named() -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(CantTravel) as caught:
        pack({"table": pd.DataFrame({"fine": [1, 2], "mixed": [1, "a"]})}, words=frozenset(["table"]))

    assert str(caught.value).startswith("result['table']['mixed'] holds things of different")
    assert caught.value.sendable.startswith("result['table'][…] holds things of different")


def test_tables_of_other_libraries_arrive_as_what_they_were() -> None:
    arrow = pytest.importorskip("pyarrow")
    polars = pytest.importorskip("polars")
    table, frame = arrow.table({"n": [1, 2]}), polars.DataFrame({"s": ["a", None]})

    back = there_and_back({"arrow": table, "polars": frame})

    assert back["arrow"].equals(table)
    assert back["polars"].equals(frame)
    with pytest.raises(CantTravel, match=r"is a polars\.Series: expected a list or a frame"):
        pack(frame["s"])
