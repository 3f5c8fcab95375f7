"""What a call takes of the disk and the log, and how it is counted."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.contract.runtime_bench import make_bench, run

from atoll.engine.limits import FOLDERS_DEEP_MAX, CallLimits
from atoll.engine.running import Request
from atoll.model.errors import LimitReached
from atoll.runtimes import groups, watching
from atoll.runtimes.groups import find_spots, make_group
from atoll.runtimes.watching import Unmeasured, weigh

PLENTY = 1 << 40


def fill(path: Path, size: int = 1_000_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def test_files_count_by_what_they_fill(tmp_path: Path) -> None:
    """A file with a hole counts for next to nothing, a full one for its blocks."""
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 30)

    holes = weigh([tmp_path], PLENTY)
    fill(tmp_path / "full")

    assert holes < 100_000
    assert 1_000_000 <= weigh([tmp_path], PLENTY) - holes < 1_100_000


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither a link to a file nor one to a folder leads anywhere."""
    fill(tmp_path / "elsewhere" / "file")
    own = tmp_path / "own"
    own.mkdir()
    (own / "file").symlink_to(tmp_path / "elsewhere" / "file")
    (own / "folder").symlink_to(tmp_path / "elsewhere")

    assert weigh([own], PLENTY) < 100_000


def test_file_with_two_names_counts_once(tmp_path: Path) -> None:
    """So do a folder that is named twice, and one within another."""
    first = fill(tmp_path / "deep" / "first")
    os.link(first, tmp_path / "second")

    assert weigh([tmp_path], PLENTY) == weigh([tmp_path, tmp_path / "deep", tmp_path], PLENTY) < 1_200_000


def test_empty_files_count_for_something(tmp_path: Path) -> None:
    """Names and inodes are room, too."""
    for number in range(100):
        (tmp_path / str(number)).touch()

    assert 51_200 <= weigh([tmp_path], PLENTY) < 200_000


def test_single_file_and_missing_folder(tmp_path: Path) -> None:
    """What a launch names may be a file, or be gone."""
    assert 1_000_000 <= weigh([fill(tmp_path / "file"), tmp_path / "gone"], PLENTY) < 1_100_000


def test_counting_stops_where_it_is_enough(tmp_path: Path) -> None:
    """A disk that was filled is not looked through to its end."""
    for number in range(20):
        fill(tmp_path / str(number % 3) / str(number), 100_000)

    assert 250_000 < weigh([tmp_path], 250_000) < 700_000


def test_removed_files_count_while_they_are_open(tmp_path: Path) -> None:
    """A process that holds a file without a name holds its blocks."""
    with fill(tmp_path / "file").open("rb"):
        (tmp_path / "file").unlink()

        assert 1_000_000 <= weigh([tmp_path], PLENTY, [os.getpid()]) < 1_100_000
        assert weigh([tmp_path], PLENTY) < 100_000


def test_folders_too_deep_are_not_measured(tmp_path: Path) -> None:
    """Whoever looks holds one folder open for each level."""
    tmp_path.joinpath(*"d" * FOLDERS_DEEP_MAX).mkdir(parents=True)
    weigh([tmp_path], PLENTY)
    tmp_path.joinpath(*"d" * (FOLDERS_DEEP_MAX + 1)).mkdir(parents=True)

    with pytest.raises(Unmeasured, match=f"more than {FOLDERS_DEEP_MAX} folders within"):
        weigh([tmp_path], PLENTY)


def test_too_many_files_are_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look has an end."""
    monkeypatch.setattr(watching, "DISK_ENTRIES_MAX", 5)
    for number in range(5):
        (tmp_path / str(number)).touch()

    with pytest.raises(Unmeasured, match="more than 5 files"):
        weigh([tmp_path], PLENTY)


@contextmanager
def nobody() -> Iterator[None]:
    """This process, without a superuser's rights."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_folder_that_is_closed_is_not_measured() -> None:
    """An algorithm can't hide what it writes behind a folder that nobody may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "closed").mkdir(mode=0o000)
        with nobody(), pytest.raises(Unmeasured, match="can't be looked into"):
            weigh([Path(name)], PLENTY)
        (Path(name) / "closed").chmod(0o700)


def test_call_in_folders_that_cannot_be_measured_ends(tmp_path: Path) -> None:
    """Where a bound on the disk can't be checked, nothing is taken from the call."""
    bench = make_bench("process-cold", tmp_path)
    launch = bench.launch("print('done')", limits=CallLimits(disk_bytes=1_000_000))
    launch.temporary.joinpath(*"d" * (FOLDERS_DEEP_MAX + 1)).mkdir(parents=True)

    with pytest.raises(
        LimitReached, match=r"have more than 64 folders within each other, so that their bound"
    ):
        bench.call(launch)


@pytest.mark.parametrize("kind", ["process-cold", "process-warm"])
def test_single_file_has_the_systems_own_bound(kind: str, tmp_path: Path) -> None:
    """Before anybody looks, the system stops a file at the largest of what may be written."""
    bench = make_bench(kind, tmp_path)
    script = """
        import resource
        print(resource.getrlimit(resource.RLIMIT_FSIZE))
    """
    limits = CallLimits(disk_bytes=3_072_000, reply_bytes=2_000_000, log_bytes=1_000)

    assert b"(-1, -1)\n" == bench.call(bench.launch(script)).output
    assert b"(3072000, 3072000)\n" == bench.call(bench.launch(script, limits=limits)).output


