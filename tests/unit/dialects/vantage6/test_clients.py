"""The real clients of both generations speak to a call's door, over HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tests import environments
from tests.federation import seats
from tests.unit.dialects.vantage6.world import FolderDesk, PaperGate, ticket_of

from atoll.dialects.vantage6 import body
from atoll.dialects.vantage6.body import Action, opening_body_4, opening_body_5
from atoll.dialects.vantage6.convention import Convention
from atoll.engine.peers import Address, Peer
from atoll.engine.ports import Database
from atoll.engine.running import Reply, whole
from atoll.model.work import Failure, JobId, Seat
from atoll.node.gateway.http import HttpServer

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]
both = pytest.mark.parametrize(
    "generation", [pytest.param(n, marks=pytest.mark.needs(f"vantage6-{n}")) for n in (4, 5)]
)

OPENINGS = {
    4: opening_body_4("central", kwargs={"x": 1}, databases=[{"label": "default", "query": "q"}]),
    5: opening_body_5(Action.CENTRAL_COMPUTE, "central", {"x": 1}, dataframes=["default"]),
}
SOURCES = {
    4: """
        from vantage6.algorithm.tools.decorators import algorithm_client

        @algorithm_client
        def central(client, x):
            ids = [one["id"] for one in client.organization.list()]
            task = client.task.create(input_={"method": "partial", "kwargs": {"x": x}}, organizations=ids)
            return sum(client.wait_for_results(task_id=task["id"]))
    """,
    5: """
        from vantage6.algorithm.decorator import algorithm_client, central, dataframe

        @central
        @algorithm_client
        def central(client, x):
            ids = [one["id"] for one in client.organization.list()]
            task = client.task.create(method="partial", arguments={"x": x}, organizations=ids)
            return sum(client.wait_for_results(task_id=task["id"]))
    """,
}
#: A script has a client, and fills a dictionary with what it was answered.
CONNECT = {
    4: "client = AlgorithmClient(token=token, host='http://127.0.0.1', port=port, path='')",
    5: "client = AlgorithmClient(token=token, hq_url=f'http://127.0.0.1:{port}')",
}
CREATE = {
    4: "create = lambda f, x, ids, **more: client.task.create({'method': f, 'kwargs': x}, ids, **more)",
    5: "create = lambda f, x, ids, **more: client.task.create(f, x, ids, **more)",
}


@dataclass
class World:
    """A call whose door is open."""

    generation: int
    gate: PaperGate
    desk: FolderDesk
    port: int
    token: str

    @property
    def python(self) -> Path:
        """The interpreter that has the client."""
        return environments.python_of(f"vantage6-{self.generation}")

    async def told(self, script: str, *, port: int | None = None) -> dict[str, Any]:
        """What a script was answered."""
        lines = [
            "import json, sys",
            "from vantage6.algorithm.client import AlgorithmClient",
            "port, token, out = int(sys.argv[1]), sys.argv[2], {}",
            CONNECT[self.generation],
            CREATE[self.generation],
            dedent(script),
            "print(json.dumps(out))",
        ]
        reply = await _run(self.python, "-c", "\n".join(lines), str(port or self.port), self.token)
        assert not reply.exit_code, reply.log_tail
        told: dict[str, Any] = json.loads(whole(reply.output).splitlines()[-1])
        return told


async def _run(
    python: Path, *words: str, code: Path | None = None, environment: Mapping[str, str] | None = None
) -> Reply:
    process = await asyncio.create_subprocess_exec(
        python,
        *words,
        cwd=code,
        env={"PATH": os.defpath, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Reply(output=out, exit_code=process.returncode, log_tail=err.decode()[-4000:])


def answer(seat: Seat, content: bytes) -> bytes | Failure:
    """What a partial function leaves at a site: twice its argument, but at the second it fails."""
    arguments = json.loads(body.read(content).arguments)
    if seat == seats(3)[1]:
        return Failure(type="AlgorithmFailed", message="partial failed with KeyError", site=seat)
    return json.dumps(2 * arguments.get("kwargs", arguments)["x"]).encode()


@asynccontextmanager
async def opened(generation: int, tmp_path: Path, **changes: Any) -> AsyncIterator[World]:
    """A call's door, on loopback."""
    listening = socket.create_server(("127.0.0.1", 0))
    address = ("127.0.0.1", listening.getsockname()[1])
    gate = PaperGate(**{"answer": answer, **changes})
    desk = FolderDesk(tmp_path, address=address, databases={"default": Database(label="default", type="csv")})
    desk.outputs[0] = b'{"dataframe": "default", "version": 1, "columns": []}'
    convention = Convention(generation=generation, package="algorithm")
    ticket = gate.ticket
    request = convention.compose(ticket, [OPENINGS[generation]], desk)
    door = convention.door(ticket, [OPENINGS[generation]], desk, gate)
    assert door is not None
    server = HttpServer(door.respond)
    server.listen(listening.detach())
    token = request.environment.get("CONTAINER_TOKEN")
    if token is None:
        (file,) = tmp_path.rglob("token")
        token = file.read_text()
    try:
        yield World(generation, gate, desk, address[1], token)
    finally:
        await server.close()


