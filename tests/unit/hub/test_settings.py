"""What a hub is told, and how faults in it are."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from atoll.hub.settings import HubSettings, is_loopback, read_settings
from atoll.model.errors import SpecInvalid


def faults(path: Path | None = None, environment: dict[str, str] | None = None, **flags: Any) -> str:
    """What is wrong."""
    with pytest.raises(SpecInvalid) as refused:
        read_settings(path, environment or {}, flags)
    return str(refused.value)


def write(folder: Path, text: str) -> Path:
    """A hub.yaml."""
    path = folder / "hub.yaml"
    path.write_text(text)
    return path


def test_flags_come_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "port: 1\nperson_rate: 1\nnode_rate: 1\n")
    environment = {
        "ATOLL_HUB_PORT": "2",
        "ATOLL_HUB_PERSON_RATE": "2.5",
        "HOME": "/root",
        "ATOLL_HUB_CONFIG": "x",
    }

    settings = read_settings(path, environment, {"port": 3, "host": None})

    assert (3, 2.5, 1.0, "127.0.0.1") == (
        settings.port,
        settings.person_rate,
        settings.node_rate,
        settings.host,
    )


def test_every_kind_of_setting_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "folder: kept\nbehind_proxy: true\ntrusted_proxies: [10.0.0.1]\nbody_bytes_max: 100\nurl: https://hub.example\n",
    )

    settings = read_settings(path, {"ATOLL_HUB_ACCESS_LOG": "no", "ATOLL_HUB_LOG_LEVEL": "debug"}, {})

    assert tmp_path / "kept" == settings.folder
    assert (True, ("10.0.0.1",), 100, False, "debug") == (
        settings.behind_proxy,
        settings.trusted_proxies,
        settings.body_bytes_max,
        settings.access_log,
        settings.log_level,
    )
    assert (f"sqlite:///{tmp_path}/kept/hub.db", f"{tmp_path}/kept/blobs") == (
        settings.database_url,
        settings.blobs_url,
    )


def test_a_list_in_the_environment_has_commas() -> None:
    settings = read_settings(None, {"ATOLL_HUB_TRUSTED_PROXIES": "10.0.0.1, 10.0.0.2"}, {})

    assert ("10.0.0.1", "10.0.0.2") == settings.trusted_proxies


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("postgresql://atoll:hidden@db/atoll\n")

    of_file = read_settings(write(tmp_path, "database: {file: secret}"), {}, {})
    of_variable = read_settings(None, {"ATOLL_HUB_DATABASE_FILE": str(tmp_path / "secret")}, {})

    assert "postgresql://atoll:hidden@db/atoll" == of_file.database == of_variable.database


def test_a_word_that_is_not_known_is_refused_with_a_near_one(tmp_path: Path) -> None:
    told = faults(write(tmp_path, "prot: 1\nzzz: 2\n"), {"ATOLL_HUB_HOTS": "x"})

    assert "prot is no setting of a hub; did you mean port?" in told
    assert "ATOLL_HUB_HOTS is no setting of a hub; did you mean host?" in told
    assert "zzz is no setting of a hub: expected one of folder, url" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("port: many", "port can't be used: expected a whole number"),
        ("port: true", "port can't be used: expected a whole number"),
        ("person_rate: fast", "person_rate can't be used: expected a number"),
        ("behind_proxy: perhaps", "behind_proxy can't be used: expected yes or no"),
        ("trusted_proxies: [1]", "trusted_proxies can't be used: expected a list of texts"),
        ("url: [a]", "url can't be used: expected a text"),
        ("database: {file: none}", "can't be read"),
        ("- a", "holds no settings"),
        ("a: [", "is no YAML"),
    ],
)
def test_what_can_not_be_read_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)

    found = faults(path)

    assert told in found
    assert str(path) in found


def test_a_value_that_can_not_be_used_is_not_repeated() -> None:
    assert "hunter2" not in faults(None, {"ATOLL_HUB_PORT": "hunter2"})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"port": 70_000}, "port is 70000"),
        ({"tls_key": Path("k")}, "go together"),
        ({"host": "0.0.0.0"}, "nothing speaks HTTPS"),
        ({"url": "hub.example"}, "expected one such as https://"),
        ({"log_level": "loud"}, "expected one of debug"),
        ({"streams": "maybe"}, "expected one of auto, on, off"),
        ({"heartbeat_seconds": 0}, "expected more than 0"),
        ({"login_rate": -1}, "expected 0 or more"),
    ],
)
def test_settings_that_can_not_be_are_refused(given: dict[str, Any], told: str) -> None:
    assert told in faults(**given)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_a_hub_that_only_its_machine_reaches_needs_no_https(host: str) -> None:
    assert is_loopback(host)
    assert host == HubSettings(host=host).host


@pytest.mark.parametrize(
    "safe", [{"behind_proxy": True}, {"tls_certificate": Path("c"), "tls_key": Path("k")}]
)
def test_a_hub_that_others_reach_speaks_https_or_stands_behind_who_does(safe: dict[str, Any]) -> None:
    assert "hub.example" == HubSettings(host="hub.example", **safe).host


def test_a_file_that_is_not_there_or_empty(tmp_path: Path) -> None:
    assert "can't be read" in faults(tmp_path / "none.yaml")
    assert HubSettings() == read_settings(write(tmp_path, ""), {}, {})


def test_every_setting_has_a_unit_and_a_sentence() -> None:
    for one in fields(HubSettings):
        assert one.metadata["unit"]
        assert one.metadata["help"].endswith(".")
