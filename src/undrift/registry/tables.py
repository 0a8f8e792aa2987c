"""Tables of the registry.

Names stand in one place, the table of models; everything else refers to ids. Histories (of aliases, stages and
policies) keep one row for each move, with the time until which it stood; the row without one is what holds now.
"""

import sqlalchemy as sa

from undrift.metastore import Json, UtcTime, metadata

models = sa.Table(
    "models",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.UniqueConstraint("project", "name"),
)

model_tags = sa.Table(
    "model_tags",
    metadata,
    sa.Column("model_id", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(250), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Index("ix_model_tags_key", "key"),
)

versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("model_id", sa.String(32), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("key", sa.String(250)),
    sa.Column("run_id", sa.String(32), index=True),
    sa.Column("artifact", sa.String(64)),
    sa.Column("format", sa.String(20)),
    sa.Column("signature", Json),
    sa.Column("raw_signature", Json),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("run_link", sa.Text, nullable=False),
    sa.Column("logged_model_id", sa.String(50), index=True),
    sa.Column("training", Json, nullable=False),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("reference_profile", sa.String(64)),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("unsafe", Json, nullable=False),
    sa.Column("trust", Json),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("state_reason", sa.Text, nullable=False),
    sa.UniqueConstraint("model_id", "number"),
    sa.UniqueConstraint("model_id", "key"),
)

version_tags = sa.Table(
    "model_version_tags",
    metadata,
    sa.Column("version_id", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(250), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Index("ix_model_version_tags_key", "key"),
)

alias_moves = sa.Table(
    "alias_moves",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("model_id", sa.String(32), nullable=False),
    sa.Column("alias", sa.String(255), nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("number", sa.Integer),
    sa.Column("previous", sa.Integer),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("until", UtcTime),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.UniqueConstraint("model_id", "alias", "sequence"),
    sa.Index("ix_alias_moves_model_id_until", "model_id", "until"),
)

stage_moves = sa.Table(
    "stage_moves",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("version_id", sa.String(32), nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("stage", sa.String(20), nullable=False),
    sa.Column("previous", sa.String(20), nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("until", UtcTime),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.UniqueConstraint("version_id", "sequence"),
)

approval_policies = sa.Table(
    "approval_policies",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    # Empty for the policy of the whole project: an index cannot hold two missing values apart.
    sa.Column("model_id", sa.String(32), nullable=False),
    sa.Column("alias", sa.String(255), nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("needed", sa.Integer, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("until", UtcTime),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "model_id", "alias", "sequence"),
)

approval_requests = sa.Table(
    "approval_requests",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("model_id", sa.String(32), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("alias", sa.String(255), nullable=False),
    sa.Column("asked_by", sa.String(200), nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Index("ix_approval_requests_model_id_number", "model_id", "number"),
)

approval_decisions = sa.Table(
    "approval_decisions",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("request_id", sa.String(32), nullable=False, index=True),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("approve", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("evidence", Json, nullable=False),
)
