"""A pipeline is a list of compspecs; its steps have the same sites and give each other values."""

import json
from pathlib import PurePosixPath
from typing import Any

import pytest

from atoll.dialects.coinstac.inputs import Inputspec, Reference, parse_inputspec
from atoll.dialects.coinstac.pipeline import PipelineEntry, parse_pipelinespec, resolve_pipeline
from atoll.dialects.coinstac.spec import Compspec, parse_compspec
from atoll.model.errors import SpecInvalid

FROM_FIRST = {"x": {"fromCache": {"step": 0, "variable": "o"}}}


def spec(origin: str = "c.json") -> Compspec:
    """A spec that takes x and gives o."""
    computation = {"command": ["a"], "input": {"x": {"type": "number"}}, "output": {"o": {}}}
    return parse_compspec(json.dumps({"meta": {"name": "s"}, "computation": computation}), origin)[0]


def inputs(value: Any, origin: str = "i.json") -> Inputspec:
    """An inputspec with this content."""
    return parse_inputspec(json.dumps(value), origin)


def test_an_entry_is_a_path_and_knows_where_it_is_written() -> None:
    entries = parse_pipelinespec('[\n"./a/compspec.json",\n"/b/compspec.json"\n]', "p.json")

    assert (
        PipelineEntry(written="./a/compspec.json", place="p.json:2"),
        PipelineEntry(written="/b/compspec.json", place="p.json:3"),
    ) == entries


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("./compspec.json", "/p/compspec.json"),
        ("./a/compspec.json", "/p/a/compspec.json"),
        ("../compspec.json", "/p/../compspec.json"),
        ("/b/compspec.json", "/b/compspec.json"),
    ],
)
def test_a_path_is_absolute_or_relative_to_the_pipelinespec(written: str, path: str) -> None:
    entry = PipelineEntry(written=written, place="p.json:1")

    assert PurePosixPath(path) == entry.compspec_from(PurePosixPath("/p"))


def test_the_first_step_reads_another_inputspec_than_the_later_ones() -> None:
    entry = PipelineEntry(written="./a/compspec.json", place="p.json:1")
    folder = PurePosixPath("/p")

    assert PurePosixPath("/p/a/test/inputspec.json") == entry.inputspec_from(folder, first=True)
    assert PurePosixPath("/p/a/test/inputspec-pipeline.json") == entry.inputspec_from(folder, first=False)


def test_each_step_has_its_values_and_its_references() -> None:
    steps = resolve_pipeline(
        [spec(), spec()],
        [inputs([{"x": {"value": 1}}, {"x": {"value": 2}}]), inputs([FROM_FIRST, FROM_FIRST])],
        clients=None,
        exists=lambda _position, _name: True,
    )

    assert [({"x": 1}, {"x": 2}), ({"x": Reference(step=0, variable="o")},) * 2] == [
        step.sites for step in steps
    ]


def test_an_object_of_one_step_is_for_as_many_sites_as_the_list_of_another() -> None:
    steps = resolve_pipeline(
        [spec(), spec()],
        [inputs({"x": {"value": 1}}), inputs([FROM_FIRST, FROM_FIRST, FROM_FIRST])],
        clients=None,
        exists=lambda _position, _name: True,
    )

    assert [3, 3] == [len(step.sites) for step in steps]


def test_files_are_asked_for_once_for_each_site_and_name() -> None:
    asked: list[tuple[int, str]] = []

    def exists(position: int, name: str) -> bool:
        asked.append((position, name))
        return True

    document = {"meta": {"name": "s"}, "computation": {"command": ["a"], "input": {"x": {"type": "files"}}}}
    files, _ = parse_compspec(json.dumps(document), "c.json")
    resolve_pipeline([files], [inputs({"x": {"value": ["a", "b"]}})], clients=2, exists=exists)

    assert [(0, "a"), (0, "b"), (1, "a"), (1, "b")] == asked


@pytest.mark.parametrize(
    ("contents", "clients", "faults"),
    [
        (
            [[{}, {}], [{}, {}, {}]],
            None,
            (
                (
                    "1.json:1: has inputs for 3 sites, but 0.json has 2; "
                    "every list of a pipeline needs the same length"
                ),
            ),
        ),
        (
            [{}, [{}], [{}, {}], [{}]],
            None,
            (
                "2.json:1: has inputs for 2 sites, but 1.json has 1; every list of a pipeline needs the same length",
            ),
        ),
        (
            [[{}, {}], {}, [{}]],
            3,
            (
                (
                    "0.json:1: has inputs for 2 sites, but 3 were asked for; "
                    "ask for as many as are listed, or give one object for every site"
                ),
                (
                    "2.json:1: has inputs for 1 site, but 3 were asked for; "
                    "ask for as many as are listed, or give one object for every site"
                ),
            ),
        ),
        (
            [FROM_FIRST, {"x": {"fromCache": {"step": 1, "variable": "o"}}}],
            None,
            (
                "0.json:1: x: is fromCache, but no step comes before the first; give it a value",
                (
                    "1.json:1: x: refers to step 1, but this is step 1; "
                    "only earlier steps can be referred to (the first is 0)"
                ),
            ),
        ),
        (
            [{}, {}, {"x": {"fromCache": {"step": 1, "variable": "p"}}}],
            2,
            ('2.json:1: x: step 1 (s) has no output "p" in c.json:1',),
        ),
    ],
)
def test_steps_that_do_not_fit_together_are_an_error_with_all_faults(
    contents: list[Any], clients: int | None, faults: tuple[str, ...]
) -> None:
    inputspecs = [inputs(value, f"{position}.json") for position, value in enumerate(contents)]
    with pytest.raises(SpecInvalid) as caught:
        resolve_pipeline([spec() for _ in contents], inputspecs, clients=clients, exists=lambda *_: True)

    assert faults == caught.value.faults
