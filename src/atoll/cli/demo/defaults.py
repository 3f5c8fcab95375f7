"""What a demo has unless somebody says otherwise."""

from __future__ import annotations

from pathlib import Path

#: Where it lies.
DEFAULT = Path("atoll-demo")
