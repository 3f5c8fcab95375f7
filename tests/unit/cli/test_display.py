"""How a result is shown: as its computation asks, harmless, and never longer than a few screens."""

from __future__ import annotations

import base64
import io
import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from atoll.cli.display import render
from atoll.cli.display.drawer import plain_name
from atoll.cli.display.numbers import aligned, number_text, rounds
from atoll.cli.display.scale import fit
from atoll.cli.escape import escape

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + bytes(40)
PNG_TEXT = base64.b64encode(PNG).decode()
SVG = "{http://www.w3.org/2000/svg}"


def shown(
    result: Any,
    display: Sequence[Mapping[str, Any]] = ({"type": "table"},),
    *,
    folder: Path,
    outputs: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    width: int = 100,
    title: str = "Result",
) -> tuple[list[str], tuple[Path, ...]]:
    """The lines after the title, and the files that were written."""
    file = io.StringIO()
    paths = render(
        Console(file=file, width=width),
        result=result,
        display=display,
        outputs=outputs or {},
        folder=folder,
        title=title,
        inputs=inputs,
    )
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert "\x1b" not in file.getvalue()
    return [line for line in lines[2:] if line], paths


def table(*tables: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [{"type": "table", "tables": list(tables)}]


# --- Tables -----------------------------------------------------------------------------------


def test_single_values_stand_beside_their_labels_with_points_below_each_other(tmp_path: Path) -> None:
    outputs = {"r2": {"label": "R Squared", "type": "number"}}
    lines, paths = shown(
        {"r2": 0.123456, "n": 37, "ok": True, "none": None}, folder=tmp_path, outputs=outputs
    )

    assert [
        "  R Squared    0.12346",
        "  n           37",
        "  ok          true",
        "  none        null",
        "  Numbers are rounded to 5 digits; result.json has them in full.",
    ] == lines
    assert () == paths


def test_lists_of_one_length_become_the_columns_of_a_table(tmp_path: Path) -> None:
    result = {"covariate_labels": ["const", "age"], "beta": [1.5, -20], "p": [0.25, 1e-12], "dof": 7}
    lines, _ = shown(result, folder=tmp_path)

    assert [
        "           beta       p",
        "  ─────────────────────",
        "  const     1.5   0.25",
        "  age     -20     1e-12",
        "  dof   7",
    ] == lines


def test_records_become_rows_with_the_union_of_their_keys(tmp_path: Path) -> None:
    lines, _ = shown([{"site": "a", "n": 3}, {"site": "b", "mean": 0.5}], folder=tmp_path)

    assert [
        "  site   n   mean",
        "  ───────────────",
        "  a      3",
        "  b          0.5",
    ] == lines


def test_objects_by_name_become_rows_under_their_names(tmp_path: Path) -> None:
    lines, _ = shown({"local0": {"n": 3}, "local10": {"n": 12}}, folder=tmp_path)

    assert ["n", "local0", "local10"] == [lines[0].strip(), lines[2].split()[0], lines[3].split()[0]]


def test_subtables_are_found_by_source_and_named_by_label_and_subtitle(tmp_path: Path) -> None:
    """The tables of COINSTAC's regressions: global statistics, then those of each site."""
    stats = {"covariate_labels": ["const"], "r2": 0.5}
    regression = {"ROI": "Brain-Stem", "global_stats": stats, "local_stats": {"local0": stats}}
    display = table(
        {
            "source": "regressions",
            "subtables": [
                {"source": "global_stats", "subtitle": "ROI"},
                {"source": "local_stats", "subtitle": "ROI", "subtables": "by-key"},
            ],
        }
    )
    items = {"global_stats": {"label": "Global Stats", "items": {"r2": {"label": "R2"}}}}
    lines, _ = shown(
        {"regressions": [regression]},
        display,
        folder=tmp_path,
        outputs={"regressions": {"label": "Regressions", "items": items}},
    )

    assert ["Global Stats · Brain-Stem", "local_stats · Brain-Stem · local0"] == [
        line for line in lines if not line.startswith(" ")
    ]
    assert "  R2                 0.5" in lines


def test_a_source_may_be_a_path_that_leads_through_lists(tmp_path: Path) -> None:
    result = {"regressions": [{"global_stats": {"r2": 0.5}}, {"global_stats": {"r2": 0.25}}]}
    lines, _ = shown(result, table({"source": "regressions.global_stats"}), folder=tmp_path)

    assert ["0.5", "0.25"] == [line.strip() for line in lines[3:]]


def test_a_source_that_the_result_lacks_costs_a_sentence(tmp_path: Path) -> None:
    lines, _ = shown({"a": 1}, table({"source": "b"}, {"source": "a"}), folder=tmp_path)

    assert ["b", "  The result has no 'b'.", "a", "  1"] == lines


def test_a_long_table_is_cut_and_says_by_how_much(tmp_path: Path) -> None:
    lines, _ = shown([{"n": number} for number in range(1_000_000)], folder=tmp_path)

    assert "  … 999,960 more rows in result.json" == lines[-1]
    assert 43 == len(lines)


def test_a_wide_table_is_cut_to_the_columns_that_fit(tmp_path: Path) -> None:
    record = {f"column{number}": number for number in range(100)}
    lines, _ = shown([record, record], folder=tmp_path, width=60)

    assert max(map(len, lines)) <= 60
    assert lines[-1].endswith("more columns in result.json")


def test_tables_beyond_a_bound_are_counted(tmp_path: Path) -> None:
    result = {f"roi{number}": {"deep": {"n": {"m": number}}} for number in range(100)}
    lines, _ = shown(result, folder=tmp_path)

    assert "  … 76 more tables in result.json" == lines[-1]


def test_a_long_list_in_a_cell_tells_how_long_it_is(tmp_path: Path) -> None:
    lines, _ = shown({"beta": list(range(1_000)), "n": 1}, folder=tmp_path)

    assert "  beta   [0, 1, 2, 3, 4, 5, … 994 more]" == lines[0]


@pytest.mark.parametrize(
    "result",
    [
        None,
        5,
        "text",
        [],
        {},
        [[]],
        [None],
        [[1, 2], [3, 4]],
        [1, {"a": 2}],
        {"": {"": {}}},
        {"x": [[], [1]]},
    ],
)
@pytest.mark.parametrize(
    "kind", ["table", "scatter_plot", "box_plot", "images", "string", "iframe", "pipeline", "?"]
)
def test_no_result_is_too_odd_to_be_shown(result: Any, kind: str, tmp_path: Path) -> None:
    lines, _ = shown(
        result,
        [{"type": kind, "tables": [{"source": "x", "subtables": [{"source": 1}]}, 5]}],
        folder=tmp_path,
    )

    assert lines


def test_what_is_nested_very_deep_is_shown_without_an_error(tmp_path: Path) -> None:
    result: Any = 1
    for _ in range(900):
        result = {"a": result, "b": [result] if isinstance(result, int) else 0}
    for display in ([{"type": "table"}], [{"type": "images"}], []):
        assert shown(result, display, folder=tmp_path)[0]


# --- Harmless ---------------------------------------------------------------------------------


def test_neither_markup_nor_control_characters_of_a_result_are_obeyed(tmp_path: Path) -> None:
    evil = "[red]x[/] \x1b]0;title\x07 \u202e \x9b2J \ud800 :smile:"
    displays: list[Sequence[Mapping[str, Any]]] = [[{"type": kind}] for kind in ("table", "string", evil)]
    for display in (*displays, table({"source": evil}), []):
        lines, _ = shown(
            {evil: evil, "message": evil, "list": [{evil: evil}]}, display, folder=tmp_path, title=evil
        )
        text = "\n".join(lines)

        assert not set(text) & set("\x1b\x07\x9b\u202e\ud800")
        assert "[red]x[/]" in text


def test_control_characters_are_escaped_visibly() -> None:
    assert "a\\x1b[31m\\n\\u202e\\u009b\\ud800 é 漢" == escape("a\x1b[31m\n\u202e\x9b\ud800 é 漢")
    assert "a\nb    c" == escape("a\r\nb\tc", keep_lines=True)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Beta age", "Beta-age"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "picture"),
        ("", "picture"),
        (".hidden", "hidden"),
        ("a\0b\nc", "a-b-c"),
        ("C:\\con", "C-con"),
        ("con", "con-"),
        ("漢", "picture"),
        ("x" * 500, "x" * 80),
    ],
)
def test_a_file_name_is_plain(name: str, plain: str) -> None:
    assert plain == plain_name(name)


