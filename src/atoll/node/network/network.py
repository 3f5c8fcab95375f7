"""What the algorithms of a node reach: what a list permits, through one Squid for all lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atoll.node.network.homes import PROXY, Homes
from atoll.node.network.permitted import NetworkRules, Permitted
from atoll.node.network.reach import Reach, served
from atoll.node.network.refused import Asking
from atoll.node.network.relay import Direct, Target
from atoll.node.network.squid import Squid
from atoll.node.offer import Source
from atoll.runtimes.outlets import Streams

#: What libraries and programs look for.
_PROXY_NAMES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
_NO_PROXY_NAMES = ("no_proxy", "NO_PROXY")


class Network:
    """What a node's algorithms reach.

    Args:
        rules: what the site permits.
        names: lines of the proxy's configuration about how names are looked up.
    """

    def __init__(self, rules: NetworkRules, *, names: Sequence[str] = ()) -> None:
        lists = list(dict.fromkeys(permitted for permitted in rules.lists if permitted.filtered))
        self._numbers = {permitted: number for number, permitted in enumerate(lists)}
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
        services = [
            Target(
                host=homes.of(service.alias),
                port=service.port,
                alias=service.alias,
                way=Direct(host=service.host, port=service.port),
            )
            for service in permitted.services
        ]
        reach = served(databases, homes, services)
        if not permitted.filtered:
            return reach
        assert self._squid is not None
        way = _Proxy(squid=self._squid, number=self._numbers[permitted])
        names = dict.fromkeys(target.alias for target in reach.targets if target.alias)
        direct = ",".join(["127.0.0.1", "localhost", *names])
        return Reach(
            targets=(*reach.targets, Target(host=PROXY[0], port=PROXY[1], way=way)),
            environment={
                **dict.fromkeys(_PROXY_NAMES, "http://{}:{}".format(*PROXY)),
                **dict.fromkeys(_NO_PROXY_NAMES, direct),
            },
            databases=reach.databases,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proxy:
    """To the proxy, on behalf of one list."""

    squid: Squid
    number: int

    @property
    def what(self) -> str:
        """The proxy."""
        return "the proxy to what is allowed"

    async def connect(self, asking: Asking) -> Streams:
        """A new connection to the proxy."""
        return await self.squid.connect(self.number, asking)
