"""A document knows the line of everything in it, and says plainly why a text is not JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.dialects.coinstac.document import (
    WATCHED_CHARACTERS_MAX,
    Json,
    did_you_mean,
    found,
    kind,
    printable,
    read_document,
    short,
    show_path,
)
from atoll.model.errors import SpecInvalid

TEXT = """{
  "a": 1,
  "b": [
    true,
    {"c d": null, "e":
      [[], {}, "x\\"y"]}
  ],
  "f/g": {}
}
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("a",), 2),
        (("b",), 3),
        (("b", 0), 4),
        (("b", 1), 5),
        (("b", 1, "c d"), 5),
        (("b", 1, "e"), 5),
        (("b", 1, "e", 2), 6),
        (("f/g",), 8),
    ],
)
def test_a_value_in_an_object_is_at_the_line_of_its_key(path: tuple[str | int, ...], line: int) -> None:
    document = read_document(TEXT, "x.json")

    assert line == document.line_of(path)


def test_a_path_that_leads_nowhere_is_at_the_line_of_what_it_was_looked_for_in() -> None:
    document = read_document(TEXT, "x.json")

    assert 5 == document.line_of(("b", 1, "nowhere", "at all"))


def test_a_path_that_leads_into_a_number_is_at_the_line_of_the_number() -> None:
    assert 2 == read_document(TEXT, "x.json").line_of(("a", "b", "c"))


def test_of_a_key_that_appears_twice_the_line_is_that_of_the_last_one() -> None:
    assert 2 == read_document('{"a": 1,\n"a": 2}', "x.json").line_of(("a",))


def test_a_very_long_text_is_not_searched_for_keys_that_appear_twice() -> None:
    text = '{"a": 1, "a": 2}'
    document = read_document(text + " " * WATCHED_CHARACTERS_MAX, "x.json")

    assert {"a": 2} == document.value
    assert () == document.warnings


def test_a_sentence_names_file_line_and_path() -> None:
    document = read_document(TEXT, "x.json")

    assert 'x.json:5: b[1]["c d"]: is null' == document.sentence(("b", 1, "c d"), "is null")


def test_a_sentence_about_the_whole_document_names_no_path() -> None:
    assert "x.json:1: is empty" == read_document("[]", "x.json").sentence((), "is empty")


def test_a_sentence_may_show_less_than_the_path_that_its_line_is_found_by() -> None:
    document = read_document(TEXT, "x.json")

    assert "x.json:6: b: is odd" == document.sentence(("b", 1, "e", 0), "is odd", shown=("b",))


def test_a_byte_order_mark_is_passed_over() -> None:
    assert {"a": 1} == read_document('\ufeff{"a": 1}', "x.json").value


def test_a_whole_number_of_any_size_is_kept_exact() -> None:
    assert 12345678901234567890123 == read_document("12345678901234567890123", "x.json").value


def test_the_largest_float_is_read_although_it_looks_too_large() -> None:
    assert [1.7e308, "1e999"] == read_document('[1.7e308, "1e999"]', "x.json").value


