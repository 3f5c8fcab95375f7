"""The measures, in the order in which they are taken."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Measure
from benchmarks.measures import (
    carried,
    containers,
    crowds,
    federated,
    files,
    functions,
    imports,
    inline,
    libraries,
    rounds,
    served,
    start,
    subtasks,
    sums,
    tasks,
    vectors,
)

MEASURES: Sequence[Measure] = (
    start.START,
    sums.SUM,
    imports.IMPORTS,
    libraries.PANDAS,
    served.SERVED,
    containers.CONTAINERS,
    inline.INLINE,
    inline.FLAT,
    functions.FUNCTIONS,
    rounds.ROUNDS,
    rounds.LASTING,
    subtasks.SUBTASKS,
    subtasks.ASKED,
    vectors.VECTORS,
    files.FILE,
    files.ANSWER,
    federated.SUBMIT,
    federated.FANOUT,
    tasks.TASKS,
    carried.CARRIED,
    crowds.IDLE,
    crowds.READS,
)
