"""How often somebody may ask: a bucket of tokens for each, in the memory of this process.

Whoever is known is counted by his own bucket, whatever address he comes from: a hospital comes from
one. Whoever isn't known, or shows a wrong token, is counted by his address. Replicas count apart.
"""

from __future__ import annotations

from collections.abc import Callable

from atoll.model.errors import TooMany

#: Buckets that are kept. A full one is no different from none, so those are dropped first.
_BUCKETS_MAX = 50_000


class Buckets:
    """A bucket for each subject. It fills evenly, and each request takes one token out of it.

    Args:
        rate: tokens per second. 0: no bound.
        room: tokens that a full bucket holds.
        now: the clock.
        what: whose requests these are, for the sentence of a refusal.
    """

    def __init__(self, rate: float, room: float, now: Callable[[], float], what: str) -> None:
        self._rate = rate
        self._room = room
        self._now = now
        self._what = what
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, subject: str) -> None:
        """Take a token out of a subject's bucket.

        Raises:
            TooMany: it is empty.
        """
        if self._rate <= 0:
            return
        now = self._now()
        level, at = self._levels.get(subject, (self._room, now))
        level = min(self._room, level + max(0.0, now - at) * self._rate)
        if level < 1:
            raise TooMany(
                f"too many requests of {self._what}: at most {self._rate:g} a second",
                seconds=(1 - level) / self._rate,
            )
        if len(self._levels) >= _BUCKETS_MAX and subject not in self._levels:
            self._drop(now)
        self._levels[subject] = (level - 1, now)

    def _drop(self, now: float) -> None:
        filling = self._room / self._rate
        self._levels = {
            subject: (level, at) for subject, (level, at) in self._levels.items() if now - at < filling
        }
        if len(self._levels) >= _BUCKETS_MAX:
            # All are in use: somebody plays many. The oldest half begins anew.
            kept = sorted(self._levels.items(), key=lambda item: item[1][1])
            self._levels = dict(kept[len(kept) // 2 :])
