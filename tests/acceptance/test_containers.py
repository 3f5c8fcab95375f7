"""Algorithms in images, run by Docker and by Podman: every way in which an image can be spoken to."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.engines import BOOKWORM, BUSYBOX, Engine
from tests.images import made

from atoll.engine.limits import CallLimits
from atoll.engine.running import Image, ImageKind, Launch, Mount, Outlet, Reply, Request, Session, Style
from atoll.model.errors import AlgorithmFailed, LimitReached, RuntimeUnavailable
from atoll.model.work import Seat
from atoll.runtimes.containers.cold import ServicePlace
from atoll.runtimes.containers.docker import DockerRuntime
from atoll.runtimes.containers.service import ServiceSession
from atoll.runtimes.containers.settings import ContainerSettings, Service
from atoll.runtimes.outlets import streams

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

SERVICE = (Path(__file__).parent.parent / "fixtures" / "services" / "service.py").read_text()
LOCAL = """\
import json, os, sys
given = json.load(sys.stdin)
with open("/tmp/rounds", "a") as file:
    file.write(".")
print("a remark", file=sys.stderr)
with open("/tmp/rounds") as file:
    rounds = len(file.read())
print(json.dumps({"output": {"given": given["input"], "rounds": rounds, "user": os.getuid(), "cwd": os.getcwd()}}))
"""
COUNTING = """\
import coinstac
calls = 0
def local(argument):
    global calls
    calls += 1
    print("call", calls)
    return {"output": {"calls": calls, "iteration": argument["state"]["iteration"]}}
