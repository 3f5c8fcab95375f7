"""The nouns are frozen, keyword-only and check themselves."""

import dataclasses
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.engine.running import whole
from atoll.model import events, work
from atoll.model.errors import UnsafeName
from atoll.model.work import (
    BLOB_NAME_BYTES_MAX,
    BLOB_NAME_PART_BYTES_MAX,
    Algorithm,
    Blob,
    JobStatus,
    Message,
    MessageId,
    Role,
    Run,
    RunId,
    RunStatus,
    Seat,
    Step,
    check_blob_name,
)
from atoll.runtimes.held import MemoryFile

DIGEST = f"sha256:{'0' * 64}"

NOUNS = [
    noun
    for module in (work, events)
    for noun in vars(module).values()
    if isinstance(noun, type) and dataclasses.is_dataclass(noun)
]


@pytest.mark.parametrize("noun", NOUNS)
def test_a_noun_is_frozen_and_its_fields_have_names(noun: type) -> None:
    parameters = noun.__dataclass_params__  # type: ignore[attr-defined]  # Every dataclass has them.

    assert parameters.frozen
    assert all(field.kw_only for field in dataclasses.fields(noun))
    assert "__slots__" in vars(noun)


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        (RunStatus.ACTIVE, False),
        (RunStatus.DONE, True),
        (RunStatus.FAILED, True),
        (JobStatus.QUEUED, False),
        (JobStatus.ACTIVE, False),
        (JobStatus.DONE, True),
        (JobStatus.FAILED, True),
        (JobStatus.CANCELLED, True),
    ],
)
def test_nothing_more_happens_after_the_last_states(status: RunStatus | JobStatus, ended: bool) -> None:
    assert ended is status.ended


# --- Names of files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a/b/c.txt",
        ".hidden",
        "..a",
        "a..b/c...",
        "with space",
        "ünïcode/名前",
        "new\nline",
        "~",
        "-rf",
        "C:",
        "é" * 127,
        "/".join(["a" * 255] * 4),
    ],
)
def test_a_plain_relative_path_names_a_file(name: str) -> None:
    assert name == Blob(name=name, digest=DIGEST, size_bytes=0).name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "expected a plain relative path"),
        ("/", "expected a plain relative path"),
        ("/etc/passwd", "expected a plain relative path"),
        ("a//b", "expected a plain relative path"),
        ("a/", "expected a plain relative path"),
        (".", "expected a plain relative path"),
        ("..", "expected a plain relative path"),
        ("../x", "expected a plain relative path"),
        ("a/../../x", "expected a plain relative path"),
        ("a/./b", "expected a plain relative path"),
        ("..\\x", "expected a plain relative path"),
        ("a\0b", "expected a plain relative path"),
        ("\udcff", "the name is not UTF-8"),
        ("é" * 128, f"longer than {BLOB_NAME_PART_BYTES_MAX} bytes"),
        ("a" * 256, f"longer than {BLOB_NAME_PART_BYTES_MAX} bytes"),
        ("a/" * 512 + "b", f"longer than {BLOB_NAME_BYTES_MAX} bytes"),
    ],
)
def test_a_name_that_leads_out_or_that_no_file_can_have_is_refused(name: str, reason: str) -> None:
    with pytest.raises(UnsafeName) as refused:
        Blob(name=name, digest=DIGEST, size_bytes=0)

    assert reason in str(refused.value)
    assert "can't be passed on" in str(refused.value)


@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from(["..", ".", "", "a", "\\", "é", "/", "\0", "x" * 255])).map("/".join),
    )
)
def test_a_name_that_is_not_refused_stays_where_it_is_put(name: str) -> None:
    try:
        check_blob_name(name)
    except UnsafeName:
        return

    assert name == posixpath.normpath(name)
    assert posixpath.join("/root", name).startswith("/root/")
    assert ".." not in name.split("/")
    assert len(name.encode()) <= BLOB_NAME_BYTES_MAX
    assert all(0 < len(part.encode()) <= BLOB_NAME_PART_BYTES_MAX for part in name.split("/"))


# --- Messages ---------------------------------------------------------------------------------


