"""A node.yaml says what a node does; whatever is wrong with it is told in a sentence, with its place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from atoll.engine.running import ImageKind
from atoll.model.errors import SpecInvalid
from atoll.node.environment import Environment, NamedImage
from atoll.node.offer import Source
from atoll.node.settings import NodeSettings, Policies, read_settings, setting_names
from atoll.runtimes.containers.settings import ContainerSettings, Pull, Registry, Service
from atoll.runtimes.kubernetes.settings import KubernetesSettings
from atoll.runtimes.slurm.options import SlurmOptions, Talk

DOCS = Path(__file__).resolve().parents[3] / "docs"


def write(root: Path, text: str) -> Path:
    """A node.yaml, with a few files beside it."""
    (root / "patients.csv").write_text("age\n1\n")
    for name, mode in (("secret", 0o600), ("address", 0o600), ("open", 0o644), ("ca.pem", 0o644)):
        (root / name).write_text("db://ada:hidden@host/x\n" if name == "address" else "hidden\n")
        (root / name).chmod(mode)
    path = root / "node.yaml"
    path.write_text(text)
    return path


def read(root: Path, text: str) -> NodeSettings:
    """What a node.yaml says."""
    return read_settings(write(root, text))


def faults(root: Path, text: str) -> list[str]:
    """What is wrong with a node.yaml, without its path."""
    path = write(root, text)
    with pytest.raises(SpecInvalid) as refused:
        read_settings(path)
    return [fault.removeprefix(f"{path}: ").replace(str(root), "ROOT") for fault in refused.value.faults]


def test_a_hub_alone_is_enough_and_all_else_is_safe(tmp_path: Path) -> None:
    settings = read(tmp_path, "hub: https://hub.example.org\n")

    assert settings.hub == "https://hub.example.org"
    assert settings.runtime == "bubblewrap"
    assert not settings.allow_unsandboxed
    assert settings.policies.bundles == "listed"
    assert not settings.log.send
    assert settings.workspace == tmp_path / "workspace"
    assert settings.key_file == tmp_path / "node.key"


def test_who_may_talk_to_other_sites_is_read(tmp_path: Path) -> None:
    settings = read(
        tmp_path, "hub: https://hub.example.org\npolicies: {peers: listed, peers_for: ['sha256:1']}\n"
    )

    assert ("listed", ("sha256:1",)) == (settings.policies.peers, settings.policies.peers_for)
    assert "refuse" == Policies().peers


#: How an environment's image may be named.
NAMES = (
    "expected one such as registry.example/stats@sha256:… (with the 64 digits of its digest), stats:2026 for one that "
    "this machine's engine has, or sif:stats.sif for a file"
)
#: A node.yaml that says all that can be said.
EVERYTHING = f"""
hub: https://hub.example.org
key_file: secret
ca_file: ca.pem
proxy: http://proxy:3128
name: utrecht
holds_data: false
databases:
  patients: patients.csv
  registry:
    uri: {{file: address}}
    type: sql
    env: {{PASSWORD: {{file: secret}}}}
env: {{LEAST: 5}}
env_for: {{"mean*": {{LEAST: 3}}}}
environments:
  plain: {sys.executable}
  tools: {{python: {sys.executable}, provides: [vantage6-4]}}
runtime: process
allow_unsandboxed: true
policies:
  algorithms: ["sha256:1", "mean*"]
  bundles: allow
  images: refuse
  signers: {{"registry.example/*": [ca.pem]}}
  collaborations: islands
  submitters: [ada]
  organizations: [uu]
  databases: {{"mean": [patients]}}
  rounds_max: 20
limits: {{seconds: 60, memory: 2GiB, reply: 1MB, sent: 500, disk_free: 1.5GB, disk: 3GB, processes: 50,
          processors: 1.5, log: 1KB}}
