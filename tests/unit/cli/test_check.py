"""``atoll check`` lists what an algorithm does, and says what a site would object to."""

from __future__ import annotations

import io
import json
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from atoll.cli import check
from atoll.cli.vetting import files as vetting_files
from atoll.cli.vetting.findings import RULES
from atoll.cli.vetting.report import show
from atoll.cli.vetting.vet import vet

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
GUIDE = ROOT / "docs" / "how-to" / "vet-an-algorithm.md"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where the algorithm is, and write for a pipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def _write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text))
    return file


def _check(path: str | Path, capsys: pytest.CaptureFixture[str], **options: Any) -> tuple[int, str, str]:
    status = check.command(Path(path), **{"package": None, "as_json": False, "strict": False, **options})
    said = capsys.readouterr()
    return status, said.out, said.err


def _document(
    path: str | Path, capsys: pytest.CaptureFixture[str], **options: Any
) -> tuple[int, dict[str, Any]]:
    status, out, err = _check(path, capsys, as_json=True, **options)
    assert "" == err or status == 2
    return status, json.loads(out)


def _found(
    path: str | Path, capsys: pytest.CaptureFixture[str], **options: Any
) -> list[tuple[str, str, int | None]]:
    _, document = _document(path, capsys, **options)
    return [(one["rule"], one["file"], one["line"]) for one in document["findings"]]


MEAN = '''
    from atoll_algorithm import central, partial, Table, Sites

    @partial(kind={"n": "frequencies", "sum": "linear_aggregations"})
    def moments(data: Table, column: str, power: float = 1.0, only: str | None = None, **rest) -> dict[str, float]:
        """Count and sum of a column."""
        return {"n": len(data), "sum": float(data[column].sum())}

    @central
    def mean(sites: Sites, column: str) -> float:
        return 0.0
'''


def test_an_algorithm_without_objections_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    _write("mean.py", MEAN)

    status, out, err = _check("mean.py", capsys)

    assert (0, "") == (status, err)
    assert (
        textwrap.dedent("""\
        mean: 2 functions, 1 Python file read, nothing run

        moments: partial, at each site (mean.py:5)
          Count and sum of a column.
          takes column: str
          takes power: float = 1.0
          takes only: str (optional)
          takes anything else
          reads data: pandas.DataFrame
          leaves: dict[str, float]
          leaves: n: frequencies
          leaves: sum: linear_aggregations

        mean: central, at one site (mean.py:10)
          takes column: str
          reads asks other sites
          leaves: float

        Nothing to object to.
    """)
        == out
    )


def test_nothing_of_an_algorithm_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    _write("mean.py", "raise SystemExit('this was run')\n" + textwrap.dedent(MEAN))

    assert 0 == _check("mean.py", capsys)[0]


OBJECTIONABLE = """
    import pickle
    from atoll_algorithm import partial, Table, database
    import pandas as pd

    SEEN = []

    @partial
    def rows(data: Table, labs: Table = database("labs")):
        SEEN.append(1)
        return data

    @partial(kind="patients")
    def wrong(data: Table): ...

    @partial(kind={"n": "frequencies", "x": "rows"})
    def half(data: Table): ...

    @partial
    def table(data: Table) -> pd.DataFrame:
        return data.groupby("sex").size().to_frame()

    @partial
    def undeclared(data: Table, path: str):
        return len(data)

    made = partial(other)
"""


def test_each_thing_that_a_site_would_object_to_has_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    _write("survey.py", OBJECTIONABLE)

    status, document = _document("survey.py", capsys)

    assert 1 == status
    assert (False, 5, 4) == (document["accepted"], document["objections"], document["remarks"])
    assert [
        ("unpickling", 2),
        ("rows", 11),
        ("unknown-kind", 14),
        ("unknown-kind", 17),
        ("table", 20),
        ("kind", 9),
        ("global-state", 10),
        ("kind", 24),
        ("unclear", 27),
    ] == [(one["rule"], one["line"]) for one in document["findings"]]
    assert {"survey.py"} == {one["file"] for one in document["findings"]}
    assert all(one["remedy"] for one in document["findings"])
    assert (
        "'x' of half is declared as 'rows', which is none of clusters," in document["findings"][3]["message"]
    )


