"""The ``atoll`` command without warm parents: every call starts its own interpreter.

The command has no option for that, since nobody wants it but to see what warm parents buy.
"""

from __future__ import annotations

from functools import partial

from atoll.cli import main
from atoll.runtimes.bubblewrap import BubblewrapRuntime
from atoll.runtimes.process import ProcessRuntime
from atoll.simulator import choice

if __name__ == "__main__":
    vars(choice).update(
        BubblewrapRuntime=partial(BubblewrapRuntime, warm=False),
        ProcessRuntime=partial(ProcessRuntime, warm=False),
    )
    main.run()
