"""Looks at the engine that runs images: whether it answers, whose it is, what it can bound, what room it has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from atoll.model.errors import RuntimeUnavailable
from atoll.node import guarded
from atoll.node.choosing import why_not
from atoll.node.doctor.findings import Finding, doubt, fault, fine
from atoll.node.settings import NodeSettings

#: Bytes that images should find free. A scientific system has some gigabytes.
_COMFORT = 10 * 1024**3
#: What an engine must be able to bound, as it calls it, and as people do.
_BOUNDS = {"MemoryLimit": "memory", "PidsLimit": "processes", "CpuCfsQuota": "processors"}


async def containers(settings: NodeSettings) -> AsyncIterator[Finding]:
    """Whether images can be run as the settings say. Where no engine is found, the runtime's finding says so."""
    if settings.containers is None or why_not(settings) is not None:
        return
    # Late: they need an extra, and most nodes run no images.
    import aiohttp
    from aiodocker.exceptions import DockerError

    from atoll.runtimes.containers.engine import Engine, find_socket  # Late, as said above.

    engine = Engine(find_socket(settings.containers))
    try:
        client = await engine.open()
        told = await client.system.info()
        helper = settings.containers.helper_image
        missing = helper is not None and await engine.facts(helper) is None
    except RuntimeUnavailable as error:
        yield fault("containers", *_halves(str(error)))
        return
    except (DockerError, aiohttp.ClientError, OSError, TimeoutError) as error:
        yield fault(
            "containers", f"the engine doesn't say how it is ({type(error).__name__})", "look whether it runs"
        )
        return
    finally:
        await engine.close()
    name = "Podman" if engine.is_podman else "Docker"
    yield fine("containers", f"{name} {told.get('ServerVersion', '')}, at {engine.socket}")
    for finding in (*_looked_at(told), *_room(told)):
        yield finding
    if missing:
        yield doubt(
            "helper image", f"{helper} is not on this machine", f"fetch it: {name.lower()} pull {helper}"
        )


def _looked_at(told: Mapping[str, Any]) -> Iterator[Finding]:
    """What an engine says of its own powers."""
    rootless = bool(told.get("Rootless")) or any(
        "rootless" in str(one) for one in told.get("SecurityOptions") or []
    )
    if rootless:
        yield fine("engine", "it runs without root")
    else:
        yield doubt(
            "engine",
            "it runs as root: whoever may use its socket, this node too, can become root on this machine",
            "use rootless Podman or Docker, or give the node a machine of its own",
        )
    unbounded = [words for key, words in _BOUNDS.items() if told.get(key) is False]
    if unbounded:
        yield doubt(
            "bounds",
            f"this engine can't bound {', '.join(unbounded)}",
            "let it use control groups: on a machine with systemd, delegate them to the engine's user",
        )
    if not any("seccomp" in str(one) for one in told.get("SecurityOptions") or []):
        yield doubt("seccomp", "the engine filters no system calls", "use one that was built with seccomp")


def _room(told: Mapping[str, Any]) -> Iterator[Finding]:
    """The disk on which images are kept."""
    root = Path(str(told.get("DockerRootDir") or "/nowhere"))
    try:
        free = guarded.free_bytes(root)
    except OSError:
        return  # An engine on another machine, or in another root.
    shown = f"{free / 1024**3:.1f} GiB are free in {root}"
    if free < _COMFORT:
        yield doubt("image store", shown, "make room there: images take gigabytes. Set containers.keep_bytes")
    else:
        yield fine("image store", shown)


def _halves(sentence: str) -> tuple[str, str]:
    words, _, remedy = sentence.partition(". ")
    return words, remedy or "look whether it runs"
