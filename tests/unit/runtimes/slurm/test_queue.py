"""How Slurm's programs are understood; that they are asked rightly is shown on a real cluster."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.slurm.queue import Queue, SlurmSilentError, Standing, read, why_not


def program(folder: Path, name: str, *lines: str) -> None:
    """A program of this name, which does what these lines of a shell say."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(("#!/bin/sh", *lines, "")))
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder of the path."""
    folder = tmp_path / "programs"
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_a_list_of_jobs_is_read() -> None:
    said = (
        "7|PENDING|Resources|\n"
        "8|PENDING|(Nodes required for job are DOWN, DRAINED|or reserved)|\n"
        "9|RUNNING|None|island07\n"
        "10_4|RUNNING|None|island07\n"
        "what|is|this\n"
        "\n"
    )

    expected = {
        7: Standing(state="PENDING", reason="Resources"),
        8: Standing(state="PENDING", reason="Nodes required for job are DOWN, DRAINED|or reserved"),
        9: Standing(state="RUNNING", node="island07"),
    }
    assert expected == read(said)


@pytest.mark.parametrize(
    ("state", "reason", "waits", "runs", "hopeless"),
    [
        ("PENDING", "Resources", True, False, False),
        ("PENDING", "PartitionTimeLimit", True, False, True),
        ("CONFIGURING", "", True, False, False),
        ("RUNNING", "", False, True, False),
        ("COMPLETING", "", False, False, False),
        ("TIMEOUT", "TimeLimit", False, False, False),
    ],
)
def test_a_job_waits_runs_or_has_ended(
    state: str, reason: str, waits: bool, runs: bool, hopeless: bool
) -> None:
    standing = Standing(state=state, reason=reason)

    assert (waits, runs, hopeless) == (standing.waits, standing.runs, standing.hopeless)


def test_a_job_is_put_into_the_queue_by_words_and_a_script(programs: Path, tmp_path: Path) -> None:
    """The words go as they are, and the script through standard input."""
    program(
        programs,
        "sbatch",
        f'printf "%s\\n" "$@" > {tmp_path}/words',
        f"/bin/cat > {tmp_path}/script",
        "echo '12;island'",
    )

    job = asyncio.run(Queue("me").submit("#!/bin/sh\nid\n", ["--time=5"], tmp_path / "$(id) out"))

    assert 12 == job
    assert "#!/bin/sh\nid\n" == (tmp_path / "script").read_text()
    words = (tmp_path / "words").read_text().splitlines()
    assert {"--time=5", "--job-name=atoll-me", f"--output={tmp_path}/$(id) out", "--no-requeue"} <= set(words)


def test_slurm_s_programs_see_little_of_the_environment(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would change the meaning of the words, or is a secret of the node's, isn't there."""
    monkeypatch.setenv("SBATCH_OUTPUT", "elsewhere")
    monkeypatch.setenv("NODE_PASSWORD", "hidden")
    program(programs, "scancel", f"/usr/bin/env > {tmp_path}/seen")

    asyncio.run(Queue("me", tmp_path / "slurm.conf").cancel(3))

    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    assert str(tmp_path / "slurm.conf") == seen["SLURM_CONF"]
    assert not {"SBATCH_OUTPUT", "NODE_PASSWORD"} & set(seen)


def test_a_job_that_slurm_refuses_is_told_in_slurm_s_words(programs: Path, tmp_path: Path) -> None:
    program(programs, "sbatch", "echo 'sbatch: error: no such partition' >&2", "exit 1")

    with pytest.raises(RuntimeUnavailable, match="sbatch: error: no such partition"):
        asyncio.run(Queue("me").submit("", [], tmp_path / "out"))


def test_an_answer_without_a_number_is_not_a_job(programs: Path, tmp_path: Path) -> None:
    program(programs, "sbatch", "echo welcome to the cluster")

    with pytest.raises(RuntimeUnavailable, match="expected its number, got 'welcome"):
        asyncio.run(Queue("me").submit("", [], tmp_path / "out"))


def test_a_path_that_slurm_would_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="a workspace whose path has no %"):
        asyncio.run(Queue("me").submit("", [], tmp_path / "%j"))


@pytest.mark.usefixtures("programs")
def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(SlurmSilentError, match="scancel can't be started: No such file"):
        asyncio.run(Queue("me").cancel_all())


def test_many_who_ask_share_one_list(programs: Path, tmp_path: Path) -> None:
    program(
        programs,
        "squeue",
        f"echo asked >> {tmp_path}/count",
        "echo '1|PENDING|Priority|'",
        "echo '2|RUNNING|None|x'",
    )

    async def go() -> list[Standing | None]:
        queue = Queue("me")
        return await asyncio.gather(*(queue.standing(job) for job in (1, 2, 3)))

    expected = [Standing(state="PENDING", reason="Priority"), Standing(state="RUNNING", node="x"), None]
    assert expected == asyncio.run(go())
    assert "asked\n" == (tmp_path / "count").read_text()


def test_a_job_that_was_submitted_while_slurm_listed_the_others_is_not_missed(
    programs: Path, tmp_path: Path
) -> None:
    """Else a session would be given up that has only just begun to wait."""
    told, go_on = tmp_path / "told", tmp_path / "go-on"
    os.mkfifo(told)
    os.mkfifo(go_on)
    program(programs, "sbatch", "echo 2", f"echo '2|PENDING|None|' > {tmp_path}/second")
    program(
        programs,
        "squeue",
        "echo '1|PENDING|None|'",
        f"if [ -e {tmp_path}/second ]; then /bin/cat {tmp_path}/second; exit; fi",
        f"echo listed > {told}",
        f"read _ < {go_on}",
    )

    async def go() -> tuple[Standing | None, Standing | None]:
        queue = Queue("me")
        listing = asyncio.create_task(queue.standing(1))
        await asyncio.to_thread(told.read_text)
        job = await queue.submit("", [], tmp_path / "out")
        await asyncio.to_thread(go_on.write_text, "\n")
        return await listing, await queue.standing(job)

    assert (Standing(state="PENDING"),) * 2 == asyncio.run(go())


def test_a_machine_without_slurm_is_told_which_program_is_missing(programs: Path) -> None:
    for name in ("sbatch", "squeue", "scancel"):
        program(programs, name)

    assert "Slurm is not installed here: there is no program named scontrol" == why_not()


def test_a_controller_that_is_down_is_found(programs: Path) -> None:
    for name in ("sbatch", "squeue", "scancel"):
        program(programs, name)
    program(programs, "scontrol", "echo 'Slurmctld(primary) at island is DOWN'")

    assert "Slurm doesn't answer: scontrol ping says: Slurmctld(primary) at island is DOWN" == why_not()


def test_a_controller_that_is_up_will_do(programs: Path) -> None:
    for name in ("sbatch", "squeue", "scancel"):
        program(programs, name)
    program(programs, "scontrol", "echo 'Slurmctld(primary) at island is UP'")

    assert why_not() is None
