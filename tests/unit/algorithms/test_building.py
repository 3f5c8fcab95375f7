"""What goes into the image of an algorithm."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from atoll.algorithms.building import BASE, BASE_OF_VANTAGE6_5, DOCKERFILE, Asked, Recipe, plan
from atoll.algorithms.images import LABEL
from atoll.algorithms.manifest import decode
from atoll.model.errors import SpecInvalid

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SUM = EXAMPLES / "coinstac" / "sum"
MEAN = EXAMPLES / "functions" / "mean"
AVERAGE_4 = EXAMPLES / "vantage6" / "average-4"
AVERAGE_5 = EXAMPLES / "vantage6" / "average-5"
AVERAGE_JS = EXAMPLES / "vantage6" / "average-js"
#: A base that somebody has chosen.
CHOSEN = Asked(base="example/base:1")


def context(recipe: Recipe) -> bytes:
    """What the engine would be given."""
    target = io.BytesIO()
    recipe.write(target)
    return target.getvalue()


def instructions(recipe: Recipe) -> list[str]:
    """The words that begin the lines of a Dockerfile."""
    return re.findall(r"^([A-Z]+) ", recipe.dockerfile, re.MULTILINE)


@pytest.mark.parametrize("path", [SUM, MEAN, AVERAGE_4], ids=["coinstac", "functions", "vantage6"])
def test_the_same_files_make_the_same_bytes_wherever_they_lie(path: Path, tmp_path: Path) -> None:
    copied = tmp_path / path.name
    shutil.copytree(path, copied)
    for file in copied.rglob("*"):
        os.utime(file, (1, 1))

    assert context(plan(path, CHOSEN)) == context(plan(copied, CHOSEN))


def test_an_image_holds_what_a_bundle_would(tmp_path: Path) -> None:
    shutil.copytree(SUM, tmp_path / "sum")
    for extra in (
        "test/local0/data.csv",
        "local1/data.csv",
        ".git/config",
        "__pycache__/a.pyc",
        "tests/a.py",
    ):
        (tmp_path / "sum" / extra).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sum" / extra).write_text("secret")
    with tarfile.open(fileobj=io.BytesIO(context(plan(tmp_path / "sum", CHOSEN)))) as archive:
        names = archive.getnames()

    files = ["Dockerfile", "README.md", "compspec.json", "local.py", "remote.py"]
    assert [DOCKERFILE, *(f"code/{name}" for name in files)] == names


@pytest.mark.parametrize("written", [False, True])
def test_an_image_holds_nothing_that_a_dockerignore_names(tmp_path: Path, *, written: bool) -> None:
    shutil.copytree(SUM, tmp_path / "sum")
    (tmp_path / "sum" / "secret.json").write_text("{}")
    (tmp_path / "sum" / ".dockerignore").write_text("*.json\n!compspec.json\n")
    dockerfile = None
    if written:
        dockerfile = tmp_path / "own.dockerfile"
        dockerfile.write_text("FROM scratch\nCOPY . /computation\n")

    recipe = plan(tmp_path / "sum", Asked(base="example/base:1", dockerfile=dockerfile))

    assert {name.rpartition("/")[2] for name in recipe.files} >= {"compspec.json", "local.py"}
    assert not [name for name in recipe.files if "secret" in name]
    assert "1 file is left out, as .dockerignore says" in recipe.notes


def test_a_package_is_kept_as_a_dockerignore_beside_it_says(tmp_path: Path) -> None:
    shutil.copytree(AVERAGE_4, tmp_path / "average")
    (tmp_path / "average/averages/secret.py").write_text("")
    (tmp_path / "average/.dockerignore").write_text("averages/secret.py\n")
    (tmp_path / "link").symlink_to("average")

    assert ["code/averages/__init__.py"] == list(plan(tmp_path / "link", CHOSEN).files)


def test_databases_beside_a_module_stay_where_they_are(tmp_path: Path) -> None:
    shutil.copy(MEAN / "mean.py", tmp_path)
    (tmp_path / "alpha.csv").write_text("a\n1\n")

    assert ["code/mean.py"] == [name for name in plan(tmp_path, CHOSEN).files if not name.startswith("lib/")]


def test_a_computation_is_started_by_each_call_and_its_image_by_what_the_base_starts() -> None:
    recipe = plan(SUM, CHOSEN)

    assert ["FROM", "COPY", "WORKDIR", "USER"] == instructions(recipe)
    assert "COPY code /computation\nWORKDIR /computation\nUSER 65532:65532\n" in recipe.dockerfile


def test_a_computation_of_protocol_2_is_started_by_its_entry_script(tmp_path: Path) -> None:
    spec = json.loads((SUM / "compspec.json").read_text())
    spec["meta"]["compspecVersion"] = 2
    (tmp_path / "compspec.json").write_text(json.dumps(spec))
    (tmp_path / "entry.py").write_text("import coinstac\ncoinstac.start(None, None)\n")
    recipe = plan(tmp_path, Asked())

    assert 'ENTRYPOINT []\nCMD ["python", "/computation/entry.py"]\n' in recipe.dockerfile
    assert any("brings the module coinstac" in note for note in recipe.notes)


def test_functions_have_the_package_that_they_import_and_nothing_is_fetched() -> None:
    recipe = plan(MEAN, CHOSEN)

    assert "COPY lib /opt/atoll/lib\nENV PYTHONPATH=/opt/atoll/lib\n" in recipe.dockerfile
    assert ("lib/atoll_algorithm/__init__.py" in recipe.files, "RUN" in instructions(recipe)) == (True, False)


def test_an_algorithm_of_vantage6_is_started_by_its_wrapper() -> None:
    recipe = plan(AVERAGE_4, CHOSEN)
    wrapper = "from vantage6.algorithm.tools.wrap import wrap_algorithm; wrap_algorithm()"

    assert "ENV PKG_NAME=averages PYTHONPATH=/computation\n" in recipe.dockerfile
    assert f'ENTRYPOINT []\nCMD ["python", "-c", "{wrapper}"]\n' in recipe.dockerfile
    assert ["code/averages/__init__.py"] == list(recipe.files)


@pytest.mark.parametrize(
    ("path", "base", "tools"),
    [
        (AVERAGE_4, BASE, "vantage6-algorithm-tools>=4,<5\npandas<3\n"),
        (AVERAGE_5, BASE_OF_VANTAGE6_5, "vantage6-algorithm-tools>=5,<6\n"),
    ],
    ids=["4", "5"],
)
def test_the_usual_base_gets_the_tools_of_vantage6(path: Path, base: str, tools: str) -> None:
    recipe = plan(path, Asked())

    assert (base, tools.encode()) == (recipe.base, recipe.files["requirements.txt"])
    assert "USER 0:0\nCOPY requirements.txt /opt/atoll/requirements.txt\nRUN " in recipe.dockerfile


def test_tools_that_the_author_names_are_not_named_twice(tmp_path: Path) -> None:
    shutil.copytree(AVERAGE_4, tmp_path / "average")
    (tmp_path / "average" / "requirements.txt").write_text(
        "vantage6_algorithm_tools==4.15.2\npandas==2.2.3\n"
    )
    recipe = plan(tmp_path / "average", Asked())

    assert b"vantage6_algorithm_tools==4.15.2\npandas==2.2.3\n" == recipe.files["requirements.txt"]


def test_nothing_is_installed_where_the_base_has_it_all() -> None:
    recipe = plan(EXAMPLES / "coinstac" / "file-transfer", Asked(installs=False))

    assert "RUN" not in instructions(recipe)
    assert f"The code imports numpy, pandas, and nothing is installed: {BASE} has to have it" in recipe.notes


def test_an_image_says_what_is_in_it() -> None:
    recipe = plan(SUM, CHOSEN)
    found = dict(recipe.labels)

    assert recipe.manifest == decode(found.pop(LABEL).encode())
    assert {
        "org.opencontainers.image.title": "Decentralized sum",
        "org.opencontainers.image.version": "v1.0.0",
        "org.opencontainers.image.base.name": "example/base:1",
    } == found


def test_a_description_that_engines_can_t_repeat_is_refused(tmp_path: Path) -> None:
    spec = json.loads((SUM / "compspec.json").read_text())
    spec["meta"]["description"] = "A long one. " * 20_000
    (tmp_path / "compspec.json").write_text(json.dumps(spec))

    with pytest.raises(SpecInvalid, match="expected at most 200000 for an image"):
        plan(tmp_path, CHOSEN)


def test_a_name_that_no_bundle_may_have_is_none_for_an_image_either(tmp_path: Path) -> None:
    """It would be more than one word of the Dockerfile."""
    shutil.copytree(AVERAGE_4 / "averages", tmp_path / "v6 USER=0")

    with pytest.raises(SpecInvalid, match="the target 'v6 USER=0' is no plain name"):
        plan(tmp_path, CHOSEN)


def test_an_image_is_called_as_its_algorithm_is(tmp_path: Path) -> None:
    shutil.copy(MEAN / "mean.py", tmp_path / "Group_Means.py")
    named = [plan(path, CHOSEN).name for path in (SUM, MEAN, tmp_path / "Group_Means.py")]

    assert ["atoll-examples/sum", "mean", "group-means"] == named
    assert "me/mean:1" == plan(MEAN, Asked(base="a", name="me/mean:1")).name


def test_a_dockerfile_that_is_named_is_used_and_gets_the_labels() -> None:
    recipe = plan(SUM, Asked(dockerfile=SUM / "Dockerfile"))

    assert ((SUM / "Dockerfile").read_text(), True) == (recipe.dockerfile, LABEL in recipe.labels)
    assert ({"Dockerfile", "README.md", "compspec.json", "local.py", "remote.py"}, None, ()) == (
        set(recipe.files),
        recipe.base,
        recipe.notes,
    )


def test_a_dockerfile_that_is_not_named_is_spoken_of() -> None:
    assert any("Dockerfile is not used" in note for note in plan(SUM, CHOSEN).notes)


@pytest.mark.parametrize(
    ("path", "asked", "said"),
    [
        (MEAN, Asked(), "mean imports pandas, and nothing says what has to be installed"),
        (AVERAGE_JS, Asked(), "average-js starts node, which .* doesn't have"),
        (SUM, Asked(name="Not A Name"), "'Not A Name' is no name of an image"),
        (SUM, Asked(base="two words"), "the base 'two words' is no name of an image"),
        (SUM, Asked(base="a\nRUN rm"), "is no name of an image"),
        (SUM, Asked(dockerfile=Path("nowhere")), "nowhere is not there: expected a Dockerfile"),
        (SUM / "test", Asked(), "no algorithm"),
    ],
)
def test_what_can_t_become_an_image_is_refused(path: Path, asked: Asked, said: str) -> None:
    with pytest.raises(SpecInvalid, match=said):
        plan(path, asked)
