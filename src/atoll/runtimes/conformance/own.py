"""How Atoll's own runtimes are made for the checks, where nothing has to be said of them."""

from __future__ import annotations

from pathlib import Path

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


def docker(context: RuntimeContext) -> Runtime:
    """Containers of Docker. Options: ``socket``, where it isn't the usual one."""
    return _containers("docker", context)


def podman(context: RuntimeContext) -> Runtime:
    """Containers of Podman. Options: ``socket``, where it isn't the usual one."""
    return _containers("podman", context)


def _containers(engine: str, context: RuntimeContext) -> Runtime:
    # Imported here: the client of container engines comes with the extra "node".
    from atoll.runtimes.containers.docker import DockerRuntime
    from atoll.runtimes.containers.settings import ContainerSettings

    socket = context.options.get("socket")
    settings = ContainerSettings(engine=engine, socket=None if socket is None else Path(socket))
    return DockerRuntime(settings, owner=context.owner)


#: By the word that asks for them.
OWN: dict[str, Factory] = {
    "process": process,
    "bubblewrap": bubblewrap,
    "docker": docker,
    "podman": podman,
}
