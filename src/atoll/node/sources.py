"""Which registries a node asks for images: those that its settings name, and others in the world alone."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.engine.running import ImageKind
from atoll.node.settings import NodeSettings
from atoll.runtimes.containers.reference import canonical_host
from atoll.runtimes.containers.sources import Sources


def sources(settings: NodeSettings) -> Sources:
    """The registries that a node asks."""
    policies = settings.policies
    named = set(settings.containers.registries if settings.containers is not None else ())
    images = (each.image for each in settings.environments)
    for_code = (each.name for each in images if each is not None and each.kind is ImageKind.OCI)
    named.update(settings.kubernetes.registries)
    named.update(_hosts((*policies.algorithms, *policies.signers, *for_code)))
    return Sources(policies.registries or ("*",), named)


def _hosts(patterns: tuple[str, ...]) -> Iterator[str]:
    """The hosts that patterns of images' names name whole."""
    for pattern in patterns:
        first, stroke, _ = pattern.partition("/")
        host = canonical_host(first) if stroke and ("." in first or ":" in first) else None
        if host is not None:
            yield host
