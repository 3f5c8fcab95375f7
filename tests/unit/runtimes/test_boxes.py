"""What a node does for boxes before they start."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from atoll.model.errors import AlgorithmFailed
from atoll.runtimes.boxes import check_readable, hand_over
from atoll.runtimes.children import Streams
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
