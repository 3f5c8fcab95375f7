"""Images are unpacked once, whatever is in them, and what nobody uses is removed."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.sif import Part, squash, write_sif, write_tree

from atoll.engine.running import ImageKind
from atoll.model.errors import LimitReached, RuntimeUnavailable
from atoll.runtimes.sif import listing, looking, unsquashing
from atoll.runtimes.sif.kept import Root, Roots

pytestmark = [pytest.mark.needs("mksquashfs"), pytest.mark.needs("bubblewrap")]

FILES: dict[str, str | bytes] = {
    "/usr/bin/tool": "#!/bin/sh\n",
    "/usr/share/text": "words",
    "/bin": "-> usr/bin",
}


def make(folder: Path, files: dict[str, str | bytes] | None = None, *options: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tree = write_tree(folder / "tree", {**FILES, **(files or {})})
    return write_sif(folder / "image.sif", Part(content=squash(tree, folder / "squashed", *options)))


def with_roots(folder: Path, work: Callable[[Roots], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    async def go() -> Any:
        roots = Roots(folder, **options)
        try:
            return await work(roots)
        finally:
            await roots.close()

    return asyncio.run(go())


def unpack(image: Path, cache: Path, **options: Any) -> Root:
    root = with_roots(cache, lambda roots: roots.open(image), **options)
    assert isinstance(root, Root)
    return root


def test_an_image_becomes_a_folder(tmp_path: Path) -> None:
    root = unpack(make(tmp_path), tmp_path / "cache")

    assert (root.folder / "bin/tool").read_text() == "#!/bin/sh\n"
    assert os.access(root.folder / "usr/bin/tool", os.X_OK)
    assert os.readlink(root.folder / "bin") == "usr/bin"
    assert list((tmp_path / "cache/making").iterdir()) == []


def test_a_bare_squashfs_becomes_a_folder_too(tmp_path: Path) -> None:
    image = tmp_path / "image.squashfs"
    image.write_bytes(squash(write_tree(tmp_path / "tree", FILES), tmp_path / "squashed"))

    assert (unpack(image, tmp_path / "cache").folder / "usr/share/text").read_text() == "words"


def test_an_unpacked_folder_is_used_where_it_lies(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", FILES)

    first = unpack(tree, tmp_path / "cache")
    (tree / "usr/share/text").write_text("other words")
    second = unpack(tree, tmp_path / "cache")

    assert first.folder == second.folder == tree
    assert first.digest != second.digest


def test_a_folder_that_is_no_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="is not a root file system"):
        unpack(write_tree(tmp_path / "tree", {"/notes": "x"}), tmp_path / "cache")


def test_those_who_ask_at_once_share_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two programs, each of which asks twice: one unpacks, and all wait for it."""
    image, times = make(tmp_path), []
    extract = unsquashing.extract

    async def counted(*arguments: Any) -> Path:
        times.append(1)
        return await extract(*arguments)

    monkeypatch.setattr(unsquashing, "extract", counted)

    async def ask(roots: Roots) -> list[Root]:
        other = Roots(tmp_path / "cache")
        try:
            return await asyncio.gather(*(each.open(image) for each in (roots, roots, other, other)))
        finally:
            await other.close()

    found = with_roots(tmp_path / "cache", ask)

    assert len(set(found)) == 1
    assert len(times) == 1


def test_an_image_is_not_unpacked_or_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make(tmp_path)
    first = unpack(image, tmp_path / "cache")
    monkeypatch.setattr("atoll.runtimes.sif.unsquashing.extract", None)
    monkeypatch.setattr("atoll.runtimes.sif.kept._read_file", None)

    assert unpack(image, tmp_path / "cache") == first


def test_what_another_program_left_half_done_is_cleared_away(tmp_path: Path) -> None:
    image = make(tmp_path)
    digest = with_roots(tmp_path / "cache", lambda roots: roots.digest_of(image)).removeprefix("sha256:")
    write_tree(tmp_path / f"cache/making/{digest}-left/out/root", {"/usr/x": ""})
    (tmp_path / f"cache/making/{digest}-left/out/root").chmod(0)

    unpack(image, tmp_path / "cache")

    assert list((tmp_path / "cache/making").iterdir()) == []


def test_an_image_must_be_the_one_that_was_asked_for(tmp_path: Path) -> None:
    image, other = make(tmp_path), f"sha256:{'0' * 64}"

    with pytest.raises(RuntimeUnavailable, match=f"expected was {other}"):
        with_roots(tmp_path / "cache", lambda roots: roots.open(image, other))


