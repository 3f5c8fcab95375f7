"""What a desk remembers outlives its node; a job that comes again finds what it found the first time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.federation import make_desk, make_ticket

from atoll.engine.ports import Folder
from atoll.model.work import JobId, Ticket
from atoll.node.desk import Desk
from atoll.node.memory import Kept, Memory

FIRST, SECOND, THIRD = JobId("run.0.1.a"), JobId("run.0.3.a"), JobId("run.0.5.a")


def kept(job_id: JobId, **cache: bytes) -> Kept:
    """What a desk remembered after a job."""
    return Kept(job_id=job_id, step=0, cache=cache, outputs={0: b'{"n": 1}'})


def test_what_was_kept_is_recalled_by_the_next_job(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.keep(kept(FIRST, n=b"1", odd=bytes(range(256))))

    assert Memory(tmp_path).recall(SECOND) == kept(FIRST, n=b"1", odd=bytes(range(256)))


def test_a_job_that_comes_again_recalls_what_was_before_it(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.keep(kept(FIRST, n=b"1"))
    memory.keep(kept(SECOND, n=b"2"))

    assert memory.recall(SECOND) == kept(FIRST, n=b"1")
    assert memory.recall(THIRD) == kept(SECOND, n=b"2")


def test_the_first_job_that_comes_again_recalls_nothing(tmp_path: Path) -> None:
    memory = Memory(tmp_path)

    assert memory.recall(FIRST) is None
    memory.keep(kept(FIRST, n=b"1"))
    assert memory.recall(FIRST) is None


def test_a_file_that_was_being_written_when_the_machine_went_down_is_passed_over(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.keep(kept(FIRST, n=b"1"))
    memory.keep(kept(SECOND, n=b"2"))
    (tmp_path / "memory").write_bytes((tmp_path / "memory").read_bytes()[:-1])

    assert memory.recall(THIRD) == kept(FIRST, n=b"1")
    memory.forget()
    assert list(tmp_path.iterdir()) == []


# --- The desk that remembers ------------------------------------------------------------------


def desk_of(root: Path, *, revived: bool = False) -> Desk:
    """A desk that is kept."""
    desk = make_desk(root)
    desk.memory, desk.revived = Memory(root / "kept"), revived
    return desk


def iteration(number: int, *, attempt: int = 1) -> Ticket:
    """A ticket of an iteration, at its first or a later try."""
    ticket = make_ticket(iteration=number)
    return replace(ticket, job=replace(ticket.job, attempt=attempt))


def do(desk: Desk, ticket: Ticket, **cache: bytes) -> dict[str, bytes]:
    """What a desk remembers when a job begins, which then leaves more."""
    asyncio.run(desk.begin(ticket))
    before = dict(desk.cache)
    desk.cache.update(cache)
    desk.keep_memory(ticket.job.id)
    return before


def test_a_desk_goes_on_where_an_earlier_life_of_its_node_ended(tmp_path: Path) -> None:
    do(desk_of(tmp_path), iteration(1), n=b"1")

    assert do(desk_of(tmp_path, revived=True), iteration(2)) == {"n": b"1"}


def test_a_job_that_is_tried_again_begins_with_what_it_began_with(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    do(desk, iteration(1), n=b"1")
    do(desk, iteration(2), n=b"2")

    assert do(desk, iteration(2, attempt=2), n=b"2") == {"n": b"1"}
    assert do(desk_of(tmp_path, revived=True), iteration(2, attempt=3)) == {"n": b"1"}


def test_what_a_broken_try_left_to_be_sent_is_not_sent_by_the_next(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    do(desk, iteration(1))
    (desk.make(Folder.TRANSFER) / "half").write_text("x")

    do(desk, iteration(1, attempt=2))

    assert list(desk.folders[Folder.TRANSFER].iterdir()) == []


def test_a_desk_that_stands_again_finds_no_file_of_a_call_that_ended_with_the_node(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    (desk.make(Folder.JOB) / "1").mkdir()

    do(desk_of(tmp_path, revived=True), iteration(1))

    assert not desk.folders[Folder.JOB].exists()


def test_a_desk_without_a_memory_writes_nothing(tmp_path: Path) -> None:
    desk = make_desk(tmp_path)

    do(desk, iteration(1), n=b"1")

    assert not (tmp_path / "kept").exists()


def test_a_job_that_leaves_nothing_writes_nothing(tmp_path: Path) -> None:
    do(desk_of(tmp_path), iteration(1))

    assert not (tmp_path / "kept").exists()
