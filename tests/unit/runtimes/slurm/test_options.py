from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atoll.engine.limits import CallLimits
from atoll.runtimes.slurm.options import SlurmOptions


def test_what_is_left_out_is_in_order() -> None:
    assert [] == SlurmOptions().faults()


def test_a_site_s_usual_settings_are_in_order() -> None:
    options = SlurmOptions(
        partition="long,short",
        account="proj-7",
        qos="normal",
        gres="gpu:a100:1",
        options=("--constraint=avx512", "--exclude=node[01-04]", "--reservation=week", "--exclusive"),
        address="node.site.example",
        port=7001,
    )

    assert [] == options.faults()


@pytest.mark.parametrize(
    ("fields", "beginning"),
    [
        ({"inner": "docker"}, "inner is 'docker': expected one of bubblewrap, apptainer, process"),
        ({"partition": "long short"}, "partition is 'long short': expected one word"),
        ({"account": ""}, "account is ''"),
        ({"qos": "--wrap=x"}, "qos is '--wrap=x'"),
        ({"gres": "gpu\n"}, "gres is 'gpu\\n'"),
        ({"minutes": 0}, "minutes is 0"),
        ({"queued_seconds": float("inf")}, "queued_seconds is inf"),
        ({"address": "node:7001;id"}, "address is 'node:7001;id'"),
        ({"port": 65536}, "port is 65536"),
        ({"conf": Path("/nowhere/slurm.conf")}, "conf names /nowhere/slurm.conf"),
    ],
)
def test_a_setting_that_can_t_be_meant_is_a_fault(fields: dict[str, Any], beginning: str) -> None:
    (fault,) = SlurmOptions(**fields).faults()

    assert fault.startswith(beginning)


@pytest.mark.parametrize(
    "word",
    [
        *(
            "--wrap=id",
            "--output=/etc/passwd",
            "--out=/etc/passwd",
            "--error=x",
            "--input=x",
            "--open-mode=append",
        ),
        *("--export=ALL", "--ex=ALL", "--export-file=x", "--get-user-env", "--job-name=mine", "--array=1-9"),
        *("--chdir=/", "--bcast=x", "--uid=0", "--requeue", "--wait", "--nodes=2", "--ntasks=2", "--w"),
    ],
)
def test_an_option_that_is_atoll_s_own_or_runs_something_is_refused(word: str) -> None:
    (fault,) = SlurmOptions(options=(word,)).faults()

    assert "Atoll sets this itself" in fault


@pytest.mark.parametrize(
    "word", ["-p", "long", "--constraint=a b", "--constraint=a\nid", "--", "--=x", "script.sh", ""]
)
def test_an_option_is_one_word_with_two_dashes(word: str) -> None:
    (fault,) = SlurmOptions(options=(word,)).faults()

    assert "with two dashes and without a blank" in fault


def test_a_job_asks_for_what_its_calls_may_take_and_for_what_runs_them() -> None:
    limits = CallLimits(seconds=3600.0, memory_bytes=2 * 1024**3, processors=1.5)
    options = SlurmOptions(partition="long", gres="gpu:1", options=("--nice=10",))

    expected = [
        "--time=70",
        "--mem=2560M",
        "--cpus-per-task=2",
        "--partition=long",
        "--gres=gpu:1",
        "--nice=10",
    ]
    assert expected == options.words(limits)


def test_a_job_without_bounds_asks_only_for_its_time() -> None:
    assert ["--time=90"] == SlurmOptions(minutes=90).words(CallLimits())
