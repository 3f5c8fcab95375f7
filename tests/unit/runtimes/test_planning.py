"""How the calls of a launch are run in an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atoll.engine.running import Launch, Style
from atoll.model.errors import AlgorithmFailed
from atoll.model.work import Seat
from atoll.runtimes.facts import ImageFacts
from atoll.runtimes.planning import plan_of, told_at_start, unwrapped


def facts(**changes: Any) -> ImageFacts:
    """An image of nothing much."""
    given: dict[str, Any] = {
        "id": "sha256:" + "0" * 64,
        "name": "example/mean",
        "environment": {"PATH": "/usr/bin"},
    }
    return ImageFacts(**(given | changes))


def launch(folder: Path, *command: str, **changes: Any) -> Launch:
    """A launch of a command in an image."""
    given: dict[str, Any] = {"code": None, "style": Style.CALL}
    return Launch(
        seat=Seat("alpha"), command=command, temporary=folder, log=folder / "log", **(given | changes)
    )


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("sh", "-c", "python -m mean"), ("python", "-m", "mean")),
        (("/bin/sh", "-c", "exec python -c 'import x; x.y()'"), ("python", "-c", "import x; x.y()")),
        (("sh", "-c", "python a.py | tee log"), None),
        (("sh", "-c", "A=1 python a.py"), None),
        (("sh", "-c", "cd /app && python a.py"), None),
        (("sh", "-c", "python $FILE"), None),
        (("sh", "-c", "python 'a"), None),
        (("sh", "-c", ""), None),
        (("python", "a.py"), None),
    ],
)
def test_a_shell_that_only_starts_a_command_is_left_out(
    command: tuple[str, ...], words: tuple[str, ...] | None
) -> None:
    assert unwrapped(command) == (words or command)


def test_what_the_image_starts_is_started_where_nothing_else_is_named(tmp_path: Path) -> None:
    started = facts(entrypoint=("python3",), command=("-m", "mean"), working_directory="/app")
    plan = plan_of(launch(tmp_path), started, None)
    assert (plan.command, plan.file) == (("python", "-m", "mean"), "python3")
    assert plan.inside.code == "/app"
    assert plan.pythons == ("python3", "python")


def test_an_interpreter_of_the_images_own_comes_first(tmp_path: Path) -> None:
    plan = plan_of(launch(tmp_path, "/opt/conda/bin/python3.9", "a.py"), facts(), None)
    assert plan.pythons == ("/opt/conda/bin/python3.9", "python3", "python")
    assert plan.command == ("python", "a.py")


def test_a_script_that_prepares_the_environment_stays_in_front(tmp_path: Path) -> None:
    prepared = facts(entrypoint=("/usr/local/bin/_entrypoint.sh",), command=("bash",))
    plan = plan_of(launch(tmp_path, "python", "a.py"), prepared, None)
    assert plan.command == ("/usr/local/bin/_entrypoint.sh", "python", "a.py")
    plain = plan_of(launch(tmp_path, "python", "a.py"), facts(entrypoint=("node",)), None)
    assert plain.command == ("python", "a.py")


def test_an_image_that_starts_nothing_needs_a_command(tmp_path: Path) -> None:
    with pytest.raises(AlgorithmFailed, match="starts nothing by itself"):
        plan_of(launch(tmp_path), facts(), None)


def test_what_may_be_secret_is_not_in_the_first_process(tmp_path: Path) -> None:
    given = launch(tmp_path, "true", environment={"PASSWORD": "secret", "OMP_NUM_THREADS": "1"})
    told = told_at_start(given)
    assert told["OMP_NUM_THREADS"] == "1"
    assert "PASSWORD" not in told
    assert plan_of(given, facts(), None).inside.environment["PASSWORD"] == "secret"


def test_the_algorithms_own_folders_are_looked_through_and_no_system_folder(tmp_path: Path) -> None:
    plan = plan_of(launch(tmp_path, "python", "/app/run.py"), facts(working_directory="/usr"), None)
    assert plan.scan["folders"] == ["/app"]
    package = facts(environment={"PKG_NAME": "averages", "PATH": "/usr/bin"})
    assert plan_of(launch(tmp_path, "true"), package, None).scan["packages"] == ["averages"]
