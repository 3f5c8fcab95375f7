"""The measures, in the order in which they are taken."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Measure
from benchmarks.measures import files, imports, inline, libraries, served, start, sums

MEASURES: Sequence[Measure] = (
    start.START,
    sums.SUM,
    imports.IMPORTS,
    libraries.PANDAS,
    served.SERVED,
    inline.INLINE,
    inline.FLAT,
    files.FILE,
    files.ANSWER,
)
