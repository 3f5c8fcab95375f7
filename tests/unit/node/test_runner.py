"""One job, from its ticket to its report: whatever goes wrong is an ending, and no crash."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from tests.federation import (
    LOCAL0,
    REMOTE,
    RUN,
    Algorithmic,
    FunctionRuntime,
    Heard,
    NoHub,
    Room,
    a_shift,
    blob_of,
    in_chunks,
    installed,
    joined,
    make_desk,
    make_ticket,
)

from atoll.engine import limits
from atoll.engine.limits import CallLimits
from atoll.engine.ports import Folder
from atoll.engine.running import whole
from atoll.model.errors import JobRefused, LimitReached
from atoll.model.events import JobBroke, JobReported
from atoll.model.work import Blob, Message, MessageId, Role, RunId, Seat, Ticket, Work
from atoll.node.at_hand import Shelf as Algorithms
from atoll.node.hooks import push
from atoll.node.provision import Provision
from atoll.node.rules import Outgoing
from atoll.node.runner import Rules, Runner
from atoll.node.site_data import SiteData, look_at
from atoll.stores.memory import MemoryBlobStore

INPUTS = b'{"inputs":[["a",{"value":1}]]}'
OPENING = Message(id=MessageId("opening"), sender=Seat("submitter"), readers=(), body=INPUTS)


@dataclass
class Shelf(NoHub):
    """The hub, as far as a runner asks it for anything: blobs, and in which order they came."""

    blobs: MemoryBlobStore = field(default_factory=MemoryBlobStore)
    put: list[str] = field(default_factory=list)

    async def put_blob(self, run_id: RunId, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        """Keep a file's content."""
        await self.blobs.put(blob, chunks)
        self.put.append(blob.name)

    def get_blob(self, run_id: RunId, blob: Blob) -> AsyncIterator[bytes]:
        """A file's content."""
        return self.blobs.get(blob)


class Seating:
    """A runner of one seat, and everything around it."""

    def __init__(
        self, root: Path, function: Algorithmic, *, seat: Seat = LOCAL0, data: SiteData | None = None
    ) -> None:
        self.shelf = Shelf()
        self.heard = Heard()
        self.runtime = FunctionRuntime(function)
        self.desk = make_desk(root, seat, data)
        code = installed(root / "code")
        self.runner = Runner(
            self.shelf,
            Algorithms({"sha256:0": code, "sha256:1": code}, self.runtime),
            lambda _: self.desk,
            self.heard,
            limits=CallLimits(),
        )

    def work(self, *tickets: Ticket) -> list[JobReported | JobBroke]:
        """Run jobs one after another."""

        async def one_by_one() -> list[JobReported | JobBroke]:
            return [await self.runner.work(ticket, a_shift()) for ticket in tickets]

        return asyncio.run(one_by_one())

    def do(self, awaitable: Callable[[], Awaitable[Any]]) -> Any:
        """Wait for something."""

        async def wait() -> Any:
            return await awaitable()

        return asyncio.run(wait())

    def sent(self, message: Message) -> dict[str, bytes]:
        """The files that came with a message, as the hub has them."""
        return {
            blob.name: self.do(lambda blob=blob: joined(self.shelf.get_blob(RUN, blob)))  # type: ignore[misc]  # Bound now, not later.
            for blob in message.blobs
        }

    def receive(self, sender: Seat, files: dict[str, bytes], body: bytes = b"{}") -> Message:
        """A message with files that the hub has."""
        blobs = []
        for name, content in files.items():
            blob = blob_of(content, name)
            asyncio.run(self.shelf.blobs.put(blob, in_chunks(content)))
            blobs.append(blob)
        id_ = MessageId(f"from.{sender}")
        return Message(id=id_, sender=sender, readers=(), body=body, blobs=tuple(blobs))


def message_of(event: JobReported | JobBroke) -> Message:
    """What a job left that went well."""
    assert isinstance(event, JobReported), event
    assert event.outcome.message is not None
    return event.outcome.message


def failure_of(event: JobReported | JobBroke) -> tuple[str, str]:
    """How a job broke."""
    assert isinstance(event, JobBroke), event
    return event.failure.type, event.failure.message


