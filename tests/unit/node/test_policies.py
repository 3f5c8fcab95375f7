"""A site does what its rules allow, and says in a sentence what it doesn't do."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tests.federation import make_ticket

from atoll.algorithms.manifest import ImageNamed, Manifest
from atoll.engine.running import Image, ImageKind
from atoll.model.errors import JobRefused, SpecInvalid
from atoll.model.work import Algorithm, Behalf, Role, Ticket
from atoll.node import policies
from atoll.node.rules import Outgoing
from atoll.node.settings import Limits, Policies

DIGEST = "sha256:" + "1" * 64
MEAN = Algorithm(dialect="functions", digest=DIGEST, name="mean")
CODE = Manifest(dialect="functions", name="mean", target="mean.py")
IMAGE = ImageNamed(name="registry.example/group/mean:1.0", digest="sha256:" + "2" * 64)
IN_IMAGE = replace(CODE, kind="image", image=IMAGE)


def ticket(behalf: Behalf | None = None, *, iteration: int = 1) -> Ticket:
    """A ticket for the mean."""
    return replace(make_ticket(iteration=iteration), algorithm=MEAN, behalf=behalf or Behalf())


def refusal(rules: Policies, asked: Ticket | None = None, manifest: Manifest | None = None) -> str | None:
    """Why a site with these rules doesn't do a job; None where it does."""
    wanted = asked or ticket()
    try:
        for policy in policies.built_in(rules):
            policy(wanted)
        policies.admission(rules)(wanted.algorithm, manifest or CODE)
    except JobRefused as error:
        return str(error)
    return None


@pytest.mark.parametrize("pattern", [DIGEST, "mean", "m*", "functions:m*"])
def test_an_algorithm_is_meant_by_its_digest_its_name_or_its_dialect_and_name(pattern: str) -> None:
    assert refusal(Policies(algorithms=(pattern,), bundles="allow")) is None


@pytest.mark.parametrize("pattern", ["sha256:" + "2" * 64, "Mean", "coinstac:mean", "median"])
def test_an_algorithm_that_is_not_listed_is_refused(pattern: str) -> None:
    expected = f"functions algorithm 'mean' ({DIGEST}) is not among the 1 that this site allows"

    assert refusal(Policies(algorithms=(pattern,), bundles="allow")) == expected


def test_a_bundle_that_is_listed_by_name_alone_is_not_listed() -> None:
    assert "only those that it lists by digest" in (refusal(Policies(algorithms=("mean",))) or "")
    assert refusal(Policies(algorithms=("mean", DIGEST))) is None
    assert "takes none" in (refusal(Policies(algorithms=(DIGEST,), bundles="refuse")) or "")


@pytest.mark.parametrize(
    "pattern",
    [
        DIGEST,
        IMAGE.digest,
        "registry.example/group/mean:1.0",
        "registry.example/group/mean",
        "registry.example/*",
        f"registry.example/group/mean@{IMAGE.digest}",
    ],
)
def test_an_image_is_listed_by_a_digest_or_by_its_name(pattern: str) -> None:
    assert refusal(Policies(algorithms=(pattern,)), manifest=IN_IMAGE) is None
    assert refusal(Policies(algorithms=(pattern,), images="allow"), manifest=IN_IMAGE) is None
    assert "takes none" in (
        refusal(Policies(algorithms=(pattern,), images="refuse"), manifest=IN_IMAGE) or ""
    )


@pytest.mark.parametrize(
    "pattern",
    ["mean", "functions:mean", "registry.example/other/*", f"registry.example/group/mean@{DIGEST}", "*:2.0"],
)
def test_an_image_is_not_listed_by_what_it_calls_itself(pattern: str) -> None:
    assert "takes only those that it lists by digest or by name" in (
        refusal(Policies(algorithms=(pattern,)), manifest=IN_IMAGE) or ""
    )
    assert "is not among the 1 algorithms" in (
        refusal(Policies(algorithms=(pattern,), images="allow"), manifest=IN_IMAGE) or ""
    )


