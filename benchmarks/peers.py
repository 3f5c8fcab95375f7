"""The same work in vantage6's own mocks, beside which Atoll is measured in the same run.

They call function after function in one process, without an engine, isolation or messages. Each
generation has an environment of its own, which `make environments` makes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from benchmarks.command import ROOT, Cost, python

_ENVIRONMENTS = ROOT / ".environments"
#: The Python that vantage6's fourth generation is installed for.
GENERATION_4 = _ENVIRONMENTS / "vantage6-4" / "bin" / "python"
#: What both generations' functions do; `benchmarks/algorithms/counting.py` does the same.
_MODULE = """
import time
{imports}

{partial}
def count(number):
    return {{"sum": number, "count": 1}}

{central}
def rounds(client, sites, times):
    took = []
    for number in range(times):
        started = time.perf_counter()
        task = client.task.create({call}, organizations=sites)
        parts = client.wait_for_results(task["id"])
        mean = sum(part["sum"] for part in parts) / sum(part["count"] for part in parts)
        took.append(time.perf_counter() - started)
        assert (mean, len(parts)) == (number, len(sites))
    return took
"""
_RUN_4 = """
import contextlib, json, sys
from vantage6.algorithm.tools.mock_client import MockAlgorithmClient
import pandas, counting
sites, times = map(int, sys.argv[1:])
with contextlib.redirect_stdout(sys.stderr):
    client = MockAlgorithmClient([[{"database": pandas.DataFrame()}]] * sites, "counting")
    took = counting.rounds(mock_client=client, sites=list(range(sites)), times=times)
print(json.dumps(took))
"""
_RUN_5 = """
import contextlib, json, sys
from vantage6.algorithm.mock.network import MockNetwork
sites, times = map(int, sys.argv[1:])
with contextlib.redirect_stdout(sys.stderr):
    network = MockNetwork("counting", [{}] * sites)
    client = network.user_client
    arguments = {"sites": list(range(1, sites + 1)), "times": times}
    task = client.task.create([1], "rounds", arguments=arguments)
    (took,) = client.wait_for_results(task["id"])
print(json.dumps(took))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mocked:
    """Rounds in a mock."""

    cost: Cost
    #: The seconds of each round.
    seconds: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mock:
    """One generation's mock."""

    name: str
    #: The Python of its environment.
    interpreter: Path
    module: str
    run: str
    #: Rounds that are enough, by number of sites. The elder one copies all that was ever returned
    #: for every call: it takes longer with each, and two minutes for one round of a thousand sites.
    times: Mapping[int, int]

    def rounds(self, folder: Path, *, sites: int, times: int) -> Mocked:
        """Run rounds of sums and counts, as a command of its own."""
        home = folder / self.name.replace(" ", "-")
        home.mkdir(exist_ok=True)
        (home / "counting.py").write_text(self.module)
        (home / "run.py").write_text(self.run)
        cost = python(home / "run.py", sites, times, interpreter=self.interpreter)
        return Mocked(cost=cost, seconds=json.loads(cost.printed))


def found() -> Sequence[Mock]:
    """The mocks whose environments were made; which ones weren't is said."""
    for mock in _MOCKS:
        if not mock.interpreter.exists():
            print(f"  {mock.name} is left out: run make environments", file=sys.stderr, flush=True)
    return [mock for mock in _MOCKS if mock.interpreter.exists()]


_MOCKS: Sequence[Mock] = (
    Mock(
        name="the mock of vantage6 5",
        interpreter=_ENVIRONMENTS / "vantage6-5" / "bin" / "python",
        module=_MODULE.format(
            imports=dedent("""
                from vantage6.algorithm.decorator.action import central, federated
                from vantage6.algorithm.decorator.algorithm_client import algorithm_client
            """).strip(),
            partial="@federated",
            central="@central\n@algorithm_client",
            call='method="count", arguments={"number": number}',
        ),
        run=_RUN_5,
        times={10: 100, 100: 20, 1000: 5},
    ),
    Mock(
        name="the mock of vantage6 4",
        interpreter=GENERATION_4,
        module=_MODULE.format(
            imports="from vantage6.algorithm.tools.decorators import algorithm_client",
            partial="",
            central="@algorithm_client",
            call='{"method": "count", "kwargs": {"number": number}}',
        ),
        run=_RUN_4,
        times={10: 5, 100: 2},
    ),
)
