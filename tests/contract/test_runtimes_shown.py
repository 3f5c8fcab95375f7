"""What every runtime shows of an algorithm's code, and what it lends to it."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest
from tests.contract.runtime_bench import Bench, run

from atoll.engine.running import Launch, Mount, Reply, Request, whole
from atoll.model.errors import AlgorithmFailed
from atoll.runtimes.command import code_of


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def named(bench: Bench, name: str, command: tuple[str, ...], **fields: Any) -> Launch:
    """A launch of one thing in a folder where others lie beside it."""
    home = bench.folder / "home"
    write(home / "neighbour.py", "")
    write(home / "data.csv", "secret")
    return bench.launch(code=home / name, code_name=fields.pop("code_name", name), command=command, **fields)


def read(reply: Reply) -> Any:
    assert reply.exit_code == 0, reply.log_tail
    return json.loads(whole(reply.output))


LOOK = """
    import importlib.util, json, os, sys
    beside = importlib.util.find_spec("neighbour") is not None
    there = [name for name in os.listdir(".") if name != "__pycache__"]
    print(json.dumps([__name__, there, beside, os.path.exists("data.csv")]))
"""


@pytest.mark.parametrize("way", ["module", "command"])
def test_package_appears_alone(bench: Bench, way: str) -> None:
    """A package is imported by its name from the working directory, which holds nothing else."""
    write(bench.folder / "home" / "alg" / "__init__.py", LOOK)
    write(bench.folder / "home" / "alg" / "__main__.py", "")
    words = {"module": ("-m", "alg"), "command": ("-c", "import alg")}[way]

    seen = read(bench.call(named(bench, "alg", ("python", *words))))

    assert ["alg", ["alg"], False, False] == seen


def test_file_appears_alone(bench: Bench) -> None:
    write(bench.folder / "home" / "mean.py", LOOK)

    seen = read(bench.call(named(bench, "mean.py", ("python", "-m", "mean"))))

    assert ["__main__", ["mean.py"], False, False] == seen


def test_code_may_have_another_name_inside(bench: Bench) -> None:
    """The name is what the launch says, as a module and as a path."""
    write(bench.folder / "home" / "v1" / "__init__.py", "")
    write(bench.folder / "home" / "v1" / "show.py", "import sys; print(sys.argv[1:], __name__)")
    command = ("python", "-m", "alg.show", "/computation/alg/show.py")
    at = "/computation" if bench.isolated else None

    reply = bench.call(named(bench, "v1", command, code_name="alg"))

    text = whole(reply.output).decode()
    assert text.endswith("/alg/show.py'] __main__\n"), reply.log_tail
    assert at is None or text.startswith(f"['{at}/alg")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc"])
def test_name_that_is_none_is_refused(bench: Bench, name: str) -> None:
    write(bench.folder / "home" / "mean.py", "")

    with pytest.raises(AlgorithmFailed, match="expected the name of a file or folder"):
        bench.call(named(bench, "mean.py", ("python", "-c", ""), code_name=name))


def test_program_with_a_name_runs(bench: Bench) -> None:
    """A program may be the named file, or lie in the named folder."""
    for place in ("go", "tools/go"):
        write(bench.folder / "home" / place, "#!/bin/sh\nls").chmod(0o755)
        command = (f"./{place}",)

        reply = bench.call(named(bench, place.partition("/")[0], command))

        assert place.partition("/")[0].encode() + b"\n" == reply.output, reply.log_tail
        (bench.folder / "home" / place).unlink()


def test_missing_program_with_a_name_is_told(bench: Bench) -> None:
    write(bench.folder / "home" / "alg" / "x", "")

    with pytest.raises(AlgorithmFailed, match=r"'\./other' can't be started"):
        bench.call(named(bench, "alg", ("./other",)))
    assert [] == list((bench.folder / "local0" / "tmp").iterdir())


def test_masks_hold_in_a_named_folder(bench: Bench) -> None:
    """Parts that are masked are hidden where they appear; a folder can be shown where code has one."""
    if not bench.isolated:
        pytest.skip("a plain process sees all of this machine")
    code = write(
        bench.folder / "home" / "alg" / "__init__.py",
        """
        import json, os
        os.chdir(os.path.dirname(__file__))
        print(json.dumps([os.listdir("test"), os.listdir("empty"), os.path.getsize("a.csv")]))
        """,
    ).parent
    write(code / "test" / "secret", "s")
    write(code / "a.csv", "secret")
    (code / "empty").mkdir()
    shown = write(bench.folder / "shown" / "x", "").parent
    mounts = (Mount(source=shown, target="/computation/alg/empty"),)
    launch = named(bench, "alg", ("python", "-c", "import alg"), masked=("test", "a.csv"), mounts=mounts)

    assert [[], ["x"], 0] == read(bench.call(launch))


def test_nothing_is_left_of_a_named_launch(bench: Bench) -> None:
    write(bench.folder / "home" / "mean.py", "")
    launch = named(bench, "mean.py", ("python", "-c", "import mean"))

    assert 0 == bench.call(launch).exit_code
    # Where Atoll lies in /tmp, its own folders have places there.
    assert [] == list(launch.temporary.rglob("*mean*"))
    assert ["data.csv", "mean.py", "neighbour.py"] == sorted(
        name for name in os.listdir(bench.folder / "home") if name != "__pycache__"
    )


# --- Modules that are lent --------------------------------------------------------------------


@pytest.fixture
def shelf(bench: Bench) -> Path:
    """A folder of packages, of which only some are lent."""
    shelf = bench.folder / "site-packages"
    write(shelf / "lent" / "__init__.py", "import time; IMPORTED = time.monotonic()")
    write(shelf / "lent" / "__main__.py", "import sys, lent, neighbour_of_code; print(sys.argv[1:])")
    write(shelf / "other" / "__init__.py", "")
    write(shelf / "stranger.py", "")
    return shelf


def test_modules_are_lent_alone(bench: Bench, shelf: Path) -> None:
    """A package that is lent can be imported, and nothing that lies beside it."""
    script = """
        import importlib.util, json
        import lent, other
        print(json.dumps([lent.__name__, importlib.util.find_spec("stranger") is None]))
    """
    launch = bench.launch(script, modules=(shelf / "lent", shelf / "other"))

    assert ["lent", True] == read(bench.call(launch))


def test_lent_module_can_be_started(bench: Bench, shelf: Path) -> None:
    """``python -m`` takes it; the working directory stays the algorithm's."""
    launch = bench.launch(command=("python", "-m", "lent", "/computation/x"), modules=(shelf / "lent",))
    write(code_of(launch) / "neighbour_of_code.py", "")
    code = "/computation" if bench.isolated else str(launch.code)

    reply = bench.call(launch)

    assert f"['{code}/x']\n".encode() == reply.output, reply.log_tail


