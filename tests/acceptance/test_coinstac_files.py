"""Which files a script sees, and where the files that it sends go."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.acceptance.computations import RUNTIMES, Heard, run, script, write_computation

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60), pytest.mark.parametrize("runtime", RUNTIMES)]

LIST_BASE = """
    base = state["baseDirectory"]
    found = []
    for where, folders, files in os.walk(base):
        found += [os.path.relpath(os.path.join(where, name), base) for name in files]
    answer["output"] = {name: open(os.path.join(base, name)).read() for name in sorted(found)}
    answer["success"] = True
"""


@pytest.mark.parametrize("layout", ["test/{seat}/simulatorRun", "test/input/{seat}/simulatorRun"])
def test_a_site_sees_its_own_files(tmp_path: Path, runtime: str, layout: str) -> None:
    """In the guide's layout and in the program's; folders too; never another site's."""
    files: dict[str, str | bytes] = {}
    for seat in ("local0", "local1"):
        where = layout.format(seat=seat)
        files |= {f"{where}/data.csv": f"of {seat}", f"{where}/deep/er/x.txt": f"deep {seat}"}
    folder = write_computation(tmp_path / "own", local=script(LIST_BASE), files=files)

    results = run(folder, tmp_path, runtime=runtime, clients=2).results

    for seat in ("local0", "local1"):
        assert {"data.csv": f"of {seat}", "deep/er/x.txt": f"deep {seat}"} == results[seat]


def test_site_files_come_from_the_directory_wherever_the_inputspec_lies(tmp_path: Path, runtime: str) -> None:
    """--directory names the sites' files, --inputspec the inputs, and neither moves the other."""
    folder = write_computation(
        tmp_path / "apart",
        local=script(LIST_BASE),
        files={"data/local0/simulatorRun/a.txt": "a", "elsewhere/in.json": "{}"},
    )

    report = run(
        folder,
        tmp_path,
        runtime=runtime,
        directory=folder / "data",
        inputspec=folder / "elsewhere" / "in.json",
    )

    assert {"a.txt": "a"} == report.results["local0"]


def test_links_in_a_sites_folder_are_followed_for_the_site(tmp_path: Path, runtime: str) -> None:
    """A link to a large file somewhere else is a usual way to keep data, and works."""
    folder = write_computation(tmp_path / "linked", local=script(LIST_BASE), files={"test/x": ""})
    site = folder / "test" / "local0" / "simulatorRun"
    site.mkdir(parents=True)
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "scan.txt").write_text("scan")
    (site / "real.txt").write_text("real")
    (site / "inner.txt").symlink_to("real.txt")
    (site / "outer.txt").symlink_to(tmp_path / "archive" / "scan.txt")
    (site / "absolute.txt").symlink_to(site / "real.txt")

    report = run(folder, tmp_path, runtime=runtime)

    expected = {"absolute.txt": "real", "inner.txt": "real", "outer.txt": "scan", "real.txt": "real"}
    assert expected == report.results["local0"]


def test_files_travel_both_ways_with_their_folders(tmp_path: Path, runtime: str) -> None:
    """To the aggregator under the sender's name, back to every site, at the end as output."""
    local = script("""
        base, out = state["baseDirectory"], state["transferDirectory"]
        n = state["iteration"]
        if n == 1:
            os.makedirs(os.path.join(out, "a", "b"))
            open(os.path.join(out, "a", "b", "deep.txt"), "w").write(state["clientId"])
            open(os.path.join(out, "top.txt"), "w").write("top " + state["clientId"])
        else:
            answer["output"] = {"got": open(os.path.join(base, "merged.txt")).read(), "left": os.listdir(out)}
    """)
    remote = script("""
        base, out = state["baseDirectory"], state["transferDirectory"]
        if state["iteration"] == 1:
            text = ""
            for site in doc["input"]:
                text += open(os.path.join(base, site, "a", "b", "deep.txt")).read()
                text += open(os.path.join(base, site, "top.txt")).read()
            open(os.path.join(out, "merged.txt"), "w").write(text)
        else:
            open(os.path.join(out, "final.txt"), "w").write("the end")
            open(os.path.join(state["outputDirectory"], "mine.txt"), "w").write("kept")
            answer = {"output": doc["input"], "success": True}
    """)
    folder = write_computation(tmp_path / "files", local=local, remote=remote)

    report = run(folder, tmp_path, runtime=runtime, clients=2)

    merged = "local0top local0local1top local1"
    assert {site: {"got": merged, "left": []} for site in ("local0", "local1")} == report.result
    out = tmp_path / "out" / "output"
    assert ["the end"] * 2 == [(out / site / "final.txt").read_text() for site in ("local0", "local1")]
    assert ["mine.txt"] == [path.name for path in (out / "remote").iterdir()]
    assert ["final.txt"] == [path.name for path in (out / "local0").iterdir()]
    assert not (tmp_path / "out" / ".scratch").exists()


