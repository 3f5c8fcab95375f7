"""Passwords: which are taken, and how one is recognised.

Hashing takes a twentieth of a second and 64 MiB on purpose, so it happens in a thread, two at a time.
"""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from atoll.model.errors import Malformed
from atoll.model.people import key_of

LENGTH_MIN = 12
#: Longer ones cost time to hash, and nobody types them.
LENGTH_MAX = 1_000
#: Passwords that are hashed at a time: each takes 64 MiB.
_AT_A_TIME = 2


def check(password: str, username: str) -> None:
    """Refuse a password that is too easy to guess.

    Raises:
        Malformed: it is too short, too long, or says the username.
    """
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise Malformed(
            f"the password has {len(password)} characters: expected {LENGTH_MIN} to {LENGTH_MAX}; a few words that "
            "nobody else would put together are easy to keep in mind"
        )
    if len(set(password)) < 5:
        raise Malformed("the password has fewer than five different characters: take another")
    if key_of(username) in key_of(password):
        raise Malformed("the password has the username in it: take another")


class Passwords:
    """Hashes passwords, and recognises them.

    Args:
        hasher: how hard.
    """

    def __init__(self, hasher: PasswordHasher) -> None:
        self._hasher = hasher
        self._room = asyncio.Semaphore(_AT_A_TIME)
        #: What is compared for a name that nobody has, so that the answer takes as long.
        self._nobody = hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """What is kept of a password."""
        async with self._room:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def recognise(self, kept: str | None, password: str) -> bool:
        """Whether a password is the one that this was kept of. It takes as long where nothing was kept."""
        async with self._room:
            right = await asyncio.to_thread(self._verify, kept or self._nobody, password)
        return right and kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether a password was hashed less hard than is usual now."""
        return self._hasher.check_needs_rehash(kept)

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False
