"""What a sandboxed call can't see or do. Each test would fail if that wall were missing."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.engine.limits import CallLimits
from atoll.engine.running import Launch, Mount, Reply, Request, Style, whole
from atoll.model.errors import AlgorithmFailed
from atoll.model.work import Seat
from atoll.runtimes import view
from atoll.runtimes.bubblewrap import BubblewrapRuntime
from atoll.runtimes.command import code_of
from atoll.runtimes.interpreter import describe

pytestmark = pytest.mark.needs("bubblewrap")


@pytest.fixture(params=[False, True], ids=["cold", "warm"])
def warm(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def launch_of(folder: Path, script: str, seat: str = "local0", **fields: Any) -> Launch:
    code, own = folder / "code", folder / seat
    for each in (code, own / "tmp", own / "input", own / "output"):
        each.mkdir(parents=True, exist_ok=True)
    (code / f"{seat}.py").write_text(textwrap.dedent(script))
    defaults: dict[str, Any] = {
        "seat": Seat(seat),
        "style": Style.CALL,
        "code": code,
        "command": ("python", f"/computation/{seat}.py"),
        "mounts": (
            Mount(source=own / "input", target="/input/run"),
            Mount(source=own / "output", target="/output/run", writable=True),
        ),
        "temporary": own / "tmp",
        "log": own / "log.txt",
    }
    return Launch(**(defaults | fields))


def call(warm: bool, folder: Path, launch: Launch, request: bytes = b"", **options: Any) -> Reply:
    async def go() -> Reply:
        runtime = BubblewrapRuntime(warm=warm, roots=[folder], **options)
        try:
            session = await runtime.start(launch)
            try:
                return await session.call(Request(body=request))
            finally:
                await session.close()
        finally:
            await runtime.close()

    return asyncio.run(go())


def answer(warm: bool, folder: Path, launch: Launch, request: bytes = b"") -> Any:
    reply = call(warm, folder, launch, request)
    assert reply.exit_code == 0, reply.log_tail
    return json.loads(whole(reply.output))


def test_only_what_was_given_is_there(warm: bool, tmp_path: Path) -> None:
    """The root holds the system, the given folders and the way to the interpreter, and no more."""
    script = """
        import json, os
        print(json.dumps([sorted(os.listdir("/")), sorted(os.listdir("/etc")), os.path.exists(%r)]))
    """
    launch = launch_of(tmp_path, script % str(tmp_path))

    root, etc, host = answer(warm, tmp_path, launch)

    system = {"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "dev", "proc", "run", "tmp"}
    given = {"computation", "input", "output"}
    assert given == given & set(root)
    # What else is there leads to the interpreter, which may lie anywhere.
    for name in set(root) - system - given:
        assert not os.path.samefile(f"/{name}", tmp_path.anchor + tmp_path.parts[1])
    assert set() == {"shadow", "gshadow", "ssh", "sudoers", "hostname", "machine-id", "resolv.conf"} & set(
        etc
    )
    assert host is False


def test_only_some_folders_are_writable(warm: bool, tmp_path: Path) -> None:
    """Of all folders that can be reached, those that were given for writing take a file."""
    script = """
        import json, os
        taken = []
        for folder, _, _ in os.walk("/"):
            # Below /tmp lie the points where folders from under the machine's /tmp are mounted.
            if folder.startswith(("/proc", "/tmp/")) or folder.count("/") > 3:
                continue
            try:
                with open(os.path.join(folder, "probe"), "w"):
                    taken.append(folder)
            except OSError:
                pass
        print(json.dumps(sorted(taken)))
    """

    assert ["/dev/shm", "/output/run", "/tmp"] == answer(warm, tmp_path, launch_of(tmp_path, script))
    assert [] == list((tmp_path / "local0" / "input").iterdir())
    assert ["probe"] == [path.name for path in (tmp_path / "local0" / "output").iterdir()]


def test_read_only_holds_for_what_is_mounted_beneath(warm: bool, tmp_path: Path) -> None:
    """A mount within a read-only folder is read-only unless it says otherwise itself."""
    launch = launch_of(
        tmp_path,
        """
            import json
            taken = []
            for place in ("/deep", "/deep/inner", "/deep/open"):
                try:
                    open(place + "/probe", "w").close()
                    taken.append(place)
                except OSError:
                    pass
            print(json.dumps(taken))
        """,
    )
    own = tmp_path / "local0" / "input"
    for name in ("inner", "open"):
        (own / name).mkdir()
    (tmp_path / "local0" / "other").mkdir()
    mounts = (
        Mount(source=own, target="/deep"),
        Mount(source=tmp_path / "local0" / "other", target="/deep/inner"),
        Mount(source=tmp_path / "local0" / "output", target="/deep/open", writable=True),
    )
    launch = launch_of(tmp_path, (code_of(launch) / "local0.py").read_text(), mounts=mounts)

    assert ["/deep/open"] == answer(warm, tmp_path, launch)


def test_masked_parts_are_hidden(warm: bool, tmp_path: Path) -> None:
    """Masked folders are empty and masked files have no text, however they are reached."""
    script = """
        import json, os
        shown = [sorted(os.listdir("/computation/test")), os.path.getsize("/computation/data.csv"),
                 os.path.exists("/computation/link/secret"), open("/input/run/x").read()]
        print(json.dumps(shown))
    """
    launch = launch_of(tmp_path, script, masked=("test", "data.csv", "none", "link", "../code"))
    (code_of(launch) / "test" / "local0").mkdir(parents=True)
    (code_of(launch) / "test" / "secret").write_text("s")
    (code_of(launch) / "data.csv").write_text("secret")
    (code_of(launch) / "link").symlink_to("test")
    # The seat's own part of a masked folder is shown where the launch says.
    (code_of(launch) / "test" / "local0" / "x").write_text("own")
    mounts = (Mount(source=code_of(launch) / "test" / "local0", target="/input/run"),)
    launch = launch_of(tmp_path, script, masked=launch.masked, mounts=mounts)

    assert [[], 0, False, "own"] == answer(warm, tmp_path, launch)


def test_mount_may_lie_in_a_masked_folder(warm: bool, tmp_path: Path) -> None:
    """A folder can be shown below one that is masked."""
    script = "import json, os; print(json.dumps([os.listdir('/computation/test'), os.listdir('/computation/test/a')]))"
    launch = launch_of(tmp_path, script)
    (code_of(launch) / "test" / "b").mkdir(parents=True)
    (tmp_path / "local0" / "input" / "x").touch()
    mounts = (Mount(source=tmp_path / "local0" / "input", target="/computation/test/a"),)
    launch = launch_of(tmp_path, script, masked=("test",), mounts=mounts)

    assert [["a"], ["x"]] == answer(warm, tmp_path, launch)


def test_no_point_is_made_in_the_code(warm: bool, tmp_path: Path) -> None:
    """A mount that would need a new folder in the author's own is refused."""
    mounts = (Mount(source=tmp_path, target="/computation/new"),)
    launch = launch_of(tmp_path, "", mounts=mounts)

    with pytest.raises(AlgorithmFailed, match="'/computation/new': its folder has no such"):
        call(warm, tmp_path, launch)
    assert not (code_of(launch) / "new").exists()


