"""``atoll image build``: what it says where nothing is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atoll.cli.exits import DONE, UNUSABLE
from atoll.cli.image import image_app

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SUM = EXAMPLES / "coinstac" / "sum"


def image(*words: str | Path) -> int:
    """Run the command in this process; its exit status."""
    status = image_app(["build", *map(str, words)], standalone_mode=False)
    assert isinstance(status, int)
    return status


def test_a_dockerfile_is_shown_and_nothing_is_built(capsys: pytest.CaptureFixture[str]) -> None:
    status = image(SUM, "--show", "--base", "example/base:1")
    shown = capsys.readouterr()

    assert (DONE, True) == (status, "FROM example/base:1\nCOPY code /computation\n" in shown.out)
    assert "org.opencontainers.image.title=Decentralized sum\n" in shown.out
    assert shown.out.endswith("code/local.py\ncode/remote.py\n")
    assert "note: " in shown.err


def test_the_base_is_a_setting_of_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOLL_IMAGE_BASE", "example/base:2")
    status = image(SUM, "--show", "--json")
    document = json.loads(capsys.readouterr().out)

    assert (DONE, "example/base:2", "atoll-examples/sum") == (status, document["base"], document["name"])


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["nowhere"], "SpecInvalid", "nowhere is not there"),
        (
            ["--engine", "steam"],
            "SpecInvalid",
            "there is no engine 'steam': expected one of auto, docker, podman",
        ),
        (["--dialect", "latin"], "SpecInvalid", "there is no dialect 'latin'"),
        (["--username", "ada"], "SpecInvalid", "--username and --password-file belong together"),
        (
            ["--socket", "/nowhere", "--push", "--username", "ada", "--password-file", "/nowhere/password"],
            "RuntimeUnavailable",
            "the file /nowhere/password can't be read",
        ),
        (["--socket", "/nowhere"], "RuntimeUnavailable", "no container engine answers"),
    ],
)
def test_what_can_t_be_begun_is_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], kind: str, said: str
) -> None:
    path = [] if words == ["nowhere"] else [str(SUM)]
    status = image(*path, *words, "--base", "example/base:1", "--json")
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]

    assert (UNUSABLE, kind) == (status, error["type"])
    assert said in error["message"]
    assert f"error: {error['message']}" in told.err
