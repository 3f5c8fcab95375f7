"""``python -m benchmarks.rounds SITES TIMES``: rounds in this process, through the real engine.

Prints, as JSON, how many seconds each round took.
"""

from __future__ import annotations

import json
import sys

from atoll.testing import federation
from benchmarks.algorithms.counting import rounds

if __name__ == "__main__":
    sites, times = map(int, sys.argv[1:])
    print(json.dumps(federation([None] * sites).run(rounds, times=times)))
