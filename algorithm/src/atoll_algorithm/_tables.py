"""The annotations that ask for a database: `Table`, and the default `database`."""

from __future__ import annotations

from typing import Any


class _TableType(type):
    """Lets ``isinstance(x, Table)`` be true of what a `Table` parameter gets."""

    def __instancecheck__(cls, value: Any) -> bool:
        return any(
            base.__name__ == "DataFrame" and base.__module__.partition(".")[0] == "pandas"
            for base in type(value).__mro__
        )


class Table(metaclass=_TableType):
    """The annotation of a parameter that takes a database: ``data: Table``.

    The function gets a `pandas.DataFrame`; to a type checker `Table` is one. It is the call's
    own: what the function changes in it, no other call sees. Several such parameters take the
    databases in the order in which they were asked for.

    ``Table(...)`` makes a `pandas.DataFrame`, which a test may need.
    """

    def __new__(cls, *args: Any, **options: Any) -> Any:
        import pandas  # half a second, which an algorithm without tables doesn't pay

        return pandas.DataFrame(*args, **options)


class LabelledDatabase:
    """What `database` leaves as a parameter's default."""

    __slots__ = ("label",)

    def __init__(self, label: str) -> None:
        self.label = label

    def __repr__(self) -> str:
        return "database(%r)" % (self.label,)


def database(label: str) -> Any:
    """The default of a parameter that takes the database of this label.

    ``def f(visits: Table, labs: Table = database("labs"))`` takes the first database that was
    asked for, and the one that the site calls ``labs``, whether it was asked for or not.
    """
    return LabelledDatabase(label)
