"""What algorithms of a real node reach: a database on a server, a service by its name, and a proxy with a list."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.postgres import Postgres
from tests.stations import federation

from atoll.dialects.functions.body import plain
from atoll.model.errors import RuntimeUnavailable
from atoll.node.network import squid
from atoll.node.network.permitted import Domain, NetworkRules, Permitted, Service
from atoll.node.offer import Offer, Source

pytestmark = [pytest.mark.acceptance, pytest.mark.needs("bubblewrap")]

#: Another address of this machine's loopback: no name, so that an algorithm is given another one.
HOST = "127.0.0.77"
TOTAL = """\
from atoll_algorithm import partial


@partial
def total(visits: "pandas.DataFrame") -> int:
    return int(visits["n"].sum())
"""
REFUSED = """\
import os, socket
from atoll_algorithm import partial


@partial
def knock() -> str:
    host, port = os.environ["https_proxy"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(b"CONNECT 127.0.0.1:22 HTTP/1.1\\r\\n\\r\\n")
        return line.recv(100).decode().split("\\r")[0]
"""
ASK = """\
import psycopg
from atoll_algorithm import partial


@partial
def ask() -> str:
    with psycopg.connect(host="omop", port=PORT, user="postgres", dbname="visits") as connection:
        return "%d at %s" % connection.execute("SELECT sum(n), 'omop' FROM visits").fetchone()
"""


@asynccontextmanager
async def over_the_network(server: Postgres) -> AsyncIterator[int]:
    """The port at `HOST` where a server is found that listens on a Unix socket alone."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = str(server.folder / ".s.PGSQL.5432")
        there, back = await asyncio.open_unix_connection(path)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    listening = await asyncio.start_server(serve, HOST, 0)
    yield listening.sockets[0].getsockname()[1]
    listening.close()


@pytest.fixture
def visits(postgres: Postgres) -> Postgres:
    postgres.make("visits")
    postgres.ask("visits", "CREATE TABLE visits AS SELECT generate_series(1, 10) AS n")
    return postgres


@pytest.mark.needs("postgresql")
def test_an_algorithm_reads_its_sites_database_on_a_server(visits: Postgres, tmp_path: Path) -> None:
    async def scene() -> object:
        async with over_the_network(visits) as port:
            url = f"postgresql+psycopg://postgres@{HOST}:{port}/visits"
            source = Source(type="sql", url=url, options={"query": "SELECT n FROM visits"})
            async with federation(
                tmp_path, runtime="bubblewrap", offer=Offer(databases={"visits": source})
            ) as place:
                await place.nodes["Dream"].start()
                (tmp_path / "total.py").write_text(TOTAL)
                run_id = await place.submit(await place.asked(tmp_path / "total.py"), sites=("Dream",))
                return plain((await place.results(run_id))["Dream"])

    assert asyncio.run(scene()) == 55


@pytest.mark.needs("postgresql")
def test_an_algorithm_finds_a_service_by_its_name(visits: Postgres, tmp_path: Path) -> None:
    async def scene() -> object:
        async with over_the_network(visits) as port:
            service = Service(alias="omop", host=HOST, port=port)
            rules = NetworkRules(permitted=Permitted(services=(service,)))
            async with federation(tmp_path, runtime="bubblewrap", network=rules) as place:
                await place.nodes["Dream"].start()
                (tmp_path / "ask.py").write_text(ASK.replace("PORT", str(port)))
                run_id = await place.submit(await place.asked(tmp_path / "ask.py"), sites=("Dream",))
                return plain((await place.results(run_id))["Dream"])

    assert asyncio.run(scene()) == "55 at omop"


@pytest.mark.needs("postgresql")
def test_a_simulated_site_has_its_database_on_a_server_too(visits: Postgres, tmp_path: Path) -> None:
    (tmp_path / "total.py").write_text(TOTAL)

    async def scene() -> object:
        async with over_the_network(visits) as port:
            source = {
                "uri": f"postgresql+psycopg://postgres@{HOST}:{port}/visits",
                "type": "sql",
                "query": "SELECT n FROM visits",
            }
            sites = {"sites": {"alpha": {"databases": {"visits": source}}}}
            (tmp_path / "federation.yaml").write_text(json.dumps(sites))
            words = ("simulate", "total.py", "--json", "--runtime", "bubblewrap", "-f", "federation.yaml")
            atoll = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "atoll", *words), cwd=tmp_path, stdout=asyncio.subprocess.PIPE
            )
            said, _ = await atoll.communicate()
            return json.loads(said)["results"]

    assert asyncio.run(scene()) == {"alpha": 55}


@pytest.mark.needs("squid")
def test_an_algorithm_finds_the_proxy_of_its_site(tmp_path: Path) -> None:
    """It is started with the node and ends with it; what isn't listed is refused."""

    async def scene() -> object:
        domain = Domain(name="data.example.org", ports=(443,))
        rules = NetworkRules(permitted=Permitted(domains=(domain,)))
        async with federation(tmp_path, runtime="bubblewrap", network=rules) as place:
            await place.nodes["Dream"].start()
            (tmp_path / "knock.py").write_text(REFUSED)
            run_id = await place.submit(await place.asked(tmp_path / "knock.py"), sites=("Dream",))
            return plain((await place.results(run_id))["Dream"])

    assert asyncio.run(scene()) == "HTTP/1.1 403 Forbidden"
    children = Path("/proc/self/task", str(os.getpid()), "children").read_text().split()
    assert not any(Path("/proc", child, "comm").read_text() == "squid\n" for child in children)


def test_a_node_without_squid_does_not_start_where_it_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(squid, "_program", lambda: None)

    async def scene() -> None:
        domain = Domain(name="data.example.org", ports=(443,))
        rules = NetworkRules(permitted=Permitted(domains=(domain,)))
        async with federation(tmp_path, runtime="bubblewrap", network=rules) as place:
            await place.nodes["Dream"].start()

    with pytest.raises(RuntimeUnavailable, match="apt install squid"):
        asyncio.run(scene())
