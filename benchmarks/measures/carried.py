"""A large file through a real hub: how long it takes, and what it leaves in memory."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import computations
from benchmarks.federation import floors
from benchmarks.federation.stage import Federation, federation
from benchmarks.figures import Figure, Measure
from benchmarks.workshop import Workshop

_MEBIBYTE = 1024 * 1024
#: The site says how long it took to write: that is no part of what is measured.
_LOCAL = """\
import time
started = time.monotonic()
block, left = os.urandom({mebibyte}), {size_bytes}
with open(os.path.join(state["transferDirectory"], "large"), "wb") as file:
    while left > 0:
        left -= file.write(block[:left])
answer["output"]["seconds"] = time.monotonic() - started
"""
_REMOTE = """\
(site, said), = doc["input"].items()
size_bytes = os.path.getsize(os.path.join(state["baseDirectory"], site, "large"))
answer = {"output": {"size_bytes": size_bytes, "seconds": said["seconds"]}, "success": True}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Carried:
    #: Without the algorithm's own writing.
    seconds: float
    #: The most that any of hub, site and aggregator has grown by.
    grown_bytes: int


def take(workshop: Workshop) -> Sequence[Figure]:
    size_bytes = (256 if workshop.quick else 2048) * _MEBIBYTE
    source = workshop.folder / "source"
    with source.open("wb") as file:
        block = os.urandom(_MEBIBYTE)
        for _ in range(size_bytes // _MEBIBYTE):
            file.write(block)
    # The first to write that much pays for the disk's waking up.
    floors.hop(workshop.folder, source, digested=False)
    plain = floors.hop(workshop.folder, source, digested=False)
    digested = floors.hop(workshop.folder, source, digested=True)
    source.unlink()
    with federation(workshop.folder, sites=1) as here:
        small = workshop.repeat(lambda: _carry(here, workshop.folder, 1_000), times=5, quick=3)
        large = workshop.repeat(lambda: _carry(here, workshop.folder, size_bytes), times=2, quick=2)
    base = statistics.median(run.seconds for run in small)
    seconds = [run.seconds - base for run in large]
    what = f"{size_bytes // _MEBIBYTE:,} MiB from a site to the aggregator"
    return [
        Figure(what=what, unit="s", values=seconds, floor=digested),
        Figure(
            what="its share of a plain copy's speed",
            unit="%",
            values=[100 * plain.value / each for each in seconds],
            target=60.0,
            is_least=True,
        ),
        Figure(
            what="its share of a copy's speed, sha256 at both ends",
            unit="%",
            values=[100 * digested.value / each for each in seconds],
        ),
        Figure(
            what="growth of the hub's or a node's memory",
            unit="MiB",
            values=[large[0].grown_bytes / _MEBIBYTE],
            target=64.0,
        ),
    ]


def _carry(here: Federation, folder: Path, size_bytes: int) -> _Carried:
    computation = computations.scripts(
        folder / f"carried-{size_bytes}",
        local=computations.script(_LOCAL.format(size_bytes=size_bytes, mebibyte=_MEBIBYTE)),
        remote=computations.script(_REMOTE),
    )
    processes = [here.hub, *here.nodes.values()]
    before = [process.peak_bytes for process in processes]
    started = time.monotonic()
    found = here.run(computation).result
    seconds = time.monotonic() - started - found["seconds"]
    assert found["size_bytes"] == size_bytes
    grown = [process.peak_bytes - peak for process, peak in zip(processes, before, strict=True)]
    return _Carried(seconds=seconds, grown_bytes=max(grown))


CARRIED = Measure(
    name="files",
    about=(
        "A site's script writes a file, and the aggregator's finds it, at nodes of their own: without the writing, and "
        "without what a file of 1 kB takes. A plain process that keeps the file and gives it out again is the floor; "
        "Atoll takes a sha256 at the site, at the hub and at the aggregator."
    ),
    take=take,
)
