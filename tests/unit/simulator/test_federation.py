"""A federation.yaml says what each site offers; whatever is wrong with it is told in a sentence."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.errors import SpecInvalid
from atoll.model.work import Seat
from atoll.node.databases import TYPES
from atoll.node.offer import Offer, Source
from atoll.node.settings import read_settings
from atoll.simulator.federation import read_federation


def write(root: Path, text: str) -> Path:
    """A federation.yaml, with a few files and folders beside it."""
    for name in ("a.csv", "b.parquet", "c.XLSX", "d.sqlite", "plain"):
        (root / name).touch()
    (root / "images").mkdir(exist_ok=True)
    path = root / "federation.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


def read(root: Path, text: str) -> dict[Seat, Offer]:
    """What a federation.yaml says."""
    return dict(read_federation(write(root, text)).offers)


def faults(root: Path, text: str) -> list[str]:
    """What is wrong with a federation.yaml, without its path."""
    path = write(root, text)
    with pytest.raises(SpecInvalid) as refused:
        read_federation(path)
    return [fault.removeprefix(str(path)).removeprefix(": ").strip() for fault in refused.value.faults]


def of_database(root: Path, database: str) -> list[str]:
    """What is wrong with the one database of the one site."""
    found = faults(root, f"sites:\n  alpha:\n    databases:\n      default: {database}\n")
    return [fault.removeprefix("site 'alpha', database 'default'").lstrip(": ") for fault in found]


# --- What it says -----------------------------------------------------------------------------


def test_sites_keep_their_order_and_databases_theirs(tmp_path: Path) -> None:
    offers = read(
        tmp_path,
        """
        sites:
          gamma:
            databases:
              second: {uri: a.csv, type: csv}
              first: {uri: images, type: folder}
            env: {LEAST: "3", MOST: 4, SHARE: 0.5}
          alpha:
          local10: {databases: {}, env: {}}
        """,
    )

    assert ["gamma", "alpha", "local10"] == list(offers)
    assert ["second", "first"] == list(offers[Seat("gamma")].databases)
    assert {"LEAST": "3", "MOST": "4", "SHARE": "0.5"} == offers[Seat("gamma")].environment
    assert Offer() == offers[Seat("alpha")] == offers[Seat("local10")]


@pytest.mark.parametrize(
    ("described", "kind", "name"),
    [
        ("a.csv", "csv", "a.csv"),
        ("{uri: a.csv}", "csv", "a.csv"),
        ("b.parquet", "parquet", "b.parquet"),
        ("c.XLSX", "excel", "c.XLSX"),
        ("d.sqlite", "sql", "d.sqlite"),
        ("plain", "csv", "plain"),
        ("images", "folder", "images"),
        ("./images/../a.csv", "csv", "a.csv"),
        ("{uri: images, type: other}", "other", "images"),
        ("{uri: plain, type: other}", "other", "plain"),
        ("{uri: a.csv, type: null}", "csv", "a.csv"),
    ],
)
def test_a_path_is_relative_to_the_file_and_its_type_is_told_by_its_ending(
    tmp_path: Path, described: str, kind: str, name: str
) -> None:
    offers = read(tmp_path, f"sites: {{alpha: {{databases: {{default: {described}}}}}}}")

    expected = Source(type=kind, path=tmp_path.resolve() / name)
    assert {"default": expected} == offers[Seat("alpha")].databases


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.csv").touch()

    offers = read(tmp_path, f"sites: {{alpha: {{databases: {{default: {tmp_path}/elsewhere/x.csv}}}}}}")

    assert tmp_path.resolve() / "elsewhere" / "x.csv" == offers[Seat("alpha")].databases["default"].path


@pytest.mark.parametrize(
    ("described", "kind"),
    [
        ("{uri: 'postgresql://host/db', type: sql}", "sql"),
        ("{uri: 'sqlite:///some.db'}", "sql"),
        ("{uri: 'https://host/query', type: sparql}", "sparql"),
        ("{uri: 'mailto:somebody', type: other}", "other"),
        ("{uri: 'dsn:7', type: omop}", "omop"),
    ],
)
def test_an_address_is_no_file(tmp_path: Path, described: str, kind: str) -> None:
    offers = read(tmp_path, f"sites: {{alpha: {{databases: {{default: {described}}}}}}}")

    source = offers[Seat("alpha")].databases["default"]
    assert (kind, None) == (source.type, source.path)
    assert ":" in source.url


def test_what_a_reader_needs_beside_stands_with_the_database(tmp_path: Path) -> None:
    offers = read(
        tmp_path,
        """
        sites:
          alpha:
            databases:
              default:
                uri: "sqlite://"
                type: sql
                query: SELECT 1
                sheet_name: "2024"
                preprocessing: [{function: filter}]
                env: {USER: me, PORT: 5432}
        """,
    )

    assert {
        "query": "SELECT 1",
        "sheet_name": "2024",
        "preprocessing": [{"function": "filter"}],
        "env": {"USER": "me", "PORT": "5432"},
    } == offers[Seat("alpha")].databases["default"].options


def test_what_sites_share_may_be_written_once(tmp_path: Path) -> None:
    offers = read(
        tmp_path,
        """
        sites:
          alpha: &shared
            databases: {default: a.csv}
            env: {LEAST: "3"}
          beta: {<<: *shared, env: {LEAST: "4"}}
          gamma: *shared
        """,
    )

    assert ["3", "4", "3"] == [offer.environment["LEAST"] for offer in offers.values()]
    assert 1 == len({offer.databases["default"].path for offer in offers.values()})


# --- What is wrong with it --------------------------------------------------------------------


def test_a_file_that_is_not_there_is_missed_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        SpecInvalid, match=r"is not there: expected a federation\.yaml .* Name one with --fed"
    ):
        read_federation(tmp_path / "federation.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sites: [", "is not YAML: while parsing"),
        ("sites:\n\t- x", "is not YAML: while scanning"),
        ("sites: {alpha: !!python/object:os.system {}}", "is not YAML: could not determine a constructor"),
        ("sites: {alpha: {}, beta: {}, alpha: {}}", "is not YAML: the key 'alpha' comes twice"),
        ("sites: {a: {databases: {x: a.csv, 'x': a.csv}}}", "is not YAML: the key 'x' comes twice"),
        ("sites: {a: {env: {x: 1, x: 2}}}", "is not YAML: the key 'x' comes twice"),
        ("sites: {1: {}, 1: {}}", "is not YAML: the key 1 comes twice"),
        ("sites: {}\nsites: {}", "is not YAML: the key 'sites' comes twice"),
        ("sites: {? [a] : {}}", "is not YAML: while constructing a mapping"),
        ("sites: {alpha: {env: {day: 2024-13-45}}}", "can't be read: month must be in 1..12"),
        (f"sites: {{alpha: {{env: {{n: {'9' * 5000}}}}}}}", "can't be read: Exceeds the limit"),
        ("[" * 5000, "can't be read: it is nested too deeply"),
    ],
)
def test_what_is_no_yaml_or_says_a_thing_twice_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (fault,) = faults(tmp_path, text)

    assert fault.startswith(told)


@pytest.mark.parametrize(
    "text", ["", "sites:", "sites: []", "sites: {}", "sites: alpha", "[1, 2]", "just text", "other: 1"]
)
def test_a_file_without_sites_is_refused(tmp_path: Path, text: str) -> None:
    assert ["names no sites: expected 'sites:' and below it each site's name with its databases"] == faults(
        tmp_path, text
    )


@pytest.mark.parametrize(
    "name",
    [
        *("remote", "submitter", "1", "true", "null", "2024-01-01", "''", "' a'", "'a '", "a.", "_a", "-a"),
        *("a/b", "../a", ".", "..", "'a\"b'", '"a\\nb"', '"a\\0b"', '"\\ud800"', "a:b", "a,b"),
        "x" * 201,
        "名" * 67,
    ],
)
def test_a_name_that_a_site_can_not_have_is_refused(tmp_path: Path, name: str) -> None:
    quoted = name if name[0] in "'\"" or (name[0].isalnum() and "," not in name) else f"'{name}'"

    (fault,) = faults(tmp_path, f"sites:\n  {quoted}: {{}}\n  fine: {{}}\n")

    assert fault.startswith("site ")
    assert "can't have this name: expected letters, digits, spaces, '.', '_' and '-'" in fault
    assert fault.endswith("and neither 'remote' nor 'submitter'. Put a number in quotes")


@pytest.mark.parametrize("name", ["a", "A-1", "Zürich", "名前", "site 1", "a.b_c", "0", "x" * 200, "名" * 66])
def test_a_name_that_a_folder_can_have_is_fine(tmp_path: Path, name: str) -> None:
    (seat,) = read(tmp_path, f"sites:\n  '{name}': {{}}\n")

    assert name == seat
    (tmp_path / seat).mkdir()
    (tmp_path / f"{seat}.log").touch()


def test_every_fault_is_told_and_not_the_first_alone(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """
        sights: {}
        sites:
          remote: {}
          alpha: [1]
          beta:
            database: {}
            databases: [a]
            env: text
          gamma:
            databases:
              1: a.csv
              "a=b": a.csv
              none: {type: csv}
              gone: gone.csv
            env: {1: a, "a=b": c, flag: true, list: [1], day: 2024-01-01, nothing: null}
        """,
    )

    assert [
        "nothing is known of 'sights'. Did you mean 'sites'?",
        "site 'remote' can't have this name",
        "site 'alpha' is a list",
        "site 'beta': nothing is known of 'database'. Did you mean 'databases'?",
        "site 'beta': its databases are a list",
        "site 'beta': its env is text",
        "site 'gamma', database 1 can't have this label",
        "site 'gamma', database 'a=b' can't have this label",
        "site 'gamma', database 'none' has no uri",
        f"site 'gamma', database 'gone': {tmp_path}/gone.csv is not there",
        "site 'gamma': 1 can't be the name of a variable",
        "site 'gamma': 'a=b' can't be the name of a variable",
        "site 'gamma': the variable flag is true or false",
        "site 'gamma': the variable list is a list",
        "site 'gamma': the variable day is a date",
        "site 'gamma': the variable nothing is nothing",
    ] == [fault.partition(": expected")[0].partition(". Paths are")[0] for fault in found]


@pytest.mark.parametrize(
    ("database", "told"),
    [
        ("5", "has no uri: expected for example {uri: patients.csv, type: csv}"),
        ("[a.csv]", "has no uri: expected for example {uri: patients.csv, type: csv}"),
        ("{uri: 5}", "has no uri: expected for example {uri: patients.csv, type: csv}"),
        ("null", "has no uri: expected for example {uri: patients.csv, type: csv}"),
        (
            "{uri: a.csv, typ: csv}",
            "nothing is known of 'typ'. Did you mean 'type'?",
        ),
        (
            "{uri: a.csv, 5: 6}",
            "nothing is known of 5. Expected uri, type, query, sheet_name, preprocessing, env.",
        ),
        ("{uri: a.csv, type: json}", f"has the type 'json': expected one of {', '.join(TYPES)}"),
        ("{uri: a.csv, type: 5}", f"has the type 5: expected one of {', '.join(TYPES)}"),
        ("{uri: a.csv, type: [csv]}", f"has the type ['csv']: expected one of {', '.join(TYPES)}"),
        ("{uri: a.csv, env: [1]}", "its env is a list: expected names and values"),
        ('{uri: a.csv, env: {A: "x\\0"}}', "the variable A holds what no variable can, such as a zero byte"),
        (
            '{uri: a.csv, env: {A: "\\ud800"}}',
            "the variable A holds what no variable can, such as a zero byte",
        ),
    ],
)
def test_what_is_wrong_with_a_database_is_told(tmp_path: Path, database: str, told: str) -> None:
    assert [told] == of_database(tmp_path, database)


@pytest.mark.parametrize(
    ("database", "told"),
    [
        ("{uri: images, type: csv}", "{}/images is a folder, and its type is csv"),
        ("{uri: a.csv, type: folder}", "{}/a.csv is no folder, and its type is folder"),
        ("''", "{} is no folder"),
        ("gone.csv", "{}/gone.csv is not there. Paths are"),
        ("x" * 300, "{}/" + "x" * 300 + " is not there. Paths are"),
        ('"a\\0b"', "{}/a\0b is not there. Paths are"),
        ("{uri: 'ftp:nowhere', type: csv}", "{}/ftp:nowhere is not there. Paths are"),
    ],
)
def test_a_path_that_leads_to_something_else_is_refused(tmp_path: Path, database: str, told: str) -> None:
    if database == "''":
        # The folder itself, which is one.
        offers = read(tmp_path, "sites: {alpha: {databases: {default: ''}}}")
        assert "folder" == offers[Seat("alpha")].databases["default"].type
        return
    (fault,) = of_database(tmp_path, database)

    assert fault.startswith(told.format(tmp_path))


def test_databases_that_are_nothing_but_not_said_to_be_are_refused(tmp_path: Path) -> None:
    for word in ("false", "0", "[]", "''"):
        (fault,) = faults(tmp_path, f"sites: {{alpha: {{databases: {word}}}}}")
        assert fault.startswith("site 'alpha': its databases are ")


# --- Whatever a label is ----------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), min_size=1, max_size=5))
def test_a_label_is_any_text_that_a_process_can_be_given(labels: dict[str, str]) -> None:
    document = {"sites": {"alpha": {"databases": dict.fromkeys(labels, "a.csv"), "env": labels}}}
    unfit = [label for label in labels if not label or "=" in label or "\0" in label]
    unfit += [value for label, value in labels.items() if "\0" in value and label not in unfit]
    with tempfile.TemporaryDirectory() as folder:
        text = yaml.safe_dump(document, sort_keys=False)  # with escapes: YAML folds some characters
        if unfit:
            assert faults(Path(folder), text)
        else:
            (offer,) = read(Path(folder), text).values()
            assert list(labels) == list(offer.databases)
            assert labels == offer.environment


@pytest.mark.parametrize(
    ("text", "expected"), [("peers: true\n", True), ("peers: false\n", False), ("", False)]
)
def test_sites_talk_to_each_other_where_the_file_says_so(
    tmp_path: Path, text: str, *, expected: bool
) -> None:
    path = write(tmp_path, f"{text}sites: {{alpha: {{}}}}\n")

    found = read_federation(path)
    assert ["alpha"] == [*found.offers]
    assert found.peers is expected


def test_whether_sites_talk_is_said_with_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match="'peers' is text: expected true"):
        read_federation(write(tmp_path, "peers: all\nsites: {alpha: {}}\n"))


def test_what_a_site_lets_algorithms_reach_is_said_as_in_a_nodes_settings(tmp_path: Path) -> None:
    said = {
        "allow": ["atlas.example.org", {"address": "10.1.2.0/24", "ports": [443]}],
        "services": {"omop": {"host": "db.hospital.local", "port": 5432}},
        "for": {"functions:mean": {}},
    }
    (tmp_path / "node.yaml").write_text(yaml.safe_dump({"hub": "http://127.0.0.1:1", "network": said}))
    document = {"sites": {"alpha": {"network": said}, "beta": {}}}

    found = read_federation(write(tmp_path, yaml.safe_dump(document))).networks

    assert found == {"alpha": read_settings(tmp_path / "node.yaml").network}


def test_what_is_wrong_with_a_network_is_told_with_its_site(tmp_path: Path) -> None:
    text = "sites: {alpha: {network: {allow: [{address: 10.0.0.1}], alow: 1}}}\n"

    first, second = faults(tmp_path, text)

    assert first.startswith("site 'alpha': network: allow, entry 1: ports is missing: expected the ports")
    assert second == ("site 'alpha': network: nothing is known of 'alow'. Did you mean 'allow'?")
