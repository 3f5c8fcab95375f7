"""Each site gets its values and the spec's defaults; what breaks a rule is told and passed on."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from atoll.dialects.coinstac.document import Json
from atoll.dialects.coinstac.inputs import (
    Reference,
    Resolved,
    count_sites,
    parse_inputspec,
    resolve_inputs,
)
from atoll.dialects.coinstac.rules import equal, file_names
from atoll.dialects.coinstac.spec import Compspec, InputVariable, parse_compspec
from atoll.model.errors import SpecInvalid


def spec_of(inputs: dict[str, Any], outputs: Sequence[str] = ()) -> Compspec:
    """A spec with these inputs, each attribute on a line of its own: the first input is on line 10."""
    computation = {"command": ["a"], "input": inputs, "output": {name: {} for name in outputs}}
    return parse_compspec(
        json.dumps({"meta": {"name": "x"}, "computation": computation}, indent=1), "c.json"
    )[0]


def resolve(
    inputs: dict[str, Any],
    inputspec: Json,
    *,
    clients: int | None = None,
    exists: Callable[[int, str], bool] = lambda _position, _name: True,
    earlier: Sequence[Compspec] = (),
) -> Resolved:
    """What sites start with, for a spec with these inputs."""
    parsed = parse_inputspec(json.dumps(inputspec), "i.json")
    return resolve_inputs(spec_of(inputs), parsed, clients=clients, exists=exists, earlier=earlier)


def told(variable: dict[str, Any], value: Json) -> list[str]:
    """What is said of a value of a variable, without files and lines."""
    warned = resolve({"x": variable}, {"x": {"value": value}}).warnings
    return [warning.removeprefix("i.json:1: x.value").rsplit(" in c.json:", 1)[0] for warning in warned]


def test_an_object_is_for_every_site() -> None:
    resolved = resolve({"x": {"type": "number"}}, {"x": {"value": 1, "fulfilled": True}}, clients=3)

    assert ({"x": 1}, {"x": 1}, {"x": 1}) == resolved.sites
    assert () == resolved.warnings


def test_without_clients_an_object_is_for_one_site() -> None:
    assert ({},) == resolve({}, {}).sites


def test_a_list_has_an_object_for_each_site() -> None:
    resolved = resolve({"x": {"type": "number"}}, [{"x": {"value": 1}}, {"x": {"value": 1.5}}])

    assert ({"x": 1}, {"x": 1.5}) == resolved.sites


def test_a_list_may_be_as_long_as_clients() -> None:
    assert ({}, {}) == resolve({}, [{}, {}], clients=2).sites


def test_values_keep_their_order_and_defaults_follow_in_the_order_of_the_spec() -> None:
    inputs = {
        "a": {"type": "number", "default": 1},
        "b": {"type": "number"},
        "c": {"type": "number", "defaultValue": 3},
        "d": {"type": "number"},
    }
    site = resolve(inputs, {"d": {"value": 4}, "b": {"value": 2}}).sites[0]

    assert [("d", 4), ("b", 2), ("a", 1), ("c", 3)] == list(site.items())


def test_an_entry_without_a_value_gives_no_key() -> None:
    assert ({},) == resolve({"x": {"type": "number"}}, {"x": {"fulfilled": True}}).sites


def test_an_entry_without_a_value_leaves_room_for_the_default() -> None:
    assert ({"x": 5},) == resolve({"x": {"type": "number", "default": 5}}, {"x": {}}).sites


def test_null_is_a_value_and_goes_before_the_default() -> None:
    resolved = resolve({"x": {"type": "number", "default": 5}}, {"x": {"value": None}})

    assert ({"x": None},) == resolved.sites
    assert ("i.json:1: x.value: expected a number, found null (type in c.json:11)",) == resolved.warnings


def test_null_is_fine_where_it_is_the_default() -> None:
    resolved = resolve({"x": {"type": "number", "default": None}}, {"x": {"value": None}})

    assert ({"x": None},) == resolved.sites
    assert () == resolved.warnings


def test_a_hidden_field_has_its_default() -> None:
    inputs = {
        "mode": {"type": "string", "default": "test"},
        "rate": {"type": "number", "default": 0.1, "conditional": {"variable": "mode", "value": "train"}},
    }

    assert ({"mode": "test", "rate": 0.1},) == resolve(inputs, {}).sites


def test_a_whole_number_of_any_size_is_kept_exact() -> None:
    assert ({"x": 2**80 + 1},) == resolve({"x": {"type": "number"}}, {"x": {"value": 2**80 + 1}}).sites


def test_a_variable_that_the_spec_lacks_is_passed_on_with_a_warning() -> None:
    resolved = resolve({"lambda": {"type": "number"}}, {"lamda": {"value": 1}, "zz": {"value": 2}})

    assert ({"lamda": 1, "zz": 2},) == resolved.sites
    assert (
        'i.json:1: lamda: is not an input of c.json:9; it is passed on all the same; did you mean "lambda"?',
        "i.json:1: zz: is not an input of c.json:9; it is passed on all the same",
    ) == resolved.warnings


def test_a_slip_of_the_word_value_is_warned_of() -> None:
    resolved = resolve(
        {"x": {"type": "number"}}, [{"x": {"valeu": 1}, "y": {"note": 2}, "z": {"fromcache": 3}}]
    )

    assert ({},) == resolved.sites
    assert (
        'i.json:1: [0].x.valeu: gives the variable no value; did you mean "value"?',
        'i.json:1: [0].z.fromcache: gives the variable no value; did you mean "fromCache"?',
    ) == resolved.warnings


def test_a_repeated_variable_is_warned_of() -> None:
    parsed = parse_inputspec('{"x": {"value": 1},\n"x": {"value": 2}}', "i.json")

    assert ("i.json:2: x: appears more than once; the last one counts",) == parsed.warnings
    assert ({"x": 2},) == parsed.sites


def test_a_required_variable_without_a_value_is_warned_of() -> None:
    resolved = resolve({"x": {"type": "number", "required": True}}, [{"x": {"value": 1}}, {}])

    assert ('i.json:1: [1]: has no value for "x", which c.json:10 requires',) == resolved.warnings


@pytest.mark.parametrize(
    ("mode", "count"),
    [
        ({"value": "train"}, 1),
        ({"value": "test"}, 0),
        ({}, 0),
        ({"fromCache": {"step": 0, "variable": "o"}}, 0),
    ],
)
def test_a_required_variable_that_its_condition_hides_is_not(mode: dict[str, Json], count: int) -> None:
    inputs = {
        "mode": {"type": "string"},
        "rate": {"type": "number", "required": True, "conditional": {"variable": "mode", "value": "train"}},
    }
    warned = resolve(inputs, {"mode": mode}, earlier=[spec_of({}, ["o"])]).warnings

    assert count == len(warned)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ({"type": "number", "min": 0, "max": 1}, 0),
        ({"type": "number", "min": 0, "max": 1}, 1.0),
        ({"type": "string"}, "x"),
        ({"type": "string", "values": ["x"]}, "x"),
        ({"type": "boolean"}, False),
        ({"type": "select", "values": ["a", 1, False]}, 1.0),
        ({"type": "select"}, "anything"),
        ({"type": "radio", "values": [None, "a"]}, None),
        ({"type": "array"}, [1, "a", None]),
        ({"type": "array", "values": ["a", "b"]}, ["b", "a"]),
        ({"type": "array", "items": ["number", "string"], "min": 2, "max": 2}, [1, "a"]),
        ({"type": "array", "items": ["integer"]}, [1, 2.0, 2**2000]),
        ({"type": "array", "items": ["float", "boolean", "object", "array"]}, [1, 0.5, True, {}]),
        ({"type": "array", "items": ["FreeSurfer", "number"]}, ["a"]),
        ({"type": "array", "items": ["boolean", "number"]}, {"a.txt": {"age": 22, "isControl": False}}),
        ({"type": "array", "items": ["boolean", "number"]}, [[[["file", "age"]]], ["age"], ["number"]]),
        ({"type": "range", "min": 0.1, "max": 1, "step": 0.05}, 0.85),
        ({"type": "range", "min": -1, "step": 0.1}, 1e15),
        ({"type": "range", "step": 5}, 15),
        ({"type": "range", "step": 0}, 0.123),
        ({"type": "range", "step": 0.5}, 10**400),
        ({"type": "range", "step": 1e-300}, 1e300),
        ({"type": "set", "min": 1, "limit": 1}, ["a"]),
        ({"type": "matrix"}, [[1, 2], []]),
        ({"type": "object"}, [0]),
        ({"type": "hidden"}, {"a": 1}),
        ({"type": "users"}, "me"),
        ({"type": "users"}, ["me", "you"]),
        ({"type": "csv", "items": ["boolean", "number", "string"]}, {"a": {"x": 1, "y": "b", "z": True}}),
        ({"type": "csv"}, {"a": {"x": None}}),
        ({"type": "csv", "extensions": ["csv"]}, "table.csv"),
        ({"type": "csv", "extensions": ["csv"]}, ["table.csv"]),
        ({"type": "csv", "extensions": ["csv"]}, [["table.csv"], ["CRIM", "ZN"]]),
        ({"type": "csv", "extensions": ["csv"]}, [[[["file", "age"], ["a.txt", 22]]], ["age"], ["number"]]),
        ({"type": "csv", "extensions": ["csv"]}, []),
        ({"type": "csv"}, "table.txt"),
        ({"type": "freesurfer"}, [{"type": "FreeSurfer", "value": ["5th-Ventricle"]}]),
        ({"type": "freesurfer", "extensions": ["txt"]}, [["a.txt"], ["5th-Ventricle"], ["FreeSurfer"]]),
        ({"type": "freesurfer", "extensions": ["txt"]}, ["5th-Ventricle"]),
        ({"type": "freesurfer", "extensions": ["txt"]}, []),
        ({"type": "files", "extensions": [["csv", "nii.gz"]], "count": 2}, ["a.CSV", "b.nii.gz"]),
        ({"type": "files", "extensions": "csv"}, "a.csv"),
        ({"type": "files"}, [["a"], ["b"]]),
        ({"type": "directory"}, "/data"),
        ({"type": "something else"}, 3),
        ({}, 3),
    ],
)
def test_a_value_that_the_spec_allows_is_not_warned_of(variable: dict[str, Any], value: Json) -> None:
    assert [] == told(variable, value)


@pytest.mark.parametrize(
    ("variable", "value", "warning"),
    [
        ({"type": "number"}, "1", ': expected a number, found a text ("1") (type'),
        ({"type": "number"}, True, ": expected a number, found true (type"),
        ({"type": "number", "min": 0}, -1, ": expected at least 0, found -1 (min"),
        ({"type": "number", "max": 1}, 1.5, ": expected at most 1, found 1.5 (max"),
        ({"type": "string"}, 1, ": expected a text, found a number (1) (type"),
        ({"type": "string", "values": ["a"]}, "b", ': expected one of "a"; found "b" (values'),
        ({"type": "boolean"}, 0, ": expected true or false, found a number (0) (type"),
        ({"type": "select", "values": ["32", "16"]}, 32, ': expected one of "32", "16"; found 32 (values'),
        ({"type": "radio", "values": [1]}, True, ": expected one of 1; found true (values"),
        ({"type": "array"}, "a", ': expected a list, found a text ("a") (type'),
        ({"type": "array"}, {"a": {}}, ": expected a list, found an object with 1 key (type"),
        ({"type": "array", "values": ["a"]}, ["a", "b"], '[1]: expected one of "a"; found "b" (values'),
        (
            {"type": "array", "items": ["number"]},
            [1, "secret"],
            "[1]: expected a number, found a text (items",
        ),
        (
            {"type": "array", "items": ["integer", "number", "float"]},
            ["a"],
            "[0]: expected a whole number or a number, found a text (items",
        ),
        (
            {"type": "array", "items": ["integer"]},
            [True],
            "[0]: expected a whole number, found true or false (items",
        ),
        ({"type": "array", "min": 2}, [1], ": expected at least 2 entries, found 1 (min"),
        ({"type": "array", "max": 1}, [1, 2], ": expected at most 1 entries, found 2 (max"),
        ({"type": "array", "count": 1}, [1, 2], ": expected 1 entries, found 2 (count"),
        (
            {"type": "range", "min": 0.1, "step": 0.05},
            0.33,
            ": expected 0.1 and a multiple of 0.05, found 0.33 (step",
        ),
        ({"type": "range", "step": 2}, 3, ": expected 0 and a multiple of 2, found 3 (step"),
        ({"type": "range", "step": 2}, "3", ': expected a number, found a text ("3") (type'),
        ({"type": "range", "step": 2}, False, ": expected a number, found false (type"),
        ({"type": "range", "max": 1}, 3, ": expected at most 1, found 3 (max"),
        ({"type": "set"}, [1], ": expected a list of texts, found a list of 1 (type"),
        ({"type": "set"}, "a", ': expected a list of texts, found a text ("a") (type'),
        ({"type": "set", "limit": 1}, ["a", "b"], ": expected at most 1 entries, found 2 (limit"),
        ({"type": "matrix"}, [[1], 2], ": expected a list of lists, found a list of 2 (type"),
        ({"type": "matrix"}, {}, ": expected a list of lists, found an empty object (type"),
        ({"type": "users"}, 3, ": expected a user or a list of users, found a number (3) (type"),
        ({"type": "users"}, [3], ": expected a user or a list of users, found a list of 1 (type"),
        (
            {"type": "csv"},
            3,
            ": expected an object with a row of covariates for each name, found a number (3) (type",
        ),
        (
            {"type": "csv"},
            {"a": 22, "b": {}},
            ": expected an object with a row of covariates for each name, found a number (type",
        ),
        (
            {"type": "csv", "items": ["boolean", "number"]},
            {"a": {"sex": "M"}},
            ': expected true or false or a number in column "sex", found a text (items',
        ),
        (
            {"type": "csv", "extensions": ["csv", "txt", "tsv"]},
            [["table.xls"], ["ZN"]],
            ': expected a name that ends in .csv, .txt or .tsv, found "table.xls" (extensions',
        ),
        (
            {"type": "csv", "extensions": ["csv"]},
            "a.txt",
            ': expected a name that ends in .csv, found "a.txt" (extensions',
        ),
        ({"type": "freesurfer"}, {}, ": expected a list, found an empty object (type"),
        ({"type": "freesurfer"}, [3], "[0]: expected an object, a text or a list, found a number (3) (type"),
        (
            {"type": "freesurfer"},
            [{"type": "FreeSurfer"}],
            '[0]: expected an object with a text "type" and a list "value" (type',
        ),
        (
            {"type": "freesurfer"},
            [{"value": []}],
            '[0]: expected an object with a text "type" and a list "value" (type',
        ),
        (
            {"type": "freesurfer", "extensions": ["txt"]},
            [["a.csv"], ["5th-Ventricle"]],
            ': expected a name that ends in .txt, found "a.csv" (extensions',
        ),
        ({"type": "files"}, {}, ": expected a list of file names, found an empty object (type"),
        ({"type": "files"}, ["a", 3], ": expected a list of file names, found a list of 2 (type"),
        (
            {"type": "files", "extensions": ["csv"]},
            ["a.txt"],
            ': expected a name that ends in .csv, found "a.txt" (extensions',
        ),
        ({"type": "files", "max": 1}, ["a", "b"], ": expected at most 1 files, found 2 (max"),
        ({"type": "directory"}, ["a"], ": expected a folder's name, found a list of 1 (type"),
    ],
)
def test_a_value_that_breaks_a_rule_is_told_with_the_rule(
    variable: dict[str, Any], value: Json, warning: str
) -> None:
    assert [warning] == told(variable, value)


def test_a_rule_is_quoted_with_its_line() -> None:
    warned = resolve({"x": {"type": "number", "max": 1}}, {"x": {"value": 2}}).warnings

    assert ("i.json:1: x.value: expected at most 1, found 2 (max in c.json:12)",) == warned


def test_a_rule_that_many_entries_break_is_told_once_with_their_number() -> None:
    warned = resolve(
        {"x": {"type": "array", "items": ["number"]}}, {"x": {"value": ["a", 1, "b", "c"]}}
    ).warnings

    assert (
        "i.json:1: x.value[0]: expected a number, found a text (items in c.json:12); 2 more like it",
    ) == warned


def test_what_is_wrong_at_many_sites_alike_is_told_once_with_their_number() -> None:
    inputspec: list[Json] = [{"x": {"value": value}} for value in ("a", "a", "a", "b")]
    warned = resolve({"x": {"type": "number"}}, inputspec).warnings

    assert (
        'i.json:1: [0].x.value: expected a number, found a text ("a") (type in c.json:11) (and so at 2 more sites)',
        'i.json:1: [3].x.value: expected a number, found a text ("b") (type in c.json:11)',
    ) == warned


def test_the_line_is_that_of_the_cell_although_its_row_is_not_named() -> None:
    parsed = parse_inputspec('{"x": {"value": {\n"patient 1": {"sex": 1,\n"age": "old"}}}}', "i.json")
    spec = spec_of({"x": {"type": "csv", "items": ["number"]}})
    resolved = resolve_inputs(spec, parsed, clients=None, exists=lambda _position, _name: True)

    assert (
        'i.json:3: x.value: expected a number in column "age", found a text (items in c.json:12)',
    ) == resolved.warnings


def test_files_that_a_site_lacks_are_named() -> None:
    files = {(0, "a.csv"), (1, "a.csv"), (1, "b.csv")}
    warned = resolve(
        {"x": {"type": "files"}},
        {"x": {"value": ["a.csv", "b.csv"]}},
        clients=3,
        exists=lambda position, name: (position, name) in files,
    ).warnings

    assert (
        'i.json:1: x.value: not in the folder of local0: "b.csv"',
        'i.json:1: x.value: not in the folder of local2: "a.csv", "b.csv"',
    ) == warned


def test_only_some_of_many_missing_files_are_named() -> None:
    warned = resolve(
        {"x": {"type": "files"}},
        {"x": {"value": ["a", "b", "c", "d", "e"]}},
        clients=2,
        exists=lambda _position, _name: False,
    ).warnings

    assert (
        'i.json:1: x.value: not in the folder of local0: "a", "b", "c" and 2 more (and so at 1 more site)',
    ) == warned


@pytest.mark.parametrize(
    ("variable", "value", "names"),
    [
        ({"type": "files"}, ["a", ["b"], 3], ("a", "b")),
        ({"type": "files"}, "a", ("a",)),
        ({"type": "directory"}, "folder", ("folder",)),
        ({"type": "freesurfer", "extensions": ["txt"]}, [["a.txt", "b"], ["CSF.txt"]], ("a.txt",)),
        ({"type": "freesurfer", "extensions": ["txt"]}, ["a.txt", "CSF"], ("a.txt",)),
        ({"type": "freesurfer"}, ["a.txt"], ()),
        ({"type": "array", "extensions": ["csv"]}, [], ()),
        ({"type": "csv", "extensions": ["csv"]}, "a.csv", ("a.csv",)),
        ({"type": "csv", "extensions": ["csv"]}, {"a.csv": {"x": 1}}, ()),
        ({"type": "string", "extensions": ["csv"]}, "a.csv", ()),
    ],
)
def test_files_are_known_by_the_type_of_the_variable(
    variable: dict[str, Any], value: Json, names: tuple[str, ...]
) -> None:
    assert names == file_names(InputVariable.model_validate(variable), value)


def test_a_reference_to_an_earlier_step_is_kept_in_its_place() -> None:
    inputspec: Json = {"a": {"fromCache": {"step": 1, "variable": "o"}}, "b": {"value": 1}}
    resolved = resolve(
        {"a": {"type": "number"}, "b": {"type": "number"}},
        inputspec,
        clients=2,
        earlier=[spec_of({}), spec_of({}, ["o"])],
    )

    assert ({"a": Reference(step=1, variable="o"), "b": 1},) * 2 == resolved.sites
    assert ["a", "b"] == list(resolved.sites[0])
    assert () == resolved.warnings


def test_a_reference_goes_before_a_value_beside_it() -> None:
    inputspec: Json = {"a": {"value": 1, "fromCache": {"step": 0.0, "variable": "o"}}}
    resolved = resolve({"a": {"type": "number"}}, inputspec, earlier=[spec_of({}, ["o"])])

    assert ({"a": Reference(step=0, variable="o")},) == resolved.sites


def test_a_reference_to_a_step_that_declares_no_outputs_is_doubtful() -> None:
    inputspec: Json = {"a": {"fromCache": {"step": 0, "variable": "o"}}}
    resolved = resolve({"a": {"type": "number"}}, inputspec, earlier=[spec_of({})])

    assert (
        'i.json:1: a: step 0 (x) declares no outputs, so that nothing says whether it gives "o"',
    ) == resolved.warnings


@pytest.mark.parametrize(
    ("earlier", "step", "fault"),
    [
        ([], 0, "i.json:1: a: is fromCache, but no step comes before the first; give it a value"),
        (
            [["o"]],
            1,
            (
                "i.json:1: a: refers to step 1, but this is step 1; "
                "only earlier steps can be referred to (the first is 0)"
            ),
        ),
        (
            [["o"]],
            7,
            (
                "i.json:1: a: refers to step 7, but this is step 1; "
                "only earlier steps can be referred to (the first is 0)"
            ),
        ),
        (
            [["result"]],
            0,
            'i.json:1: a: step 0 (x) has no output "results" in c.json:10; did you mean "result"?',
        ),
    ],
)
def test_a_reference_that_leads_nowhere_is_an_error(earlier: list[list[str]], step: int, fault: str) -> None:
    inputspec: Json = {"a": {"fromCache": {"step": step, "variable": "results"}}}
    with pytest.raises(SpecInvalid) as caught:
        resolve({"a": {"type": "number"}}, inputspec, earlier=[spec_of({}, outputs) for outputs in earlier])

    assert (fault,) == caught.value.faults


@pytest.mark.parametrize(
    ("clients", "fault"),
    [
        (
            3,
            (
                "i.json:1: has inputs for 2 sites, but 3 were asked for; "
                "ask for as many as are listed, or give one object for every site"
            ),
        ),
        (
            1,
            (
                "i.json:1: has inputs for 2 sites, but 1 was asked for; "
                "ask for as many as are listed, or give one object for every site"
            ),
        ),
    ],
)
def test_a_list_of_another_length_than_clients_is_an_error(clients: int, fault: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        resolve({}, [{}, {}], clients=clients)

    assert (fault,) == caught.value.faults


def test_without_any_list_there_is_one_site() -> None:
    assert 1 == count_sites([parse_inputspec("{}", "i.json")], clients=None)


def test_values_are_equal_as_json_is() -> None:
    assert equal(1, 1.0)
    assert not equal(1, True)
    assert equal({"a": [1]}, {"a": [1]})
