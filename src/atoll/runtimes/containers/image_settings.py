"""What a site says about images: where they come from, who must have signed them, how long they stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from atoll.engine.limits import IMAGES_BYTES_MAX, IMAGES_SECONDS_MAX


class Pull(Enum):
    """When a registry is asked for an image."""

    #: Each time, even if it is here: what its registry doesn't give any more isn't run any more.
    ALWAYS = "always"
    #: Where it isn't here.
    MISSING = "missing"
    #: Never: only what is here is run.
    NEVER = "never"


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
class Signer:
    """Who must have signed some images."""

    #: Which images: a pattern of names without tags, such as ``registry.example/trusted/*``.
    pattern: str
    #: Files with public keys (PEM; Ed25519 or ECDSA P-256), one of which must fit. None: nobody can sign them.
    keys: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """What a site says about images."""

    pull: Pull = Pull.MISSING
    #: Patterns of the registries' hosts that images are pulled from; empty for any.
    hosts: tuple[str, ...] = ()
    #: By the registry's host, with its port where it has one, as in an image's name.
    registries: Mapping[str, Registry] = field(default_factory=dict)
    #: The first whose pattern fits an image counts. An image that none fits needs no signature.
    signers: tuple[Signer, ...] = ()
    #: A folder with signatures that the site was given as files; None for none.
    signatures: Path | None = None
    #: The proxy on the way to registries, where Atoll itself asks; None: what the environment says.
    proxy: str | None = None
    #: Days that an image stays which nobody uses; None for ever.
    keep_days: float | None = IMAGES_SECONDS_MAX / 86_400
    #: Bytes that images may take, all those together that Atoll has pulled; None: what the disk holds.
    keep_bytes: int | None = IMAGES_BYTES_MAX
