"""What a desk remembers of one call after another, kept in files so that a node's restart costs nothing.

It is written after each call, before the call is reported. So a job that comes again, because its
node ended between the two, would find what it had left itself: the state before the last call is
kept, too, and a job that comes again begins with that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from atoll.model.work import JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A desk's memory as it was after a job."""

    job_id: JobId
    step: int
    cache: Mapping[str, bytes] = field(default_factory=dict)
    outputs: Mapping[int, bytes] = field(default_factory=dict)


class Memory:
    """Two files in a desk's folder: its memory after its last job, and after the one before."""

    def __init__(self, folder: Path) -> None:
        self._last = folder / "memory"
        self._earlier = folder / "memory.earlier"
        self._folder = folder
        #: The job of the last file, once it is known.
        self._job_id: JobId | None = None

    def keep(self, kept: Kept) -> None:
        """Keep what a desk remembers after a job, before the job is reported."""
        document = {
            "job": kept.job_id,
            "step": kept.step,
            "cache": {key: value.decode("latin-1") for key, value in kept.cache.items()},
            "outputs": {str(step): value.decode("latin-1") for step, value in kept.outputs.items()},
        }
        content = json.dumps(document).encode()
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = self._folder / "memory.new"
        aside.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        if (last := self._last_job()) is not None and last != kept.job_id:
            # Else this is another try of the same job, and what was before it stays.
            self._last.replace(self._earlier)
        self._job_id = kept.job_id
        aside.replace(self._last)

    def recall(self, job_id: JobId) -> Kept | None:
        """What the desk remembered when this job was begun for the first time; None if nothing."""
        last = _read(self._last)
        if last is not None and last.job_id != job_id:
            return last
        earlier = _read(self._earlier)
        return None if earlier is None or earlier.job_id == job_id else earlier

    def _last_job(self) -> JobId | None:
        if self._job_id is None and (last := _read(self._last)) is not None:
            self._job_id = last.job_id
        return self._job_id

    def forget(self) -> None:
        """Remove the files."""
        for path in (self._last, self._earlier, self._folder / "memory.new"):
            path.unlink(missing_ok=True)


def _read(path: Path) -> Kept | None:
    """A file of a memory; None where there is none, or the machine went down while it was written."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if digest.decode("latin-1") != hashlib.sha256(content).hexdigest():
        return None
    document = json.loads(content)
    return Kept(
        job_id=JobId(document["job"]),
        step=document["step"],
        cache={key: value.encode("latin-1") for key, value in document["cache"].items()},
        outputs={int(step): value.encode("latin-1") for step, value in document["outputs"].items()},
    )
