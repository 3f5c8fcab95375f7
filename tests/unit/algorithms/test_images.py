"""Images: what they say of themselves, and the bundles that name them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atoll.algorithms import archive, images
from atoll.algorithms.archive import Member
from atoll.algorithms.bundle import look_into, unpack
from atoll.algorithms.installing import install, sdk
from atoll.algorithms.manifest import MANIFEST, ImageNamed, Manifest, decode
from atoll.algorithms.opening import Asked, open_run
from atoll.algorithms.packing import pack, pack_image
from atoll.dialects.coinstac.convention import Convention as Coinstac
from atoll.dialects.functions.convention import Convention as Functions
from atoll.dialects.vantage6.convention import Convention as Vantage6
from atoll.engine.peers import Port
from atoll.engine.running import Image, ImageKind, Style
from atoll.model.errors import JobRefused, SpecInvalid
from atoll.model.work import Role, Seat
from atoll.runtimes.facts import ImageFacts

DIGEST = "sha256:" + 64 * "a"
OTHER = "sha256:" + 64 * "b"
NAME = "registry.example/group/mean:1.0"
IMAGE = ImageNamed(name=NAME, digest=DIGEST)
FACTS = ImageFacts(id=OTHER, name=NAME, digests=(f"registry.example/group/mean@{DIGEST}",))
COMPSPEC = (
    '{"meta": {"name": "sum", "compspecVersion": %s}, "computation": {"type": "docker", "dockerImage": "sum", '
    '"command": ["python", "/computation/local.py"], "input": {}, "output": {}, '
    '"remote": {"type": "docker", "dockerImage": "%s", "command": ["python", "/computation/remote.py"]}}}'
)
CENTRAL = """
import numpy as np
from vantage6.algorithm.tools.decorators import algorithm_client, data
@algorithm_client
def central(client, column):
    "Average of all."
