"""An algorithm gets an interpreter or an image that has what it requires, or a sentence."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from atoll.engine.running import Image, ImageKind
from atoll.model.errors import AlgorithmFailed, JobRefused, RuntimeUnavailable
from atoll.node.environment import Environment, NamedImage
from atoll.node.environments import Chosen, Needs, choose
from atoll.node.inventory import Inventory

DIGEST = "sha256:" + 64 * "a"
STATS = Inventory(python=(3, 11), modules=frozenset({"pandas"}), programs=frozenset({"Rscript"}), tools=4)


@dataclass
class Images:
    """What images have is known by their names, and who is asked is noted."""

    has: Mapping[str, Inventory] = field(default_factory=dict)
    runs_code: bool = True
    runtime: str = "docker"
    asked: list[str] = field(default_factory=list)

    async def pin(self, named: NamedImage) -> Image:
        """Every name has the same digest."""
        return Image(kind=named.kind, name=named.name, digest=named.digest or DIGEST)

    async def inventory(self, image: Image, waits: Callable[[str], None] | None) -> Inventory:
        """What is known."""
        self.asked.append(image.name)
        if image.name not in self.has:
            raise AlgorithmFailed(f"{image.name} can't be started")
        if waits is not None:
            waits(f"{image.name} is fetched")
        return self.has[image.name]


def in_image(name: str, *provides: str) -> Environment:
    """An environment that is an image of the same name."""
    return Environment(name=name, image=NamedImage(kind=ImageKind.OCI, name=name), provides=provides)


def chosen(
    environments: Sequence[Environment],
    requires: Sequence[str] = (),
    images: Images | None = None,
    *,
    programs: Sequence[str] = (),
    python: bool = True,
) -> Chosen:
    """What the algorithm ``mean`` gets."""
    needs = Needs(name="mean", requires=requires, programs=programs, python=python)
    return asyncio.run(choose(environments, needs, images or Images()))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An interpreter with a few packages that are only there by name."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    library = next(folder.glob("lib/python3*/site-packages"))
    (library / "islands").mkdir()
    (library / "single.py").write_text("")
    (library / "compiled.cpython-311-x86_64-linux-gnu.so").write_text("")
    (library / "vantage6_algorithm_tools-4.13.1.dist-info").mkdir()
    return Environment(name="bare", python=folder / "bin/python", provides=("CUDA",))


@pytest.mark.parametrize("what", ["islands", "single", "compiled", "vantage6-4", "CUDA"])
def test_what_an_environment_has_is_found_without_running_it(bare: Environment, what: str) -> None:
    assert chosen([bare], [what]) == Chosen(python=bare.python)


def test_what_requires_nothing_gets_atolls_own(bare: Environment) -> None:
    assert chosen([bare, in_image("stats")]) == Chosen()


def test_atolls_own_comes_last(bare: Environment) -> None:
    assert chosen([bare], ["yaml"]) == Chosen()


def test_a_program_is_looked_for_among_programs(bare: Environment) -> None:
    assert chosen([bare], ["sh"], programs=["sh"]) == Chosen(python=bare.python)
    with pytest.raises(JobRefused):
        chosen([bare], ["sh"])


def test_what_no_environment_has_is_told_with_what_each_lacks(bare: Environment) -> None:
    with pytest.raises(JobRefused) as refused:
        chosen(
            [bare, in_image("stats")], ["islands", "vantage6-5", "no_such_thing"], Images({"stats": STATS})
        )

    assert str(refused.value) == (
        "'mean' requires islands, vantage6-5, no_such_thing, and no environment of this node has it all (bare lacks "
        "vantage6-5, no_such_thing; stats lacks islands, vantage6-5, no_such_thing; Atoll's own lacks islands, "
        "vantage6-5, no_such_thing). Make one, and name it under 'environments' in node.yaml"
    )


@pytest.mark.parametrize(
    ("what", "programs"), [("pandas", ()), ("vantage6-4", ()), ("Rscript", ("Rscript",))]
)
def test_an_image_is_asked_what_it_has(what: str, programs: Sequence[str]) -> None:
    images = Images({"stats": STATS, "empty": Inventory(python=(3, 8))})

    found = chosen([in_image("empty"), in_image("stats")], [what], images, programs=programs)

    assert found == Chosen(image=Image(kind=ImageKind.OCI, name="stats", digest=DIGEST))


def test_an_image_says_what_it_waits_for() -> None:
    told: list[str] = []

    asyncio.run(
        choose(
            [in_image("stats")],
            Needs(name="mean", requires=["pandas"]),
            Images({"stats": STATS}),
            told.append,
        )
    )

    assert told == ["stats is fetched"]


def test_an_image_that_provides_all_of_it_is_not_looked_at() -> None:
    images = Images()

    found = chosen([in_image("far-away", "python", "torch")], ["torch"], images)

    assert found.image is not None
    assert images.asked == []


def test_where_images_alone_run_the_first_with_python_takes_what_requires_nothing() -> None:
    images = Images({"shell": Inventory(programs=frozenset({"sh"})), "stats": STATS}, runs_code=False)
    both = [in_image("shell"), in_image("stats")]

    found, other = chosen(both, (), images), chosen(both, ["sh"], images, programs=["sh"], python=False)

    assert (found.image is not None and found.image.name) == "stats"
    assert (other.image is not None and other.image.name) == "shell"


def test_where_no_image_has_python_that_is_told() -> None:
    with pytest.raises(
        JobRefused, match=r"requires Python 3\.8 or later.*\(shell lacks Python 3\.8 or later\)"
    ):
        chosen([in_image("shell")], (), Images({"shell": Inventory()}, runs_code=False))


def test_where_images_alone_run_and_none_is_for_code_it_is_told_what_to_write() -> None:
    with pytest.raises(JobRefused) as refused:
        chosen([], ["pandas"], Images(runs_code=False))

    assert "runtime docker runs images, and this algorithm is code without one" in str(refused.value)
    assert "'environments: {stats: {image: registry.example/stats@sha256:…}}'" in str(refused.value)


def test_an_image_that_can_not_be_asked_is_told_and_nothing_else_is_taken_instead() -> None:
    with pytest.raises(
        RuntimeUnavailable, match="the environment 'lost' of this node can't be used: lost can't be started"
    ):
        chosen([in_image("lost"), in_image("stats")], ["pandas"], Images({"stats": STATS}))