def test_a_display_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "run"
    elsewhere.mkdir()
    folder.mkdir()
    (folder / "display").symlink_to(elsewhere)
    lines, paths = shown({"global_stats": {"a": PNG_TEXT}}, [{"type": "images"}], folder=folder)

    assert ((), []) == (paths, list(elsewhere.iterdir()))
    assert "can't be written" in " ".join(lines)


def test_a_link_under_the_name_of_a_picture_is_replaced(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (tmp_path / "display").mkdir()
    (tmp_path / "display" / "global_stats-a.png").symlink_to(secret)
    _, paths = shown({"global_stats": {"a": PNG_TEXT}}, [{"type": "images"}], folder=tmp_path)

    assert ("mine", PNG) == (secret.read_text(), paths[0].read_bytes())


# --- Pictures, pages, messages ----------------------------------------------------------------


def test_pictures_are_written_and_shown_on_one_page(tmp_path: Path) -> None:
    result = {
        "global_stats": {"Beta <age>": PNG_TEXT, "beta/../<AGE>": f"data:image/png;base64,{PNG_TEXT}"},
        "local_stats": {"local0": {"t": PNG_TEXT, "fake": base64.b64encode(b"GIF89a").decode(), "n": 3}},
    }
    lines, paths = shown(result, [{"type": "images"}], folder=tmp_path, title="A & B")
    names = [path.name for path in paths]

    assert [
        "global_stats-Beta-age.png",
        "global_stats-beta-AGE-2.png",
        "local_stats-local0-t.png",
        "index.html",
    ] == names
    assert all(path.read_bytes() == PNG for path in paths[:-1])
    page = paths[-1].read_text()
    assert 3 == page.count("<img ")
    assert "<h1>A &amp; B</h1>" in page
    assert "Beta &lt;age&gt;" in page
    assert str(paths[0]) in "\n".join(lines)


def test_each_site_of_a_run_keeps_its_own_pictures(tmp_path: Path) -> None:
    paths: list[Path] = []
    for site in ("local0", "../local1"):
        console = Console(file=io.StringIO())
        paths += render(
            console,
            result={"a": PNG_TEXT},
            display=[{"type": "images"}],
            outputs={},
            folder=tmp_path,
            title=site,
            part=site,
        )

    assert ["local0/a.png", "local0/index.html", "local1/a.png", "local1/index.html"] == [
        str(path.relative_to(tmp_path / "display")) for path in paths
    ]


def test_a_picture_that_already_lies_in_the_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "t.png").write_bytes(PNG)
    result = {"global_stats": ["maps/t.png", "../outside.png"]}
    (tmp_path.parent / "outside.png").write_bytes(PNG)
    _, paths = shown(result, [{"type": "images"}], folder=tmp_path)

    assert ["global_stats-0-t.png", "index.html"] == [path.name for path in paths]


