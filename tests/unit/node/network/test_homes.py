"""Under which addresses an algorithm finds servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.node.network.homes import Homes, move, server_of
from atoll.node.network.relay import Direct
from atoll.node.offer import Source


@pytest.mark.parametrize(
    ("url", "server"),
    [
        (
            "postgresql://ada:se@cret@db.hospital.local:5433/visits?sslmode=require",
            ("db.hospital.local", 5433),
        ),
        ("postgresql+psycopg://db/visits", ("db", 5432)),
        ("jdbc:sqlserver://db:1433;databaseName=x", ("db", 1433)),
        ("jdbc:postgresql://db/omop", ("db", 5432)),
        ("mysql://10.1.2.3", ("10.1.2.3", 3306)),
        ("http://graph.example.org/sparql", ("graph.example.org", 80)),
        ("https://[fd00::5]/sparql", ("fd00::5", 443)),
        ("odd://db:99/x", ("db", 99)),
        ("odd://db/x", None),
        ("postgresql://db:99999/x", None),
        ("postgresql://one,two/x", None),
        ("postgresql:///x?host=/run", None),
        ("sqlite:////data/x.db", None),
        ("data.csv", None),
    ],
)
def test_a_server_is_found_in_an_address(url: str, server: tuple[str, int] | None) -> None:
    assert server_of(url) == server


@pytest.mark.parametrize(
    ("url", "home", "alias", "inside"),
    [
        ("postgresql://db.Local/x", ("127.0.0.2", 5432), "db.local", "postgresql://db.Local/x"),
        ("postgresql://a:b@localhost/x", ("127.0.0.1", 5432), "", "postgresql://a:b@localhost/x"),
        ("http://127.0.0.1:9000/x", ("127.0.0.1", 9000), "", "http://127.0.0.1:9000/x"),
        # Where the door is.
        ("http://localhost:8080/x", ("127.0.0.2", 8080), "", "http://127.0.0.2:8080/x"),
        ("mysql://a:b@10.1.2.3/x?y=z", ("127.0.0.2", 3306), "", "mysql://a:b@127.0.0.2:3306/x?y=z"),
        ("https://[fd00::5]:8443/x", ("127.0.0.2", 8443), "", "https://127.0.0.2:8443/x"),
        ("mysql://1.2/x", ("127.0.0.2", 3306), "", "mysql://127.0.0.2:3306/x"),
    ],
)
def test_a_server_keeps_its_name_and_no_number(
    url: str, home: tuple[str, int], alias: str, inside: str
) -> None:
    """An address stays as it is where it names a server; its node still connects to that very one."""
    target, source = move(Source(type="sql", url=url), Homes())

    assert target is not None
    assert ((target.host, target.port), target.alias, source.url) == (home, alias, inside)
    server = server_of(url)
    assert server is not None
    assert target.way == Direct(host=server[0], port=server[1])


def test_a_file_stays_where_it_is() -> None:
    file = Source(type="csv", path=Path("/data/http://x"))

    assert move(file, Homes()) == (None, file)


def test_each_server_has_one_home() -> None:
    homes = Homes()

    assert [homes.of(name) for name in ("a", "b", "A")] == ["127.0.0.2", "127.0.0.3", "127.0.0.2"]
    assert len({homes.of(str(number)) for number in range(1000)}) == 1000
