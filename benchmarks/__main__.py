"""``python -m benchmarks``: measure Atoll on this machine, and write ``benchmarks/RESULTS.md``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, results
from benchmarks.command import ROOT, CommandFailed, adopt
from benchmarks.figures import Figure, Measure
from benchmarks.measures import MEASURES
from benchmarks.workshop import Workshop


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [measure.name for measure in MEASURES]
    parser.add_argument("--only", action="append", choices=names, help="take this measure; may be repeated")
    parser.add_argument("--quick", action="store_true", help="run everything fewer times")
    parser.add_argument("--no-write", action="store_true", help="print the page, write no file")
    return parser.parse_args()


def _take(measures: Sequence[Measure], *, quick: bool) -> tuple[dict[Measure, Sequence[Figure]], bool]:
    """Take the measures; whether all of them could be taken."""
    taken: dict[Measure, Sequence[Figure]] = {}
    whole = True
    for measure in measures:
        print(measure.name, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="atoll-benchmarks-") as folder:
            try:
                taken[measure] = measure.take(Workshop(folder=Path(folder), quick=quick))
            except CommandFailed as error:
                whole = False
                print(f"  {error}", file=sys.stderr, flush=True)
                continue
        for figure in taken[measure]:
            print(results.line(figure), file=sys.stderr, flush=True)
    return taken, whole


def main() -> int:
    asked = _asked()
    adopt()
    described = machine.describe()
    before = machine.watch()
    if before > machine.QUIET_SHARE:
        share = f"{100 * before:.0f} % of its processors"
        print(f"This machine is busy: others take {share}. Times will be too long.", file=sys.stderr)
    since = machine.used()
    wanted = [measure for measure in MEASURES if not asked.only or measure.name in asked.only]
    taken, whole = _take(wanted, quick=asked.quick)
    during = machine.share_of_others(since)
    page = results.write(described, taken, before=before, during=during, quick=asked.quick)
    if asked.no_write:
        print(page)
    elif whole and not asked.only:
        (ROOT / "benchmarks" / "RESULTS.md").write_text(page)
    else:
        print(page)
        print("RESULTS.md is left as it is: it holds whole suites only.", file=sys.stderr)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