def test_there_are_no_privileges(warm: bool, tmp_path: Path) -> None:
    """A call has no capability in any set, can't get one, and can't make namespaces or mounts."""
    script = """
        import ctypes, json
        libc = ctypes.CDLL(None, use_errno=True)
        status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        tries = {
            "user namespace": libc.unshare(0x10000000),
            "mount namespace": libc.unshare(0x20000),
            "umount": libc.umount2(b"/computation", 2),
            "remount": libc.mount(None, b"/computation", None, ctypes.c_ulong(32 | 4096), None),
            "mount": libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None),
            "chroot": libc.chroot(b"/proc/1/root"),
            "hostname": libc.sethostname(b"x", 1),
        }
        rights = {k: v.strip() for k, v in status.items() if k.startswith("Cap") or k == "NoNewPrivs"}
        print(json.dumps([rights, tries]))
    """

    status, tries = answer(warm, tmp_path, launch_of(tmp_path, script))

    none = "0" * 16
    expected = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), none) | {"NoNewPrivs": "1"}
    assert expected == status
    assert {-1} == set(tries.values())


def test_settings_of_the_machine_are_out_of_reach(warm: bool, tmp_path: Path) -> None:
    """Even where Atoll runs as root, nothing of /proc that is one for the machine can be written."""
    script = """
        import json, os
        taken = []
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger",
                     "/proc/irq/default_smp_affinity", "/proc/sys/net/ipv4/ip_forward"):
            try:
                os.close(os.open(path, os.O_WRONLY))
                taken.append(path)
            except OSError:
                pass
        print(json.dumps(taken))
    """

    assert [] == answer(warm, tmp_path, launch_of(tmp_path, script))