def opening(**more: Any) -> Ticket:
    """A site's first ticket."""
    return make_ticket(inbox=(OPENING,), **more)


def echo(request: Any, _room: Room) -> dict[str, Any]:
    """An algorithm that answers with what it was asked."""
    return {"output": {"heard": request["input"]}, "cache": {"n": request["state"]["iteration"]}}


# --- A job that goes well ---------------------------------------------------------------------


def test_a_job_leaves_a_message_from_its_seat_to_its_readers(tmp_path: Path) -> None:
    seating = Seating(tmp_path, echo)
    ticket = opening()

    (event,) = seating.work(ticket)

    message = message_of(event)
    assert MessageId(ticket.job.id) == message.id
    assert (LOCAL0, (REMOTE,)) == (message.sender, message.readers)
    assert b'{"heard":{"a":1}}' == message.body
    assert () == message.blobs
    assert [{"a": 1}] == [request["data"]["input"] for request in seating.heard.requests]
    assert [(LOCAL0, True)] == seating.heard.finished_at


def test_a_seat_remembers_from_call_to_call_and_forgets_from_step_to_step(tmp_path: Path) -> None:
    seating = Seating(tmp_path, echo)
    later = make_ticket(iteration=2, inbox=(replace(OPENING, body=b"{}"),))

    seating.work(opening(), later, opening(step=1))

    caches = [request["data"]["cache"] for request in seating.heard.requests]
    assert [{}, {"n": 1}, {}] == caches
    assert 2 == len(seating.runtime.launches)


def test_what_was_tolerated_is_told(tmp_path: Path) -> None:
    seating = Seating(tmp_path, lambda _request, _room: {"output": 1, "cache": 5, "success": True})

    (event,) = seating.work(opening())

    assert b"1" == message_of(event).body
    assert [LOCAL0, LOCAL0] == [seat for seat, _ in seating.heard.warnings]


def test_what_a_sessions_start_waits_for_is_told_as_how_far_its_job_is(tmp_path: Path) -> None:
    seating = Seating(tmp_path, echo)

    seating.work(opening())
    (launch,) = seating.runtime.launches
    assert launch.waits is not None
    launch.waits("queued as number 3" + "." * 1_000)

    ((seat, fraction, text),) = seating.heard.progress
    assert (LOCAL0, None) == (seat, fraction)
    assert text.startswith("queued as number 3...")
    assert limits.PROGRESS_TEXT_BYTES_MAX == len(text)


def test_a_large_body_travels_beside_its_message(tmp_path: Path) -> None:
    text = "x" * (limits.BODY_BYTES_INSIDE_MAX - 2)
    seating = Seating(tmp_path, lambda request, _room: {"output": text * request["input"].get("a", 2)})
    later = make_ticket(iteration=2, inbox=(replace(OPENING, body=b"{}"),))

    fits, exceeds = map(message_of, seating.work(opening(), later))

    assert limits.BODY_BYTES_INSIDE_MAX == len(whole(fits.body))
    assert fits.body_blob is None
    assert b"" == exceeds.body
    assert exceeds.body_blob is not None
    blob = exceeds.body_blob
    assert f'"{text}{text}"'.encode() == seating.do(lambda: joined(seating.shelf.get_blob(RUN, blob)))


def test_a_body_that_came_beside_its_message_is_fetched(tmp_path: Path) -> None:
    seating = Seating(tmp_path, echo)
    blob = blob_of(INPUTS, "body")
    asyncio.run(seating.shelf.blobs.put(blob, in_chunks(INPUTS)))

    (event,) = seating.work(make_ticket(inbox=(replace(OPENING, body=b"", body_blob=blob),)))

    assert b'{"heard":{"a":1}}' == message_of(event).body


def test_a_call_is_seeded_as_its_ticket_says(tmp_path: Path) -> None:
    seating = Seating(tmp_path, echo)
    seeds: list[Any] = []

    def seed_for(ticket: Ticket) -> int:
        seeds.append(ticket.iteration)
        return 7

    code = installed(tmp_path / "code")
    runner = Runner(
        seating.shelf,
        Algorithms({"sha256:0": code}, seating.runtime),
        lambda _: seating.desk,
        seating.heard,
        limits=CallLimits(),
        seed_for=seed_for,
    )

    async def work() -> None:
        await runner.work(opening(), a_shift())

    asyncio.run(work())

    assert [1] == seeds


