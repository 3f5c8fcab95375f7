"""The tables of algorithms: what a bundle says of itself, and which collaborations have it.

The bundles themselves lie with the files. Knowing a digest gives nobody a bundle: it is had by the
collaborations to which somebody brought it, all of it, each time.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from atoll.stores.sql.base import Json, Time, cascading, metadata

algorithms = Table(
    "algorithms",
    metadata,
    # Of the bundle, with ``sha256:``.
    Column("digest", Text, primary_key=True),
    Column("dialect", Text, nullable=False),
    # What it calls itself.
    Column("name", Text, nullable=False),
    Column("manifest", Json, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Time, nullable=False),
)

#: Which collaborations have an algorithm, and who brought it there.
algorithm_places = Table(
    "algorithm_places",
    metadata,
    Column("digest", Text, cascading("algorithms.digest"), primary_key=True),
    Column("collaboration_id", Text, cascading("collaborations.id"), primary_key=True, index=True),
    Column("uploader_id", Text, nullable=False),
    # The uploader's organization, when he brought it.
    Column("organization_id", Text, nullable=False),
    Column("created_at", Time, nullable=False),
)