def test_without_a_list_images_are_refused_unless_all_are_allowed() -> None:
    assert refusal(Policies(), manifest=IN_IMAGE) is not None
    assert refusal(Policies(images="allow"), manifest=IN_IMAGE) is None


def test_an_image_of_docker_hub_is_meant_by_its_short_and_by_its_whole_name() -> None:
    manifest = replace(CODE, kind="image", image=ImageNamed(name="mean", digest=DIGEST))

    for pattern in (
        "mean",
        "m*",
        "docker.io/library/mean",
        "docker.io/mean",
        "index.docker.io/mean",
        "docker.io/*",
    ):
        assert refusal(Policies(algorithms=(pattern,)), manifest=manifest) is None


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("mean*", "mean.stranger.example/mean"),
        ("m*", "m.stranger.example:5000/group/mean"),
        ("group*/mean", "group.stranger.example/mean"),
        ("*.hospital.example/mean", "stranger.example/x.hospital.example/mean"),
        ("registry.example/group/*", "registry.example.stranger.example/group/mean"),
        ("registry.example*", "registry.example.stranger.example/mean"),
        ("registry.example/mean", "registry.example:5000/mean"),
        ("registry.exampl?/mean", "registry.exampl.e/mean"),
    ],
)
def test_a_pattern_does_not_mean_a_stranger_whose_host_or_path_looks_like_it(pattern: str, name: str) -> None:
    image = ImageNamed(name=name, digest=DIGEST)

    assert not policies.fits_image(pattern, image)
    assert not policies.fits_image(f"{pattern}@{DIGEST}", image)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*", "registry.example/group/mean:1"),
        ("*/mean", "registry.example/mean"),
        ("*/mean", "registry.example/mean:1"),
        ("*.example/*", "registry.example/group/mean:1"),
        ("registry.example:443/mean", "registry.example/mean"),
        ("registry.example/mean", "Registry.Example:0443/mean:1"),
        ("registry.example/mean:1", "registry.example:443/mean:1"),
        ("[::1]:5000/*", "[0::1]:5000/mean"),
        ("group/*", "docker.io/group/mean"),
        ("localhost/mean", "localhost/mean:2"),
    ],
)
def test_a_pattern_means_an_image_however_its_name_is_written(pattern: str, name: str) -> None:
    assert policies.fits_image(pattern, ImageNamed(name=name, digest=DIGEST))


def test_a_file_is_meant_by_its_name() -> None:
    named = ImageNamed(kind=ImageKind.SIF, name="mean.sif", digest="sha256:" + "3" * 64)

    assert refusal(Policies(algorithms=("*.sif",)), manifest=replace(IN_IMAGE, image=named)) is None


def test_every_image_of_an_algorithm_must_be_listed() -> None:
    other = ImageNamed(name="registry.example/other", digest=DIGEST)
    both = replace(IN_IMAGE, dialect="coinstac", aggregator_image=other)

    assert "registry.example/other" in (refusal(Policies(algorithms=(IMAGE.digest,)), manifest=both) or "")


def test_code_in_an_image_needs_leave_for_both() -> None:
    both = replace(CODE, image=IMAGE)

    assert "bundle of source code" in (refusal(Policies(algorithms=("mean",)), manifest=both) or "")
    assert "is not among the images" in (refusal(Policies(bundles="allow"), manifest=both) or "")
    assert refusal(Policies(bundles="allow", images="allow"), manifest=both) is None


def test_a_site_may_work_for_some_people_alone() -> None:
    behalf = Behalf(
        collaboration="col_1",
        collaboration_name="islands",
        submitter="ada",
        organization="org_1",
        organization_name="UU",
    )

    for rules in (
        Policies(bundles="allow", collaborations=("islands",)),
        Policies(bundles="allow", collaborations=("col_1",)),
        Policies(bundles="allow", organizations=("UU",), submitters=("ada",)),
    ):
        assert refusal(rules, ticket(behalf)) is None
    assert refusal(Policies(bundles="allow", submitters=("bob",)), ticket(behalf)) == (
        "this site does nothing for the submitter 'ada': it is not among those that it allows"
    )
    assert "doesn't name" in (refusal(Policies(bundles="allow", collaborations=("islands",))) or "")