def test_findings_are_printed_as_compilers_print_them(capsys: pytest.CaptureFixture[str]) -> None:
    _write("sub/survey.py", OBJECTIONABLE)

    status, out, _ = _check("sub", capsys)

    assert 1 == status
    assert (
        "sub/survey.py:11: objection: rows returns what seem to be rows of the data: data. Return counts, sums, or "
        "a model's parameters: what is made from many rows, and tells of none [rows]"
    ) in out.splitlines()
    assert "  reads labs: pandas.DataFrame, the database 'labs'" in out.splitlines()
    assert "5 objections and 4 remarks." == out.splitlines()[-1]


def test_remarks_alone_are_no_objection_unless_they_count(capsys: pytest.CaptureFixture[str]) -> None:
    _write(
        "mean.py",
        "from atoll_algorithm import partial, Table\n@partial\ndef f(data: Table): return len(data)\n",
    )

    status, out, _ = _check("mean.py", capsys)
    strict_status, strict_out, _ = _check("mean.py", capsys, strict=True)

    assert (0, 1) == (status, strict_status)
    assert "No objections, 1 remark." == out.splitlines()[-1]
    assert "No objections, 1 remark: with --strict they count." == strict_out.splitlines()[-1]
    assert not _document("mean.py", capsys, strict=True)[1]["accepted"]


def test_a_document_holds_all_that_a_program_needs(capsys: pytest.CaptureFixture[str]) -> None:
    _write("mean.py", MEAN)

    _, document = _document("mean.py", capsys)

    assert {
        "path": "mean.py", "dialect": "functions", "name": "mean", "accepted": True, "objections": 0, "remarks": 0,
        "files": 1, "findings": [], "error": None,
    } == {key: value for key, value in document.items() if key != "functions"}  # fmt: skip
    assert {
        "name": "moments",
        "role": "partial",
        "runs": "each site",
        "file": "mean.py",
        "line": 5,
        "summary": "Count and sum of a column.",
        "arguments": [
            {"name": "column", "type": "str", "required": True, "default": None},
            {"name": "power", "type": "float", "required": False, "default": "1.0"},
            {"name": "only", "type": "str | None", "required": False, "default": "None"},
            {"name": "**", "type": "", "required": False, "default": None},
        ],
        "databases": [{"name": "data", "type": "pandas.DataFrame", "label": None, "required": True}],
        "asks": False,
        "returns": "dict[str, float]",
        "stays": False,
        "kinds": {"n": "frequencies", "sum": "linear_aggregations"},
    } == document["functions"][0]


def test_the_styles_of_functions_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    _write(
        "fit.py",
        """
        from atoll_algorithm import all_reduce, local, remote, Sites, Table
        from pathlib import Path
        @local(kind="parameters")
        def gradient(data: Table, weights: list, images: Path = None): ...
        @local
        def alone(weights: list): ...
        @remote(gradient)
        def fit(parts, weights): ...
        @all_reduce(kind="position")
        def mean(data: Table, sites: Sites): ...
    """,
    )

    _, document = _document("fit.py", capsys)

    assert {
        "gradient": "each site, in every iteration of fit",
        "alone": "each site, in every iteration",
        "fit": "one site, in every iteration",
        "mean": "every site at once",
    } == {one["name"]: one["runs"] for one in document["functions"]}
    assert {"name": "images", "type": "pathlib.Path", "label": None, "required": False} in document[
        "functions"
    ][0]["databases"]


# --- Files ------------------------------------------------------------------------------------


def test_what_can_not_be_read_is_objected_to(capsys: pytest.CaptureFixture[str]) -> None:
    _write("pkg/__init__.py", "from .central import mean\n")
    _write("pkg/central.py", MEAN)
    _write("pkg/broken.py", "def f(:\n")
    for name in (
        "fast.so",
        "model.R",
        "data.csv",
        "__pycache__/old.pyc",
        "venv/pyvenv.cfg",
        "venv/x.so",
        "tests/t.so",
    ):
        _write(f"pkg/{name}", "")

    assert [
        ("unreadable", "pkg/broken.py", 1),
        ("unreadable", "pkg/fast.so", None),
        ("not-python", "pkg/model.R", None),
    ] == _found("pkg", capsys)


def test_files_beyond_the_bounds_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vetting_files, "_FILES_MAX", 2)
    monkeypatch.setattr(vetting_files, "_BYTES_MAX", 1000)
    _write("pkg/__init__.py", MEAN)
    for name in ("a", "b", "c"):
        _write(f"pkg/{name}.py", "x = 1\n")
    _write("pkg/a.py", "x = 1\n" * 1000)

    assert [("not-read", "pkg/a.py", None), ("not-read", "pkg/c.py", None)] == _found("pkg", capsys)


