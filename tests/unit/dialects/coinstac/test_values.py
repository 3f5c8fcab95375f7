"""JSON arrives as JavaScript would pass it on, but without JavaScript's losses."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.dialects.coinstac.values import read, truthy, write
from atoll.model.errors import ReplyInvalid

#: Text with lone surrogates too: a script may have read them from a file name.
texts = st.text(st.characters(codec=None))
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


def as_javascript_would(value: Any) -> Any:
    """Integral floats below 1e21 as integers, said without the code that is tested."""
    if isinstance(value, float) and value == math.floor(value) and abs(value) < 1e21:
        # JavaScript writes the shortest digits that name the number, and fills up with zeros.
        digits, _, exponent = f"{value!r}".partition("e")
        whole, _, rest = digits.partition(".")
        shift = int(exponent or 0)
        rest = "" if rest == "0" else rest
        return int(whole + rest.ljust(shift, "0"))
    if isinstance(value, list):
        return [as_javascript_would(item) for item in value]
    if isinstance(value, dict):
        return {key: as_javascript_would(item) for key, item in value.items()}
    return value


def same(one: Any, other: Any) -> bool:
    """Equal in type too, and with keys in the same order: 1, 1.0 and True are three things."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@given(documents)
def test_what_is_written_is_read_again(document: Any) -> None:
    once = read(write(document).decode(), what="it")

    assert same(as_javascript_would(document), once)
    assert same(once, read(write(once).decode(), what="it"))


@given(documents)
def test_what_is_written_is_one_line_of_ascii(document: Any) -> None:
    written = write(document)

    assert written.isascii()
    assert b"\n" not in written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1.0", "1"),
        ("-1.0", "-1"),
        ("-0.0", "0"),
        ("-0", "0"),
        ("0.0", "0"),
        ("1e0", "1"),
        ("1E2", "100"),
        ("1e20", "100000000000000000000"),
        ("-1e20", "-100000000000000000000"),
        ("1.2345678901234567e19", "12345678901234567000"),
        ("-1.2345678901234567e19", "-12345678901234567000"),
        ("9007199254740991.0", "9007199254740991"),
        ("9007199254740992.0", "9007199254740992"),
        ("9007199254740994.0", "9007199254740994"),
        ("123456789012345680000.0", "123456789012345680000"),
        ("999999999999999900000.0", "999999999999999900000"),
        ("1e21", "1e+21"),
        ("-1e21", "-1e+21"),
        ("1.5e300", "1.5e+300"),
        ("1e-7", "1e-07"),
        ("1.5", "1.5"),
        ("5e-324", "5e-324"),
        ("1e-999", "0"),
        # Where JavaScript would round, the integer stays as it was written.
        ("12345678901234567890", "12345678901234567890"),
        (str(2**53 + 1), str(2**53 + 1)),
        (str(-(10**400)), str(-(10**400))),
        ('{"10":1,"2":2,"a":3}', '{"10":1,"2":2,"a":3}'),
        ('{"b":1,"a":{"z":[],"y":{}}}', '{"b":1,"a":{"z":[],"y":{}}}'),
        ('"\\ud800"', '"\\ud800"'),
        ('{"\\udfff":"é"}', '{"\\udfff":"\\u00e9"}'),
        ('"\\ud83c\\udf0a"', '"\\ud83c\\udf0a"'),
        ("[true,false,null]", "[true,false,null]"),
    ],
)
def test_a_value_is_passed_on_like_this(text: str, written: str) -> None:
    assert written.encode() == write(read(text, what="it"))


