"""What node.yaml says of a cluster that sessions are jobs of."""

from __future__ import annotations

from atoll.node.sections import Section
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
