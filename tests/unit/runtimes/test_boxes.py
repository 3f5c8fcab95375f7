"""What a node does for boxes before they start."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from tests.descriptors import descriptors

from atoll.engine.running import Launch, Style
from atoll.model.errors import AlgorithmFailed
from atoll.model.work import Seat
from atoll.runtimes.boxes import Boot, BoxPlace, Plan, _accept, _listener, check_readable, hand_over
from atoll.runtimes.children import Streams
from atoll.runtimes.places import Inside
from atoll.runtimes.points import Points
from atoll.runtimes.view import GUEST
from atoll.runtimes.warm import Parent, ParentLost

NOBODY = (65532, 65532)
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@root_only
def test_folders_are_given_with_all_that_is_in_them_and_no_link_is_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("somebody's")
    folder = tmp_path / "output"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").touch()
    (folder / "deep" / "link").symlink_to(kept)
    (folder / "elsewhere").symlink_to(tmp_path)
    hand_over([folder], NOBODY)
    given = [
        folder,
        folder / "deep",
        folder / "deep" / "file",
        folder / "deep" / "link",
        folder / "elsewhere",
    ]
    assert {os.lstat(path).st_uid for path in given} == {NOBODY[0]}
    assert kept.stat().st_uid == 0
    assert tmp_path.stat().st_uid == 0


@pytest.mark.parametrize(("mode", "readable"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_what_the_boxs_user_may_not_read_is_named(tmp_path: Path, mode: int, readable: bool) -> None:
    data = tmp_path / "rows.csv"
    data.touch()
    data.chmod(mode)
    if readable:
        check_readable([data], NOBODY)
        return
    with pytest.raises(AlgorithmFailed, match=r"the user 65532 .* may not read '.*rows\.csv'"):
        check_readable([data], NOBODY)


def test_what_is_not_there_is_said_by_who_shows_it(tmp_path: Path) -> None:
    hand_over([tmp_path / "output"], NOBODY)
    check_readable([tmp_path / "rows.csv"], NOBODY)


def test_a_folder_has_to_be_entered_too(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o744)
    folder.chmod(0o744)
    with pytest.raises(AlgorithmFailed, match=r"chmod o\+rx"):
        check_readable([folder], NOBODY)
    check_readable([folder], (os.getuid(), os.getgid()))


@pytest.mark.parametrize(
    "said",
    [
        '{"ended": 1, "status": 4991}',  # of a process that was stopped
        '{"ended": 1, "status": 1e400}',
        '{"ended": 1, "status": 99999999999999999999999}',
        '{"ended": 1, "status": 0, "memory_kills": Infinity}',
        '{"ended": []}',
        '{"cell": 1}',
        '"ended"',
    ],
)
def test_a_call_ends_whatever_its_box_says(said: str) -> None:
    async def go() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        parent = Parent(None, ours, isolated=True)
        with theirs, open(os.devnull, "rb+") as nothing:
            file = nothing.fileno()
            call = parent.start({}, Streams(stdin=file, stdout=file, stderr=file))
            theirs.send(said.encode())
            with pytest.raises(ParentLost):
                await call.ended
        assert not parent.alive

    asyncio.run(go())


def test_a_box_that_talks_without_end_lets_others_have_their_turn() -> None:
    async def go() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        parent = Parent(None, ours, isolated=True)
        with theirs, open(os.devnull, "rb+") as nothing:
            file = nothing.fileno()
            calls = [parent.start({}, Streams(stdin=file, stdout=file, stderr=file)) for _ in range(100)]
            for call in calls:
                theirs.send(b'{"ended": %d, "status": 0}' % call.number)
            await calls[0].ended
            others_had_a_turn = not calls[-1].ended.done()
            await calls[-1].ended
            parent.lose()
        assert others_had_a_turn

    asyncio.run(go())


def test_a_cell_that_nobody_waits_for_any_more_is_dropped() -> None:
    async def go() -> list[dict[str, object]]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        parent = Parent(None, ours, isolated=True)
        with theirs:
            making = asyncio.create_task(parent.make_cell({}))
            await asyncio.sleep(0)
            making.cancel()
            with pytest.raises(asyncio.CancelledError):
                await making
            said = [json.loads(theirs.recv(1000)) for _ in range(2)]
            theirs.send(b'{"cell": 1, "error": null}')
            assert parent.alive
            parent.lose()
        return said

    assert asyncio.run(go()) == [{"do": "cell", "id": 1}, {"do": "drop", "id": 1}]


class _Waiting:
    """A box whose first process lives."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def memory_ran_out(self) -> bool:
        return False

    async def remove(self) -> None:
        self.ended.cancel()


@pytest.mark.parametrize("turns", range(6))
def test_the_connection_of_a_box_is_not_lost_with_who_waits_for_it(tmp_path: Path, turns: int) -> None:
    async def go() -> None:
        before = descriptors()
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as theirs,
        ):
            listener.setblocking(False)
            listener.bind(str(tmp_path / "node"))
            listener.listen(1)
            theirs.connect(str(tmp_path / "node"))
            waiting = asyncio.create_task(_accept(listener, _Waiting()))
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                (await waiting).close()
            del waiting
        assert descriptors() == before

    asyncio.run(go())


class _Refusing:
    """Starts boxes whose first process can't be a parent, whatever it imports."""

    async def start(self, boot: Boot) -> _Waiting:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.connect(str(boot.line / "node"))
            line.send(b'{"cold": "No module named resource"}')
        return _Waiting()


def test_an_image_whose_python_can_start_nothing_is_said_to_be_so(tmp_path: Path) -> None:
    launch = Launch(
        seat=Seat("local0"),
        style=Style.CALL,
        code=None,
        command=("python3", "local.py"),
        temporary=tmp_path,
        log=tmp_path / "log",
    )
    plan = Plan(
        launch=launch,
        inside=Inside(code="/", guest=GUEST, path=(), environment={}),
        command=launch.command,
        file="python3",
        points=Points([], "local0"),
        pythons=("python3",),
        scan={},
    )

    async def go() -> None:
        before = descriptors()
        place = BoxPlace(plan, _Refusing())
        with pytest.raises(AlgorithmFailed, match="can't start the algorithm's calls: No module named"):
            await place.open()
        await place.close()
        assert descriptors() == before

    asyncio.run(go())


@pytest.mark.parametrize(
    ("said", "hint"),
    [("exec /usr/bin/python3: exec format error", True), ("it ended with status 5: no libraries", False)],
)
def test_a_program_of_another_kind_of_processor_is_told_as_that(
    tmp_path: Path, said: str, *, hint: bool
) -> None:
    async def go() -> None:
        box = _Waiting()
        box.ended.set_result(said)
        listener = _listener(tmp_path, None)
        try:
            await _accept(listener, box)
        finally:
            listener.close()

    with pytest.raises(AlgorithmFailed, match=f"before its first call: {said}") as refused:
        asyncio.run(go())
    assert ("for another kind of processor" in str(refused.value)) is hint
