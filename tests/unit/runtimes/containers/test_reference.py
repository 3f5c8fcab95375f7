"""One image has one name, however it was written."""

from __future__ import annotations

import pytest

from atoll.engine.running import Image, ImageKind
from atoll.model.errors import JobRefused
from atoll.runtimes.containers.reference import check_digest, identity_of, read_reference

DIGEST = "sha256:" + 64 * "a"


@pytest.mark.parametrize(
    ("name", "repository", "tag"),
    [
        ("ubuntu", "docker.io/library/ubuntu", ""),
        ("ubuntu:24.04", "docker.io/library/ubuntu", "24.04"),
        ("group/name:v1", "docker.io/group/name", "v1"),
        ("index.docker.io/library/ubuntu", "docker.io/library/ubuntu", ""),
        ("registry-1.docker.io/ubuntu", "docker.io/library/ubuntu", ""),
        ("Registry.Example/group/name:v1", "registry.example/group/name", "v1"),
        ("registry.example:443/name", "registry.example/name", ""),
        ("registry.example:5000/a/b/c_d/e__f:V.1-2", "registry.example:5000/a/b/c_d/e__f", "V.1-2"),
        ("registry.example:0443/name", "registry.example/name", ""),
        ("registry.example:05000/name", "registry.example:5000/name", ""),
        ("index.docker.io:443/ubuntu", "docker.io/library/ubuntu", ""),
        ("127.0.0.1:5000/name", "127.0.0.1:5000/name", ""),
        ("[0:0::1]:5000/name", "[::1]:5000/name", ""),
        ("localhost/name", "localhost/name", ""),
        ("[::1]:5000/name", "[::1]:5000/name", ""),
        (f"registry.example/name:v1@{DIGEST}", "registry.example/name", "v1"),
    ],
)
def test_a_name_is_read_as_registries_read_it(name: str, repository: str, tag: str) -> None:
    reference = read_reference(name)

    assert (repository, tag) == (reference.repository, reference.tag)
    assert f"{repository}@{DIGEST}" == reference.at(DIGEST)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ":tag",
        "name:",
        "Upper/case",
        "registry.example/../../etc/passwd",
        "registry.example//name",
        "registry.example/name?x=y",
        "registry.example/name#x",
        "registry.example/na me",
        "registry.example/name:ta/g",
        "registry.example./name",
        "user:password@registry.example/name",
        "registry.example:99999999/name",
        "registry.example:99999/name",
        "registry.example:0/name",
        "registry.example:/name",
        "127.1/name",
        "0x7f.1:5000/name",
        "2130706433:80/name",
        "0177.0.0.1/name",
        "[127.0.0.1]/name",
        "[fe80::1%eth0]/name",
        "[::1/name",
        "-registry.example/name",
        "registry.example/" + 250 * "n",
        "registry.example/name\n",
        "registry.example:a:b/name",
    ],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(JobRefused, match="names no image: expected a name such as"):
        read_reference(name)


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256:" + 64 * "A", "sha512:" + 128 * "a", DIGEST + "\n", "latest"]
)
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(JobRefused, match="expected its digest"):
        check_digest(Image(kind=ImageKind.OCI, name="ubuntu", digest=digest))


@pytest.mark.parametrize("name", ["/data/images/mean.sif", "mean.sif", "/data/mean.sif/"])
def test_a_file_is_known_by_its_own_name_wherever_it_lies(name: str) -> None:
    assert "mean.sif" == identity_of(Image(kind=ImageKind.SIF, name=name, digest=DIGEST))