def test_only_own_processes_are_there(warm: bool, tmp_path: Path) -> None:
    """/proc shows the call, and the sandbox's first process, whose memory and files stay closed."""
    script = """
        import json, os
        closed = []
        for name in ("root", "cwd", "fd/0", "environ", "mem", "maps"):
            try:
                path = "/proc/1/" + name
                os.readlink(path) if name in ("root", "cwd", "fd/0") else open(path, "rb").read(1)
            except OSError:
                closed.append(name)
        pids = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
        print(json.dumps([len(pids), os.getpid() in pids, closed]))
    """

    count, own, closed = answer(warm, tmp_path, launch_of(tmp_path, script))

    assert (2, True) == (count, own)
    assert ["root", "cwd", "fd/0", "environ", "mem", "maps"] == closed


def test_calls_that_no_namespace_holds_are_refused(warm: bool, tmp_path: Path) -> None:
    """Keyrings, sockets to a virtual machine's host, tracing: none of them is a way out."""
    script = """
        import ctypes, errno, json, os, signal, socket, sys
        libc = ctypes.CDLL(None, use_errno=True)
        numbers = json.load(sys.stdin)
        answers = []
        for number in numbers:
            ctypes.set_errno(0)
            result = libc.syscall(*(ctypes.c_long(word) for word in (number, 0, -3, 0, 0, 0, 0)))
            answers.append(errno.errorcode.get(ctypes.get_errno()) if result == -1 else "allowed")
        if (child := os.fork()) == 0:
            signal.pause()
        ctypes.set_errno(0)
        tracing = libc.ptrace(0x4206, ctypes.c_long(child), None, None)
        families = []
        for family in range(46):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
                try:
                    socket.socket(family, kind).close()
                except OSError:
                    continue
                families.append(family)
                break
        print(json.dumps([answers, tracing, families]))
    """
    numbers = {"x86_64": [248, 249, 250, 311, 425], "aarch64": [217, 218, 219, 271, 425]}
    if (machine := os.uname().machine) not in numbers:
        pytest.skip(f"the numbers of {machine}'s calls are not known")

    asked = json.dumps(numbers[machine]).encode()
    answers, tracing, families = answer(warm, tmp_path, launch_of(tmp_path, script), asked)

    assert (["EPERM"] * 5, -1) == (answers, tracing)
    assert {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK} >= set(families)


def test_no_socket_lingers(warm: bool, tmp_path: Path) -> None:
    """Nobody can send Atoll a socket whose closing takes as long as the sender likes."""
    script = """
        import json, socket, struct
        with socket.socket() as endpoint:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            endpoint.setsockopt(socket.IPPROTO_TCP, 13, b"reno")  # TCP_CONGESTION has the same number
            lingers = struct.unpack("ii", endpoint.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
            keeps = endpoint.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            print(json.dumps([lingers, keeps, endpoint.getsockopt(socket.IPPROTO_TCP, 13, 4).decode()]))
    """

    assert [[0, 0], 1, "reno"] == answer(warm, tmp_path, launch_of(tmp_path, script))


