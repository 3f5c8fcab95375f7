"""Whether an image is started as it says itself, where a site has looked at the image and at nothing else.

What travels with an image says how it is started, and whoever submits it writes that. A command makes any
image with a shell do anything; a module's name leads to any module in it. So a rule that names an image
means what the image itself starts: as its label says, the compspec.json in it, or its own command. Who
wants more has the algorithm itself listed, by its digest: that covers all of it.
"""

from __future__ import annotations

from atoll.algorithms.manifest import Manifest
from atoll.dialects.vantage6.wrapping import WRAPPER
from atoll.model.errors import JobRefused
from atoll.model.work import Algorithm, Role


def chooses(asked: Manifest, role: Role) -> bool:
    """Whether a manifest says how its image is started, in a role, or leaves that to the image."""
    return bool(_command(asked, role) or asked.target)


def check(algorithm: Algorithm, asked: Manifest, role: Role, told: Manifest | None) -> None:
    """See that a manifest has its image started as that says itself.

    Args:
        algorithm: as a ticket names it.
        asked: what its bundle says.
        role: what it is to be here.
        told: what the image says; None: nothing.

    Raises:
        JobRefused: it has it started in another way.
    """
    if not chooses(asked, role):
        return
    image = (asked.aggregator_image if role is Role.AGGREGATOR else None) or asked.image
    assert image is not None
    command = _command(asked, role)
    # The wrapper of vantage6 starts what the image's own package says.
    is_usual = not command or (asked.dialect == "vantage6" and command == WRAPPER)
    if (
        told is None
        or told.dialect != asked.dialect
        or not (is_usual or command == _command(told, role))
        or asked.target not in ("", told.target)
    ):
        raise JobRefused(
            f"the image {image.name} ({image.digest}) is one that this site allows, and {algorithm.name!r} has it "
            "start something that the image doesn't name itself, in its label org.atoll.manifest or its "
            "compspec.json. Build it with atoll image build, or ask the site's people to list the algorithm by its "
            f"own digest: {algorithm.digest}"
        )


def _command(manifest: Manifest, role: Role) -> tuple[str, ...]:
    """What is started in a role. A central function is an aggregator, too, and is started as all of them are."""
    combines = role is Role.AGGREGATOR and manifest.dialect == "coinstac"
    return manifest.aggregator_command if combines else manifest.command
