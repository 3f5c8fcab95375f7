"""How a hub is set up: flags come before the environment, and that before ``hub.yaml``.

All of it is read and checked before anything starts. A word that isn't known is an error: a setting
that was misspelt would else be one that was never made.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from atoll.model.errors import SpecInvalid

#: What the names of the environment's variables begin with.
PREFIX = "ATOLL_HUB_"
#: Variables of the environment that are no settings: where the settings are.
_NO_SETTINGS = ("config",)
#: What ends the name of a variable that names a file with the value.
_FILE = "_FILE"
_YES = {
    "true": True,
    "yes": True,
    "1": True,
    "on": True,
    "false": False,
    "no": False,
    "0": False,
    "off": False,
}
#: Whether streams between sites are passed on.
_STREAMS = ("auto", "on", "off")
_LEVELS = ("debug", "info", "warning", "error")


def _told(unit: str, text: str) -> dict[str, str]:
    """What is told of a setting: its unit, or its kind, and a line of help."""
    return {"unit": unit, "help": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """All settings of a hub. Each field says what it is; ``docs/reference/hub-settings.md`` lists them."""

    folder: Path = field(
        default=Path("atoll-hub"), metadata=_told("path", "Where the hub keeps what has no place of its own.")
    )
    url: str = field(
        default="", metadata=_told("URL", "What people and nodes reach the hub by. Empty: where it listens.")
    )
    host: str = field(default="127.0.0.1", metadata=_told("address", "Where it listens."))
    port: int = field(default=8000, metadata=_told("port", "Where it listens; 0 for a port that is free."))
    tls_certificate: Path | None = field(
        default=None,
        metadata=_told("path", "The chain of certificates, in PEM. With `tls_key` the hub speaks HTTPS."),
    )
    tls_key: Path | None = field(default=None, metadata=_told("path", "The key of the certificate, in PEM."))
    behind_proxy: bool = field(
        default=False,
        metadata=_told(
            "yes or no", "A proxy stands before the hub and speaks HTTPS, so that the hub may listen without."
        ),
    )
    trusted_proxies: tuple[str, ...] = field(
        default=("127.0.0.1", "::1"),
        metadata=_told(
            "addresses", "Proxies whose X-Forwarded headers are believed, where `behind_proxy` is set."
        ),
    )
    database: str = field(
        default="",
        metadata=_told(
            "URL", "`sqlite:///PATH` or `postgresql://USER@HOST/NAME`. Empty: `hub.db` in `folder`."
        ),
    )
    blobs: str = field(
        default="",
        metadata=_told("path or URL", "A folder or `s3://BUCKET/PREFIX`. Empty: `blobs` in `folder`."),
    )
    heartbeat_seconds: float = field(
        default=15.0,
        metadata=_told("seconds", "Between two signs of life of a node; three missed, and it is gone."),
    )
    person_rate: float = field(
        default=200.0, metadata=_told("requests/second", "Of one person; twice as many at once. 0: any.")
    )
    node_rate: float = field(
        default=2_000.0, metadata=_told("requests/second", "Of one node; twice as many at once. 0: any.")
    )
    address_rate: float = field(
        default=20.0,
        metadata=_told(
            "requests/second", "From one address by whoever isn't known; thrice as many at once. 0: any."
        ),
    )
    login_rate: float = field(default=30.0, metadata=_told("logins/minute", "From one address. 0: any."))
    body_bytes_max: int = field(
        default=64 * 1024 * 1024, metadata=_told("bytes", "Of a request that is no file.")
    )
    events_days: float = field(
        default=7.0, metadata=_told("days", "How long events are kept, for clients that come back.")
    )
    streams: str = field(
        default="auto",
        metadata=_told(
            " or ".join(_STREAMS),
            "Whether jobs of one run are connected where their sites allow it. `auto`: not on PostgreSQL, where a hub "
            "may have replicas.",
        ),
    )
    log_level: str = field(
        default="info", metadata=_told(" or ".join(_LEVELS), "What is written to standard error.")
    )
    access_log: bool = field(
        default=True, metadata=_told("yes or no", "A line for each request, without its query and its token.")
    )

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise SpecInvalid(*faults)

    @property
    def database_url(self) -> str:
        """Where everything but files is kept."""
        return self.database or f"sqlite:///{self.folder / 'hub.db'}"

    @property
    def blobs_url(self) -> str:
        """Where files are kept."""
        return self.blobs or str(self.folder / "blobs")

    @property
    def has_tls(self) -> bool:
        """Whether the hub itself speaks HTTPS."""
        return self.tls_certificate is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _faults(settings: HubSettings) -> list[str]:
    faults = []
    if not 0 <= settings.port <= 65_535:
        faults.append(f"port is {settings.port}: expected a number from 0 to 65535")
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        faults.append("tls_certificate and tls_key go together: one of them is missing")
    if not (settings.has_tls or settings.behind_proxy or is_loopback(settings.host)):
        faults.append(
            f"host is {settings.host}, which other machines reach, and nothing speaks HTTPS: set tls_certificate and "
            "tls_key, or behind_proxy where a proxy does, or listen at 127.0.0.1"
        )
    if settings.url and not re.fullmatch(r"https?://[^\s/?#]+/?", settings.url):
        faults.append(f"url is {settings.url!r}: expected one such as https://hub.example.org")
    if settings.log_level not in _LEVELS:
        faults.append(f"log_level is {settings.log_level!r}: expected one of {', '.join(_LEVELS)}")
    if settings.streams not in _STREAMS:
        faults.append(f"streams is {settings.streams!r}: expected one of {', '.join(_STREAMS)}")
    positive = ("heartbeat_seconds", "body_bytes_max", "events_days")
    faults += [
        f"{name} is {getattr(settings, name)}: expected more than 0"
        for name in positive
        if getattr(settings, name) <= 0
    ]
    rates = ("person_rate", "node_rate", "address_rate", "login_rate")
    faults += [
        f"{name} is {getattr(settings, name)}: expected 0 or more"
        for name in rates
        if getattr(settings, name) < 0
    ]
    return faults


def read_settings(path: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> HubSettings:
    """The settings of a hub.

    Args:
        path: of ``hub.yaml``; None where there is none.
        environment: the process's. Variables that don't begin with `PREFIX` are left alone.
        flags: of the command, by the names of settings; None where one wasn't given.

    Raises:
        SpecInvalid: with every fault that was found.
    """
    faults: list[str] = []
    values: dict[str, Any] = {}
    if path is not None:
        values |= _of_file(path, faults)
    values |= _of_environment(environment, faults)
    values |= {name: value for name, value in flags.items() if value is not None}
    if faults:
        raise SpecInvalid(*faults)
    return HubSettings(**values)


def _of_file(path: Path, faults: list[str]) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path} can't be read: {error}")
        return {}
    except yaml.YAMLError as error:
        faults.append(f"{path} is no YAML: {' '.join(str(error).split())}")
        return {}
    if document is None:
        return {}
    if not isinstance(document, dict):
        faults.append(f"{path} holds no settings: expected lines such as 'port: 8000'")
        return {}
    values: dict[str, Any] = {}
    for name, given in document.items():
        _take(values, str(name), given, f"{path}: {name}", path.parent, faults)
    return values


def _of_environment(environment: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, given in sorted(environment.items()):
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name in _NO_SETTINGS:
            continue
        if variable.endswith(_FILE) and name not in _KINDS:
            _take(values, name.removesuffix(_FILE.lower()), {"file": given}, variable, Path(), faults)
        else:
            _take(values, name, given, variable, Path(), faults)
    return values


def _take(values: dict[str, Any], name: str, given: Any, where: str, folder: Path, faults: list[str]) -> None:
    """Take in one setting; a fault is added where it is none."""
    kind = _KINDS.get(name)
    if kind is None:
        near = get_close_matches(name, _KINDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f": expected one of {', '.join(_KINDS)}"
        faults.append(f"{where} is no setting of a hub{hint}")
        return
    if isinstance(given, dict) and set(given) == {"file"}:
        file = folder / str(given["file"])
        try:
            given = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{where}: {file} can't be read: {error}")
            return
    try:
        values[name] = kind(given, folder)
    except (TypeError, ValueError) as error:
        # What was given stays unsaid: it may be a secret.
        faults.append(f"{where} can't be used: expected {error}")


def _text(given: Any, _: Path) -> str:
    if not isinstance(given, str | int):
        raise TypeError("a text")
    return str(given)


def _number(given: Any, _: Path) -> float:
    try:
        return float(_text(given, _) if not isinstance(given, float) else given)
    except (TypeError, ValueError):
        raise ValueError("a number") from None


def _whole(given: Any, _: Path) -> int:
    if isinstance(given, bool) or not re.fullmatch(r"-?\d{1,18}", str(given)):
        raise ValueError("a whole number")
    return int(given)


def _switch(given: Any, _: Path) -> bool:
    if isinstance(given, bool):
        return given
    known = _YES.get(str(given).lower())
    if known is None:
        raise ValueError("yes or no")
    return known


def _path(given: Any, folder: Path) -> Path:
    return folder / Path(_text(given, folder)).expanduser()


def _texts(given: Any, _: Path) -> tuple[str, ...]:
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",") if part.strip())
    if not (isinstance(given, list) and all(isinstance(one, str) for one in given)):
        raise TypeError("a list of texts")
    return tuple(given)


_BY_TYPE: Mapping[str, Callable[[Any, Path], Any]] = {
    "str": _text,
    "int": _whole,
    "float": _number,
    "bool": _switch,
    "Path": _path,
    "Path | None": _path,
    "tuple[str, ...]": _texts,
}
#: How the value of each setting is read.
_KINDS = {one.name: _BY_TYPE[str(one.type)] for one in fields(HubSettings)}