def test_other_seats_folders_in_the_code_are_covered(warm: bool, tmp_path: Path) -> None:
    """A run that is kept in the computation's own folder isn't shown to its own algorithm."""
    script = """
        import json, os
        print(json.dumps([os.listdir("/computation/runs/one"), os.listdir("/output/run")]))
    """
    launch = launch_of(tmp_path, script)
    runs = code_of(launch) / "runs" / "one"
    for seat in ("local0", "local1"):
        (runs / seat).mkdir(parents=True)
        (runs / seat / "secret").touch()
    mounts = (Mount(source=runs / "local0", target="/output/run", writable=True),)
    launch = launch_of(tmp_path, script, mounts=mounts)

    async def go() -> Reply:
        runtime = BubblewrapRuntime(warm=warm, roots=[tmp_path, runs])
        try:
            return await (await runtime.start(launch)).call(Request())
        finally:
            await runtime.close()

    assert [[], ["secret"]] == json.loads(whole(asyncio.run(go()).output))


def test_seats_folders_among_the_systems_are_covered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where people keep their work under /usr/local, a seat's data isn't seen there either."""
    system = tmp_path / "system"
    monkeypatch.setattr(view, "SYSTEM", ("/usr", str(system)))
    launch = launch_of(system, "", masked=("test",))
    for folder in (code_of(launch) / "test", system / "data"):
        folder.mkdir()

    lines = view.seats(launch, describe(None), [system, system / "data"])

    shown = lines.index(("read", str(system), str(system)))
    covered = {target for kind, _, target in lines[shown:] if kind == "cover"}
    assert {str(system / "data"), str(code_of(launch) / "test"), str(launch.temporary)} <= covered
    assert not {str(system), str(launch.code)} & covered


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[list[Any]]:
    """Addresses of this machine at which somebody listens."""
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        abstract.bind(b"\0atoll-test-" + os.urandom(4).hex().encode())
        abstract.listen()
        named.bind(str(tmp_path / "s"))
        named.listen()
        yield [tcp.getsockname()[1], abstract.getsockname()[1:].decode(), str(tmp_path / "s")]


def test_there_is_no_network_but_its_own(warm: bool, tmp_path: Path, listeners: list[Any]) -> None:
    """Neither the machine's loopback nor its sockets are reached; the sandbox's own loopback works."""
    script = """
        import json, socket, sys
        port, abstract, named = json.load(sys.stdin)
        reached = []
        for kind, address in ((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_UNIX, "\\0" + abstract),
                              (socket.AF_UNIX, named)):
            try:
                socket.socket(kind).connect(address)
                reached.append(str(address))
            except OSError:
                pass
        own = socket.create_server(("127.0.0.1", 0))
        socket.create_connection(own.getsockname())
        names = [name for _, name in socket.if_nameindex()]
        print(json.dumps([reached, socket.gethostname(), "eth0" in names]))
    """

    seen = answer(warm, tmp_path, launch_of(tmp_path, script), json.dumps(listeners).encode())

    assert [[], "atoll", False] == seen


def test_shared_memory_of_the_machine_is_not_there(warm: bool, tmp_path: Path) -> None:
    """A System V segment and a file in /dev/shm of this machine can't be found."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = int.from_bytes(os.urandom(3), "big") + 1
    segment = libc.shmget(key, 4096, 0o1666)
    posix = Path(f"/dev/shm/atoll-test-{key}")
    posix.touch()
    script = """
        import ctypes, json, os, sys
        key = int(sys.stdin.read())
        print(json.dumps([ctypes.CDLL(None).shmget(key, 4096, 0o666), os.listdir("/dev/shm")]))
    """
    try:
        assert segment >= 0
        assert [-1, []] == answer(warm, tmp_path, launch_of(tmp_path, script), str(key).encode())
    finally:
        libc.shmctl(segment, 0, None)
        posix.unlink()