def test_an_image_that_changes_is_another_one(tmp_path: Path) -> None:
    image = make(tmp_path)
    first = unpack(image, tmp_path / "cache")
    with image.open("ab") as file:
        file.write(b"signature")

    assert unpack(image, tmp_path / "cache").digest != first.digest


def test_no_privilege_and_no_device_is_unpacked(tmp_path: Path) -> None:
    image = make(
        tmp_path,
        {"/usr/bin/gain": "#!/bin/sh\n", "/usr/bin/hidden": "x", "/usr/shut/inner": "y"},
        *("-p", "usr/bin/gain m 6755 0 0", "-p", "usr/bin/hidden m 0 0 0", "-p", "usr/shut m 0 0 0"),
        *("-p", "dev d 755 0 0", "-p", "dev/mem c 666 0 0 1 1", "-p", "dev/disk b 666 0 0 8 0"),
        *("-p", "pipe i 666 0 0 f", "-p", "socket i 666 0 0 s"),
    )

    folder = unpack(image, tmp_path / "cache").folder

    modes = [path.lstat().st_mode for path in folder.rglob("*")]
    assert {stat.S_IFMT(mode) for mode in modes} == {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
    assert not any(mode & (stat.S_ISUID | stat.S_ISGID) for mode in modes)
    assert (folder / "usr/bin/gain").lstat().st_mode & 0o777 == 0o755
    assert (folder / "usr/shut/inner").read_text() == "y"
    assert {path.lstat().st_uid for path in folder.rglob("*")} == {os.geteuid()}


def test_links_that_lead_out_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    victim = write_tree(tmp_path / "victim", {"/file": "#!/bin/sh\n"})
    (victim / "file").chmod(0o4755)
    links: dict[str, str | bytes] = {"/usr/out": f"-> {victim}", "/usr/up": "-> ../../../../../../etc"}

    folder = unpack(make(tmp_path, links), tmp_path / "cache").folder

    assert os.readlink(folder / "usr/out") == str(victim)
    assert (victim / "file").stat().st_mode & 0o7777 == 0o4755


@pytest.mark.parametrize("where", ["contents", "tables"])
def test_a_damaged_file_system_is_refused_and_nothing_of_it_kept(tmp_path: Path, where: str) -> None:
    image = make(tmp_path, {"/usr/large": b"".join(b"%d\n" % number for number in range(100_000))})
    content = bytearray(image.read_bytes())
    start = content.index(b"hsqs")
    (used,) = struct.unpack_from("<Q", content, start + 40)
    at = start + 200 if where == "contents" else start + used - 600
    content[at : at + 500] = bytes(range(250)) * 2
    image.write_bytes(content)

    with pytest.raises(RuntimeUnavailable, match=r"can't be unpacked: unsquashfs ended with status 1"):
        unpack(image, tmp_path / "cache")

    assert list((tmp_path / "cache/roots").iterdir()) == []
    assert list((tmp_path / "cache/making").iterdir()) == []


@pytest.mark.parametrize(
    ("bound", "most", "words"),
    [("ROOT_FILES_MAX", 5, "8 files, and 5"), ("ROOT_BYTES_MAX", 10_000, "1000015 bytes, and 10000")],
)
def test_an_image_that_is_too_large_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int, words: str
) -> None:
    """A million zeros need no room in a squashfs."""
    image = make(tmp_path, {"/zeros": bytes(1_000_000)})
    monkeypatch.setattr(listing, bound, most)
    monkeypatch.setattr(unsquashing, "extract", None)

    with pytest.raises(LimitReached, match=words):
        unpack(image, tmp_path / "cache")


def test_a_full_disk_is_told_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 3}))

    with pytest.raises(RuntimeUnavailable, match="has 3 left"):
        unpack(image, tmp_path / "cache")


def test_an_unpacking_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make(tmp_path)
    monkeypatch.setattr(unsquashing, "UNPACK_SECONDS_MAX", 0.0)

    with pytest.raises(LimitReached, match="was not unpacked within 0 seconds"):
        unpack(image, tmp_path / "cache")


def test_another_file_of_the_name_is_not_kept_under_the_digest(tmp_path: Path) -> None:
    """It took its place after the digest was found out."""
    image, other = make(tmp_path), make(tmp_path / "other", {"/usr/share/other": "words"})

    class Replaced(Roots):
        def collect(self) -> None:
            other.rename(image)

    async def go() -> None:
        roots = Replaced(tmp_path / "cache")
        try:
            await roots.open(image)
        finally:
            await roots.close()

    with pytest.raises(RuntimeUnavailable, match="was replaced before it was unpacked"):
        asyncio.run(go())
    assert list((tmp_path / "cache/roots").iterdir()) == []


