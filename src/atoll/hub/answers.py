"""What every endpoint does alike: decode a body, encode an answer, cut a list into pages.

A body is decoded into a `msgspec.Struct`; an answer is one, or what msgspec can encode.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec
from fastapi import Request, Response

from atoll.engine.limits import PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from atoll.model.errors import Malformed

T = TypeVar("T")
Item = TypeVar("Item")

_ENCODER = msgspec.json.Encoder()
_DECODERS: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a value as JSON."""
    return said(encoded(value), status, headers)


def said(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with what was encoded before."""
    return Response(body, status, dict(headers) if headers else None, media_type="application/json")


def encoded(value: Any) -> bytes:
    """A value as JSON."""
    return _ENCODER.encode(value)


def nothing() -> Response:
    """An answer that says no more than that it was done."""
    return Response(status_code=204)


def decode(text: bytes, kind: type[T]) -> T:
    """What a text says.

    Raises:
        Malformed: it is no JSON, or says something else.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        value: T = decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the body is not what is expected: {error}") from None
    return value


async def decoded(request: Request, kind: type[T]) -> T:
    """What the body of a request says.

    Raises:
        Malformed: it is no JSON, or says something else.
    """
    return decode(await request.body(), kind)


@lru_cache(maxsize=10_000)  # A page is read again and again, and its times stay.
def time_text(seconds: float | None) -> str | None:
    """A point in time as the API tells it: RFC 3339, UTC, to the millisecond."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Page(msgspec.Struct, Generic[Item], frozen=True, kw_only=True):
    """A part of a list."""

    items: Sequence[Item]
    #: What asks for the next part; null at the end.
    next: str | None


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is asked for."""

    limit: int
    #: The keys of the last item that was seen; none at the beginning.
    after: tuple[str | float | int, ...] = ()

    @property
    def text(self) -> str:
        """The one key of a list that is ordered by a text; empty at its beginning, before every text."""
        return str(self.after[0]) if self.after else ""

    def page(
        self, found: Sequence[T], key: Callable[[T], tuple[Any, ...]], form: Callable[[T], Item]
    ) -> Page[Item]:
        """The page of what was found.

        Args:
            found: one more than the limit, where there are so many.
            key: of a row: what the list is ordered by.
            form: of a row: what is shown.
        """
        shown = found[: self.limit]
        more = len(found) > self.limit
        return Page(items=[form(one) for one in shown], next=cursor(key(shown[-1])) if more else None)


def wanted(request: Request, kinds: tuple[type[Any], ...] = (str,)) -> Wanted:
    """Which part of a list a request asks for.

    Args:
        request: with ``limit`` and ``cursor``.
        kinds: of the keys that the list is ordered by.

    Raises:
        Malformed: the limit is out of its bounds, or the cursor is none of this list.
    """
    given = request.query_params.get("limit")
    limit = PAGE_ITEMS_DEFAULT
    if given is not None:
        if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= PAGE_ITEMS_MAX):
            raise Malformed(f"limit is no number from 1 to {PAGE_ITEMS_MAX}")
        limit = int(given)
    text = request.query_params.get("cursor")
    if not text:
        return Wanted(limit=limit)
    try:
        after = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        keys = msgspec.convert(after, tuple[kinds])  # type: ignore[valid-type]  # made while it runs
    except (ValueError, msgspec.DecodeError):
        raise Malformed("the cursor is none that this list gave: begin anew without one") from None
    return Wanted(limit=limit, after=keys)


def cursor(keys: tuple[Any, ...]) -> str:
    """What asks for what comes after an item with these keys."""
    return base64.urlsafe_b64encode(msgspec.json.encode(keys)).decode().rstrip("=")
