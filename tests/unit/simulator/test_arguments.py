"""What was asked for is kept with a run, so that it can be asked for again."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

from atoll.engine.limits import CallLimits
from atoll.simulator.arguments import Arguments

ALL = Arguments(
    path=Path("/code"),
    dialect="functions",
    federation=Path("/data/federation.yaml"),
    function="mean",
    args={"column": "age", "list": [1, None], "deep": {"a": [2.5]}},
    databases=("default", 'other:{"sheet_name": "1"}'),
    at="alpha,beta",
    package="average",
    extract="read",
    preprocess=('filter:{"rows": 3}', "clean"),
    clients=3,
    inputspec=Path("/code/test/inputspec.json"),
    compspec=Path("/code/compspec.json"),
    directory=Path("/code/test"),
    pipeline=Path("/code/pipelinespec.json"),
    image="example/mean:1",
    helper_image="python:3.11-slim",
    packed=True,
    runtime="process",
    python=Path("/venv/bin/python"),
    entry="start.py",
    output=Path("/out"),
    strict=True,
    seed=0,
    max_iterations=7,
    call_seconds=2.5,
    memory=512,
    processors=1.5,
    processes=200,
    disk=10**10,
    log=10**6,
)


def test_every_argument_survives_being_written_down() -> None:
    plain = Arguments()
    assert all(getattr(ALL, field.name) != getattr(plain, field.name) for field in fields(Arguments))

    assert ALL == Arguments.from_document(json.loads(json.dumps(ALL.document())))


def test_what_was_not_asked_for_is_not_asked_for_again() -> None:
    again = Arguments.from_document(json.loads(json.dumps(Arguments(path=Path("/code")).document())))

    assert Arguments(path=Path("/code")) == again


def test_paths_are_kept_so_that_they_can_be_read_from_anywhere() -> None:
    document = Arguments(path=Path("code"), federation=Path("f.yaml")).document()

    assert str(Path.cwd() / "code") == document["path"]
    assert str(Path.cwd() / "f.yaml") == document["federation"]


def test_keys_of_other_versions_are_passed_over() -> None:
    document = {**ALL.document(), "from the future": 1}
    del document["seed"]

    assert replace(ALL, seed=None) == Arguments.from_document(document)


def test_a_call_may_take_what_was_asked_for() -> None:
    assert ALL.limits == CallLimits(
        seconds=2.5,
        memory_bytes=512 * 1024**2,
        processors=1.5,
        processes=200,
        disk_bytes=10**10,
        log_bytes=10**6,
    )
    assert Arguments().limits == CallLimits()
    assert (Path("/out"), Path("atoll-runs")) == (ALL.runs, Arguments().runs)
