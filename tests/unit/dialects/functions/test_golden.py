"""Bodies that functions' own side has written are read here as they were meant.

The two sides share no code. What they agree on are these files: see ``tests/golden/body``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atoll.dialects.functions.body import Call, call_body, plain, read_call

GOLDEN = Path(__file__).resolve().parents[3] / "golden" / "body"
FILES: dict[str, Any] = json.loads((GOLDEN / "index.json").read_text())["files"]
#: Where people are shown something else than the plainest form: an index, base64, an object.
SHOWN: dict[str, Any] = {
    "special.bin": {
        **FILES["special.bin"]["view"],
        "map": {"1": "one", "$x": 2},
        "floats": [None, None],
        "bytes": "AP8=",
        "times": ["2020-02-29T12:30:00.000005", "2020-02-29", "23:59:00", "-86399.999993"],
    },
    "frame.bin": {"id": [10, 20], **FILES["frame.bin"]["view"]},
    "series.bin": {"a": 1.5, "b": 2.5},
    "named.bin": {"sex": ["f", "m"], **FILES["named.bin"]["view"]},
    "arrow_pandas.bin": {"index": ["a", "b"], "index (2)": [1, 2], **FILES["arrow_pandas.bin"]["view"]},
}


@pytest.mark.parametrize("name", FILES)
def test_a_body_is_shown_as_what_it_holds(name: str) -> None:
    shown = SHOWN.get(name, FILES[name]["view"])

    assert shown == plain((GOLDEN / name).read_bytes())


def test_a_call_is_read_and_written_alike() -> None:
    written = (GOLDEN / "call.bin").read_bytes()

    call = read_call(written)

    assert Call(function="moments", args={"column": "age"}, databases=("default",)) == call
    assert written == call_body(call.function, call.args, call.databases)


def test_every_file_is_in_the_index() -> None:
    assert sorted(FILES) == sorted(path.name for path in GOLDEN.glob("*.bin"))
