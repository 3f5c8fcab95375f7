"""What the command tells programs, and what it tells people when nothing was started."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from atoll.cli.escape import escape
from atoll.cli.exits import FAILED, UNUSABLE
from atoll.model.errors import AtollError, Unusable


def print_document(document: dict[str, Any]) -> None:
    """Print the one JSON document that ``--json`` promises. What is not a number in it is null."""
    try:
        text = json.dumps(document, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(document), allow_nan=False)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    """The value with null for NaN and infinities, which JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def tell_failure(error: AtollError, *, as_json: bool = False) -> int:
    """Say why a command failed, one line per fault; the status that it ends with."""
    for line in str(error).splitlines():
        print(f"error: {escape(line)}", file=sys.stderr)
    if as_json:
        print_document({"error": {"type": type(error).__name__, "message": str(error)}})
    return UNUSABLE if isinstance(error, Unusable) else FAILED


def refuse(kind: str, message: str, *, as_json: bool) -> None:
    """Say that nothing was started, and why; one line per fault."""
    for line in message.splitlines():
        print(f"error: {escape(line)}", file=sys.stderr)
    if as_json:
        print_document(
            {
                "run": None,
                "status": "failed",
                "dialect": None,
                "sites": [],
                "rounds": 0,
                "iterations": 0,
                "result": None,
                "results": {},
                "error": {"type": kind, "message": message, "site": None},
                "seconds": 0.0,
                "output": None,
                "warnings": [],
            }
        )
