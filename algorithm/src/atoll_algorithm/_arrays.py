"""numpy's arrays and the frames of pandas, polars and pyarrow, as tags and buffers.

None of these libraries is imported to write a value: one that isn't loaded can't be in it.
To read one it must be installed.
"""

from __future__ import annotations

import importlib
import sys
from math import isfinite
from typing import Any, List, Optional, Tuple

from atoll_algorithm._values import HINTS, TAGGERS, UNTAGGERS, Reader, Writer, check_form, name_of
from atoll_algorithm.errors import BodyInvalid

#: numpy's letters for booleans, numbers, times and text of fixed length: none of them is an object.
KINDS = "biufcmMSU"
_SOUND_ARROW = (14, 0, 1)


def load(library: str, holds: str) -> Any:
    """A library that a value needs.

    Raises:
        BodyInvalid: It isn't installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise BodyInvalid("a body holds %s, and %s isn't installed here" % (holds, library)) from error


# --- numpy ------------------------------------------------------------------------------------


def _tag_array(writer: Writer, value: Any) -> Any:
    numpy = sys.modules["numpy"]
    if value.dtype.kind not in KINDS or value.dtype.names is not None:
        raise writer.fault(
            "is a numpy array of dtype %s: expected numbers, booleans, times, or text of fixed length "
            "(.astype(float) or .astype(str) makes one)" % (value.dtype,)
        )
    if not value.dtype.itemsize:
        value = value.astype(value.dtype.kind + "1")  # text without letters has no bytes to count by
    shape = list(value.shape)
    content = numpy.ascontiguousarray(value)
    # Times and text lend their memory to nobody, as bytes they do. Nothing is copied here.
    return {"$array": [value.dtype.str, shape, writer.buffer(content.reshape(-1).view("u1"))]}


def _tag_scalar(writer: Writer, value: Any) -> Any:
    if value.dtype.kind in "mM":
        return _tag_array(writer, sys.modules["numpy"].asarray(value))
    plain = value.item()
    if type(plain) is type(value):
        # numpy's long numbers have no counterpart: they go as arrays without dimensions.
        return _tag_array(writer, sys.modules["numpy"].asarray(value))
    return writer.tag(plain)


def _untag_array(reader: Reader, content: Any) -> Any:
    check_form(type(content) is list and len(content) == 3, "$array")
    kind, shape, index = content
    check_form(type(kind) is str and len(kind) < 40 and type(shape) is list and len(shape) <= 32, "$array")
    numpy = load("numpy", "an array")
    dtype = numpy.dtype(kind)
    check_form(dtype.kind in KINDS and dtype.names is None and dtype.subdtype is None, "$array")
    check_form(dtype.itemsize > 0, "$array")
    count = 1
    for extent in shape:
        check_form(type(extent) is int and 0 <= extent < 1 << 62, "$array")
        count *= extent
    offset, length = reader.place(index)
    if count * dtype.itemsize != length:
        raise BodyInvalid("a body has %d bytes for an array that takes %d" % (length, count * dtype.itemsize))
    if not length:
        return numpy.zeros(shape, dtype)
    array = numpy.frombuffer(reader.data, dtype, count, offset)
    if array.flags.writeable:
        array.flags.writeable = False
    return array.reshape(shape)


# --- pandas -----------------------------------------------------------------------------------


def _cells(writer: Writer, column: Any) -> Optional[Any]:
    """A column's or an index's cells as a tag, or None where only Arrow holds them."""
    dtype = column.dtype
    if name_of(type(dtype)) == "pandas.CategoricalDtype":
        codes = column.cat.codes if hasattr(column, "cat") else column.codes
        categories = _cells(writer, dtype.categories)
        if categories is None:
            return None
        pandas = sys.modules["pandas"]
        return {"$categories": [_cells(writer, pandas.Series(codes)), categories, bool(dtype.ordered)]}
    if getattr(dtype, "kind", "O") in "biufcmM" and type(dtype).__module__.partition(".")[0] == "numpy":
        return _tag_array(writer, column.to_numpy())
    if str(dtype) in ("object", "string", "str") or str(dtype).startswith("string["):
        return _text_cells(column)
    return None


def _text_cells(column: Any) -> Optional[Any]:
    missing = column.isna()
    values = column.tolist()
    text = [None if gone else one for one, gone in zip(values, missing)]
    if not (set(map(type, text)) <= {str, type(None)}):
        return None
    return {"$text": text}


def _is_counted(index: Any) -> bool:
    """Whether an index only numbers the rows, from 0."""
    return name_of(type(index)) == "pandas.RangeIndex" and (index.start, index.step) == (0, 1)


def _is_simple(name: Any) -> bool:
    """Whether JSON holds a column's name."""
    return type(name) in (str, int, bool) or (type(name) is float and isfinite(name))


