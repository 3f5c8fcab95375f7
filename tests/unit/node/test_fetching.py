"""A node fetches images before it starts them, and says how far that is. The engine is played."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from atoll.engine.running import Image, ImageKind, Launch, Style
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.model.work import Seat
from atoll.node import fetching
from atoll.runtimes.containers.pulling import Arrived
from atoll.runtimes.containers.settings import ContainerSettings
from atoll.runtimes.facts import ImageFacts

IMAGE = Image(kind=ImageKind.OCI, name="registry.example/mean:1", digest="sha256:" + 64 * "a")
#: What the engine calls it.
OWN = "sha256:" + 64 * "b"


class Engine:
    """Answers, and nothing else."""

    async def open(self) -> None:
        """Nothing has to be opened."""


class Runtime:
    """Notes what it is to start, and fails."""

    name = "docker"
    engine = Engine()

    def __init__(self, *_: Any) -> None:
        self.closed = False

    def caveats(self) -> tuple[str, ...]:
        """One sentence."""
        return ("it is played",)

    async def facts(self, name: str) -> ImageFacts | None:
        """One image is there."""
        return ImageFacts(id=OWN, name=name) if name == "stats" else None

    async def start(self, launch: Launch) -> None:
        """Say which image it would have been."""
        raise AlgorithmFailed("" if launch.image is None else f"{launch.image.name} {launch.image.digest}")

    async def recover(self) -> None:
        """Nothing is left."""

    async def warm_up(self, _: Launch) -> None:
        """Nothing is shared."""

    async def close(self) -> None:
        """Note it."""
        self.closed = True


class Store:
    """Says that an image arrives, byte by byte or layer by layer."""

    counted = True
    #: Of each image that was asked for: whether the site has chosen it.
    chosen: ClassVar[list[bool]] = []

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    async def ensure(
        self, image: Image, *, told: Callable[[Arrived], None] | None = None, chosen_here: bool = False
    ) -> str:
        """Tell a thousand times how far it is."""
        self.chosen.append(chosen_here)
        for number in range(1_001):
            done, total = (number * 1_000_000, 1_000_000_000) if self.counted else (0, 0)
            if told is not None:
                told(
                    Arrived(
                        name=image.name,
                        bytes_done=done,
                        bytes_total=total,
                        layers_done=number // 500,
                        layers_total=2,
                    )
                )
        return OWN

    async def collect(self, *, kept: Collection[str] = ()) -> tuple[str, ...]:
        """One was old."""
        return ("registry.example/old", *kept)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fetching.FetchingRuntime:
    """A runtime that fetches images, with an engine that is played."""
    monkeypatch.setattr(fetching, "DockerRuntime", Runtime)
    monkeypatch.setattr(fetching, "ImageStore", Store)
    monkeypatch.setattr(Store, "chosen", [])
    return fetching.FetchingRuntime(
        ContainerSettings(), "owner", signers={}, folder=tmp_path, kept={IMAGE.digest}
    )


def launch(root: Path, image: Image | None, waits: Callable[[str], None] | None = None) -> Launch:
    """What is to be started."""
    return Launch(
        seat=Seat("alpha"),
        style=Style.CALL,
        code=None,
        image=image,
        command=(),
        temporary=root,
        log=root / "log",
        waits=waits,
    )


@pytest.mark.parametrize(
    ("counted", "expected", "last"),
    [
        (
            True,
            21,
            "the image registry.example/mean:1 is fetched: 1000 of 1000 MB are here, and are unpacked",
        ),
        (False, 3, "is fetched: 2 of 2 layers"),
    ],
)
def test_what_starts_is_the_very_image_that_was_fetched(
    tmp_path: Path,
    runtime: fetching.FetchingRuntime,
    monkeypatch: pytest.MonkeyPatch,
    *,
    counted: bool,
    expected: int,
    last: str,
) -> None:
    monkeypatch.setattr(Store, "counted", counted)
    told: list[str] = []

    with pytest.raises(AlgorithmFailed, match=f"^{IMAGE.name} {OWN}$"):
        asyncio.run(runtime.start(launch(tmp_path, IMAGE, told.append)))

    assert len(told) == expected
    assert told[-1].endswith(last)


def test_code_without_an_image_is_not_for_containers(
    tmp_path: Path, runtime: fetching.FetchingRuntime
) -> None:
    with pytest.raises(RuntimeUnavailable, match="code without an image"):
        asyncio.run(runtime.start(launch(tmp_path, None)))


def test_the_rest_is_the_engine_s(tmp_path: Path, runtime: fetching.FetchingRuntime) -> None:
    async def all_of_it() -> list[str]:
        await runtime.recover()
        await runtime.warm_up(launch(tmp_path, IMAGE))
        removed = await runtime.collect()
        await runtime.close()
        return [runtime.name, *runtime.caveats(), *removed]

    assert asyncio.run(all_of_it()) == ["docker", "it is played", "registry.example/old", IMAGE.digest]


def test_what_the_site_has_chosen_is_told_from_what_others_ask_for(
    tmp_path: Path, runtime: fetching.FetchingRuntime
) -> None:
    for chosen_here in (False, True):
        with pytest.raises(AlgorithmFailed):
            asyncio.run(runtime.start(replace(launch(tmp_path, IMAGE), chosen_here=chosen_here)))

    assert Store.chosen == [False, True]


def test_a_name_without_a_digest_means_what_the_engine_has(runtime: fetching.FetchingRuntime) -> None:
    assert asyncio.run(runtime.digest_of("stats")) == OWN
    with pytest.raises(
        RuntimeUnavailable, match=r"gone is not on this machine: fetch it \(docker pull gone\)"
    ):
        asyncio.run(runtime.digest_of("gone"))
