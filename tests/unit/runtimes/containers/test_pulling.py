"""One pull for all who ask, and what engines say when it fails: as Docker 20.10 and Podman 4.3 said it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from atoll.model.errors import AtollError, BlobMismatch, RuntimeUnavailable
from atoll.runtimes.containers.pulling import Arrived, SharedPulls, Told, pull_error

NAME = "registry.example/group/mean@sha256:" + 64 * "a"
PODMAN = f"initializing source docker://{NAME}: "


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (
            "failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device",
            RuntimeUnavailable,
            "there is no space for the image",
        ),
        (
            "writing blob: storing blob to file: write /var/tmp/1: no space left on device",
            RuntimeUnavailable,
            "there is no space",
        ),
        (
            "no matching manifest for linux/amd64 in the manifest list entries",
            RuntimeUnavailable,
            "kind of processor",
        ),
        (
            f"choosing an image from docker://{NAME}: no image found in manifest list for architecture amd64",
            RuntimeUnavailable,
            "kind of processor",
        ),
        (
            f"filesystem layer verification failed for digest sha256:{64 * 'b'}",
            BlobMismatch,
            "something else",
        ),
        (f"manifest verification failed for digest sha256:{64 * 'b'}", BlobMismatch, "something else"),
        (
            f"writing blob: happened during read: Digest did not match, expected sha256:{64 * 'b'}",
            BlobMismatch,
            "something else",
        ),
        (
            f"determining manifest MIME type for docker://{NAME}: Manifest does not match provided manifest digest",
            BlobMismatch,
            "something else",
        ),
        (
            "toomanyrequests: You have reached your pull rate limit",
            RuntimeUnavailable,
            "wants fewer requests",
        ),
        (
            f"manifest for {NAME} not found: manifest unknown: manifest unknown",
            RuntimeUnavailable,
            "has no image",
        ),
        (f"{PODMAN}reading manifest in x: manifest unknown", RuntimeUnavailable, "has no image"),
        (
            f'Get "https://registry.example/v2/{NAME}": no basic auth credentials',
            RuntimeUnavailable,
            "refuses",
        ),
        (f"{PODMAN}reading manifest: unauthorized: authentication required", RuntimeUnavailable, "refuses"),
        (
            "pull access denied for group/mean, repository does not exist or may require 'docker login': denied: no",
            RuntimeUnavailable,
            "refuses",
        ),
        (
            'Get "https://registry.example/v2/": dial tcp 192.0.2.1:443: connect: connection refused',
            RuntimeUnavailable,
            "can't be reached",
        ),
        (
            f"{PODMAN}pinging container registry registry.example: dial tcp: lookup registry.example: no such host",
            RuntimeUnavailable,
            "can't be reached",
        ),
        (
            'Get "https://registry.example/v2/": x509: certificate signed by unknown authority',
            RuntimeUnavailable,
            "can't be reached",
        ),
        (
            'Get "https://registry.example/v2/": http: server gave HTTP response to HTTPS client',
            RuntimeUnavailable,
            "can't be reached",
        ),
        ("the moon is in the wrong house", RuntimeUnavailable, "its log may say more"),
    ],
)
def test_each_failure_says_what_to_do(said: str, kind: type[AtollError], words: str) -> None:
    error = pull_error(NAME, said)

    assert type(error) is kind
    assert words in str(error)
    assert "registry.example" in str(error)


def test_a_name_that_somebody_made_up_decides_nothing() -> None:
    name = "registry.example/unauthorized/no-such-host@sha256:" + 64 * "a"

    assert "its log may say more" in str(pull_error(name, f"can't do {name}"))


def test_what_an_engine_repeats_of_a_password_is_not_told_on() -> None:
    error = pull_error(NAME, "unauthorized: node:open+sesame", secret="open+sesame")

    assert "sesame" not in str(error)


def test_no_more_than_a_sentence_is_quoted() -> None:
    assert len(str(pull_error(NAME, 10_000 * "x"))) < 700


# --- One pull for all who ask -------------------------------------------------------------------


class Pulling:
    """A pull that goes on when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.tell: Told = lambda _: None

    async def __call__(self, tell: Told) -> str:
        """Pull."""
        self.begun += 1
        self.tell = tell
        return await self.ended


def _arrived(layers: int) -> Arrived:
    return Arrived(name=NAME, bytes_done=0, bytes_total=0, layers_done=layers, layers_total=9)


def _run(work: Awaitable[None]) -> None:
    async def all_of_it() -> None:
        await work
        # Nothing goes on that nobody waits for.
        assert {asyncio.current_task()} == asyncio.all_tasks()

    asyncio.run(all_of_it())


def test_all_who_ask_share_one_pull_and_hear_how_far_it_is() -> None:
    heard: list[list[int]] = [[], []]

    async def ask() -> None:
        pulls, pulling = SharedPulls(), Pulling()
        first = asyncio.create_task(
            pulls.join(NAME, pulling, told=lambda arrived: heard[0].append(arrived.layers_done))
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        pulling.tell(_arrived(1))
        second = asyncio.create_task(
            pulls.join(NAME, pulling, told=lambda arrived: heard[1].append(arrived.layers_done))
        )
        await asyncio.sleep(0)
        pulling.tell(_arrived(2))
        pulling.ended.set_result("an id")
        assert ("an id", "an id") == tuple(await asyncio.gather(first, second))
        assert pulling.begun == 1

    _run(ask())
    assert [[1, 2], [1, 2]] == heard


def test_all_who_ask_are_told_of_its_failure_and_the_next_begins_anew() -> None:
    async def ask() -> None:
        pulls, pulling = SharedPulls(), Pulling()
        asked = [asyncio.create_task(pulls.join(NAME, pulling)) for _ in range(2)]
        pulling.ended.set_exception(RuntimeUnavailable("no"))
        failed = await asyncio.gather(*asked, return_exceptions=True)
        assert ["no", "no"] == [str(each) for each in failed]
        again = Pulling()
        again.ended.set_result("an id")
        assert "an id" == await pulls.join(NAME, again)
        assert [1, 1] == [pulling.begun, again.begun]

    _run(ask())


def test_a_pull_ends_with_the_last_who_waits_for_it() -> None:
    async def ask() -> None:
        pulls, pulling = SharedPulls(), Pulling()
        asked = [asyncio.create_task(pulls.join(NAME, pulling)) for _ in range(2)]
        await asyncio.sleep(0)
        asked[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked[0]
        assert not pulling.ended.cancelled()
        asked[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked[1]
        assert pulling.ended.cancelled()

    _run(ask())
