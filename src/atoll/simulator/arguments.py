"""What somebody asked for, in words that a kept run can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from atoll.engine.limits import CALL_SECONDS_MAX, ITERATIONS_MAX, LOG_BYTES_MAX, PROCESSES_MAX, CallLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The arguments of a simulation, as they were given; nothing is looked at yet."""

    #: A folder with a compspec.json, a pipelinespec.json, or a Python package or module.
    path: Path = Path()
    #: ``auto``, ``coinstac``, ``vantage6`` or ``functions``.
    dialect: str = "auto"
    #: A federation.yaml: the sites and their databases.
    federation: Path | None = None
    function: str | None = None
    #: The function's arguments; JSON.
    args: dict[str, Any] = field(default_factory=dict)
    #: The databases that are asked for, in order: a label, or ``LABEL:{"query": ...}``.
    databases: tuple[str, ...] = ()
    #: ``central``, ``all``, or names of sites with commas between them.
    at: str | None = None
    #: The importable package of a vantage6 algorithm.
    package: str | None = None
    #: vantage6 5: a function that extracts dataframes, and steps such as ``filter:{"rows": 3}``.
    extract: str | None = None
    preprocess: tuple[str, ...] = ()
    clients: int | None = None
    inputspec: Path | None = None
    compspec: Path | None = None
    directory: Path | None = None
    pipeline: Path | None = None
    #: The image that it runs in: a name, or ``sif:`` and a file's path. None: as its specification says.
    image: str | None = None
    #: An image with Python, for what an image without it needs beside it.
    helper_image: str | None = None
    #: Whether the image is all that was named: what is called, and how, is in it.
    packed: bool = False
    #: ``auto``, or the name of a runtime.
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
    #: Processors that one call may keep busy; None for all.
    processors: float | None = None
    #: Processes and threads of one call; None for Atoll's own bound.
    processes: int | None = None
    #: Bytes that the folders may hold which one seat's algorithm can write to; None for what the disk holds.
    disk: int | None = None
    #: Bytes that an algorithm may print beside its answers; None for Atoll's own bound.
    log: int | None = None

    @property
    def limits(self) -> CallLimits:
        """What one call may take."""
        return CallLimits(
            seconds=self.call_seconds,
            memory_bytes=self.memory * 1024**2 if self.memory else None,
            processors=self.processors,
            processes=self.processes or PROCESSES_MAX,
            disk_bytes=self.disk,
            log_bytes=LOG_BYTES_MAX if self.log is None else self.log,
        )

    @property
    def bounded(self) -> bool:
        """Whether somebody has asked for a bound that not every runtime keeps."""
        return any(each is not None for each in (self.memory, self.processors, self.processes, self.disk))

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
        for each in fields(cls):
            value: Any = document.get(each.name)
            if value is not None:
                if "Path" in str(each.type):
                    value = Path(value)
                values[each.name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)
