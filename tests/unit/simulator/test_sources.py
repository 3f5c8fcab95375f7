"""Where the parts of a simulation lie, and what of them an algorithm must not see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atoll.algorithms.sources import digest_of, entry_scripts, read
from atoll.model.errors import SpecInvalid
from atoll.model.work import Seat
from atoll.node.site_data import look_at
from atoll.simulator.arguments import Arguments
from atoll.simulator.sources import code_folder, leading_out, masked

SEATS = ("local0", "local1", "remote")


def write(folder: Path, *names: str) -> Path:
    """A folder with empty files of these names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


# --- What is masked ---------------------------------------------------------------------------


def test_the_sites_data_and_the_history_are_masked(tmp_path: Path) -> None:
    code = write(tmp_path, "local.py", "test/inputspec.json", ".git/HEAD", "data/local0/a.csv")

    assert (".git", "data", "test") == masked(code, code / "data", tmp_path / "atoll-runs", SEATS)


def test_seats_are_masked_one_by_one_where_the_data_lie_in_the_folder_itself(tmp_path: Path) -> None:
    code = write(tmp_path, "local.py", "local0/simulatorRun/a.csv", "input/local1/simulatorRun/a.csv")

    assert ("input", "local0") == masked(code, code, tmp_path / "atoll-runs", SEATS)


@pytest.mark.parametrize("runs", ["results", "sub/atoll-runs"])
def test_the_folder_of_the_run_is_masked_wherever_it_lies_in_the_code(tmp_path: Path, runs: str) -> None:
    code = write(tmp_path, "local.py")
    (code / runs).mkdir(parents=True)

    assert (runs,) == masked(code, tmp_path / "test", code / runs, SEATS)


def test_folders_of_earlier_runs_are_masked_by_what_they_hold(tmp_path: Path) -> None:
    kept = ("calls.jsonl", "events.jsonl", "output/local0/mine.csv")
    code = write(tmp_path / "code", "local.py", "data/events.jsonl", *(f"old/run-1/{name}" for name in kept))
    write(code, *(f"atoll-runs/run-2/{name}" for name in kept))

    assert ("atoll-runs", "old/run-1") == masked(code, tmp_path, tmp_path / "atoll-runs", SEATS)


def test_inputs_are_masked_wherever_they_lie_in_the_code(tmp_path: Path) -> None:
    """An array of inputs has what each of the sites was asked."""
    code = write(tmp_path / "code", "local.py", "mine.json", "test/inputspec.json")
    inputspecs = (code / "mine.json", code / "test/inputspec.json", write(tmp_path, "x.json") / "x.json")

    assert ("mine.json", "test") == masked(code, code / "test", tmp_path, SEATS, inputspecs)


# --- Links that lead out ----------------------------------------------------------------------


def test_links_of_a_test_folder_that_lead_to_the_rest_of_the_machine_are_told(tmp_path: Path) -> None:
    """Whoever runs a computation of somebody else's learns what its links show to it."""
    test = write(tmp_path / "code", "test/local0/run/a.csv", "data/b.csv") / "test"
    write(tmp_path / "home", ".ssh/key", "photos/1.png")
    (test / "local0" / "run" / "inner").symlink_to(tmp_path / "code" / "data" / "b.csv")
    harmless = look_at(test / "local0" / "run")
    (test / "local0" / "run" / "x").symlink_to(tmp_path / "home" / ".ssh")
    (test / "local1").symlink_to(tmp_path / "home" / "photos")
    folders = {Seat("local0"): look_at(test / "local0" / "run"), Seat("local1"): look_at(test / "local1")}

    assert [] == leading_out(test, {Seat("local0"): harmless})
    first, second = leading_out(test, folders)
    assert f"show local0 files from elsewhere on this machine: {tmp_path}/home/.ssh. If" in first
    assert f"show local1 files from elsewhere on this machine: {tmp_path}/home/photos. If" in second


