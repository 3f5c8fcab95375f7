"""A compspec is read as published, and says to the engine what it needs."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from atoll.dialects.coinstac import spec as module
from atoll.dialects.coinstac.spec import INPUT_TYPES, Compspec, InputVariable, json_schema, parse_compspec
from atoll.model.errors import SpecInvalid
from atoll.model.work import Role

REFERENCE = Path(__file__).parents[4] / "docs" / "reference"

#: The shape of a complete published spec: every section, escaped slashes, both spellings of a default.
REGRESSION = r"""{
  "meta": {
    "name": "ridge regression",
    "id": "ridge",
    "version": "v1.0.0",
    "repository": "https:\/\/example.org\/ridge",
    "description": "One shot"
  },
  "computation": {
    "type": "docker",
    "dockerImage": "example\/ridge",
    "command": ["python", "\/computation\/local.py"],
    "remote": {
      "type": "docker",
      "dockerImage": "example\/ridge",
      "command": ["python", "\/computation\/remote.py"]
    },
    "input": {
      "lambda": {
        "defaultValue": 0, "label": "Lambda", "max": 1, "min": 0, "step": 0.05, "type": "number", "source": "owner"
      },
      "covariates": {"label": "Covariates", "type": "array", "items": ["boolean", "number"]},
      "data": {"label": "Data", "type": "array", "items": ["FreeSurfer"], "extensions": [["csv", "txt"]]}
    },
    "output": {},
    "display": []
  }
}
"""


def read(computation: dict[str, Any], **rest: Any) -> Compspec:
    """A spec with this computation; it has no faults."""
    spec, _ = parse_compspec(
        json.dumps({"meta": {"name": "x"}, "computation": computation, **rest}), "compspec.json"
    )
    return spec


def warnings(computation: dict[str, Any], meta: dict[str, Any] | None = None, **rest: Any) -> tuple[str, ...]:
    """What is warned of in a spec with this computation."""
    document = {"meta": {"name": "x", **(meta or {})}, "computation": computation, **rest}
    return parse_compspec(json.dumps(document), "c.json")[1]


def test_a_complete_published_spec_has_neither_faults_nor_warnings() -> None:
    spec, warned = parse_compspec(REGRESSION, "compspec.json")

    assert () == warned
    assert "ridge regression" == spec.name
    assert 1 == spec.version_of_protocol
    assert spec.decentralized
    assert ["lambda", "covariates", "data"] == list(spec.inputs)
    assert ("csv", "txt") == spec.inputs["data"].extensions
    assert {} == spec.outputs
    assert () == spec.display


def test_the_aggregator_has_its_own_command() -> None:
    spec, _ = parse_compspec(REGRESSION, "compspec.json")

    assert ("python", "/computation/local.py") == spec.command_for(Role.SITE)
    assert ("python", "/computation/remote.py") == spec.command_for(Role.AGGREGATOR)


def test_what_the_remote_section_leaves_out_is_taken_from_beside_it() -> None:
    spec = read(
        {
            "command": ["a"],
            "dockerImage": "image",
            "containerOptions": {"HostConfig": {"ShmSize": 1}},
            "remote": {},
        }
    )

    assert ("a",) == spec.command_for(Role.AGGREGATOR)
    assert "image" == spec.image_for(Role.AGGREGATOR)
    assert {"HostConfig": {"ShmSize": 1}} == spec.container_options_for(Role.AGGREGATOR)


def test_a_local_spec_answers_for_an_aggregator_as_for_a_site() -> None:
    spec = read({"command": ["a"], "image": "my.sif"})

    assert not spec.decentralized
    assert ("a",) == spec.command_for(Role.AGGREGATOR)
    assert "my.sif" == spec.image_for(Role.AGGREGATOR)
    assert {} == spec.container_options_for(Role.SITE)


@pytest.mark.parametrize(
    ("computation", "image"),
    [
        ({}, None),
        ({"dockerImage": "d"}, "d"),
        ({"image": "s"}, "s"),
        ({"image": "s", "dockerImage": "d"}, "d"),
        ({"type": "singularity", "image": "s", "dockerImage": "d"}, "s"),
        ({"type": "singularity", "dockerImage": "d"}, "d"),
    ],
)
def test_the_type_decides_between_two_images(computation: dict[str, Any], image: str | None) -> None:
    assert image == read({"command": ["a"], **computation}).image_for(Role.SITE)


def test_each_seat_may_have_its_own_image_and_options() -> None:
    spec = read(
        {
            "command": ["a"],
            "dockerImage": "one",
            "remote": {"command": ["b"], "dockerImage": "two", "containerOptions": {"Tty": True}},
        }
    )

    assert ("one", "two") == (spec.image_for(Role.SITE), spec.image_for(Role.AGGREGATOR))
    assert {"Tty": True} == spec.container_options_for(Role.AGGREGATOR)


@pytest.mark.parametrize(("written", "version"), [(None, 1), (1, 1), (2, 2), (1.0, 1), (2.0, 2)])
def test_the_protocol_is_1_unless_2_is_asked_for(written: float | None, version: int) -> None:
    document = {"meta": {"name": "x", "compspecVersion": written}, "computation": {"command": ["a"]}}
    spec, warned = parse_compspec(json.dumps(document), "compspec.json")

    assert () == warned
    assert version == spec.version_of_protocol


def test_protocol_2_needs_no_command() -> None:
    document = {"meta": {"name": "x", "compspecVersion": 2}, "computation": {"remote": {}}}
    spec, warned = parse_compspec(json.dumps(document), "compspec.json")

    assert () == warned
    assert () == spec.command_for(Role.SITE)
    assert spec.decentralized


def test_protocol_2_passes_over_a_command_that_could_not_be_run() -> None:
    assert (
        "c.json:1: computation.command: expected a list of texts, found a number (3); Atoll passes over it",
        "c.json:1: computation.remote.command[0]: expected a text, found a number (4); Atoll passes over it",
    ) == warnings({"command": 3, "remote": {"command": [4]}}, {"compspecVersion": 2})


def test_a_command_in_one_text_is_split_as_a_shell_would_and_warned_of() -> None:
    computation = {"command": "python 'a b.py'", "remote": {"command": "python c.py"}}

    assert ("python", "a b.py") == read(computation).command_for(Role.SITE)
    assert (
        (
            "c.json:1: computation.command: is one text, which Atoll splits as a shell would; "
            'write ["python", "a b.py"]'
        ),
        (
            "c.json:1: computation.remote.command: is one text, which Atoll splits as a shell would; "
            'write ["python", "c.py"]'
        ),
    ) == warnings(computation)


def test_sections_that_are_absent_or_null_are_empty() -> None:
    for section in ({}, {"input": None, "output": None, "display": None, "remote": None}):
        spec = read({"command": ["a"], **section})

        assert {} == spec.inputs
        assert {} == spec.outputs
        assert () == spec.display
        assert not spec.decentralized


@pytest.mark.parametrize("name", ["inside", "beside"])
@pytest.mark.parametrize("listed", [True, False])
def test_display_is_a_list_wherever_and_however_it_is_written(name: str, listed: bool) -> None:
    tab = {"type": "table"}
    display = [tab] if listed else tab
    inside, beside = ({"display": display}, {}) if name == "inside" else ({}, {"display": display})

    assert (tab,) == read({"command": ["a"], **inside}, **beside).display


def test_of_two_displays_the_one_inside_computation_counts() -> None:
    computation = {"command": ["a"], "display": {"type": "table"}}

    assert ({"type": "table"},) == read(computation, display={"type": "string"}).display
    assert ("c.json:1: display: is given twice; Atoll shows the one inside computation",) == warnings(
        computation, display={"type": "string"}
    )


def test_a_name_falls_back_on_the_id() -> None:
    assert "y" == parse_compspec('{"meta": {"id": "y"}, "computation": {"command": ["a"]}}', "c.json")[0].name


def test_a_spec_without_a_name_is_called_computation() -> None:
    spec, warned = parse_compspec('{"meta": {}, "computation": {"command": ["a"]}}', "c.json")

    assert "computation" == spec.name
    assert ('c.json:1: meta: has no "name"; Atoll says "computation" instead',) == warned


@pytest.mark.parametrize(
    ("variable", "has_default", "fallback"),
    [
        ({}, False, None),
        ({"default": None}, True, None),
        ({"defaultValue": 3}, True, 3),
        ({"default": 12345678901234567890123}, True, 12345678901234567890123),
        ({"default": 1, "defaultValue": 2}, True, 1),
    ],
)
def test_a_default_has_two_names_and_may_be_null(
    variable: dict[str, Any], has_default: bool, fallback: object
) -> None:
    read_variable = read({"command": ["a"], "input": {"x": variable}}).inputs["x"]

    assert (has_default, fallback) == (read_variable.has_default, read_variable.fallback)


@pytest.mark.parametrize(
    ("written", "extensions"),
    [
        ([["csv", "TXT"]], ("csv", "txt")),
        (["csv", ".nii.gz"], ("csv", "nii.gz")),
        ([["csv"], ["txt", "md"]], ("csv", "txt", "md")),
        ("csv", ("csv",)),
        ([], ()),
    ],
)
def test_extensions_come_in_three_forms(written: object, extensions: tuple[str, ...]) -> None:
    assert (
        extensions == read({"command": ["a"], "input": {"x": {"extensions": written}}}).inputs["x"].extensions
    )


def test_every_documented_attribute_of_an_input_is_read_without_a_warning() -> None:
    variable = {
        "type": "select", "label": "l", "description": "d", "tooltip": "t", "source": "user", "default": "a",
        "defaultValue": "a", "value": "a", "required": True, "min": 0, "max": 1.5, "step": 1, "values": ["a"],
        "items": ["string"], "extensions": ["csv"], "count": 1, "limit": 2, "multi": False, "order": 3,
        "group": "g", "showValue": "a", "conditional": {"variable": "y", "value": 1},
    }  # fmt: skip
    computation = {"command": ["a"], "input": {"x": variable, "y": {"type": "number"}}}

    assert () == warnings(computation)
    assert {field.alias or name for name, field in InputVariable.model_fields.items()} == set(variable)
    conditional = read(computation).inputs["x"].conditional
    assert conditional is not None
    assert ("y", 1) == (conditional.variable, conditional.value)


def test_every_documented_key_beside_the_inputs_is_read_without_a_warning() -> None:
    meta = {
        "id": "i", "version": "1", "repository": "r", "description": "d", "tags": ["t"], "compspecVersion": 1,
        "preprocess": True, "controller": "group-step", "testData": "t",
    }  # fmt: skip
    seat = {
        "type": "docker",
        "dockerImage": "d",
        "image": "i",
        "command": ["c"],
        "containerOptions": {"x": 1},
    }
    output = {"o": {"type": "object", "label": "l", "description": "d", "items": {"p": {"type": "array"}}}}
    computation = {**seat, "remote": seat, "preprocessing": [], "input": {}, "output": output, "display": []}

    assert () == warnings(computation, meta)


def test_outputs_nest() -> None:
    output = {
        "a": {"type": "array", "items": {"b": {"items": {"c": {"label": "C"}}}}},
        "d": {"items": ["number"]},
    }
    outputs = read({"command": ["a"], "output": output}).outputs
    parts = outputs["a"].items

    assert isinstance(parts, dict)
    inner = parts["b"].items
    assert isinstance(inner, dict)
    assert "C" == inner["c"].label
    assert ("number",) == outputs["d"].items


def test_an_unknown_key_is_warned_of_at_every_level_with_a_hint() -> None:
    text = """{
"meta": {"name": "x", "Repositry": 1},
"computation": {
  "command": ["a"],
  "dockerimage": "i",
  "remote": {"command": ["a"], "comand": []},
  "input": {
    "x": {"type": "number", "select_options": [1]},
    "y": {"type": "number", "conditional": {"variable": "x", "valeu": 1}}
  },
  "output": {"o": {"items": {"p": {"lable": "P"}}}}
},
"author": "me"
}"""

    assert (
        'c.json:2: meta.Repositry: is not a key that Atoll knows; did you mean "repository"?',
        'c.json:5: computation.dockerimage: is not a key that Atoll knows; did you mean "dockerImage"?',
        'c.json:6: computation.remote.comand: is not a key that Atoll knows; did you mean "command"?',
        "c.json:8: computation.input.x.select_options: is not a key that Atoll knows",
        'c.json:9: computation.input.y.conditional.valeu: is not a key that Atoll knows; did you mean "value"?',
        'c.json:11: computation.output.o.items.p.lable: is not a key that Atoll knows; did you mean "label"?',
        "c.json:13: author: is not a key that Atoll knows",
    ) == parse_compspec(text, "c.json")[1]


@pytest.mark.parametrize(
    ("variable", "warning"),
    [
        ({}, "c.json:1: computation.input.x: has no type; Atoll does not check its values"),
        (
            {"type": "list/file"},
            (
                'c.json:1: computation.input.x.type: "list/file" is not a type that Atoll knows; '
                "its values are not checked"
            ),
        ),
        (
            {"type": "Number"},
            (
                'c.json:1: computation.input.x.type: "Number" is not a type that Atoll knows; '
                'its values are not checked; did you mean "number"?'
            ),
        ),
        (
            {"type": "number", "source": "site"},
            (
                'c.json:1: computation.input.x.source: expected "owner" or "member", found "site"; '
                "Atoll passes over it"
            ),
        ),
        (
            {"type": "number", "conditional": {"variable": "z"}},
            'c.json:1: computation.input.x.conditional.variable: "z" is not an input of this spec',
        ),
        ({"type": "number", "min": 2, "max": 1}, "c.json:1: computation.input.x.min: 2 is above max (1)"),
        (
            {"type": "number", "max": "MAX_INTEGER"},
            (
                'c.json:1: computation.input.x.max: expected a number, found a text ("MAX_INTEGER"); '
                "Atoll passes over it"
            ),
        ),
        (
            {"type": "number", "min": True},
            "c.json:1: computation.input.x.min: expected a number, found true; Atoll passes over it",
        ),
        (
            {"type": "files", "extensions": [["csv", 3]]},
            (
                "c.json:1: computation.input.x.extensions: expected a list of texts, or a list of such lists, "
                "found a list of 1; Atoll passes over it"
            ),
        ),
        (
            {"type": "number", "required": "yes"},
            (
                'c.json:1: computation.input.x.required: expected true or false, found a text ("yes"); '
                "Atoll passes over it"
            ),
        ),
        (
            {"type": "number", "conditional": {"value": 1}},
            'c.json:1: computation.input.x.conditional: expected an object with "variable"; Atoll passes over it',
        ),
        (
            {"type": "array", "items": 3},
            "c.json:1: computation.input.x.items: expected a list, found a number (3); Atoll passes over it",
        ),
    ],
)
def test_a_hint_that_makes_no_sense_is_a_warning(variable: dict[str, Any], warning: str) -> None:
    assert (warning,) == warnings({"command": ["a"], "input": {"x": variable}})


def test_a_hint_that_is_passed_over_is_as_if_absent() -> None:
    spec = read({"command": ["a"], "input": {"x": {"type": "number", "max": "MAX", "min": 1}}})

    assert (1, None) == (spec.inputs["x"].min, spec.inputs["x"].max)


def test_wrong_words_about_the_algorithm_are_warnings() -> None:
    text = """{
"meta": {"name": "x",
  "version": 1.0,
  "tags": "t"},
"computation": {"command": ["a"],
  "type": 3,
  "output": {"o": {
    "items": 3,
    "type": 4}},
  "display": [5]},
"display": 6
}"""

    assert (
        "c.json:3: meta.version: expected a text, found a number (1.0); Atoll passes over it",
        'c.json:4: meta.tags: expected a list, found a text ("t"); Atoll passes over it',
        "c.json:6: computation.type: expected a text, found a number (3); Atoll passes over it",
        "c.json:8: computation.output.o.items: expected parts by name, or a list; Atoll passes over it",
        "c.json:9: computation.output.o.type: expected a text, found a number (4); Atoll passes over it",
        "c.json:10: computation.display[0]: expected an object, found a number (5); Atoll passes over it",
        "c.json:11: display: expected a list, found a number (6); Atoll passes over it",
    ) == parse_compspec(text, "c.json")[1]


def test_an_image_of_another_kind_is_a_warning() -> None:
    assert (
        'c.json:1: computation.type: expected "docker" or "singularity", found "podman"; Atoll passes over it',
    ) == warnings({"command": ["a"], "type": "podman"})


def test_a_remote_section_without_a_command_is_a_warning_in_protocol_1() -> None:
    assert (
        "c.json:1: computation.remote: has no command; the aggregator runs the command of the sites",
    ) == warnings({"command": ["a"], "remote": {"type": "docker"}})


def test_a_repeated_key_is_warned_of() -> None:
    text = '{"meta": {"name": "x", "name": "y"}, "computation": {"command": ["a"]}}'

    assert ("c.json:1: meta.name: appears more than once; the last one counts",) == parse_compspec(
        text, "c.json"
    )[1]


def test_faults_come_all_at_once_and_in_the_order_of_the_file() -> None:
    text = """{
"computation": {
  "containerOptions": [],
  "dockerImage": 3,
  "input": {"x": 1, "y": []}
},
"meta": {"compspecVersion": 3}
}"""
    with pytest.raises(SpecInvalid) as caught:
        parse_compspec(text, "c.json")

    assert (
        'c.json:2: computation.command: is missing; expected a list of texts, such as ["python", "local.py"]',
        "c.json:3: computation.containerOptions: expected an object, found an empty list",
        "c.json:4: computation.dockerImage: expected a text, found a number (3)",
        "c.json:5: computation.input.x: expected an object, found a number (1)",
        "c.json:5: computation.input.y: expected an object, found an empty list",
        "c.json:7: meta.compspecVersion: expected 1 or 2, found a number (3)",
    ) == caught.value.faults


def test_a_rule_can_be_quoted_with_its_line() -> None:
    spec, _ = parse_compspec(REGRESSION, "compspec.json")

    assert "compspec.json:19" == spec.place("computation", "input", "lambda")


def test_a_spec_that_was_made_without_a_file_has_no_lines() -> None:
    spec = Compspec.model_validate({"meta": {}, "computation": {}})

    assert "the compspec" == spec.place("computation")


def test_a_spec_can_not_be_changed() -> None:
    spec, _ = parse_compspec(REGRESSION, "compspec.json")

    with pytest.raises(ValueError, match="frozen"):
        spec.meta.name = "other"


def test_the_published_schema_is_that_of_the_models() -> None:
    published = json.loads((REFERENCE / "compspec.schema.json").read_text(encoding="utf-8"))

    assert json_schema() == published


def test_the_reference_names_every_key_and_every_type() -> None:
    reference = (REFERENCE / "compspec.md").read_text(encoding="utf-8")
    models = [
        model for model in vars(module).values() if isinstance(model, type) and issubclass(model, BaseModel)
    ]
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}

    assert set() == {name for name in keys | set(INPUT_TYPES) if f"`{name}`" not in reference}


def test_an_empty_list_stands_for_an_empty_section() -> None:
    """Published specs that were written by PHP and its kind have ``"input": []``."""
    text = '{"meta": {"name": "x"}, "computation": {"command": ["python", "x"], "input": [], "output": []}}'

    spec, _ = parse_compspec(text, "compspec.json")

    assert {} == dict(spec.inputs)
    assert {} == dict(spec.outputs)