def test_without_the_program_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make(tmp_path)
    monkeypatch.setattr(unsquashing, "why_not", lambda: "squashfs-tools is not installed")

    with pytest.raises(RuntimeUnavailable, match="squashfs-tools is not installed"):
        unpack(image, tmp_path / "cache")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="can't be read: No such file"):
        unpack(tmp_path / "none.sif", tmp_path / "cache")


def test_what_was_unused_for_long_is_removed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    old, used = unpack(make(tmp_path / "a"), cache), unpack(make(tmp_path / "b", {"/usr/b": "b"}), cache)
    for root in (old, used):
        os.utime(root.folder.parent / "about", (time.time() - 1000, time.time() - 1000))

    async def collect(roots: Roots) -> None:
        await roots.open(tmp_path / "b/image.sif")
        os.utime(used.folder.parent / "about", (time.time() - 1000, time.time() - 1000))
        roots.collect()

    with_roots(cache, collect, seconds_max=500.0)

    assert not old.folder.parent.exists()
    assert used.folder.exists(), "somebody used it"


def test_the_longest_unused_goes_first_where_all_together_are_too_large(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    made = [unpack(make(tmp_path / name, {f"/usr/{name}": "x" * 1000}), cache) for name in "abc"]
    for age, root in zip((30, 10, 20), made, strict=True):
        os.utime(root.folder.parent / "about", (time.time() - age, time.time() - age))

    async def collect(roots: Roots) -> None:
        roots.collect()

    with_roots(cache, collect, bytes_max=2500)

    assert [root.folder.exists() for root in made] == [False, True, True]


def test_single_files_are_read_without_unpacking_the_rest(tmp_path: Path) -> None:
    image = make(tmp_path, {"/opt/code": "-> /usr/share", "/usr/share/[odd] name": "odd", "/loop": "-> loop"})

    async def read() -> list[bytes | None]:
        asked = ("/opt/code/text", "/usr/share/[odd] name", "/none", "/loop", "/usr", "/usr/../bin/tool")
        return [await looking.read_file(image, inner) for inner in asked]

    assert asyncio.run(read()) == [b"words", b"odd", None, None, None, b"#!/bin/sh\n"]


def test_an_image_is_described_without_unpacking_the_rest(tmp_path: Path) -> None:
    script = '#!/bin/sh\npython /app/run.py "$@"\n'
    image = make(
        tmp_path, {"/.singularity.d/runscript": script, "/computation": "-> app", "/app/run.py": "1"}
    )

    facts = asyncio.run(looking.facts_of(image, cache=tmp_path / "cache"))

    assert (facts.kind, facts.name, facts.started) == (ImageKind.SIF, str(image), ("python", "/app/run.py"))
    assert (facts.working_directory, len(facts.id)) == ("/computation", 71)


def test_a_folder_is_described_in_the_same_way(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {**FILES, "/.singularity.d/runscript": "#!/bin/sh\nexec tool\n"})

    facts = asyncio.run(looking.facts_of(tree, cache=tmp_path / "cache"))

    assert (facts.started, facts.architecture) == (("tool",), "")
    assert asyncio.run(looking.read_file(tree, "/bin/tool")) == b"#!/bin/sh\n"


def test_looking_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    asyncio.run(looking.read_file(image, "/usr/share/text"))

    assert list(scratch.iterdir()) == []


def test_a_machine_without_sandboxes_can_still_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make(tmp_path)
    monkeypatch.setattr("atoll.runtimes.bwrap.probe", lambda: "there is no bwrap")

    assert asyncio.run(looking.read_file(image, "/usr/share/text")) == b"words"


def run_instead(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """In place of the program that unpacks runs a script: a flaw in it would do no more."""
    which, run = shutil.which, unsquashing._run
    monkeypatch.setattr("shutil.which", lambda name: "/bin/sh" if name == "unsquashfs" else which(name))

    async def as_script(image: int, layout: Any, name: str, folder: Path, *_: Any, **options: Any) -> None:
        await run(image, layout, name, folder, ["-c", script], (), **options)

    monkeypatch.setattr(unsquashing, "_run", as_script)


def test_the_program_sees_nothing_but_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, secret = make(tmp_path), tmp_path / "secret"
    secret.write_text("x")
    run_instead(monkeypatch, f"id -u >&2; ls {secret} >&2; ls /sys/class/net >&2; ls / >&2; exit 9\n")

    with pytest.raises(RuntimeUnavailable, match="status 9") as refused:
        unpack(image, tmp_path / "cache")

    said = str(refused.value)
    assert "said: 65532 " in said
    assert "secret': No such file" in said
    assert "home" not in said
    assert "work" not in said


ENTRY = "-rw-r--r-- 0/0 1 2026-01-01 00:00 squashfs-root/a"


@pytest.mark.parametrize("words", [ENTRY, "a" * 1_000])
def test_a_list_without_an_end_is_given_up_and_kept_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    image = make(tmp_path)
    run_instead(monkeypatch, f"while :; do echo '{words}' || exit; done")
    monkeypatch.setattr(listing, "ROOT_FILES_MAX", 1_000)
    monkeypatch.setattr(listing, "ROOT_LIST_BYTES_MAX", 100_000)

    with pytest.raises(
        LimitReached, match=r"would become \d+ (files, and 1000|bytes of names, and 100000) is"
    ):
        unpack(image, tmp_path / "cache")

    assert list((tmp_path / "cache/making").iterdir()) == []


def test_complaints_without_an_end_are_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make(tmp_path)
    run_instead(
        monkeypatch,
        "i=0; while [ $i -lt 9999 ]; do echo damaged >&2; i=$((i+1)); done; find /out >&2; exit 9",
    )

    with pytest.raises(RuntimeUnavailable, match="status 9") as refused:
        unpack(image, tmp_path / "cache")

    assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize("sandboxed", [True, False])
def test_the_program_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandboxed: bool) -> None:
    """While it lists it writes no file at all."""
    image = make(tmp_path)
    if not sandboxed:
        monkeypatch.setattr("atoll.runtimes.bwrap.probe", lambda: "there is no bwrap")
    run_instead(monkeypatch, "ulimit -d >&2; ulimit -n >&2; ulimit -f >&2; env >&2; exit 9")

    with pytest.raises(RuntimeUnavailable) as refused:
        unpack(image, tmp_path / "cache")

    said = str(refused.value).partition("said: ")[2].partition(". Is it damaged")[0].split()
    assert said[:3] == ["4194304", "1024", "0"]
    assert {word.partition("=")[0] for word in said[3:]} <= {"PATH", "LANG", "PWD", "SHLVL", "OLDPWD", "_"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody without a sandbox")
def test_without_a_sandbox_the_program_is_not_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make(tmp_path)
    monkeypatch.setattr("atoll.runtimes.bwrap.probe", lambda: "there is no bwrap")
    run_instead(
        monkeypatch, "id -u >&2; id -G >&2; grep -E 'CapBnd|NoNewPrivs' /proc/self/status >&2; exit 9"
    )

    with pytest.raises(RuntimeUnavailable, match=r"said: 65532 65532 CapBnd: 0+ NoNewPrivs: 1"):
        unpack(image, tmp_path / "cache")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody without a sandbox")
@pytest.mark.parametrize(("missing", "words"), [("setpriv", "apt install bubblewrap"), ("", "chmod o\\+r")])
def test_as_root_nothing_is_unpacked_without_a_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, words: str
) -> None:
    image = make(tmp_path)
    image.chmod(0o600)
    which = shutil.which
    monkeypatch.setattr("atoll.runtimes.bwrap.probe", lambda: "there is no bwrap")
    monkeypatch.setattr("shutil.which", lambda name: None if name == missing else which(name))

    with pytest.raises(RuntimeUnavailable, match=words):
        asyncio.run(looking.read_file(image, "/usr/share/text"))


def test_a_disk_is_not_filled_by_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make(tmp_path, {"/usr/share/zeros": bytes(1_000_000)})
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 500_000}))

    assert asyncio.run(looking.read_file(image, "/usr/share/text")) == b"words"
    with pytest.raises(RuntimeUnavailable, match="becomes 1000000 bytes when it is unpacked"):
        asyncio.run(looking.read_file(image, "/usr/share/zeros"))


def test_what_is_squashed_in_another_way_is_unpacked(tmp_path: Path) -> None:
    helped = subprocess.run(["mksquashfs"], capture_output=True, text=True, check=False)
    for kind in ("xz", "zstd", "lz4", "lzo"):
        if f"\t{kind}\n" in helped.stdout + helped.stderr:
            folder = unpack(make(tmp_path / kind, {}, "-comp", kind), tmp_path / "cache").folder
            assert (folder / "usr/share/text").read_text() == "words"