containers:
  engine: podman
  socket: unix:///run/own.sock
  pull: always
  registries:
    "registry.example:5000": {{username: ada, password_file: secret, ca_file: ca.pem, plain: true}}
  user: "1000:100"
  gpus: all
  helper_image: python:3.11-slim
  service: exec
  keep_days: 7
  keep_bytes: 20GiB
slots: 3
drain_seconds: 5
workspace: work
data_maps: maps.yaml
log: {{level: debug, send: true, keep_days: 0}}
"""


def test_everything_that_can_be_said_is_read(tmp_path: Path) -> None:
    settings = read(tmp_path, EVERYTHING)

    assert settings.offer.databases["patients"] == Source(type="csv", path=tmp_path / "patients.csv")
    assert settings.offer.databases["registry"].url == "db://ada:hidden@host/x"
    assert settings.offer.databases["registry"].options == {"env": {"PASSWORD": "hidden"}}
    assert settings.offer.environment == {"LEAST": "5"}
    assert settings.env_for == {"mean*": {"LEAST": "3"}}
    assert [each.name for each in settings.environments] == ["plain", "tools"]
    assert settings.environments[1].provides == ("vantage6-4",)
    assert settings.policies.collaborations == ("islands",)
    assert settings.policies.databases == {"mean": ("patients",)}
    assert settings.limits.of_a_call().memory_bytes == 2 * 1024**3
    assert (settings.limits.reply, settings.limits.sent) == (10**6, 500)
    assert settings.limits.disk_free == 1_500_000_000


def test_bounds_and_containers_are_read(tmp_path: Path) -> None:
    settings = read(tmp_path, EVERYTHING)

    limits = settings.limits.of_a_call()
    assert (limits.disk_bytes, limits.processes, limits.processors, limits.log_bytes) == (
        3 * 10**9,
        50,
        1.5,
        1000,
    )
    assert (settings.policies.images, settings.policies.signers) == (
        "refuse",
        {"registry.example/*": (tmp_path / "ca.pem",)},
    )
    assert settings.containers == ContainerSettings(
        engine="podman",
        socket=Path("/run/own.sock"),
        pull=Pull.ALWAYS,
        registries={
            "registry.example:5000": Registry(
                username="ada", password_file=tmp_path / "secret", ca_file=tmp_path / "ca.pem", plain=True
            )
        },
        user=(1000, 100),
        gpus=("all",),
        helper_image="python:3.11-slim",
        service=Service.EXEC,
        keep_days=7,
        keep_bytes=20 * 1024**3,
    )
    assert (settings.slots, settings.log.keep_days, settings.data_maps.name) == (3, 0, "maps.yaml")


def test_environments_may_be_images(tmp_path: Path) -> None:
    digest = "sha256:" + 64 * "a"
    (tmp_path / "own.sif").touch()
    settings = read(
        tmp_path,
        f"""
hub: http://x
containers: {{}}
environments:
  stats: {{image: "docker:registry.example/stats:1@{digest}", provides: [CUDA]}}
  local: {{image: stats}}
  file: {{image: "sif:own.sif"}}