def _tag_frame(writer: Writer, value: Any) -> Any:
    start = len(writer.buffers)
    raw, culprit = _raw_frame(writer, value)
    if raw is not None:
        return {"$frame": raw}
    del writer.buffers[start:]
    return _tag_pandas_arrow(writer, value, culprit)


def _raw_frame(writer: Writer, value: Any) -> Tuple[Optional[Any], Any]:
    """A frame without Arrow; or None, and the name of the column that has no such form."""
    index, header = value.index, value.columns
    names = header.tolist()
    named = [name for name in (index.name, header.name) if name is not None]
    if index.nlevels > 1 or header.nlevels > 1 or not all(map(_is_simple, names + named)):
        return None, None
    columns = []
    for number, name in enumerate(names):
        cells = _cells(writer, value.iloc[:, number])
        if cells is None:
            return None, name
        columns.append([name, cells])
    rows = None
    if not _is_counted(index) or not columns:
        rows = _cells(writer, index)
        if rows is None:
            return None, None
    raw = {"kind": "pandas", "columns": columns, "index": rows}
    if index.name is not None:
        raw["index_name"] = index.name
    if header.name is not None:
        raw["columns_name"] = header.name
    return raw, None


def _tag_pandas_arrow(writer: Writer, value: Any, culprit: Any) -> Any:
    """A frame with what only Arrow holds: several levels, times with zones, numbers that may be missing."""
    try:
        arrow = importlib.import_module("pyarrow")
    except ImportError:
        if culprit is not None:
            writer.path.append(culprit)
            raise writer.fault(
                "is a column of %s, which needs pyarrow, and that isn't installed: expected numbers, "
                "booleans, times without zone, text or categories" % (value[culprit].dtype,)
            ) from None
        raise writer.fault(
            "is a data frame with several levels of names, which needs pyarrow, and that isn't installed: "
            "expected one level (.reset_index() makes one)"
        ) from None
    try:
        table = arrow.Table.from_pandas(value)
    except (arrow.lib.ArrowException, ValueError, TypeError):
        if culprit is not None:
            writer.path.append(culprit)
        raise writer.fault(
            "holds things of different or unknown types: expected columns of one type"
        ) from None
    return {"$arrow": ["pandas", writer.buffer(_stream(arrow, table))]}


def _tag_series(writer: Writer, value: Any) -> Any:
    index, label, name = value.index, value.index.name, value.name
    simple = index.nlevels == 1 and all(one is None or _is_simple(one) for one in (name, label))
    cells = _cells(writer, value) if simple else None
    rows = None if _is_counted(index) or cells is None else _cells(writer, index)
    if cells is None or (rows is None and not _is_counted(index)):
        raise writer.fault(
            "is a series of %s: expected numbers, booleans, times without zone, text or categories, "
            "and an index of one level (.to_frame() or .reset_index() makes a frame)" % (value.dtype,)
        )
    return {"$series": [name, cells, rows] if label is None else [name, cells, rows, label]}


def _read_cells(reader: Reader, node: Any, pandas: Any) -> Any:
    check_form(type(node) is dict and len(node) == 1, "$frame")
    ((tag, content),) = node.items()
    if tag == "$text":
        check_form(type(content) is list and set(map(type, content)) <= {str, type(None)}, "$text")
        return pandas.Series(content, dtype=None if any(one is not None for one in content) else object).array
    if tag == "$categories":
        check_form(type(content) is list and len(content) == 3 and type(content[2]) is bool, "$categories")
        codes = _read_cells(reader, content[0], pandas)
        categories = pandas.Index(_read_cells(reader, content[1], pandas))
        return pandas.Categorical.from_codes(codes, categories, ordered=content[2])
    check_form(tag == "$array", "$frame")
    array = _untag_array(reader, content)
    check_form(array.ndim == 1, "$frame")
    return array


def _untag_frame(reader: Reader, content: Any) -> Any:
    check_form(type(content) is dict and type(content.get("columns")) is list, "$frame")
    pandas = load("pandas", "a data frame")
    columns = content["columns"]
    check_form(all(type(one) is list and len(one) == 2 and _is_simple(one[0]) for one in columns), "$frame")
    arrays = [_read_cells(reader, cells, pandas) for _, cells in columns]
    index = _read_index(reader, content.get("index"), content.get("index_name"), pandas)
    if index is None:
        index = pandas.RangeIndex(len(arrays[0]) if arrays else 0, name=content.get("index_name"))
    check_form(all(len(one) == len(index) for one in arrays), "$frame")
    # The frame owns what it holds: its user may write to it.
    frame = pandas.DataFrame(dict(enumerate(arrays)), index=index, copy=True)
    if columns:
        frame.columns = pandas.Index([name for name, _ in columns], name=content.get("columns_name"))
    return frame