def test_a_message_is_text_with_its_picture_and_its_files(tmp_path: Path) -> None:
    (tmp_path / "out.zip").write_bytes(b"zip")
    result = {"message": "One\nTwo", "display": PNG_TEXT, "download_outputs": "out.zip"}
    lines, paths = shown(result, [{"type": "string"}], folder=tmp_path)

    assert ["  One", "  Two"] == lines[:2]
    assert ["display.png", "index.html"] == [path.name for path in paths]
    assert f"  outputs  {tmp_path / 'out.zip'}" in lines


def test_the_pages_of_an_algorithm_are_named_in_the_order_of_the_sites(tmp_path: Path) -> None:
    for site in ("local10", "local9"):
        (tmp_path / "output" / site).mkdir(parents=True)
        (tmp_path / "output" / site / "index.html").write_text("<p>hello")
    lines, paths = shown({}, [{"type": "iframe"}], folder=tmp_path)

    assert [f"  page  {tmp_path / 'output' / site / 'index.html'}" for site in ("local9", "local10")] == lines
    assert () == paths


@pytest.mark.parametrize(
    "asked", ["qc/a.html", {"value": "qc/a.html"}, [{"title": "page", "path": "qc/a.html"}]]
)
def test_a_page_may_be_named_by_an_input(asked: Any, tmp_path: Path) -> None:
    (tmp_path / "qc").mkdir()
    (tmp_path / "qc" / "a.html").write_text("<p>hello")
    lines, _ = shown({}, [{"type": "iframe"}], folder=tmp_path, inputs={"results_html_path": asked})

    assert [f"  page  {tmp_path / 'qc' / 'a.html'}"] == lines


def test_a_page_outside_the_folder_is_not_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "secret.html").write_text("")
    (folder / "link.html").symlink_to(tmp_path / "secret.html")
    for name in ("../secret.html", "link.html", str(tmp_path / "secret.html"), "a\0b"):
        lines, _ = shown({}, [{"type": "iframe"}], folder=folder, inputs={"results_html_path": name})

        assert "no page" in lines[0]


# --- Plots ------------------------------------------------------------------------------------