NEIGHBOUR = """
    import json, os, signal, socket
    open("/dev/shm/neighbour", "w").close()
    open("/tmp/neighbour", "w").close()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\\0neighbour")
    listener.listen()
    tcp = socket.create_server(("127.0.0.1", 45678))
    json.neighbour = "here"
    pipe = os.open("/output/run/alive", os.O_WRONLY)
    os.write(pipe, b"o")
    signal.pause()
"""

SPY = """
    import glob, json, os, re, socket
    found = []
    marker = "".join(["hush", "-", "hush", "-", "4711"]).encode()
    for line in open("/proc/self/maps"):
        area, rights = line.split()[:2]
        start, end = (int(word, 16) for word in area.split("-"))
        if rights.startswith("rw") and end < 2**63:
            with open("/proc/self/mem", "rb", 0) as memory:
                memory.seek(start)
                try:
                    content = memory.read(end - start)
                except OSError:
                    continue
            found += ["memory"] * (marker + b"!" in content)
            del content
    found += [path for path in glob.glob("/proc/*/root/output/run/*") if "spy" not in path]
    found += [path for path in ("/dev/shm/neighbour", "/tmp/neighbour", HOST) if os.path.exists(path)]
    found += [name for name in ("neighbour",) if hasattr(json, name)]
    for kind, address in ((socket.AF_UNIX, "\\0neighbour"), (socket.AF_INET, ("127.0.0.1", 45678))):
        try:
            socket.socket(kind).connect(address)
            found.append(str(address))
        except OSError:
            pass
    print(json.dumps(found))
"""


def test_seats_do_not_see_each_other(warm: bool, tmp_path: Path) -> None:
    """While one seat works, another finds neither its files, sockets and globals nor its secrets."""
    neighbour = launch_of(tmp_path, NEIGHBOUR, environment={"SECRET": "hush-hush-4711!"})
    spy = launch_of(tmp_path, SPY.replace("HOST", repr(str(tmp_path))), seat="local1")
    pipe = tmp_path / "local0" / "output" / "alive"
    os.mkfifo(pipe)

    async def go() -> Reply:
        runtime = BubblewrapRuntime(warm=warm, roots=[tmp_path])
        descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        begun = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, begun.set)
        try:
            first = await runtime.start(neighbour)
            working = asyncio.create_task(first.call(Request(body=b"hush-hush-4711!")))
            await begun.wait()
            asyncio.get_running_loop().remove_reader(descriptor)
            second = await runtime.start(spy)
            reply = await second.call(Request())
            working.cancel()
            await asyncio.wait([working])
            return reply
        finally:
            os.close(descriptor)
            await runtime.close()

    reply = asyncio.run(go())

    assert (0, []) == (reply.exit_code, json.loads(whole(reply.output) or b"null")), reply.log_tail


def test_call_holds_no_file_of_its_parent(warm: bool, tmp_path: Path) -> None:
    """A call has its three streams open, and nothing that leads out of the sandbox."""
    script = """
        import json, os
        links = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                links[name] = os.readlink("/proc/self/fd/" + name).partition(":")[0]
            except OSError:
                pass  # the listing's own
        print(json.dumps(links))
    """
    launch = launch_of(tmp_path, script, limits=CallLimits(memory_bytes=2_000_000_000))

    assert {"0": "pipe", "1": "pipe", "2": str(launch.log)} == answer(warm, tmp_path, launch)


