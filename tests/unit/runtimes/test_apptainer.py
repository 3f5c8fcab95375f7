"""The words that Apptainer is given, and boxes that a stand-in for it builds from them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests import apptainer_stand_in
from tests.sif import described, from_container, launch_of, make_image, write_tree

from atoll.engine.limits import CallLimits
from atoll.engine.running import (
    Image,
    ImageKind,
    Launch,
    Mount,
    Outlet,
    Reply,
    Request,
    Session,
    whole,
)
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes import groups
from atoll.runtimes.apptainer import ApptainerRuntime
from atoll.runtimes.apptainer_words import Shown, Version, read_version, words_of

# Where many tests run at once, making the first image takes its time.
pytestmark = pytest.mark.timeout(60)

NEW = Version(family="apptainer", number=(1, 3))
OLD = Version(family="singularity", number=(3, 6))
#: What keeps an algorithm in, whatever the version.
KEPT_IN = [
    *("--silent", "exec", "--containall", "--no-home", "--cleanenv", "--hostname", "atoll"),
    *("--net", "--network", "none"),
]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("apptainer version 1.3.4-1.el9\n", "apptainer 1.3"),
        ("apptainer version 1.0.0", "apptainer 1.0"),
        ("singularity-ce version 4.1.2-jammy", "singularity 4.1"),
        ("singularity version 3.8.7", "singularity 3.8"),
        ("singularity-pro version 3.11-1", "singularity 3.11"),
    ],
)
def test_a_version_is_understood(text: str, version: str) -> None:
    assert str(read_version(text)) == version


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2.6.1-dist", "expected was something such as"),
        ("", "expected was something such as"),
        ("singularity version 3.5.3", "singularity 3.5 is too old: expected singularity 3.6 or later"),
        ("apptainer version 0.9.0", "apptainer 0.9 is too old"),
    ],
)
def test_another_program_or_an_old_one_is_refused(text: str, words: str) -> None:
    with pytest.raises(RuntimeUnavailable, match=words):
        read_version(text)


def test_a_new_version_is_given_all_that_keeps_in() -> None:
    words = words_of(NEW, "/images/a.sif", ["python3", "-c", "x"], [], folder="/computation")

    assert words == [
        *KEPT_IN,
        *("--no-mount", "hostfs,cwd,bind-paths", "--no-eval"),
        *("--pwd", "/computation", "/images/a.sif", "python3", "-c", "x"),
    ]


def test_an_old_version_is_given_what_it_knows() -> None:
    shown = [Shown(source="/data", target="/input"), Shown(source="/out", target="/output", writable=True)]

    words = words_of(OLD, "a.sif", ["x"], shown, limits=CallLimits(memory_bytes=1))

    assert words == [
        *KEPT_IN,
        *("--no-mount", "hostfs,cwd", "--bind", "/data:/input:ro", "--bind", "/out:/output:rw"),
        *("--pwd", "/", "a.sif", "x"),
    ]


def test_what_root_starts_is_nobody() -> None:
    words = words_of(NEW, "a.sif", ["x"], [], user=(65532, 65533))

    at = words.index("--no-privs")
    assert words[at : at + 5] == ["--no-privs", "--security", "uid:65532", "--security", "gid:65533"]


def test_atolls_own_program_is_the_first_process() -> None:
    """So it can end whatever a call has left, however fast that makes new processes."""
    assert "--no-init" in words_of(NEW, "a.sif", ["x"], [], first=True)
    assert "--no-init" not in words_of(NEW, "a.sif", ["x"], [])


def test_bounds_are_told_to_who_knows_them() -> None:
    limits = CallLimits(memory_bytes=1000, processors=1.5, processes=7)

    words = words_of(NEW, "a.sif", ["x"], [], limits=limits)

    assert " --memory 1000 --memory-swap 1000 --cpus 1.5 --pids-limit 7 " in " ".join(words)
    assert "--memory" not in words_of(NEW, "a.sif", ["x"], [], limits=CallLimits(processes=None))


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/plain", "type=bind,source=/plain,destination=/in,ro"),
        ("/a:b", "type=bind,source=/a:b,destination=/in,ro"),
        ("/a,ro=b", 'type=bind,"source=/a,ro=b",destination=/in,ro'),
        ('/a"b', 'type=bind,"source=/a""b",destination=/in,ro'),
    ],
)
def test_any_path_can_be_shown(path: str, word: str) -> None:
    words = words_of(NEW, "a.sif", ["x"], [Shown(source=path, target="/in")])

    assert words[words.index("--mount") + 1] == word


@pytest.mark.parametrize(("version", "path"), [(OLD, "/a:b"), (OLD, "/a,b"), (NEW, "/a\nb"), (NEW, "/a\rb")])
def test_a_path_that_would_say_something_else_is_refused(version: Version, path: str) -> None:
    for shown in (Shown(source=path, target="/in"), Shown(source="/x", target=path)):
        with pytest.raises(AlgorithmFailed, match="can't be shown to the algorithm"):
            words_of(version, "a.sif", ["x"], [shown])


# ------------------------------------------------------------------------- with the stand-in

ENTRY = """
import json, os, sys
said = json.load(sys.stdin) if len(sys.argv) < 3 else None
print(json.dumps({
    "arguments": sys.argv[1:], "said": said, "folder": os.getcwd(), "greeting": os.environ.get("GREETING"),
    "secret": os.environ.get("SECRET"), "home": os.environ["HOME"], "user": os.getuid(),
    "host": sorted(name for name in os.environ if name.startswith(("APPTAINER", "SINGULARITY", "PYTEST"))),
    "hosts": open("/etc/hosts").read(), "input": os.listdir("/input") if os.path.exists("/input") else None,
    "interfaces": [name for _, name in __import__("socket").if_nameindex()],
}))
if os.path.exists("/output"):
    open("/output/left", "w").write("x")
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def image(home: Path) -> Image:
    started = from_container(["python", "/computation/entry.py"], environment={"GREETING": "a b"})
    return described(make_image(home / "image.sif", {**started, "/computation/entry.py": ENTRY}), home)


