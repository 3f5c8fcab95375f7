"""A hub from Python: the real client, at the real hub, over a real socket."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from tests.landing import PASSWORD, SITES, Landing, landing

import atoll
from atoll.client.client import open_client
from atoll.client.core import Background, Credentials
from atoll.client.submitting import Step
from atoll.dialects.functions.body import read_call
from atoll.dialects.functions.container import pack
from atoll.model.errors import (
    BlobMismatch,
    HubUnreachable,
    NotAllowed,
    NotLoggedIn,
    NotThere,
    RunFailed,
    SpecInvalid,
    StaleEvent,
    Taken,
    Unusable,
    WaitTimeout,
)

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
MEAN = EXAMPLES / "functions/mean"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landing]:
    with landing(tmp_path_factory.mktemp("hub")) as there:
        yield there


@pytest.fixture
def client(hub: Landing) -> Iterator[atoll.Client]:
    with hub.connect() as connected:
        yield connected


#: An image that no engine has.
PINNED = f"registry.invalid/atoll-test/mean@sha256:{'a' * 64}"


def _mean(client: atoll.Client, **more: object) -> atoll.Run:
    asked = {"collaboration": "islands", "algorithm": MEAN, "args": {"column": "x"}, **more}
    run: atoll.Run = client.runs.submit(**asked)
    return run


def test_a_central_function_has_a_result_and_its_site_too(hub: Landing, client: atoll.Client) -> None:
    run = _mean(client)
    ticket = hub.play("Biscoe", 42.5)

    assert run.wait(timeout=10) is run
    assert (run.status, run.result, run.results) == ("done", 42.5, {"Biscoe": 42.5})
    assert read_call(ticket.inbox[0].body).args == {"column": "x"}


def test_a_partial_function_has_a_result_for_each_site_in_their_order(
    hub: Landing, client: atoll.Client
) -> None:
    run = _mean(client, function="moments")
    for number, site in enumerate(reversed(SITES)):
        hub.play(site, {"n": number})
    run.wait(timeout=10)

    assert run.result is None
    assert list(run.results.items()) == [("Biscoe", {"n": 2}), ("Dream", {"n": 1}), ("Torgersen", {"n": 0})]


def test_a_decentralized_computation_gives_every_site_the_last_output(
    hub: Landing, client: atoll.Client, tmp_path: Path
) -> None:
    run = client.runs.submit(
        collaboration="islands", algorithm=EXAMPLES / "coinstac/sum", inputs={"start": {"value": 1}}
    )
    for site in SITES:
        ticket = hub.claim(site)
        hub.report(site, ticket, b'{"output": 1}')
    hub.report("Lagoon", hub.claim("Lagoon"), b'{"sum":5}', {"inner/plot.svg": b"<svg/>"})
    for site in SITES:
        hub.report(site, hub.claim(site), b"{}")
    run.wait(timeout=10)

    assert (run.result, run.results["Dream"], run.iterations) == ({"sum": 5}, {"sum": 5}, 1)
    assert [path.read_bytes() for path in run.files("Dream", tmp_path)] == [b"<svg/>"]
    assert (tmp_path / "inner/plot.svg").is_file()
    with pytest.raises(NotThere, match="Elsewhere has no result"):
        run.files("Elsewhere", tmp_path)


def test_a_large_input_travels_as_a_file(hub: Landing, client: atoll.Client) -> None:
    run = _mean(client, args={"column": "x" * 300_000})
    ticket = hub.claim("Biscoe")

    assert ticket.inbox[0].body == b""
    assert ticket.inbox[0].body_blob is not None
    assert ticket.inbox[0].body_blob.size_bytes > 300_000
    run.cancel()


def test_a_run_that_fails_says_what_and_where(hub: Landing, client: atoll.Client) -> None:
    run = _mean(client)
    hub.break_("Biscoe", "no such column")

    with pytest.raises(RunFailed) as failed:
        run.wait(timeout=10)

    assert (failed.value.type, failed.value.site) == ("AlgorithmFailed", "Biscoe")
    assert "no such column" in failed.value.message
    assert run.status == "failed"
    with pytest.raises(RunFailed):
        _ = run.result


def test_who_waits_too_long_is_told_whom_the_run_waits_for(client: atoll.Client) -> None:
    run = _mean(client)

    with pytest.raises(WaitTimeout, match="waits for Biscoe"):
        run.wait(timeout=0)
    with pytest.raises(WaitTimeout):
        _ = run.results
    assert [(one.seat, one.status) for one in run.waiting_for] == [("Biscoe", "queued")]
    run.cancel("enough")
    with pytest.raises(RunFailed, match="enough"):
        run.wait(timeout=10)
    with pytest.raises(StaleEvent):
        run.cancel()


def test_somebody_decides_about_a_job_that_broke(hub: Landing, client: atoll.Client) -> None:
    run = _mean(client, function="moments", on_failure="ask")
    hub.break_("Biscoe")
    for site in ("Dream", "Torgersen"):
        hub.play(site, 2)
    assert [(one.seat, one.status) for one in run.waiting_for] == [("Biscoe", "held")]
    with pytest.raises(NotThere, match="waits for nothing at Dream"):
        run.decide("Dream", "retry")
    run.decide("Biscoe", "retry")
    hub.play("Biscoe", 1)

    assert run.wait(timeout=10).results["Biscoe"] == 1


def test_events_tell_a_run_to_its_end(hub: Landing, client: atoll.Client) -> None:
    run = _mean(client)
    events = run.events()
    assert next(events).form["status"] == "active"
    hub.play("Biscoe", 1)

    seen = list(events)
    assert (seen[-1].kind, seen[-1].form["status"]) == ("run", "done")
    assert "job" in {event.kind for event in seen}


def test_progress_draws_a_run_and_waits_for_it(
    hub: Landing, client: atoll.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _mean(client, name="a [bold]name")
    playing = threading.Thread(target=hub.play, args=("Biscoe", 3))
    playing.start()

    assert run.progress().result == 3
    playing.join()
    told = capsys.readouterr()
    assert "a [bold]name: done" in told.err
    assert told.out == ""


def test_a_notebook_shows_text_and_nothing_else(hub: Landing, client: atoll.Client) -> None:
    run = _mean(client, name="<script>alert(1)</script>")
    hub.play("Biscoe", {"<b>": "</pre><script>"})
    run.wait(timeout=10)
    assert run.result

    shown = run._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "keeper" in client._repr_html_()
    assert "islands" in client.collaborations._repr_html_()


def test_tables_are_had_as_data_frames(hub: Landing, client: atoll.Client) -> None:
    pytest.importorskip("pandas")
    run = _mean(client)
    hub.play("Biscoe", {"n": [1, 2], "mean": [0.5, 1.5]})
    run.wait(timeout=10)

    assert run.frame()["mean"].tolist() == [0.5, 1.5]
    assert run.frame("Biscoe").shape == (2, 2)


def test_an_algorithm_is_brought_once_and_found_by_name_and_digest(
    hub: Landing, client: atoll.Client
) -> None:
    digest = client.algorithms.upload(MEAN, collaboration="islands")
    assert client.algorithms.upload(MEAN, collaboration="islands") == digest
    assert client.algorithms.get("mean").digest == digest

    for named in ("mean", digest):
        run = _mean(client, algorithm=named)
        hub.play("Biscoe", 1)
        assert run.wait(timeout=10).record()["run"]["steps"][0]["algorithm"]["digest"] == digest


def test_an_algorithm_is_taken_away_when_no_run_uses_it(client: atoll.Client, tmp_path: Path) -> None:
    (tmp_path / "median.py").write_text((MEAN / "mean.py").read_text() + "# another\n")
    digest = client.algorithms.upload(tmp_path, collaboration="islands")
    run = _mean(client, algorithm=digest)
    with pytest.raises(Taken, match="goes on uses median"):
        client.algorithms.remove(digest, collaboration="islands")
    run.cancel()
    client.algorithms.remove(digest, collaboration="islands")

    with pytest.raises(NotThere):
        client.algorithms.get(digest)


def test_a_folder_that_has_changed_is_packed_anew(client: atoll.Client, tmp_path: Path) -> None:
    code = tmp_path / "mode.py"
    code.write_text((MEAN / "mean.py").read_text())
    first = client.algorithms.upload(tmp_path, collaboration="islands")
    assert client.algorithms.upload(tmp_path, collaboration="islands") == first
    code.write_text(code.read_text() + "# changed\n")

    assert client.algorithms.upload(tmp_path, collaboration="islands") != first


def test_an_image_that_nobody_here_can_look_into_is_submitted_by_its_digest(client: atoll.Client) -> None:
    run = client.runs.submit(
        collaboration="islands",
        algorithm=PINNED,
        dialect="vantage6-5",
        function="central",
        args={"column": "x"},
    )
    (step, *_) = run.form["steps"]
    told = client.algorithms.get(step["algorithm"]["digest"])
    run.cancel()

    assert (step["algorithm"]["dialect"], told.kind, told.size_bytes < 3_000) == ("vantage6", "image", True)
    assert told.manifest["image"] == {
        "kind": "oci",
        "name": PINNED.partition("@")[0],
        "digest": f"sha256:{'a' * 64}",
    }


def test_a_computation_is_submitted_with_the_image_that_it_names(
    client: atoll.Client, tmp_path: Path
) -> None:
    text = (EXAMPLES / "coinstac/sum/compspec.json").read_text()
    (tmp_path / "compspec.json").write_text(
        re.sub('"dockerImage": "[^"]*"', f'"dockerImage": "{PINNED}"', text)
    )

    run = client.runs.submit(
        collaboration="islands", algorithm=tmp_path, image="compspec", inputs={"start": {"value": 1}}
    )
    told = client.algorithms.get(run.form["steps"][0]["algorithm"]["digest"])
    run.cancel()

    assert (told.kind, told.manifest["image"]["digest"]) == ("image", f"sha256:{'a' * 64}")
    assert told.manifest["command"][0] == "python"


def test_an_image_that_is_a_file_is_submitted_by_its_own_name(client: atoll.Client, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for path in (EXAMPLES / "coinstac/sum").glob("*.*"):
        (root / "computation").mkdir(parents=True, exist_ok=True)
        (root / "computation" / path.name).write_bytes(path.read_bytes())
    (root / "usr").mkdir()

    digest = client.algorithms.upload(f"sif:{root}", collaboration="islands")
    told = client.algorithms.get(digest)

    assert (told.kind, told.dialect) == ("image", "coinstac")
    assert told.manifest["image"]["kind"] == "sif"
    assert told.manifest["image"]["name"] == "root"


def test_code_is_submitted_with_the_image_that_it_runs_in(client: atoll.Client) -> None:
    digest = client.algorithms.upload(MEAN, collaboration="islands", image=PINNED)
    told = client.algorithms.get(digest)

    assert (told.kind, told.manifest["image"]["digest"]) == ("bundle", f"sha256:{'a' * 64}")
    assert "requires" not in told.manifest
    assert client.algorithms.upload(PINNED, collaboration="islands", dialect="vantage6") != digest


def test_steps_of_two_dialects_make_one_run(client: atoll.Client) -> None:
    steps = [
        Step(algorithm=EXAMPLES / "coinstac/sum", inputs={"start": {"value": 1}}),
        Step(algorithm=MEAN, args={"column": "x"}),
    ]
    run = client.runs.submit(collaboration="islands", steps=steps)

    assert [step["algorithm"]["dialect"] for step in run.form["steps"]] == ["coinstac", "functions"]
    run.cancel()


def test_what_is_done_with_data_first_is_a_step_of_the_run(client: atoll.Client) -> None:
    run = _mean(
        client,
        algorithm=EXAMPLES / "vantage6/average-5",
        function="average",
        extract="read",
        preprocess=['complete:{"column": "x"}'],
    )

    assert len(run.form["steps"]) == 3
    run.cancel()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"algorithm": "docker:atoll-test-nowhere/mean"}, "is can't be told here"),
        ({"algorithm": "docker:ada:secret@registry.example/mean"}, "this is no name of an image"),
        ({"algorithm": PINNED}, "can't be looked into here"),
        ({"algorithm": PINNED, "image": PINNED}, "is an image already"),
        ({"image": "compspec"}, "has no compspec.json, which could name an image"),
        ({"algorithm": None, "steps": [Step(algorithm=MEAN)], "image": PINNED}, "said with its step"),
        ({"algorithm": "median"}, "no path here, and no algorithm"),
        ({"args": {}}, "give args={'column': …}"),
        ({"sites": "Biscoe"}, "expected a list of names"),
        ({"preprocess": "complete"}, "expected a list of functions"),
        ({"on_failure": "panic"}, "expected one of fail, drop, ask"),
        ({"algorithm": None}, "expected one of the two"),
        ({"algorithm": None, "steps": [Step(algorithm=MEAN)]}, "said with its step"),
        ({"algorithm": None, "steps": [], "args": None}, "at least one step"),
    ],
)
def test_what_can_not_be_begun_is_refused_before_it_is_sent(
    client: atoll.Client, more: dict[str, object], words: str
) -> None:
    before = len(client.runs.list(limit=1_000))

    with pytest.raises(SpecInvalid) as refused:
        _mean(client, **more)

    assert words in str(refused.value)
    assert len(client.runs.list(limit=1_000)) == before


def test_what_is_not_there_is_told_with_what_is(client: atoll.Client) -> None:
    with pytest.raises(NotThere, match="there are islands"):
        _mean(client, collaboration="island")
    with pytest.raises(NotThere):
        client.runs.get("run_nowhere")
    with pytest.raises(NotThere, match="keeper"):
        client.users.get("nobody")


def test_people_and_places_are_listed_made_and_changed(client: atoll.Client) -> None:
    reef = client.organizations.create("Reef")
    assert client.organizations.rename(reef.id, "Riff").name == "Riff"
    ada = client.users.create("ada", PASSWORD, organization=reef.id, roles=["researcher"])
    assert client.users.change(ada.id, name="Ada").name == "Ada"
    invited = client.invitations.create("Ben", organization=reef.id, roles=["researcher"])
    assert invited.code is not None
    assert invited.code not in repr(invited)
    assert client.invitations.get("Ben").code is None
    client.invitations.delete(invited.id)
    collaboration = client.collaborations.get("islands")
    client.collaborations.add_organization(collaboration.id, reef.id)
    assert reef.id in client.collaborations.get(collaboration.id).organizations
    client.collaborations.remove_organization(collaboration.id, reef.id)
    nodes = [node.id for node in client.nodes.list() if node.name in SITES[:2]]
    study = client.studies.create("north", collaboration="islands", nodes=nodes)
    assert [one.name for one in client.studies.list()] == ["north"]
    run = _mean(client, study="north", function="moments")
    assert run.sites == ("Biscoe", "Dream")
    run.cancel()
    client.studies.delete(study.id)
    role = client.roles.create("watcher", ["run:view:own"])
    assert role.id in {one.id for one in client.roles.list()}
    client.users.delete(ada.id)
    client.organizations.delete(reef.id)
    with pytest.raises(NotAllowed, match="takes a login"):
        client.tokens.create("script", ["run:view:own"], days=1)


def test_a_secret_is_in_no_words(hub: Landing, client: atoll.Client) -> None:
    with atoll.login(hub.url, "keeper", PASSWORD) as fresh:
        token = fresh.tokens.create("words", ["run:view:own"], days=1)
        assert token.token
        assert token.token not in repr(token)
        credentials = fresh.reach.core._credentials
        assert credentials.token not in repr(credentials)
        fresh.tokens.delete(token.id)
    assert hub.token not in repr(client)


def test_a_login_goes_on_when_its_access_token_is_over(hub: Landing) -> None:
    with atoll.login(hub.url, "keeper", PASSWORD) as client:
        client.me()
        hub.app.clock.move(16 * 60)

        assert client.me().username == "keeper"
        client.logout()
    with pytest.raises(HubUnreachable, match="was closed"):
        client.me()


def test_nobody_comes_in_with_what_is_not_known(hub: Landing) -> None:
    with pytest.raises(NotLoggedIn):
        atoll.login(hub.url, "keeper", "another password")
    for token in ("atp_forged", None):
        with atoll.connect(hub.url, token=token) as stranger, pytest.raises(NotLoggedIn):
            stranger.me()


def test_a_token_is_not_sent_over_the_network_in_the_open() -> None:
    with pytest.raises(Unusable, match="expected https://"):
        atoll.connect("http://hub.example.org", token="atp_secret")


def test_what_does_not_answer_is_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.client.core._FIRST_SECONDS", 0.0)

    with pytest.raises(HubUnreachable, match=r"no hub answers at 127\.0\.0\.1:9"):
        atoll.connect("http://127.0.0.1:9", token="x")


def test_a_file_that_is_not_what_it_is_named_by_is_refused(
    hub: Landing, client: atoll.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = _mean(client)
    hub.report("Biscoe", hub.claim("Biscoe"), pack(1), {"plot.svg": b"<svg/>"})
    run.wait(timeout=10)

    async def forged(*_: object) -> object:
        yield b"<script/>"

    monkeypatch.setattr("atoll.transports.files.fetch", forged)
    with pytest.raises(BlobMismatch, match=r"plot\.svg"):
        run.files("Biscoe", tmp_path)


def test_programs_that_share_a_login_take_turns(hub: Landing, tmp_path: Path) -> None:
    # Late: the command's own module reads the home folder.
    from atoll.cli.login_kept import Kept

    kept = Kept(path=tmp_path / "login.json")
    first = Credentials()
    with open_client(hub.url, first, password=("keeper", PASSWORD)):
        kept.write({"access_token": first.token, "refresh_token": first.refresh_token})
    hub.app.clock.move(16 * 60)
    clients = [open_client(hub.url, Credentials(keeper=kept)) for _ in range(3)]
    asking = [threading.Thread(target=client.me) for client in clients]
    for one in asking:
        one.start()
    for one in asking:
        one.join()

    # Had one used a refresh token that another had used, the login would have ended.
    assert [client.me().username for client in clients] == ["keeper"] * 3
    assert kept.path.stat().st_mode & 0o777 == 0o600
    assert first.refresh_token not in json.dumps(kept.read())
    for client in clients:
        client.close()


def test_a_client_that_is_let_go_in_its_own_thread_ends_all_the_same(hub: Landing) -> None:
    client = hub.connect()
    client.me()
    background, end = client.reach.background, client._end

    async def let_go() -> None:
        end()

    background.run(let_go())
    background._thread.join(timeout=10)
    assert not background.is_open


def test_importing_atoll_loads_no_client() -> None:
    # Late: in a process of its own.
    import subprocess
    import sys

    code = "import atoll, sys; assert 'aiohttp' not in sys.modules; assert callable(atoll.connect)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'disconnect'"):
        _ = atoll.disconnect


def test_what_is_under_way_when_a_client_is_closed_comes_to_its_end() -> None:
    background = Background()
    ended = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("task")

    async def give() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            ended.append("generator")

    items = give()

    async def begin() -> asyncio.Task[None]:
        await anext(items)
        begun = asyncio.create_task(wait())
        await asyncio.sleep(0)
        return begun

    waiting = background.run(begin())
    background.close()

    assert waiting.cancelled()
    assert sorted(ended) == ["generator", "task"]
