"""What a seat left, read for people and programs: plain values that JSON can say."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from atoll.engine.running import whole
from atoll.model.errors import ReplyInvalid
from atoll.model.work import Content


def read_result(dialect: str, body: Content) -> Any:
    """What an algorithm of this dialect left.

    Raises:
        ReplyInvalid: it is not what the dialect's algorithms leave.
    """
    if dialect == "functions":
        # Late: the reader of tables and arrays is of no use to other dialects.
        from atoll.dialects.functions.body import plain

        return plain(body)
    try:
        return read_json(body)
    except (ValueError, RecursionError):
        # The error's own words would quote what was left.
        raise ReplyInvalid("what was left is not JSON in UTF-8") from None


def read_json(body: Content) -> Any:
    """What a function returned; numbers that JSON has no word for are null."""
    return json.loads(whole(body), parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if isfinite(number) else None