def test_sandbox_is_the_same_cold_and_warm(tmp_path: Path) -> None:
    """Both ways to start show the same folders, devices and settings."""
    script = """
        import json, os, resource, sys
        names = ("/", "/dev", "/etc", "/run", "/run/atoll", "/computation", "/input", "/output")
        seen = {name: sorted(os.listdir(name)) for name in names}
        seen["ids"] = [os.getuid(), os.getgid(), os.getgroups(), os.umask(0)]
        seen["core"] = resource.getrlimit(resource.RLIMIT_CORE)
        seen["environment"] = {k: v for k, v in os.environ.items() if k not in ("PWD", "OLDPWD", "LC_CTYPE")}
        seen["path"] = sys.path
        print(json.dumps(seen))
    """
    launch = launch_of(tmp_path, script)

    assert answer(False, tmp_path, launch) == answer(True, tmp_path, launch)


def test_sandbox_of_a_program_is_the_same_cold_and_warm(tmp_path: Path) -> None:
    """A command in another language has the same rights, files, signals and settings either way."""
    script = """
        grep -E '^(Cap|NoNewPrivs|Seccomp:|Sig[BI])' /proc/self/status
        ls /proc/self/fd / /run/atoll /dev /etc
        readlink /proc/self/fd/[012] | sed 's/:.*//'
        ulimit -c -n -s -u
        umask; pwd; id
        env | grep -vE '^(PWD|OLDPWD|SHLVL|_)='
        echo "$0" "$@"
    """
    launch = launch_of(
        tmp_path, "", command=("bash", "/computation/show.sh", "you"), environment={"OWN": "1"}
    )
    (code_of(launch) / "show.sh").write_text(textwrap.dedent(script))

    cold, warm = (call(warm, tmp_path, launch) for warm in (False, True))

    assert cold == warm
    assert b"NoNewPrivs:\t1" in whole(warm.output)
    assert b"CapBnd:\t0000000000000000" in whole(warm.output)
    assert b"OWN=1" in whole(warm.output)


def test_program_that_can_not_be_started_is_told(warm: bool, tmp_path: Path) -> None:
    """A script whose interpreter is missing fails with a sentence; one without any is a shell's."""
    launch = launch_of(tmp_path, "", command=("./run", "x"))
    (code_of(launch) / "run").write_text("#!/no/such/interpreter")
    (code_of(launch) / "run").chmod(0o755)
    plain = launch_of(tmp_path, "", command=("./plain", "x"))
    (code_of(launch) / "plain").write_text('echo "plain $1"')
    (code_of(launch) / "plain").chmod(0o755)

    reply = call(warm, tmp_path, launch)

    assert reply.exit_code != 0
    assert "No such file" in reply.log_tail
    assert b"plain x\n" == call(warm, tmp_path, plain).output


def test_session_keeps_its_temporary_folder_and_no_process(warm: bool, tmp_path: Path) -> None:
    """/tmp holds from call to call, as do a seat's folders; processes don't."""
    script = """
        import json, os, signal
        before = sorted(os.listdir("/tmp"))
        open("/tmp/kept", "w").close()
        others = [name for name in os.listdir("/proc") if name.isdecimal() and int(name) not in (1, os.getpid())]
        if os.fork() == 0:
            os.setsid()
            signal.pause()
        print(json.dumps([before, others]))
    """
    launch = launch_of(tmp_path, script)

    async def go() -> list[Any]:
        runtime = BubblewrapRuntime(warm=warm, roots=[tmp_path])
        try:
            session = await runtime.start(launch)
            return [json.loads(whole((await session.call(Request())).output))[1] for _ in range(3)]
        finally:
            await runtime.close()

    assert [[], [], []] == asyncio.run(go())
    assert (launch.temporary / "kept").exists()


def test_launch_from_elsewhere_starts_cold(tmp_path: Path) -> None:
    """A launch whose folders are not under the given roots works all the same."""
    launch = launch_of(tmp_path, "print('{}')")
    (tmp_path / "elsewhere").mkdir()

    assert b"{}\n" == call(True, tmp_path / "elsewhere", launch).output
