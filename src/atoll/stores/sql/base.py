"""What all tables share: one list of them, and how their keys are called.

Every module with tables adds them to `metadata`, from which the migrations are checked.
A constraint without a name can't be changed by a later migration, so each gets one here.
"""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import BigInteger, Double, Integer, MetaData, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: A point in time: seconds since 1970, as the hub's clock has it.
Time = Double
#: A value as JSON text. Read and written by msgspec where it is used; no database looks into it.
Json = Text
#: A number that only grows. SQLite counts by itself only in a column of type INTEGER.
Count = BigInteger().with_variant(Integer, "sqlite")


def cascading(column: str) -> sqlalchemy.ForeignKey:
    """A reference whose row goes with what it refers to."""
    return sqlalchemy.ForeignKey(column, ondelete="CASCADE")
