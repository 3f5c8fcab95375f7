"""An algorithm where it runs: its code, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atoll.engine.peers import Port
from atoll.engine.ports import Convention
from atoll.engine.running import Image
from atoll.model.work import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An algorithm that is at hand at this node."""

    convention: Convention
    #: None where it is in the image.
    code: Path | None
    #: See `Launch`.
    image: Image | None = None
    #: COINSTAC: the aggregator's, where it has another.
    aggregator_image: Image | None = None
    #: What its code runs in at this node, where its people have chosen an image for that. The algorithm
    #: knows nothing of it.
    environment: Image | None = None
    #: Parts of `code` that the algorithm must not see, relative to it.
    masked: tuple[str, ...] = ()
    #: See `Launch`.
    code_name: str | None = None
    modules: tuple[Path, ...] = ()
    libraries: tuple[str, ...] = ()
    speaks_http: bool = False
    #: Whether what calls print is for their log, since they answer in a file.
    prints: bool = False
    #: At which it says that it listens for others of its run; and, where it says nothing, may listen.
    ports: tuple[Port, ...] = ()
    ports_assumed: tuple[Port, ...] = ()
    #: Whether its processes start with what the site sets for algorithms. Else the convention sees to it.
    inherits: bool = False

    def image_for(self, role: Role) -> Image | None:
        """What it runs in where a seat has this role."""
        own = (self.aggregator_image if role is Role.AGGREGATOR else None) or self.image
        return own or self.environment
