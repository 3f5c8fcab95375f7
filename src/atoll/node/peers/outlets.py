"""The addresses under which a session finds ports of other jobs. They stay as long as the session."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from atoll.engine.limits import PEER_ADDRESSES_MAX
from atoll.engine.peers import Port
from atoll.engine.running import Outlet, Session
from atoll.model.errors import LimitReached
from atoll.model.work import JobId

#: Each peer has an address of its own in 127.1.0.0/16, which is the sandbox's own.
_HOSTS_OF_A_NET = 250
#: Where the ports begin. They are none that the algorithm listens at itself: who listens at all
#: addresses would else be in the way. And none that the system gives to whoever asks for any.
_PORT = 28_000


class Outlets:
    """What one session was given.

    Args:
        session: of a chair.
        taken: the ports at which its own algorithm listens.
    """

    def __init__(self, session: Session, taken: Sequence[Port]) -> None:
        self._session = session
        self._taken = {port.number for port in taken}
        self._hosts: dict[JobId, str] = {}
        self._known: dict[tuple[JobId, int], tuple[str, int]] = {}
        #: Takes a connection to a port of a peer; None while no call is under way.
        self.take: Callable[[JobId, int, int], None] | None = None

    async def address(self, peer: JobId, port: int) -> tuple[str, int]:
        """Where the session finds a port of a peer.

        Raises:
            LimitReached: it was given too many addresses.
            RuntimeUnavailable: its runtime can't give it one.
        """
        known = self._known.get((peer, port))
        if known is not None:
            return known
        if len(self._known) >= PEER_ADDRESSES_MAX:
            raise LimitReached(
                f"the algorithm was given {PEER_ADDRESSES_MAX} addresses of others, the most that one session is given"
            )
        host = self._hosts.get(peer)
        if host is None:
            number = len(self._hosts)
            host = self._hosts[peer] = f"127.1.{number // _HOSTS_OF_A_NET}.{number % _HOSTS_OF_A_NET + 1}"
        used = self._taken | {at for (of, _), (_, at) in self._known.items() if of == peer}
        found = host, next(number for number in range(_PORT, 65_536) if number not in used)
        # Before it waits: whoever asks meanwhile for the same is told the same.
        self._known[peer, port] = found

        def take(descriptor: int) -> None:
            if self.take is None:
                os.close(descriptor)
            else:
                self.take(peer, port, descriptor)

        try:
            await self._session.offer(Outlet(host=found[0], port=found[1], take=take))
        except BaseException:
            del self._known[peer, port]
            raise
        return found