def test_a_message_weighs_what_its_body_and_its_files_weigh() -> None:
    blobs = tuple(Blob(name=f"f{size}", digest=DIGEST, size_bytes=size) for size in (10, 20))
    inside = Message(id=MessageId("m"), sender=Seat("a"), readers=(), body=b"123", blobs=blobs)
    body_blob = Blob(name="body", digest=DIGEST, size_bytes=1000)
    beside = Message(id=MessageId("m"), sender=Seat("a"), readers=(), body_blob=body_blob, blobs=blobs)

    assert 33 == inside.size_bytes
    assert 1030 == beside.size_bytes


def test_a_body_that_is_held_in_memory_weighs_what_it_holds() -> None:
    held = MemoryFile.of(b"12345")

    message = Message(id=MessageId("m"), sender=Seat("a"), readers=(), body=held)

    assert 5 == message.size_bytes
    assert b"12345" == whole(held)
    assert b"as it is" == whole(b"as it is")


# --- Runs and steps ---------------------------------------------------------------------------


def _step(*openings: str, aggregated: bool = False, seats: tuple[str, ...] | None = None) -> Step:
    algorithm = Algorithm(dialect="coinstac", digest=DIGEST, name="mean")
    return Step(
        algorithm=algorithm,
        aggregated=aggregated,
        openings=tuple(MessageId(name) for name in openings),
        seats=None if seats is None else tuple(Seat(seat) for seat in seats),
    )


def _run(sites: tuple[str, ...], *steps: Step, aggregator: str | None = None) -> Run:
    return Run(
        id=RunId("r1"),
        steps=steps,
        sites=tuple(Seat(site) for site in sites),
        aggregator=None if aggregator is None else Seat(aggregator),
        iterations_max=1,
    )


#: What is wrong with the seats of a step.
NO_SEATS = "step mean calls seats that are no sites of the run, or one twice"


def test_one_opening_is_for_all_sites_and_several_are_for_each() -> None:
    shared, own = _step("all"), _step("a", "b")

    assert ["all", "all"] == [shared.opening_for(position) for position in (0, 1)]
    assert ["a", "b"] == [own.opening_for(position) for position in (0, 1)]


def test_a_new_run_is_active_and_has_opened_no_round() -> None:
    run = _run(("b", "a"), _step("all", aggregated=True), aggregator="remote")

    assert (RunStatus.ACTIVE, 0, 0, None) == (run.status, run.round_count, run.call_round_count, run.failure)
    assert ("b", "a") == run.sites
    assert 0 == run.job_count


def test_a_step_may_call_some_of_the_sites_each_with_its_own_opening() -> None:
    run = _run(("a", "b", "c"), _step("1", "2", seats=("c", "a")), _step("all", seats=("b",)))

    assert ("c", "a") == run.steps[0].seats
    assert Role.SITE is run.steps[0].role


@pytest.mark.parametrize(
    ("sites", "steps", "aggregator", "sentence"),
    [
        ((), (_step("all"),), None, "a run needs at least one site and one step"),
        (("a",), (), None, "a run needs at least one site and one step"),
        (("a", "a"), (_step("all"),), None, "the seats of run r1 are not distinct"),
        (("a", "b"), (_step("all"),), "b", "the seats of run r1 are not distinct"),
        (("a", "b", "c"), (_step("1", "2"),), None, "2 opening messages for 3 sites"),
        (("a",), (_step(),), None, "0 opening messages for 1 sites"),
        (("a",), (_step("1", aggregated=True),), None, "step mean needs an aggregator and the run has none"),
        (("a", "b"), (_step("1", "2", seats=("b",)),), None, "2 opening messages for 1 sites"),
        *(
            (("a", "b"), (_step("1", seats=seats),), None, NO_SEATS)
            for seats in ((), ("c",), ("a", "c"), ("a", "a"))
        ),
    ],
)
def test_a_run_that_could_not_be_carried_out_is_not_made(
    sites: tuple[str, ...], steps: tuple[Step, ...], aggregator: str | None, sentence: str
) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # The sentence is compared whole, below.
        _run(sites, *steps, aggregator=aggregator)

    assert sentence == str(refused.value)