coinstac.start(local, None)
"""
SHELL = """\
#!/bin/sh
echo said >&2
cat > /tmp/given
echo "{\\"output\\": {\\"given\\": $(cat /tmp/given), \\"variable\\": \\"$VARIABLE\\"}}"
"""
PREPARE = """\
#!/bin/sh
export PREPARED="with care"
exec "$@"
"""
#: A service whose Python nobody else finds.
HIDDEN = {"/server/service.py": SERVICE, "/server/start.sh": "exec /usr/bin/python3 /server/service.py 2"}
HIDING = ("ENV PATH=/nowhere", 'CMD ["/bin/sh", "/server/start.sh"]')


@pytest.fixture(scope="module")
def images(engine: Engine) -> Iterator[Mapping[str, str]]:
    """The images of these tests, by what is in them."""
    with (
        made(
            engine,
            "atoll-test-ways-script",
            BOOKWORM,
            {"/computation/local.py": LOCAL},
            "WORKDIR /computation",
        ) as script,
        made(
            engine,
            "atoll-test-ways-first",
            BOOKWORM,
            {"/computation/local.py": LOCAL, "/server/service.py": SERVICE},
            "WORKDIR /computation",
            'CMD ["python3", "/server/service.py", "1"]',
        ) as first,
        made(
            engine,
            "atoll-test-ways-second",
            BOOKWORM,
            {"/server/service.py": SERVICE},
            'CMD ["python3", "/server/service.py", "2"]',
        ) as second,
        made(
            engine,
            "atoll-test-ways-persistent",
            BOOKWORM,
            {
                "/computation/entry.py": COUNTING,
                "/usr/lib/python3/dist-packages/coinstac/__init__.py": "raise ImportError('not this one')",
            },
            "WORKDIR /computation",
            'CMD ["python3", "./entry.py"]',
        ) as persistent,
        made(
            engine, "atoll-test-ways-shell", BUSYBOX, {"/computation/local.sh": SHELL}, "WORKDIR /computation"
        ) as shell,
        made(
            engine,
            "atoll-test-ways-prepared",
            BOOKWORM,
            {"/prepare.sh": PREPARE},
            'ENTRYPOINT ["/prepare.sh"]',
        ) as prepared,
        made(engine, "atoll-test-ways-hidden", BOOKWORM, HIDDEN, *HIDING) as hidden,
    ):
        yield {
            "script": script,
            "first": first,
            "second": second,
            "persistent": persistent,
            "shell": shell,
            "prepared": prepared,
            "hidden": hidden,
        }


@asynccontextmanager
async def session(
    engine: Engine, image: str, folder: Path, command: tuple[str, ...] = (), **changes: Any
) -> AsyncIterator[Session]:
    """A session in an image."""
    settings = ContainerSettings(
        engine=engine.name,
        socket=engine.socket,
        helper_image=BOOKWORM,
        service=changes.pop("service", Service.AUTO),
    )
    runtime = DockerRuntime(settings, f"atoll-test-ways-{engine.name}-{os.getpid()}")
    facts = await runtime.facts(image)
    assert facts is not None
    for name in ("temporary", "output"):
        (folder / name).mkdir(exist_ok=True)
    launch = Launch(
        seat=Seat("alpha"),
        style=changes.pop("style", Style.CALL),
        code=None,
        image=Image(kind=ImageKind.OCI, name=image, digest=facts.id),
        command=command,
        mounts=(Mount(source=folder / "output", target="/output", writable=True),),
        temporary=folder / "temporary",
        log=folder / "log",
        **changes,
    )
    try:
        started = await runtime.start(launch)
        try:
            yield started
        finally:
            await started.close()
    finally:
        await runtime.close()


def output_of(reply: Reply) -> Any:
    """What a computation put out."""
    assert reply.exit_code == 0, reply.log_tail
    return json.loads(bytes(reply.output))["output"]  # type: ignore[arg-type]  # small ones are bytes


def body(**given: Any) -> Request:
    """What a computation is given."""
    return Request(body=json.dumps({"input": given, "cache": {}, "state": {"iteration": 1}}).encode())


def test_a_script_in_an_image_keeps_its_temporary_files_from_call_to_call(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        async with session(
            engine, images["script"], tmp_path, ("python", "/computation/local.py")
        ) as started:
            first = output_of(await started.call(body(a=1)))
            second = output_of(await started.call(body(a=2)))
        assert first == {"given": {"a": 1}, "rounds": 1, "user": 65532, "cwd": "/computation"}
        assert second["rounds"] == 2
        assert "a remark" in (tmp_path / "log").read_text()

    asyncio.run(work())


def test_a_service_of_protocol_1_starts_each_call(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        command = ("python3", "/computation/local.py")
        async with session(engine, images["first"], tmp_path, command, service=Service.WEBSOCKET) as started:
            outputs = [output_of(await started.call(body(a=number))) for number in (1, 2)]
            failed = await started.call(Request(body=b"no JSON"))
        assert [each["rounds"] for each in outputs] == [1, 2]
        assert failed.exit_code == 1
        assert "JSONDecodeError" in failed.log_tail
        assert "a remark" in (tmp_path / "log").read_text()

    asyncio.run(work())


def test_a_service_of_protocol_2_keeps_what_it_knows(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        async with session(engine, images["second"], tmp_path, style=Style.SERVE) as started:
            request = Request(body=b'{"mode": "local", "data": {"input": {}}}')
            outputs = [output_of(await started.call(request)) for _ in range(3)]
            failed = await started.call(Request(body=b'{"mode": "local", "data": {"fail": true}}'))
        assert outputs[-1] == {"calls": 3, "mode": "local"}
        assert failed.exit_code == 1
        assert "told to fail" in failed.log_tail

    asyncio.run(work())


def test_a_computation_of_protocol_2_gets_atolls_own_module(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        async with session(engine, images["persistent"], tmp_path, style=Style.SERVE) as started:
            for number in (1, 2, 3):
                data = {"mode": "local", "data": {"input": {}, "state": {"iteration": number}}}
                reply = await started.call(Request(body=json.dumps(data).encode()))
                assert output_of(reply) == {"calls": number, "iteration": number}
        assert "call 3" in (tmp_path / "log").read_text()

    asyncio.run(work())


def test_what_an_image_prepares_its_commands_with_is_kept(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        command = ("python", "-c", "import os; print(os.environ['PREPARED'])")
        async with session(engine, images["prepared"], tmp_path, command) as started:
            reply = await started.call(body())
        assert bytes(reply.output) == b"with care\n"  # type: ignore[arg-type]  # small ones are bytes

    asyncio.run(work())


def test_names_of_outlets_are_known_in_a_container(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        text = "import socket; print(*map(socket.gethostbyname, ('localhost', 'omop')))"
        outlets = (Outlet(host="127.0.0.2", port=5432, alias="omop", take=os.close),)
        async with session(
            engine, images["script"], tmp_path, ("python", "-c", text), outlets=outlets
        ) as started:
            reply = await started.call(body())
        assert bytes(reply.output) == b"127.0.0.1 127.0.0.2\n"  # type: ignore[arg-type]  # small ones are bytes

    asyncio.run(work())


def test_a_service_beside_no_python_that_is_found_is_reached_through_another_container(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        async with session(engine, images["hidden"], tmp_path, style=Style.SERVE) as started:
            request = Request(body=b'{"mode": "local", "data": {"input": {}}}')
            outputs = [output_of(await started.call(request)) for _ in range(2)]
            assert isinstance(started, ServiceSession)
            assert isinstance(started.place, ServicePlace)
        assert outputs[-1] == {"calls": 2, "mode": "local"}

    asyncio.run(work())


def test_an_image_without_python_reaches_what_it_is_offered(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        answering: list[asyncio.Task[None]] = []

        async def answer(connection: int) -> None:
            reader, writer = await streams(connection)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.0 200 OK\r\n\r\nrows\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        def take(connection: int) -> None:
            answering.append(asyncio.create_task(answer(connection)))

        command = ("sh", "-c", "wget -q -O - http://omop:5432/; wget -q -O - http://127.0.0.3:5432/")
        outlet = Outlet(host="127.0.0.2", port=5432, alias="omop", take=take)
        async with session(engine, images["shell"], tmp_path, command, outlets=(outlet,)) as started:
            await started.offer(Outlet(host="127.0.0.3", port=5432, take=take))
            reply = await started.call(body())
            await asyncio.gather(*answering)
        assert bytes(reply.output) == b"rows\nrows\n"  # type: ignore[arg-type]  # small ones are bytes

    asyncio.run(work())


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_an_image_without_python_is_started_by_its_engine(
    engine: Engine, images: Mapping[str, str], tmp_path: Path, size: int
) -> None:
    async def work() -> None:
        async with session(engine, images["shell"], tmp_path, ("sh", "/computation/local.sh")) as started:
            for number in (1, 2):
                text = "x" * size
                request = Request(body=json.dumps(text).encode(), environment={"VARIABLE": str(number)})
                reply = await started.call(request)
                assert output_of(reply) == {"given": text, "variable": str(number)}
        assert "said" in (tmp_path / "log").read_text()

    asyncio.run(work())


@pytest.mark.parametrize("image", ["script", "shell"])
def test_what_fails_in_an_image_says_how(
    engine: Engine, images: Mapping[str, str], tmp_path: Path, image: str
) -> None:
    async def work() -> None:
        command = ("sh", "-c", "cat >/dev/null; echo why >&2; exit 3")
        async with session(engine, images[image], tmp_path, command) as started:
            reply = await started.call(body())
        assert (reply.exit_code, reply.log_tail.strip()) == (3, "why")

    asyncio.run(work())


@pytest.mark.parametrize("image", ["script", "shell"])
def test_a_call_that_takes_too_long_is_ended_with_its_container(
    engine: Engine, images: Mapping[str, str], tmp_path: Path, image: str
) -> None:
    async def work() -> None:
        command = ("sh", "-c", "sleep 600 & sleep 600")
        async with session(
            engine, images[image], tmp_path, command, limits=CallLimits(seconds=0.5)
        ) as started:
            with pytest.raises(LimitReached, match=r"longer than 0\.5 seconds"):
                await started.call(body())

    asyncio.run(work())


def test_a_call_that_needs_too_much_memory_is_told_so(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        command = ("python3", "-c", "x = bytearray(400_000_000); print(len(x))")
        limits = CallLimits(memory_bytes=100_000_000)
        async with session(engine, images["script"], tmp_path, command, limits=limits) as started:
            with pytest.raises(LimitReached, match="more than 100000000 bytes of memory"):
                await started.call(body())

    asyncio.run(work())


def test_what_one_call_needed_of_memory_is_not_held_against_the_next(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        command = ("sh", "-c", "cat >/dev/null; if [ $HOG = yes ]; then dd if=/dev/zero bs=200M; fi; exit 3")
        limits = CallLimits(memory_bytes=50_000_000)
        async with session(engine, images["shell"], tmp_path, command, limits=limits) as started:
            with pytest.raises(LimitReached, match="more than 50000000 bytes of memory"):
                await started.call(Request(environment={"HOG": "yes"}))
            reply = await started.call(Request(environment={"HOG": "no"}))
        assert reply.exit_code == 3

    asyncio.run(work())


def test_a_command_that_is_not_there_is_named(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        async with session(engine, images["script"], tmp_path, ("nowhere", "x")) as started:
            reply = await started.call(body())
        assert reply.exit_code == 127
        assert "nowhere" in reply.log_tail

    asyncio.run(work())


def test_functions_need_a_python(engine: Engine, images: Mapping[str, str], tmp_path: Path) -> None:
    async def work() -> None:
        with pytest.raises(RuntimeUnavailable, match=r"no Python 3\.8"):
            async with session(engine, images["shell"], tmp_path, ("python", "-m", "x"), style=Style.TALK):
                pass

    asyncio.run(work())


def test_an_image_with_another_digest_is_another_image(
    engine: Engine, images: Mapping[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        runtime = DockerRuntime(ContainerSettings(socket=engine.socket), "atoll-test-ways-digest")
        launch = Launch(
            seat=Seat("alpha"),
            style=Style.CALL,
            code=None,
            image=Image(kind=ImageKind.OCI, name=images["script"], digest="sha256:" + "0" * 64),
            command=("true",),
            temporary=tmp_path,
            log=tmp_path / "log",
        )
        try:
            with pytest.raises((RuntimeUnavailable, AlgorithmFailed)):
                await runtime.start(launch)
        finally:
            await runtime.close()

    asyncio.run(work())


def test_what_a_dead_owner_left_is_removed(engine: Engine, images: Mapping[str, str], tmp_path: Path) -> None:
    async def work() -> None:
        async with session(engine, images["script"], tmp_path, ("python", "/computation/local.py")):
            heir = DockerRuntime(
                ContainerSettings(engine=engine.name, socket=engine.socket),
                f"atoll-test-ways-{engine.name}-{os.getpid()}",
            )
            await heir.recover()
            left = await heir.engine.ours()
            await heir.close()
        assert [owner for _, owner in left if owner == f"atoll-test-ways-{engine.name}-{os.getpid()}"] == []

    asyncio.run(work())


def test_a_label_of_an_image_makes_no_container_an_owners(engine: Engine, images: Mapping[str, str]) -> None:
    """Whoever starts an image by hand keeps its container, whatever the image calls itself."""
    owner = f"atoll-test-label-{engine.name}-{os.getpid()}"

    async def work() -> None:
        runtime = DockerRuntime(ContainerSettings(engine=engine.name, socket=engine.socket), owner)
        client = await runtime.engine.open()
        body: dict[str, Any] = {"Image": images["script"], "Labels": {"org.atoll.owner": owner}}
        container = await client.containers.create(body, name=owner)
        try:
            await runtime.recover()
            assert (await container.show())["Name"].strip("/") == owner
        finally:
            await container.delete(force=True)
            await runtime.close()

    asyncio.run(work())


def test_a_file_that_goes_on_for_ever_is_not_read(engine: Engine) -> None:
    """An image may hold a file of any size, of which little was ever sent."""

    async def work(image: str) -> None:
        runtime = DockerRuntime(ContainerSettings(engine=engine.name, socket=engine.socket), "nobody")
        try:
            facts = await runtime.facts(image)
            assert facts is not None
            async with runtime.files(facts) as read:
                assert await read("/large") is None
                assert await read("/nowhere") is None
                assert await read("/small") == b"here"
        finally:
            await runtime.close()

    with made(engine, "atoll-test-large", BUSYBOX, {"/small": "here"}, "RUN truncate -s 8M /large") as image:
        asyncio.run(work(image))