def test_lent_module_is_imported_once(bench: Bench, shelf: Path) -> None:
    """A warm parent imports what is lent for all calls, a cold start for each."""
    launch = bench.launch("import lent; print(lent.IMPORTED)", modules=(shelf / "lent",))

    replies = bench.calls(launch, b"", b"")

    assert (1 if bench.kind.endswith("warm") else 2) == len({reply.output for reply in replies})


def test_launches_differ_in_what_they_are_lent(bench: Bench, shelf: Path) -> None:
    """What one launch is lent is not there for another of the same runtime."""
    script = "import importlib.util; print(importlib.util.find_spec('lent') is None)"

    async def go() -> list[bytes]:
        runtime = bench.make()
        try:
            outputs = []
            for seat, modules in (("local0", (shelf / "lent",)), ("local1", ())):
                session = await runtime.start(bench.launch(script, seat, modules=modules))
                outputs.append(whole((await session.call(Request())).output))
                await session.close()
            return outputs
        finally:
            await runtime.close()

    assert [b"False\n", b"True\n"] == run(go())


def test_author_path_comes_behind_what_is_lent(bench: Bench, shelf: Path) -> None:
    own = write(bench.folder / "code" / "own" / "mine.py", "NAME = 'mine'").parent
    write(own / "lent.py", "raise ImportError")
    script = "import lent, mine; print(mine.NAME)"
    path = "/computation/own" if bench.isolated else str(own)
    launch = bench.launch(script, modules=(shelf / "lent",), environment={"PYTHONPATH": path})

    reply = bench.call(launch)

    assert b"mine\n" == reply.output, reply.log_tail
