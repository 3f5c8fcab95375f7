from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtimes.kubernetes.playback import golden

from atoll.engine.limits import CallLimits
from atoll.engine.running import Image, ImageKind, Launch, Mount, Style
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.model.work import Seat
from atoll.runtimes.containers.settings import Pull
from atoll.runtimes.kubernetes.manifest import (
    OWNER,
    Call,
    Manifests,
    closes,
    label_of,
    opens,
    owner_of,
    unexpanded,
)
from atoll.runtimes.kubernetes.settings import KubernetesSettings


def call(volume: Path, **changes: Any) -> Call:
    for name in ("code/test", "tmp", "base", "data", "call"):
        (volume / "run" / name).mkdir(parents=True, exist_ok=True)
    for name in ("in", "out", "log", "blank"):
        (volume / "run" / "call" / name).touch()
    (volume / "run" / "code" / "inputspec.json").touch()
    launch = Launch(
        seat=Seat("Universität Utrecht"),
        style=Style.CALL,
        code=volume / "run" / "code",
        image=Image(kind=ImageKind.OCI, name="ssr:1", digest=f"sha256:{'3f' * 32}"),
        command=("python", "/computation/local.py", "$(SECRET)"),
        masked=("test", "inputspec.json", "isn't there", "../data"),
        mounts=(
            Mount(source=volume / "run" / "base", target="/input/base", writable=True),
            Mount(source=volume / "run" / "data", target="/data"),
        ),
        temporary=volume / "run" / "tmp",
        log=volume / "run" / "log",
        limits=CallLimits(seconds=3600, memory_bytes=4 * 1024**3, processors=1.5),
    )
    return Call(
        name="atoll-0123456789ab",
        launch=replace(launch, **changes),
        folder=volume / "run" / "call",
        environment={"SECRET": "hush $(HOME)", "TMPDIR": "/data"},
        user=(65532, 65532),
        groups=(1000,),
    )


def manifests(volume: Path, **more: Any) -> Manifests:
    settings = KubernetesSettings(
        namespace="algorithms", claim="atoll-data", mounted_at=volume, queued_seconds=3600, **more
    )
    return Manifests(settings=settings, owner="f2cc42805e2ebd4a")


def test_a_job_is_made_as_it_was_looked_at(tmp_path: Path) -> None:
    """Whoever changes how algorithms are kept in changes the recording, too, and sees what it does."""
    asked = manifests(
        tmp_path,
        pull=Pull.ALWAYS,
        image_pull_secrets=("registry",),
        node_selector={"purpose": "analysis"},
        tolerations=({"key": "gpu", "operator": "Exists"},),
        gpus=1,
    )

    assert golden("job") == json.loads(json.dumps(asked.job(call(tmp_path))))


def test_a_job_without_bounds_asks_for_none(tmp_path: Path) -> None:
    pod = manifests(tmp_path).job(call(tmp_path, limits=CallLimits()))["spec"]["template"]["spec"]

    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"ephemeral-storage": "268435456"}
    assert not {"imagePullSecrets", "nodeSelector", "tolerations"} & set(pod)


def test_no_value_of_a_variable_stands_in_a_job(tmp_path: Path) -> None:
    asked = call(tmp_path)

    assert "hush" not in json.dumps(manifests(tmp_path).job(asked))
    assert manifests(tmp_path).secret(asked)["data"] == {"v0": "aHVzaCAkKEhPTUUp", "v1": "L2RhdGE="}


def test_kubernetes_puts_no_value_into_a_word() -> None:
    assert unexpanded("$(SECRET) costs $5, $$") == "$$(SECRET) costs $$5, $$$$"


def test_a_command_reaches_its_program_word_for_word(tmp_path: Path) -> None:
    words = ("cat", "-", "no such; file", "$(SECRET) $HOME `x`")
    asked = call(tmp_path, command=words)
    (container,) = manifests(tmp_path).job(asked)["spec"]["template"]["spec"]["containers"]
    (asked.folder / "in").write_text("asked")

    started = [
        word.replace("$$", "$").replace("/run/atoll/call", str(asked.folder))
        for word in (*container["command"], *container["args"])
    ]
    done = subprocess.run(started, capture_output=True, check=False, env={"LC_ALL": "C"})

    assert (1, b"", b"") == (done.returncode, done.stdout, done.stderr)
    assert (asked.folder / "out").read_text() == "asked"
    assert (asked.folder / "log").read_text().splitlines() == [
        "cat: 'no such; file': No such file or directory",
        "cat: '$(SECRET) $HOME `x`': No such file or directory",
    ]