# --- Files ------------------------------------------------------------------------------------


def leave(files: dict[str, bytes]) -> Algorithmic:
    """An algorithm that puts files into its transfer folder at its first call."""

    def function(request: Any, room: Room) -> dict[str, Any]:
        assert [] == list(room.transfer.iterdir())
        if request["state"]["iteration"] == 1:
            for name, content in files.items():
                (room.transfer / name).parent.mkdir(parents=True, exist_ok=True)
                (room.transfer / name).write_bytes(content)
        return {"output": {}}

    return function


def test_what_is_put_into_the_transfer_folder_is_sent_once_in_its_folders(tmp_path: Path) -> None:
    files = {"a/b/c.bin": b"\0" * (2 * limits.CHUNK_BYTES + 1), "a/d": b"d", "e": b""}
    seating = Seating(tmp_path, leave(files))
    later = make_ticket(iteration=2, inbox=(replace(OPENING, body=b"{}"),))

    first, second = map(message_of, seating.work(opening(), later))

    assert files == seating.sent(first)
    assert {} == seating.sent(second)
    assert ["a/b/c.bin", "a/d", "e"] == seating.shelf.put


def test_every_file_is_acknowledged_before_the_message_that_names_it(tmp_path: Path) -> None:
    big = "x" * limits.BODY_BYTES_INSIDE_MAX

    def function(_request: Any, room: Room) -> dict[str, Any]:
        (room.transfer / "f").write_bytes(b"f")
        return {"output": big}

    seating = Seating(tmp_path, function)

    message = message_of(seating.work(opening())[0])

    named = [blob.digest for blob in (*message.blobs, message.body_blob) if blob]
    assert ["f", "body"] == seating.shelf.put
    assert f"sha256:{hashlib.sha256(b'f').hexdigest()}" == named[0]


def test_a_site_that_works_for_itself_sends_nothing_and_its_files_stay(tmp_path: Path) -> None:
    def function(_request: Any, room: Room) -> dict[str, Any]:
        (room.transfer / "f").write_bytes(b"f")
        return {"output": {}}

    seating = Seating(tmp_path, function)

    message = message_of(seating.work(opening(readers=(LOCAL0,)))[0])

    assert () == message.blobs
    assert [] == seating.shelf.put
    assert b"f" == (seating.desk.folders[Folder.TRANSFER] / "f").read_bytes()


def read_base(_request: Any, room: Room) -> dict[str, Any]:
    """An algorithm that answers with all that it finds in its base folder."""
    found = {
        str(path.relative_to(room.base)): path.read_text()
        for path in sorted(room.base.rglob("*"))
        if path.is_file()
    }
    return {"output": found}


def test_the_aggregator_finds_each_sites_files_under_the_sites_name(tmp_path: Path) -> None:
    seating = Seating(tmp_path, read_base, seat=REMOTE)
    inbox = tuple(
        seating.receive(Seat(name), {"sub/model": name.encode(), "f": b"f"}) for name in ("local0", "local1")
    )

    (event,) = seating.work(make_ticket(REMOTE, role=Role.AGGREGATOR, inbox=inbox))

    assert {
        "local0/f": "f",
        "local0/sub/model": "local0",
        "local1/f": "f",
        "local1/sub/model": "local1",
    } == json.loads(whole(message_of(event).body))


def test_a_site_finds_its_own_files_and_what_the_aggregator_sent(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "a").write_text("own a")
    (site / "b").write_text("own b")
    seating = Seating(tmp_path, read_base, data=look_at(site))
    sent = seating.receive(REMOTE, {"b": b"sent b", "sub/c": b"sent c"})

    first, second = seating.work(opening(), make_ticket(iteration=2, inbox=(sent,)))

    assert {"a": "own a", "b": "own b"} == json.loads(whole(message_of(first).body))
    assert {"a": "own a", "b": "sent b", "sub/c": "sent c"} == json.loads(whole(message_of(second).body))
    assert "own b" == (site / "b").read_text()