def test_a_site_takes_part_in_so_many_rounds() -> None:
    rules = Policies(bundles="allow", rounds_max=3)

    assert refusal(rules, ticket(iteration=3)) is None
    assert refusal(rules, ticket(iteration=4)) == (
        "this would be iteration 4, and this site takes part in at most 3"
    )


def test_what_is_too_much_does_not_leave(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 60)
    (check,) = policies.checks(Limits(sent=100))

    check(ticket(), Outgoing(body=b"y" * 40, files=tmp_path))
    check(ticket(), Outgoing(body=b"y" * 100))
    with pytest.raises(JobRefused, match="more than 100 bytes"):
        check(ticket(), Outgoing(body=b"y" * 41, files=tmp_path))
    assert list(policies.checks(Limits())) == []


def test_a_full_disk_begins_nothing(tmp_path: Path) -> None:
    policies.space(tmp_path, Limits(disk_free=0))(ticket())

    with pytest.raises(JobRefused, match="disk has"):
        policies.space(tmp_path, Limits(disk_free=1 << 62))(ticket())


def no_fridays(_ticket: Ticket) -> None:
    """A policy of a package."""
    raise JobRefused("not on Fridays")


def test_a_package_brings_policies_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint(name="fridays", value=f"{__name__}:no_fridays", group=policies.GROUP)
    monkeypatch.setattr(policies, "entry_points", lambda group: [entry] if group == "atoll.policies" else [])

    (policy,) = policies.installed()

    with pytest.raises(JobRefused, match="not on Fridays"):
        policy(ticket())


@pytest.mark.parametrize(
    ("value", "words"), [("no_such:rule", "can't be loaded"), ("math:pi", "can't be called")]
)
def test_a_node_does_not_start_without_a_policy_that_it_should_have(
    monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    entry = EntryPoint(name="rule", value=value, group=policies.GROUP)
    monkeypatch.setattr(policies, "entry_points", lambda **_: [entry])

    with pytest.raises(SpecInvalid, match=words):
        list(policies.installed())


def why_mute(*patterns: str, peers: str = "listed", image: bool = False) -> str | None:
    """Why an algorithm may not talk to other sites."""
    packed = Image(kind=IMAGE.kind, name=IMAGE.name, digest=IMAGE.digest) if image else None
    return policies.mute(Policies(peers=peers, peers_for=patterns), MEAN, packed)


def test_no_algorithm_talks_to_other_sites_unless_the_site_says_so() -> None:
    assert "'policies.peers' of its node.yaml is 'refuse'" in (policies.mute(Policies(), MEAN, None) or "")
    assert why_mute(peers="allow") is None


@pytest.mark.parametrize("pattern", [DIGEST, "mean", "functions:m*"])
def test_code_that_is_listed_may_talk_to_other_sites(pattern: str) -> None:
    assert why_mute("other", pattern) is None


@pytest.mark.parametrize("pattern", [DIGEST, IMAGE.digest, "registry.example/group/mean"])
def test_an_image_that_is_listed_may_talk_to_other_sites(pattern: str) -> None:
    assert why_mute("other", pattern, image=True) is None


@pytest.mark.parametrize(("pattern", "image"), [("median", False), ("mean", True)])
def test_what_is_not_listed_may_not_talk_to_other_sites(pattern: str, *, image: bool) -> None:
    """What an image calls itself doesn't count."""
    assert "not among the 1 that 'policies.peers_for'" in (why_mute(pattern, image=image) or "")


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("registry.example/trusted/*", False),
        ("*/trusted/mean", False),
        ("functions:registry.example/trusted/mean", True),
        ("*mean", True),
    ],
)
def test_code_that_is_called_as_an_image_is_none(pattern: str, meant: bool) -> None:
    algorithm = Algorithm(
        dialect="functions", digest="sha256:" + "0" * 64, name="registry.example/trusted/mean"
    )
    assert policies.means(pattern, algorithm, None, Role.SITE) is meant