def test_a_key_that_appears_twice_is_warned_of_once_and_the_last_one_counts() -> None:
    document = read_document(
        '{"a": {"b": 1},\n "a": {"b": 2},\n "c": [{"d": 1,\n "d": 2}], "e": {"b": 1}}', "x.json"
    )

    assert {"a": {"b": 2}, "c": [{"d": 2}], "e": {"b": 1}} == document.value
    assert (
        "x.json:2: a: appears more than once; the last one counts",
        "x.json:4: c[0].d: appears more than once; the last one counts",
    ) == document.warnings


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "x.json:1:1: expected a JSON document, found nothing"),
        (" \n ", "x.json:1:1: expected a JSON document, found nothing"),
        ("@", "x.json:1:1: expected a JSON document, found @"),
        ('{"a": 1,}', "x.json:1:8: the comma before '}' separates nothing; take it out"),
        ('{\n"a": 1 ,\n}', "x.json:2:8: the comma before '}' separates nothing; take it out"),
        ("[1,\n2,\n]", "x.json:2:2: the comma before ']' separates nothing; take it out"),
        ('{"a": True}', "x.json:1:7: expected a value, found True; JSON writes true"),
        ("[None]", "x.json:1:2: expected a value, found None; JSON writes null"),
        ('{"a":}', "x.json:1:6: expected a value, found }"),
        (
            "{'a': 1}",
            (
                "x.json:1:2: expected a key in double quotes, "
                "found a single quote; JSON writes texts in double quotes"
            ),
        ),
        ("{a: 1}", "x.json:1:2: expected a key in double quotes, found a"),
        (
            '{"a": 1 // one\n}',
            "x.json:1:9: expected ',' or the closing bracket, found a comment; JSON has none, take it out",
        ),
        ('{"a" 1}', "x.json:1:6: expected ':' after the key, found 1"),
        ("[1 2]", "x.json:1:4: expected ',' or the closing bracket, found 2"),
        ("{} {}", "x.json:1:4: expected the end of the document, found {"),
        ('{"a": 1\n', "x.json:1:8: expected ',' or the closing bracket, found the end of the file"),
        ('{"a": "x', "x.json:1:7: the text that starts here has no closing quote"),
        ('{"a": "x\ny"}', "x.json:1:9: a text holds a line break or a tab; write \\n or \\t"),
        (
            '{"a": "\\x"}',
            "x.json:1:8: a backslash in a text is followed by something unknown; write \\\\ for a backslash",
        ),
        ("[1,\n NaN]", "x.json:2:2: [1]: NaN is not JSON; write a number, or null where there is none"),
        ("Infinity", "x.json:1:1: Infinity is not JSON; write a number, or null where there is none"),
        (
            '{"a": {"b": -Infinity}}',
            "x.json:1:13: a.b: -Infinity is not JSON; write a number, or null where there is none",
        ),
        ('{"a": 1e999}', "x.json:1:7: a: 1e999 is beyond what a 64-bit float holds; write a smaller number"),
        (
            '{"a": -1' + "0" * 308 + "0.5}",
            f"x.json:1:7: a: -1{'0' * 37}… is beyond what a 64-bit float holds; write a smaller number",
        ),
        ("[" * 100_000, "x.json: the document is nested too deeply to be read"),
        ("1" * 5000, "x.json: a whole number has too many digits to be read"),
        (f"[{'y' * 50}]", f"x.json:1:2: expected a value, found {'y' * 39}…"),
    ],
)
def test_what_is_not_json_is_told_with_its_place_and_what_was_expected(text: str, fault: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        read_document(text, "x.json")

    assert (fault,) == caught.value.faults


def test_a_later_version_of_python_that_points_at_the_comma_changes_no_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def loads(text: str, **_: Any) -> Json:
        raise json.JSONDecodeError("Illegal trailing comma before end of object", text, 7)

    monkeypatch.setattr(json, "loads", loads)
    with pytest.raises(SpecInvalid) as caught:
        read_document('{"a": 1,}', "x.json")

    assert ("x.json:1:8: the comma before '}' separates nothing; take it out",) == caught.value.faults


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "a number (3)"),
        (0.5, "a number (0.5)"),
        (None, "null"),
        (True, "true"),
        ("x", 'a text ("x")'),
        ("é" * 60, f'a text ("{"é" * 37}…")'),
        ("x" * 39, f'a text ("{"x" * 37}…")'),
        ("x" * 38, f'a text ("{"x" * 38}")'),
        (10**60, f"a number (1{'0' * 37}…)"),
        ([], "an empty list"),
        ([1, 2], "a list of 2"),
        ({}, "an empty object"),
        ({"a": 1}, "an object with 1 key"),
        ({"a": 1, "b": 2}, "an object with 2 keys"),
    ],
)
def test_a_value_is_told_by_its_kind_and_shortened(value: Json, words: str) -> None:
    assert words == found(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "a number"),
        (False, "true or false"),
        ("secret", "a text"),
        ([1], "a list"),
        ({"a": 1}, "an object"),
        (None, "null"),
    ],
)
def test_a_kind_shows_nothing_of_the_value(value: Json, words: str) -> None:
    assert words == kind(value)


def test_a_path_is_written_as_people_write_it() -> None:
    assert 'a-b.c[0]["x y"]' == show_path(("a-b", "c", 0, "x y"))


def test_half_a_character_does_not_break_the_terminal() -> None:
    assert 'found "\\ud800"' == printable("found " + short("\ud800"))


def test_a_hint_finds_a_key_in_spite_of_case_and_slips() -> None:
    assert '; did you mean "dockerImage"?' == did_you_mean("dockerimag", ["command", "dockerImage"])


def test_no_hint_is_given_where_nothing_is_close() -> None:
    assert "" == did_you_mean("banana", ["command", "dockerImage"])


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_every_path_of_any_document_has_its_own_line_where_each_value_is_on_one(value: Json) -> None:
    document = read_document(json.dumps(value, indent=1), "x.json")
    paths = list(_paths(value, ()))

    assert value == document.value
    # With one key or entry per line, the lines of all values follow each other.
    assert sorted(map(document.line_of, paths)) == list(map(document.line_of, paths))
    assert len(paths) == len(set(map(document.line_of, paths)))


def _paths(value: Json, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    inner: list[tuple[str | int, Json]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(deeper for key, entry in inner for deeper in _paths(entry, (*path, key)))]
