"""What node.yaml says of containers: the engine, where images come from, what they may have."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import TypeVar

from atoll.algorithms.manifest import is_image_name
from atoll.model.errors import SpecInvalid
from atoll.node.secrets import read_secret
from atoll.node.sections import Section
from atoll.runtimes.containers.reference import canonical_host
from atoll.runtimes.containers.settings import ContainerSettings, Registry

#: The runtimes that are an engine's.
ENGINES = ("docker", "podman")
_USER = re.compile(r"([0-9]{1,10}):([0-9]{1,10})\Z")
_HOSTS = "one such as registry.example, or registry.example:5000"
#: A port has no star, nor has an address of version 6.
_PATTERN = re.compile(r"([^*\[\]]*|[^\[\]:]*(:[0-9]+)?|\[[^*]*)\Z")
_Choice = TypeVar("_Choice", bound=Enum)


def read_containers(section: Section, runtime: str) -> ContainerSettings:
    """The settings of containers.

    Args:
        section: where they stand.
        runtime: the node's own, which may name the engine already.
    """
    own = runtime if runtime in ENGINES else "auto"
    engine = section.choice("engine", ("auto", *ENGINES), own)
    if own not in ("auto", engine):
        section.fault("engine", f"is {engine}, and the node's runtime is {own}: leave one of them out")
    default = ContainerSettings()
    socket = section.optional("socket")
    settings = ContainerSettings(
        engine=engine,
        socket=None if socket is None else section.folder / socket.removeprefix("unix://"),
        pull=_choice(section, "pull", default.pull),
        registries=read_registries(section),
        user=_user(section),
        gpus=section.words("gpus"),
        helper_image=_image(section),
        service=_choice(section, "service", default.service),
        keep_days=section.whole("keep_days", default.keep_days, least=0),
        keep_bytes=section.size("keep_bytes", default.keep_bytes),
    )
    section.close()
    return settings


def read_signers(section: Section) -> dict[str, tuple[Path, ...]]:
    """Who must have signed which images: patterns of names, each with files of public keys.

    An empty list is nobody who could sign: such images aren't run.
    """
    signers = {}
    for pattern, files in section.mapping("signers").items():
        named = Section(
            {"keys": files}, f"{section.where}: signers {pattern!r}", section.faults, folder=section.folder
        )
        paths = tuple(section.folder / name for name in named.words("keys"))
        for path in paths:
            if not path.is_file():
                named.fault("keys", f"names {path}, where no file is")
        signers[pattern] = paths
    return signers


def read_sources(section: Section) -> tuple[str, ...]:
    """The registries that are asked for images: hosts, or patterns of them."""
    found = []
    for pattern in section.words("registries"):
        # Whatever a star stands for, what remains must be a host's.
        host = canonical_host(pattern.replace("*", "0a")) if _PATTERN.match(pattern) else None
        if pattern == "*" or (host is not None and "*" in pattern):
            found.append(pattern.lower().removesuffix(":443"))
        elif host is not None:
            found.append(host)
        else:
            section.fault("registries", f"names {pattern!r}: expected {_HOSTS}, or a pattern of such")
    return tuple(found)


def _choice(section: Section, key: str, default: _Choice) -> _Choice:
    kind = type(default)
    return kind(section.choice(key, tuple(one.value for one in kind), default.value))


def read_registries(section: Section) -> dict[str, Registry]:
    """How registries are spoken to, by their hosts."""
    found: dict[str, Registry] = {}
    for host, described in section.mapping("registries").items():
        inner = Section(
            described, f"{section.where}: registry {host!r}", section.faults, folder=section.folder
        )
        username, password_file = inner.text("username", ""), inner.optional("password_file")
        path = None if password_file is None else section.folder / password_file
        registry = Registry(
            username=username,
            password_file=path,
            plain=inner.flag("plain", default=False),
            ca_file=inner.file("ca_file"),
        )
        inner.close()
        known = canonical_host(host)
        if known is None:
            inner.fault("the host", f"is none: expected {_HOSTS}")
        elif known in found:
            inner.fault("the host", f"stands there twice: {known} is the same registry")
        if bool(username) != (path is not None):
            inner.fault("username or password_file", "is missing: expected both, or neither")
        if path is not None:
            try:
                read_secret(path)
            except SpecInvalid as error:
                inner.fault("password_file", f"can't be used: {error}")
        found[known or host] = registry
    return found


def _user(section: Section) -> tuple[int, int] | None:
    text = section.optional("user")
    if text is None:
        return None
    found = _USER.match(text)
    if found is None or "0" in (found[1].lstrip("0") or "0", found[2].lstrip("0") or "0"):
        section.fault(
            "user", 'is no user: expected the numbers of one and of a group, neither of them 0: "1000:1000"'
        )
        return None
    return int(found[1]), int(found[2])


def _image(section: Section) -> str | None:
    name = section.optional("helper_image")
    if name is not None and not is_image_name(name.partition("@")[0]):
        section.fault("helper_image", "is no name of an image: expected one such as python:3.11-slim")
    return name