def test_a_delivery_lands_in_the_output_folder_and_calls_nobody(tmp_path: Path) -> None:
    seating = Seating(tmp_path, echo)
    final = seating.receive(REMOTE, {"plot.png": b"plot", "sub/t.csv": b"t"}, body=b'{"beta":1}')

    (event,) = seating.work(make_ticket(work=Work.DELIVER, inbox=(final,)))
    asyncio.run(seating.runner.end(RUN))

    output = seating.desk.folders[Folder.OUTPUT]
    assert isinstance(event, JobReported)
    assert event.outcome.message is None
    assert [] == seating.heard.requests
    assert [] == seating.heard.finished_at
    assert (b"plot", b"t") == ((output / "plot.png").read_bytes(), (output / "sub" / "t.csv").read_bytes())
    assert {0: b'{"beta":1}'} == seating.desk.outputs


def test_a_steps_files_are_carried_into_the_base_folder_of_the_next(tmp_path: Path) -> None:
    def function(request: Any, room: Room) -> dict[str, Any]:
        if "made" in request["input"]:
            return read_base(request, room)
        for name in ("a", "sub/b", "sub/c", "d"):
            (room.output / name).parent.mkdir(exist_ok=True)
            (room.output / name).write_text(name)
        return {"output": {}}

    seating = Seating(tmp_path, function)
    left = replace(OPENING, body=b'{"made":["a","sub"],"none":null}')
    inputs = [["made", {"fromCache": {"step": 0, "variable": "made"}, "files": True}]]
    asks = replace(OPENING, body=json.dumps({"inputs": inputs}).encode())

    events = seating.work(
        opening(), make_ticket(work=Work.DELIVER, inbox=(left,)), make_ticket(step=1, inbox=(asks,))
    )

    assert {"a": "a", "sub/b": "sub/b", "sub/c": "sub/c"} == json.loads(whole(message_of(events[2]).body))


# --- A job that does not ----------------------------------------------------------------------


def test_a_job_that_breaks_names_its_seat_and_the_error(tmp_path: Path) -> None:
    seating = Seating(tmp_path, lambda _request, _room: {"output": float("nan")})

    (event,) = seating.work(opening())

    assert "ReplyInvalid" == failure_of(event)[0]
    assert failure_of(event)[1].startswith("the answer.output is NaN")
    assert isinstance(event, JobBroke)
    assert LOCAL0 == event.failure.site
    assert [(LOCAL0, False)] == seating.heard.finished_at


@pytest.mark.parametrize("planted", ["link", "sub/link"])
def test_a_link_in_the_transfer_folder_breaks_the_job_and_nothing_is_sent(
    tmp_path: Path, planted: str
) -> None:
    (tmp_path / "secret").write_text("secret")

    def function(_request: Any, room: Room) -> dict[str, Any]:
        (room.transfer / planted).parent.mkdir(exist_ok=True)
        (room.transfer / planted).symlink_to(tmp_path / "secret")
        return {"output": {}}

    seating = Seating(tmp_path, function)

    type_, message = failure_of(seating.work(opening())[0])

    assert "UnsafeName" == type_
    assert message.startswith(f"'{planted}' is a link")
    assert [] == seating.shelf.put


def test_a_file_whose_name_is_no_text_breaks_the_job(tmp_path: Path) -> None:
    def function(_request: Any, room: Room) -> dict[str, Any]:
        (room.transfer / "caf\udce9").write_text("x")
        return {"output": {}}

    type_, message = failure_of(Seating(tmp_path, function).work(opening())[0])

    assert "UnsafeName" == type_
    assert "the name is not UTF-8" in message


def test_a_link_that_an_algorithm_planted_does_not_lead_received_files_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    def function(_request: Any, room: Room) -> dict[str, Any]:
        (room.base / "trap").symlink_to(outside)
        return {"output": {}}

    seating = Seating(tmp_path, function)
    sent = seating.receive(REMOTE, {"trap/x": b"x"})

    _, event = seating.work(opening(), make_ticket(iteration=2, inbox=(sent,)))

    assert "UnsafeName" == failure_of(event)[0]
    assert [] == list(outside.iterdir())


