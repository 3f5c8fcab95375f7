"""From what is asked of algorithms to the steps of a run and what opens them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atoll.algorithms.describing import describe
from atoll.algorithms.opening import Asked, open_run
from atoll.algorithms.reading import read_result
from atoll.algorithms.words import COMMAND
from atoll.dialects.functions.body import read_call
from atoll.dialects.functions.container import pack
from atoll.dialects.vantage6 import body as vantage6
from atoll.model.errors import ReplyInvalid, SpecInvalid
from atoll.model.work import Role, Seat

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SITES = (Seat("Biscoe"), Seat("Dream"), Seat("Torgersen"))


def _asked(path: str, **more: Any) -> Asked:
    return Asked(manifest=describe(EXAMPLES / path).manifest, digest="sha256:1", **more)


def _compspec(tmp_path: Path, inputs: dict[str, Any], **outputs: Any) -> Path:
    document = {
        "meta": {"name": "fit", "compspecVersion": 1},
        "computation": {
            "command": ["python", "/computation/local.py"],
            "remote": {"command": ["python", "/computation/remote.py"]},
            "input": inputs,
            "output": outputs,
        },
    }
    folder = tmp_path / "fit"
    folder.mkdir()
    (folder / "compspec.json").write_text(json.dumps(document))
    return folder


def _entries(body: bytes) -> dict[str, Any]:
    return dict(json.loads(body)["inputs"])


def test_a_central_function_runs_at_the_first_site() -> None:
    step = open_run([_asked("functions/mean", args={"column": "body_mass_g"})], SITES).steps[0]

    assert (step.name, step.seats, step.role, step.aggregated) == (
        "mean",
        ("Biscoe",),
        Role.AGGREGATOR,
        False,
    )
    assert read_call(step.bodies[0]).args == {"column": "body_mass_g"}
    assert read_call(step.bodies[0]).databases is None


def test_a_partial_function_runs_at_every_site_with_the_databases_that_are_asked_for() -> None:
    asked = _asked(
        "functions/mean", function="moments", args={"column": "x"}, databases=["penguins", {"label": "birds"}]
    )

    step = open_run([asked], SITES).steps[0]

    assert (SITES, Role.SITE) == (step.seats, step.role)
    assert read_call(step.bodies[0]).databases == ("penguins", "birds")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"function": "median"}, "has no function 'median': name one with function=…"),
        ({"args": {}}, "mean needs 'column': give args={'column': …}"),
        ({"args": {"column": "x", "colum": 1}}, "takes no argument 'colum'"),
        ({"args": {"column": "x"}, "at": "Elsewhere"}, "at='Elsewhere': expected 'central'"),
        ({"args": {"column": "x"}, "inputs": {"a": 1}}, "no use for inputs=…"),
        ({"args": {"column": "x"}, "extract": "read"}, "no use for extract=…"),
        ({"args": {"column": "x"}, "databases": [{"label": "a", "query": "q"}]}, "asked for with query"),
        ({"args": {"column": "x"}, "databases": [{"query": "q"}]}, "expected the label of a database"),
    ],
)
def test_what_no_site_could_do_is_refused_in_the_words_of_who_asks(more: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        open_run([_asked("functions/mean", **more)], SITES)

    assert words in str(refused.value)


def test_the_command_line_is_told_of_options() -> None:
    with pytest.raises(SpecInvalid, match="give --arg column=…"):
        open_run([_asked("functions/mean")], SITES, COMMAND)


def test_an_algorithm_of_generation_4_is_called_once_with_its_databases() -> None:
    asked = _asked("vantage6/average-4", function="average", args={"column": "x"}, databases=["penguins"])

    step = open_run([asked], SITES).steps[0]
    call = vantage6.read(step.bodies[0])

    assert (step.dialect, step.seats, step.role) == ("vantage6", ("Biscoe",), Role.AGGREGATOR)
    assert (call.method, call.databases) == ("average", ({"label": "penguins"},))


def test_generation_5_extracts_data_at_every_site_before_it_computes() -> None:
    asked = _asked(
        "vantage6/average-5",
        function="average",
        args={"column": "x"},
        extract="read",
        preprocess=("complete",),
    )

    steps = open_run([asked], SITES).steps
    calls = [vantage6.read(step.bodies[0]) for step in steps]

    assert [step.name for step in steps] == ["read database", "complete", "average"]
    assert [step.seats for step in steps] == [SITES, SITES, ("Biscoe",)]
    # What it brings along itself is its own, and not a function of vantage6.
    assert [call.package for call in calls] == [None, None, None]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"function": "read"}, "makes a dataframe: name it with extract=…"),
        ({"function": "average", "preprocess": ("smooth",)}, "preprocess='smooth': neither"),
        ({"function": "average", "preprocess": ("complete:{",)}, "is not JSON"),
        ({"function": "average", "preprocess": ("complete:[]",)}, "expected a JSON object"),
        ({"function": "averag"}, "Did you mean average?"),
    ],
)
def test_a_data_step_that_can_not_be_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        open_run([_asked("vantage6/average-5", **more)], SITES)

    assert words in str(refused.value)


def test_an_algorithm_in_another_language_needs_the_name_of_its_function() -> None:
    with pytest.raises(SpecInvalid, match="is started by node"):
        open_run([_asked("vantage6/average-js")], SITES)

    step = open_run([_asked("vantage6/average-js", function="average")], SITES).steps[0]
    assert step.seats == ("Biscoe",)


def test_sites_that_share_their_inputs_share_one_message(tmp_path: Path) -> None:
    folder = _compspec(tmp_path, {"lambda": {"type": "number", "source": "owner"}})
    asked = Asked(manifest=describe(folder).manifest, digest="d", inputs={"lambda": {"value": 0.5}})

    opening = open_run([asked], SITES)

    assert opening.aggregated
    assert [_entries(body) for body in opening.steps[0].bodies] == [{"lambda": {"value": 0.5}}]
    assert opening.steps[0].seats is None


def test_sites_with_inputs_of_their_own_have_messages_of_their_own(tmp_path: Path) -> None:
    folder = _compspec(tmp_path, {"lambda": {"type": "number", "source": "owner"}})
    inputs = [{"lambda": {"value": number}} for number in (1, 2, 1)]
    asked = Asked(manifest=describe(folder).manifest, digest="d", inputs=inputs)

    bodies = open_run([asked], SITES).steps[0].bodies

    assert [_entries(body)["lambda"]["value"] for body in bodies] == [1, 2, 1]


def test_what_the_owner_does_not_give_each_site_maps_and_its_default_comes_last(tmp_path: Path) -> None:
    folder = _compspec(
        tmp_path,
        {
            "lambda": {"type": "number", "source": "owner", "default": 1},
            "covariates": {"type": "csv", "source": "member", "required": True},
            "unit": {"type": "string", "default": "g"},
            "given": {"type": "string", "default": "x"},
        },
    )
    asked = Asked(manifest=describe(folder).manifest, digest="d", inputs={"given": {"value": "y"}})

    opening = open_run([asked], SITES)

    assert _entries(opening.steps[0].bodies[0]) == {
        "given": {"value": "y"},
        "lambda": {"value": 1},
        "unit": {"value": "g", "site": True},
        "covariates": {"site": True},
    }
    assert not opening.warnings


def test_what_the_owner_must_give_and_does_not_is_a_warning(tmp_path: Path) -> None:
    folder = _compspec(tmp_path, {"lambda": {"type": "number", "source": "owner", "required": True}})

    opening = open_run([Asked(manifest=describe(folder).manifest, digest="d")], SITES)

    assert "has no value for" in opening.warnings[0]


def test_another_number_of_inputs_than_of_sites_is_refused(tmp_path: Path) -> None:
    folder = _compspec(tmp_path, {"lambda": {"type": "number"}})

    with pytest.raises(SpecInvalid, match="2 sites, but 3 were asked for"):
        open_run([Asked(manifest=describe(folder).manifest, digest="d", inputs=[{}, {}])], SITES)


def test_a_computation_has_no_use_for_a_function(tmp_path: Path) -> None:
    folder = _compspec(tmp_path, {})

    with pytest.raises(SpecInvalid, match="no use for function=…"):
        open_run([Asked(manifest=describe(folder).manifest, digest="d", function="mean")], SITES)


def test_a_reference_counts_the_steps_of_the_run(tmp_path: Path) -> None:
    manifest = describe(_compspec(tmp_path, {"x": {"type": "array"}}, model={"type": "file"})).manifest
    generation5 = _asked("vantage6/average-5", function="average", args={"column": "x"})
    first = Asked(manifest=manifest, digest="d", inputs={"x": {"value": []}})
    last = Asked(manifest=manifest, digest="d", inputs={"x": {"fromCache": {"step": 1, "variable": "model"}}})

    opening = open_run([generation5, first, last], SITES)

    # Generation 5 is two steps: it reads, and computes.
    assert len(opening.steps) == 4
    assert _entries(opening.steps[3].bodies[0])["x"] == {
        "fromCache": {"step": 2, "variable": "model"},
        "files": True,
    }


def test_a_reference_to_a_function_is_refused(tmp_path: Path) -> None:
    manifest = describe(_compspec(tmp_path, {"x": {"type": "array"}})).manifest
    mean = _asked("functions/mean", args={"column": "x"})
    last = Asked(manifest=manifest, digest="d", inputs={"x": {"fromCache": {"step": 0, "variable": "m"}}})

    with pytest.raises(SpecInvalid, match="no COINSTAC computation"):
        open_run([mean, last], SITES)


def test_a_computation_and_then_a_function_make_one_run(tmp_path: Path) -> None:
    manifest = describe(_compspec(tmp_path, {})).manifest
    steps = open_run(
        [Asked(manifest=manifest, digest="d"), _asked("functions/mean", args={"column": "x"})], SITES
    ).steps

    assert [(step.dialect, step.name) for step in steps] == [("coinstac", "fit"), ("functions", "mean")]


def test_a_run_without_steps_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="at least one step"):
        open_run([], SITES)


def test_results_are_read_as_their_dialect_writes_them() -> None:
    assert read_result("coinstac", b'{"a": 1}') == {"a": 1}
    assert read_result("vantage6", b"[NaN, 1e999]") == [None, None]
    assert read_result("functions", pack([1, {"$float": "nan"}])) == [1, None]


def test_a_result_that_can_not_be_read_says_so_without_quoting_it() -> None:
    with pytest.raises(ReplyInvalid) as refused:
        read_result("coinstac", b'{"secret')

    assert "secret" not in str(refused.value)