""",
    )

    assert settings.environments == (
        Environment(
            name="stats",
            image=NamedImage(kind=ImageKind.OCI, name="registry.example/stats:1", digest=digest),
            provides=("CUDA",),
        ),
        Environment(name="local", image=NamedImage(kind=ImageKind.OCI, name="stats")),
        Environment(name="file", image=NamedImage(kind=ImageKind.SIF, name=str(tmp_path / "own.sif"))),
    )
    assert (settings.runs_code, settings.runs_files) == (True, True)
    with pytest.raises(ValueError, match="expected one of them"):
        Environment(name="neither")


def test_a_cluster_runs_code_or_images_as_what_its_nodes_start_does(tmp_path: Path) -> None:
    said = "hub: http://x\nruntime: slurm\nallow_unsandboxed: true\nslurm: {inner: "
    found = {inner: read(tmp_path, f"{said}{inner}}}\n") for inner in ("bubblewrap", "apptainer", "process")}

    assert {inner: (each.runs_code, each.runs_files) for inner, each in found.items()} == {
        "bubblewrap": (True, True),
        "apptainer": (False, True),
        "process": (True, False),
    }


def test_a_cluster_isolates_as_what_its_nodes_start_does(tmp_path: Path) -> None:
    said = "hub: http://x\nruntime: slurm\n"
    settings = read(
        tmp_path, f"{said}slurm: {{partition: long, options: [--exclusive], talk: folder, port: 7000}}\n"
    )

    assert settings.isolated
    assert settings.slurm == SlurmOptions(
        partition="long", options=("--exclusive",), talk=Talk.FOLDER, port=7000
    )
    (fault,) = faults(tmp_path, f"{said}slurm: {{inner: process}}\n")
    assert "keeps an algorithm from nothing" in fault
    (fault,) = faults(tmp_path, f"{said}slurm: {{options: [--wrap=x]}}\n")
    assert fault.startswith("slurm: options has '--wrap=x'")


def test_a_cluster_of_kubernetes_is_named_where_it_is_the_runtime(tmp_path: Path) -> None:
    said = "hub: http://x\nruntime: kubernetes\n"
    named = "namespace: algorithms, claim: data, mounted_at: /atoll, tolerations: [{key: gpu}], gpus: 1"
    settings = read(tmp_path, f"{said}kubernetes: {{{named}}}\n")

    assert settings.isolated
    assert settings.kubernetes == KubernetesSettings(
        namespace="algorithms", claim="data", mounted_at=Path("/atoll"), tolerations=({"key": "gpu"},), gpus=1
    )
    assert [fault.partition(" is ")[0] for fault in faults(tmp_path, said)] == [
        "kubernetes: namespace",
        "kubernetes: claim",
        "kubernetes: mounted_at",
    ]
    asked = read(
        tmp_path, f"{said}kubernetes: {{{named}, volumes: left, registries: {{R.example:443: {{}}}}}}\n"
    )
    assert (asked.kubernetes.volumes, asked.kubernetes.registries) == ("left", {"r.example": Registry()})
    (fault,) = faults(tmp_path, f"{said}kubernetes: {{{named.replace('[{key: gpu}]', 'gpu')}}}\n")
    assert fault == "kubernetes: tolerations is no list: expected one, of tolerations as Kubernetes has them"


def test_another_package_may_bring_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.runtimes.outside.names", lambda: ("rocket",))

    settings = read(
        tmp_path, "hub: http://x\nruntime: rocket\nruntime_options: {engines: 3}\nimage_files: sif\n"
    )

    assert (settings.runtime, settings.runtime_options) == ("rocket", {"engines": 3})
    assert settings.image_files == tmp_path / "sif"


def test_a_runtime_that_is_an_engine_needs_no_more_words(tmp_path: Path) -> None:
    assert read(tmp_path, "hub: http://x\nruntime: podman\n").containers == ContainerSettings(engine="podman")
    assert read(tmp_path, "hub: http://x\ncontainers: {}\n").containers == ContainerSettings()
    assert read(tmp_path, "hub: http://x\n").containers is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("{}/node.yaml holds no settings: expected 'hub:' and the others. Name it with --config, or make one with "
         "atoll node start --register CODE --hub URL")),
        ("slots: 2", "hub is no address: expected one such as https://hub.example.org"),
        ("hub: ftp://x", "hub is no address: expected one such as https://hub.example.org"),
        ("hub: http://x\nslotz: 2", "nothing is known of 'slotz'. Did you mean 'slots'?"),
        ("hub: http://x\nslots: 0", "slots is 0: expected a whole number from 1"),
        ("hub: http://x\nslots: true", "slots is True: expected a whole number from 1"),
        ("hub: http://x\nslots: two", "slots is text: expected a whole number from 1"),
        ("hub: http://x\nname: 5", "name is a number: expected text; put it in quotes"),
        ("hub: http://x\nruntime: rocket", ("runtime is 'rocket': expected one of bubblewrap, docker, podman, "
         "apptainer, slurm, kubernetes, process, inline")),
        ("hub: http://x\nruntime: docker\ncontainers: {engine: podman}", ("containers: engine is podman, and the "
         "node's runtime is docker: leave one of them out")),
        ("hub: http://x\ncontainers: {pull: never, user: root}", ('containers: user is no user: expected the numbers '
         'of one and of a group, neither of them 0: "1000:1000"')),
        ("hub: http://x\ncontainers: {user: '0:0'}", ('containers: user is no user: expected the numbers '
         'of one and of a group, neither of them 0: "1000:1000"')),
        ("hub: http://x\ncontainers: {helper_image: 'https://x'}", ("containers: helper_image is no name of an image: "
         "expected one such as python:3.11-slim")),
        ("hub: http://x\ncontainers: {registries: {r.example: {username: ada}}}", ("containers: registry 'r.example': "
         "username or password_file is missing: expected both, or neither")),
        ("hub: http://x\ncontainers: {registries: {'https://r': {username: ada, password_file: secret}}}", (
         "containers: registry 'https://r': the host is none: expected one such as registry.example, or "
         "registry.example:5000")),
        ("hub: http://x\ncontainers: {registries: {r.example: {}, 'R.example:0443': {}}}",
         "containers: registry 'R.example:0443': the host stands there twice: r.example is the same registry"),
        ("hub: http://x\npolicies: {registries: ['https://r']}", (
         "policies: registries names 'https://r': expected one such as registry.example, or registry.example:5000, "
         "or a pattern of such")),
        ("hub: http://x\npolicies: {registries: ['*.example:*']}", (
         "policies: registries names '*.example:*': expected one such as registry.example, or registry.example:5000, "
         "or a pattern of such")),
        ("hub: http://x\ncontainers: {registries: {r.example: {username: ada, password_file: open}}}", ("containers: "
         "registry 'r.example': password_file can't be used: the file ROOT/open can be read by others than its owner "
         "(mode 0644): chmod 600 ROOT/open")),
        ("hub: http://x\nlimits: {processors: 0}", "limits: processors is 0: expected a number above 0"),
        ("hub: http://x\npolicies: {signers: {x: gone.pem}}", ("policies: signers 'x': keys names ROOT/gone.pem, where "
         "no file is")),
        ("hub: http://x\nruntime: process", ("runtime is process, which keeps an algorithm from nothing on this "
         "machine: expected bubblewrap, or 'allow_unsandboxed: true' beside it")),
        ("hub: http://x\nallow_unsandboxed: 1", "allow_unsandboxed is a number: expected true or false"),
        ("hub: http://x\nca_file: none.pem", "ca_file names ROOT/none.pem, where no file is"),
        ("hub: http://x\nlimits: {secondz: 1}", "limits: nothing is known of 'secondz'. Did you mean 'seconds'?"),
        ("hub: http://x\nlimits: {seconds: -1}", "limits: seconds is -1: expected a number of seconds above 0"),
        ("hub: http://x\nlimits: {memory: much}", ("limits: memory is text: expected a number of bytes, or one with a "
         "unit such as 4GiB")),
        ("hub: http://x\nlimits: 7", "limits is a number: expected settings, each with its value"),
        ("hub: http://x\npolicies: {submitters: [1]}", ("policies: submitters is a list with what is no text: expected "
         "a list of texts, in quotes")),
        ("hub: http://x\npolicies: {databases: {mean: [b]}}", ("policies: databases gives 'mean' what isn't offered: "
         "expected a list of none")),
        ("hub: http://x\nenv_for: [1]", "env_for is a list: expected texts as keys, in quotes, each with its value"),
        ("hub: http://x\nenvironments: {v: {provides: [x]}}", ("environment 'v': python or image is missing: expected "
         "the path of an interpreter such as venv/bin/python, or the name of an image")),
        (f"hub: http://x\nenvironments: {{v: {{python: {sys.executable}, image: x}}}}", ("environment 'v': python or "
         "image is one too many: expected the path of an interpreter such as venv/bin/python, or the name of an "
         "image")),
        (f"hub: http://x\nruntime: docker\nenvironments: {{v: {sys.executable}}}", ("environment 'v': python is an "
         "interpreter of this machine, and runtime docker runs images alone: expected 'image'")),
        ("hub: http://x\nruntime: docker\nenvironments: {v: {image: 'https://ada:hidden@x'}}", (
         f"environment 'v': image has no digest behind its @: {NAMES}")),
        ("hub: http://x\nruntime: docker\nenvironments: {v: {image: 'https://x'}}", (
         f"environment 'v': image is no name of an image: {NAMES}")),
        ("hub: http://x\nruntime: docker\nenvironments: {v: {image: 'x@sha256:1'}}", (
         f"environment 'v': image has no digest behind its @: {NAMES}")),
        ("hub: http://x\nenvironments: {v: {image: stats}}", ("environment 'v': image is one of a container engine, "
         "and this node has none: expected a section 'containers' beside it, or sif: and the path of a file")),
        ("hub: http://x\nenvironments: {v: {image: 'sif:gone.sif'}}", ("environment 'v': image names ROOT/gone.sif, "
         "which is not there")),
        ("hub: http://x\nruntime: docker\nenvironments: {v: {image: 'sif:open'}}", ("environment 'v': image is a file, "
         "and runtime docker runs no such images here: expected one of a container engine, or a runtime that is one of "
         "bubblewrap, apptainer, slurm")),
        ("hub: http://x\nruntime: kubernetes\nenvironments: {v: {image: stats}}", ("environment 'v': image has no "
         "digest, by which a cluster is told of it: expected NAME@sha256:…")),
        ("hub: http://x\nenv: {A: {file: open}}", ("the variable A: the file ROOT/open can be read by others than its "
         "owner (mode 0644): chmod 600 ROOT/open")),
        ("hub: http://x\ndatabases: {a: {uri: {file: gone}}}", ("database 'a': the file ROOT/gone can't be read (No "
         "such file or directory): expected a secret in it")),
        ("hub: http://x\ndatabases: {a: gone.csv}", ("database 'a': ROOT/gone.csv is not there. Paths are relative to "
         "the folder of the node.yaml")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    found = faults(tmp_path, text)
    told = [each.replace("ROOT/node.yaml, ", "") for each in found]

    assert expected.replace("{}", "ROOT") in [each.replace("ROOT/node.yaml: ", "") for each in told]


def test_what_is_secret_is_not_told_either(tmp_path: Path) -> None:
    found = faults(tmp_path, "hub: http://x\ndatabases: {a: {uri: {file: secret}, type: sql}}")

    assert "hidden" not in "".join(found)
    assert len(found) == 1


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    assert len(faults(tmp_path, "hub: 1\nslots: 0\nlog: {level: loud}\n")) == 4


def test_a_missing_file_says_how_one_is_made(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match="atoll node start --register"):
        read_settings(tmp_path / "node.yaml")


def test_a_folder_and_a_picture_are_no_settings(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"\xff\xfe")

    with pytest.raises(SpecInvalid, match="can't be read"):
        read_settings(tmp_path)
    with pytest.raises(SpecInvalid, match="is not UTF-8"):
        read_settings(tmp_path / "picture")


def test_every_setting_is_documented() -> None:
    page = (DOCS / "reference/node-yaml.md").read_text()
    missing = [name for name in setting_names() if f"| `{name}` |" not in page]

    assert missing == []