def test_too_many_files_break_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "FILES_PER_CALL_MAX", 2)
    fits = Seating(tmp_path / "1", leave({"a": b"", "b": b""})).work(opening())[0]
    exceeds = Seating(tmp_path / "2", leave({"a": b"", "b": b"", "c": b""})).work(opening())[0]

    assert 2 == len(message_of(fits).blobs)
    assert failure_of(exceeds) == (
        LimitReached.__name__,
        "the transfer directory holds more than 2 files, the most that one call may send. Send an archive",
    )


@pytest.mark.parametrize("sizes", [[1001], [600, 401], [10**12]])
def test_too_many_bytes_break_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    """A file may say that it is large and have nothing in it: it isn't read at all."""
    monkeypatch.setattr(push, "FILE_BYTES_PER_CALL_MAX", 1000)

    def function(_request: Any, room: Room) -> dict[str, Any]:
        for number, size in enumerate(sizes):
            with (room.transfer / str(number)).open("wb") as file:
                file.truncate(size)
        return {"output": {}}

    (event,) = Seating(tmp_path, function).work(opening())

    kind, message = failure_of(event)
    assert (LimitReached.__name__, True) == (kind, "have more than 1000 bytes, the most" in message)


def test_a_file_that_grows_while_it_is_sent_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that goes on writing, as one that is served may, keeps nobody reading."""
    monkeypatch.setattr(push, "FILE_BYTES_PER_CALL_MAX", 100 * 1024**2)
    file = tmp_path / "endless"
    file.write_bytes(b"x")

    class Growing(FileIO):
        def readinto(self, buffer: Any) -> int:
            with file.open("ab") as other:
                other.write(b"x" * len(buffer))
            return super().readinto(buffer) or 0

    with Growing(file) as growing, pytest.raises(LimitReached):
        push._described("endless", growing, 100 * 1024**2, threading.Event())


class Liar(MemoryBlobStore):
    """Keeps everything, and gives something else back."""

    async def get(self, blob: Blob) -> AsyncIterator[bytes]:
        """Other content of the same size."""
        yield b"?" * blob.size_bytes


def test_what_arrives_is_verified_and_nothing_else_is_put_in_its_place(tmp_path: Path) -> None:
    seating = Seating(tmp_path, echo)
    sent = seating.receive(REMOTE, {"f": b"content"})
    seating.shelf.blobs = Liar()

    (event,) = seating.work(make_ticket(iteration=2, inbox=(sent,)))

    assert failure_of(event) == (
        "BlobMismatch",
        "what arrived as 'f' is not what was sent: its digest differs",
    )
    assert [] == list(seating.desk.folders[Folder.BASE].iterdir())


def test_a_body_is_verified_too(tmp_path: Path) -> None:
    seating = Seating(tmp_path, echo)
    seating.shelf.blobs = Liar()
    large = replace(OPENING, body=b"", body_blob=blob_of(b"{}", "body"))

    (event,) = seating.work(make_ticket(inbox=(large,)))

    assert "BlobMismatch" == failure_of(event)[0]
    assert [] == seating.heard.requests


def test_a_mistake_of_the_node_is_told_without_a_word_of_the_data_and_written_down_there(
    tmp_path: Path,
) -> None:
    def function(_request: Any, _room: Room) -> dict[str, Any]:
        raise ZeroDivisionError("patient 7")

    seating = Seating(tmp_path, function)

    (event,) = seating.work(opening())

    assert failure_of(event) == (
        "JobFailed",
        "the node failed with ZeroDivisionError; the traceback is in local0.log at this site",
    )
    assert "ZeroDivisionError: patient 7" in seating.desk.log.read_text()


def test_what_a_call_left_before_it_failed_is_made_of_files_too(tmp_path: Path) -> None:
    """Its session goes with it, and with that the paths that its links name."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "a").write_text("own a")

    def function(_request: Any, room: Room) -> dict[str, Any]:
        (room.output / "kept").symlink_to(os.readlink(room.base / "a"))
        raise ZeroDivisionError

    seating = Seating(tmp_path, function, data=look_at(site))

    seating.work(opening())

    kept = seating.desk.folders[Folder.OUTPUT] / "kept"
    assert ([LOCAL0], False, "own a") == (seating.runtime.closed, kept.is_symlink(), kept.read_text())


