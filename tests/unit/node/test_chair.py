"""Each call has a chair, with a session and files that no other call at the seat has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.federation import LOCAL0, FunctionRuntime, Room, installed, make_desk, make_ticket

from atoll.algorithms.installed import Installed
from atoll.dialects.coinstac.convention import Convention
from atoll.engine import limits
from atoll.engine.limits import CallLimits
from atoll.engine.ports import Folder
from atoll.engine.running import Launch, Reply, Request, Session, Style
from atoll.model.errors import AlgorithmFailed, LimitReached, UnsafeName
from atoll.model.work import JobId, Seat, Ticket
from atoll.node import chair as chairs
from atoll.node import guarded
from atoll.node.chair import Chair
from atoll.node.desk import Desk
from atoll.node.offer import Offer, Source
from atoll.runtimes.functions import NoWayIn


class WithFiles(Convention):
    """A convention whose calls have files of their own, and a workbench."""

    def targets(self, seat: Seat) -> Mapping[Folder, str]:
        """A folder for each call, and one for all of them."""
        return {Folder.JOB: "/job", Folder.WORKBENCH: "/workbench"}


CODE = Installed(convention=WithFiles(style=Style.CALL, site_command=("python",)), code=Path("code"))


def idle(_request: Any, _room: Room) -> dict[str, Any]:
    """An algorithm that does nothing."""
    return {}


class Seating:
    """A desk, and a runtime that counts the sessions there."""

    def __init__(self, root: Path, offer: Offer | None = None) -> None:
        self.desk: Desk = make_desk(root, offer=offer)
        self.runtime = FunctionRuntime(idle)

    async def sit(self, ticket: Ticket | None = None) -> Chair:
        """A chair for a call."""
        return await self.desk.sit_down(ticket or make_ticket(), CODE, self.runtime, CallLimits())

    @property
    def started(self) -> int:
        """How many sessions there ever were."""
        return len(self.runtime.launches)

    @property
    def closed(self) -> int:
        """How many of them are no more."""
        return len(self.runtime.closed)


def keyed(key: str, parent: str = "run.0.0") -> Ticket:
    """A call that goes on in the session of this name."""
    ticket = make_ticket()
    return replace(ticket, job=replace(ticket.job, session=key), parent=JobId(parent))


def at(root: Path, work: Callable[[Seating], Awaitable[None]]) -> None:
    """Do something at a desk."""

    async def sit() -> None:
        seating = Seating(root)
        try:
            await work(seating)
        finally:
            await seating.desk.close()

    asyncio.run(sit())


# --- Sessions ---------------------------------------------------------------------------------


def test_calls_that_overlap_have_a_chair_each_and_those_that_follow_share_one(tmp_path: Path) -> None:
    async def work(seating: Seating) -> None:
        first = await seating.sit()
        second = await seating.sit()
        await seating.desk.stand_up(second)
        third = await seating.sit()
        assert (2, True, False) == (seating.started, third is second, second is first)
        assert first.folder(Folder.JOB) != second.folder(Folder.JOB)
        # What belongs to the seat belongs to both.
        assert first.folder(Folder.WORKBENCH) == second.folder(Folder.WORKBENCH)
        assert first.cache is second.cache
        assert first.outputs is second.outputs

    at(tmp_path, work)


def test_a_session_with_a_name_is_for_who_gave_it_the_name(tmp_path: Path) -> None:
    async def work(seating: Seating) -> None:
        desk = seating.desk
        mine = await seating.sit(keyed("a"))
        await desk.stand_up(mine)
        others = [
            await seating.sit(ticket)
            for ticket in (None, keyed("b"), keyed("a", parent="run.0.1"), keyed("a"), keyed("a"))
        ]
        assert [False, False, False, True, False] == [chair is mine for chair in others]
        assert 5 == seating.started

    at(tmp_path, work)


def test_sessions_that_nobody_may_come_back_to_do_not_pile_up(tmp_path: Path) -> None:
    """A function that asks under a thousand names has a thousand sessions, but not at a time."""

    async def work(seating: Seating) -> None:
        plain = await seating.sit()
        await seating.desk.stand_up(plain)
        busy = await seating.sit(keyed("busy"))
        for number in range(20):
            await seating.desk.stand_up(await seating.sit(keyed(f"k{number}")))
            # This one is used again and again.
            await seating.desk.stand_up(await seating.sit(keyed("k0")))
        assert 22 == seating.started
        assert limits.KEPT_SESSIONS_MAX + 2 == seating.started - seating.closed
        assert {busy, plain} < set(seating.desk.chairs)

    at(tmp_path, work)


def test_a_session_that_was_lost_with_its_call_is_not_met_again(tmp_path: Path) -> None:
    async def work(seating: Seating) -> None:
        for key in (None, "kept"):
            ticket = make_ticket() if key is None else keyed(key)
            chair = await seating.sit(ticket)
            chair.session = _Failing(chair.session)
            with pytest.raises(AlgorithmFailed):
                await chair.call(Request(), None)
            await seating.desk.stand_up(chair)
            again = await seating.sit(ticket)
            assert again is not chair
            assert again.folder(Folder.JOB) != chair.folder(Folder.JOB)
        assert 2 == seating.closed

    at(tmp_path, work)


@pytest.mark.parametrize(
    ("reply", "broken"),
    [
        (Reply(output=b"", exit_code=1), True),
        (Reply(output=b"", exit_code=-9), True),
        (Reply(output=b"", head={"say": "failed"}), False),
        (Reply(output=b""), False),
    ],
)
def test_a_process_that_has_ended_answers_no_other_call(tmp_path: Path, reply: Reply, broken: bool) -> None:
    async def work(seating: Seating) -> None:
        chair = await seating.sit()
        chair.session = _Failing(chair.session, reply)
        await chair.call(Request(), None)
        await seating.desk.stand_up(chair)
        assert broken is not (await seating.sit() is chair)

    at(tmp_path, work)


class _Failing(NoWayIn):
    """A session whose call ends as a test says: with a reply, or without."""

    def __init__(self, session: Session | None, reply: Reply | None = None) -> None:
        assert session is not None
        self._session = session
        self._reply = reply

    address = None

    def inside(self, path: Path) -> str:
        return self._session.inside(path)

    async def call(self, request: Request, *, seed: int | None = None, doorway: Any = None) -> Reply:
        if self._reply is None:
            raise AlgorithmFailed("no")
        return self._reply

    async def close(self) -> None:
        await self._session.close()


def test_where_no_session_starts_there_is_no_chair_and_the_next_has_a_folder_of_its_own(
    tmp_path: Path,
) -> None:
    class Full(FunctionRuntime):
        async def start(self, launch: Launch) -> Session:
            if self.launches:
                raise AlgorithmFailed("no")
            return await super().start(launch)

    async def work(seating: Seating) -> None:
        seating.runtime = Full(idle)
        first = await seating.sit()
        with pytest.raises(AlgorithmFailed):
            await seating.sit()
        assert [first] == seating.desk.chairs
        seating.runtime = FunctionRuntime(idle)
        second = await seating.sit()
        assert first.folder(Folder.JOB) != second.folder(Folder.JOB)

    at(tmp_path, work)


def test_a_session_is_closed_where_the_sites_files_can_not_be_laid_out(tmp_path: Path) -> None:
    class Broken(Desk):
        def _lay_out(self, chair: Chair) -> None:
            raise OSError("no room")

    async def sit() -> tuple[list[Seat], list[Chair]]:
        made = make_desk(tmp_path)
        desk = Broken(seat=made.seat, folders=made.folders, log=made.log)
        runtime = FunctionRuntime(idle)
        with pytest.raises(OSError, match="no room"):
            await desk.sit_down(make_ticket(), CODE, runtime, CallLimits())
        return runtime.closed, desk.chairs

    assert ([LOCAL0], []) == asyncio.run(sit())


def test_a_call_has_a_secret_of_its_own(tmp_path: Path) -> None:
    async def work(seating: Seating) -> None:
        chair, other = await seating.sit(), await seating.sit()
        tokens = []
        for _ in range(3):
            chair.begin(7)
            tokens += [chair.token, chair.token]
            chair.stand_up()
        other.begin(None)
        assert (7, None) == (chair.seed, other.seed)
        assert tokens[::2] == tokens[1::2]
        assert 4 == len({*tokens, other.token})
        assert all(len(token) >= 32 for token in tokens)

    at(tmp_path, work)


# --- Files of a call --------------------------------------------------------------------------


def test_a_calls_folder_is_its_own_and_empty_when_the_call_has_ended(tmp_path: Path) -> None:
    async def work(seating: Seating) -> None:
        first, second = await seating.sit(), await seating.sit()
        for chair in (first, second):
            chair.write(Folder.JOB, "sub/input", str(chair.number).encode())
        assert [b"1", b"2"] == [chair.read(Folder.JOB, "sub/input") for chair in (first, second)]
        await seating.desk.stand_up(first)
        assert first.read(Folder.JOB, "sub/input") is None
        assert [] == os.listdir(first.folder(Folder.JOB))
        assert b"2" == second.read(Folder.JOB, "sub/input")
        mounts = [
            [(mount.source, mount.target) for mount in launch.mounts] for launch in seating.runtime.launches
        ]
        assert [(first.folder(Folder.JOB), "/job"), (second.folder(Folder.JOB), "/job")] == [
            each[0] for each in mounts
        ]
        assert str(first.folder(Folder.JOB)) == first.inside(Folder.JOB)

    at(tmp_path, work)


def test_what_an_algorithm_left_is_read_only_if_it_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")

    async def work(seating: Seating) -> None:
        chair = await seating.sit()
        folder = chair.folder(Folder.JOB)
        (folder / "link").symlink_to(tmp_path / "secret")
        (folder / "through").symlink_to(tmp_path)
        os.mkfifo(folder / "pipe")
        (folder / "folder").mkdir()
        (folder / "folder" / "file").write_text("x")
        assert chair.read(Folder.JOB, "missing") is None
        assert chair.read(Folder.JOB, "folder") is None
        for name in ("link", "through/secret", "pipe", "../1/link", ""):
            with pytest.raises(UnsafeName):
                chair.read(Folder.JOB, name)

    at(tmp_path, work)


def test_what_is_too_large_for_an_answer_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chairs, "REPLY_BYTES_MAX", 10)

    async def work(seating: Seating) -> None:
        chair = await seating.sit()
        chair.write(Folder.JOB, "fits", b"x" * 10)
        chair.write(Folder.JOB, "exceeds", b"x" * 11)
        assert b"x" * 10 == chair.read(Folder.JOB, "fits")
        with pytest.raises(LimitReached, match=r"^the algorithm's exceeds has more than 10 bytes"):
            chair.read(Folder.JOB, "exceeds")

    at(tmp_path, work)


def test_a_folder_that_can_not_be_emptied_is_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_folder: Path) -> None:
        raise OSError("a process still writes there")

    async def work(seating: Seating) -> None:
        chair = await seating.sit()
        with monkeypatch.context() as patch:
            patch.setattr(guarded, "empty", busy)
            await seating.desk.stand_up(chair)
        again = await seating.sit()
        assert (1, False) == (seating.closed, again.folder(Folder.JOB) == chair.folder(Folder.JOB))

    at(tmp_path, work)


# --- The workbench ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "versions"),
    [
        ("df.parquet", ["df.v1.parquet", "df.v2.parquet"]),
        ("df", ["df.v1", "df.v2"]),
        ("my.df.parquet", ["my.df.v1.parquet", "my.df.v2.parquet"]),
        ("sub.d/df", ["sub.d/df.v1", "sub.d/df.v2"]),
        (".df", [".df.v1", ".df.v2"]),
        ("données", ["données.v1", "données.v2"]),
    ],
)
def test_what_is_kept_replaces_what_had_its_name_and_every_version_stays_at_the_site(
    tmp_path: Path, name: str, versions: list[str]
) -> None:
    async def work(seating: Seating) -> None:
        numbers = []
        for content in (b"one", b"two"):
            chair = await seating.sit()
            chair.write(Folder.JOB, "output", content)
            numbers.append(chair.keep(name, "output"))
            await seating.desk.stand_up(chair)
        folders = seating.desk.folders
        assert [1, 2] == numbers
        assert b"two" == (folders[Folder.WORKBENCH] / name).read_bytes()
        kept = folders[Folder.OUTPUT] / "dataframes"
        assert [b"one", b"two"] == [(kept / version).read_bytes() for version in versions]
        assert 2 == sum(path.is_file() for path in kept.rglob("*"))

    at(tmp_path, work)


@pytest.mark.parametrize("name", ["../df.parquet", "/df", "", "..", "a//b", "a\0b"])
def test_a_name_that_leads_out_of_the_workbench_is_refused_and_nothing_is_kept(
    tmp_path: Path, name: str
) -> None:
    async def work(seating: Seating) -> None:
        chair = await seating.sit()
        chair.write(Folder.JOB, "output", b"x")
        with pytest.raises(UnsafeName):
            chair.keep(name, "output")
        assert [] == list(seating.desk.folders[Folder.WORKBENCH].iterdir())

    at(tmp_path, work)


@pytest.mark.parametrize("left", ["nothing", "a folder", "an empty folder"])
def test_what_is_no_file_is_not_kept(tmp_path: Path, left: str) -> None:
    async def work(seating: Seating) -> None:
        chair = await seating.sit()
        if left == "a folder":
            chair.write(Folder.JOB, "output/part", b"x")
        elif left == "an empty folder":
            (chair.folder(Folder.JOB) / "output").mkdir()
        with pytest.raises(FileNotFoundError):
            chair.keep("df.parquet", "output")
        assert [] == list(seating.desk.folders[Folder.WORKBENCH].iterdir())
        assert [] == [path for path in seating.desk.folders[Folder.OUTPUT].rglob("*") if path.is_file()]

    at(tmp_path, work)


def test_a_link_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")

    async def work(seating: Seating) -> None:
        chair = await seating.sit()
        (chair.folder(Folder.JOB) / "output").symlink_to(tmp_path / "secret")
        with pytest.raises(UnsafeName):
            chair.keep("df.parquet", "output")
        # Nor does one that was planted lead a kept file elsewhere.
        (chair.folder(Folder.JOB) / "output").unlink()
        chair.write(Folder.JOB, "output", b"x")
        (chair.folder(Folder.WORKBENCH) / "df.parquet").symlink_to(tmp_path / "secret")
        chair.keep("df.parquet", "output")
        assert "secret" == (tmp_path / "secret").read_text()
        assert b"x" == (chair.folder(Folder.WORKBENCH) / "df.parquet").read_bytes()

    at(tmp_path, work)


# --- What the site offers ---------------------------------------------------------------------


def test_a_call_sees_what_its_site_offers_and_sets(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    offer = Offer(
        databases={"default": Source(type="csv", path=tmp_path / "a.csv")}, environment={"LEAST": "3"}
    )

    async def sit() -> None:
        seating = Seating(tmp_path, offer)
        chair = await seating.sit()
        assert ["default"] == list(chair.databases)
        assert str(tmp_path / "a.csv") == chair.databases["default"].uri
        assert {"LEAST": "3"} == chair.environment
        assert (LOCAL0, None) == (chair.seat, chair.address)
        mounts = {mount.target: mount for mount in seating.runtime.launches[0].mounts}
        assert not mounts["/databases/default.csv"].writable
        await seating.desk.close()

    asyncio.run(sit())


def test_chairs_of_a_computation_have_no_files_of_their_own(tmp_path: Path) -> None:
    async def sit() -> bool:
        desk, runtime = make_desk(tmp_path), FunctionRuntime(idle)
        await desk.turn_to(0)
        chair = await desk.sit_down(make_ticket(), installed(Path("code")), runtime, CallLimits())
        await desk.stand_up(chair)
        await desk.close()
        return desk.folders[Folder.JOB].exists()

    assert not asyncio.run(sit())