@both
def test_every_method_of_the_client_is_answered(generation: int, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(generation, tmp_path) as world:
            out = await world.told("""
                out["client"] = [client.image, client.organization_id, client.collaboration_id, client.node_id]
                out["databases"] = client.databases
                out["list"] = client.organization.list()
                out["organization"] = client.organization.get(2)
                out["collaboration"] = client.collaboration.get()
                out["studies"] = client.study.list()
                out["study"] = client.study.get(1)
                task = create("partial", {"x": 4}, [1, 2, 3], name="a name", description="a task")
                out["task"] = task
                out["same"] = client.task.get(task["id"]) == task
                out["results"] = client.wait_for_results(task_id=task["id"], interval=0.01)
                out["again"] = client.result.from_task(task_id=task["id"])
                runs = client.run.from_task(task_id=task["id"])
                out["runs"] = [[run["id"], run["status"], run["organization"]["id"]] for run in runs]
                out["run"] = client.run.get(runs[1]["id"])["log"]
                out["result"] = [client.result.get(run["id"]) for run in runs]
                out["outcomes"] = client.request(f"task/{task['id']}/outcomes")["data"]
                out["version"] = client.request("version")
                out["own"] = client.task.get(3)["status"]
            """)

            assert ["v6-average", 1, 1, 1] == out["client"]
            assert {
                4: [{"label": "default", "query": "q"}],
                5: [[{"label": "default", "type": "dataframe", "dataframe_id": 1}]],
            }[generation] == out["databases"]
            assert ["local0", "local1", "local2"] == [one["name"] for one in out["list"]]
            assert (2, "local1", "") == tuple(map(out["organization"].get, ("id", "name", "public_key")))
            assert (1, []) == (out["collaboration"]["id"], out["studies"])
            assert {"msg": "asked for a study, and a run has none"} == out["study"]
            assert (4, "a name", "a task", "failed") == tuple(
                map(out["task"].get, ("id", "name", "description", "status"))
            )
            assert out["same"]
            # What failed is left out, as its client has it. The whole truth is told elsewhere.
            assert [8, 8] == out["results"] == out["again"]
            assert [[8, "completed", 1], [9, "crashed", 2], [10, "completed", 3]] == out["runs"]
            assert "partial failed with KeyError" == out["run"]
            assert [8, None, 8] == out["result"]
            assert [("local0", "done", 8), ("local1", "failed", None), ("local2", "done", 8)] == [
                (one["site"], one["status"], one["result"]) for one in out["outcomes"]
            ]
            assert str(generation) == out["version"]["version"][0]
            assert {4: "active", 5: "awaiting"}[generation] == out["own"]
            sent = body.read(world.gate.asked[0][1][0][1])
            parent = body.read(OPENINGS[generation])
            assert (parent.databases, parent.dataframes) == (sent.databases, sent.dataframes)
            assert ["asked for a study, and a run has none"] == world.gate.refusals

    asyncio.run(scenario())


@pytest.mark.needs("vantage6-4")
def test_there_are_no_other_addresses(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(4, tmp_path) as world:
            out = await world.told("""
                asked = ("addresses", "parent_address", "child_addresses", "sibling_addresses", "own_address")
                out["vpn"] = [getattr(client.vpn, f"get_{name}")() for name in asked]
                out["some"] = client.vpn.get_addresses(only_children=True, include_parent=True, label="x")
            """)

            assert {"vpn": [[]] * 5, "some": []} == out

    asyncio.run(scenario())


@pytest.mark.needs("vantage6-4")
def test_a_client_finds_its_parent_children_siblings_and_itself(tmp_path: Path) -> None:
    central = JobId("run.0.0")
    own = ticket_of()
    ticket = replace(own, parent=central)
    others = {
        "own": Peer(job_id=own.job.id, seat=seats(3)[0], round_number=2, parent=central, parent_round=0),
        "sibling": Peer(
            job_id=JobId("run.2.1"), seat=seats(3)[1], round_number=2, parent=central, parent_round=0
        ),
        "parent": Peer(job_id=central, seat=seats(3)[2], round_number=0),
        "child": Peer(
            job_id=JobId("run.3.0"), seat=seats(3)[2], round_number=3, parent=own.job.id, parent_round=2
        ),
    }
    found = [
        Address(host=f"127.1.0.{number}", port=28_000, label=label, peer=peer)
        for number, (label, peer) in enumerate(others.items())
    ]

    async def scenario() -> None:
        async with opened(4, tmp_path, ticket=ticket, found=found) as world:
            out = await world.told("""
                asked = ("parent_address", "child_addresses", "sibling_addresses", "own_address", "addresses")
                for name in asked:
                    out[name] = [each["label"] for each in getattr(client.vpn, f"get_{name}")()]
                out["all"] = client.vpn.get_addresses(include_children=True, include_parent=True, label="sibling")
            """)

            assert {
                "parent_address": ["parent"],
                "child_addresses": ["child"],
                "sibling_addresses": ["sibling"],
                "own_address": ["own"],
                "addresses": ["own", "sibling"],
                "all": [
                    {
                        "ip": "127.1.0.1",
                        "port": 28_000,
                        "label": "sibling",
                        "organization_id": 2,
                        "task_id": 3,
                        "parent_id": 1,
                    }
                ],
            } == out

    asyncio.run(scenario())


@both
def test_a_client_is_told_why_it_is_refused(generation: int, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(generation, tmp_path) as world:
            out = await world.told("""
                out["none"] = create("partial", {"x": 1}, [])
                out["unknown"] = client.request("task/9")
                out["organization"] = client.organization.get(9)
                client.collaboration_id = 2
                out["collaboration"] = create("partial", {"x": 1}, [1])
                client.collaboration_id, client.image = 1, "other"
                out["image"] = create("partial", {"x": 1}, [1])
                client._access_token = token + "x"
                out["token"] = client.request("version")
            """)

            assert out.pop("none")["msg"].endswith("it names no organizations")
            assert {
                "unknown": "asked for task 9, which is not one of its own",
                "organization": "asked for organization 9, which is not in its collaboration",
                "collaboration": "asked for a task in collaboration 2, which is not its own",
                "image": "asked for a task of the image 'other': it may use 'v6-average' alone",
                "token": "spoke to its node with another token than its own",
            } == {name: one["msg"] for name, one in out.items()}
            assert (6, []) == (len(world.gate.refusals), world.gate.asked)

    asyncio.run(scenario())


@both
def test_a_client_that_waits_hears_of_the_end_at_once(generation: int, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(generation, tmp_path, answer=None) as world:
            asking = asyncio.create_task(
                world.told("""
                    import time
                    task = create("partial", {"x": 1}, [1, 2])
                    # An interval that the test could not sit out.
                    out["results"] = client.wait_for_results(task_id=task["id"], interval=1000)
                """)
            )
            while not world.gate.waits and not asking.done():
                await asyncio.sleep(0.01)

            world.gate.end(3, b"1", b"2")

            assert {"results": [1, 2]} == await asking

    asyncio.run(scenario())


@both
def test_a_real_central_function_runs_from_its_variables(generation: int, tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "algorithm.py").write_text(dedent(SOURCES[generation]))
        async with opened(generation, tmp_path) as world:
            convention = Convention(generation=generation, package="algorithm")
            ticket = world.gate.ticket
            request = convention.compose(ticket, [OPENINGS[generation]], world.desk)
            _, (_, *words) = convention.launch(ticket)

            reply = await _run(world.python, *words, code=tmp_path, environment=request.environment)

            assert b"4" == whole(convention.parse(ticket, reply, world.desk).body)
            assert [] == world.gate.refusals

    asyncio.run(scenario())


@pytest.mark.needs("vantage6-4")
def test_a_client_that_lost_an_answer_gets_the_same_task(tmp_path: Path) -> None:
    """It sends its request again where the line broke, and would else have two tasks."""

    async def scenario() -> None:
        async with opened(4, tmp_path) as world, broken_once(world) as port:
            out = await world.told(
                """
                    out["tasks"] = [create("partial", {"x": 1}, [1])["id"] for _ in range(2)]
                """,
                port=port,
            )

            assert {"tasks": [4, 5]} == out
            assert 2 == len(world.gate.asked)

    asyncio.run(scenario())


@asynccontextmanager
async def broken_once(world: World) -> AsyncIterator[int]:
    """A way to the door that breaks when the first task is asked for, before its answer is read."""
    broken = False

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal broken
        into, out = await asyncio.open_connection("127.0.0.1", world.port)
        asked = await reader.readuntil(b"\r\n\r\n")
        out.write(asked)
        if asked.startswith(b"POST") and not broken:
            broken = True
            into._transport.pause_reading()  # type: ignore[attr-defined] # what it answers must stay unread
            length = int(asked.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            out.write(await reader.readexactly(length))
            while not world.gate.asked:
                await asyncio.sleep(0)
            for line in (out, writer):
                reset = struct.pack("ii", 1, 0)
                line.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                line.transport.abort()
            return
        await asyncio.gather(_copied(reader, out), _copied(into, writer))

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.close()