def test_a_run_that_ends_ends_its_session_and_may_end_again(tmp_path: Path) -> None:
    seating = Seating(tmp_path, echo)
    seating.work(opening())

    asyncio.run(seating.runner.end(RUN))
    asyncio.run(seating.runner.end(RUN))

    assert [LOCAL0] == seating.runtime.closed
    assert not seating.desk.folders[Folder.BASE].exists()


# --- A site's own rules -----------------------------------------------------------------------


def ruled(root: Path, rules: Rules, function: Algorithmic = echo) -> JobReported | JobBroke:
    """How a job ends at a site with these rules."""
    seating = Seating(root, function)
    runner = Runner(
        seating.shelf,
        Algorithms({"sha256:0": installed(root / "code")}, seating.runtime),
        lambda _: seating.desk,
        seating.heard,
        limits=CallLimits(),
        rules=rules,
    )

    async def work() -> JobReported | JobBroke:
        return await runner.work(opening(), a_shift())

    return asyncio.run(work())


def refuse(*_: Any) -> None:
    """A rule that allows nothing."""
    raise JobRefused("not on Fridays")


def test_a_job_that_a_policy_refuses_is_not_begun(tmp_path: Path) -> None:
    def never(_request: Any, _room: Room) -> Any:
        raise AssertionError

    event = ruled(tmp_path, Rules(policies=[lambda _: None, refuse]), never)

    assert failure_of(event) == ("JobRefused", "not on Fridays")


def test_what_a_check_refuses_does_not_leave(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(_ticket: Ticket, outgoing: Outgoing) -> None:
        seen.append(outgoing.body_bytes)
        refuse()

    assert failure_of(ruled(tmp_path, Rules(checks=[look]))) == ("JobRefused", "not on Fridays")
    assert seen == [len(b'{"heard":{"a":1}}')]


def test_of_an_error_is_told_what_the_site_tells(tmp_path: Path) -> None:
    event = ruled(tmp_path, Rules(policies=[refuse], told=lambda error: type(error).__name__))

    assert failure_of(event) == ("JobRefused", "JobRefused")


def test_a_site_brings_to_each_step_what_belongs_to_it(tmp_path: Path) -> None:
    seating = Seating(tmp_path, lambda _request, room: {"output": sorted(os.listdir(room.base))})
    provisions = []
    for number in range(2):
        folder = tmp_path / f"site{number}"
        folder.mkdir()
        (folder / f"file{number}").touch()
        provisions.append(Provision(data=look_at(folder)))
    code = installed(tmp_path / "code")
    runner = Runner(
        seating.shelf,
        Algorithms({"sha256:0": code, "sha256:1": code}, seating.runtime),
        lambda _: seating.desk,
        seating.heard,
        limits=CallLimits(),
        provide=lambda ticket: provisions[ticket.step],
    )

    async def work() -> list[Any]:
        return [await runner.work(opening(step=step), a_shift()) for step in (0, 1)]

    bodies = [message_of(event).body for event in asyncio.run(work())]

    assert bodies == [b'["file0"]', b'["file1"]']
    assert runner.runs == {RUN}


def test_a_computation_whose_process_ended_with_its_node_says_so(tmp_path: Path) -> None:
    seating = Seating(tmp_path, echo)
    seating.desk.revived = True

    (event,) = seating.work(make_ticket(iteration=3, inbox=(OPENING,)))

    kind, words = failure_of(event)
    assert kind == "AlgorithmFailed"
    assert "before iteration 3" in words


def test_what_the_desks_keep_stays_when_a_node_ends(tmp_path: Path) -> None:
    seating = Seating(tmp_path, echo)
    seating.work(opening())

    seating.do(seating.runner.close)

    assert seating.runtime.closed == [LOCAL0]
    assert seating.desk.folders[Folder.BASE].is_dir()
    assert seating.runner.runs == set()