def test_only_what_lies_within_the_volume_is_shown(tmp_path: Path) -> None:
    volume, other = tmp_path / "volume", tmp_path / "volume-2"
    other.mkdir()
    asked = call(volume)
    link = volume / "run" / "link"
    os.symlink(other, link)

    for source in (other, link, volume):
        mounts = (Mount(source=source, target="/data"),)
        with pytest.raises(RuntimeUnavailable, match="doesn't lie within the volume of the claim atoll-data"):
            manifests(volume).job(replace(asked, launch=replace(asked.launch, mounts=mounts)))


def test_what_can_t_be_shown_is_told(tmp_path: Path) -> None:
    with pytest.raises(AlgorithmFailed, match="no such file or folder"):
        manifests(tmp_path).job(call(tmp_path, mounts=(Mount(source=tmp_path / "none", target="/data"),)))
    with pytest.raises(AlgorithmFailed, match="expected an absolute path"):
        manifests(tmp_path).job(call(tmp_path, mounts=(Mount(source=tmp_path / "run", target="data"),)))


def test_code_of_the_image_runs_in_the_image_s_own_folder(tmp_path: Path) -> None:
    (container,) = manifests(tmp_path).job(call(tmp_path, code=None))["spec"]["template"]["spec"][
        "containers"
    ]

    assert "workingDir" not in container
    assert all(not each["mountPath"].startswith("/computation") for each in container["volumeMounts"])


def test_an_owner_is_a_folder_of_a_claim_wherever_that_is_mounted() -> None:
    assert owner_of("a", Path("/x"), Path("/x/w")) == owner_of("a", Path("/y"), Path("/y/w"))
    assert owner_of("a", Path("/x"), Path("/x/w")) != owner_of("b", Path("/x"), Path("/x/w"))


def test_a_label_is_what_kubernetes_takes_for_one() -> None:
    assert label_of("Universität Utrecht") == "Universit-t-Utrecht"
    assert label_of("-" * 70) == "seat"
    assert len(label_of("x" * 70)) == 63


def test_the_policy_is_made_as_it_was_looked_at(tmp_path: Path) -> None:
    assert golden("policy") == manifests(tmp_path).policy()


@pytest.mark.parametrize(
    "spec",
    [
        {"egress": [{}]},
        {"ingress": [{"ports": []}]},
        {"policyTypes": ["Ingress"]},
        {"podSelector": {"matchLabels": {OWNER: "somebody"}}},
        {"podSelector": {"matchLabels": {OWNER: "f2cc42805e2ebd4a"}, "matchExpressions": []}},
    ],
)
def test_a_policy_that_says_something_else_closes_nothing(tmp_path: Path, spec: dict[str, Any]) -> None:
    wanted = manifests(tmp_path).policy()

    assert closes(wanted, wanted)
    assert not closes({"spec": {**wanted["spec"], **spec}}, wanted)


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ({}, True),
        ({"matchLabels": {OWNER: "me"}}, True),
        ({"matchLabels": {OWNER: "you"}}, False),
        ({"matchLabels": {"app": "web"}}, False),
        ({"matchLabels": {OWNER: "me", "app": "web"}}, False),
        ({"matchLabels": {"job-name": "x"}}, True),
        ({"matchExpressions": [{"key": OWNER, "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": OWNER, "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": OWNER, "operator": "NotIn", "values": ["me"]}]}, False),
        ({"matchExpressions": [{"key": OWNER, "operator": "In", "values": ["me", "you"]}]}, True),
    ],
)
def test_a_policy_opens_what_its_selector_may_fit(selector: dict[str, Any], fits: bool) -> None:
    rules: dict[str, Any] = {"egress": [{}]}

    assert opens({"spec": {"podSelector": selector, **rules}}, {OWNER: "me"}) is fits
    assert not opens({"spec": {"podSelector": selector, "policyTypes": ["Egress"]}}, {OWNER: "me"})


def test_folders_that_an_image_calls_volumes_are_covered(tmp_path: Path) -> None:
    """Else they lie on a machine's disk, where no bound holds for them."""
    asked = replace(
        call(tmp_path), volumes=("/cache/", "//cache", "/var/../data", "/tmp", "log", "/", "/input")
    )

    pod = manifests(tmp_path).job(asked)["spec"]["template"]["spec"]

    bounded = {"medium": "Memory", "sizeLimit": str(256 * 1024**2)}
    room = {each["name"]: each["emptyDir"] for each in pod["volumes"] if each["name"].startswith("room")}
    assert room == dict.fromkeys(["room0", "room1", "room2"], bounded)
    mounts = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] in room]
    assert mounts == [
        {"name": name, "mountPath": target}
        for name, target in zip(room, ("/cache", "/input", "/log"), strict=True)
    ]
