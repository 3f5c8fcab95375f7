"""Large files and large answers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks import computations, floors
from benchmarks.figures import Figure, Measure
from benchmarks.workshop import Simulated, Workshop, cpu_of, seconds_of

_FILE_BYTES = 1_000_000_000
_ANSWER_BYTES = 300_000_000
#: Writes in pieces, of bytes that no file system leaves out.
_LOCAL = """\
block, left = os.urandom(1_000_000), {size_bytes}
with open(os.path.join(state["transferDirectory"], "large"), "wb") as file:
    while left > 0:
        left -= file.write(block[:left])
"""
_REMOTE = """\
size_bytes = os.path.getsize(os.path.join(state["baseDirectory"], "local0", "large"))
answer = {"output": {"size_bytes": size_bytes}, "success": True}
"""
_ANSWER = """\
answer["output"]["text"] = "x" * {size_bytes}
"""
_COUNT = """\
answer = {"output": {"length": len(doc["input"]["local0"]["text"])}, "success": True}
"""


def take_file(workshop: Workshop) -> Sequence[Figure]:
    large = workshop.repeat(lambda: _file(workshop, _FILE_BYTES), times=3, quick=1)
    small = workshop.repeat(lambda: _file(workshop, 1_000), times=3, quick=1)
    base = statistics.median(run.cost.peak_bytes for run in small)
    return [
        Figure(
            what="memory that 1 GB adds to 1 kB",
            unit="MB",
            values=[(run.cost.peak_bytes - base) / 1e6 for run in large],
            target=64.0,
        ),
        Figure(
            what="1 GB from a site to the aggregator",
            unit="s",
            values=seconds_of(large),
            floor=floors.copy_and_digest(workshop.folder, _FILE_BYTES),
            cpu_seconds=cpu_of(large),
        ),
        Figure(
            what="1 kB from a site to the aggregator",
            unit="s",
            values=seconds_of(small),
            cpu_seconds=cpu_of(small),
        ),
    ]


def take_answer(workshop: Workshop) -> Sequence[Figure]:
    computation = computations.scripts(
        workshop.folder / "answer",
        local=computations.script(_ANSWER.format(size_bytes=_ANSWER_BYTES)),
        remote=computations.script(_COUNT),
    )
    runs = workshop.repeat(
        lambda: workshop.simulate(computation, "-c", 1, "--runtime", "bubblewrap"), times=3, quick=1
    )
    return [
        Figure(what="300 MB of JSON", unit="s", values=seconds_of(runs), cpu_seconds=cpu_of(runs)),
        Figure(
            what="peak memory of Atoll",
            unit="MB",
            values=[run.cost.peak_bytes / 1e6 for run in runs],
        ),
    ]


def _file(workshop: Workshop, size_bytes: int) -> Simulated:
    computation = computations.scripts(
        workshop.folder / f"file-{size_bytes}",
        local=computations.script(_LOCAL.format(size_bytes=size_bytes)),
        remote=computations.script(_REMOTE),
    )
    return workshop.simulate(computation, "-c", 1, "--runtime", "bubblewrap")


FILE = Measure(
    name="file",
    about="A site writes a file, the aggregator finds it: how much more memory Atoll's process needs for a large one.",
    take=take_file,
)
ANSWER = Measure(
    name="answer",
    about="A site answers with 300 MB of JSON, one text, and the aggregator reads it.",
    take=take_answer,
)
