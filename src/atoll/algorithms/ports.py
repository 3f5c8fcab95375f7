"""The ports that an algorithm declares for others of its run: as images and Dockerfiles say it.

vantage6 has it so: ``EXPOSE 8888`` is a port, and ``LABEL p8888="exchange"`` what it is called.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from atoll.engine.limits import PORTS_MAX
from atoll.engine.peers import Port

#: Characters of a label.
_LABEL_MAX = 100
_PORT_MAX = 65_535
_INSTRUCTION = re.compile(r"\s*(EXPOSE|LABEL)\s+(\S.*)", re.IGNORECASE)
_EXPOSED = re.compile(r"([0-9]{1,5})(?:/tcp)?\Z", re.IGNORECASE)


def ports_of(exposed: Iterable[int], labels: Mapping[str, str]) -> tuple[Port, ...]:
    """The ports of an image, as many as an algorithm may declare; in their order."""
    numbers = [number for number in dict.fromkeys(exposed) if 1 <= number <= _PORT_MAX]
    return tuple(
        Port(number=number, label=labels.get(f"p{number}", "")[:_LABEL_MAX]) for number in numbers[:PORTS_MAX]
    )


def ports_in(dockerfile: str) -> tuple[Port, ...]:
    """The ports that a Dockerfile declares."""
    exposed: list[int] = []
    labels: dict[str, str] = {}
    for line in dockerfile.replace("\\\n", " ").splitlines():
        if match := _INSTRUCTION.match(line):
            words = _words(match[2])
            if match[1].upper() == "EXPOSE":
                exposed += [int(found[1]) for word in words if (found := _EXPOSED.match(word))]
            else:
                labels.update(_labels(words))
    return ports_of(exposed, labels)


def port_faults(ports: Sequence[Port]) -> Iterator[str]:
    """What is wrong with declared ports."""
    if len(ports) > PORTS_MAX or len({port.number for port in ports}) != len(ports):
        yield f"it declares {len(ports)} ports: expected at most {PORTS_MAX}, each once"
    for port in ports:
        if not 1 <= port.number <= _PORT_MAX or len(port.label) > _LABEL_MAX:
            yield f"{port.number} is no port, or its label is longer than {_LABEL_MAX} characters"


def _labels(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    if len(words) > 1 and "=" not in words[0]:  # As it was written long ago: LABEL key value
        yield words[0], " ".join(words[1:])
        return
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            yield key, value


def _words(rest: str) -> list[str]:
    try:
        return shlex.split(rest)
    except ValueError:
        return []
