"""Where the algorithms of a node find what their site permits, and what they are told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atoll.node.network.homes import PROXY, Homes, move
from atoll.node.network.permitted import NetworkRules, Permitted
from atoll.node.network.relay import Direct, Target
from atoll.node.network.squid import Squid
from atoll.node.offer import Source
from atoll.runtimes.outlets import Streams

#: What libraries and programs look for.
_PROXY_NAMES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
_NO_PROXY_NAMES = ("no_proxy", "NO_PROXY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What an algorithm reaches beside its door."""

    targets: tuple[Target, ...] = ()
    #: Variables that say so.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Its databases, with addresses that lead to their servers from inside.
    databases: Mapping[str, Source] = field(default_factory=dict)


class Network:
    """What a node's algorithms reach.

    Args:
        rules: what the site permits.
        names: lines of the proxy's configuration about how names are looked up.
    """

    def __init__(self, rules: NetworkRules, *, names: Sequence[str] = ()) -> None:
        lists = [permitted for permitted in rules.lists if permitted.filtered]
        self._numbers = {id(permitted): number for number, permitted in enumerate(lists)}
        self._squid = Squid(lists, names=names) if lists else None

    async def start(self) -> None:
        """Start what passes on to what is allowed.

        Raises:
            RuntimeUnavailable: Squid isn't installed, or doesn't start.
        """
        if self._squid is not None:
            await self._squid.start()

    async def close(self) -> None:
        """End it. May be called twice."""
        if self._squid is not None:
            await self._squid.close()

    def reach(self, permitted: Permitted, databases: Mapping[str, Source]) -> Reach:
        """What algorithms reach which a list is for.

        Args:
            permitted: one of the lists of the rules.
            databases: those that the algorithms get: their servers are reached, too.
        """
        homes = Homes()
        targets = [
            Target(
                host=homes.of(service.alias),
                port=service.port,
                alias=service.alias,
                way=Direct(host=service.host, port=service.port),
            )
            for service in permitted.services
        ]
        moved = {}
        for label, source in databases.items():
            target, moved[label] = move(source, homes)
            if target is not None and all(
                (each.host, each.port) != (target.host, target.port) for each in targets
            ):
                targets.append(target)
        names = dict.fromkeys(target.alias for target in targets if target.alias)
        environment: dict[str, str] = {}
        if permitted.filtered:
            assert self._squid is not None
            way = _Proxy(squid=self._squid, number=self._numbers[id(permitted)])
            targets.append(Target(host=PROXY[0], port=PROXY[1], way=way))
            environment = dict.fromkeys(_PROXY_NAMES, "http://{}:{}".format(*PROXY))
            environment |= dict.fromkeys(_NO_PROXY_NAMES, ",".join(["127.0.0.1", "localhost", *names]))
        return Reach(targets=tuple(targets), environment=environment, databases=moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proxy:
    """To the proxy, on behalf of one list."""

    squid: Squid
    number: int

    @property
    def what(self) -> str:
        """The proxy."""
        return "the proxy to what is allowed"

    async def connect(self) -> Streams:
        """A new connection to the proxy."""
        return await self.squid.connect(self.number)
