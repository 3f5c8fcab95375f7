"""A sealed stream: what was written comes out, in order and whole, or it breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.errors import StreamBroken
from atoll.model.work import JobId, RunId
from atoll.transports.stream_seal import Between, Keys, Opener, Sealer

BETWEEN = Between(run_id=RunId("run"), caller=JobId("run.1.0"), called=JobId("run.1.1"), port=8888)
CHUNKS = st.lists(st.binary(max_size=300), min_size=1, max_size=12)


def ends(
    between: Between = BETWEEN, theirs: Between = BETWEEN
) -> tuple[tuple[Sealer, Opener], tuple[Sealer, Opener]]:
    """What the caller has, and what the called one has."""
    caller, called = Keys(), Keys()
    return caller.agree(called.public, between, called=False), called.agree(
        caller.public, theirs, called=True
    )


def sealed(sealer: Sealer, chunks: Sequence[bytes]) -> list[bytes]:
    """The pieces of a whole direction."""
    return [*(sealer.seal(chunk) for chunk in chunks), sealer.seal(b"", last=True)]


def opened(opener: Opener, pieces: Sequence[bytes]) -> bytes:
    """What was written, as far as it can be believed; and it must be whole."""
    content = b"".join(opener.open(piece) for piece in pieces)
    if not opener.ended:
        raise StreamBroken("cut off")
    return content


@given(CHUNKS, CHUNKS)
def test_what_was_written_comes_out_however_it_was_cut_into_pieces(
    forth: list[bytes], back: list[bytes]
) -> None:
    (seal_forth, open_back), (seal_back, open_forth) = ends()

    assert b"".join(forth) == opened(open_forth, sealed(seal_forth, forth))
    assert b"".join(back) == opened(open_back, sealed(seal_back, back))


Harm = Callable[[list[bytes], int, int], list[bytes]]
HARMS: dict[str, Harm] = {
    "a bit is another": lambda pieces, at, bit: [
        *pieces[:at],
        _flipped(pieces[at], bit),
        *pieces[at + 1 :],
    ],
    "one is missing": lambda pieces, at, _: pieces[:at] + pieces[at + 1 :],
    "one comes twice": lambda pieces, at, _: [*pieces[: at + 1], *pieces[at:]],
    "one comes later": lambda pieces, at, _: [*pieces[:at], pieces[-1], *pieces[at:-1]],
    "the end is missing": lambda pieces, at, _: pieces[:at],
    "one is shorter": lambda pieces, at, _: [*pieces[:at], pieces[at][:-1], *pieces[at + 1 :]],
    "one is empty": lambda pieces, at, _: [*pieces[:at], b"", *pieces[at + 1 :]],
    "one is another's": lambda pieces, at, _: [
        *pieces[:at],
        sealed(ends()[0][0], [b"x"] * len(pieces))[at],
        *pieces[at + 1 :],
    ],
}


def _flipped(piece: bytes, bit: int) -> bytes:
    changed = bytearray(piece)
    changed[bit // 8 % len(piece)] ^= 1 << bit % 8
    return bytes(changed)


@given(chunks=CHUNKS, harm=st.sampled_from(sorted(HARMS)), at=st.integers(0), bit=st.integers(0, 4_000))
def test_nothing_that_was_harmed_on_its_way_is_taken_for_whole(
    chunks: list[bytes], harm: str, at: int, bit: int
) -> None:
    (sealer, _), (_, opener) = ends()
    pieces = sealed(sealer, chunks)
    # The last one moved to its own place is no harm.
    harmed = HARMS[harm](pieces, at % (len(pieces) - 1), bit)

    with pytest.raises(StreamBroken):
        opened(opener, harmed)


def test_a_direction_can_not_be_played_back_to_who_wrote_it() -> None:
    (sealer, opener), _ = ends()

    with pytest.raises(StreamBroken, match="piece 0 of a stream is not what the other site has sealed"):
        opener.open(sealer.seal(b"mine"))


@pytest.mark.parametrize(
    "other",
    [
        replace(BETWEEN, run_id=RunId("other")),
        replace(BETWEEN, caller=JobId("run.1.2")),
        replace(BETWEEN, called=JobId("run.1.2")),
        replace(BETWEEN, port=8889),
        # The same letters, divided in another way.
        replace(BETWEEN, run_id=RunId("runrun.1.0"), caller=JobId("")),
    ],
)
def test_ends_that_mean_different_things_do_not_understand_each_other(other: Between) -> None:
    (sealer, _), (_, opener) = ends(BETWEEN, other)

    with pytest.raises(StreamBroken):
        opener.open(sealer.seal(b"for somebody else"))


def test_each_stream_has_keys_of_its_own() -> None:
    pieces = {ends()[0][0].seal(b"the same") for _ in range(3)}

    assert 3 == len(pieces)


@pytest.mark.parametrize("key", [b"", b"short", bytes(32), b"\1" + bytes(31)])
def test_a_key_that_gives_nothing_away_is_none(key: bytes) -> None:
    with pytest.raises(StreamBroken, match="no key that can be used"):
        Keys().agree(key, BETWEEN, called=True)


def test_nothing_comes_after_the_end() -> None:
    (sealer, _), (_, opener) = ends()
    opener.open(sealer.seal(b"", last=True))

    with pytest.raises(StreamBroken, match="after the end"):
        opener.open(sealer.seal(b"more"))
