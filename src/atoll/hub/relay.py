"""Notices between hubs that share one PostgreSQL: what one has stored wakes who waits at another.

A notice only says where to look. So what is lost does no harm for long: who waits looks again by
himself after a while, and a relay that could not listen for a moment wakes everybody.

A hub on SQLite is alone, and has no relay.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from atoll.hub.notices import Bells, Notice
from atoll.model.errors import Unusable
from atoll.stores.sql.database import Database

_log = logging.getLogger(__name__)

_CHANNEL = "atoll_notices"
_TELL = text(f"SELECT pg_notify('{_CHANNEL}', :letter)")
#: Bytes of a letter. PostgreSQL refuses 8,000.
_LETTER_BYTES_MAX = 7_500
#: Names, numbers or jobs of a notice that are told at a time, so that it fits a letter.
_AT_A_TIME = 40
#: Notices that wait to be told while the server can't be reached. Beyond that everybody is woken.
_WAITING_MAX = 10_000
#: Seconds before another try: the first comes at once, the others ever later.
_PAUSE_SECONDS_MAX = 5.0
#: So that a connection which is dead is noticed within half a minute, though nobody says anything.
_ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "connect_timeout": 10}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    """What goes over the channel."""

    #: Whose it is: nobody listens to himself.
    hub: str
    notices: tuple[Notice, ...] = ()
    #: Whether there was more than is told: everybody is to look.
    all: bool = False


_letter = msgspec.json.Decoder(_Letter)


class Relay:
    """Tells other hubs what this one has stored, and rings this one's bells for what they have.

    Args:
        database: the one that they share.
        chance: a number from 0 to 1, so that hubs which lost their server don't come back all at once.

    Raises:
        Unusable: the database is a file, which no other hub shares.
    """

    def __init__(self, database: Database, *, chance: Callable[[], float] = random.random) -> None:
        if not database.is_server:
            raise Unusable("notices are passed on by a PostgreSQL server: a hub on SQLite is alone")
        self._database = database
        self._chance = chance
        self._name = secrets.token_urlsafe(9)
        self._waiting: deque[Notice] = deque()
        self._has_missed = False
        self._stirred = asyncio.Event()
        #: Is set while it listens.
        self.listens = asyncio.Event()

    def tell(self, notice: Notice) -> None:
        """Have the other hubs told, as soon as may be. What `Hub` is given as its `relay`."""
        if len(self._waiting) >= _WAITING_MAX:
            self._waiting.clear()
            self._has_missed = True
        self._waiting.append(notice)
        self._stirred.set()

    async def run(self, bells: Bells) -> None:
        """Listen and tell until it is cancelled.

        Args:
            bells: what is rung for what other hubs tell.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(bells))
            tasks.create_task(self._speak())

    # --- What others tell ---------------------------------------------------------------------

    async def _listen(self, bells: Bells) -> None:
        # Imported here: it comes with the extra `postgres`.
        import psycopg

        tries = 0
        while True:
            try:
                async with self._listening() as letters:
                    tries = 0
                    # What was told while nobody listened was missed.
                    bells.ring_all()
                    self.listens.set()
                    async for words in letters:
                        self._hear(words, bells)
            except (psycopg.Error, OSError) as error:
                _log.warning("The hub can't hear other hubs, and tries again: %s", type(error).__name__)
            finally:
                self.listens.clear()
            await self._pause(tries)
            tries += 1

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[AsyncIterator[str]]:
        """A connection of its own: one that listens does nothing else."""
        # Imported here: it comes with the extra `postgres`.
        import psycopg

        address = psycopg.conninfo.make_conninfo(self._database.address, **_ALIVE)
        connection = await psycopg.AsyncConnection.connect(address, autocommit=True)
        async with connection:
            await connection.execute(f"LISTEN {_CHANNEL}")
            async with aclosing(connection.notifies()) as told:
                yield (one.payload async for one in told)

    def _hear(self, words: str, bells: Bells) -> None:
        try:
            letter = _letter.decode(words)
        except msgspec.DecodeError:
            # Another version's hub tells what this one doesn't know: then it looks everywhere.
            bells.ring_all()
            return
        if letter.hub == self._name:
            return
        if letter.all:
            bells.ring_all()
        for notice in letter.notices:
            bells.ring(notice)

    # --- What this hub tells ------------------------------------------------------------------

    async def _speak(self) -> None:
        tries = 0
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            notices = [*self._waiting]
            self._waiting.clear()
            has_missed, self._has_missed = self._has_missed, False
            try:
                for words in self._letters(notices, has_missed=has_missed):
                    async with self._database.writing() as connection:
                        await connection.execute(_TELL, {"letter": words})
                tries = 0
            except (SQLAlchemyError, OSError) as error:
                _log.warning("The hub can't tell other hubs, and tries again: %s", type(error).__name__)
                # Some may have been told: that the others look everywhere says it all.
                self._has_missed = True
                self._stirred.set()
                await self._pause(tries)
                tries += 1

    def _letters(self, notices: Sequence[Notice], *, has_missed: bool) -> Iterator[str]:
        """These notices, in as few letters as they fit."""
        together: list[bytes] = []
        size = 0
        for notice in notices:
            for part in _parts(notice):
                words = msgspec.json.encode(part)
                if len(words) > _LETTER_BYTES_MAX - 100:
                    has_missed = True
                    continue
                if size + len(words) + 1 > _LETTER_BYTES_MAX - 100:
                    yield self._sealed(together)
                    together, size = [], 0
                together.append(words)
                size += len(words) + 1
        if together:
            yield self._sealed(together)
        if has_missed:
            yield msgspec.json.encode(_Letter(hub=self._name, all=True)).decode()

    def _sealed(self, notices: Sequence[bytes]) -> str:
        return f'{{"hub":"{self._name}","notices":[{b",".join(notices).decode()}]}}'

    async def _pause(self, tries: int) -> None:
        seconds = 0.0 if tries == 0 else min(_PAUSE_SECONDS_MAX, 0.1 * 2 ** min(tries, 10))
        await asyncio.sleep(seconds * (0.5 + self._chance() / 2))


def _parts(notice: Notice) -> Iterator[Notice]:
    """A notice as several that say the same together, each small enough for a letter."""
    longest = max(len(notice.work), len(notice.rounds), len(notice.cancelled))
    if longest <= _AT_A_TIME:
        yield notice
        return
    for start in range(0, longest, _AT_A_TIME):
        some = slice(start, start + _AT_A_TIME)
        yield replace(
            notice,
            work=notice.work[some],
            rounds=notice.rounds[some],
            cancelled=notice.cancelled[some],
            # Said once: it is done when it is heard.
            ended=notice.ended and start == 0,
            all_rounds=notice.all_rounds and start == 0,
        )
