"""Tables of the registry."""

import sqlalchemy as sa

from undrift.metastore import Json, UtcTime, metadata

models = sa.Table(
    "models",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.UniqueConstraint("project", "name"),
)

versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("model", sa.String(100), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("artifact", sa.String(64), nullable=False),
    sa.Column("format", sa.String(20), nullable=False),
    sa.Column("signature", Json, nullable=False),
    sa.Column("training", Json, nullable=False),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("reference_profile", sa.String(64)),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("state_reason", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "model", "number"),
    sa.UniqueConstraint("run_id", "model"),
)

alias_moves = sa.Table(
    "alias_moves",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("model", sa.String(100), nullable=False),
    sa.Column("alias", sa.String(100), nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("previous", sa.Integer),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.UniqueConstraint("project", "model", "alias", "sequence"),
)