def test_a_received_file_may_replace_one_of_the_site(tmp_path: Path, runtime: str) -> None:
    """In the run's own folder: what the site keeps is not touched."""
    local = script("""
        answer["output"] = {"text": open(os.path.join(state["baseDirectory"], "data.txt")).read()}
    """)
    remote = script("""
        open(os.path.join(state["transferDirectory"], "data.txt"), "w").write("from remote")
        answer = {"output": doc["input"], "success": state["iteration"] == 2}
    """)
    files: dict[str, str | bytes] = {"test/local0/simulatorRun/data.txt": "the site's"}
    folder = write_computation(tmp_path / "same", local=local, remote=remote, files=files)

    report = run(folder, tmp_path, runtime=runtime)

    assert {"local0": {"text": "from remote"}} == report.result
    assert "the site's" == (folder / "test/local0/simulatorRun/data.txt").read_text()


def test_temporary_files_live_as_long_as_the_step(tmp_path: Path, runtime: str) -> None:
    """The cache directory and /tmp keep their files from call to call."""
    local = script("""
        path = os.path.join(state["cacheDirectory"], "count")
        n = int(open(path).read()) + 1 if os.path.exists(path) else 1
        open(path, "w").write(str(n))
        answer = {"output": {"n": n}, "success": n == 3}
    """)
    folder = write_computation(tmp_path / "keeps", local=local)

    assert {"n": 3} == run(folder, tmp_path, runtime=runtime).results["local0"]


def test_a_link_in_the_transfer_directory_is_refused(tmp_path: Path, runtime: str) -> None:
    """A script can't make the node read a file for it."""
    local = script("os.symlink('/etc/hostname', os.path.join(state['transferDirectory'], 'x'))")
    folder = write_computation(tmp_path / "link", local=local, remote=script(""))

    report = run(folder, tmp_path, runtime=runtime)

    assert report.error is not None
    assert ("UnsafeName", "local0") == (report.error["type"], report.error["site"])
    assert "'x' is a link" in report.error["message"]


def test_copied_links_to_a_sites_own_files_are_sent_and_kept_as_files(tmp_path: Path, runtime: str) -> None:
    """As `cp -r` copies what lies in the base directory; a link to anything else stays one."""
    local = script("""
        os.system(f"cp -r {state['baseDirectory']}/* {state['transferDirectory']}")
        os.system(f"cp -a {state['baseDirectory']} {state['outputDirectory']}/all")
        os.symlink("/etc/hostname", os.path.join(state["outputDirectory"], "other"))
    """)
    remote = script("""
        base = os.path.join(state["baseDirectory"], "local0")
        names = [os.path.relpath(os.path.join(w, n), base) for w, _, ns in os.walk(base) for n in ns]
        answer = {"output": {n: open(os.path.join(base, n)).read() for n in sorted(names)}, "success": True}
    """)
    site = "test/local0/simulatorRun"
    files: dict[str, str | bytes] = {f"{site}/a.csv": "a", f"{site}/sub/b.csv": "b"}
    folder = write_computation(tmp_path / "copies", local=local, remote=remote, files=files)
    (tmp_path / "scan.nii").write_text("scan")
    (folder / site / "c.nii").symlink_to(tmp_path / "scan.nii")

    report = run(folder, tmp_path, runtime=runtime)

    output = tmp_path / "out" / "output" / "local0"
    copied = {"a.csv": "a", "c.nii": "scan", "sub/b.csv": "b"}
    assert copied == report.result
    assert copied == {name: (output / "all" / name).read_text() for name in copied}
    assert ["other"] == [path.name for path in output.rglob("*") if path.is_symlink()]


def test_a_link_in_the_base_directory_leads_nothing_astray(tmp_path: Path, runtime: str) -> None:
    """A site's link where a folder belongs is no way to write somewhere else."""
    target = tmp_path / "target"
    target.mkdir()
    local = script(f"""
        base = state["baseDirectory"]
        if state["iteration"] == 1:
            os.symlink({str(target)!r}, os.path.join(base, "folder"))
    """)
    remote = script("""
        os.makedirs(os.path.join(state["transferDirectory"], "folder"))
        open(os.path.join(state["transferDirectory"], "folder", "x"), "w").write("x")
    """)
    folder = write_computation(tmp_path / "astray", local=local, remote=remote)

    report = run(folder, tmp_path, runtime=runtime)

    assert report.error is not None
    assert "UnsafeName" == report.error["type"]
    assert [] == list(target.iterdir())


