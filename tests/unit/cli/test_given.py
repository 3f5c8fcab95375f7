"""What options say as values, and what is said where they say nothing that can be passed on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from atoll.cli import given
from atoll.model.errors import SpecInvalid

#: Text that UTF-8 has words for.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def faults(*words: str, file: Path | None = None) -> list[str]:
    with pytest.raises(SpecInvalid) as caught:
        given.arguments(words, file)
    return list(caught.value.faults)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("2.5", 2.5),
        ("true", True),
        ("null", None),
        ('"3"', "3"),
        ('["a", "b"]', ["a", "b"]),
        ('{"a": {"b": 1}}', {"a": {"b": 1}}),
        ("age", "age"),
        ("True", "True"),
        ("a=b", "a=b"),
        ("", ""),
        (" 3 ", 3),
        ("[1, 2", "[1, 2"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("[NaN]", "[NaN]"),
        ("9" * 5_000, "9" * 5_000),
        ("Ærø 🏝", "Ærø 🏝"),
    ],
)
def test_a_value_is_json_where_it_parses_as_json_else_text(text: str, value: object) -> None:
    assert {"key": value} == given.arguments([f"key={text}"], None)


@for_all(value=JSON)
def test_every_value_of_json_arrives_as_it_is(value: object) -> None:
    assert {"key": value} == given.arguments([f"key={json.dumps(value)}"], None)


def test_arguments_keep_their_order_and_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "args.json"
    file.write_text('\ufeff{"column": "age", "bins": 10}', encoding="utf-8")

    arguments = given.arguments(["bins=20", "strict=true"], file)

    assert [("column", "age"), ("bins", 20), ("strict", True)] == list(arguments.items())


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("age", "--arg 'age': expected KEY=VALUE, such as --arg column=age"),
        ("=3", "--arg '=3': expected KEY=VALUE, such as --arg column=age"),
        ("", "--arg '': expected KEY=VALUE, such as --arg column=age"),
        ("x=1e999", "--arg 'x': has the number '1e999', which is too large"),
        ('x={"a": 1, "a": 2}', "--arg 'x': has the key 'a' twice"),
        (f"x={'[' * 100_000}", "--arg 'x': is nested too deeply"),
        ("x=\udcff", "--arg 'x': holds text that is not UTF-8"),
        ('x="\\ud800"', "--arg 'x': holds text that is not UTF-8"),
        ("\udcff=1", "--arg '\\udcff': holds text that is not UTF-8"),
    ],
)
def test_an_argument_that_can_t_be_passed_on_is_a_fault(word: str, fault: str) -> None:
    assert [fault] == faults(word)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    assert [
        f"--args {tmp_path / 'none.json'} can't be read: No such file or directory",
        "--arg 'a' was given twice: each argument has one value",
        "--arg 'b': expected KEY=VALUE, such as --arg column=age",
    ] == faults("a=1", "a=2", "b", file=tmp_path / "none.json")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[1]", "holds a list: expected a JSON object with a value for each argument"),
        (b"null", "holds null: expected a JSON object with a value for each argument"),
        (b"{", ": is not JSON (Expecting property name enclosed in double quotes, at line 1, column 2)"),
        (b'{"a": NaN}', ": is not JSON (it has NaN)"),
        (b'{"a": 1, "a": 2}', ": has the key 'a' twice"),
        (b'{"a": "\xff"}', " is not UTF-8, at byte 7: expected JSON"),
    ],
)
def test_a_file_that_is_no_object_is_a_fault(tmp_path: Path, content: bytes, fault: str) -> None:
    file = tmp_path / "args.json"
    file.write_bytes(content)

    (said,) = faults(file=file)

    assert said.startswith(f"--args {file}")
    assert said.endswith(fault)


def test_a_database_is_a_label_or_a_label_with_options() -> None:
    assert (
        "default",
        'visits:{"query": "SELECT 1"}',
        "with:colon",
        'with:colon:{"sheet_name": "2024"}',
    ) == given.databases(
        [
            "default",
            'visits:{ "query":"SELECT 1" }',
            "with:colon",
            'with:colon:{"sheet_name": "2024"}',
        ]
    )
    assert ("default",) == given.databases(["default:{}"])


def test_a_step_is_a_name_with_arguments_or_without() -> None:
    assert ('filter:{"rows": 3}', "drop", "sort") == given.steps(
        "--preprocess", ['filter:{"rows":3}', "drop", "sort:{}"]
    )


@pytest.mark.parametrize("word", ["", " ", ':{"query": "x"}'])
def test_a_database_has_a_label(word: str) -> None:
    with pytest.raises(SpecInvalid, match="expected LABEL, or LABEL:"):
        given.databases([word])


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("filter:", r"what stands after the colon is not JSON \(Expecting value"),
        ("filter:rows=3", r"what stands after the colon is not JSON \(Expecting value"),
        ("filter:[1]", "what stands after the colon is a list; expected a JSON object"),
        (":{}", "expected NAME, or NAME:"),
    ],
)
def test_what_stands_after_a_step_is_an_object(word: str, fault: str) -> None:
    with pytest.raises(SpecInvalid, match=fault):
        given.steps("--preprocess", [word])


def test_options_of_a_database_are_an_object() -> None:
    with pytest.raises(SpecInvalid, match="--database 'a': what stands after the colon is not JSON"):
        given.databases(['a:{"query" "SELECT 1"}'])


@pytest.mark.parametrize(
    "name",
    [
        "registry.example/group/mean:1.0",
        f"mean@sha256:{'a' * 64}",
        f"sha256:{'a' * 64}",
        "7deb120bf1d6",
    ],
)
def test_an_image_is_named_in_each_way_that_an_engine_knows(name: str) -> None:
    assert given.place(Path(f"docker:{name}"), None) == (Path(), name)


@pytest.mark.parametrize("name", ["", "Upper/Case", "who:secret@registry.example/mean", "-v"])
def test_what_no_image_can_be_called_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(SpecInvalid, match="no name of an image") as caught:
        given.place(Path(f"docker:{name}"), None)
    assert "secret" not in str(caught.value)


# --- Sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"), [(None, None), ("4096", 4096), ("10MB", 10**7), ("1.5 GiB", 3 * 2**29)]
)
def test_a_size_is_bytes_or_has_a_unit(text: str | None, expected: int | None) -> None:
    assert given.size("--disk", text) == expected


@pytest.mark.parametrize(("text", "expected"), [(None, None), ("512", 512), ("512 MiB", 512), ("4GiB", 4096)])
def test_memory_without_a_unit_is_in_mebibytes(text: str | None, expected: int | None) -> None:
    assert given.mebibytes("--memory", text) == expected


@pytest.mark.parametrize("text", ["lots", "", "0", "-1", "4 apples"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SpecInvalid, match=r"--disk '.*': expected a number of bytes above 0"):
        given.size("--disk", text)
    with pytest.raises(SpecInvalid, match="--memory"):
        given.mebibytes("--memory", text)


def test_memory_of_less_than_a_mebibyte_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="--memory '100KB': expected 1MiB or more"):
        given.mebibytes("--memory", "100KB")
