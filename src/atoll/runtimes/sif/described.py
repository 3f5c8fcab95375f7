"""What an image says of itself, in the folder ``/.singularity.d`` of its root file system.

Where it was made from a container image, its file keeps that image's configuration, too, and the
runscript has its words. All else is shell: of its scripts the plain lines are read, and nothing is run.
What a script finds out only when it runs is unknown here, and is left out.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.runtimes.sif.paths import locate, read

FOLDER = "/.singularity.d"
RUNSCRIPT = f"{FOLDER}/runscript"
#: Scripts of Apptainer itself: they set what a sandbox sets anyway.
_OWN = ("01-base.sh", "94-appsbase.sh", "95-apps.sh", "99-base.sh", "99-runtimevars.sh")
#: Where a computation of COINSTAC lies. Images of this kind don't say where to start.
COMPUTATION = "/computation"

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
#: ``export NAME=VALUE``, or without the first word; a value in quotes may have several lines.
_ASSIGNED = re.compile(
    rf"""^[ \t]*(?:export[ \t]+)?({_NAME})=
    (?:
      "\$\{{\1:-"(?P<kept>(?:[^"\\]|\\.)*)"\}}"
    | "(?P<double>(?:[^"\\]|\\.)*)"
    | '(?P<single>[^']*)'
    | (?P<bare>[^\s"'`\\;&|<>()]*)
    )[ \t]*(?:;[ \t]*export[ \t]+\1[ \t]*)?(?:\#.*)?$""",
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
#: What makes the lines that follow depend on something, and what ends that.
_OPENS = re.compile(r"^[ \t]*(if|case|for|while|until)\b")
_CLOSES = re.compile(r"(^|;)[ \t]*(fi|esac|done)\b[^\n]*$")
_NAMED = re.compile(rf"\$(?:({_NAME})|\{{({_NAME})\}})")
_ESCAPED = re.compile(r"\\([\"\\$`])")
#: The words of a container image in a runscript that was made from it.
_OCI = re.compile(r"^OCI_(ENTRYPOINT|CMD)='((?:[^']|'\"'\"'|'\\'')*)'$", re.MULTILINE)
#: A runscript of one command, to which what is behind the image's name is passed on.
_ONE = re.compile(r"^(?:exec[ \t]+)?(?P<words>[^\n]*?)(?:[ \t]+(?:\"\$@\"|\$@|\$\*))?$")
_SHELL = frozenset(";&|<>()$`*?[]{}~#!")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What an image says of how it is started."""

    environment: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_directory: str = "/"
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[int, ...] = ()


def describe(root: Path, configuration: bytes | None = None) -> Described:
    """Read what a root file system says of itself.

    Args:
        root: the folder; what is looked at is `FOLDER` in it, and whether there is a ``/computation``.
        configuration: that of the container image which it was made from, where its file has one.
    """
    script = _text(root, RUNSCRIPT)
    oci = _document(configuration)
    entrypoint, command = _started(script, oci)
    fallback = COMPUTATION if locate(root, COMPUTATION).is_dir() else "/"
    return Described(
        environment=_environment(root),
        entrypoint=entrypoint,
        command=command,
        working_directory=str(oci.get("WorkingDir") or fallback),
        labels=_labels(root),
        exposed_ports=tuple(_ports(oci.get("ExposedPorts"))),
    )


def _environment(root: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    folder = locate(root, f"{FOLDER}/env")
    names = sorted(path.name for path in folder.glob("*.sh")) if folder.is_dir() else []
    for name in names:
        if name not in _OWN:
            found.update(read_variables(_text(root, f"{FOLDER}/env/{name}"), found))
    return found


def read_variables(script: str, known: Mapping[str, str]) -> dict[str, str]:
    """The variables that a script sets whatever happens, and whose values it spells out.

    Args:
        script: in the words of a shell.
        known: variables that it may name.
    """
    found: dict[str, str] = {}
    for part in _unconditional(script):
        for match in _ASSIGNED.finditer(part):
            value = _value(match, {"PATH": _PATH, **known, **found})
            if value is not None:
                found[match[1]] = value
    return found


#: What stands behind a path that an image only adds to.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _unconditional(script: str) -> Iterable[str]:
    """The parts of a script that lie outside of its conditions and loops."""
    depth = 0
    part: list[str] = []
    for line in script.splitlines():
        depth += bool(_OPENS.search(line))
        if depth == 0:
            part.append(line)
        elif part:
            yield "\n".join(part)
            part = []
        depth -= bool(_CLOSES.search(line)) and depth > 0
    yield "\n".join(part)


def _value(match: re.Match[str], known: Mapping[str, str]) -> str | None:
    if match["single"] is not None:
        return match["single"]
    if match["kept"] is not None:
        text = match["kept"]
    elif match["double"] is not None:
        text = match["double"]
    else:
        text = match["bare"]
    plain = _ESCAPED.sub("", _NAMED.sub("", text))
    if "$" in plain or "`" in plain:
        return None  # what only a shell can find out
    pieces = re.split(r"(\\[\"\\$`])", text)
    return "".join(
        piece[1]
        if piece[:1] == "\\" and len(piece) == 2
        else _NAMED.sub(lambda name: known.get(name[1] or name[2], ""), piece)
        for piece in pieces
    )


def _started(script: str, oci: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The entry point and the command."""
    if not script.strip():
        return (), ()
    words = {kind: tuple(_split(quoted)) for kind, quoted in _OCI.findall(script)}
    if words:
        # The configuration has the words as they were; the script says that they still hold.
        return (
            _words(oci.get("Entrypoint")) or words.get("ENTRYPOINT", ()),
            _words(oci.get("Cmd")) or words.get("CMD", ()),
        )
    lines = [line.strip() for line in script.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) == 1 and (match := _ONE.match(lines[0])) and not _SHELL & set(match["words"]):
        try:
            return tuple(shlex.split(match["words"])), ()
        except ValueError:
            pass  # a quote that isn't closed: the shell may say so
    return (RUNSCRIPT,), ()


def _split(quoted: str) -> list[str]:
    """The words within what a shell would read between two single quotes."""
    try:
        return shlex.split(" ".join(shlex.split(f"'{quoted}'")))
    except ValueError:
        return []


def _words(given: object) -> tuple[str, ...]:
    return tuple(map(str, given)) if isinstance(given, list) else ()


def _labels(root: Path) -> dict[str, str]:
    labels = _document(read(root, f"{FOLDER}/labels.json"))
    return {str(name): str(value) for name, value in labels.items() if isinstance(value, str | int | float)}


def _ports(given: object) -> Iterable[int]:
    for each in given if isinstance(given, dict) else ():
        number, _, kind = str(each).partition("/")
        if number.isdecimal() and kind in ("", "tcp"):
            yield int(number)


def _document(text: bytes | None) -> Mapping[str, Any]:
    try:
        document = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(root: Path, inner: str) -> str:
    return (read(root, inner) or b"").decode("utf-8", "replace")