def test_large_answers_and_files_arrive_whole(tmp_path: Path, runtime: str) -> None:
    """An answer of 30 MB and a file of 40 MB, by their digests."""
    local = script("""
        import hashlib
        with open(os.path.join(state["transferDirectory"], "big.bin"), "wb") as file:
            for i in range(40):
                file.write(bytes([i]) * 1000000)
        answer["output"] = {"text": "0123456789" * 3000000}
    """)
    remote = script("""
        import hashlib
        with open(os.path.join(state["baseDirectory"], "local0", "big.bin"), "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        answer = {"output": {"digest": digest, "length": len(doc["input"]["local0"]["text"])}, "success": True}
    """)
    folder = write_computation(tmp_path / "large", local=local, remote=remote)

    report = run(folder, tmp_path, runtime=runtime)

    content = b"".join(bytes([i]) * 1_000_000 for i in range(40))
    assert {"digest": hashlib.sha256(content).hexdigest(), "length": 30_000_000} == report.result


def test_an_inputs_missing_file_is_a_warning(tmp_path: Path, runtime: str) -> None:
    """Published inputs name files that are not there: said, not refused."""
    spec = {"input": {"data": {"type": "files"}}}
    folder = write_computation(
        tmp_path / "missing",
        local=script("answer['success'] = True"),
        spec=spec,
        inputs={"data": {"value": ["nowhere.csv"]}},
    )
    heard = Heard()

    report = run(folder, tmp_path, runtime=runtime, heard=heard)

    assert "done" == report.status
    assert any("nowhere.csv" in text for text in heard.warnings)


@pytest.mark.parametrize("output", ["results", "runs/first"])
def test_a_run_in_the_computations_folder_shows_no_site_another_ones_files(
    tmp_path: Path, runtime: str, output: str
) -> None:
    """Where the run's folder lies within the code, the sandbox covers it."""
    if runtime != "bubblewrap":
        pytest.skip("a plain process sees the whole machine")
    local = script("""
        for folder in ("cacheDirectory", "outputDirectory", "transferDirectory"):
            open(os.path.join(state[folder], "mine.txt"), "w").write(state["clientId"])
        seen = [os.path.join(where, name) for where, _, names in os.walk("/computation") for name in names]
        answer["output"] = sorted(seen)
    """)
    remote = script("answer = {'output': doc['input'], 'success': state['iteration'] == 2}")
    folder = write_computation(tmp_path / "within", local=local, remote=remote)

    run(folder, tmp_path, runtime=runtime, clients=2, output=folder / "earlier" / output)
    report = run(folder, tmp_path, runtime=runtime, clients=2, output=folder / output)

    seen = [f"/computation/{name}" for name in ("compspec.json", "local.py", "remote.py")]
    assert {"local0": seen, "local1": seen} == report.result


def test_folders_that_are_deep_end_with_the_run(tmp_path: Path, runtime: str) -> None:
    """A script that nests folders deeper than a path may be long leaves none of them behind."""
    local = script("""
        for key in ("baseDirectory", "cacheDirectory"):
            handle = os.open(state[key], os.O_RDONLY)
            for _ in range(2000):
                os.mkdir("d", dir_fd=handle)
                inner = os.open("d", os.O_RDONLY, dir_fd=handle)
                os.close(handle)
                handle = inner
    """)
    folder = write_computation(tmp_path / "deep", local=local, remote=script("answer['success'] = True"))

    report = run(folder, tmp_path, runtime=runtime)

    assert "done" == report.status
    assert not (tmp_path / "out" / ".scratch").exists()


def test_nobody_else_on_the_machine_reaches_a_sites_files(tmp_path: Path, runtime: str) -> None:
    """A program that a script makes to run as its owner is out of everybody's reach."""
    local = script("""
        path = os.path.join(state["outputDirectory"], "program")
        open(path, "w").close()
        os.chmod(path, 0o4755)
    """)
    folder = write_computation(tmp_path / "modes", local=local, remote=script("answer['success'] = True"))

    run(folder, tmp_path, runtime=runtime)

    assert (tmp_path / "out" / "output" / "local0" / "program").exists()
    assert [0o700] * 2 == [(tmp_path / "out" / each).stat().st_mode & 0o777 for each in ("output", "logs")]
