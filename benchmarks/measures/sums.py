"""The guide's first example, from nothing to a result."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import floors
from benchmarks.command import ROOT
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Simulated, Workshop, cpu_of, seconds_of

_EXAMPLE = ROOT / "examples" / "coinstac" / "sum"
#: Five iterations: two sites and the aggregator are called in each.
_CALLS = 15


def take(workshop: Workshop) -> Sequence[Figure]:
    plain = floors.plain_python()
    floor = Floor(what=f"{_CALLS} × {plain.what}", value=_CALLS * plain.value)

    def figure(runtime: str, *, warm: bool = True) -> Figure:
        def work() -> Simulated:
            return workshop.simulate(_EXAMPLE, "-c", 2, "--runtime", runtime, warm=warm)

        runs = workshop.repeat(work, times=11, quick=3)
        warmed = f"sum, 2 sites, {runtime}"
        return Figure(
            what=warmed if warm else f"{warmed}, started anew",
            unit="s",
            values=seconds_of(runs),
            target=1.0 if runtime == "bubblewrap" and warm else None,
            floor=floor,
            cpu_seconds=cpu_of(runs),
            cold_of=None if warm else warmed,
        )

    return [figure("bubblewrap"), figure("process"), figure("bubblewrap", warm=False)]


SUM = Measure(
    name="sum",
    about="`atoll simulate examples/coinstac/sum -c 2`, the whole command, with nothing running before.",
    take=take,
)
