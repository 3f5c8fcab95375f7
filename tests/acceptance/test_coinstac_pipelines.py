"""Computations one after another: what a step takes from the ones before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.computations import RUNTIMES, run, script, write_computation

from atoll.model.errors import SpecInvalid

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60), pytest.mark.parametrize("runtime", RUNTIMES)]

#: Ends at once with what it was given.
FIRST = script("answer['output'] = doc['input']")
ENDS = script("answer = {'output': doc['input']['local0'] | {'sites': len(doc['input'])}, 'success': True}")
ECHO = script("answer = {'output': doc['input'], 'success': True}")


def _pipeline(folder: Path, entries: list[str]) -> Path:
    path = folder / "pipelinespec.json"
    path.write_text(json.dumps(entries))
    return path


def _second(inputs: Any) -> dict[str, str | bytes]:
    return {"test/inputspec-pipeline.json": json.dumps(inputs)}


def test_a_step_takes_the_output_of_an_earlier_one(tmp_path: Path, runtime: str) -> None:
    """FromCache gives any JSON value, beside plain values; an entry is relative or absolute."""
    value = {"deep": [1, {"x": None}], "zero": 0}
    outputs = {"output": {"firstOutput": {"type": "object"}, "sites": {"type": "number"}}}
    one = write_computation(
        tmp_path / "one", local=FIRST, remote=ENDS, inputs={"firstOutput": {"value": value}}, spec=outputs
    )
    inputs = {
        "a": {"fromCache": {"step": 0, "variable": "firstOutput"}},
        "b": {"value": 2.0},
        "c": {"fromCache": {"step": 0, "variable": "sites"}},
    }
    two = write_computation(tmp_path / "two", local=ECHO, files=_second(inputs))
    pipeline = _pipeline(tmp_path, ["./one/compspec.json", str(two / "compspec.json")])

    report = run(one, tmp_path, runtime=runtime, pipeline=pipeline, clients=2)

    assert "done" == report.status
    expected = {"a": value, "b": 2, "c": 2}
    assert {"local0": expected, "local1": expected} == report.results
    assert ["a", "b", "c"] == list(report.results["local0"])


def test_the_same_computation_may_come_twice(tmp_path: Path, runtime: str) -> None:
    """Each step starts with an empty cache and iteration 1."""
    local = script("""
        answer = {"output": {"n": doc["input"]["n"] + 1, "cache": doc["cache"], "i": state["iteration"]}}
        answer |= {"cache": {"used": 1}, "success": True}
    """)
    one = write_computation(
        tmp_path / "one",
        local=local,
        inputs={"n": {"value": 1}},
        spec={"output": {"n": {"type": "number"}}},
        files=_second({"n": {"fromCache": {"step": 0, "variable": "n"}}}),
    )
    pipeline = _pipeline(one, ["./compspec.json", "compspec.json"])

    report = run(one, tmp_path, runtime=runtime, pipeline=pipeline)

    assert {"local0": {"n": 3, "cache": {}, "i": 1}} == report.results


def test_each_client_has_its_own_inputs_in_every_step(tmp_path: Path, runtime: str) -> None:
    """Lists of inputs go together, element by element."""
    outputs = {"output": {"x": {"type": "number"}}}
    one = write_computation(
        tmp_path / "one", local=ECHO, inputs=[{"x": {"value": 1}}, {"x": {"value": 2}}], spec=outputs
    )
    from_cache = {"fromCache": {"step": 0, "variable": "x"}}
    inputs = [{"y": from_cache, "z": {"value": "first"}}, {"y": from_cache, "z": {"value": "second"}}]
    write_computation(tmp_path / "two", local=ECHO, files=_second(inputs))
    pipeline = _pipeline(tmp_path, ["one/compspec.json", "two/compspec.json"])

    report = run(one, tmp_path, runtime=runtime, pipeline=pipeline)

    assert {"local0": {"y": 1, "z": "first"}, "local1": {"y": 2, "z": "second"}} == report.results


def test_lists_of_different_lengths_are_refused_with_both_files(tmp_path: Path, runtime: str) -> None:
    """The message names both files and both lengths, and nothing is written."""
    one = write_computation(tmp_path / "one", local=ECHO, inputs=[{}, {}])
    write_computation(tmp_path / "two", local=ECHO, files=_second([{}, {}, {}]))
    pipeline = _pipeline(tmp_path, ["one/compspec.json", "two/compspec.json"])

    with pytest.raises(SpecInvalid) as caught:
        run(one, tmp_path, runtime=runtime, pipeline=pipeline)

    text = str(caught.value)
    assert "one/test/inputspec.json has 2" in text
    assert "two/test/inputspec-pipeline.json" in text
    assert "3 sites" in text
    assert not (tmp_path / "out").exists()


def test_a_missing_variable_is_named(tmp_path: Path, runtime: str) -> None:
    """What a step declared and did not give is told with what it gave."""
    one = write_computation(
        tmp_path / "one",
        local=script("answer = {'output': {'other': 1}, 'success': True}"),
        spec={"output": {"x": {"type": "number"}}},
    )
    write_computation(
        tmp_path / "two", local=ECHO, files=_second({"y": {"fromCache": {"step": 0, "variable": "x"}}})
    )
    pipeline = _pipeline(tmp_path, ["one/compspec.json", "two/compspec.json"])

    report = run(one, tmp_path, runtime=runtime, pipeline=pipeline)

    assert report.error is not None
    assert "InputMissing" == report.error["type"]
    assert (
        "asks for 'x' of step 0, whose output has no such variable (it has other)" in report.error["message"]
    )


def test_files_that_an_output_names_are_there_for_the_next_step(tmp_path: Path, runtime: str) -> None:
    """An output of type files, asked for by fromCache, brings its files into the base directory."""
    makes = script("""
        open(os.path.join(state["outputDirectory"], "made.txt"), "w").write("made")
        answer = {"output": {"made": ["made.txt"]}, "success": True}
    """)
    takes = script("""
        answer = {"output": {"text": open(os.path.join(state["baseDirectory"], doc["input"]["it"][0])).read()}}
        answer["success"] = True
    """)
    one = write_computation(tmp_path / "one", local=makes, spec={"output": {"made": {"type": "files"}}})
    inputs = {"it": {"fromCache": {"step": 0, "variable": "made"}}}
    write_computation(tmp_path / "two", local=takes, files=_second(inputs))
    pipeline = _pipeline(tmp_path, ["one/compspec.json", "two/compspec.json"])

    report = run(one, tmp_path, runtime=runtime, pipeline=pipeline)

    assert {"local0": {"text": "made"}} == report.results


def test_a_preprocessing_step_hands_over_its_subjects_and_its_folder(tmp_path: Path, runtime: str) -> None:
    """Covariates of such a step bring the files in their first column; a folder brings what is in it."""
    makes = script("""
        for name in ("one.nii", "two.nii", "sub/deep/x.txt"):
            path = os.path.join(state["outputDirectory"], name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "w").write(name)
        rows = [["file", "age"], ["one.nii", 20], ["two.nii", 30]]
        answer["output"] = {"covariates": [[rows], ["age"], ["number"]], "folder": "sub/"}
        answer["output"]["all"] = state["outputDirectory"]
        answer["success"] = True
    """)
    takes = script("""
        base = state["baseDirectory"]
        answer["output"] = sorted(
            os.path.relpath(os.path.join(where, name), base) for where, _, names in os.walk(base) for name in names
        )
        answer["success"] = True
    """)
    outputs = {"covariates": {"type": "array"}, "folder": {"type": "directory"}, "all": {"type": "directory"}}
    one = write_computation(tmp_path / "one", local=makes, spec={"output": outputs})
    spec = json.loads((one / "compspec.json").read_text())
    spec["meta"]["preprocess"] = True
    (one / "compspec.json").write_text(json.dumps(spec))
    seen = {}
    for variable in outputs:
        inputs = {"it": {"fromCache": {"step": 0, "variable": variable}}}
        write_computation(tmp_path / "two", local=takes, files=_second(inputs))
        pipeline = _pipeline(tmp_path, ["one/compspec.json", "two/compspec.json"])
        report = run(one, tmp_path, runtime=runtime, pipeline=pipeline, output=tmp_path / "out" / variable)
        seen[variable] = report.results["local0"]

    subjects, folder = ["one.nii", "two.nii"], ["sub/deep/x.txt"]
    assert {"covariates": subjects, "folder": folder, "all": sorted(subjects + folder)} == seen


def test_protocols_and_kinds_mix(tmp_path: Path, runtime: str) -> None:
    """A local computation of protocol 1, then an aggregated one of protocol 2."""
    outputs = {"output": {"x": {"type": "number"}}}
    one = write_computation(tmp_path / "one", local=ECHO, inputs={"x": {"value": 4}}, spec=outputs)
    entry = (
        "import coinstac\n"
        "def local(data):\n    return {'output': data['input']}\n"
        "def remote(data):\n"
        "    return {'output': {'sum': sum(v['y'] for v in data['input'].values())}, 'success': True}\n"
        "coinstac.start(local, remote)\n"
    )
    inputs = {"y": {"fromCache": {"step": 0, "variable": "x"}}}
    files = {
        **_second(inputs),
        "scripts/entry.py": entry,
        "Dockerfile": 'CMD ["python", "./scripts/entry.py"]\n',
    }
    write_computation(tmp_path / "two", local="", remote="", version=2, files=files)
    pipeline = _pipeline(tmp_path, ["one/compspec.json", "two/compspec.json"])

    report = run(one, tmp_path, runtime=runtime, pipeline=pipeline, clients=3)

    assert {"sum": 12} == report.result