def test_log_of_one_session_is_not_held_against_the_next(tmp_path: Path) -> None:
    """A session may print its own share, whatever the log held before."""
    bench = make_bench("process-cold", tmp_path)
    launch = bench.launch(
        "import sys; sys.stderr.write('x' * int(sys.stdin.read()))", limits=CallLimits(log_bytes=1000)
    )
    launch.log.write_text("before" * 1000)

    bench.calls(launch, b"600", b"400")
    with pytest.raises(LimitReached, match="printed more than 1000 bytes"):
        bench.calls(launch, b"600", b"401")

    assert 6000 + 1000 + 1000 == launch.log.stat().st_size


def test_group_is_gone_with_its_session(tmp_path: Path) -> None:
    """However a session ends, it leaves no control group."""
    if not find_spots():
        pytest.skip("no control group can be made here")
    bench = make_bench("process-warm", tmp_path)

    def made() -> set[Path]:
        return {path for spot in find_spots() for path in spot.folder.glob(f"atoll-*-{os.getpid()}-*")}

    seen: list[set[Path]] = []

    async def go() -> None:
        async with bench.session(bench.launch("print(1)")) as session:
            await session.call(Request())
            seen.append(made())

    before = made()
    run(go())

    assert seen[0] > before
    assert before == made()


def test_held_group_lets_no_process_be_made() -> None:
    """What is to be ended can't be outrun; what comes next is free again."""
    group = make_group(CallLimits(processes=10))
    if group is None:
        pytest.skip("no control group can be made here")
    group.hold()
    held = [(door.parent / "pids.max").read_text() for door in group.doors]
    group.release()
    free = [(door.parent / "pids.max").read_text() for door in group.doors]
    asyncio.run(group.remove())
    group.hold()
    group.release()

    assert (["0\n"], ["10\n"]) == (held, free)
    assert set() == group.members()


def test_no_call_waits_for_a_group_that_it_can_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In version 2 the way into a group is long: for processes alone it is taken only where it must be."""
    spot = groups._Spot(folder=tmp_path, version=2, resources=frozenset({"memory", "pids", "cpu"}))
    monkeypatch.setattr(groups, "find_spots", lambda: (spot,))
    tried: list[CallLimits] = []
    monkeypatch.setattr(groups, "_make", lambda _, limits: tried.append(limits))
    bounds = [CallLimits(), CallLimits(memory_bytes=1), CallLimits(processors=1.0)]

    for limits in bounds:
        make_group(limits, counted=True)
    make_group(CallLimits())

    assert [*bounds[1:], CallLimits()] == tried
    assert {"fork-bomb", "disk-hidden"} == set(groups.not_promised(counted=True))
    assert {} == groups.not_promised()


def test_bounds_are_said_in_the_words_of_either_version() -> None:
    """What isn't bounded isn't said, and a sliver of a processor is the least that the kernel deals out."""
    limits = CallLimits(memory_bytes=5, processes=7, processors=0.001)
    free = CallLimits(processes=None)

    said = [
        groups._settings(resource, version, limits)
        for version in (1, 2)
        for resource in ("memory", "pids", "cpu")
    ]

    assert [
        {"memory.limit_in_bytes": "5", "memory.memsw.limit_in_bytes": "5"},
        {"pids.max": "7"},
        {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "1000"},
        {"memory.max": "5", "memory.swap.max": "0", "memory.oom.group": "0"},
        {"pids.max": "7"},
        {"cpu.max": "1000 100000"},
    ] == said
    assert [{}] * 3 == [groups._settings(resource, 2, free) for resource in ("memory", "pids", "cpu")]


def test_group_of_a_process_that_is_no_more_is_removed() -> None:
    """Its name says whose it is, and a number that was given again is another's."""
    if not find_spots():
        pytest.skip("no control group can be made here")
    program = "from atoll.runtimes import groups; from atoll.engine.limits import CallLimits as L; import os"
    program += "; print([str(d.parent) for d in groups.make_group(L(processes=10)).doors][0], flush=True); os._exit(0)"
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    folder = Path(made.strip())
    there = folder.is_dir()

    asyncio.run(groups.end_orphans())

    assert (True, False) == (there, folder.exists())


def test_groups_that_others_call_alike_are_nobodys_to_remove() -> None:
    """A service of this machine may be called so, and its group lies beside Atoll's."""
    if not (spots := find_spots()):
        pytest.skip("no control group can be made here")
    folder = spots[0].folder / f"atoll-node-at-{os.getpid()}-1.service"
    folder.mkdir()
    try:
        asyncio.run(groups.end_orphans())

        assert folder.exists()
    finally:
        folder.rmdir()


def test_where_groups_are_is_found_whatever_else_is_mounted() -> None:
    """What is mounted may have an empty name, and a name in any bytes."""
    mounts = [
        "36 25 0:32 / /mnt/\udcff rw shared:1 - tmpfs  rw",
        "37 25 0:33 / /sys/fs/cgroup rw shared:2 - cgroup2 cgroup rw",
    ]

    assert groups._folder_of("/system.slice", mounts, 2, frozenset()) == Path("/sys/fs/cgroup/system.slice")
