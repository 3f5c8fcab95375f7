"""Bundles: the same folder, the same bytes; and nothing of them leads out of where they are laid out."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from atoll.algorithms import archive
from atoll.algorithms.archive import Member
from atoll.algorithms.bundle import Bundle, code_of, look_into, unpack, unpacked
from atoll.algorithms.installing import install
from atoll.algorithms.manifest import MANIFEST, Manifest, decode
from atoll.algorithms.packing import pack
from atoll.engine.running import Style
from atoll.model.errors import JobRefused, SpecInvalid

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
MEAN = (
    "from atoll_algorithm import Table, partial\n\n@partial\ndef mean(table: Table, column: str):\n    pass\n"
)
COMPSPEC = (
    '{"meta": {"name": "sum", "compspecVersion": 1}, "computation": {"type": "docker", "dockerImage": "sum", '
    '"command": ["python", "/computation/local.py"], "input": {}, "output": {}}}'
)


def _module(folder: Path, text: str = MEAN) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mean.py").write_text(text)
    return folder


def _packed(tmp_path: Path, path: Path, **asked: str) -> Bundle:
    bundles = tmp_path / "bundles"
    bundles.mkdir(exist_ok=True)
    return pack(path, bundles, **asked)  # type: ignore[arg-type]  # texts alone: none of them is an image


def _archive(tmp_path: Path, *members: tuple[str, bytes], manifest: Manifest | None = None) -> Path:
    """A bundle that was written by hand."""
    text = (manifest or Manifest(dialect="functions", name="mean", target="mean.py")).encode()
    path = tmp_path / "crafted.tar"
    with path.open("wb") as target:
        archive.write(
            target,
            [
                (Member(name=name, size_bytes=len(content)), content)
                for name, content in ((MANIFEST, text), *members)
            ],
        )
    return path


def test_the_same_files_give_the_same_digest_wherever_and_whenever_they_lie(tmp_path: Path) -> None:
    one, other = _module(tmp_path / "a" / "mean"), _module(tmp_path / "b" / "else")
    os.utime(other / "mean.py", (1, 1))
    (other / "mean.py").chmod(0o600)

    assert _packed(tmp_path, one).digest == _packed(tmp_path, other).digest


def test_another_byte_gives_another_digest(tmp_path: Path) -> None:
    one, other = _module(tmp_path / "a"), _module(tmp_path / "b", MEAN + "#\n")

    assert _packed(tmp_path, one).digest != _packed(tmp_path, other).digest


def test_the_digest_of_an_example_is_the_same_with_every_version(tmp_path: Path) -> None:
    path = _archive(tmp_path, ("code/mean.py", b"pass\n"))

    # Whoever changes it has changed the format: then FORMAT is another, and old bundles stay readable.
    assert look_into(path).digest == "sha256:2ed6863d73992de6ef51bd0eefefeddba59a8938c1645c220a1e26c9b457e82c"


def test_any_tar_reads_a_bundle(tmp_path: Path) -> None:
    long = "code/" + "/".join(["folder"] * 12) + "/" + "n" * 90 + ".py"
    path = _archive(tmp_path, ("code/mean.py", b"pass\n"), ("code/é.py", b""), (long, b"x" * 600))

    with tarfile.open(path) as read:
        assert read.getnames() == [MANIFEST, "code/mean.py", "code/é.py", long]
        assert len(read.extractfile(long).read()) == 600  # type: ignore[union-attr]  # It is a file.


def test_what_is_laid_out_is_what_was_packed(tmp_path: Path) -> None:
    bundle = _packed(tmp_path, _module(tmp_path / "mean"))

    manifest = unpack(bundle.path, tmp_path / "at" / "hand")

    assert manifest == bundle.manifest == unpacked(tmp_path / "at" / "hand")
    assert (code_of(manifest, tmp_path / "at" / "hand") / "mean.py").read_text() == MEAN
    assert [path.name for path in (tmp_path / "at").iterdir()] == ["hand"]


def test_laying_out_again_changes_nothing(tmp_path: Path) -> None:
    bundle = _packed(tmp_path, _module(tmp_path / "mean"))
    unpack(bundle.path, tmp_path / "hand")
    before = (tmp_path / "hand" / "code" / "mean.py").stat().st_ino

    unpack(bundle.path, tmp_path / "hand")

    assert (tmp_path / "hand" / "code" / "mean.py").stat().st_ino == before


def test_a_bundle_that_was_laid_out_can_be_packed_again(tmp_path: Path) -> None:
    bundle = _packed(tmp_path, _module(tmp_path / "mean"))
    unpack(bundle.path, tmp_path / "hand")

    assert _packed(tmp_path, tmp_path / "hand" / "code").digest == bundle.digest


def test_tests_data_caches_and_history_stay_at_home(tmp_path: Path) -> None:
    folder = tmp_path / "sum"
    kept = {"compspec.json": COMPSPEC, "local.py": "import numpy\n", "inner/part.py": "", "weights.bin": "1"}
    left = [
        *(
            "test/inputspec.json",
            "tests/test_sum.py",
            ".git/config",
            "__pycache__/local.pyc",
            ".env",
            "a.pyc",
        ),
        *("local0/simulatorRun/data.csv", "input/local1/simulatorRun/x.csv", "atoll-runs/r/run.json"),
        *("earlier/calls.jsonl", "earlier/events.jsonl", "environment/pyvenv.cfg", "environment/bin/python"),
        "data/alpha.csv",
    ]
    for name, text in (*kept.items(), *((name, "secret") for name in left)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "federation.yaml").write_text("sites: {alpha: {databases: {default: {uri: data/alpha.csv}}}}")

    bundle = _packed(tmp_path, folder)

    assert sorted(bundle.files) == sorted(f"code/{name}" for name in kept)
    assert b"secret" not in bundle.path.read_bytes()


def test_what_a_federation_names_within_a_package_stays_at_home(tmp_path: Path) -> None:
    package = tmp_path / "repository" / "mean"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(MEAN)
    (package / "alpha.csv").write_text("secret")
    (package / "labels.csv").write_text("label")
    (package.parent / "federation.yaml").write_text("sites: {alpha: {databases: {default: mean/alpha.csv}}}")

    bundle = _packed(tmp_path, package.parent)

    assert bundle.files == ("code/mean/__init__.py", "code/mean/labels.csv")


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    folder = _module(tmp_path / "mean")
    (folder / "__init__.py").write_text("from mean.mean import mean")
    (folder / "passwords").symlink_to("/etc/passwd")

    with pytest.raises(SpecInvalid, match="leads out"):
        _packed(tmp_path, folder)


@pytest.mark.parametrize("target", ["test/rows.csv", ".git/config", "local0/rows.csv"])
def test_a_link_to_what_stays_at_home_is_refused(tmp_path: Path, target: str) -> None:
    folder = _module(tmp_path / "mean")
    (folder / target).parent.mkdir()
    (folder / target).write_text("1,2,3")
    (folder / "rows.csv").symlink_to(target)
    (folder / "compspec.json").write_text(COMPSPEC)

    with pytest.raises(SpecInvalid, match="or to what is left out there"):
        _packed(tmp_path, folder)


def test_what_a_database_is_a_link_to_stays_at_home_with_it(tmp_path: Path) -> None:
    folder = _module(tmp_path / "mean")
    (folder / "compspec.json").write_text(COMPSPEC)
    (folder / "federation.yaml").write_text("sites: {alpha: {databases: {default: {uri: rows.csv}}}}")
    (folder / "rows.csv").symlink_to("rows-of-2024.csv")
    (folder / "rows-of-2024.csv").write_text("1,2,3")

    assert ("code/compspec.json", "code/mean.py") == _packed(tmp_path, folder).files


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "sum"
    (folder / "inner").mkdir(parents=True)
    (folder / "compspec.json").write_text(COMPSPEC)
    (folder / "again").symlink_to(folder / "inner")

    with pytest.raises(SpecInvalid, match="link to a folder"):
        _packed(tmp_path, folder)


def test_a_link_within_the_folder_is_packed_as_the_file_that_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "sum"
    folder.mkdir()
    (folder / "compspec.json").write_text(COMPSPEC)
    (folder / "local.py").write_text("pass")
    (folder / "same.py").symlink_to("local.py")
    bundle = _packed(tmp_path, folder)

    unpack(bundle.path, tmp_path / "hand")

    assert (tmp_path / "hand/code/same.py").read_text() == "pass"
    assert not (tmp_path / "hand/code/same.py").is_symlink()


def test_a_folder_without_an_algorithm_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "mean").mkdir()

    with pytest.raises(SpecInvalid, match="holds no algorithm"):
        _packed(tmp_path, tmp_path / "mean")


def test_too_many_files_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.algorithms.contents.BUNDLE_FILES_MAX", 1)
    folder = tmp_path / "sum"
    folder.mkdir()
    for name in ("compspec.json", "local.py"):
        (folder / name).write_text(COMPSPEC)

    with pytest.raises(SpecInvalid, match="too large for a bundle"):
        _packed(tmp_path, folder)


@pytest.mark.parametrize(
    ("path", "dialect", "requires"),
    [
        ("functions/mean", "functions", ("pandas",)),
        ("coinstac/sum", "coinstac", ()),
        ("coinstac/ridge-iterative", "coinstac", ("numpy", "pandas")),
        ("vantage6/average-4", "vantage6", ("vantage6-4",)),
        ("vantage6/average-5", "vantage6", ("pandas", "vantage6-5")),
        ("vantage6/average-js", "vantage6", ("node",)),
        ("vantage6/average-r", "vantage6", ("Rscript",)),
    ],
)
def test_every_example_says_what_it_needs(
    tmp_path: Path, path: str, dialect: str, requires: tuple[str, ...]
) -> None:
    manifest = _packed(tmp_path, EXAMPLES / path).manifest

    assert (dialect, requires) == (manifest.dialect, manifest.requires)


def test_a_bundle_lists_its_functions_and_what_they_take(tmp_path: Path) -> None:
    functions = {one.name: one for one in _packed(tmp_path, EXAMPLES / "functions/mean").manifest.functions}

    assert functions["mean"].central
    assert [one.name for one in functions["mean"].arguments] == ["column"]
    assert not functions["moments"].central
    assert functions["moments"].databases


def test_a_protocol_2_computation_is_served_by_its_entry_script(tmp_path: Path) -> None:
    bundle = _packed(tmp_path, EXAMPLES / "coinstac/ridge-iterative")
    unpack(bundle.path, tmp_path / "hand")

    convention = install(bundle.manifest, tmp_path / "hand").convention

    assert bundle.manifest.decentralized
    assert convention.style is Style.SERVE  # type: ignore[attr-defined]  # COINSTAC's has one.


@pytest.mark.parametrize(
    "path", ["functions/mean", "coinstac/sum", "vantage6/average-4", "vantage6/average-js"]
)
def test_what_was_laid_out_is_installed_where_it_lies(tmp_path: Path, path: str) -> None:
    bundle = _packed(tmp_path, EXAMPLES / path)
    unpack(bundle.path, tmp_path / "hand")

    installed = install(bundle.manifest, tmp_path / "hand")

    assert installed.code is not None
    assert installed.code.is_dir()
    assert installed.code.is_relative_to(tmp_path / "hand" / "code")


def test_a_dialect_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match="'prolog'"):
        install(Manifest(dialect="prolog", name="x"), tmp_path)


@pytest.mark.parametrize(
    "name",
    ["../out", "code/../../out", "/etc/passwd", "code//x", "code/./x", "code\\x"],
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    path = _archive(tmp_path, (name, b"x"))

    with pytest.raises(JobRefused, match="member 1 of the bundle"):
        unpack(path, tmp_path / "hand" / "here")

    assert not list((tmp_path / "hand").iterdir())


@pytest.mark.parametrize(
    ("type_", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "code/mean.py"),
        (tarfile.CHRTYPE, ""),
        (tarfile.DIRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.XHDTYPE, ""),
        (tarfile.GNUTYPE_SPARSE, ""),
    ],
)
def test_links_devices_and_folders_are_refused(tmp_path: Path, type_: bytes, link: str) -> None:
    path = _archive(tmp_path, ("code/mean.py", b"x"))
    info = tarfile.TarInfo("code/odd")
    info.type, info.linkname = type_, link
    whole = path.read_bytes().removesuffix(bytes(1024))
    path.write_bytes(whole + info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))

    with pytest.raises(JobRefused, match="no link, no device"):
        unpack(path, tmp_path / "hand")

    assert not (tmp_path / "hand").exists()


@pytest.mark.parametrize(
    "names",
    [("code/a.py", "code/a.py"), ("code/b.py", "code/a.py"), ("code/a", "code/a-b", "code/a/b"), ("other",)],
)
def test_files_that_come_twice_or_lie_in_files_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = _archive(tmp_path, *((name, b"") for name in names))

    with pytest.raises(JobRefused, match="pack it with atoll"):
        look_into(path)


@pytest.mark.parametrize("cut", [1, 511, 512, 1024, 1500])
def test_a_bundle_that_was_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    path = _archive(tmp_path, ("code/mean.py", b"x" * 700))
    path.write_bytes(path.read_bytes()[:-cut])

    with pytest.raises(JobRefused):
        look_into(path)


def test_nothing_may_stand_behind_the_end(tmp_path: Path) -> None:
    path = _archive(tmp_path, ("code/mean.py", b"x"))
    path.write_bytes(path.read_bytes() + b"\0")

    with pytest.raises(JobRefused, match="doesn't end"):
        look_into(path)


def test_no_byte_of_a_bundle_can_be_changed_unseen(tmp_path: Path) -> None:
    path = _archive(tmp_path, ("code/mean.py", b"x" * 5))
    whole = bytearray(path.read_bytes())
    first = look_into(path)
    content = whole.index(b"xxxxx")

    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 0x41
        path.write_bytes(changed)
        try:
            read = look_into(path)
        except JobRefused:
            continue
        # What is left is content, and the names within the manifest and the headers.
        assert read.digest != first.digest
    assert content


def test_a_size_below_zero_is_refused() -> None:
    header = archive._header(Member(name="code/x", size_bytes=-1))  # as an enemy writes it

    with pytest.raises(JobRefused, match="member 0"):
        next(archive.read(io.BytesIO(header + bytes(1024))))


def test_more_than_a_bundle_may_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _archive(tmp_path, ("code/a.py", b"x" * 9_000))
    monkeypatch.setattr(archive, "BUNDLE_BYTES_MAX", 8_000)

    with pytest.raises(JobRefused, match="too large"):
        look_into(path)


def test_a_bundle_begins_with_its_manifest(tmp_path: Path) -> None:
    path = tmp_path / "crafted.tar"
    with path.open("wb") as target:
        archive.write(target, [(Member(name="code/mean.py", size_bytes=1), b"x")])

    with pytest.raises(JobRefused, match="doesn't begin with"):
        look_into(path)


def test_the_code_lies_where_the_manifest_says(tmp_path: Path) -> None:
    manifest = Manifest(dialect="functions", name="mean", target="mean.py", code_name="elsewhere")

    with pytest.raises(JobRefused, match="code/elsewhere"):
        look_into(_archive(tmp_path, ("code/mean.py", b"x"), manifest=manifest))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"no json", "is not what it should be"),
        (b'{"dialect": "functions"}', "name"),
        (b'{"dialect": "functions", "name": "x", "target": "../x"}', "no plain name"),
        (b'{"dialect": "functions", "name": "x", "target": "x", "code_name": ".."}', "no plain name"),
        (b'{"dialect": "functions", "name": "x", "target": "x", "code_name": ""}', "is empty"),
        (b'{"dialect": "functions", "name": "x"}', "need a target"),
        (b'{"dialect": "prolog", "name": "x"}', "none of coinstac"),
        (b'{"dialect": "vantage6", "name": "x", "generation": 3}', "no generation 3"),
        (b'{"dialect": "coinstac", "name": "x"}', "needs a command"),
        (b'{"dialect": "vantage6", "name": "x", "generation": 4, "command": ["a\\u0000b"]}', "zero byte"),
        (b'{"dialect": "functions", "name": "x", "target": "x", "format": 2}', "format 2"),
    ],
)
def test_a_manifest_that_is_not_what_it_should_be_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(JobRefused, match=words):
        decode(text)


def test_what_a_later_version_says_beside_is_passed_over() -> None:
    manifest = decode(b'{"dialect": "functions", "name": "x", "target": "x", "licence": "MIT"}')

    assert manifest.name == "x"


def test_a_file_with_too_long_a_name_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "sum"
    folder.mkdir()
    (folder / "compspec.json").write_text(COMPSPEC)
    (folder / ("n" * 130)).touch()

    with pytest.raises(SpecInvalid, match="too long a name"):
        _packed(tmp_path, folder)

    assert not list((tmp_path / "bundles").iterdir())