def test_from_1e21_on_a_float_stays_a_float() -> None:
    assert isinstance(read("1e21", what="it"), float)
    assert isinstance(read("999999999999999900000.0", what="it"), int)


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("NaN", "the answer", "NaN"),
        ("Infinity", "the answer", "Infinity"),
        ("-Infinity", "the answer", "-Infinity"),
        ("1e999", "the answer", "Infinity"),
        ("-1e999", "the answer", "-Infinity"),
        ('{"output":{"beta":[1,2,NaN]}}', "the answer.output.beta[2]", "NaN"),
        ('{"a":{"b":1},"c":[{"d":Infinity}]}', "the answer.c[0].d", "Infinity"),
        ('{"a":[NaN,Infinity],"b":-Infinity}', "the answer.a[0]", "NaN"),
        ("[[],[[]],[0,[1,1e400]]]", "the answer[2][1][1]", "Infinity"),
        ('{"NaN":"Infinity","x y":NaN}', "the answer.x y", "NaN"),
    ],
)
def test_what_is_not_finite_is_refused_with_its_path(text: str, place: str, word: str) -> None:
    with pytest.raises(ReplyInvalid) as refused:
        read(text, what="the answer")

    assert str(refused.value) == (
        f"{place} is {word}, which JSON has no word for: expected a finite number. "
        "Send null, or leave the value out"
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"a":NaN,"a":1}',  # The first is overwritten, and has no path any more.
        f"[NaN,{'1' * 5000}]",  # Read again for the path, the rest can't be read at all.
        f"[NaN,{'[' * 5000}{']' * 5000}]",
    ],
)
def test_what_is_not_finite_is_refused_even_where_its_path_cannot_be_found(text: str) -> None:
    with pytest.raises(ReplyInvalid) as refused:
        read(text, what="the answer")

    assert str(refused.value) == (
        "the answer holds a number that is not finite, which JSON has no word for: expected a finite number. "
        "Send null, or leave the value out"
    )


@given(documents, st.lists(st.sampled_from(["a", "b", 0, 1]), max_size=5))
def test_a_path_leads_to_what_is_not_finite(document: Any, path: list[str | int]) -> None:
    wrapped: Any = math.nan
    for part in reversed(path):
        wrapped = {part: wrapped} if isinstance(part, str) else [*[document] * part, wrapped]
    shown = "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in path)

    with pytest.raises(ReplyInvalid) as refused:
        read(json.dumps(wrapped), what="it")

    assert str(refused.value).startswith(f"it{shown} is NaN, ")


@pytest.mark.parametrize("text", ["", "{", "[1,]", "{'a': 1}", "nan", "1 2", "undefined", "[NaN", "NaN 1"])
def test_what_is_not_json_is_said_to_be_none(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        read(text, what="it")


def test_an_integer_of_more_digits_than_python_reads_is_refused() -> None:
    assert 10**4299 == read("1" + "0" * 4299, what="it")

    with pytest.raises(ReplyInvalid, match=r"^the answer holds an integer that is too long: "):
        read("1" + "0" * 4300, what="the answer")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_is_read_and_written_to_some_depth_and_refused_beyond(opening: str, closing: str) -> None:
    deep = opening * 300 + "1" + closing * 300
    too_deep = opening * 10**5 + "1" + closing * 10**5

    assert deep.encode() == write(read(deep, what="it"))
    with pytest.raises(ReplyInvalid, match=r"^the answer is nested too deeply to be read$"):
        read(too_deep, what="the answer")


def test_a_value_that_json_has_no_word_for_is_not_written() -> None:
    nested: list[Any] = []
    for _ in range(10**5):
        nested = [nested]

    for value in (math.nan, math.inf, {1, 2}, object(), 10**5000, nested):
        with pytest.raises(ReplyInvalid, match=r"^a value can't be written as JSON: "):
            write(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, False),
        (False, False),
        (0, False),
        (0.0, False),
        ("", False),
        (True, True),
        (1, True),
        (-1, True),
        (0.5, True),
        ("false", True),
        ("0", True),
        (" ", True),
        ([], True),
        ({}, True),
        ([0], True),
    ],
)
def test_what_javascript_takes_as_true_is_true(value: Any, expected: bool) -> None:
    assert expected is truthy(value)
