"""How Atoll's own runtimes are made for the checks, where nothing has to be said of them."""

from __future__ import annotations

from atoll.engine.running import Runtime
from atoll.runtimes.bubblewrap import BubblewrapRuntime
from atoll.runtimes.outside import Factory, RuntimeContext
from atoll.runtimes.process import ProcessRuntime


def process(context: RuntimeContext) -> Runtime:
    """Processes of this machine."""
    return ProcessRuntime(python=context.python, warm=_warm(context))


def bubblewrap(context: RuntimeContext) -> Runtime:
    """Sandboxes made by bubblewrap."""
    return BubblewrapRuntime(python=context.python, roots=context.roots, warm=_warm(context))


def _warm(context: RuntimeContext) -> bool:
    return bool(context.options.get("warm", True))


#: By the word that asks for them.
OWN: dict[str, Factory] = {"process": process, "bubblewrap": bubblewrap}
