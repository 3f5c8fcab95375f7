"""What a node or a simulation says of the containers that it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class Pull(Enum):
    """When a registry is asked for an image."""

    #: Each time, even if it is here: what its registry doesn't give any more isn't run any more.
    ALWAYS = "always"
    #: Where it isn't here.
    MISSING = "missing"
    #: Never: only what is here is run.
    NEVER = "never"


class Service(Enum):
    """How a computation of COINSTAC in an image is spoken to."""

    #: Its scripts are started by Atoll's own program in the image, where the image has a Python for
    #: that; else by the image's service; else by the engine.
    AUTO = "auto"
    #: By the service on port 8881 that the image starts.
    WEBSOCKET = "websocket"
    #: By the engine, anew for each call.
    EXEC = "exec"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """How a site speaks to a registry."""

    #: Who asks; empty for nobody.
    username: str = ""
    #: A file that holds the password, and that only its owner can read. It is read each time: one that
    #: is changed counts from then on.
    password_file: Path | None = None
    #: Whether it is spoken to without encryption, where Atoll itself asks. What the engine does is said to the engine.
    plain: bool = False
    #: The certificates of the authorities that its own is checked with, where Atoll itself asks; None: the system's.
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """How images are run here."""

    #: ``auto``, ``docker`` or ``podman``: whose socket is looked for.
    engine: str = "auto"
    #: The engine's socket; None for where it usually lies.
    socket: Path | None = None
    pull: Pull = Pull.MISSING
    #: By the registry's host, with its port.
    registries: Mapping[str, Registry] = field(default_factory=dict)
    #: The user and group that algorithms have. None: this process's own, or `NOBODY` where that is root.
    user: tuple[int, int] | None = None
    #: Which of the machine's graphics processors algorithms get: ``all``, or their numbers or ids.
    gpus: tuple[str, ...] = ()
    #: Of an image with Python 3.8 or later, for what an image without Python needs beside it.
    helper_image: str | None = None
    service: Service = Service.AUTO
    #: Days that an image which was fetched is kept after its last use, and bytes that all of them may take.
    keep_days: int = 30
    keep_bytes: int | None = None


#: The user and group of algorithms where their node is root: nobody's, on every machine.
NOBODY = (65532, 65532)
