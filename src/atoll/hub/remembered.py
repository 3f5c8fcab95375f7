"""Answers that are still true: what was shown of runs is the same until something is told of them.

All that a list of runs shows is told as an event when it changes, in the same transaction, with a
higher number. So an answer that was made at the latest number needn't be made again for whoever asked
for it before: screens and scripts ask the same every few seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.hub.parts import Rooms
from atoll.hub.principal import Principal

#: Bytes of all answers that are kept. Beyond it they are forgotten, and made again.
_KEPT_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer, and to whom it was given."""

    #: Whoever is known anew, since something about people has changed, is another one.
    who: Principal
    body: bytes


class Remembered:
    """The answers of one hub that are still true.

    Args:
        rooms: the hub's.
    """

    def __init__(self, _: Rooms, /) -> None:
        self._cursor = -1
        self._bytes = 0
        self._answers: dict[tuple[str, str, bytes], _Kept] = {}

    def find(self, who: Principal, path: str, query: bytes, cursor: int) -> bytes | None:
        """An answer that was given before, where it is as good as a new one.

        Args:
            who: asks.
            path: what for.
            query: and how.
            cursor: the number of the latest event.
        """
        kept = self._answers.get((who.id, path, query)) if cursor == self._cursor else None
        return kept.body if kept is not None and kept.who is who else None

    def keep(self, who: Principal, path: str, query: bytes, cursor: int, body: bytes) -> None:
        """Remember an answer that was made of what was read after this cursor was."""
        if cursor != self._cursor or self._bytes + len(body) > _KEPT_BYTES_MAX:
            if cursor < self._cursor:
                return
            self._answers.clear()
            self._cursor, self._bytes = cursor, 0
        self._bytes += len(body)
        self._answers[who.id, path, query] = _Kept(who, body)
