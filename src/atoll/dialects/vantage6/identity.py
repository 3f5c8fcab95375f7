"""What vantage6's numbers are in a run of Atoll.

An algorithm knows itself by numbers: its task, its run, its organization. Each has one here, so
that what it is told in its environment, in its token and over HTTP is always the same.
"""

from __future__ import annotations

from atoll.model.work import Seat, Ticket

#: A run has one collaboration: all of its sites.
COLLABORATION = 1
#: The generation 5 word for the workbench of a run.
SESSION = 1


def task_of(round_number: int) -> int:
    """A round is a task. Algorithms take 0 for none, so that tasks are numbered from 1."""
    return round_number + 1


def round_of(task: int) -> int:
    """The round that a task is."""
    return task - 1


def organization_of(ticket: Ticket, seat: Seat) -> int:
    """A site is an organization, and its only node: 1 … n in the order of the sites."""
    return ticket.sites.index(seat) + 1