def test_a_scatter_plot_is_an_svg_with_a_point_per_coordinate(tmp_path: Path) -> None:
    points = [{"x": 1, "y": 2}, {"x": 3, "y": 1.5}, {"x": math.nan, "y": 1}, {"x": "a"}]
    plots = [{"title": "<b>A & B</b> \x1b", "coordinates": points}]
    lines, paths = shown({"plots": plots}, [{"type": "scatter_plot"}], folder=tmp_path)
    drawing = ET.fromstring(paths[0].read_text())

    assert 2 == len(drawing.findall(f".//{SVG}circle"))
    assert "<b>A & B</b> \\x1b" in [text.text for text in drawing.iter(f"{SVG}text")]
    assert "  2 points without a finite x and y left out" == lines[1]
    assert ["b-A-B-b.svg", "index.html"] == [path.name for path in paths]


def test_a_scatter_plot_of_very_many_points_draws_some(tmp_path: Path) -> None:
    coordinates = [{"x": number, "y": number % 7} for number in range(25_000)]
    lines, paths = shown(
        {"plots": [{"coordinates": coordinates}]}, [{"type": "scatter_plot"}], folder=tmp_path
    )

    assert "  one point in 3 is drawn, of 25,000" == lines[1]
    assert paths[0].stat().st_size < 1_000_000


@pytest.mark.parametrize(
    "x", [[{"label": "a", "values": [3, 1, 2]}, {"values": [5]}], [[1, 2], [3]], {"a": [1], "b": [2]}]
)
def test_a_box_plot_has_a_box_per_list(x: Any, tmp_path: Path) -> None:
    _, paths = shown({"x": x}, [{"type": "box_plot"}], folder=tmp_path)

    assert 3 == len(ET.fromstring(paths[0].read_text()).findall(f".//{SVG}rect"))


@pytest.mark.parametrize(
    "values",
    [[0.0], [5.0, 5.0], [1e308, -1e308], [5e-324], [1e-9, 2e-9], [-3.2, 12.7], [1e15, 1e15 + 1], [1e9, 2e9]],
)
def test_a_scale_holds_all_values_between_few_round_ticks(values: list[float]) -> None:
    scale = fit(values, start=0, stop=100, ticks_max=8)

    assert all(-1e-6 <= scale.at(value) <= 100 + 1e-6 for value in values)
    assert 2 <= len(scale.ticks) <= 10
    assert len(scale.ticks) == len(scale.labels())


# --- JSON and numbers -------------------------------------------------------------------------


def test_without_a_display_the_result_is_json_that_can_be_copied(tmp_path: Path) -> None:
    result = {"sum": 5, "mean": 0.1234567890123, "list": [1, 2], "deep": {"a": [{"b": None}, []]}}
    lines, _ = shown(result, [], folder=tmp_path)

    assert "  The computation asks for no display; the result as JSON follows." == lines[0]
    assert result == json.loads("\n".join(lines[1:]))


def test_an_unknown_display_is_named_and_the_whole_result_shown_once(tmp_path: Path) -> None:
    lines, _ = shown({"sum": 5}, [{"type": "shiny"}, {}], folder=tmp_path)

    assert "  The display type 'shiny' is unknown; the result as JSON follows." == lines[1]
    assert "  The display has no type; the result as JSON stands above." == lines[-1]


def test_long_json_is_cut(tmp_path: Path) -> None:
    lines, _ = shown(
        {"rows": [{"n": number} for number in range(100_000)], "text": "x" * 9}, [], folder=tmp_path
    )

    assert 202 == len(lines)
    assert "  … cut after 200 lines; all of it is in result.json" == lines[-1]


def test_long_texts_in_json_say_how_long_they_are(tmp_path: Path) -> None:
    lines, _ = shown({"image": "x" * 12_345}, [], folder=tmp_path, width=1_000)

    assert lines[2].endswith('x…" (12,345 characters)')


def test_numbers_keep_five_digits_and_whole_ones_all() -> None:
    numbers = [0.123456, 12.5, 1e-12, 3.0, 1234567.0, 1234567.8, 1.5e12, 2**60, 10**5000, math.nan, -math.inf]

    assert [
        "0.12346",
        "12.5",
        "1e-12",
        "3",
        "1234567",
        "1234568",
        "1500000000000",
        "1152921504606846976",
        "about 2^16609",
        "not a number",
        "-infinity",
    ] == [number_text(number) for number in numbers]
    assert [True, False, False] == [rounds(0.123456), rounds(12.5), rounds(7)]


def test_decimal_points_stand_below_each_other() -> None:
    assert ["  1.5 ", "-20   ", "  0.25", "  1e-9"] == aligned(["1.5", "-20", "0.25", "1e-9"])
