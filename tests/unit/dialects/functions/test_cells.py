"""Raw arrays become what numpy would show, without numpy."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.dialects.functions.cells import element_type, shaped


def _read(array: np.ndarray[Any, Any]) -> Any:
    kind = element_type(array.dtype.str)
    assert kind is not None
    assert kind.size_bytes == array.dtype.itemsize
    return shaped(kind.read(memoryview(array.tobytes()), array.size), array.shape)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_whole_numbers_keep_every_digit(order: str, name: str) -> None:
    limits = np.iinfo(name)
    array = np.array([limits.min, 0, 1, limits.max], dtype=order + name)

    assert [limits.min, 0, 1, limits.max] == _read(array)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ["f2", "f4", "f8"])
def test_numbers_are_exact_and_those_that_are_not_finite_are_none(order: str, name: str) -> None:
    array = np.array([0.1, -2.5, np.nan, np.inf, -np.inf, -0.0], dtype=order + name)

    read = _read(array)

    assert [None, None, None] == read[2:5]
    assert [*array[:2].tolist(), -0.0] == [*read[:2], read[5]]
    assert math.copysign(1, read[5]) == -1


@pytest.mark.parametrize("name", ["<c8", ">c16"])
def test_a_complex_number_is_a_pair(name: str) -> None:
    assert [[1.0, -2.0], [None, 0.5]] == _read(np.array([1 - 2j, complex(np.nan, 0.5)], dtype=name))


def test_booleans_are_booleans() -> None:
    assert [True, False] == _read(np.array([True, False]))
    assert all(type(value) is bool for value in _read(np.array([True, False])))


@pytest.mark.parametrize("order", "<>")
def test_text_of_fixed_length_is_text(order: str) -> None:
    words = ["abc", "", "é😀", "a b"]

    assert words == _read(np.array(words, dtype=f"{order}U3"))
    assert ["ab", "", "é"] == _read(np.array([b"ab", b"", "é".encode()], dtype="S4"))


def test_what_is_no_text_in_a_cell_is_marked_and_nothing_breaks() -> None:
    kind = element_type("<U1")
    assert kind is not None

    assert ["�"] == kind.read(memoryview(b"\xff\xff\xff\xff"), 1)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 1, 1), (2, 0, 3), (0, 5), (0,), (4, 1, 2)])
def test_elements_are_nested_as_numpy_nests_them(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)

    assert array.tolist() == _read(array)


def _four_digits(written: str) -> str:
    """A date with a year of four digits or more; numpy counts the sign as one of them."""
    year, dash, rest = written[1:].partition("-")
    return f"-{year:0>4}{dash}{rest}" if written.startswith("-") else written


UNITS = ["W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "7D", "25s"]


#: Beyond these numpy's own arithmetic overflows.
COUNTS = st.integers(-(2**57), 2**57) | st.just(-(2**63))


@given(st.sampled_from(UNITS), COUNTS, st.sampled_from("<>"))
def test_times_are_iso_text_as_numpy_writes_them(unit: str, count: int, order: str) -> None:
    array = np.array([count], dtype=f"{order}i8").view(f"{order}M8[{unit}]")

    (read,) = _read(array)

    if count == -(2**63):
        assert read is None
        return
    # numpy shows as many digits as the unit has; text for people has no zeros at the end.
    date, _, clock = _four_digits(str(array[0])).partition("T")
    if not clock:
        assert date == read
        return
    clock = {"h": f"{clock}:00:00", "m": f"{clock}:00"}.get(unit, clock)
    assert f"{date}T{clock.rstrip('0').rstrip('.') if '.' in clock else clock}" == read


@pytest.mark.parametrize("unit", ["Y", "M"])
@pytest.mark.parametrize("count", [-30_000, -23_640, -1, 0, 11, 612])
def test_years_and_months_have_no_days(unit: str, count: int) -> None:
    array = np.array([count], dtype=f"M8[{unit}]")

    assert [_four_digits(str(array[0]))] == _read(array)


@given(st.datetimes())
def test_a_moment_is_what_python_reads(moment: dt.datetime) -> None:
    (read,) = _read(np.array([moment], dtype="M8[us]"))

    assert moment == dt.datetime.fromisoformat(read)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.timedelta64(1_500, "ms"), "1.5"),
        (np.timedelta64(-1, "ns"), "-0.000000001"),
        (np.timedelta64(2, "W"), "1209600"),
        (np.timedelta64(0, "s"), "0"),
        (np.timedelta64("NaT", "s"), None),
        (np.timedelta64(3, "Y"), "3 years"),
        (np.timedelta64(-5, "M"), "-5 months"),
    ],
)
def test_durations_are_seconds_where_they_have_a_fixed_length(
    value: np.timedelta64, said: str | None
) -> None:
    assert [said] == _read(np.array([value]))


@pytest.mark.parametrize(
    "written",
    [
        "",
        "f8",
        "<f16",
        "<c32",
        "|V8",
        "|O",
        "<i3",
        "<M8",
        "<f8[s]",
        "<M4[s]",
        "<M8[x]",
        "[('a', '<i4')]",
        "<f8\n",
    ],
)
def test_other_types_have_no_plain_values(written: str) -> None:
    assert element_type(written) is None
