"""What the demo shows: penguins of three islands, and an example of each dialect.

A wheel brings the examples with it; a checkout has them beside the source.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import atoll
from atoll.model.errors import Unusable

#: The islands that the penguins live on, and the demo's three nodes.
ISLANDS = ("Biscoe", "Dream", "Torgersen")
#: The node without data, at which COINSTAC's remote runs.
LAGOON = "Lagoon"
#: The label under which every node offers its rows.
DATABASE = "penguins"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a header, as text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def write(self, path: Path) -> None:
        """Write a CSV file."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.header)
            writer.writerows(self.rows)


def examples() -> Path:
    """The folder of the examples.

    Raises:
        Unusable: there is none.
    """
    package = Path(atoll.__file__).resolve().parent
    for folder in (package / "_examples", package.parents[1] / "examples"):
        if (folder / "functions" / "islands").is_dir():
            return folder
    raise Unusable(f"this installation of Atoll has no examples: expected them in {package / '_examples'}")


def vantage6_tools() -> Path | None:
    """An interpreter with vantage6's tools of generation 4; None where there is none."""
    made = examples().parent / ".environments" / "vantage6-4" / "bin" / "python"
    if made.is_file():
        return made
    installed = find_spec("vantage6") is not None and find_spec("vantage6.algorithm.tools") is not None
    return Path(sys.executable) if installed else None


def penguins(sites: int) -> Mapping[str, Table]:
    """The rows that each node offers: its island's; or dealt in turn, where there are not three nodes.

    Args:
        sites: how many nodes have data.
    """
    folder = examples() / "functions" / "islands"
    tables = {island: _read(folder / f"{island.lower()}.csv") for island in ISLANDS}
    if sites == len(ISLANDS):
        return tables
    header = tables[ISLANDS[0]].header
    rows = [row for table in tables.values() for row in table.rows]
    return {f"site{number + 1}": Table(header, tuple(rows[number::sites])) for number in range(sites)}


def _read(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return Table(tuple(header), tuple(map(tuple, rows)))