"""
PARTIAL = "from vantage6.algorithm.tools.decorators import data\n@data(1)\ndef partial(df, column): pass\n"


def _described(files: dict[str, str] | None = None, dialect: str = "auto", **facts: Any) -> Manifest:
    async def read(path: str) -> bytes | None:
        text = (files or {}).get(path)
        return None if text is None else text.encode()

    return asyncio.run(images.describe(replace(FACTS, **facts), read, dialect=dialect))


def test_a_label_says_all_of_an_image_that_was_built_for_it() -> None:
    built = Manifest(dialect="functions", name="mean", target="mean.py", requires=("numpy", "vantage6-4"))

    found = _described(labels={images.LABEL: built.encode().decode()})

    assert found == replace(built, kind="image", image=IMAGE, requires=(), libraries=("numpy",))


def test_a_label_that_is_no_manifest_is_an_error() -> None:
    with pytest.raises(SpecInvalid, match=r"label org\.atoll\.manifest that can't be used"):
        _described(labels={images.LABEL: "{}"})


@pytest.mark.parametrize("folder", ["/computation", "/app"])
def test_a_compspec_in_an_image_makes_it_a_computation(folder: str) -> None:
    files = {
        f"{folder}/compspec.json": COMPSPEC % (1, "sum"),
        "/computation/local.py": "import numpy\n",
        "/computation/remote.py": "import pandas\n",
    }

    found = _described(files, working_directory="/app")

    assert (found.kind, found.dialect, found.name, found.image) == ("image", "coinstac", "sum", IMAGE)
    assert found.command == ("python", "/computation/local.py")
    assert found.aggregator_command == ("python", "/computation/remote.py")
    assert found.libraries == ("numpy", "pandas")
    assert decode(found.encode()) == found


def test_a_computation_of_protocol_2_is_started_by_its_image() -> None:
    found = _described({"/computation/compspec.json": COMPSPEC % (2, "sum")})

    assert (found.serves, found.command, found.aggregator_command) == (True, (), ())
    assert found.decentralized
    assert decode(found.encode()) == found


def test_a_compspec_that_is_no_text_is_an_error() -> None:
    async def read(path: str) -> bytes | None:
        return b"\xff" if path.endswith("compspec.json") else None

    with pytest.raises(SpecInvalid, match="is not UTF-8"):
        asyncio.run(images.describe(FACTS, read))


@pytest.mark.parametrize(
    ("folder", "more"),
    [
        ("/usr/local/lib/python3.10/site-packages", {}),
        ("/usr/lib/python3/dist-packages", {}),
        ("/app", {}),
        ("/opt/own/lib/python3.13/site-packages", {"PATH": "/opt/own/bin:/usr/bin"}),
        ("/opt/v/lib/python3.9/site-packages", {"VIRTUAL_ENV": "/opt/v", "PYTHON_VERSION": "3.9.2"}),
        ("/somewhere", {"PYTHONPATH": "/somewhere"}),
    ],
)
def test_a_vantage6_image_offers_what_its_package_holds(folder: str, more: dict[str, str]) -> None:
    package = f"{folder}/v6-average-py"
    files = {
        f"{package}/__init__.py": "from .central import *\nfrom . import partial\nfrom .partial import partial\n",
        f"{package}/central.py": CENTRAL,
        f"{package}/partial.py": PARTIAL,
        f"{package}/unused.py": "import never",
    }

    found = _described(files, environment={"PKG_NAME": "v6-average-py", **more})

    assert (found.dialect, found.generation, found.target, found.image) == (
        "vantage6",
        4,
        "v6-average-py",
        IMAGE,
    )
    assert {one.name: one.central for one in found.functions} == {"central": True, "partial": False}
    assert "numpy" in found.libraries
    assert "never" not in found.libraries
    assert decode(found.encode()) == found


def test_a_package_of_one_module_is_found_and_follows_nothing_out_of_itself() -> None:
    text = (
        PARTIAL + "import os, sys\nfrom ...outside import x\nfrom .central import *\nimport v6mean.central\n"
    )
    files = {
        "/app/v6mean/__init__.py": text,
        "/app/v6mean/central.py": "from v6mean import data\nfrom .broken import x\n",
        "/app/v6mean/broken.py": "def broken(:\n",
    }

    names = [one.name for one in _described(files, environment={"PKG_NAME": "v6mean"}).functions]

    assert names == ["partial"]


def test_a_vantage6_image_in_another_language_takes_any_function() -> None:
    found = _described(environment={"PKG_NAME": "v6r"}, labels={"org.example": "R"})

    assert (found.functions, found.target, found.generation, found.name) == ((), "", 4, "v6r")


def test_a_generation_that_nothing_tells_is_the_submitter_s_to_say() -> None:
    hidden = _described(dialect="vantage6-5", environment={"PKG_NAME": "v6r"})
    silent = _described(dialect="vantage6-5")
    plain = {"/app/v6/__init__.py": "def f(): pass\n"}
    read = _described(plain, "vantage6-5", environment={"PKG_NAME": "v6"})

    assert [one.generation for one in (hidden, silent, read)] == [5, 5, 5]
    assert silent.name == "registry.example/group/mean"


@pytest.mark.parametrize(("dialect", "generation"), [("vantage6", 4), ("vantage6-4", 4), ("vantage6-5", 5)])
def test_an_image_that_can_t_be_looked_into_is_taken_for_what_its_submitter_says(
    dialect: str, generation: int
) -> None:
    manifest = images.assumed(NAME, IMAGE, dialect)
    asked = Asked(manifest=manifest, digest=OTHER, function="central", args={"column": "age"})

    steps = open_run([asked], [Seat("alpha"), Seat("beta")]).steps

    assert (manifest.generation, manifest.name) == (generation, "registry.example/group/mean")
    assert steps[-1].role is Role.AGGREGATOR
    assert steps[-1].seats == (Seat("alpha"),)


def test_an_image_whose_functions_aren_t_known_needs_to_be_told_one() -> None:
    asked = Asked(manifest=images.assumed(NAME, IMAGE, "vantage6"), digest=OTHER)

    with pytest.raises(SpecInvalid, match="whose functions aren't known here: name the function"):
        open_run([asked], [Seat("alpha")])


def test_only_vantage6_is_simple_enough_to_be_assumed() -> None:
    with pytest.raises(SpecInvalid, match="can't be looked into here"):
        images.assumed(NAME, IMAGE, "functions")


def test_an_image_that_says_nothing_is_an_error_that_says_what_was_looked_for() -> None:
    with pytest.raises(
        SpecInvalid, match=r"no compspec\.json in /computation or in /srv, and no variable PKG_NAME"
    ):
        _described(working_directory="/srv")


def test_a_dialect_that_was_asked_for_is_the_only_one_that_is_looked_for() -> None:
    built = Manifest(dialect="functions", name="mean", target="mean.py").encode().decode()
    files = {"/computation/compspec.json": COMPSPEC % (1, "sum")}
    facts = {"labels": {images.LABEL: built}, "environment": {"PKG_NAME": "p"}}

    found = [_described(files, dialect, **facts).dialect for dialect in ("functions", "coinstac", "vantage6")]

    assert found == ["functions", "coinstac", "vantage6"]


@pytest.mark.parametrize(
    ("asked", "digests", "expected"),
    [
        (NAME, (f"other.example/mean@{OTHER}", f"registry.example/group/mean@{DIGEST}"), (NAME, DIGEST)),
        ("mean", (f"docker.io/library/mean@{DIGEST}",), ("mean", DIGEST)),
        ("group/mean:2", (f"group/mean@{DIGEST}",), ("group/mean:2", DIGEST)),
        (f"mean@{DIGEST}", (f"mean@{OTHER}", f"mean@{DIGEST}"), ("mean", DIGEST)),
        ("mean:1", (), ("mean:1", OTHER)),
        (f"mean:1@{DIGEST}", (), ("mean:1", DIGEST)),
        (OTHER, (f"registry.example/mean@{DIGEST}",), ("registry.example/mean", DIGEST)),
    ],
)
def test_an_image_is_pinned_to_its_registry_s_digest_else_to_its_own_id(
    asked: str, digests: tuple[str, ...], expected: tuple[str, str]
) -> None:
    found = images.pinned(replace(FACTS, name=asked, digests=digests))

    assert (found.name, found.digest) == expected


def test_a_file_is_pinned_to_its_content() -> None:
    facts = ImageFacts(kind=ImageKind.SIF, id=DIGEST, name="/images/sum.sif")

    assert images.pinned(facts) == ImageNamed(kind=ImageKind.SIF, name="/images/sum.sif", digest=DIGEST)


def test_an_image_without_a_name_can_t_be_named_to_others() -> None:
    with pytest.raises(SpecInvalid, match="is no name of an image"):
        images.pinned(replace(FACTS, name="Mean Of All", digests=()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docker:mean", ("mean", None)),
        (f"docker:{NAME}@{DIGEST}", (NAME, DIGEST)),
        (f"localhost:5000/a/b@{DIGEST}", ("localhost:5000/a/b", DIGEST)),
    ],
)
def test_an_image_is_named_by_name_and_digest(text: str, expected: tuple[str, str | None]) -> None:
    assert images.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["docker:", "docker:https://x/y", "user:secret@registry.example/mean", f"a b@{DIGEST}", "m@sha256:1"],
)
def test_what_is_no_name_of_an_image_is_not_even_quoted(text: str) -> None:
    with pytest.raises(SpecInvalid, match="this is no name of an image") as raised:
        images.parse(text)
    assert "secret" not in str(raised.value)


def test_a_compspec_names_the_images_of_both_sides() -> None:
    assert images.named_in(COMPSPEC % (1, "average"), "compspec") == ("sum", "average")
    with pytest.raises(SpecInvalid, match="names no image"):
        images.named_in('{"meta": {"name": "s"}, "computation": {"command": ["x"]}}', "compspec")


def test_an_aggregator_may_have_another_image_than_the_sites() -> None:
    other = ImageNamed(name="average", digest=OTHER)

    manifest = images.describe_compspec(COMPSPEC % (1, "average"), "compspec", IMAGE, other)
    installed = install(decode(manifest.encode()), None)

    assert installed.image_for(Role.SITE) == Image(kind=ImageKind.OCI, name=NAME, digest=DIGEST)
    assert installed.image_for(Role.AGGREGATOR) == Image(kind=ImageKind.OCI, name="average", digest=OTHER)
    assert images.describe_compspec(COMPSPEC % (1, "sum"), "compspec", IMAGE, IMAGE).aggregator_image is None


@pytest.mark.parametrize(("protocol", "style"), [(1, Style.CALL), (2, Style.SERVE)])
def test_a_computation_in_an_image_is_called_as_its_protocol_says(protocol: int, style: Style) -> None:
    installed = install(_described({"/computation/compspec.json": COMPSPEC % (protocol, "sum")}), None)

    assert isinstance(installed.convention, Coinstac)
    assert (installed.code, installed.convention.style) == (None, style)
    assert bool(installed.convention.site_command) is (protocol == 1)
    assert installed.convention.aggregated is (protocol == 2)


def test_functions_in_an_image_are_lent_the_package_that_they_import() -> None:
    built = Manifest(dialect="functions", name="mean", target="mean", code_name="mean").encode().decode()

    installed = install(_described(labels={images.LABEL: built}), None)

    assert installed.convention == Functions(target="/computation/mean")
    assert (installed.code, installed.code_name, installed.modules) == (None, None, (sdk(),))


def test_a_vantage6_image_starts_by_itself_and_speaks_http() -> None:
    installed = install(_described(environment={"PKG_NAME": "v6"}), None)

    assert isinstance(installed.convention, Vantage6)
    assert (installed.convention.command, installed.speaks_http, installed.prints) == ((), True, True)
    assert installed.libraries == ()


def test_the_bundle_of_an_image_holds_nothing_but_its_manifest(tmp_path: Path) -> None:
    manifest = _described({"/computation/compspec.json": COMPSPEC % (1, "sum")})

    bundle = pack_image(manifest, tmp_path)
    unpack(bundle.path, tmp_path / "there")

    assert (bundle.manifest, bundle.files) == (manifest, ())
    assert [path.name for path in (tmp_path / "there").iterdir()] == [MANIFEST]


def test_code_may_run_in_an_image_that_is_its_environment(tmp_path: Path) -> None:
    (tmp_path / "mean.py").write_text(
        "import numpy\nfrom atoll_algorithm import partial\n@partial\ndef f(): pass\n"
    )

    bundle = pack(tmp_path / "mean.py", tmp_path, image=IMAGE)
    unpack(bundle.path, tmp_path / "there")
    installed = install(bundle.manifest, tmp_path / "there")

    assert (bundle.manifest.kind, bundle.manifest.requires) == ("bundle", ())
    assert installed.code == tmp_path / "there" / "code" / "mean.py"
    assert installed.image == Image(kind=ImageKind.OCI, name=NAME, digest=DIGEST)


def test_a_bundle_of_an_image_that_holds_files_is_refused(tmp_path: Path) -> None:
    text = Manifest(dialect="functions", name="m", target="m", kind="image", image=IMAGE).encode()
    path = tmp_path / "crafted.tar"
    with path.open("wb") as target:
        members = [(MANIFEST, text), ("code/m.py", b"pass")]
        archive.write(target, [(Member(name=name, size_bytes=len(body)), body) for name, body in members])

    with pytest.raises(JobRefused, match="names an image and holds files beside it"):
        look_into(path)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"kind": "cloud"}, "kind 'cloud' is none of"),
        ({"kind": "image", "image": None}, "is an image's, and names none"),
        ({"image": None, "aggregator_image": IMAGE}, "only the aggregator has an image"),
        ({"image": ImageNamed(name="u:p@host/x", digest=DIGEST)}, "is no name of an image"),
        ({"image": ImageNamed(name="mean", digest="sha256:1")}, "has no digest"),
        ({"image": ImageNamed(kind=ImageKind.SIF, name="../x.sif", digest=DIGEST)}, "is no name of an image"),
    ],
)
def test_a_manifest_with_a_doubtful_image_is_refused(more: dict[str, Any], fault: str) -> None:
    manifest = replace(Manifest(dialect="functions", name="m", target="m", kind="image", image=IMAGE), **more)

    with pytest.raises(JobRefused, match=fault):
        decode(manifest.encode())


def test_an_image_of_a_vantage6_algorithm_declares_its_ports() -> None:
    facts: dict[str, Any] = {"exposed_ports": (8888, 9000), "labels": {"p8888": "exchange"}}

    found = _described(environment={"PKG_NAME": "v6"}, **facts)

    assert (
        (Port(number=8888, label="exchange"), Port(number=9000)) == found.ports == install(found, None).ports
    )


def test_the_port_of_a_computations_own_service_is_none_for_other_sites() -> None:
    files = {"/computation/compspec.json": COMPSPEC % (1, "sum")}

    assert () == _described(files, exposed_ports=(8881,)).ports
