"""The policies of a node.yaml, and those that are installed beside Atoll.

A name is what an algorithm calls itself: whoever writes one may call it as he likes. Only a digest
says which code it is. So what is listed by name alone keeps mistakes away, and nobody who means harm.
An image's name is more: it is fetched from there, and by its digest.

Whether a ticket asks for code or for an image is known when the bundle is here. So rules about
algorithms are asked then, and all others before anything is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path

from atoll.algorithms.manifest import DIALECTS, ImageNamed, Manifest
from atoll.engine.limits import FILES_PER_CALL_MAX
from atoll.engine.running import Image, ImageKind
from atoll.model.errors import JobRefused, SpecInvalid
from atoll.model.work import Algorithm, Role, Ticket
from atoll.node import guarded
from atoll.node.rules import Check, Outgoing, Policy
from atoll.node.settings import Limits, Policies
from atoll.runtimes.containers.reference import DOCKER, canonical_host, read_reference

#: Where packages name policies of their own.
GROUP = "atoll.policies"
_DIGEST = "sha256:"


def built_in(policies: Policies) -> Iterator[Policy]:
    """The policies that node.yaml names, but for those about the algorithm."""
    if policies.collaborations:
        yield _of_names("collaboration", policies.collaborations)
    if policies.organizations:
        yield _of_names("organization", policies.organizations)
    if policies.submitters:
        yield _of_names("submitter", policies.submitters)
    if policies.rounds_max is not None:
        yield _of_rounds(policies.rounds_max)


def admission(policies: Policies) -> Callable[[Algorithm, Manifest], None]:
    """What node.yaml says about algorithms: raises `JobRefused` for one that the site doesn't take.

    It is asked with what a ticket says of the algorithm, and with what its bundle says.
    """

    def admit(algorithm: Algorithm, manifest: Manifest) -> None:
        if manifest.kind != "image":
            _check_code(policies, algorithm)
        for image in manifest.images:
            _check_image(policies, algorithm, image)

    return admit


def by_image(policies: Policies, *, gives_more: bool = False) -> Callable[[Algorithm, Manifest], bool]:
    """Says whether a site takes an algorithm for what its image is: then the image must say itself how it starts.

    Where the site takes any image from anybody, and gives the same to all, nothing is kept off by that.

    Args:
        policies: of the site.
        gives_more: whether the site gives some algorithms what it doesn't give to others.
    """
    named = (policies.algorithms, policies.signers, policies.databases, policies.peers_for)
    takes_any = policies.images == "allow" and not any(named) and not gives_more

    def rule(algorithm: Algorithm, manifest: Manifest) -> bool:
        return manifest.kind == "image" and algorithm.digest not in policies.algorithms and not takes_any

    return rule


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


def fits_image(pattern: str, image: ImageNamed) -> bool:
    """Whether a pattern means an image: its digest, its name with or without a tag, or a name and the digest."""
    name, at, digest = pattern.rpartition("@")
    if not at and pattern.startswith(_DIGEST):
        return pattern == image.digest
    if at and digest != image.digest:
        return False
    listed = name if at else pattern
    if image.kind is not ImageKind.OCI or listed == "*":
        return fnmatchcase(image.name, listed)
    whole = read_reference(image.name)
    host, path = _host_and_path(listed)
    # A star stands for strokes, too; but what is meant as a path must not fit a stranger's host, or as a host his path.
    if host != "*" and not fnmatchcase(whole.host, host.replace("[", "[[]")):
        return False
    paths = {whole.path, f"{whole.path}:{whole.tag}"} if whole.tag else {whole.path}
    return any(fnmatchcase(each, path) for each in paths)


def _host_and_path(pattern: str) -> tuple[str, str]:
    """The two parts of a pattern of images' names: a name without a host is one of Docker's own registry."""
    first, stroke, rest = pattern.partition("/")
    if not stroke:
        return DOCKER, f"library/{pattern}"
    if first not in {"*", "localhost"} and not set(first) & set(".:"):
        return DOCKER, pattern
    host = first.lower() if "*" in first else canonical_host(first) or first
    is_short = host == DOCKER and not set(rest) & set("/*")
    return host, f"library/{rest}" if is_short else rest


def means(pattern: str, algorithm: Algorithm, manifest: Manifest | None, role: Role) -> bool:
    """Whether a pattern means an algorithm, as its bundle describes it: of an image its own names count alone.

    Args:
        pattern: of node.yaml.
        algorithm: what a ticket says.
        manifest: what its bundle says; None where that is not known.
        role: what it is to be here. Another image of it, which runs in another role, is not meant.
    """
    if manifest is None or manifest.kind != "image":
        # Whoever uploads code calls it what he likes: an image's name, too.
        return not _is_of_image(pattern) and fits(pattern, algorithm)
    image = (manifest.aggregator_image if role is Role.AGGREGATOR else None) or manifest.image
    return algorithm.digest == pattern or (image is not None and fits_image(pattern, image))


def _is_of_image(pattern: str) -> bool:
    """Whether a pattern is written as the name of an image in a registry, and not as that of a dialect's algorithm."""
    return "/" in pattern and not pattern.startswith(tuple(f"{dialect}:" for dialect in DIALECTS))


def mute(policies: Policies, algorithm: Algorithm, image: Image | None) -> str | None:
    """Why an algorithm may not talk to other sites while it runs; None where it may."""
    if policies.peers == "allow":
        return None
    if policies.peers == "refuse":
        return (
            "this site lets no algorithm talk to other sites: 'policies.peers' of its node.yaml is 'refuse'"
        )
    named = None if image is None else ImageNamed(kind=image.kind, name=image.name, digest=image.digest)
    for pattern in policies.peers_for:
        # What an image calls itself doesn't count.
        if algorithm.digest == pattern or (
            fits(pattern, algorithm) if named is None else fits_image(pattern, named)
        ):
            return None
    return (
        f"this site doesn't let {algorithm.name!r} ({algorithm.digest}) talk to other sites: it is not among the "
        f"{len(policies.peers_for)} that 'policies.peers_for' of its node.yaml lists"
    )


def _check_code(policies: Policies, algorithm: Algorithm) -> None:
    listed = policies.algorithms
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


def _check_image(policies: Policies, algorithm: Algorithm, image: ImageNamed) -> None:
    listed = policies.algorithms
    named = f"image {image.name} ({image.digest})"
    if policies.images == "refuse":
        raise JobRefused(f"{named} is an image, and this site takes none")
    if algorithm.digest in listed or any(fits_image(pattern, image) for pattern in listed):
        return
    if policies.images == "listed":
        raise JobRefused(
            f"{named} is not among the images that this site allows: it takes only those that it lists by digest or by "
            "name. Ask its people to look at it, and to list it"
        )
    if listed:
        raise JobRefused(f"{named} is not among the {len(listed)} algorithms that this site allows")


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
