"""What somebody asked for, in words that a kept run can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from atoll.engine.limits import CALL_SECONDS_MAX, ITERATIONS_MAX, CallLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The arguments of a simulation, as they were given; nothing is looked at yet."""

    #: A folder with a compspec.json, or a pipelinespec.json.
    path: Path = Path()
    clients: int | None = None
    inputspec: Path | None = None
    compspec: Path | None = None
    directory: Path | None = None
    pipeline: Path | None = None
    #: ``auto``, ``inline``, ``process`` or ``bubblewrap``.
    runtime: str = "auto"
    python: Path | None = None
    entry: str | None = None
    output: Path | None = None
    strict: bool = False
    seed: int | None = None
    max_iterations: int = ITERATIONS_MAX
    call_seconds: float = CALL_SECONDS_MAX
    #: Mebibytes that one call may take; None for no bound.
    memory: int | None = None

    @property
    def limits(self) -> CallLimits:
        """What one call may take."""
        memory_bytes = self.memory * 1024**2 if self.memory else None
        return CallLimits(seconds=self.call_seconds, memory_bytes=memory_bytes)

    @property
    def runs(self) -> Path:
        """The run's folder, or the one that it will be made in."""
        return self.output or Path("atoll-runs")

    def document(self) -> dict[str, Any]:
        """JSON for a run's record; paths absolute, so that it can be read anywhere."""
        return {
            # The links of a path are kept: a virtual environment's interpreter is one.
            key: str(value.absolute()) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Arguments:
        """Read what `document` wrote; keys of other versions are passed over."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = document.get(field.name)
            if value is not None:
                values[field.name] = Path(value) if "Path" in str(field.type) else value
        return cls(**values)
