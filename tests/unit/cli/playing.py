"""Plays a run of functions to whatever listens, event by event: as a hub and its nodes tell it."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.model.work import Role, Seat
from atoll.simulator.watch import Watcher


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def seats(*names: str) -> list[Seat]:
    """Seats of these names."""
    return [Seat(name) for name in names]


class Play:
    """A run of functions. Rounds are numbered as a hub does it: the main round is 0."""

    def __init__(self, view: Watcher, clock: Clock, *, sites: Sequence[Seat], function: str = "mean") -> None:
        self.view = view
        self.clock = clock
        self.sites = list(sites)
        self._rounds = 0
        view.begun(sites=self.sites, steps=[function], runtime="bubblewrap")

    def start(self, *names: str, number: int = 0, role: Role = Role.SITE) -> None:
        """Calls of a round begin."""
        for seat in seats(*names):
            self.view.job_started(seat=seat, role=role, step=0, iteration=1, number=number)

    def end(
        self,
        *names: str,
        number: int = 0,
        seconds: float = 0.2,
        failed: bool = False,
        role: Role = Role.SITE,
    ) -> None:
        """They end."""
        for seat in seats(*names):
            self.view.job_ended(
                seat=seat, role=role, seconds=seconds, sent_bytes=1_200, failed=failed, number=number
            )

    def central(self, name: str = "alpha") -> None:
        """The main call, which combines."""
        self.start(name, role=Role.AGGREGATOR)

    def central_ends(self, name: str = "alpha", *, failed: bool = False) -> None:
        """It ends."""
        self.end(name, seconds=5.0, role=Role.AGGREGATOR, failed=failed)

    def ask(self, *names: str, asker: str = "alpha", within: int = 0, function: str = "moments") -> int:
        """A call asks; the number of the round."""
        self._rounds += 1
        self.view.asked(
            number=self._rounds,
            name=function,
            asker=Seat(asker),
            within=within,
            seats=seats(*names) if names else self.sites,
        )
        return self._rounds

    def answer(self, number: int) -> None:
        """The round is waited for no longer."""
        self.view.answered(number=number)

    def round(
        self,
        *failing: str,
        asker: str = "alpha",
        within: int = 0,
        seconds: float = 0.5,
        function: str = "moments",
        reason: str = "",
    ) -> None:
        """A whole round at all sites. In a reason, {} stands for the site's name."""
        number = self.ask(asker=asker, within=within, function=function)
        self.start(*self.sites, number=number)
        self.clock.now += seconds
        for site in self.sites:
            self.end(site, number=number, seconds=seconds, failed=site in failing)
            if site in failing and reason:
                self.view.broke(seat=site, number=number, message=reason.format(site))
        self.answer(number)

    def tell(self, name: str, fraction: float | None, text: str = "") -> None:
        """A call says how far it is."""
        self.view.progressed(seat=Seat(name), fraction=fraction, text=text)