def _read_index(reader: Reader, node: Any, label: Any, pandas: Any) -> Optional[Any]:
    if node is None:
        return None
    return pandas.Index(_read_cells(reader, node, pandas), name=label)


def _untag_series(reader: Reader, content: Any) -> Any:
    check_form(type(content) is list and len(content) in (3, 4), "$series")
    pandas = load("pandas", "a series")
    label = content[3] if len(content) == 4 else None
    cells = _read_cells(reader, content[1], pandas)
    index = _read_index(reader, content[2], label, pandas)
    return pandas.Series(cells, index=index, name=content[0], copy=True)


# --- Arrow ------------------------------------------------------------------------------------


def _stream(arrow: Any, table: Any) -> Any:
    sink = arrow.BufferOutputStream()
    with importlib.import_module("pyarrow.ipc").new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _tag_arrow(writer: Writer, value: Any) -> Any:
    return {"$arrow": ["pyarrow", writer.buffer(_stream(sys.modules["pyarrow"], value))]}


def _tag_polars(writer: Writer, value: Any) -> Any:
    import io  # only polars asks for a file to write into

    if any(str(kind) in ("Object", "Unknown") for kind in value.dtypes):
        raise writer.fault("is a polars frame with a column of objects: expected columns of one type")
    sink = io.BytesIO()
    value.write_ipc_stream(sink)
    return {"$arrow": ["polars", writer.buffer(sink.getbuffer())]}


def _untag_arrow(reader: Reader, content: Any) -> Any:
    check_form(type(content) is list and len(content) == 2, "$arrow")
    kind, index = content
    check_form(kind in ("pandas", "pyarrow", "polars"), "$arrow")
    view = reader.view(index)
    if kind == "polars":
        polars = load("polars", "a polars frame")
        try:
            return polars.read_ipc_stream(bytes(view))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in its Rust code is none of the ordinary exceptions
            raise BodyInvalid("a body's Arrow data are damaged") from error
    arrow = load("pyarrow", "a %s table" % (kind,))
    if _version(arrow) < _SOUND_ARROW:
        raise BodyInvalid("a body holds Arrow data, and pyarrow before 14.0.1 may run code that lies in such")
    try:
        table = importlib.import_module("pyarrow.ipc").open_stream(arrow.py_buffer(view)).read_all()
        # Lengths that lie would let a later step read what isn't there.
        table.validate(full=True)
    except (arrow.lib.ArrowException, OSError) as error:
        raise BodyInvalid("a body's Arrow data are damaged") from error
    return table.to_pandas() if kind == "pandas" else table


def _version(library: Any) -> Tuple[int, ...]:
    parts: List[int] = []
    for part in library.__version__.split(".")[:3]:
        digits = "".join(sign for sign in part if sign.isdigit())
        parts.append(int(digits or "0"))
    return tuple(parts)


# --- What they are called ---------------------------------------------------------------------


def _tag_timestamp(writer: Writer, value: Any) -> Any:
    if value.nanosecond:
        raise writer.fault("is a time with nanoseconds: expected whole microseconds (.floor('us') makes one)")
    return writer.tag(value.to_pydatetime())


def _tag_timedelta(writer: Writer, value: Any) -> Any:
    if value.nanoseconds:
        raise writer.fault("is a time with nanoseconds: expected whole microseconds (.floor('us') makes one)")
    return writer.tag(value.to_pytimedelta())


def _refuse_masked(writer: Writer, value: Any) -> Any:
    raise writer.fault("is a masked array, with data behind its mask: expected .filled(...) or .compressed()")


TAGGERS.update(
    {
        ("numpy", "MaskedArray"): _refuse_masked,
        ("numpy", "ndarray"): _tag_array,
        ("numpy", "generic"): _tag_scalar,
        ("pandas", "DataFrame"): _tag_frame,
        ("pandas", "Series"): _tag_series,
        ("pandas", "Timestamp"): _tag_timestamp,
        ("pandas", "Timedelta"): _tag_timedelta,
        ("pandas", "NaTType"): lambda writer, value: None,
        ("pandas", "NAType"): lambda writer, value: None,
        ("pyarrow", "Table"): _tag_arrow,
        ("polars", "DataFrame"): _tag_polars,
    }
)
HINTS.update(
    {
        ("pandas", "Index"): "expected a list, as .tolist() makes it",
        ("polars", "Series"): "expected a list or a frame, as .to_list() or .to_frame() makes it",
        ("numpy", "dtype"): "expected its name, as str(...) makes it",
    }
)
UNTAGGERS.update(
    {
        "$array": _untag_array,
        "$frame": _untag_frame,
        "$series": _untag_series,
        "$arrow": _untag_arrow,
    }
)
