"""Errors that cross from a compute node to its node: by name, from a fixed table."""

from __future__ import annotations

from typing import Any

from atoll.model.errors import AlgorithmFailed, LimitReached, ReplyInvalid, RuntimeUnavailable

_KINDS: dict[str, type[Exception]] = {
    each.__name__: each
    for each in (AlgorithmFailed, LimitReached, ReplyInvalid, RuntimeUnavailable, ConnectionRefusedError)
}


def told(error: Exception) -> dict[str, Any]:
    """An error in words that the other side makes the same one of."""
    kind = next((name for name, each in _KINDS.items() if isinstance(error, each)), None)
    if kind is None:
        return {"type": AlgorithmFailed.__name__, "message": _unexpected(error), "raised": None}
    return {"type": kind, "message": str(error), "raised": getattr(error, "raised", None)}


def heard(words: dict[str, Any]) -> Exception:
    """The error that the other side has told."""
    message = str(words.get("message", ""))
    kind = _KINDS.get(str(words.get("type")), AlgorithmFailed)
    if kind is AlgorithmFailed:
        return AlgorithmFailed(message, raised=words.get("raised"))
    return kind(message)


def _unexpected(error: Exception) -> str:
    return (
        f"the program that runs the algorithm on a compute node failed with {type(error).__name__}; the traceback is "
        "in this node's own log"
    )
