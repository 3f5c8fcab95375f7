"""What an engine is asked to make: each wall of a container, by its word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atoll.engine.limits import CallLimits
from atoll.engine.running import Image, ImageKind, Launch, Mount, Style
from atoll.model.errors import AlgorithmFailed
from atoll.model.work import Seat
from atoll.runtimes.containers.flags import Flags, Owned, _point, body_of

OWNED = Owned(owner="a node", user=(65532, 65532), groups=(7,))
FLAGS = Flags(
    owned=OWNED,
    image="sha256:" + "0" * 64,
    command=("python3", "-c", "pass"),
    folder="/",
    environment={"HOME": "/tmp"},
)


def launch(folder: Path, **changes: Any) -> Launch:
    """A launch with all that it names."""
    (folder / "temporary").mkdir(exist_ok=True)
    given: dict[str, Any] = {
        "seat": Seat("alpha"),
        "style": Style.CALL,
        "code": None,
        "image": Image(kind=ImageKind.OCI, name="example/mean", digest="sha256:" + "0" * 64),
        "command": ("python", "/computation/local.py"),
        "temporary": folder / "temporary",
        "log": folder / "log",
    }
    return Launch(**(given | changes))


def host(folder: Path, flags: Flags = FLAGS, **changes: Any) -> dict[str, Any]:
    """What the engine is told of the machine's side."""
    told: dict[str, Any] = body_of(launch(folder, **changes), flags)["HostConfig"]
    return told


def test_every_wall_is_asked_for(tmp_path: Path) -> None:
    told = body_of(launch(tmp_path), FLAGS)
    assert (told["Entrypoint"], told["Cmd"], told["User"]) == (["python3"], ["-c", "pass"], "65532:65532")
    assert told["NetworkDisabled"] is True
    config = told["HostConfig"]
    assert config["NetworkMode"] == "none"
    assert config["CapDrop"] == ["ALL"]
    assert config["SecurityOpt"] == ["no-new-privileges"]
    assert config["ReadonlyRootfs"] is True
    assert config["Privileged"] is False
    assert config["IpcMode"] == "private"
    assert config["PidsLimit"] == CallLimits().processes
    assert {"Name": "core", "Soft": 0, "Hard": 0} in config["Ulimits"]
    assert not {"CapAdd", "Devices", "Binds", "PidMode", "UsernsMode", "PortBindings"} & set(config)


def test_a_sites_variables_are_not_told_to_the_engine(tmp_path: Path) -> None:
    told = body_of(launch(tmp_path, environment={"PASSWORD": "secret"}), FLAGS)
    assert "secret" not in str(told)


def test_bounds_are_the_engines_to_keep(tmp_path: Path) -> None:
    limits = CallLimits(memory_bytes=1_000_000, processes=7, processors=1.5)
    config = host(tmp_path, limits=limits)
    assert (config["Memory"], config["MemorySwap"]) == (1_000_000, 1_000_000)
    assert (config["PidsLimit"], config["NanoCpus"]) == (7, 1_500_000_000)


def test_only_what_may_be_written_to_is_writable(tmp_path: Path) -> None:
    data, output = tmp_path / "data", tmp_path / "output"
    for folder in (data, output):
        folder.mkdir()
    mounts = (Mount(source=data, target="/data"), Mount(source=output, target="/output", writable=True))
    writable = {mount["Target"]: not mount["ReadOnly"] for mount in host(tmp_path, mounts=mounts)["Mounts"]}
    assert writable == {"/tmp": True, "/data": False, "/output": True}


def test_tests_and_sites_files_in_the_code_are_covered(tmp_path: Path) -> None:
    code = tmp_path / "code"
    (code / "test").mkdir(parents=True)
    (code / "rows.csv").touch()
    config = host(tmp_path, code=code, masked=("test", "rows.csv", "nowhere"))
    assert set(config["Tmpfs"]) == {"/computation/test"}
    assert config["Tmpfs"]["/computation/test"].startswith("ro,")
    blank = [mount for mount in config["Mounts"] if mount["Target"] == "/computation/rows.csv"]
    assert [(mount["Source"], mount["ReadOnly"]) for mount in blank] == [("/dev/null", True)]


@pytest.mark.parametrize(
    ("wanted", "count", "ids"), [(("all",), -1, None), (("0", "GPU-1"), 0, ["0", "GPU-1"])]
)
def test_graphics_processors_are_those_that_the_site_names(
    tmp_path: Path, wanted: tuple[str, ...], count: int, ids: list[str] | None
) -> None:
    (request,) = host(tmp_path, replace(FLAGS, owned=replace(OWNED, gpus=wanted)))["DeviceRequests"]
    assert (request["Count"], request.get("DeviceIDs")) == (count, ids)
    assert request["Capabilities"] == [["gpu"]]


def test_what_an_image_writes_to_takes_memory_and_no_disk(tmp_path: Path) -> None:
    """An engine would make room for it on its own disk, and bound it by nothing."""
    flags = replace(FLAGS, volumes=("/scratch/", "/tmp", "/data"))
    shown = Mount(source=tmp_path, target="/data")
    (options,) = host(tmp_path, flags, mounts=(shown,))["Tmpfs"].items()
    folder, words = options
    assert folder == "/scratch"
    user, group = flags.owned.user
    assert words == f"rw,nosuid,nodev,mode=1777,size=268435456,uid={user},gid={group}"


def test_names_that_are_found_inside_are_in_a_file_of_this_machine(tmp_path: Path) -> None:
    mounts = host(tmp_path, replace(FLAGS, hosts=tmp_path / "hosts"))["Mounts"]
    assert [mount["ReadOnly"] for mount in mounts if mount["Target"] == "/etc/hosts"] == [True]


def test_a_rootless_podman_keeps_who_runs_the_node(tmp_path: Path) -> None:
    owned = replace(FLAGS.owned, is_podman=True, is_rootless=True)
    assert host(tmp_path, replace(FLAGS, owned=owned))["UsernsMode"] == "keep-id"
    assert "UsernsMode" not in host(tmp_path)


def test_a_container_beside_a_helper_has_its_network_and_none_of_its_own(tmp_path: Path) -> None:
    told = body_of(launch(tmp_path), replace(FLAGS, network_of="abc"))
    assert told["HostConfig"]["NetworkMode"] == "container:abc"
    assert not {"Hostname", "NetworkDisabled"} & set(told)


@pytest.mark.parametrize("target", ["/", "data", "../data"])
def test_nothing_is_shown_where_no_path_leads(tmp_path: Path, target: str) -> None:
    with pytest.raises(AlgorithmFailed, match="expected an absolute path"):
        body_of(launch(tmp_path, mounts=(Mount(source=tmp_path, target=target),)), FLAGS)


def test_what_is_not_there_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(AlgorithmFailed, match="no such file or folder"):
        body_of(launch(tmp_path, mounts=(Mount(source=tmp_path / "nowhere", target="/data"),)), FLAGS)


def test_the_points_of_mounts_have_names_in_any_alphabet() -> None:
    line = "36 25 0:32 / /mnt/Дані\\040ł rw shared:1 - tmpfs  rw\n".encode()

    assert _point(line) == "/mnt/Дані ł"
    assert _point(line.replace("ł".encode(), b"\xff")) == "/mnt/Дані \udcff"


def test_a_mount_within_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlgorithmFailed, match="another file system is mounted within it"):
        body_of(launch(tmp_path, mounts=(Mount(source=Path("/dev"), target="/data"),)), FLAGS)
