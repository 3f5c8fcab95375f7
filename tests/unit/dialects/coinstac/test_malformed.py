"""What is told of documents that can't be used: every sentence, word for word."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.dialects.coinstac.document import Json
from atoll.dialects.coinstac.inputs import parse_inputspec, resolve_inputs
from atoll.dialects.coinstac.pipeline import parse_pipelinespec
from atoll.dialects.coinstac.spec import INPUT_TYPES, parse_compspec
from atoll.model.errors import SpecInvalid

#: What is said where protocol 1 has no command.
NO_COMMAND = 'is missing; expected a list of texts, such as ["python", "local.py"]'

COMPSPECS: dict[str, tuple[str, ...]] = {
    # Not JSON.
    "": ("f.json:1:1: expected a JSON document, found nothing",),
    "compspec": ("f.json:1:1: expected a JSON document, found compspec",),
    '{"meta": {"name": "x",}}': ("f.json:1:22: the comma before '}' separates nothing; take it out",),
    '{"meta": {}\n"computation": {}}': ("f.json:2:1: expected ',' or the closing bracket, found \"",),
    '{"meta": {}, "computation": {"command": ["a"]': (
        "f.json:1:46: expected ',' or the closing bracket, found the end of the file",
    ),
    '{"meta": {"preprocess": False}}': ("f.json:1:25: expected a value, found False; JSON writes false",),
    '{"meta": {} /* all */}': (
        "f.json:1:13: expected ',' or the closing bracket, found a comment; JSON has none, take it out",
    ),
    '{"meta": {"description": "one\ntwo"}}': (
        "f.json:1:30: a text holds a line break or a tab; write \\n or \\t",
    ),
    '{"computation": {"input": {"x": {\n"max": Infinity}}}}': (
        (
            "f.json:2:8: computation.input.x.max: "
            "Infinity is not JSON; write a number, or null where there is none"
        ),
    ),
    # Not an object.
    "[]": ("f.json:1: expected an object, found an empty list",),
    "null": ("f.json:1: expected an object, found null",),
    '"compspec"': ('f.json:1: expected an object, found a text ("compspec")',),
    "3": ("f.json:1: expected an object, found a number (3)",),
    # The two sections.
    "{}": (
        "f.json:1: meta: is missing; expected an object",
        "f.json:1: computation: is missing; expected an object",
    ),
    '{"computation": {"command": ["a"]}}': ("f.json:1: meta: is missing; expected an object",),
    '{"meta": {}}': ("f.json:1: computation: is missing; expected an object",),
    '{"meta": "x",\n"computation": ["a"]}': (
        'f.json:1: meta: expected an object, found a text ("x")',
        "f.json:2: computation: expected an object, found a list of 1",
    ),
    # The protocol.
    '{"meta": {"compspecVersion": 3}, "computation": {"command": ["a"]}}': (
        "f.json:1: meta.compspecVersion: expected 1 or 2, found a number (3)",
    ),
    '{"meta": {"compspecVersion": 1.5}, "computation": {"command": ["a"]}}': (
        "f.json:1: meta.compspecVersion: expected 1 or 2, found a number (1.5)",
    ),
    '{"meta": {"compspecVersion": "2"}, "computation": {"command": ["a"]}}': (
        'f.json:1: meta.compspecVersion: expected 1 or 2, found a text ("2")',
    ),
    '{"meta": {"compspecVersion": true}, "computation": {"command": ["a"]}}': (
        "f.json:1: meta.compspecVersion: expected 1 or 2, found true",
    ),
    # The command.
    '{"meta": {}, "computation": {}}': (f"f.json:1: computation.command: {NO_COMMAND}",),
    '{"meta": {}, "computation": {"command": null}}': (f"f.json:1: computation.command: {NO_COMMAND}",),
    '{"meta": {}, "computation": {\n"comand": ["a"]}}': (
        f'f.json:1: computation.command: {NO_COMMAND}; "comand" in line 2 looks like it',
    ),
    '{"meta": {}, "computation": {"remote": {"command": ["a"]}}}': (
        f"f.json:1: computation.command: {NO_COMMAND}",
    ),
    '{"meta": {}, "computation": {"command": 3}}': (
        "f.json:1: computation.command: expected a list of texts, found a number (3)",
    ),
    '{"meta": {}, "computation": {"command": {"run": "a"}}}': (
        "f.json:1: computation.command: expected a list of texts, found an object with 1 key",
    ),
    '{"meta": {}, "computation": {"command": []}}': (
        "f.json:1: computation.command: expected a list of at least one text, found an empty list",
    ),
    '{"meta": {}, "computation": {"command": ""}}': (
        'f.json:1: computation.command: expected a list of at least one text, found a text ("")',
    ),
    '{"meta": {}, "computation": {"command": "python \'a"}}': (
        'f.json:1: computation.command: expected a command whose quotes close, found a text ("python \'a")',
    ),
    '{"meta": {}, "computation": {"command": [\n"python",\n3,\nnull]}}': (
        "f.json:3: computation.command[1]: expected a text, found a number (3)",
        "f.json:4: computation.command[2]: expected a text, found null",
    ),
    # The aggregator's side.
    '{"meta": {}, "computation": {"command": ["a"], "remote": []}}': (
        "f.json:1: computation.remote: expected an object, found an empty list",
    ),
    '{"meta": {}, "computation": {"command": ["a"], "remote": "remote.py"}}': (
        'f.json:1: computation.remote: expected an object, found a text ("remote.py")',
    ),
    '{"meta": {}, "computation": {"command": ["a"], "remote": {"command": [1]}}}': (
        "f.json:1: computation.remote.command[0]: expected a text, found a number (1)",
    ),
    # Images and containers.
    '{"meta": {}, "computation": {"command": ["a"], "dockerImage": ["x"]}}': (
        "f.json:1: computation.dockerImage: expected a text, found a list of 1",
    ),
    '{"meta": {}, "computation": {"command": ["a"], "image": 3}}': (
        "f.json:1: computation.image: expected a text, found a number (3)",
    ),
    '{"meta": {}, "computation": {"command": ["a"], "containerOptions": "gpu"}}': (
        'f.json:1: computation.containerOptions: expected an object, found a text ("gpu")',
    ),
    # What goes in and comes out.
    '{"meta": {}, "computation": {"command": ["a"], "input": [{"x": {}}]}}': (
        "f.json:1: computation.input: expected an object, found a list of 1",
    ),
    '{"meta": {}, "computation": {"command": ["a"], "input": {"x": "number"}}}': (
        'f.json:1: computation.input.x: expected an object, found a text ("number")',
    ),
    '{"meta": {}, "computation": {"command": ["a"], "input": {"my x": null}}}': (
        'f.json:1: computation.input["my x"]: expected an object, found null',
    ),
    '{"meta": {}, "computation": {"command": ["a"], "output": ["o"]}}': (
        "f.json:1: computation.output: expected an object, found a list of 1",
    ),
    '{"meta": {}, "computation": {"command": ["a"], "output": {"o": "number"}}}': (
        'f.json:1: computation.output.o: expected an object, found a text ("number")',
    ),
}

INPUTSPECS: dict[str, tuple[str, ...]] = {
    "\n": ("f.json:1:1: expected a JSON document, found nothing",),
    '{"x": {"value": True}}': ("f.json:1:17: expected a value, found True; JSON writes true",),
    '[{"x": {"value": 1}},]': ("f.json:1:21: the comma before ']' separates nothing; take it out",),
    '[{"x":\n {"value": NaN}}]': (
        "f.json:2:12: [0].x.value: NaN is not JSON; write a number, or null where there is none",
    ),
    '"x": {"value": 1}': ("f.json:1:4: expected the end of the document, found :",),
    "3": ("f.json:1: expected an object of variables, or a list with one for each site; found a number (3)",),
    "null": ("f.json:1: expected an object of variables, or a list with one for each site; found null",),
    "[]": ("f.json:1: lists no site; give an object for every site, or a list of them",),
    "[{},\n3,\n[]]": (
        "f.json:2: [1]: expected an object of variables, found a number (3)",
        "f.json:3: [2]: expected an object of variables, found an empty list",
    ),
    '{"x": 1}': (
        'f.json:1: x: expected an object with "value", found a number (1); wrap it as {"value": …}',
    ),
    '{"x": null}': ('f.json:1: x: expected an object with "value", found null; wrap it as {"value": …}',),
    '{"x": ["a.csv"]}': (
        'f.json:1: x: expected an object with "value", found a list of 1; wrap it as {"value": …}',
    ),
    '[{"x": {}},\n{"x": "a", "y": true}]': (
        'f.json:2: [1].x: expected an object with "value", found a text ("a"); wrap it as {"value": …}',
        'f.json:2: [1].y: expected an object with "value", found true; wrap it as {"value": …}',
    ),
    '{"x": {"fromCache": null}}': (
        'f.json:1: x.fromCache: expected an object with "step" and "variable", found null',
    ),
    '{"x": {"fromCache": "sum"}}': (
        'f.json:1: x.fromCache: expected an object with "step" and "variable", found a text ("sum")',
    ),
    '{"x": {"fromCache": {}}}': (
        "f.json:1: x.fromCache.step: expected a whole number from 0, found nothing",
    ),
    '{"x": {"fromCache": {"step": -1, "variable": "o"}}}': (
        "f.json:1: x.fromCache.step: expected a whole number from 0, found a number (-1)",
    ),
    '{"x": {"fromCache": {"step": 0.5, "variable": "o"}}}': (
        "f.json:1: x.fromCache.step: expected a whole number from 0, found a number (0.5)",
    ),
    '{"x": {"fromCache": {"step": "0", "variable": "o"}}}': (
        'f.json:1: x.fromCache.step: expected a whole number from 0, found a text ("0")',
    ),
    '{"x": {"fromCache": {"step": false, "variable": "o"}}}': (
        "f.json:1: x.fromCache.step: expected a whole number from 0, found false",
    ),
    '[{"x": {"fromCache": {"step": 0}}}]': (
        "f.json:1: [0].x.fromCache.variable: expected the name of an output, found nothing",
    ),
    '{"x": {"fromCache": {"step": 0, "variable": 1}}}': (
        "f.json:1: x.fromCache.variable: expected the name of an output, found a number (1)",
    ),
}

PIPELINESPECS: dict[str, tuple[str, ...]] = {
    "[": ("f.json:1:2: expected a value, found the end of the file",),
    "{}": ("f.json:1: expected a list of paths of compspecs, found an empty object",),
    '{"steps": []}': ("f.json:1: expected a list of paths of compspecs, found an object with 1 key",),
    '"./compspec.json"': (
        'f.json:1: expected a list of paths of compspecs, found a text ("./compspec.json")',
    ),
    "[]": ("f.json:1: lists no step; expected at least one path of a compspec",),
    '["./compspec.json",\n{"meta": {}},\n3,\n""]': (
        "f.json:2: [1]: expected the path of a compspec, found an object with 1 key",
        "f.json:3: [2]: expected the path of a compspec, found a number (3)",
        'f.json:4: [3]: expected the path of a compspec, found a text ("")',
    ),
}


def _faults(parse: Callable[[str, str], object], text: str) -> tuple[str, ...]:
    with pytest.raises(SpecInvalid) as caught:
        parse(text, "f.json")
    return caught.value.faults


@pytest.mark.parametrize(("text", "faults"), COMPSPECS.items())
def test_a_compspec_that_can_not_be_run_is_told_with_all_its_faults(
    text: str, faults: tuple[str, ...]
) -> None:
    assert faults == _faults(parse_compspec, text)


@pytest.mark.parametrize(("text", "faults"), INPUTSPECS.items())
def test_an_inputspec_that_can_not_be_used_is_told_with_all_its_faults(
    text: str, faults: tuple[str, ...]
) -> None:
    assert faults == _faults(parse_inputspec, text)


@pytest.mark.parametrize(("text", "faults"), PIPELINESPECS.items())
def test_a_pipelinespec_that_can_not_be_used_is_told_with_all_its_faults(
    text: str, faults: tuple[str, ...]
) -> None:
    assert faults == _faults(parse_pipelinespec, text)


#: Any JSON, with keys that mean something in one of the documents more often than chance has it.
KEYS = st.sampled_from([
    "meta", "computation", "command", "remote", "input", "output", "display", "items", "type", "min", "max",
    "step", "values", "extensions", "conditional", "variable", "value", "fromCache", "compspecVersion", "x",
])  # fmt: skip
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "x", "a.csv", *INPUT_TYPES]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)


@given(ANYTHING, ANYTHING, ANYTHING)
def test_whatever_a_compspec_holds_it_is_read_or_told_as_faults(meta: Json, inputs: Json, rest: Json) -> None:
    computation = {"command": ["a"], **(rest if isinstance(rest, dict) else {}), "input": {"x": inputs}}
    for document in (
        {"meta": meta, "computation": computation},
        {"meta": {}, "computation": computation},
        rest,
    ):
        try:
            _, warnings = parse_compspec(json.dumps(document), "f.json")
        except SpecInvalid as error:
            warnings = error.faults

        assert all(sentence.startswith("f.json:1: ") for sentence in warnings)


@given(ANYTHING)
def test_whatever_an_inputspec_holds_it_is_read_or_told_as_faults(value: Json) -> None:
    faults: tuple[str, ...] = ()
    for parse in (parse_inputspec, parse_pipelinespec):
        try:
            parse(json.dumps(value), "f.json")
        except SpecInvalid as error:
            faults += error.faults

    assert all(sentence.startswith("f.json:1: ") for sentence in faults)


@given(st.sampled_from(INPUT_TYPES), st.dictionaries(KEYS, ANYTHING, max_size=4), ANYTHING)
def test_whatever_a_value_is_it_is_passed_on(name: str, hints: dict[str, Json], value: Json) -> None:
    document = {"meta": {}, "computation": {"command": ["a"], "input": {"x": {**hints, "type": name}}}}
    spec, _ = parse_compspec(json.dumps(document), "c.json")
    inputspec = parse_inputspec(json.dumps({"x": {"value": value}}), "i.json")

    assert ({"x": value},) == resolve_inputs(
        spec, inputspec, clients=None, exists=lambda _position, _name: False
    ).sites
