"""The tables of nodes: whose they are, what they have said of themselves, what they are known by.

No secret stands in any of them: codes, keys and tokens are sha256 hashes.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, Table, Text, text

from atoll.stores.sql.base import Json, Time, cascading, metadata

nodes = Table(
    "nodes",
    metadata,
    Column("id", Text, primary_key=True),
    # The name of its seat in every run. It never changes.
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False, unique=True),
    Column("organization_id", Text, cascading("organizations.id"), nullable=False, index=True),
    # Whether it has data of its own. One without only aggregates.
    Column("holds_data", Boolean, nullable=False),
    Column("created_at", Time, nullable=False),
    # None: it has not registered yet.
    Column("registered_at", Time),
    # The one-time code that it registers with.
    Column("code_hash", Text, unique=True),
    Column("code_expires_at", Time),
    # What it said when it came last.
    Column("online", Boolean, nullable=False, server_default=text("false")),
    Column("last_seen_at", Time),
    Column("version", Text),
    Column("databases", Json, nullable=False, server_default="[]"),
    Column("dialects", Json, nullable=False, server_default="[]"),
    Column("runtimes", Json, nullable=False, server_default="[]"),
)

#: Long-lived. A node has one, and a second for as long as it goes over from the old to the new one.
node_keys = Table(
    "node_keys",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("node_id", Text, cascading("nodes.id"), nullable=False, index=True),
    Column("created_at", Time, nullable=False),
    # None: until it is replaced.
    Column("ends_at", Time),
)

#: They end within minutes.
node_tokens = Table(
    "node_tokens",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("node_id", Text, cascading("nodes.id"), nullable=False, index=True),
    # The key that it was made by: it ends with that.
    Column("key_hash", Text, cascading("node_keys.hash"), nullable=False, index=True),
    Column("expires_at", Time, nullable=False, index=True),
)

#: The nodes of a collaboration that hold data, in its order.
collaboration_nodes = Table(
    "collaboration_nodes",
    metadata,
    Column("collaboration_id", Text, cascading("collaborations.id"), primary_key=True),
    Column("node_id", Text, cascading("nodes.id"), primary_key=True, index=True),
    Column("position", Integer, nullable=False),
)

#: Those of a study, in its order.
study_nodes = Table(
    "study_nodes",
    metadata,
    Column("study_id", Text, cascading("studies.id"), primary_key=True),
    Column("node_id", Text, cascading("nodes.id"), primary_key=True, index=True),
    Column("position", Integer, nullable=False),
)
