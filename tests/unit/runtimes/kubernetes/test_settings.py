from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from atoll.runtimes.kubernetes.settings import KubernetesSettings, why_not


def settings(volume: Path) -> KubernetesSettings:
    kubeconfig = volume / "kubeconfig"
    kubeconfig.touch()
    return KubernetesSettings(
        namespace="algorithms", claim="atoll-data", mounted_at=volume, kubeconfig=kubeconfig
    )


def test_what_is_missing_or_wrong_is_told_all_at_once(tmp_path: Path) -> None:
    wrong = KubernetesSettings(
        kubeconfig=tmp_path / "none",
        image_pull_secrets=("A B",),
        node_selector={"disk": 1},  # type: ignore[dict-item]  # what YAML makes of a number
        tolerations=({"colour": "red"},),
        gpus=-1,
        queued_seconds=0,
    )

    assert [fault.partition(" ")[0] for fault in wrong.faults()] == [
        *("namespace", "claim", "mounted_at", "kubeconfig", "image_pull_secrets", "node_selector"),
        *("tolerations", "gpus", "queued_seconds"),
    ]
    assert settings(tmp_path).faults() == []


def test_a_workspace_lies_in_the_volume(tmp_path: Path) -> None:
    assert why_not(settings(tmp_path), tmp_path / "workspace") is None
    for elsewhere in (tmp_path, tmp_path.parent / f"{tmp_path.name}-2"):
        assert "doesn't lie in the volume" in str(why_not(settings(tmp_path), elsewhere))


def test_a_node_outside_of_a_cluster_needs_a_file_that_describes_it(tmp_path: Path) -> None:
    asked = replace(settings(tmp_path), kubeconfig=None)

    assert "no cluster is known" in str(why_not(asked, tmp_path / "workspace"))


def test_faults_and_a_missing_client_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "namespace is ''" in str(why_not(KubernetesSettings(), tmp_path))
    monkeypatch.setattr("atoll.runtimes.kubernetes.settings.find_spec", lambda _: None)
    assert "pip install 'atoll[node,kubernetes]'" in str(why_not(settings(tmp_path), tmp_path / "workspace"))
