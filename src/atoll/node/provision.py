"""What a site brings to one step of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atoll.node.network.reach import Reach
from atoll.node.offer import Offer
from atoll.node.site_data import SiteData


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """What an algorithm gets at a site, beside what is sent to it."""

    #: Databases and variables.
    offer: Offer = field(default_factory=Offer)
    #: The files that the site brings.
    data: SiteData | None = None
    #: What the site gives to a computation's inputs; None where it has mapped nothing to it.
    inputs: Mapping[str, Any] | None = None
    #: What it reaches beside its door, where a sandbox keeps it from all else.
    reach: Reach = field(default_factory=Reach)
