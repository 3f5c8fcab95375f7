"""The commands that start a wrapped algorithm."""

from __future__ import annotations

#: What the images of published algorithms start.
WRAPPER = ("python", "-c", "from vantage6.algorithm.tools.wrap import wrap_algorithm; wrap_algorithm()")

#: Beside the output of a data step: the names and types of its columns.
COLUMNS = "columns"

# Run before its wrapper. A wrapper prints what belongs into the log, line by line, so that a
# traceback stands where it happened and at the end.
_BEFORE = """\
import os as _os, sys as _sys
_os.dup2(2, 1)
_sys.stdout.reconfigure(line_buffering=True)
"""

# Run in the algorithm's process, when its wrapper has returned: the node itself reads no tables.
# A step that left none leaves no columns either, and its node says so. The state of the session
# is a log that algorithms may read; one that can't be written is nobody's failure.
_AFTER_DATA_STEP = """
if _os.environ["FUNCTION_ACTION"] in ("data_extraction", "preprocessing"):
    import datetime as _datetime, json as _json, pyarrow as _arrow, pyarrow.parquet as _parquet
    try:
        _schema = _parquet.read_schema(_os.environ["OUTPUT_FILE"])
    except (OSError, _arrow.ArrowException):
        raise SystemExit
    _folder = _os.path.dirname(_os.environ["OUTPUT_FILE"])
    with open(_os.path.join(_folder, "columns"), "w") as _file:
        _json.dump([{"name": str(_one.name), "dtype": str(_one.type)} for _one in _schema], _file)
    _row = {"action": _os.environ["FUNCTION_ACTION"], "file": _os.environ["ATOLL_DATAFRAME"] + ".parquet"}
    _row |= {"timestamp": _datetime.datetime.now(_datetime.timezone.utc), "message": "written"}
    _row |= {"dataframe": _os.environ["ATOLL_DATAFRAME"]}
    _state = _os.environ["SESSION_FILE"]
    try:
        _table = _arrow.Table.from_pylist([_row])
        if _os.path.exists(_state):
            _table = _arrow.concat_tables([_parquet.read_table(_state), _table])
        _parquet.write_table(_table, _state)
    except (OSError, _arrow.ArrowException):
        pass
"""


def is_wrapper(command: tuple[str, ...]) -> bool:
    """Whether a command starts a wrapper of vantage6. Any other may be in any language."""
    return len(command) == 3 and command[1] == "-c" and "wrap_algorithm" in command[2]


def completed(command: tuple[str, ...], generation: int) -> tuple[str, ...]:
    """A command that starts a wrapper, with what Atoll needs beside it."""
    after = _AFTER_DATA_STEP if generation == 5 else ""
    return (*command[:2], f"{_BEFORE}{command[2]}{after}")