def test_a_document_that_is_a_device_is_not_read(tmp_path: Path) -> None:
    """It has no end."""
    (tmp_path / "compspec.json").symlink_to("/dev/zero")

    with pytest.raises(SpecInvalid, match=r"compspec\.json is no file: expected a spec\. Write one"):
        read(tmp_path / "compspec.json", "a spec", "Write one")


# --- The computation's folder -----------------------------------------------------------------


@pytest.mark.parametrize("script", ["/computation/local.py", "local.py", "./scripts/local.py"])
def test_a_compspec_in_a_subfolder_belongs_to_the_scripts_in_the_folder_that_was_named(
    tmp_path: Path, script: str
) -> None:
    folder = write(tmp_path, "local.py", "scripts/local.py", "specs/other.json")
    compspec = folder / "specs" / "other.json"

    assert folder == code_folder(compspec, Arguments(path=folder, compspec=compspec), ["python", script])


def test_a_compspec_of_protocol_2_belongs_to_the_folder_with_its_dockerfile(tmp_path: Path) -> None:
    folder = write(tmp_path, "Dockerfile", "specs/other.json")
    compspec = folder / "specs" / "other.json"

    assert folder == code_folder(compspec, Arguments(path=folder, compspec=compspec), [])


def test_scripts_beside_the_compspec_go_first(tmp_path: Path) -> None:
    folder = write(tmp_path, "local.py", "specs/other.json", "specs/local.py")
    compspec = folder / "specs" / "other.json"

    found = code_folder(compspec, Arguments(path=folder, compspec=compspec), ["python", "local.py"])

    assert folder / "specs" == found


def test_a_step_of_a_pipeline_never_takes_another_folders_scripts(tmp_path: Path) -> None:
    """A command of protocol 2 often names a script that isn't there."""
    first = write(tmp_path / "first", "local.py", "compspec.json")
    second = write(tmp_path / "second", "entry.py", "compspec.json")

    command = ["python", "/computation/local.py"]

    assert second == code_folder(second / "compspec.json", Arguments(path=first), command)


# --- Entry scripts ----------------------------------------------------------------------------


def test_a_named_entry_script_is_that_of_each_computation_that_has_it(tmp_path: Path) -> None:
    one = write(tmp_path / "one", "begin.py", "entry.py")
    two = write(tmp_path / "two", "scripts/entry.py")

    assert {one: "begin.py", two: "scripts/entry.py"} == entry_scripts([one, two], "begin.py")


def test_an_entry_script_that_no_computation_has_is_refused(tmp_path: Path) -> None:
    code = write(tmp_path, "entry.py")

    with pytest.raises(SpecInvalid) as refused:
        entry_scripts([code], "begin.py")

    assert str(refused.value) == (
        f"--entry begin.py is not a file in {code}: expected the script that calls coinstac.start"
    )


def test_without_protocol_2_there_are_no_entry_scripts() -> None:
    assert {} == entry_scripts([], "begin.py")


# --- The digest -------------------------------------------------------------------------------


def test_a_digest_changes_with_a_script_and_not_with_data_or_runs(tmp_path: Path) -> None:
    code = write(
        tmp_path, "local.py", "scripts/a.py", "test/a.csv", "data/a.csv", "results/run.json", "in.json"
    )
    hidden = ("data", "in.json", "results", "test")
    before = digest_of(code, hidden)

    for name in ("test/a.csv", "data/a.csv", "data/b.csv", "results/run.json", "in.json"):
        (code / name).write_text("changed")
    data = digest_of(code, hidden)
    (code / "scripts" / "a.py").write_text("changed")

    assert before == data
    assert before != digest_of(code, hidden)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_nobody_may_read_is_digested_by_its_name(tmp_path: Path) -> None:
    code = write(tmp_path, "local.py", "closed")
    (code / "closed").chmod(0)

    assert digest_of(code).startswith("sha256:")
