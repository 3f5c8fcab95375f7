"""The answer is found among what a script prints, or the error shows what was printed."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.dialects.coinstac.printed import answer_in
from atoll.model.errors import ReplyInvalid

ANSWER = '{"output":{"sum":5},"success":true}'
DOCUMENT = {"output": {"sum": 5}, "success": True}

EXPECTED = 'expected one JSON object, such as {"output": {}}'


def refusal(printed: bytes) -> str:
    """What is said about a print that holds no answer."""
    with pytest.raises(ReplyInvalid) as refused:
        answer_in(printed)
    return str(refused.value)


@pytest.mark.parametrize(
    "printed",
    [
        ANSWER,
        f"  \n{ANSWER}\n\n",
        f"\ufeff{ANSWER}",
        json.dumps(DOCUMENT, indent=4),
        json.dumps(DOCUMENT, indent="\t").replace("\n", "\r\n"),
    ],
)
def test_an_answer_alone_is_taken_without_a_word(printed: str) -> None:
    assert (DOCUMENT, None) == answer_in(printed.encode())


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (f"Welcome!\n{ANSWER}", "'Welcome!'"),
        (f"{ANSWER}\nGood bye", "'Good bye'"),
        (f"one {ANSWER} two", "'one two'"),
        (f"{{starting}} {ANSWER}", "'{starting}'"),
        (f"set {{}}: {ANSWER}", "'set {}:'"),
        (f"{ANSWER} {{'a': 1}} }}{{", "\"{'a': 1} }{\""),
        (f"{{{{{{ {ANSWER}", "'{{{'"),
        (f"Iteration 1:\n{json.dumps(DOCUMENT, indent=2)}\ndone", "'Iteration 1: done'"),
        # A banner that is JSON itself.
        (f"42\n{ANSWER}", "'42'"),
        (f"[1, 2]\n{ANSWER}", "'[1, 2]'"),
        (f'[{{"a": 1}}]\n{ANSWER}', "'[{\"a\": 1}]'"),
        (f'{{"version": "1.0"}}\n{ANSWER}', '\'{"version": "1.0"}\''),
        (f'{ANSWER}\n{{"bye": 1}}', "'{\"bye\": 1}'"),
        (f"null\n{ANSWER}\n0", "'null 0'"),
        # The last answer counts.
        (f'{{"output": {{"sum": 4}}}}\n{ANSWER}', '\'{"output": {"sum": 4}}\''),
        # A number in a banner that Python doesn't read is no reason to give up.
        (f'at {{"seed": {"1" * 5000}}}\n{ANSWER}', f"'at {{\"seed\": {'1' * 288} … {'1' * 299}}}'"),
    ],
)
def test_an_answer_is_told_apart_from_other_prints_with_a_warning(printed: str, shown: str) -> None:
    answer, warning = answer_in(printed.encode())

    assert DOCUMENT == answer
    assert warning == (
        f"printed more than its answer on standard output ({shown}); the last JSON object was taken as the "
        "answer. Print everything else to standard error"
    )


def test_an_object_without_output_is_the_answer_where_there_is_no_other() -> None:
    """It has the one other key that an answer may have, or its lines are its own."""
    for said, answer in (
        ('hello {"cache":{"a":1}}', {"cache": {"a": 1}}),
        ("hello\n{}", {}),
        ("hello\n  {\n} \ngood bye", {}),
        ('{"x": 1}\r\nhello', {"x": 1}),
    ):
        found, warning = answer_in(said.encode())

        assert answer == found
        assert warning is not None


def test_an_object_that_only_says_success_is_an_answer() -> None:
    answer, _ = answer_in(b'{"success":true}\n{"elapsed": 3}')

    assert {"success": True} == answer


@pytest.mark.parametrize("printed", [b"", b" \n\t\r\n", b"\xef\xbb\xbf"])
def test_a_script_that_prints_nothing_is_told_so(printed: bytes) -> None:
    assert refusal(printed) == f"nothing was printed on standard output: {EXPECTED}"


@pytest.mark.parametrize(
    ("printed", "kind"),
    [
        ("null", "null was printed on standard output ('null')"),
        ("true", "a boolean was printed on standard output ('true')"),
        ("5", "a number was printed on standard output ('5')"),
        ("5.5\n", "a number was printed on standard output ('5.5')"),
        ('"done"', "a text was printed on standard output ('\"done\"')"),
        ("[1,\n 2]", "a list was printed on standard output ('[1, 2]')"),
        ('[{"output":{}}]', "a list was printed on standard output ('[{\"output\":{}}]')"),
    ],
)
def test_another_json_value_is_no_answer(printed: str, kind: str) -> None:
    assert refusal(printed.encode()) == f"{kind}: {EXPECTED}"


def test_what_is_not_utf_8_is_refused_with_its_place() -> None:
    expected = "what was printed on standard output is not UTF-8 (at byte 15): expected one JSON object"

    assert expected == refusal('{"output": "caf\xe9"}'.encode("latin-1"))


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("hello", "'hello'"),
        ("it's\n  a   long\tstory", '"it\'s a long story"'),
        # A dictionary as Python shows it: an empty object in it is not the answer.
        ("{'output': {}}", "\"{'output': {}}\""),
        ("{'cache': {},\n 'output': [{\"a\": 1}]}", "'{\\'cache\\': {}, \\'output\\': [{\"a\": 1}]}'"),
        ("done {}", "'done {}'"),
        ('{"output": {"a": ', '\'{"output": {"a":\''),
        (f"{'a' * 400}{'b' * 400}", f"'{'a' * 300} … {'b' * 300}'"),
        ("a" * 600, f"'{'a' * 600}'"),
    ],
)
def test_the_error_shows_both_ends_of_what_was_printed(printed: str, shown: str) -> None:
    assert refusal(printed.encode()) == (
        f"standard output holds no JSON object that could be the answer. It printed: {shown}. "
        'Expected one JSON object, such as {"output": {}}; print everything else to standard error'
    )


@pytest.mark.parametrize("banner", ["", "loading\n"])
def test_what_json_has_no_word_for_is_refused_among_prints_too(banner: str) -> None:
    refused = refusal(f'{banner}{{"output":{{"beta":[NaN]}}}}'.encode())

    assert refused.startswith("the answer.output.beta[0] is NaN, which JSON has no word for")


@pytest.mark.parametrize(
    "printed",
    [
        "{" * 10**5,
        "{}" * 10**5,
        '{"a":' * 10**5,
        "{[" * 10**5,
        f"{'{' * 10**5} {ANSWER}",
    ],
)
def test_a_print_full_of_braces_costs_little(printed: str) -> None:
    """It may hide an answer. It may not cost hours."""
    started = time.process_time()
    try:
        answer_in(printed.encode())
    except ReplyInvalid:
        pass  # Whether an answer is found behind so many braces is not promised.

    assert time.process_time() - started < 10


objects = st.dictionaries(
    st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists), max_size=3
)


@given(
    before=st.text("ab {}[]\"',:\n1"),
    after=st.text("ab }]',:\n1"),
    output=objects,
    indent=st.none() | st.integers(0, 4),
)
def test_whatever_is_printed_around_it_an_answer_or_a_refusal_comes_back(
    before: str, after: str, output: dict[str, Any], indent: int | None
) -> None:
    document = {"output": output}
    printed = f"{before}\n{json.dumps(document, indent=indent)}\n{after}"

    try:
        answer, warning = answer_in(printed.encode())
    except ReplyInvalid:
        # An open brace or quotation mark before it may have swallowed the answer.
        assert set(before) & set('{["')
        return

    if not set(before) & set('{["'):
        assert document == answer
        assert (warning is None) == (not f"{before}{after}".strip())


@pytest.mark.timeout(30)
def test_braces_within_braces_are_not_each_read_to_the_end() -> None:
    """What is printed to cost hours costs seconds: the node must hear of it, and of everything else."""
    printed = b'{"a":' * 300 + b"[" + b"0," * 2_000_000

    with pytest.raises(ReplyInvalid, match="holds no JSON object that could be the answer"):
        answer_in(printed)
