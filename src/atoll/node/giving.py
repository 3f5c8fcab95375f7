"""What a node gives to a ticket's step: the databases that its rules allow, its variables, its data map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from atoll.algorithms.manifest import Manifest
from atoll.model.work import Ticket
from atoll.node.data_maps import DataMap, map_for, read_maps
from atoll.node.network.network import Network
from atoll.node.network.reach import Reach
from atoll.node.offer import Offer, Source
from atoll.node.policies import means
from atoll.node.provision import Provision
from atoll.node.settings import NodeSettings
from atoll.node.site_data import look_at


class Giving:
    """Says what each step gets.

    Args:
        settings: of the node.
        name: the node's, which is the seat of its site. Any other seat that it serves has no data.
        network: what its algorithms reach; None for nothing.
        described: says what the bundle of an algorithm says, by its digest.
    """

    def __init__(
        self,
        settings: NodeSettings,
        name: str,
        network: Network | None = None,
        *,
        described: Callable[[str], Manifest | None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._name = name
        self._network = network
        self._described = described
        self._maps: tuple[DataMap, ...] = ()
        #: When the file was changed that they were read from.
        self._read_at_ns = -1

    def provision(self, ticket: Ticket) -> Provision:
        """What the site brings to a ticket's step.

        Raises:
            SpecInvalid: the data maps can't be read.
        """
        algorithm = ticket.algorithm
        environment = self._environment(ticket)
        if ticket.job.seat != self._name:
            return Provision(offer=Offer(environment=environment), reach=self._reach(ticket, {}))
        databases = self._databases(ticket)
        offer, reach = Offer(databases=databases, environment=environment), self._reach(ticket, databases)
        found = map_for(self._data_maps(), algorithm) if algorithm.dialect == "coinstac" else None
        if found is None:
            return Provision(offer=offer, reach=reach)
        data = None if found.folder is None else look_at(found.folder)
        return Provision(offer=offer, data=data, inputs=found.inputs, reach=reach)

    def _databases(self, ticket: Ticket) -> Mapping[str, Source]:
        databases = self._settings.offer.databases
        for pattern, labels in self._settings.policies.databases.items():
            if self._means(pattern, ticket):
                return {label: databases[label] for label in labels}
        return databases

    def _reach(self, ticket: Ticket, databases: Mapping[str, Source]) -> Reach:
        if self._network is None:
            return Reach()
        rules = self._settings.network
        fitting = (permitted for pattern, permitted in rules.for_.items() if self._means(pattern, ticket))
        return self._network.reach(next(fitting, rules.permitted), databases)

    def _environment(self, ticket: Ticket) -> Mapping[str, str]:
        variables = dict(self._settings.offer.environment)
        for pattern, more in reversed(list(self._settings.env_for.items())):
            if self._means(pattern, ticket):
                variables.update(more)
        return variables

    def _means(self, pattern: str, ticket: Ticket) -> bool:
        algorithm = ticket.algorithm
        return means(pattern, algorithm, self._described(algorithm.digest), ticket.role)

    def _data_maps(self) -> tuple[DataMap, ...]:
        """The maps as they are now: people add some while the node runs."""
        changed_at_ns = _changed_at_ns(self._settings.data_maps)
        if changed_at_ns != self._read_at_ns:
            self._maps = read_maps(self._settings.data_maps)
            self._read_at_ns = changed_at_ns
        return self._maps


def roots(settings: NodeSettings) -> list[Path]:
    """The folders of this machine under which all lies that algorithms are shown."""
    offered = [source.path for source in settings.offer.databases.values() if source.path is not None]
    mapped = [each.folder for each in read_maps(settings.data_maps) if each.folder is not None]
    return [settings.workspace, *offered, *mapped]


def _changed_at_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
