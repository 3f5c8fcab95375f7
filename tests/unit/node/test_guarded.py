"""What an algorithm can write to is handled as if it were laid as a trap."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.errors import UnsafeName
from atoll.node import guarded

Tree = dict[str, bytes | str | None]


def tree(folder: Path) -> Tree:
    """All that lies under a folder: content of files, targets of links, None for folders."""
    seen: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            seen[name] = os.readlink(path)
        else:
            seen[name] = path.read_bytes() if path.is_file() else None
    return seen


@pytest.fixture
def around(tmp_path: Path) -> Path:
    """A folder that holds the root, and beside it what nobody may touch."""
    (tmp_path / "root").mkdir()
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "secret").write_bytes(b"untouched")
    return tmp_path


@pytest.fixture
def root(around: Path) -> Path:
    """The folder that files are put in."""
    return around / "root"


@pytest.fixture(autouse=True)
def _nothing_beside_it_changes(around: Path) -> Iterator[None]:
    yield

    assert {"secret": b"untouched"} == tree(around / "beside")
    assert {"root", "beside"} == {path.name for path in around.iterdir()}


def put(root: Path, name: str, content: bytes = b"new") -> None:
    """Put a file in its place."""
    with guarded.creating(root, name) as file:
        file.write(content)


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


# --- Names ------------------------------------------------------------------------------------

parts = st.sampled_from(
    ["..", ".", "", "a", "b", "sub", "é", "名前", "a\\b", "\0", "~", "x" * 255, "y" * 256]
)
names = st.text(max_size=30) | st.lists(parts, max_size=6).map("/".join) | st.just("é/" * 400 + "z")


@given(names)
def test_a_file_lands_inside_or_is_refused(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        around, root = Path(folder), Path(folder, "root")
        root.mkdir()
        before = descriptors()
        try:
            put(root, name)
        except UnsafeName:
            assert {} == tree(root)
        else:
            written = root / name
            assert written.resolve().is_relative_to(root.resolve())
            assert b"new" == written.read_bytes()
            assert 1 == sum(isinstance(content, bytes) for content in tree(root).values())
        assert ["root"] == os.listdir(around)
        assert before == descriptors()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", "", "a//b", "a\0", "a\\b"])
def test_a_name_that_leads_out_is_refused_before_anything_is_made(root: Path, name: str) -> None:
    with pytest.raises(UnsafeName):
        put(root, name)

    assert {} == tree(root)


@pytest.mark.parametrize("name", ["x" * 255, "/".join(["x" * 255] * 4), "é" * 127])
def test_a_name_as_long_as_may_be_is_a_file(root: Path, name: str) -> None:
    put(root, name)

    assert b"new" == (root / name).read_bytes()


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "x/" * 512 + "x"])
def test_a_name_that_is_longer_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UnsafeName):
        put(root, name)

    assert {} == tree(root)


# --- Putting files in their place -------------------------------------------------------------


def test_folders_are_made_where_they_are_missing(root: Path) -> None:
    put(root, "a/b/c", b"1")
    put(root, "a/b/d", b"2")

    assert {"a": None, "a/b": None, "a/b/c": b"1", "a/b/d": b"2"} == tree(root)


def test_an_existing_file_is_replaced_whole(root: Path) -> None:
    put(root, "a", b"a longer content")
    put(root, "a", b"short")

    assert {"a": b"short"} == tree(root)


def test_a_file_appears_only_when_it_is_whole(root: Path) -> None:
    put(root, "a", b"old")
    with guarded.creating(root, "a") as file:
        file.write(b"half")

        assert b"old" == (root / "a").read_bytes()

    assert {"a": b"half"} == tree(root)


def _break_off(root: Path, error: type[BaseException]) -> None:
    with guarded.creating(root, "a") as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_that_breaks_off_leaves_nothing(root: Path, error: type[BaseException]) -> None:
    put(root, "a", b"old")
    before = descriptors()
    with pytest.raises(error):
        _break_off(root, error)

    assert {"a": b"old"} == tree(root)
    assert before == descriptors()


def _take_away(root: Path) -> None:
    with guarded.creating(root, "a/b"):
        for path in (root / "a").iterdir():
            path.unlink()
        raise ValueError("the reason")


def test_a_file_that_breaks_off_after_its_folder_was_taken_away_is_no_other_error(root: Path) -> None:
    """A computation that is still running may remove anything."""
    with pytest.raises(ValueError, match="the reason"):
        _take_away(root)


def test_a_folder_in_the_way_is_named(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "kept").write_bytes(b"kept")

    with pytest.raises(UnsafeName, match=r"^a file named 'a' can't be put in place: a folder has that name$"):
        put(root, "a")

    assert {"a": None, "a/kept": b"kept"} == tree(root)


def test_a_file_in_the_way_of_a_folder_is_named(root: Path) -> None:
    put(root, "a", b"kept")
    before = descriptors()

    with pytest.raises(UnsafeName) as refused:
        put(root, "a/b")

    assert str(refused.value) == (
        "a file named 'a/b' can't be put in or taken from its place: 'a' is a link or a file, expected a folder"
    )
    assert {"a": b"kept"} == tree(root)
    assert before == descriptors()


# --- Links that were planted ------------------------------------------------------------------


@pytest.mark.parametrize("target", ["../beside", "beside", ".", "/", "/nowhere"])
@pytest.mark.parametrize("name", ["trap/x", "trap/secret", "a/trap/x"])
def test_a_link_as_a_part_of_the_path_is_not_followed(root: Path, target: str, name: str) -> None:
    trap = root / name.rpartition("/")[0]
    trap.parent.mkdir(exist_ok=True)
    trap.symlink_to(target)
    before, open_before = tree(root), descriptors()

    with pytest.raises(UnsafeName, match="'trap' is a link or a file, expected a folder"):
        put(root, name)

    assert before == tree(root)
    assert open_before == descriptors()


@pytest.mark.parametrize("target", ["../beside/secret", "../beside", "../beside/new", "/nowhere", "a"])
def test_a_link_that_has_the_files_name_is_replaced(root: Path, target: str) -> None:
    (root / "a").symlink_to(target)

    put(root, "a")

    assert {"a": b"new"} == tree(root)


def test_another_name_of_a_file_keeps_its_content(root: Path, around: Path) -> None:
    """A hard link to what lies elsewhere is replaced too, never written through."""
    os.link(around / "beside" / "secret", root / "a")

    put(root, "a")

    assert {"a": b"new"} == tree(root)


def test_a_root_that_is_a_link_is_not_followed(around: Path, root: Path) -> None:
    (root / "link").symlink_to(around / "beside")

    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        put(root / "link", "x")


# --- Reading what is to be sent ---------------------------------------------------------------


def read(root: Path) -> dict[str, bytes]:
    """Every file that would be sent."""
    return {name: file.read() for name, file in guarded.regular_files(root)}


def test_every_file_comes_once_by_its_relative_name_in_the_order_of_names(root: Path) -> None:
    for name in ("b", "a/z", "a/b/c", "local10", "local9", ".hidden"):
        put(root, name, name.encode())
    (root / "empty").mkdir()
    before = descriptors()

    sent = read(root)

    assert [".hidden", "a/b/c", "a/z", "b", "local10", "local9"] == list(sent)
    assert [name.encode() for name in sent] == list(sent.values())
    assert before == descriptors()


@pytest.mark.parametrize("target", ["../beside/secret", "../beside", "kept", "/nowhere", "."])
@pytest.mark.parametrize("name", ["link", "sub/link"])
def test_a_link_is_not_sent(root: Path, target: str, name: str) -> None:
    put(root, "kept")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(target)

    with pytest.raises(UnsafeName, match=f"^'{name}' is a link: only files and "):
        read(root)


def test_a_pipe_is_not_sent_nor_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe")

    with pytest.raises(UnsafeName, match=r"^'pipe' is a pipe: "):
        read(root)


def test_a_device_is_not_sent(root: Path) -> None:
    with pytest.raises(UnsafeName, match=r"^'null' is a device or a socket: "):
        read(_folder_with_a_socket(root))


def _folder_with_a_socket(root: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(root)  # A socket's path is short.
        try:
            server.bind("null")
        finally:
            os.chdir(here)
    return root


# --- Emptying ---------------------------------------------------------------------------------


def test_a_folder_is_emptied_without_following_a_link(root: Path) -> None:
    put(root, "a/b/c")
    put(root, "d")
    (root / "link").symlink_to("../beside")
    (root / "a" / "link").symlink_to("../../beside")
    (root / "dangling").symlink_to("/nowhere")
    os.mkfifo(root / "pipe")

    assert not guarded.is_empty(root)
    guarded.empty(root)

    assert guarded.is_empty(root)
    assert root.is_dir()


def _nest(root: Path, count: int) -> None:
    """Folders within each other, deeper than a path may be long or a process may have files open."""
    handle = os.open(root, os.O_RDONLY)
    for _ in range(count):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
    os.close(handle)


def test_the_deepest_folders_are_removed(root: Path) -> None:
    _nest(root, 5000)
    (root / "a" / "b").mkdir(parents=True)
    _nest(root / "a" / "b", 3)
    before = descriptors()

    guarded.empty(root)

    assert guarded.is_empty(root)
    assert before == descriptors()


def test_folders_that_are_too_deep_are_not_sent(root: Path) -> None:
    """Each is held open while it is gone through, and a process may have a thousand files open."""
    put(root, "d/" * 64 + "last")
    assert ["d/" * 64 + "last"] == list(read(root))

    put(root, "d/" * 65 + "last")
    before = descriptors()

    with pytest.raises(UnsafeName, match="lies in more than 64 folders"):
        read(root)
    assert before == descriptors()


def test_closed_folders_are_removed_with_what_is_in_them(root: Path) -> None:
    """An algorithm that takes all rights from its folders doesn't keep them on the machine."""
    closed = root / "gone" / "closed"
    (closed / "inner").mkdir(parents=True)
    (closed / "inner" / "file").touch()
    for folder in (closed / "inner", closed):
        folder.chmod(0)
    if (child := os.fork()) == 0:
        os.chdir(root)
        if os.geteuid() == 0:  # whoever is root may remove all in any case
            for name in (".", "gone", "gone/closed", "gone/closed/inner"):
                os.chown(name, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        guarded.remove(Path("gone"))
        os._exit(0)
    os.waitpid(child, 0)

    assert not (root / "gone").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_a_node_that_is_root_makes_belongs_to_whom_the_folder_belongs(root: Path) -> None:
    os.chown(root, 65532, 65531)

    put(root, "task/input")

    made = [os.stat(root / name) for name in ("task", "task/input")]
    assert [(one.st_uid, one.st_gid) for one in made] == [(65532, 65531)] * 2