@pytest.fixture
def program(home: Path, tmp_path: Path) -> str:
    return str(apptainer_stand_in.install(tmp_path, home / "cache"))


def with_session(
    home: Path, program: str, launch: Launch, work: Callable[[Session], Coroutine[Any, Any, Any]]
) -> Any:
    async def go() -> Any:
        runtime = ApptainerRuntime(cache=home / "cache", program=program)
        try:
            session = await runtime.start(launch)
            try:
                return await work(session)
            finally:
                await session.close()
        finally:
            await runtime.close()

    return asyncio.run(go())


def call(home: Path, program: str, launch: Launch, body: bytes = b"{}", **request: Any) -> Reply:
    reply = with_session(home, program, launch, lambda session: session.call(Request(body=body, **request)))
    assert isinstance(reply, Reply)
    return reply


@pytest.mark.needs("mksquashfs")
@pytest.mark.needs("bubblewrap")
class TestBoxes:
    """Boxes that the stand-in builds."""

    def test_an_image_starts_what_it_says(
        self, home: Path, image: Image, program: str, tmp_path: Path
    ) -> None:
        data, output = (
            write_tree(tmp_path / "data", {"/patients": "x"}),
            write_tree(tmp_path / "out", {"/x": ""}),
        )
        launch = launch_of(
            tmp_path,
            image,
            mounts=(
                Mount(source=data, target="/input"),
                Mount(source=output, target="/output", writable=True),
            ),
            outlets=(Outlet(host="127.0.0.2", port=5432, alias="database", take=os.close),),
            environment={"SECRET": "$(id) `id`"},
        )

        reply = call(home, program, launch, b'{"a": 1}')

        assert reply.exit_code == 0, reply.log_tail
        found = json.loads(whole(reply.output))
        assert (found["said"], found["folder"], found["greeting"]) == ({"a": 1}, "/computation", "a b")
        assert (found["secret"], found["home"], found["host"]) == ("$(id) `id`", "/tmp", [])
        assert (found["input"], found["interfaces"]) == (["patients"], ["lo"])
        assert "127.0.0.2 database\n" in found["hosts"]
        assert found["user"] == (os.geteuid() or 65532)
        assert (output / "left").exists()

    def test_masked_parts_of_code_are_covered(
        self, home: Path, image: Image, program: str, tmp_path: Path
    ) -> None:
        files = {"/look.py": "import os\nprint(os.listdir('test'), open('one').read())\n"}
        code = write_tree(tmp_path / "code", {**files, "/test/data": "secret", "/one": "secret"})
        launch = launch_of(
            tmp_path, image, code=code, masked=("test", "one"), command=("python", "/computation/look.py")
        )

        assert whole(call(home, program, launch).output) == b"[] \n"

    def test_an_image_without_python_is_given_its_input(
        self, home: Path, program: str, tmp_path: Path
    ) -> None:
        image = described(make_image(home / "shell.sif", {"/app/x": ""}, python=False), home)
        launch = launch_of(
            tmp_path,
            image,
            command=("sh", "-c", 'cat; echo " $OWN $HOME"; exit 3'),
            environment={"OWN": "own"},
        )

        reply = call(home, program, launch, b"input")

        assert (reply.exit_code, whole(reply.output)) == (3, b"input own /tmp\n")

    def test_the_interpreter_is_looked_for_once(
        self, home: Path, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = apptainer_stand_in.install(tmp_path, home / "cache")
        counted = tmp_path / "counted"
        program.write_text(program.read_text().replace("#!/bin/sh\n", f'#!/bin/sh\necho "$*" >> {counted}\n'))

        async def twice() -> None:
            runtime = ApptainerRuntime(cache=home / "cache", program=str(program))
            for _ in range(2):
                session = await runtime.start(launch_of(tmp_path, image))
                await session.close()
            await runtime.close()

        asyncio.run(twice())

        lines = counted.read_text().splitlines()
        assert ["--version" in line for line in lines] == [True, False, False, False]
        assert ["version_info" in line for line in lines] == [False, True, False, False]

    def test_no_secret_is_among_the_words(self, home: Path, image: Image, tmp_path: Path) -> None:
        """Everybody on a machine may see the words of a command."""
        program = apptainer_stand_in.install(tmp_path, home / "cache")
        seen = tmp_path / "seen"
        program.write_text(program.read_text().replace("#!/bin/sh\n", f'#!/bin/sh\necho "$*" >> {seen}\n'))
        launch = launch_of(tmp_path, image, environment={"PASSWORD": "open sesame"})

        reply = call(home, str(program), launch, environment={"TOKEN": "open barley"})

        assert reply.exit_code == 0
        assert not {"sesame", "barley"} & set(seen.read_text().split())

    def test_singularity_is_spoken_to_in_its_own_words(
        self, home: Path, image: Image, tmp_path: Path
    ) -> None:
        program = apptainer_stand_in.install(
            tmp_path, home / "cache", version="singularity version 3.8.7", name="singularity"
        )

        assert call(home, str(program), launch_of(tmp_path, image)).exit_code == 0

    def test_what_the_program_says_is_quoted(self, image: Image, home: Path, tmp_path: Path) -> None:
        program = tmp_path / "apptainer"
        program.write_text(
            '#!/bin/sh\n[ "$1" = --version ] && exec echo apptainer version 1.3.0\n'
            "echo FATAL: no fakeroot >&2\nexit 255\n"
        )
        program.chmod(0o755)

        with pytest.raises(
            RuntimeUnavailable, match=r"apptainer 1.3 ended with status 255 and said: FATAL: no fakeroot"
        ):
            call(home, str(program), launch_of(tmp_path, image))

    def test_an_image_that_was_replaced_is_not_run(
        self, home: Path, image: Image, program: str, tmp_path: Path
    ) -> None:
        other = Image(kind=ImageKind.SIF, name=image.name, digest=f"sha256:{'1' * 64}")

        with pytest.raises(RuntimeUnavailable, match="is not the image that was asked for"):
            call(home, program, launch_of(tmp_path, other))


def test_without_the_program_it_says_what_else_there_is(tmp_path: Path) -> None:
    image = Image(kind=ImageKind.SIF, name="a.sif", digest="sha256:0")

    with pytest.raises(RuntimeUnavailable, match=r"Apptainer is not installed.*--runtime bubblewrap"):
        call(tmp_path, "no-such-apptainer", launch_of(tmp_path, image))


def test_what_nobody_tried_is_a_caveat(tmp_path: Path) -> None:
    assert "with no real one" in ApptainerRuntime(cache=tmp_path).caveats()[-1]


def test_what_no_group_bounds_is_left_to_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from atoll.runtimes import apptainer  # Late: its inner part is looked at.

    limits = CallLimits(memory_bytes=5, processors=2.0, processes=3)
    monkeypatch.setattr(groups, "find_spots", tuple)

    left = apptainer._left_over(limits)

    assert (left.memory_bytes, left.processors, left.processes) == (5, 2.0, 3)
