"""Tables of monitoring."""

import sqlalchemy as sa

from undrift.metastore import Json, UtcTime, metadata

# A label without an event time waits for a prediction that nobody knows yet.
labels = sa.Table(
    "labels",
    metadata,
    sa.Column("prediction_id", sa.String(64), primary_key=True),
    sa.Column("endpoint", sa.String(100), nullable=False),
    sa.Column("event_time", UtcTime),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("known_at", UtcTime, nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Index("ix_labels_endpoint_event_time", "endpoint", "event_time"),
    sa.Index("ix_labels_endpoint_revision", "endpoint", "revision"),
)

label_corrections = sa.Table(
    "label_corrections",
    metadata,
    sa.Column("prediction_id", sa.String(64), nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("endpoint", sa.String(100), nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("replaced_by", sa.Double, nullable=False),
    sa.Column("replaced_at", UtcTime, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.PrimaryKeyConstraint("prediction_id", "revision"),
)

windows = sa.Table(
    "windows",
    metadata,
    sa.Column("endpoint", sa.String(100), nullable=False),
    sa.Column("start", UtcTime, nullable=False),
    sa.Column("end", UtcTime, nullable=False),
    sa.Column("predictions", sa.BigInteger, nullable=False),
    sa.Column("labels", sa.BigInteger, nullable=False),
    sa.Column("served", Json),
    sa.Column("versions", Json, nullable=False),
    sa.Column("missing", Json, nullable=False),
    sa.Column("drift", Json, nullable=False),
    sa.Column("suspect", Json, nullable=False),
    sa.Column("profile", sa.String(64)),
    sa.Column("measured_at", UtcTime),
    sa.Column("restated", sa.Integer, nullable=False),
    sa.PrimaryKeyConstraint("endpoint", "start"),
)

# How far the labels of an endpoint are reflected in its measured windows.
monitors = sa.Table(
    "monitors",
    metadata,
    sa.Column("endpoint", sa.String(100), primary_key=True),
    sa.Column("label_revision", sa.BigInteger, nullable=False),
)

incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("endpoint", sa.String(100), nullable=False),
    sa.Column("cause", sa.String(40), nullable=False),
    sa.Column("title", sa.String(300), nullable=False),
    sa.Column("columns", Json, nullable=False),
    sa.Column("dataset", sa.String(100)),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("last_seen_at", UtcTime, nullable=False),
    sa.Column("resolved_at", UtcTime),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("findings", Json, nullable=False),
    sa.Column("diagnosis", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("acknowledged_by", sa.String(200)),
    sa.Column("useful", sa.Boolean),
    sa.Index("ix_incidents_endpoint_state", "endpoint", "state"),
)
