"""What functions will be started with, told from their source before anything else is read.

Importing pandas takes longer than all that Atoll does. So it begins as soon as the code is known,
and goes on while the rest of what was asked for is read and checked.
"""

from __future__ import annotations

from pathlib import Path

from atoll.algorithms.code import find_code
from atoll.algorithms.installing import sdk
from atoll.dialects.functions.manifest import read_manifest
from atoll.engine.running import Launch, Style
from atoll.model.errors import AtollError
from atoll.model.work import Seat
from atoll.simulator.arguments import Arguments
from atoll.simulator.record import RunFolder


def glance(asked: Arguments, folder: RunFolder) -> tuple[Launch, list[Path]] | None:
    """A launch like those to come, and the folders that hold what they need; None where it can't be told.

    Args:
        asked: what was asked for.
        folder: the run's.
    """
    try:
        code = find_code(asked.path, asked.package)
        sources = code.sources()
    except (AtollError, OSError):
        return None  # It is told where everything is checked.
    if not any("atoll_algorithm" in text for text in sources.values()):
        return None
    launch = Launch(
        seat=Seat("early"),
        style=Style.TALK,
        code=code.path,
        code_name=code.name,
        command=("python", "-m", "atoll_algorithm", f"/computation/{code.target}"),
        masked=code.masked,
        temporary=folder.scratch,
        log=folder.logs / "early.log",
        modules=(sdk(),),
        libraries=read_manifest(sources, code.target).libraries,
    )
    beside = asked.path if asked.path.is_dir() else asked.path.parent
    data = asked.federation.parent if asked.federation is not None else beside
    return launch, [folder.path, code.path, sdk(), *([data] if data.is_dir() else [])]
