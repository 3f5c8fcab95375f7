"""How a root file system is shown that must not be written to, with other things in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.sif import write_tree

from atoll.engine.running import Launch, Mount, Outlet, Style
from atoll.model.errors import AlgorithmFailed
from atoll.model.work import Seat
from atoll.runtimes.rooted import seats, show
from atoll.runtimes.view import Line


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tree(
        tmp_path / "root",
        {
            "/usr/bin/tool": "x",
            "/bin": "-> usr/bin",
            "/etc/passwd": "root:x:0:0::/root:/bin/sh",
            "/etc/group": "root:x:0:\n",
            "/etc/motd": "hello",
            "/etc/link": "-> motd",
            "/tmp/left": "x",
            "/mnt/data/here": "x",
            "/file": "x",
            "/away": "-> /mnt/data",
        },
    )


def shown(root: Path, *over: Line) -> list[Line]:
    """The lines, with paths of the root as they are in it."""
    return [(kind, source.removeprefix(str(root)), target) for kind, source, target in show(root, over)]


def test_the_root_itself_is_made_anew(root: Path) -> None:
    assert shown(root) == [
        ("link", "/mnt/data", "/away"),
        ("link", "usr/bin", "/bin"),
        ("read", "/etc", "/etc"),
        ("read", "/file", "/file"),
        ("read", "/mnt", "/mnt"),
        ("read", "/tmp", "/tmp"),
        ("read", "/usr", "/usr"),
    ]


def test_what_has_a_point_is_put_on_it(root: Path, tmp_path: Path) -> None:
    lines = shown(root, ("read", str(tmp_path), "/mnt/data"), ("text", "words", "/etc/motd"))

    assert ("read", "/mnt", "/mnt") in lines
    assert ("read", "/etc", "/etc") in lines
    assert lines[-2:] == [("read", str(tmp_path), "/mnt/data"), ("text", "words", "/etc/motd")]


def test_a_folder_is_opened_where_the_point_is_missing(root: Path, tmp_path: Path) -> None:
    lines = shown(root, ("read", str(tmp_path), "/mnt/other/deep"), ("text", "", "/etc/hosts"))

    inside = [line for line in lines if line[2].startswith(("/mnt", "/etc"))]
    assert inside == [
        ("folder", "", "/etc"),
        ("read", "/etc/group", "/etc/group"),
        ("link", "motd", "/etc/link"),
        ("read", "/etc/motd", "/etc/motd"),
        ("read", "/etc/passwd", "/etc/passwd"),
        ("folder", "", "/mnt"),
        ("read", "/mnt/data", "/mnt/data"),
        ("read", str(tmp_path), "/mnt/other/deep"),
        ("text", "", "/etc/hosts"),
    ]


def test_what_has_the_wrong_kind_gives_way(root: Path, tmp_path: Path) -> None:
    lines = shown(root, ("read", str(tmp_path), "/file"), ("memory", "mode=0755", "/mnt/data/here"))

    assert [line for line in lines if line[2] == "/file"] == [("read", str(tmp_path), "/file")]
    assert [line for line in lines if line[2] == "/mnt/data/here"] == [
        ("memory", "mode=0755", "/mnt/data/here")
    ]


def test_a_target_is_where_the_images_own_links_lead(root: Path, tmp_path: Path) -> None:
    assert shown(root, ("write", str(tmp_path), "/away/new"))[-1] == ("write", str(tmp_path), "/mnt/data/new")


def test_no_target_leads_out(tmp_path: Path) -> None:
    """Nothing that is mounted passes through a link: on the machine itself it would lead elsewhere."""
    root = write_tree(
        tmp_path / "root", {"/tmp": "-> /../../oldroot/etc", "/run": "-> ../../..", "/usr/x": ""}
    )

    targets = [
        target for _, _, target in shown(root, ("memory", "", "/tmp/x"), ("read", str(tmp_path), "/run/y"))
    ]

    assert targets == ["/run", "/tmp", "/usr", "/oldroot/etc/x", "/y"]


def test_links_beneath_what_is_shown_over_them_are_hidden(root: Path, tmp_path: Path) -> None:
    """An image can't move the cover from a folder of data that must not be seen."""
    code = write_tree(tmp_path / "code", {"/test/data": "secret"})
    (root / "computation").mkdir()
    (root / "computation/test").symlink_to("/etc")

    lines = shown(root, ("read", str(code), "/computation"), ("cover", "", "/computation/test"))

    assert lines[-1] == ("cover", "", "/computation/test")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("read", "/usr", "data"), "expected an absolute path"),
        (("read", "/usr", "/"), "the image itself is there"),
        (("read", "/usr", "/etc/.."), "the image itself is there"),
        (("read", "/usr", "/file/within"), "'/file' is a file of its image"),
        (("read", "/usr", "/circle/x"), "symbolic links"),
    ],
)
def test_what_cannot_be_shown_is_told(root: Path, line: Line, words: str) -> None:
    (root / "circle").symlink_to("circle")

    with pytest.raises(AlgorithmFailed, match=r"can('t)? be shown") as failed:
        show(root, [line])

    assert words in str(failed.value)


