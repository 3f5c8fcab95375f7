"""What algorithms ask for and don't get, for the log of their node: which host, and which run it was.

An algorithm chooses what it asks for, and how often. So each host is told once, cut and in plain letters,
and only so many of them; and nothing is told but the host and the port: an address may hold more.
"""

from __future__ import annotations

import logging
import string
from collections import OrderedDict
from dataclasses import dataclass, field

from atoll.engine.limits import REFUSED_CALLERS_MAX, REFUSED_HOSTS_MAX

_log = logging.getLogger(__name__)

#: Letters of a host that are told.
_HOST_CHARACTERS_MAX = 100
_PLAIN = frozenset(string.ascii_letters + string.digits + ".-_:[]")
#: Bytes of a line of Squid's that may hold something.
_LINE_BYTES_MAX = 1024
#: By what of its address Squid knows who asks: this many bits, beside the port.
_PORTS = 65_535

#: How Squid writes a line: the two numbers, what came of it, and the host and the port that were asked for.
FORMAT = "%>a %>p %Ss %>rd %>rP"


@dataclass(slots=True, kw_only=True)
class Asking:
    """One algorithm at one seat that asks, and what it was refused."""

    #: In words, for the log.
    who: str
    _told: set[str] = field(default_factory=set)

    def tell(self, host: str, port: str) -> None:
        """Write down that it was refused what it asked for, where that is new."""
        if len(self._told) > REFUSED_HOSTS_MAX:
            return
        named = "".join(each if each in _PLAIN else "?" for each in host[:_HOST_CHARACTERS_MAX])
        named += "…" if len(host) > _HOST_CHARACTERS_MAX else ""
        named += f", port {port}" if port.isascii() and port.isdecimal() and len(port) < 6 else ""
        if named in self._told:
            return
        self._told.add(named)
        if len(self._told) > REFUSED_HOSTS_MAX:
            _log.warning("%s has asked for more that it may not reach: the rest isn't written down", self.who)
        else:
            _log.warning("%s asked for %s, which its list doesn't allow (network: allow)", self.who, named)


class Callers:
    """Who has asked Squid lately: each connection has a number of its own, which Squid writes down."""

    def __init__(self) -> None:
        self._number = 0
        self._known: OrderedDict[int, Asking] = OrderedDict()

    def enter(self, asking: Asking) -> tuple[int, int]:
        """A connection of somebody's: the last bits of the address, and the port, that it comes from."""
        self._number = (self._number + 1) % (_PORTS << 16)
        self._known[self._number] = asking
        if len(self._known) > REFUSED_CALLERS_MAX:
            self._known.popitem(last=False)
        low, port = divmod(self._number, _PORTS)
        return low, port + 1

    def hear(self, line: bytes) -> None:
        """Take a line of Squid's."""
        words = line.decode("utf-8", "replace").split(" ")
        if len(words) != 5 or not words[2].startswith("TCP_DENIED") or words[3] == "-":
            return
        try:
            low, port = int(words[0].rpartition(":")[2] or "0", 16), int(words[1])
        except ValueError:
            return
        asking = self._known.get(low * _PORTS + port - 1)
        if asking is not None:
            asking.tell(words[3], words[4])


class Lines:
    """What is read of Squid, in whatever pieces, as lines. Those that are too long are none."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._rest = b""

    def take(self, piece: bytes) -> None:
        """Read on."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if len(line) <= _LINE_BYTES_MAX:
                self._callers.hear(line)
        if len(self._rest) > _LINE_BYTES_MAX:  # Enough to be told that it is too long when it ends.
            self._rest = self._rest[: _LINE_BYTES_MAX + 1]
