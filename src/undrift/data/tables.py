"""Tables of data."""

import sqlalchemy as sa

from undrift.metastore import Json, UtcTime, metadata

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("key", sa.String(100), nullable=False),
    sa.Column("time", sa.String(100), nullable=False),
    sa.Column("known_at", sa.String(100), nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("checks", Json, nullable=False),
    sa.UniqueConstraint("project", "name"),
)

dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    sa.Column("id", sa.String(64), nullable=False),
    sa.Column("dataset_id", sa.String(32), sa.ForeignKey("datasets.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("parent", sa.String(64)),
    sa.Column("columns", Json, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("added_rows", sa.BigInteger, nullable=False),
    sa.Column("quarantined_rows", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("known_until", UtcTime, nullable=False),
    sa.Column("profile", sa.String(64), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("dataset_id", "number"),
)

quarantines = sa.Table(
    "quarantines",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("dataset", sa.String(100), nullable=False),
    sa.Column("columns", Json, nullable=False),
    sa.Column("start", UtcTime, nullable=False),
    sa.Column("end", UtcTime),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("incident_id", sa.String(32)),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.Index("ix_quarantines_project_dataset", "project", "dataset"),
)
