from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.runtimes.kubernetes.playback import Playback, golden, playing

from atoll.engine.limits import CallLimits
from atoll.engine.running import Image, ImageKind, Launch, Mount, Outlet, Reply, Request, Style
from atoll.model.errors import AlgorithmFailed, JobRefused, LimitReached, RuntimeUnavailable
from atoll.model.work import Seat
from atoll.runtimes.kubernetes.cluster import Cluster
from atoll.runtimes.kubernetes.place import Pace
from atoll.runtimes.kubernetes.runtime import KubernetesRuntime
from atoll.runtimes.kubernetes.settings import KubernetesSettings

_IMAGE = Image(kind=ImageKind.OCI, name="registry.example/stroke/ssr:1", digest=f"sha256:{'3f' * 32}")
_LIMITS = CallLimits(seconds=60, memory_bytes=1024**3, processors=1.5)
_QUICK = Pace(stream_seconds=5, poll_seconds=0.01, look_seconds=0.01, gone_seconds=5)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are named as in the recordings, and no proxy stands in between."""
    given = iter(["atoll-0123456789ab", "atoll-ba9876543210"])
    monkeypatch.setattr("atoll.runtimes.kubernetes.place.new_name", lambda: next(given))
    monkeypatch.setenv("no_proxy", "*")


def settings(volume: Path, kubeconfig: Path) -> KubernetesSettings:
    return KubernetesSettings(
        namespace="algorithms", claim="atoll-data", mounted_at=volume, kubeconfig=kubeconfig
    )


def launch(volume: Path, waits: Callable[[str], None] | None = None) -> Launch:
    for name in ("tmp", "base", "data"):
        (volume / "run" / name).mkdir(parents=True, exist_ok=True)
    return Launch(
        seat=Seat("utrecht"),
        style=Style.CALL,
        code=None,
        image=_IMAGE,
        command=("python", "/computation/local.py"),
        mounts=(
            Mount(source=volume / "run" / "base", target="/input/base", writable=True),
            Mount(source=volume / "run" / "data", target="/data"),
        ),
        temporary=volume / "run" / "tmp",
        log=volume / "run" / "log",
        environment={"SECRET": "hush $(HOME)"},
        waits=waits,
    )


@asynccontextmanager
async def runtime(play: Playback, volume: Path) -> AsyncIterator[KubernetesRuntime]:
    kubeconfig = play.write_kubeconfig(volume / "kubeconfig")
    made = KubernetesRuntime(settings(volume, kubeconfig), volume / "workspace" / "kubernetes", pace=_QUICK)
    try:
        yield made
    finally:
        await made.close()


def call(
    name: str,
    volume: Path,
    waits: Callable[[str], None] | None = None,
    limits: CallLimits = _LIMITS,
) -> Reply:
    """One call, with a recording for a cluster."""

    async def main(play: Playback) -> Reply:
        async with runtime(play, volume) as made:
            session = await made.start(replace(launch(volume, waits), limits=limits))
            try:
                return await session.call(Request(body=b'{"x": 1}', environment={"ROUND": "round 1"}))
            finally:
                await session.close()

    with playing(name, volume) as play:
        return asyncio.run(main(play))


def test_a_call_is_a_job_that_is_removed_when_it_has_ended(tmp_path: Path) -> None:
    told: list[str] = []

    reply = call("success", tmp_path, told.append)

    assert (0, b'{"y": 2}', "one line\n") == (reply.exit_code, reply.output, reply.log_tail)
    assert told == [
        "queued in Kubernetes as job atoll-0123456789ab",
        "queued in Kubernetes as pod atoll-0123456789ab-x7k2p",
        "starts in Kubernetes as pod atoll-0123456789ab-x7k2p",
        "runs in Kubernetes as pod atoll-0123456789ab-x7k2p",
    ]
    assert (tmp_path / "run" / "log").read_text() == "one line\n"
    assert not any((tmp_path / "workspace" / "kubernetes").iterdir())


def test_an_answer_that_is_too_large_has_reached_a_limit(tmp_path: Path) -> None:
    with pytest.raises(LimitReached, match="more than 3 bytes, the most that one call may answer"):
        call("success", tmp_path, limits=CallLimits(reply_bytes=3))


def test_an_exit_status_is_the_algorithm_s_own(tmp_path: Path) -> None:
    reply = call("exit-status", tmp_path)

    assert (3, b"", "ValueError: no column\n") == (reply.exit_code, reply.output, reply.log_tail)


def test_a_pod_that_was_ended_for_its_memory_has_reached_a_limit(tmp_path: Path) -> None:
    with pytest.raises(LimitReached, match="needed more than 1073741824 bytes of memory"):
        call("memory", tmp_path)


def test_a_pod_that_was_ended_for_its_time_has_reached_a_limit(tmp_path: Path) -> None:
    with pytest.raises(LimitReached, match="longer than 60 seconds"):
        call("deadline", tmp_path)


def test_a_job_that_had_no_pod_in_its_time_has_reached_a_limit(tmp_path: Path) -> None:
    with pytest.raises(LimitReached, match="ended by the cluster"):
        call("no-pod", tmp_path)


def test_an_image_that_can_t_be_fetched_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"ErrImagePull: .*access denied.*image_pull_secrets"):
        call("no-image", tmp_path)


def test_a_call_without_a_machine_waits_for_one_and_says_so(tmp_path: Path) -> None:
    told: list[str] = []

    assert call("queued", tmp_path, told.append).output == b"late"
    assert "queued in Kubernetes as pod atoll-0123456789ab-x7k2p (reason: Unschedulable)" in told


def test_a_call_that_waits_for_too_long_is_taken_back(tmp_path: Path) -> None:
    def a_month_passes(text: str) -> None:
        if "Unschedulable" in text:
            loop = asyncio.get_running_loop()
            now = loop.time
            loop.time = lambda: now() + 30 * 86_400  # type: ignore[method-assign]  # it can't be waited for

    with pytest.raises(LimitReached, match="queued in Kubernetes for 604800 seconds"):
        call("queued-too-long", tmp_path, a_month_passes)


def test_a_call_whose_pod_is_evicted_is_done_once_more(tmp_path: Path) -> None:
    assert call("evicted", tmp_path).output == b"whole"


def test_a_call_that_loses_two_pods_has_failed(tmp_path: Path) -> None:
    with pytest.raises(AlgorithmFailed, match="twice; the second time for this reason: TerminationByKubelet"):
        call("evicted-twice", tmp_path)


def test_pods_are_listed_where_no_changes_can_be_had(tmp_path: Path) -> None:
    assert call("without-watch", tmp_path).exit_code == 0


def test_a_job_that_the_cluster_refuses_leaves_no_secret(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"status 403: jobs\.batch is forbidden: exceeded quota"):
        call("job-refused", tmp_path)


def test_a_cancelled_call_waits_until_its_pod_is_gone(tmp_path: Path) -> None:
    async def main(play: Playback) -> None:
        runs = asyncio.Event()
        async with runtime(play, tmp_path) as made:
            session = await made.start(launch(tmp_path, lambda _: runs.set()))
            calling = asyncio.create_task(session.call(Request(body=b"", environment={"ROUND": "round 1"})))
            await runs.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await session.close()

    with playing("cancelled", tmp_path) as play:
        asyncio.run(main(play))


def test_what_an_earlier_life_has_left_is_removed(tmp_path: Path) -> None:
    async def main(play: Playback) -> None:
        left = tmp_path / "workspace" / "kubernetes" / "call-1"
        left.mkdir(parents=True)
        async with runtime(play, tmp_path) as made:
            await made.recover()
        assert not left.exists()

    with playing("recover", tmp_path) as play:
        asyncio.run(main(play))


def test_a_job_comes_to_the_cluster_as_it_was_written_down(tmp_path: Path) -> None:
    async def main(play: Playback) -> None:
        cluster = Cluster(settings(tmp_path, play.write_kubeconfig(tmp_path / "kubeconfig")))
        await cluster.open()
        await cluster.make_job(golden("job"))
        await cluster.close()

    with playing("make-job", tmp_path) as play:
        asyncio.run(main(play))
    assert play.jobs == [golden("job")]


def start(name: str, volume: Path) -> None:
    async def main(play: Playback) -> None:
        async with runtime(play, volume) as made:
            await made.start(launch(volume))

    with playing(name, volume) as play:
        asyncio.run(main(play))


def test_no_pod_starts_where_no_policy_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"from the network: .*status 403.*without one"):
        start("policy-refused", tmp_path)


def test_a_policy_that_somebody_has_opened_is_closed_again(tmp_path: Path) -> None:
    start("policy-changed", tmp_path)


def test_no_pod_starts_where_a_policy_isn_t_kept_as_it_was_made(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="is not there as it was made"):
        start("policy-not-kept", tmp_path)


def test_no_pod_starts_where_another_policy_gives_it_a_network(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="allow-dns of the namespace algorithms gives"):
        start("policy-opened", tmp_path)


def _refused(volume: Path, asked: Launch) -> str:
    made = KubernetesRuntime(settings(volume, volume / "none"), volume / "kubernetes")
    with pytest.raises((RuntimeUnavailable, AlgorithmFailed)) as caught:
        asyncio.run(made.start(asked))
    return str(caught.value)


def test_what_needs_more_than_files_is_refused(tmp_path: Path) -> None:
    asked = launch(tmp_path)
    outlet = Outlet(host="127.0.0.1", port=3128, take=os.close)

    assert "answers call after call" in _refused(tmp_path, replace(asked, style=Style.SERVE))
    assert "answers call after call" in _refused(tmp_path, replace(asked, style=Style.TALK))
    assert "speaks with its node" in _refused(tmp_path, replace(asked, speaks_http=True))
    assert "may reach" in _refused(tmp_path, replace(asked, outlets=(outlet,)))
    assert "lent modules" in _refused(tmp_path, replace(asked, modules=(tmp_path,)))
    assert "code in a folder" in _refused(tmp_path, replace(asked, image=None))
    assert "a file x.sif" in _refused(
        tmp_path, replace(asked, image=Image(kind=ImageKind.SIF, name="x.sif", digest=""))
    )
    assert "names no command" in _refused(tmp_path, replace(asked, command=()))


def test_an_image_that_the_site_doesn_t_run_never_reaches_the_cluster(tmp_path: Path) -> None:
    async def refuse(image: Image) -> None:
        raise JobRefused(f"{image.name} is not signed")

    made = KubernetesRuntime(settings(tmp_path, tmp_path / "none"), tmp_path / "kubernetes", check=refuse)
    with pytest.raises(JobRefused, match="is not signed"):
        asyncio.run(made.start(launch(tmp_path)))
    # What the site itself has chosen for code gets as far as to the cluster.
    with pytest.raises(RuntimeUnavailable, match="how the cluster of Kubernetes is reached"):
        asyncio.run(made.start(replace(launch(tmp_path), chosen_here=True)))


def test_a_cluster_that_nobody_describes_is_told(tmp_path: Path) -> None:
    assert "how the cluster of Kubernetes is reached" in _refused(tmp_path, launch(tmp_path))


def test_nothing_reaches_a_pod_and_what_isn_t_contained_is_told(tmp_path: Path) -> None:
    async def main(play: Playback) -> None:
        async with runtime(play, tmp_path) as made:
            session = await made.start(launch(tmp_path))
            with pytest.raises(RuntimeUnavailable):
                await session.reach(80)
            with pytest.raises(RuntimeUnavailable):
                await session.offer(Outlet(host="127.0.0.1", port=80, take=os.close))
            assert session.address is None
            assert session.inside(tmp_path / "run" / "base" / "x") == "/input/base/x"
            assert any("network plugin" in each for each in made.caveats())
            assert any("on no cluster" in each for each in made.caveats())

    with playing("policy-changed", tmp_path) as play:
        asyncio.run(main(play))


def test_what_nobody_can_cover_is_not_run(tmp_path: Path) -> None:
    async def away(_: Image) -> tuple[str, ...]:
        raise RuntimeUnavailable("the registry is away")

    made = KubernetesRuntime(settings(tmp_path, tmp_path / "none"), tmp_path / "kubernetes", look=away)
    with pytest.raises(RuntimeUnavailable, match=r"the registry is away\. .*kubernetes: registries"):
        asyncio.run(made.start(launch(tmp_path)))
