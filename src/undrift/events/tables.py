"""Tables of the log."""

import sqlalchemy as sa

from undrift.metastore import Json, UtcTime, metadata

events = sa.Table(
    "events",
    metadata,
    sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("type", sa.String(100), nullable=False),
    sa.Column("subject", sa.String(300), nullable=False),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("time", UtcTime, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("trace_id", sa.String(64), nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Index("ix_events_subject_position", "subject", "position"),
)

offsets = sa.Table(
    "event_offsets",
    metadata,
    sa.Column("consumer", sa.String(200), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
)