@pytest.mark.parametrize("kind", ["read", "write"])
@pytest.mark.parametrize("inner", ["none", "link", "link/x"])
def test_a_point_within_a_folder_of_this_machine_must_be_there(
    root: Path, tmp_path: Path, kind: str, inner: str
) -> None:
    folder = write_tree(tmp_path / "folder", {"/link": f"-> {tmp_path}", "/x": ""})
    over: list[Line] = [(kind, str(folder), "/mnt/data"), ("read", str(folder), f"/mnt/data/{inner}")]

    if kind == "write" and inner == "none":  # it can be made there
        assert show(root, over)[-1] == over[-1]
        return
    with pytest.raises(AlgorithmFailed, match="has no such file or folder, or only a link"):
        show(root, over)


def launch_of(folder: Path, **fields: Any) -> Launch:
    (folder / "tmp").mkdir()
    code = write_tree(folder / "code", {"/local.py": "", "/test/data": "secret", "/one": "secret"})
    defaults: dict[str, Any] = {
        "seat": Seat("local0"),
        "style": Style.CALL,
        "command": ("x",),
        "code": code,
        "masked": ("test", "one", "none", "../root"),
        "temporary": folder / "tmp",
        "log": folder / "log",
    }
    return Launch(**(defaults | fields))


def test_a_seat_sees_its_own_and_the_image(root: Path, tmp_path: Path) -> None:
    data = write_tree(tmp_path / "data", {"/x": ""})
    launch = launch_of(
        tmp_path,
        mounts=(
            Mount(source=data, target="/mnt/../input/"),
            Mount(source=data, target="/output", writable=True),
        ),
        outlets=(Outlet(host="127.0.0.2", port=5432, alias="database", take=lambda _: None),),
    )

    lines = seats(launch, root, (1000, 1000), [("folder", "", "/last")])

    wanted = [
        ("write", str(tmp_path / "tmp"), "/tmp"),
        ("read", str(tmp_path / "code"), "/computation"),
        ("cover", "", "/computation/test"),
        ("blank", "", "/computation/one"),
        ("read", str(data), "/input"),
        ("write", str(data), "/output"),
        ("folder", "", "/last"),
    ]
    assert lines[-len(wanted) :] == wanted
    texts = {target: source for kind, source, target in lines if kind == "text"}
    assert "127.0.0.2 database\n" in texts["/etc/hosts"]


def test_the_images_own_users_are_kept(root: Path, tmp_path: Path) -> None:
    lines = seats(launch_of(tmp_path), root, (1000, 0))

    texts = {target: source for kind, source, target in lines if kind == "text"}
    assert texts["/etc/passwd"] == ("root:x:0:0::/root:/bin/sh\nalgorithm:x:1000:0:algorithm:/tmp:/bin/sh\n")
    assert texts["/etc/group"] == "root:x:0:\n"


def test_a_folder_that_is_not_there_is_told(root: Path, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, mounts=(Mount(source=tmp_path / "none", target="/input"),))

    with pytest.raises(AlgorithmFailed, match="there is no such file or folder"):
        seats(launch, root, (1000, 1000))
