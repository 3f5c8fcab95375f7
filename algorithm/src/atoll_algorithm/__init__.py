"""Write an analysis that runs where the data lives: plain functions, no dependencies.

::

    from atoll_algorithm import central, partial, Table, Sites


    @partial
    def moments(data: Table, column: str) -> dict:
        values = data[column].dropna()
        return {"n": len(values), "sum": float(values.sum())}


    @central
    def mean(sites: Sites, column: str) -> float:
        parts = sites.call(moments, column=column)
        return sum(p["sum"] for p in parts) / sum(p["n"] for p in parts)
"""

from atoll_algorithm._calls import log, progress
from atoll_algorithm._iterative import Done
from atoll_algorithm._marks import all_reduce, central, local, partial, remote
from atoll_algorithm._sites import Failure, Parts, Sites
from atoll_algorithm._tables import Table, database
from atoll_algorithm.errors import (
    AlgorithmError,
    ArgumentsInvalid,
    BodyInvalid,
    CantTravel,
    DatabaseUnusable,
    Misdeclared,
    NotConverged,
    NotServed,
    OutOfStep,
    Refused,
    SiteFailed,
    Stop,
    TooFewSites,
)

__version__ = "0.1.0"

__all__ = [
    "AlgorithmError",
    "ArgumentsInvalid",
    "BodyInvalid",
    "CantTravel",
    "DatabaseUnusable",
    "Done",
    "Failure",
    "Misdeclared",
    "NotConverged",
    "NotServed",
    "OutOfStep",
    "Parts",
    "Refused",
    "SiteFailed",
    "Sites",
    "Stop",
    "Table",
    "TooFewSites",
    "all_reduce",
    "central",
    "database",
    "local",
    "log",
    "partial",
    "progress",
    "remote",
]
