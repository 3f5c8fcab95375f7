"""Requests that make something are done once, however often they are sent.

Who sends a header ``Idempotency-Key`` may send the same again within a day, as after a broken
connection, and gets the first answer. What was made and the note of it are stored in one transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from atoll.hub.parts import Rooms, room
from atoll.hub.principal import Authenticator, Principal
from atoll.model.errors import Malformed, Taken
from atoll.stores.sql.kept_answers import KeptAnswer, get_answer, keep_answer

#: Seconds that an answer is kept.
KEPT_SECONDS = 86_400.0
_KEY_LENGTH_MAX = 200


class Once:
    """Answers that were given.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        self._database = rooms.parts.database
        self._now = rooms.parts.now
        self._authenticator = rooms.of(Authenticator)

    async def find(self, who: Principal, request: Request) -> Response | None:
        """The answer that this request got before, if it has a key and was sent before.

        Raises:
            Taken: another request had this key, or the answer held a secret.
            Malformed: the key is none.
        """
        key = _key(request)
        if key is None:
            return None
        async with self._database.reading() as connection:
            kept = await get_answer(connection, who.id, key)
        if kept is None or kept.created_at < self._now() - KEPT_SECONDS:
            return None
        if kept.digest != await _digest(request):
            raise Taken(f"another request had the Idempotency-Key {key!r} within a day: take a new key")
        if kept.body is None:
            raise Taken(
                "this was done already, at the first request with this Idempotency-Key; its answer held a secret, "
                "which is not kept: remove what was made, and make another"
            )
        return Response(kept.body, kept.status, media_type="application/json")

    async def keep(
        self, who: Principal, request: Request, response: Response, *, secret: bool = False
    ) -> None:
        """Keep an answer, if the request has a key. Call it in the transaction that made the thing."""
        key = _key(request)
        if key is None:
            return
        now = self._now()
        kept = KeptAnswer(
            digest=await _digest(request),
            status=response.status_code,
            body=None if secret else bytes(response.body),
            created_at=now,
        )
        async with self._database.writing() as connection:
            await keep_answer(connection, who.id, key, kept, before=now - KEPT_SECONDS)

    async def do(
        self, who: Principal, request: Request, make: Callable[[], Awaitable[Response]], *, secret: bool
    ) -> Response:
        """Do what a request asks for, or find what it got before."""
        if _key(request) is None:
            return await make()
        try:
            async with self._database.writing():
                response = await self.find(who, request)
                if response is None:
                    response = await make()
                    await self.keep(who, request, response, secret=secret)
        finally:
            # What was changed about people is to be seen from here on, and not from within.
            self._authenticator.forget()
        return response


async def once(
    request: Request, who: Principal, make: Callable[[], Awaitable[Response]], *, secret: bool = False
) -> Response:
    """Do what a request asks for, or answer as the first time.

    Args:
        request: with or without a key.
        who: whose keys are meant.
        make: does it. It must not tell anybody of what isn't stored yet: `Hub.submit` does, so runs
            use `Once.find` and, in ``also``, `Once.keep`.
        secret: whether the answer holds a secret.
    """
    return await room(request, Once).do(who, request, make, secret=secret)


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= _KEY_LENGTH_MAX and key.isprintable()):
        raise Malformed(f"an Idempotency-Key has 1 to {_KEY_LENGTH_MAX} characters that can be printed")
    return key


async def _digest(request: Request) -> str:
    body = await request.body()
    return hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + body).hexdigest()