def test_a_file_elsewhere_is_named_by_its_whole_path(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _write("mean.py", MEAN).resolve()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    _, document = _document(file, capsys)

    assert str(file) == document["path"] == document["functions"][0]["file"]


# --- The guide ----------------------------------------------------------------------------------


def test_every_rule_is_explained_in_the_guide() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| .+ \|$", GUIDE.read_text(), re.MULTILINE)

    assert list(RULES) == [row for row in rows if row in RULES]


def test_the_guide_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(EXAMPLES / "functions" / "mean", "examples/functions/mean")
    shown = re.search(
        r"^\$ atoll check examples/functions/mean\n(.+?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL
    )

    assert shown
    assert shown[1] == _check("examples/functions/mean", capsys)[1]


# --- What is no algorithm ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", "is not there: expected a Python file, a package, or a folder with either"),
        ("empty", "holds no algorithm"),
        ("plain.py", "plain.py has no function that could be called: expected one with a decorator"),
        ("wrapped", "the package wrapped has no function that could be called"),
        ("two", "holds several: a, b. Name the one"),
        ("pipelinespec.json", "expected a list of paths of compspecs"),
    ],
)
def test_where_there_is_no_algorithm_it_is_said(
    path: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    _write("plain.py", "def f(): ...\n")
    _write("wrapped/__init__.py", "import vantage6.algorithm.tools.util\n")
    _write("two/a/__init__.py", MEAN)
    _write("two/b/__init__.py", MEAN)
    _write("pipelinespec.json", "{}")

    status, out, err = _check(path, capsys)
    json_status, document = _document(path, capsys)

    assert (2, 2, "") == (status, json_status, out)
    assert err.startswith("error: ")
    assert words in err
    assert ("SpecInvalid", False) == (document["error"]["type"], document["accepted"])
    assert words in document["error"]["message"]


def test_one_of_several_packages_may_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    _write("two/a/__init__.py", MEAN)
    _write("two/b/__init__.py", MEAN.replace("moments", "sums"))

    _, document = _document("two", capsys, package="b")

    assert ["sums", "mean"] == [one["name"] for one in document["functions"]]


# --- vantage6 ---------------------------------------------------------------------------------

GENERATION_4 = """
    import pandas as pd
    from vantage6.algorithm.client import AlgorithmClient
    from vantage6.algorithm.tools.decorators import algorithm_client, data

    @algorithm_client
    def central(client: AlgorithmClient, column: str, organizations: list = None): ...

    @data(2)
    def partial(df1: pd.DataFrame, df2: pd.DataFrame, column, *, limit=5, **rest) -> dict:
        return df1.to_dict()

    def helper(x): ...
"""
GENERATION_5 = """
    import pandas as pd
    from vantage6.algorithm.decorator import algorithm_client, data_extraction, dataframe, metadata
    from vantage6.algorithm.decorator.action import central, federated, preprocessing

    @data_extraction
    def read(connection_details: dict): return pd.read_csv(connection_details["uri"])

    @preprocessing
    def select(df: pd.DataFrame, column: str) -> pd.DataFrame:
        return df[[column]]

    @federated
    @dataframe(1)
    @metadata
    def total(metadata, df: pd.DataFrame): return {"sum": df.x.sum()}

    @central
    @algorithm_client
    def combine(client: "AlgorithmClient"): ...
"""


def test_functions_of_generation_4_are_listed_with_what_can_be_called_beside(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _write("v6/v6-sum-py/__init__.py", GENERATION_4)

    status, document = _document("v6", capsys)

    assert (1, "vantage6", "v6-sum-py") == (status, document["dialect"], document["name"])
    central, partial, helper = document["functions"]
    assert ("central", "one site", True) == (central["role"], central["runs"], central["asks"])
    assert [] == central["databases"]
    assert ("partial", "each site that is asked", "dict") == (
        partial["role"],
        partial["runs"],
        partial["returns"],
    )
    assert ["df1", "df2"] == [one["name"] for one in partial["databases"]]
    assert [("column", None), ("limit", "5"), ("**", None)] == [
        (one["name"], one["default"]) for one in partial["arguments"]
    ]
    assert "helper" == helper["name"]
    file = "v6/v6-sum-py/__init__.py"
    assert [("rows", file, 11), ("undecorated", file, 13)] == _found("v6", capsys)


def test_functions_of_generation_5_are_listed_with_what_stays(capsys: pytest.CaptureFixture[str]) -> None:
    _write("v6-sum/__init__.py", GENERATION_5)

    status, document = _document("v6-sum", capsys)
    _, out, _ = _check("v6-sum", capsys)

    assert (0, []) == (status, document["findings"])
    assert [
        ("read", "data_extraction", True, [("connection_details", "connection details")]),
        ("select", "preprocessing", True, [("df", "pandas.DataFrame")]),
        ("total", "federated_compute", False, [("df", "pandas.DataFrame")]),
        ("combine", "central_compute", False, []),
    ] == [
        (one["name"], one["role"], one["stays"], [(each["name"], each["type"]) for each in one["databases"]])
        for one in document["functions"]
    ]
    assert 2 == out.count("  leaves: nothing: it stays at the site")
    assert "4 vantage6 functions" in out


def test_a_package_that_can_not_be_read_is_objected_to(capsys: pytest.CaptureFixture[str]) -> None:
    _write("v6-sum/__init__.py", "import vantage6\nfrom .central import *\n")
    _write("v6-sum/central.py", "def f(:\n")

    assert [("unreadable", "v6-sum/central.py", 1)] == _found("v6-sum", capsys)


def test_an_algorithm_in_another_language_is_left_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    _write("r/Dockerfile", 'FROM r-base\nCOPY . /app\nCMD ["Rscript", "/app/main.R"]\n')
    _write("r/main.R", "x <- 1\n")
    _write("r/tools/prepare.py", "import socket\n")

    assert [("network", "r/tools/prepare.py", 1), ("not-python", "r/main.R", None)] == _found("r", capsys)


# --- COINSTAC ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["sum", "ridge-iterative", "pipeline", "pipeline/pipelinespec.json", "sum/compspec.json"]
)
def test_published_computations_are_listed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(EXAMPLES / "coinstac", "coinstac")

    status, document = _document(f"coinstac/{name}", capsys, strict=True)

    assert (0, "coinstac", []) == (status, document["dialect"], document["findings"])
    assert {"local", "remote"} == {one["name"] for one in document["functions"]}


def _compspec(**computation: Any) -> dict[str, Any]:
    return {
        "meta": {"name": "Sum", "description": "Adds.\nMore."},
        "computation": {"command": ["python", "/computation/local.py"], **computation},
    }


def test_a_computation_is_told_by_its_inputs_and_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    spec = _compspec(
        input={"column": {"type": "string"}, "lambda": {"type": "number", "default": 0}},
        output={"sum": {"type": "number"}, "rest": {}},
        remote={"command": ["python", "remote.py"]},
    )
    _write("sum/compspec.json", json.dumps(spec))
    _write("sum/local.py", "import socket\n")
    _write("sum/remote.py", "")

    _, out, _ = _check("sum", capsys)

    assert (
        textwrap.dedent("""\
        Sum: 2 COINSTAC scripts, 2 Python files read, nothing run

        local: at each site, in every iteration (sum/local.py)
          Adds.
          takes column: string
          takes lambda: number = 0
          reads baseDirectory: folder
          leaves: its output, to the aggregator

        remote: at the aggregator, in every iteration (sum/remote.py)
          Adds.
          leaves: sum: number, rest
    """)
        == out.partition("\nsum/local.py:1: objection: socket")[0]
    )


def test_the_documents_of_a_computation_are_checked_by_their_rules(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = _compspec(input={"column": {"type": "string"}, "images": {"type": "files"}}, outputs={})
    _write("sum/compspec.json", json.dumps(spec, indent=1))
    _write(
        "sum/test/inputspec.json", '{"column":\n {"value": 3},\n "images": {"value": ["a.nii", "\\u0000"]}}'
    )
    _write("sum/test/local0/simulatorRun/a.nii", "")

    status, document = _document("sum", capsys)

    assert 1 == status
    assert [("spec", "sum/compspec.json"), ("spec-advice", "sum/compspec.json")] + [
        ("spec-advice", "sum/test/inputspec.json")
    ] * 2 == [(one["rule"], one["file"]) for one in document["findings"]]
    assert "starts local.py, which is not in the folder" == document["findings"][0]["message"]
    assert document["findings"][2]["message"].startswith("column")
    assert 1 == len(document["functions"])
    assert [] == [one for one in document["functions"] if one["name"] == "remote"]


@pytest.mark.parametrize(
    ("compspec", "inputspec", "places"),
    [
        ('{"meta": {},\n "computation": {}}', "{}", [("spec", "sum/compspec.json", 2)]),
        ("{", "{}", [("spec", "sum/compspec.json", 1)]),
        ("[" * 100_000, "{}", [("spec", "sum/compspec.json", None)]),
        (
            json.dumps(_compspec()),
            "[]",
            [("spec", "sum/compspec.json", 1), ("spec", "sum/test/inputspec.json", 1)],
        ),
    ],
)
def test_documents_that_can_not_be_used_are_objected_to(
    compspec: str, inputspec: str, places: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _write("sum/compspec.json", compspec)
    _write("sum/test/inputspec.json", inputspec)

    assert places == _found("sum", capsys)


def test_a_computation_of_protocol_2_is_known_by_its_entry(capsys: pytest.CaptureFixture[str]) -> None:
    spec = {"meta": {"name": "Sum", "compspecVersion": 2}, "computation": {}}
    _write("a/compspec.json", json.dumps(spec))
    _write("a/Dockerfile", 'CMD ["python", "/computation/scripts/start.py"]\n')
    _write("a/scripts/start.py", "")
    _write("b/compspec.json", json.dumps(spec))
    _write("pipelinespec.json", '["a/compspec.json", "b/compspec.json"]')

    _, document = _document("pipelinespec.json", capsys)

    assert "Sum, Sum" == document["name"]
    assert ["a/scripts/start.py", "b/compspec.json"] == [one["file"] for one in document["functions"]]
    assert ["starts entry.py, which is not in the folder"] == [one["message"] for one in document["findings"]]


def test_a_command_that_names_no_file_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    spec = _compspec(command=["python", "-m", "package", "/opt/run.py"])
    _write("sum/compspec.json", json.dumps(spec))

    _, document = _document("sum", capsys)

    assert (["sum/compspec.json"], []) == (
        [one["file"] for one in document["functions"]],
        document["findings"],
    )


# --- On a terminal ----------------------------------------------------------------------------


def _drawn(path: str, *, strict: bool = False) -> str:
    target = io.StringIO()
    console = Console(file=target, force_terminal=True, width=100, color_system=None, highlight=False)
    show(vet(Path(path)), console, strict=strict)
    return "\n".join(line.rstrip() for line in target.getvalue().splitlines())


def test_on_a_terminal_functions_are_a_table_and_findings_a_list() -> None:
    _write("mean.py", MEAN)
    _write("survey.py", OBJECTIONABLE)

    drawn, objected = _drawn("mean.py"), _drawn("survey.py")

    assert textwrap.dedent("""\
        mean: 2 functions, 1 Python file read, nothing run

        function                takes                  reads                    what leaves
        RULE
        moments                 column: str            data: pandas.DataFrame   dict[str, float]
        partial, at each site   power: float = 1.0                              n: frequencies
        mean.py:5               only: str (optional)                            sum: linear_aggregations
                                anything else

        mean                    column: str            asks other sites         float
        central, at one site
        mean.py:10

        Nothing to object to.""") == re.sub("─+", "RULE", drawn)
    assert "Objections\n  survey.py:2  unpickling\n    pickle loads pickled objects.\n" in objected
    assert "Remarks\n  survey.py:9  kind\n    rows doesn't say what kind of result leaves.\n" in objected
    assert "5 objections and 4 remarks." == objected.splitlines()[-1]


def test_what_an_algorithm_says_can_not_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    _write(
        "mean.py",
        '''
        from atoll_algorithm import partial
        @partial(kind="\\x1b[2J")
        def f(x="\\u202e[red]"):
            """\x1b[31m[bold]Red\x1b[0m"""
    ''',
    )

    _, out, _ = _check("mean.py", capsys)
    drawn = _drawn("mean.py")

    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[bold]Red" in out
    assert "\x1b" not in drawn


def test_remarks_alone_are_drawn_with_their_verdict() -> None:
    _write(
        "mean.py",
        """
        from atoll_algorithm import Table, partial
        @partial
        def count(data: Table) -> int:
            return len(data)
    """,
    )

    assert "No objections, 1 remark." == _drawn("mean.py").splitlines()[-1]
    assert (
        "No objections, 1 remark: with --strict they count."
        == _drawn("mean.py", strict=True).splitlines()[-1]
    )


def test_what_could_not_be_read_is_not_accepted() -> None:
    _write("r/Dockerfile", 'CMD ["node", "main.js"]\n')
    _write("r/main.js", "")

    assert "Nothing of it could be read" in _drawn("r").splitlines()[-1]
