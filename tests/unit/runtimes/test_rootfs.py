"""Algorithms in images that are files, on a machine that has no engine: how they run, and what they can't do."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.sif import (
    Part,
    described,
    from_container,
    launch_of,
    make_image,
    squash,
    write_sif,
    write_tree,
)

from atoll.engine.running import (
    Image,
    ImageKind,
    Launch,
    Mount,
    Outlet,
    Reply,
    Request,
    Session,
    Style,
    whole,
)
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes import bwrap
from atoll.runtimes.rootfs import RootfsRuntime, find_python

pytestmark = [
    pytest.mark.needs("mksquashfs"),
    pytest.mark.needs("bubblewrap"),
    # Where many tests run at once, making the first image takes its time.
    pytest.mark.timeout(60),
]

#: Says where it is, and what it was given.
ENTRY = """
import json, os, sys
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "arguments": sys.argv[1:], "input": sys.stdin.read(), "folder": os.getcwd(), "user": os.getuid(),
    "greeting": os.environ.get("GREETING"), "own": os.environ.get("OWN"), "root": sorted(os.listdir("/")),
    "output": os.listdir("/output") if os.path.exists("/output") else None, "parent": os.getppid(),
    "capabilities": status["CapEff"].strip(), "more": status["CapBnd"].strip(),
}))
"""
#: Tries what a file names, one expression after another, and says what came of each.
TRY = """
import ctypes, json, os, socket, subprocess, sys
def read(path): return open(path).read()
def write(path): open(path, "w").write("x")
def connect(host, port): socket.create_connection((host, port), timeout=5).close()
def call(*arguments):
    if (result := ctypes.CDLL(None, use_errno=True).syscall(*arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result
def run(*words): return subprocess.run(words, check=True, capture_output=True, text=True).stdout
found = {}
for name, text in json.load(sys.stdin).items():
    try:
        found[name] = ["done", repr(eval(text))]
    except BaseException as error:
        found[name] = ["failed", repr(error)]
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def image(home: Path) -> Image:
    """An image as Apptainer makes it from a container image."""
    started = from_container(
        ["python", "/computation/entry.py"], ["one", "two words"], {"GREETING": "hello", "OWN": "image"}
    )
    path = make_image(
        home / "image.sif",
        {
            **started,
            "/computation/entry.py": ENTRY,
            "/computation/try.py": TRY,
            "/out": f"-> {home}",
            "/passwords": "-> ../../../../../../etc/shadow",
        },
    )
    return described(path, home)


def with_session(home: Path, launch: Launch, work: Callable[[Session], Coroutine[Any, Any, Any]]) -> Any:
    async def go() -> Any:
        runtime = RootfsRuntime(cache=home / "cache")
        try:
            session = await runtime.start(launch)
            try:
                return await work(session)
            finally:
                await session.close()
        finally:
            await runtime.close()

    return asyncio.run(go())


def call(home: Path, launch: Launch, body: bytes = b"") -> Reply:
    reply = with_session(home, launch, lambda session: session.call(Request(body=body)))
    assert isinstance(reply, Reply)
    return reply


def answer(home: Path, launch: Launch, body: bytes = b"") -> Any:
    reply = call(home, launch, body)
    assert reply.exit_code == 0, reply.log_tail
    return json.loads(whole(reply.output))


def test_an_image_starts_what_it_says(home: Path, image: Image, tmp_path: Path) -> None:
    found = answer(home, launch_of(tmp_path, image, environment={"OWN": "launch"}), b"input")

    assert (found["arguments"], found["input"]) == (["one", "two words"], "input")
    assert (found["folder"], found["parent"]) == ("/computation", 1)
    assert (found["greeting"], found["own"]) == ("hello", "launch")
    assert found["user"] == (os.geteuid() or 65532)


def test_what_the_launch_names_is_there_beside_the_image(home: Path, image: Image, tmp_path: Path) -> None:
    output = write_tree(tmp_path / "output", {"/earlier": ""})
    launch = launch_of(tmp_path, image, mounts=(Mount(source=output, target="/output", writable=True),))

    found = answer(home, launch)

    assert found["output"] == ["earlier"]
    assert {"computation", "output", "usr", "tmp", "proc", "dev"} <= set(found["root"])


def test_code_of_a_folder_runs_in_an_image(home: Path, image: Image, tmp_path: Path) -> None:
    """A computation whose image brings the system, and whose scripts lie beside its specification."""
    code = write_tree(tmp_path / "code", {"/local.py": "import os\nprint(os.listdir('/computation'))\n"})

    reply = call(home, launch_of(tmp_path, image, code=code, command=("python", "/computation/local.py")))

    assert reply.output == b"['local.py']\n"


def test_a_session_is_one_box_for_all_its_calls(home: Path, image: Image, tmp_path: Path) -> None:
    async def twice(session: Session) -> list[Any]:
        request = Request(body=json.dumps({"began": "read('/proc/1/stat').split()[21]"}).encode())
        return [whole((await session.call(request)).output) for _ in range(2)]

    first, second = with_session(
        home, launch_of(tmp_path, image, command=("python", "/computation/try.py")), twice
    )

    assert b"done" in first
    assert first == second


@pytest.fixture(scope="module")
def attempts(home: Path, image: Image, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What became of each attempt, of a seat that has a neighbour."""
    folder = tmp_path_factory.mktemp("seats")
    other = write_tree(folder / "local1", {"/tmp/secret": "x"})
    (home / "secret").write_text("x")
    own = write_tree(folder / "local0", {"/data/patients": "x"})
    launch = launch_of(
        own,
        image,
        command=("python", "/computation/try.py"),
        mounts=(Mount(source=own / "data", target="/input"),),
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        wanted = {
            name: text.format(host=home, other=other, port=port, pid=os.getpid())
            for name, text in ATTEMPTS.items()
        }
        found = answer(home, launch, json.dumps({**wanted, **CONTROLS}).encode())
    assert isinstance(found, dict)
    return found


ATTEMPTS = {
    "a file of the host": "read('{host}/secret')",
    "a file of the host by a link of the image": "read('/out/secret')",
    "the host's passwords": "read('/passwords')",
    "the host's root by /proc": "os.listdir('/proc/1/root/home')",
    "another seat's folder": "os.listdir('{other}')",
    "a process of the host": "os.kill({pid}, 0)",
    "the container engine": "socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
    "the node's own socket": "socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('/run/atoll/line/node')",
    "the environment of the first process": "read('/proc/1/environ')",
    "the memory of the first process": "open('/proc/1/mem', 'r+b').read(1)",
    "tracing the first process": "call(101, 16, 1, 0, 0)",
    "the root": "write('/x')",
    "the image's programs": "write('/usr/bin/id')",
    "the image's code": "write('/computation/entry.py')",
    "mounted data": "write('/input/patients')",
    "a setting of the kernel": "write('/proc/sys/kernel/core_pattern')",
    "a trigger of the kernel": "write('/proc/sysrq-trigger')",
    "a port of the host": "connect('127.0.0.1', {port})",
    "an address elsewhere": "connect('192.0.2.1', 80)",
    "a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "a packet socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "the host's bluetooth": "socket.socket(31, socket.SOCK_RAW, 1)",
    "another user": "os.setuid(0)",
    "a user namespace": "call(272, 0x10000000)",
    "a mount namespace": "call(272, 0x20000)",
    "a mount": "ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 or 1 / 0",
    "another root": "os.chroot('/tmp')",
    "a device": "os.mknod('/tmp/disk', 0o60666, os.makedev(8, 0))",
    "the host's name": "socket.sethostname('x')",
    "a keyring": "call(250, 0, -3, 0, 0, 0)",
    "io_uring": "call(425, 1, 0)",
}
#: What must work, or the attempts would fail for want of something.
CONTROLS = {
    "control: own data": "read('/input/patients')",
    "control: own /tmp": "write('/tmp/x')",
    "control: own loopback": "[s := socket.create_server(('127.0.0.1', 0)), connect(*s.getsockname())]",
    "control: one interface": "[name for _, name in socket.if_nameindex()] == ['lo'] or 1 / 0",
    "control: no privilege": "read('/proc/self/status').count('0' * 16) >= 5 or 1 / 0",
    "control: no new privilege": "'NoNewPrivs:\\t1' in read('/proc/self/status') or 1 / 0",
    "control: a program": "run('id', '-u')",
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_algorithm_does_not_get_at(attempts: dict[str, list[str]], name: str) -> None:
    assert attempts[name][0] == "failed", attempts[name][1]


@pytest.mark.parametrize("name", CONTROLS)
def test_an_algorithm_has_what_it_needs(attempts: dict[str, list[str]], name: str) -> None:
    assert attempts[name][0] == "done", attempts[name][1]


def test_a_file_with_more_rights_gives_none(home: Path, tmp_path: Path) -> None:
    """In a folder that is used where it lies, whose files nobody has looked through."""
    root = unsquashed(home, tmp_path / "root")
    gain = root / "usr/bin/gain"
    gain.write_bytes((root / "usr/bin/id").read_bytes())
    gain.chmod(0o6755)
    launch = launch_of(tmp_path, described(root, home), command=("gain",), environment={"PATH": "/usr/bin"})

    assert f"uid={os.geteuid() or 65532}(algorithm)" in whole(call(home, launch).output).decode()


def unsquashed(home: Path, folder: Path) -> Path:
    """An image, unpacked by somebody."""
    squashed = home / "image.sif"
    at = squashed.read_bytes().index(b"hsqs")
    command = ["unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-offset", str(at), "-dest"]
    subprocess.run([*command, folder, squashed], check=True)
    return folder


def test_an_outlet_may_have_any_port_and_calls_no_capability(
    home: Path, image: Image, tmp_path: Path
) -> None:
    def take(descriptor: int) -> None:
        with socket.socket(fileno=descriptor) as connection:
            connection.send(b"here")

    outlet = Outlet(host="127.0.0.2", port=443, alias="service", take=take)
    tries = {
        "reach": "socket.create_connection(('service', 443), timeout=15).recv(4)",
        "capabilities": "read('/proc/self/status').count('0' * 16) >= 5 or 1 / 0",
    }

    found = answer(
        home,
        launch_of(tmp_path, image, command=("python", "/computation/try.py"), outlets=(outlet,)),
        json.dumps(tries).encode(),
    )

    assert found["reach"] == ["done", "b'here'"]
    assert found["capabilities"][0] == "done", found


@pytest.fixture(scope="module")
def without_python(home: Path) -> Image:
    return described(
        make_image(home / "shell.sif", {"/app/run": "#!/bin/sh\ncat; pwd\n"}, python=False), home
    )


def test_an_image_without_python_is_given_its_input(
    home: Path, without_python: Image, tmp_path: Path
) -> None:
    launch = launch_of(tmp_path, without_python, command=("/app/run",))

    assert whole(call(home, launch, b"hello ").output) == b"hello /\n"


def test_a_call_without_python_ends_as_it_ends(home: Path, without_python: Image, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, without_python, command=("sh", "-c", "echo why >&2; ls /proc/1; exit 7"))

    reply = call(home, launch)

    assert (reply.exit_code, reply.log_tail, reply.output) == (7, "why\n", b"")


@pytest.mark.parametrize(
    "fields",
    [
        {"style": Style.SERVE},
        {"speaks_http": True},
        {"outlets": (Outlet(host="127.0.0.2", port=5432, take=os.close),)},
    ],
)
def test_what_needs_python_is_refused_without(
    home: Path, without_python: Image, tmp_path: Path, fields: dict[str, Any]
) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"has no Python.*Add Python 3.8 or later"):
        call(home, launch_of(tmp_path, without_python, command=("/app/run",), **fields))


def test_a_python_that_does_not_start_is_quoted(home: Path, tmp_path: Path) -> None:
    odd: dict[str, str | bytes] = {"/app/python3": "#!/bin/sh\necho no libraries >&2\nexit 5\n"}
    image = described(make_image(home / "odd.sif", odd, python=False), home)

    with pytest.raises(AlgorithmFailed, match=r"ended before its first call.* status 5: no libraries"):
        call(home, launch_of(tmp_path, image, command=("/app/python3", "x.py")))


def test_an_image_that_starts_nothing_needs_a_command(
    home: Path, without_python: Image, tmp_path: Path
) -> None:
    with pytest.raises(AlgorithmFailed, match="starts nothing by itself"):
        call(home, launch_of(tmp_path, without_python))


def test_what_is_no_file_runs_elsewhere(home: Path, tmp_path: Path) -> None:
    oci = Image(kind=ImageKind.OCI, name="example/mean:1", digest="sha256:0")

    for image, words in (
        (None, "is code in a folder"),
        (oci, "is the image example/mean:1 of a container engine"),
    ):
        with pytest.raises(RuntimeUnavailable, match=words):
            call(home, launch_of(tmp_path, image, code=tmp_path, command=("python", "x.py")))


def test_without_bubblewrap_it_says_what_else_there_is(
    home: Path, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bwrap, "probe", lambda: "bubblewrap is not installed")

    with pytest.raises(
        RuntimeUnavailable, match="Without it an image runs under Apptainer, Docker or Podman"
    ):
        call(home, launch_of(tmp_path, image))


def test_an_image_that_was_replaced_is_not_run(home: Path, image: Image, tmp_path: Path) -> None:
    other = Image(kind=ImageKind.SIF, name=image.name, digest=f"sha256:{'1' * 64}")

    with pytest.raises(RuntimeUnavailable, match="is not the image that was asked for"):
        call(home, launch_of(tmp_path, other))


def test_a_folder_that_cannot_be_shown_is_told_before_a_call(
    home: Path, image: Image, tmp_path: Path
) -> None:
    launch = launch_of(tmp_path, image, mounts=(Mount(source=tmp_path / "none", target="/input"),))

    with pytest.raises(AlgorithmFailed, match="can't be shown to the algorithm: there is no such"):
        call(home, launch)


def test_warming_up_unpacks(home: Path, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"/usr/x": "x"})
    image = described(write_sif(tmp_path / "a.sif", Part(content=squash(tree, tmp_path / "squashed"))), home)

    async def warm_up() -> None:
        runtime = RootfsRuntime(cache=tmp_path / "cache")
        await runtime.recover()
        await runtime.warm_up(launch_of(tmp_path, image))
        await runtime.close()
        assert runtime.caveats()

    asyncio.run(warm_up())

    assert [each.name for each in (tmp_path / "cache/roots").glob("*/root/usr/x")] == ["x"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("python3", "python"), "/opt/bin/python3"),
        (("/app/python", "python3"), "/app/python"),
        (("/none/python", "/dir", "python"), "/usr/bin/python"),
        (("plain",), None),
        (("loop",), None),
        (("relative/python",), None),
    ],
)
def test_an_interpreter_is_found_by_the_images_own_paths(
    tmp_path: Path, words: tuple[str, ...], found: str | None
) -> None:
    root = write_tree(
        tmp_path,
        {
            "/opt/real": "#!",
            "/opt/bin/python3": "-> /opt/real",
            "/app/python": "#!",
            "/usr/bin/python": "#!",
            "/usr/bin/plain": "x",
            "/usr/bin/loop": "-> loop",
            "/dir/python": "#!",
        },
    )

    assert find_python(root, words, "/opt/bin:bin:/usr/bin") == found
