"""Owns a runtime with a call that doesn't end, until it is killed: started by the check of recovery."""

from __future__ import annotations

import asyncio
import importlib
import json
from operator import attrgetter
from pathlib import Path
from typing import Any

from atoll.engine.running import Image, ImageKind
from atoll.runtimes.conformance.bench import Bench, asking
from atoll.runtimes.conformance.subject import Subject


def main(text: str) -> None:
    """Start what the check has described as JSON."""
    asyncio.run(_linger(json.loads(text)))


async def _linger(told: dict[str, Any]) -> None:
    image = None
    if told["image"] is not None:
        kind, name, digest = told["image"]
        image = Image(kind=ImageKind(kind), name=name, digest=digest)
    subject = Subject(
        name="owner",
        make=attrgetter(told["name"])(importlib.import_module(told["module"])),
        options=told["options"],
        image=image,
    )
    async with Bench.of(subject, Path(told["folder"])) as bench:
        launch = bench.launch()
        async with bench.session(launch) as session:
            await session.call(asking(session, launch, "linger", thread=Path(told["thread"])))
