"""Tables of serving."""

import sqlalchemy as sa

from undrift.metastore import Json, UtcTime, metadata

routes = sa.Table(
    "routes",
    metadata,
    sa.Column("revision", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("endpoint", sa.String(100), nullable=False),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("model", sa.String(100), nullable=False),
    sa.Column("arms", Json, nullable=False),
    sa.Column("compare", sa.Boolean, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.UniqueConstraint("endpoint", "revision"),
)

wals = sa.Table(
    "prediction_wals",
    metadata,
    sa.Column("wal", sa.String(100), primary_key=True),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("torn_bytes", sa.BigInteger, nullable=False),
    sa.Column("finished_at", UtcTime),
)

segments = sa.Table(
    "prediction_segments",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("endpoint", sa.String(100), nullable=False),
    sa.Column("wal", sa.String(100), nullable=False),
    sa.Column("first_offset", sa.BigInteger, nullable=False),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("duplicates", sa.Integer, nullable=False),
    sa.Column("dropped", sa.Integer, nullable=False),
    sa.Column("first_event_time", UtcTime),
    sa.Column("last_event_time", UtcTime),
    sa.Column("object", sa.String(64)),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("collected_at", UtcTime, nullable=False),
    sa.UniqueConstraint("wal", "first_offset"),
    sa.Index("ix_prediction_segments_endpoint_last_event_time", "endpoint", "last_event_time"),
)

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("prediction_id", sa.String(64), primary_key=True),
    sa.Column("endpoint", sa.String(100), nullable=False),
    sa.Column("event_time", UtcTime, nullable=False),
    sa.Column("segment_id", sa.String(32), nullable=False),
    sa.Index("ix_predictions_endpoint_event_time", "endpoint", "event_time"),
)
