"""The policies of a node.yaml, and those that are installed beside Atoll.

A name is what an algorithm calls itself: whoever writes one may call it as he likes. Only a digest
says which code it is. So what is listed by name alone keeps mistakes away, and nobody who means harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path

from atoll.engine.limits import FILES_PER_CALL_MAX
from atoll.model.errors import JobRefused, SpecInvalid
from atoll.model.work import Algorithm, Ticket
from atoll.node import guarded
from atoll.node.rules import Check, Outgoing, Policy
from atoll.node.settings import Limits, Policies

#: Where packages name policies of their own.
GROUP = "atoll.policies"
_DIGEST = "sha256:"


def built_in(policies: Policies) -> Iterator[Policy]:
    """The policies that node.yaml names."""
    if policies.algorithms or policies.bundles != "allow":
        yield _of_algorithms(policies)
    if policies.collaborations:
        yield _of_names("collaboration", policies.collaborations)
    if policies.organizations:
        yield _of_names("organization", policies.organizations)
    if policies.submitters:
        yield _of_names("submitter", policies.submitters)
    if policies.rounds_max is not None:
        yield _of_rounds(policies.rounds_max)


def installed() -> Iterator[Policy]:
    """The policies that installed packages bring: each entry point is called with every ticket.

    Raises:
        SpecInvalid: one can't be loaded. A node doesn't start without a rule that it should have.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            policy = entry.load()
        except Exception as error:  # Whatever a package raises when it is imported.
            raise SpecInvalid(
                f"the policy {entry.name!r} ({entry.value}) can't be loaded: {type(error).__name__}: {error}. Mend it, "
                "or uninstall its package"
            ) from error
        if not callable(policy):
            raise SpecInvalid(
                f"the policy {entry.name!r} ({entry.value}) can't be called: expected a function"
            )
        yield policy


def checks(limits: Limits) -> Iterator[Check]:
    """What is looked at in all that leaves."""
    if limits.sent is not None:
        yield _of_size(limits.sent)


def space(workspace: Path, limits: Limits) -> Policy:
    """Refuses a job for which the disk has no room left."""

    def policy(_ticket: Ticket) -> None:
        there = guarded.free_bytes(workspace)
        if there < limits.disk_free:
            raise JobRefused(
                f"this site's disk has {there} bytes left, and its node begins no job below {limits.disk_free}"
            )

    return policy


def fits(pattern: str, algorithm: Algorithm) -> bool:
    """Whether a pattern means an algorithm: its digest, its name, or its dialect and name."""
    if pattern.startswith(_DIGEST):
        return pattern == algorithm.digest
    return fnmatchcase(algorithm.name, pattern) or fnmatchcase(
        f"{algorithm.dialect}:{algorithm.name}", pattern
    )


def _of_algorithms(policies: Policies) -> Policy:
    listed = policies.algorithms

    def policy(ticket: Ticket) -> None:
        algorithm = ticket.algorithm
        named = f"{algorithm.dialect} algorithm {algorithm.name!r} ({algorithm.digest})"
        if listed and not any(fits(pattern, algorithm) for pattern in listed):
            raise JobRefused(f"{named} is not among the {len(listed)} that this site allows")
        if policies.bundles == "refuse":
            raise JobRefused(f"{named} is a bundle of source code, and this site takes none")
        if policies.bundles == "listed" and algorithm.digest not in listed:
            raise JobRefused(
                f"{named} is a bundle of source code, and this site takes only those that it lists by digest. Ask its "
                "people to look at it, and to list it"
            )

    return policy


def _of_names(what: str, allowed: tuple[str, ...]) -> Policy:
    def policy(ticket: Ticket) -> None:
        behalf = ticket.behalf
        known = {
            "collaboration": (behalf.collaboration, behalf.collaboration_name),
            "organization": (behalf.organization, behalf.organization_name),
            "submitter": (behalf.submitter,),
        }[what]
        named = [name for name in known if name]
        if not set(named) & set(allowed):
            asks = f"the {what} {named[-1]!r}" if named else f"a {what} that the hub doesn't name"
            raise JobRefused(f"this site does nothing for {asks}: it is not among those that it allows")

    return policy


def _of_rounds(most: int) -> Policy:
    def policy(ticket: Ticket) -> None:
        if ticket.iteration > most:
            raise JobRefused(
                f"this would be iteration {ticket.iteration}, and this site takes part in at most {most}"
            )

    return policy


def _of_size(most_bytes: int) -> Check:
    def check(_ticket: Ticket, outgoing: Outgoing) -> None:
        size_bytes = outgoing.body_bytes
        if outgoing.files is not None:
            for count, (_, file) in enumerate(guarded.regular_files(outgoing.files)):
                size_bytes += file.seek(0, 2)
                file.seek(0)
                if size_bytes > most_bytes or count > FILES_PER_CALL_MAX:
                    break
        if size_bytes > most_bytes:
            raise JobRefused(
                f"the job would send more than {most_bytes} bytes, the most that this site sends"
            )

    return check
