"""What an image says of itself is read, and nothing of it is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.sif import from_container, write_tree

from atoll.runtimes.sif.described import Described, describe, read_variables


def described(folder: Path, files: dict[str, str | bytes], configuration: Any = None) -> Described:
    root = write_tree(folder / "root", {"/usr/x": "", **files})
    return describe(root, None if configuration is None else json.dumps(configuration).encode())


def with_runscript(folder: Path, script: str) -> Described:
    return described(folder, {"/.singularity.d/runscript": script})


def test_an_image_that_says_nothing_starts_nothing(tmp_path: Path) -> None:
    assert described(tmp_path, {}) == Described()


def test_the_words_of_a_container_image_are_found_in_the_runscript(tmp_path: Path) -> None:
    files = from_container(
        ["python", "-m", "a b"], ["it's", "$x"], {"PATH": "/opt/bin:/usr/bin", "GREETING": "a b"}
    )

    found = described(tmp_path, dict(files))

    assert (found.entrypoint, found.command) == (("python", "-m", "a b"), ("it's", "$x"))
    assert found.environment == {"PATH": "/opt/bin:/usr/bin", "GREETING": "a b"}


def test_the_configuration_of_the_container_image_says_more(tmp_path: Path) -> None:
    configuration = {
        "Entrypoint": ["python", 'say "x"'],
        "WorkingDir": "/work",
        "ExposedPorts": {"8881/tcp": {}, "53/udp": {}, "odd": {}},
    }

    found = described(tmp_path, dict(from_container(["python"])), configuration)

    assert found.entrypoint == ("python", 'say "x"')
    assert (found.working_directory, found.exposed_ports) == ("/work", (8881,))


def test_a_runscript_of_its_own_outweighs_the_container_image(tmp_path: Path) -> None:
    """A definition file that has a %runscript replaces what the container image would start."""
    files: dict[str, str | bytes] = {"/.singularity.d/runscript": '#!/bin/sh\nexec python3 /x/run.py "$@"\n'}

    found = described(tmp_path, files, {"Entrypoint": ["other"]})

    assert found.entrypoint == ("python3", "/x/run.py")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('python /a.py "$@"', ("python", "/a.py")),
        ("exec python -u '/my code/a.py' $@", ("python", "-u", "/my code/a.py")),
        ("# only says\n\n  /bin/tool --fast", ("/bin/tool", "--fast")),
        ("cd /x && python a.py", ("/.singularity.d/runscript",)),
        ("python $HOME/a.py", ("/.singularity.d/runscript",)),
        ("echo one\necho two", ("/.singularity.d/runscript",)),
        ("echo 'open", ("/.singularity.d/runscript",)),
        ("OCI_ENTRYPOINT=''\nOCI_CMD='\"python\"'", ("python",)),
    ],
)
def test_a_runscript_of_one_plain_command_is_that_command(
    tmp_path: Path, line: str, words: tuple[str, ...]
) -> None:
    found = with_runscript(tmp_path, f"#!/bin/sh\n{line}\n")

    assert (*found.entrypoint, *found.command) == words


def test_a_computation_is_where_an_algorithm_starts(tmp_path: Path) -> None:
    assert described(tmp_path, {"/computation/local.py": ""}).working_directory == "/computation"


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ('export A="one two"', {"A": "one two"}),
        ("export A='$HOME'", {"A": "$HOME"}),
        ("A=plain", {"A": "plain"}),
        ("    export A=indented", {"A": "indented"}),
        ("A=1; export A", {"A": "1"}),
        ('export A="${A:-"kept \\"x\\" \\$y"}"', {"A": 'kept "x" $y'}),
        ('export A="first\nsecond"', {"A": "first\nsecond"}),
        ("export A=/x:$KNOWN:${KNOWN}y", {"A": "/x:known:knowny"}),
        ("export A=1\nexport B=$A$A", {"A": "1", "B": "11"}),
        ("export A=$NOBODY", {"A": ""}),
        (
            "export PATH=/opt/bin:$PATH",
            {"PATH": "/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        ),
        ("export A=$(id)", {}),
        ("export A=`id`", {}),
        ('export A="${B%%x}"', {}),
        ("export A=x # why", {"A": "x"}),
        ("export A=b; touch /tmp/x", {}),
        ("if true; then\n  export A=1\nfi\nexport B=2", {"B": "2"}),
        ("for x in a b; do\nexport A=$x\ndone", {}),
        ("if true; then export A=1; fi\nexport B=2", {"B": "2"}),
        ("echo A=1", {}),
        ("unset A", {}),
    ],
)
def test_plain_variables_are_read_and_no_others(script: str, found: dict[str, str]) -> None:
    assert read_variables(script, {"KNOWN": "known"}) == found


def test_variables_are_read_in_the_order_of_their_scripts(tmp_path: Path) -> None:
    folder = "/.singularity.d/env"
    files: dict[str, str | bytes] = {
        f"{folder}/90-environment.sh": "export A=$A-then",
        f"{folder}/10-docker2singularity.sh": "export A=first",
        f"{folder}/99-base.sh": "export OWN=1",
        f"{folder}/notes.txt": "export B=1",
    }

    assert described(tmp_path, files).environment == {"A": "first-then"}


def test_labels_are_read_where_they_are_words(tmp_path: Path) -> None:
    labels = {"a": "x", "b": 3, "c": {"d": 1}}

    assert described(tmp_path, {"/.singularity.d/labels.json": json.dumps(labels)}).labels == {
        "a": "x",
        "b": "3",
    }


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000])
def test_labels_that_are_none_are_left_out(tmp_path: Path, text: str) -> None:
    assert described(tmp_path, {"/.singularity.d/labels.json": text}).labels == {}


def test_a_description_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write_tree(outside, {"runscript": "#!/bin/sh\necho secret\n", "env/10-x.sh": "export A=secret"})

    assert described(tmp_path, {"/.singularity.d": f"-> {outside}"}) == Described()
