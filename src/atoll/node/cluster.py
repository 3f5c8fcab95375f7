"""What node.yaml says of a cluster that sessions, or calls, are jobs of."""

from __future__ import annotations

from atoll.node.containers import read_registries
from atoll.node.sections import Section
from atoll.runtimes.containers.settings import Pull
from atoll.runtimes.kubernetes.settings import KubernetesSettings
from atoll.runtimes.slurm.options import INNER, SlurmOptions, Talk


def read_slurm(section: Section) -> SlurmOptions:
    """The settings of a Slurm cluster."""
    default = SlurmOptions()
    conf = section.optional("conf")
    options = SlurmOptions(
        inner=section.choice("inner", INNER, default.inner),
        partition=section.optional("partition"),
        account=section.optional("account"),
        qos=section.optional("qos"),
        gres=section.optional("gres"),
        options=section.words("options"),
        minutes=section.whole("minutes", None, least=1),
        queued_seconds=section.seconds("queued_seconds", default.queued_seconds),
        talk=Talk(section.choice("talk", tuple(talk.value for talk in Talk), default.talk.value)),
        address=section.text("address", default.address),
        port=section.whole("port", default.port, least=0),
        conf=None if conf is None else section.folder / conf,
    )
    section.close()
    section.faults.extend(f"{section.where}: {fault}" for fault in options.faults())
    return options


def read_kubernetes(section: Section, runtime: str) -> KubernetesSettings:
    """The settings of a Kubernetes cluster; what is missing counts where it is the node's runtime."""
    default = KubernetesSettings()
    kubeconfig, mounted_at = section.optional("kubeconfig"), section.optional("mounted_at")
    tolerations = section.take("tolerations")
    settings = KubernetesSettings(
        namespace=section.text("namespace", default.namespace),
        claim=section.text("claim", default.claim),
        mounted_at=None if mounted_at is None else section.folder / mounted_at,
        kubeconfig=None if kubeconfig is None else section.folder / kubeconfig,
        pull=Pull(section.choice("pull", tuple(pull.value for pull in Pull), default.pull.value)),
        image_pull_secrets=section.words("image_pull_secrets"),
        registries=read_registries(section),
        volumes=section.choice("volumes", ("covered", "left"), default.volumes),
        node_selector=section.mapping("node_selector"),
        tolerations=tuple(tolerations) if isinstance(tolerations, list) else default.tolerations,
        gpus=section.whole("gpus", default.gpus, least=0),
        queued_seconds=section.seconds("queued_seconds", default.queued_seconds),
    )
    section.close()
    if tolerations is not None and not isinstance(tolerations, list):
        section.fault("tolerations", "is no list: expected one, of tolerations as Kubernetes has them")
    if runtime == "kubernetes":
        section.faults.extend(f"{section.where}: {fault}" for fault in settings.faults())
    return settings
