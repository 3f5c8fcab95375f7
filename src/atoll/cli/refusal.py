"""What the command tells programs, and what it tells people when nothing was started."""

from __future__ import annotations

import json
import sys
from typing import Any

from atoll.cli.escape import escape


def print_document(document: dict[str, Any]) -> None:
    """Print the one JSON document that ``--json`` promises."""
    json.dump(document, sys.stdout)
    sys.stdout.write("\n")
    sys.stdout.flush()


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
