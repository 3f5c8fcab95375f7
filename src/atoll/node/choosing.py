"""Which runtime a node runs algorithms with: the one that its settings name, and never one with less isolation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atoll.engine.running import Runtime
from atoll.model.errors import RuntimeUnavailable
from atoll.node.settings import ISOLATED, NodeSettings


def why_not(settings: NodeSettings) -> str | None:
    """Why the runtime that the settings name can't be used here, with the remedy; None where it can."""
    if settings.runtime not in ISOLATED and not settings.allow_unsandboxed:
        return (
            f"runtime {settings.runtime} keeps an algorithm from nothing on this machine. Say 'runtime: bubblewrap', "
            "or 'allow_unsandboxed: true' beside it"
        )
    if settings.runtime == "bubblewrap":
        # Imported here and below: a node loads the one runtime that it uses.
        from atoll.runtimes.bubblewrap import probe

        reason = probe()
        if reason is not None:
            return (
                f"{reason}. Install bubblewrap (apt install bubblewrap), and let users make namespaces "
                "(sysctl kernel.unprivileged_userns_clone=1; on Ubuntu also "
                "kernel.apparmor_restrict_unprivileged_userns=0). A node doesn't run algorithms with less isolation "
                "than its settings name"
            )
    return None


class Runtimes:
    """One runtime for each interpreter, made when it is first needed.

    Args:
        settings: name the kind.
        roots: folders under which all that algorithms are shown lies.
    """

    def __init__(self, settings: NodeSettings, roots: Sequence[Path]) -> None:
        self._settings = settings
        self._roots = roots
        self._made: dict[Path | None, Runtime] = {}

    def of(self, python: Path | None) -> Runtime:
        """The runtime with this interpreter; None for Atoll's own.

        Raises:
            RuntimeUnavailable: it doesn't work here, or can't use another interpreter.
        """
        if python not in self._made:
            self._made[python] = self._make(python)
        return self._made[python]

    async def close(self) -> None:
        """End what outlives sessions."""
        while self._made:
            _, runtime = self._made.popitem()
            await runtime.close()

    def _make(self, python: Path | None) -> Runtime:
        reason = why_not(self._settings)
        if reason is not None:
            raise RuntimeUnavailable(reason)
        if self._settings.runtime == "bubblewrap":
            from atoll.runtimes.bubblewrap import BubblewrapRuntime  # Late, as said above.

            return BubblewrapRuntime(python=python, roots=self._roots)
        if self._settings.runtime == "process":
            from atoll.runtimes.process import ProcessRuntime  # Late, as said above.

            return ProcessRuntime(python=python)
        if python is not None:
            raise RuntimeUnavailable(
                "runtime inline calls functions in the node's own process, and can't use another environment"
            )
        from atoll.runtimes.inline import InlineRuntime  # Late, as said above.

        return InlineRuntime()
