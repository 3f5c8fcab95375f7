"""The folder that a node and a compute node both see."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.runtimes.slurm.lines import NAME

from atoll.engine.limits import CallLimits
from atoll.engine.running import Image, ImageKind, Launch, Mount, Outlet, Style
from atoll.model.errors import RuntimeUnavailable
from atoll.model.work import Seat
from atoll.runtimes.slurm import spec
from atoll.runtimes.slurm.frames import PIECE_BYTES_MAX, LineBrokenError
from atoll.runtimes.slurm.spec import Pace, Spec
from atoll.runtimes.slurm.spool import SessionFolder, Spool


def test_an_owner_is_drawn_once(tmp_path: Path) -> None:
    spool, again = Spool(tmp_path / "a"), Spool(tmp_path / "a")

    assert spool.owner() == again.owner()
    assert spool.owner() != Spool(tmp_path / "b").owner()


def test_a_folder_that_can_t_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(RuntimeUnavailable, match="a file system which compute nodes share"):
        Spool(tmp_path / "file").owner()


def test_what_a_session_s_folder_holds_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path / NAME)
    secret = folder.make()
    folder.write_spec(b"{}")

    assert [0o600] * 2 == [(folder.path / name).stat().st_mode & 0o777 for name in ("secret", "spec.json")]
    assert 0o700 == folder.path.stat().st_mode & 0o777
    assert 32 == len(secret)


def test_a_secret_is_taken_once(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path / NAME)
    secret = folder.make()

    assert secret == folder.take_secret()
    with pytest.raises(FileNotFoundError):
        folder.take_secret()


def test_what_sessions_have_left_is_removed_and_the_owner_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    owner = spool.owner()
    spool.new().make()

    spool.clear()

    assert ["owner"] == [path.name for path in tmp_path.iterdir()]
    assert owner == spool.owner()


def test_a_piece_that_is_too_large_ends_the_line(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path / NAME)
    folder.make()

    async def go() -> None:
        node, seat = folder.of_node(), folder.of_seat()
        await node.send(bytes(PIECE_BYTES_MAX + 1))
        with pytest.raises(LineBrokenError, match="one has more"):
            await seat.receive()

    asyncio.run(go())


def test_who_stops_while_a_piece_is_written_has_sent_it(tmp_path: Path) -> None:
    """All that comes after it waits for its number."""
    folder = SessionFolder(tmp_path / NAME)
    folder.make()
    busy = threading.Event()

    async def go() -> list[bytes]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        occupied = asyncio.create_task(asyncio.to_thread(busy.wait))
        node, seat = folder.of_node(), folder.of_seat()
        sending = asyncio.create_task(node.send(b"one"))
        for _ in range(3):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.sleep(0)
        busy.set()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.gather(occupied, node.send(b"two"))
        async with asyncio.timeout(9):
            return [await seat.receive(), await seat.receive()]

    assert [b"one", b"two"] == asyncio.run(go())


def test_a_folder_that_is_gone_ends_the_line(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path / NAME)
    folder.make()

    async def go() -> None:
        seat = folder.of_seat()
        folder.remove()
        with pytest.raises(LineBrokenError, match="can't be read"):
            await seat.receive()
        with pytest.raises(LineBrokenError, match="can't be written to"):
            await seat.send(b"x")

    asyncio.run(go())


def test_the_end_of_what_a_job_printed_is_read(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path)
    assert folder.printed() == ""

    folder.output.write_text("x" * 10_000 + "the end\n")

    assert 4_000 > len(folder.printed()) > 3_000
    assert folder.printed().endswith("xthe end")


def test_a_spec_is_read_as_it_was_written(tmp_path: Path) -> None:
    launch = Launch(
        seat=Seat("local0"),
        style=Style.TALK,
        code=None,
        image=Image(kind=ImageKind.SIF, name="/images/x.sif", digest="sha256:0"),
        code_name="x",
        command=("python", "a b"),
        masked=("test",),
        mounts=(
            Mount(source=tmp_path / "data", target="/data"),
            Mount(source=tmp_path, target="/o", writable=True),
        ),
        temporary=tmp_path / "tmp",
        log=tmp_path / "log" / "x",
        environment={"A": "ü"},
        limits=CallLimits(seconds=7.5, memory_bytes=3),
        modules=(tmp_path / "m",),
        libraries=("numpy",),
        speaks_http=True,
    )
    told = Spec(
        launch=launch,
        inner="process",
        python=Path("/python"),
        roots=(tmp_path,),
        address=("a", 7),
        pace=Pace(),
    )

    assert told == spec.decode(spec.encode(told))
    expected = [
        "/images/x.sif",
        "/python",
        *(str(tmp_path / each) for each in ("tmp", "log", "data")),
        str(tmp_path),
        f"{tmp_path}/m",
    ]
    assert expected == [str(path) for path in spec.paths_of(told)]


def test_an_outlet_leaves_behind_who_takes_its_connections(tmp_path: Path) -> None:
    offered = Outlet(host="127.0.0.2", port=80, alias="db", take=print)
    launch = Launch(
        seat=Seat("x"),
        style=Style.CALL,
        code=tmp_path,
        command=(),
        temporary=tmp_path,
        log=tmp_path,
        outlets=(offered,),
    )

    (found,) = spec.decode(spec.encode(Spec(launch=launch, inner="bubblewrap"))).launch.outlets

    assert ("127.0.0.2", 80, "db") == (found.host, found.port, found.alias)
    assert found.take is not print
