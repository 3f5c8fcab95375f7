"""What the sites of a simulation let algorithms reach: as nodes do it, with one proxy for all sites."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from atoll.algorithms.manifest import Manifest
from atoll.engine.running import Runtime
from atoll.model.errors import RuntimeUnavailable
from atoll.model.work import Seat, Ticket
from atoll.node.network.permitted import NetworkRules
from atoll.node.network.reach import Reach
from atoll.node.offer import Offer
from atoll.node.policies import means

#: Says what a ticket's algorithm reaches at its seat, which offers this.
Reaching = Callable[[Ticket, Offer], Reach]


def check_networks(networks: Mapping[Seat, NetworkRules], runtime: Runtime) -> None:
    """Refuse what sites let algorithms reach where that can't be kept to.

    Raises:
        RuntimeUnavailable: the runtime keeps algorithms from nothing, or Squid isn't installed.
    """
    if networks and not runtime.isolated:
        raise RuntimeUnavailable(
            f"the federation.yaml says what {next(iter(networks))} lets algorithms reach ('network'), and under "
            f"--runtime {runtime.name} they reach whatever you do. Use bubblewrap, or an image; or take 'network' out"
        )
    if any(permitted.filtered for rules in networks.values() for permitted in rules.lists):
        # Imported here: hardly any simulation lets anything out, and each would take the time.
        from atoll.node.network.squid import why_missing

        if reason := why_missing():
            raise RuntimeUnavailable(reason)


@asynccontextmanager
async def reaching(
    networks: Mapping[Seat, NetworkRules], described: Mapping[str, Manifest]
) -> AsyncIterator[Reaching]:
    """Passes on to what sites allow, for as long as the context lasts.

    Args:
        networks: what they allow.
        described: what images hold, by the algorithm's digest.

    Raises:
        RuntimeUnavailable: Squid isn't installed, or doesn't start.
    """
    # Late, as above.
    from atoll.node.network.network import Network

    lists = [permitted for rules in networks.values() for permitted in rules.lists]
    network = Network(NetworkRules(for_={str(number): each for number, each in enumerate(lists)}))

    def reach(ticket: Ticket, offer: Offer) -> Reach:
        rules, algorithm = networks[ticket.job.seat], ticket.algorithm
        manifest = described.get(algorithm.digest)
        fitting = (
            permitted
            for pattern, permitted in rules.for_.items()
            if means(pattern, algorithm, manifest, ticket.role)
        )
        return network.reach(next(fitting, rules.permitted), offer.databases)

    try:
        await network.start()
        yield reach
    finally:
        await network.close()
